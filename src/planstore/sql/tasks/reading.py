"""Reading tasks: one, those of a plan, the most recent ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from planstore.sql.tasks.columns import TASK, TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.sql.connection import Connection, Row

_GET: Final = f"""
select {TASK}
from {TASKS}
where t.id = $1
"""


async def get(conn: Connection, task_id: UUID) -> Row | None:
    """Return the task, or None."""
    return await conn.fetchrow(_GET, task_id)


_MANY: Final = f"""
select {TASK}
from unnest($1::uuid[]) with ordinality as g (task_id, position)
join planstore.tasks t on t.id = g.task_id
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
order by g.position
"""


async def many(conn: Connection, task_ids: Sequence[UUID]) -> list[Row]:
    """Return tasks by their ids, in the given order; those that aren't there are left out."""
    return await conn.fetch(_MANY, task_ids)


_ATTEMPTS: Final = f"""
select a.attempt, a.worker_id, a.began_at, a.ended_at, a.outcome, a.error
from planstore.tasks t
join planstore.attempts a on a.plan_id = t.plan_id and a.task_id = t.id
where t.id = $1
union all
-- The one that goes on, or that the task has completed by.
select
  s.attempt, s.worker_id, s.began_at, s.ended_at,
  case when s.ended_at is not null then s.status end, null
from {TASKS}
where t.id = $1
  and s.began_at is not null
order by attempt
"""


async def attempts(conn: Connection, task_id: UUID) -> list[Row]:
    """Return the runs of a task, in order."""
    return await conn.fetch(_ATTEMPTS, task_id)


# Places that no task can have. A list always begins after a place, so that one plan of the
# statement, bounded by the index on both sides, serves every page.
BEFORE_ALL: Final = (-1, datetime.min.replace(year=2, tzinfo=UTC), UUID(int=0))
AFTER_ALL: Final = (datetime.max.replace(year=9998, tzinfo=UTC), UUID(int=2**128 - 1))

_OF_PLAN: Final = f"""
select {TASK}
from {TASKS}
where t.plan_id = $1
  and (t.sequence_order, t.created_at, t.id) > ($2, $3, $4)
order by t.sequence_order, t.created_at, t.id
limit $5
offset $6
"""


async def of_plan(
    conn: Connection,
    plan_id: UUID,
    *,
    after: tuple[int, datetime, UUID] = BEFORE_ALL,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return a plan's tasks by ``sequence_order``, then creation, from after a task's place."""
    return await conn.fetch(_OF_PLAN, plan_id, *after, limit, offset)


_RECENT: Final = f"""
select {TASK}
from {TASKS}
where (t.created_at, t.id) < ($1, $2)
order by t.created_at desc, t.id desc
limit $3
offset $4
"""


async def recent(
    conn: Connection, *, before: tuple[datetime, UUID] = AFTER_ALL, limit: int, offset: int
) -> list[Row]:
    """Return the tasks of all plans, newest first, from before a task's place."""
    return await conn.fetch(_RECENT, *before, limit, offset)
