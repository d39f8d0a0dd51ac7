"""The columns of a task, which is two rows: what it is (``t``), and where it stands (``s``)."""

from __future__ import annotations

from typing import Final

from planstore.models.task import Task
from planstore.sql.fragments import columns

OF_TASK: Final = (
    *("id", "plan_id", "name", "agent_id", "description", "task_type", "input_data"),
    *("metadata", "labels", "sequence_order", "parallel_group", "side_effects", "timeout_seconds"),
    *("retry_policy", "estimated_duration", "created_at"),
)
OF_STATE: Final = (
    *("output_data", "error", "status", "status_reason", "needs_review", "priority", "not_before"),
    *("requires_approval", "approval", "attempt", "worker_id", "progress", "progress_note"),
    "usage",
    *("version", "updated_at", "started_at", "completed_at"),
)
ALL: Final = tuple(Task.model_fields)
"""In the order in which they are shown."""

TYPES: Final = {
    **{name: f"planstore.tasks.{name}%type" for name in OF_TASK},
    **{name: f"planstore.task_states.{name}%type" for name in OF_STATE},
}
"""As a function of the database declares what it answers."""

TASK: Final = f"{columns(OF_TASK, of='t')}, {columns(OF_STATE, of='s')}"
TASKS: Final = """planstore.tasks t
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id"""

ON_TASK: Final = (
    ("name", "text"),
    ("agent_id", "uuid"),
    ("description", "text"),
    ("task_type", "text"),
    ("input_data", "json"),
    ("metadata", "json"),
    ("labels", "text[]"),
    ("sequence_order", "integer"),
    ("parallel_group", "text"),
    ("side_effects", "text"),
    ("timeout_seconds", "double precision"),
    ("retry_policy", "json"),
    ("estimated_duration", "text"),
)
ON_STATE: Final = (
    ("priority", "smallint"),
    ("not_before", "timestamptz"),
    ("requires_approval", "boolean"),
)
"""What a client may set of a task at any time, with its type: on the one row, and on the other."""
