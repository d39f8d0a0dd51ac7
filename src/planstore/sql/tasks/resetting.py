"""Having tasks of one plan begin anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.approval import Decision
from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.fragments import (
    TASK_COMPLETED,
    TASK_ENDED,
    TASK_FAILED,
    TASK_PENDING,
    TASK_RUNNING,
    event_of,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.sql.connection import Connection

_FAILED: Final = f"""
select s.task_id
from planstore.task_states s
where s.plan_id = $1
  and s.status = {TASK_FAILED}
order by s.task_id
"""


async def failed(conn: Connection, plan_id: UUID) -> list[UUID]:
    """Return the failed tasks of a plan."""
    return [row["task_id"] for row in await conn.fetch(_FAILED, plan_id)]


_CLEARED: Final = (
    *("status_reason", "started_at", "completed_at", "output_data", "error", "worker_id"),
    *("progress", "progress_note"),
)


def approval_kept(state: str) -> str:
    """What stands of the decision about a task that is done again.

    Who agreed to it agreed to one completion, however many runs that takes.
    """
    return f"""case
      when {state}.status <> {TASK_COMPLETED}
        and {state}.approval ->> 'decision' = '{Decision.APPROVED.value}' then {state}.approval
    end"""


_CHANGES: Final = ",\n          ".join(
    f"('{name}', to_json(r.{name}), o.{name} is not null)" for name in _CLEARED
)

_RESET: Final = f"""
with old as materialized (
  select
    s.task_id, s.status, s.attempt, s.fencing_token, s.began_at, s.ended_at, s.error as last_error,
    s.needs_review, s.approval, {", ".join(f"s.{name}" for name in _CLEARED)}
  from planstore.task_states s
  where s.plan_id = $1
    and s.task_id = any ($2)
    and (s.status in {TASK_ENDED} or s.status = {TASK_RUNNING})
  order by s.task_id
  for no key update
),
tried as (  -- the run that is undone stays readable
  insert into planstore.attempts
    (plan_id, task_id, attempt, worker_id, fencing_token, began_at, ended_at, outcome, error)
  select
    $1, o.task_id, o.attempt, o.worker_id, o.fencing_token, o.began_at, coalesce(o.ended_at, now()),
    case when o.status = {TASK_RUNNING} then 'overridden' else o.status end, null
  from old o
  where o.began_at is not null
    and o.status in ({TASK_RUNNING}, {TASK_COMPLETED})
),
renewed as (
  update planstore.task_states s
  set
    status = {TASK_PENDING},
    {", ".join(f"{name} = null" for name in _CLEARED)},
    needs_review = false,
    approval = {approval_kept("o")},
    version = s.version + 1,
    updated_at = now(),
    free_attempts = s.attempt,
    retry_at = null,
    keeps_hold = false,
    fencing_token = null,
    lease_seconds = null,
    lease_expires_at = null,
    times_out_at = null,
    began_at = null,
    ended_at = null
  from old o
  where s.plan_id = $1
    and s.task_id = o.task_id
  returning s.task_id, s.task_type, s.status, s.version, s.needs_review, s.approval,
    {", ".join(f"s.{name}" for name in _CLEARED)}
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    {event_of(TASK_LIFECYCLE, "o.status", "r.status")},
    'task', r.task_id, $1, r.version, c.payload,
    json_build_object(
      'revision', p.revision + $3::boolean::int, 'was', o.status, 'task_type', r.task_type
    )
  from renewed r
  join old o on o.task_id = r.task_id
  join planstore.plans p on p.id = $1
  cross join lateral (
    select json_object_agg(f.field, f.value) filter (where f.is_changed) as payload
    from (
      values
          ('status', to_json(r.status), true),
          ('needs_review', to_json(r.needs_review), o.needs_review),
          ('approval', r.approval, o.approval is not null and r.approval is null),
          {_CHANGES}
    ) f (field, value, is_changed)
  ) c
  order by r.task_id
)
select r.task_id from renewed r
"""


async def reset(
    conn: Connection, plan_id: UUID, task_ids: Sequence[UUID], *, is_revision: bool = False
) -> list[UUID]:
    """Have those of the tasks that run or have ended begin anew; answers which.

    Times, output and error are cleared, and what was tried before isn't held against them; that
    they were approved stands where they haven't completed by it. The plan and its ready tasks must
    be locked before, and all that follows derived after it. ``is_revision``: the plan's structure
    changes with it.
    """
    rows = await conn.fetch(_RESET, plan_id, task_ids, is_revision)
    return [row["task_id"] for row in rows]
