"""What the methods of `PlanStore` answer, made of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.plan import Plan
from planstore.models.task import StatusReason, Task, TaskStatus
from planstore.models.trusted import Trusted

if TYPE_CHECKING:
    from collections.abc import Iterable

    from planstore.sql.connection import Row, RowLike
    from planstore.sql.tasks import NewTask


def plan_of(row: Row) -> Plan:
    return Plan.model_validate({name: row[name] for name in Plan.model_fields})


def task_of(row: Row | dict[str, Any]) -> Task:
    return Task.model_validate({name: row[name] for name in Task.model_fields})


_TASK: Final = Trusted(Task)

_AT_FIRST: Final[dict[str, Any]] = {
    **dict.fromkeys(Task.model_fields),
    "status": TaskStatus.PENDING,
    "needs_review": False,
    "attempt": 0,
    "version": 1,
}
"""What a task begins with, where nothing else is given."""


def tasks_of_new(new: Iterable[NewTask], row: RowLike) -> list[Task]:
    """Return tasks of a plan that were added as they were given.

    ``row``: what `tasks.create` answered for the plan.
    """
    last_order = row["last_order"]
    blocked: frozenset[int] = frozenset(row["blocked"] or ())
    at_first = {**_AT_FIRST, "created_at": row["created_at"], "updated_at": row["created_at"]}
    return [
        _task_of_new(each, at_first.copy(), last_order=last_order, is_blocked=number in blocked)
        for number, each in enumerate(new, start=1)
    ]


def _task_of_new(
    new: NewTask, fields: dict[str, Any], *, last_order: int, is_blocked: bool
) -> Task:
    given = new.task
    fields["id"] = new.id
    fields["plan_id"] = new.plan_id
    fields["name"] = given.name
    fields["agent_id"] = given.agent_id
    fields["description"] = given.description
    fields["task_type"] = given.task_type
    fields["input_data"] = None if given.input_data is None else given.input_data.copy()
    fields["metadata"] = given.metadata.copy()
    fields["labels"] = given.labels.copy()
    fields["sequence_order"] = new.order(last_order)
    fields["parallel_group"] = given.parallel_group
    fields["priority"] = given.priority
    fields["not_before"] = given.not_before
    fields["side_effects"] = given.side_effects
    fields["requires_approval"] = given.requires_approval
    fields["timeout_seconds"] = given.timeout_seconds
    fields["retry_policy"] = given.retry_policy
    fields["estimated_duration"] = given.estimated_duration
    if is_blocked or given.requires_approval:
        fields["status"] = TaskStatus.BLOCKED
        fields["status_reason"] = (
            StatusReason.UNAPPROVED if given.requires_approval else StatusReason.UNMET
        )
    return _TASK.of_fields(fields)


def nothing(_kept: object) -> None:
    """What a deletion answers."""
