"""Reading tasks: one, those of a plan, the most recent ones."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

from planstore.sql.tasks.columns import TASK, TASKS

if TYPE_CHECKING:
    from planstore.sql.connection import Connection, Row

_GET: Final = f"""
select {TASK}
from {TASKS}
where t.id = $1
"""


async def get(conn: Connection, task_id: UUID) -> Row | None:
    """Return the task, or None."""
    return await conn.fetchrow(_GET, task_id)


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
