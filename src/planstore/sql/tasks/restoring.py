"""Setting how tasks of a new plan stand, which was carried out elsewhere."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from planstore.models.task import ENDED, TASK_LIFECYCLE
from planstore.sql.fragments import IS_HELD, TASK_BLOCKED, event_of, names_of, one_of, rows_of

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from planstore.models.task import StatusReason, TaskStatus
    from planstore.sql.connection import Connection

_GIVEN: Final = (
    ("task_id", "uuid"),
    ("status", "text"),
    ("status_reason", "text"),
    ("output_data", "json"),
    ("error", "json"),
    ("needs_review", "boolean"),
    ("started_at", "timestamptz"),
    ("completed_at", "timestamptz"),
)

_RESTORED: Final = ("output_data", "error", "started_at", "completed_at")

_CHANGES: Final = ",\n          ".join(
    f"('{name}', to_json(r.{name}), r.{name} is not null)" for name in _RESTORED
)

# The parameters: $1 the plan, then the arrays of what is given.
_RESTORE: Final = f"""
with given as materialized (
  select *
  from {rows_of(_GIVEN, first=2)} as g ({names_of(_GIVEN)})
),
before as materialized (
  select s.task_id, s.status, s.status_reason, s.needs_review
  from given g
  join planstore.task_states s on s.plan_id = $1 and s.task_id = g.task_id
),
restored as (
  update planstore.task_states s
  set
    status = coalesce(g.status, s.status),
    status_reason = case when g.status is null then s.status_reason else g.status_reason end,
    due_at = case when g.status is null then s.due_at end,
    output_data = g.output_data,
    error = g.error,
    needs_review = g.needs_review,
    started_at = g.started_at,
    completed_at = case
      when g.status in {one_of(ENDED)} then coalesce(g.completed_at, now())
    end,
    version = s.version + 1,
    updated_at = now()
  from given g
  where s.plan_id = $1
    and s.task_id = g.task_id
  returning s.task_id, s.status, s.status_reason, s.needs_review, s.version,
    {", ".join(f"s.{name}" for name in _RESTORED)}
)
insert into planstore.events
  (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
select
  coalesce(
    {event_of(TASK_LIFECYCLE, "b.status", "r.status")},
    case
      when r.status = {TASK_BLOCKED} and r.status_reason = {IS_HELD} then 'task.held'
      else 'task.updated'
    end
  ),
  'task', r.task_id, $1, r.version, c.payload,
  json_build_object('revision', p.revision + 1)
from restored r
join before b on b.task_id = r.task_id
join planstore.plans p on p.id = $1
cross join lateral (
  select json_object_agg(f.field, f.value) filter (where f.is_changed) as payload
  from (
    values
          ('status', to_json(r.status), r.status <> b.status),
          (
            'status_reason', to_json(r.status_reason),
            r.status_reason is distinct from b.status_reason
          ),
          ('needs_review', to_json(r.needs_review), r.needs_review <> b.needs_review),
          {_CHANGES}
  ) f (field, value, is_changed)
) c
order by r.task_id
"""


@dataclass(frozen=True, slots=True)
class Restored:
    """What came of a task elsewhere."""

    task_id: UUID
    status: TaskStatus | None = None
    """None where it follows from the other tasks."""
    status_reason: StatusReason | None = None
    output_data: dict[str, Any] | None = None
    error: str | dict[str, Any] | None = None
    needs_review: bool = False
    started_at: datetime | None = None
    completed_at: datetime | None = None
    """Now if left out, of a task that has ended."""


async def restore(conn: Connection, plan_id: UUID, restored: Sequence[Restored]) -> None:
    """Set how tasks stand that were created in the same transaction.

    The plan must be locked before, and all that follows derived after it, as a change of the
    plan's structure. No run is recorded: none was begun here.
    """
    names = [name for name, _ in _GIVEN]
    columns = ([getattr(each, name) for each in restored] for name in names)
    await conn.execute(_RESTORE, plan_id, *columns)
