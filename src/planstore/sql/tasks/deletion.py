"""Deleting tasks of one plan, with all that is kept of them but their events."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.sql.connection import Connection, Row

_LOCK: Final = """
select t.id as task_id, t.name, s.status, s.version, s.worker_id
from planstore.tasks t
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
where t.plan_id = $1
  and t.id = any ($2)
order by t.id
-- What a task is before where it stands, as an edit takes them.
for update of t, s
"""


async def lock(conn: Connection, plan_id: UUID, task_ids: Sequence[UUID]) -> list[Row]:
    """Lock tasks that are to be deleted, their plan being locked.

    Answers ``task_id``, ``name``, ``status``, ``version`` and ``worker_id`` of those that are
    there, by their ids.
    """
    return await conn.fetch(_LOCK, plan_id, task_ids)


_LOCK_ALL: Final = """
select
from planstore.tasks t
where t.plan_id = any ($1)
order by t.id
for update
"""


async def lock_all(conn: Connection, plan_ids: Sequence[UUID]) -> None:
    """Lock all tasks of plans that are to be deleted, the plans being locked."""
    await conn.execute(_LOCK_ALL, plan_ids)


_NEEDERS: Final = """
select d.task_id, t.name, d.needs_id, d.condition, d.kind
from planstore.dependencies d
join planstore.tasks t on t.plan_id = d.plan_id and t.id = d.task_id
where d.plan_id = $1
  and d.task_id in (
    select g.task_id from planstore.dependencies g where g.plan_id = $1 and g.needs_id = any ($2)
  )
order by t.sequence_order, t.created_at, t.id, d.needs_id
"""


async def needers(conn: Connection, plan_id: UUID, task_ids: Sequence[UUID]) -> list[Row]:
    """Return all that is needed by those who need one of the tasks.

    Each row is a dependency: ``task_id`` and ``name`` of who needs; ``needs_id``, ``condition`` and
    ``kind``.
    """
    return await conn.fetch(_NEEDERS, plan_id, task_ids)


_DELETE: Final = """
with old as materialized (
  select t.id, t.name, t.task_type, s.status, s.version, s.worker_id
  from planstore.tasks t
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  where t.plan_id = $1
    and t.id = any ($2)
  order by t.id
  for update of t, s
),
unlinked as (
  delete from planstore.dependencies d
  where d.plan_id = $1
    and (d.task_id = any ($2) or d.needs_id = any ($2))
),
untried as (
  delete from planstore.attempts a
  where a.plan_id = $1
    and a.task_id = any ($2)
),
unjudged as (
  delete from planstore.evaluations v
  where v.plan_id = $1
    and v.task_id = any ($2)
),
unmarked as (
  delete from planstore.task_marks m
  where m.plan_id = $1
    and m.task_id = any ($2)
),
unstated as (
  delete from planstore.task_states s
  using old o
  where s.plan_id = $1
    and s.task_id = o.id
),
deleted as (
  delete from planstore.tasks t
  using old o
  where t.plan_id = $1
    and t.id = o.id
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'task.deleted', 'task', o.id, $1, o.version + 1, '{}',
    json_build_object('revision', p.revision + 1, 'was', o.status, 'task_type', o.task_type)
  from old o
  join planstore.plans p on p.id = $1
  order by o.id
)
select o.id as task_id, o.name, o.status, o.worker_id from old o order by o.id
"""


async def delete(conn: Connection, plan_id: UUID, task_ids: Sequence[UUID]) -> list[Row]:
    """Delete tasks of a plan; answers those that were there, by their ids.

    With each come its ``task_id``, ``name``, ``status`` and ``worker_id``. Its attempts and the
    dependencies on either side go with it: whoever needs one of the tasks, and stays, is to need
    others before (`dependencies.replace`), so that an event tells of it. A claim on it ends.

    The plan and its ready tasks must be locked before, and all that follows derived after it, as a
    change of the plan's structure.
    """
    return await conn.fetch(_DELETE, plan_id, task_ids)
