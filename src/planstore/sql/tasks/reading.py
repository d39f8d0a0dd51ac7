"""Reading tasks by their ids."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.sql.routines import routine
from planstore.sql.tasks.columns import OF_STATE, OF_TASK, TASK, TASKS, TYPES

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.sql.connection import Connection, Row

_GET: Final = f"""
select {TASK}
from {TASKS}
where t.id = $1
"""

GET: Final = routine(
    "get_task",
    "of_task uuid",
    f"begin return query {_GET}; end",
    returns=f"table ({', '.join(f'{name} {TYPES[name]}' for name in (*OF_TASK, *OF_STATE))})",
)
"""The same for a statement that has changed the task."""


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


_STATUSES: Final = """
select s.task_id as id, s.status
from planstore.task_states s
where s.plan_id = $1
  and s.task_id = any ($2)
order by s.task_id
"""


async def statuses(conn: Connection, plan_id: UUID, task_ids: Sequence[UUID]) -> list[Row]:
    """Return ``id`` and ``status`` of those of the tasks that the plan has."""
    return await conn.fetch(_STATUSES, plan_id, task_ids)
