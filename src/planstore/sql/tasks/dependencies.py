"""Reading and replacing what a task needs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.dependency import DependencyType
from planstore.sql.fragments import PLAN_SEQUENTIAL, satisfies

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.sql.connection import Connection, Row
    from planstore.sql.tasks.creation import NewEdge

_OF_TASK: Final = f"""
select
  d.needs_id as task_id, t.name, d.condition as "when", d.kind as "type", s.status,
  {satisfies("d.condition", status="s.status", reason="s.status_reason")} as is_satisfied
from planstore.dependencies d
join planstore.tasks t on t.plan_id = d.plan_id and t.id = d.needs_id
join planstore.task_states s on s.plan_id = d.plan_id and s.task_id = d.needs_id
where d.plan_id = $1
  and d.task_id = $2
order by t.sequence_order, t.created_at, t.id
"""


async def of_task(conn: Connection, plan_id: UUID, task_id: UUID) -> list[Row]:
    """Return what a task needs: ``task_id``, ``name``, ``when``, ``type``, ``status`` and more."""
    return await conn.fetch(_OF_TASK, plan_id, task_id)


_NAMED: Final = """
select t.id, t.name, t.sequence_order
from planstore.tasks t
where t.plan_id = $1
  and (t.id = any ($2::uuid[]) or t.name = any ($3::text[]))
"""


async def named(
    conn: Connection, plan_id: UUID, ids: Sequence[UUID], names: Sequence[str]
) -> list[Row]:
    """Return the tasks of a plan that have one of the ids or names, with their order."""
    return await conn.fetch(_NAMED, plan_id, ids, names)


_NAMES: Final = """
select t.name from planstore.tasks t where t.plan_id = $1 and t.name is not null limit $2
"""


async def names(conn: Connection, plan_id: UUID, *, limit: int) -> list[str]:
    """Return names of a plan's tasks, to find the one that was meant."""
    return [row["name"] for row in await conn.fetch(_NAMES, plan_id, limit)]


_HAS_DATA: Final = f"""
select exists (
  select
  from planstore.tasks t
  join planstore.dependencies d on d.plan_id = t.plan_id and d.task_id = t.id
  where t.id = $1
    and d.kind = '{DependencyType.DATA.value}'
)
"""


async def has_data(conn: Connection, task_id: UUID) -> bool:
    """Whether the task takes another one's output as its input."""
    found = await conn.fetchval(_HAS_DATA, task_id)
    assert isinstance(found, bool)
    return found


_AGAINST_ORDER: Final = f"""
select
  t.id as task_id, coalesce(t.name, t.id::text) as task, t.sequence_order as order_of_task,
  n.id as needs_id, coalesce(n.name, n.id::text) as needed, n.sequence_order as order_of_needed
from planstore.plans p
join planstore.dependencies d on d.plan_id = p.id
join planstore.tasks t on t.plan_id = d.plan_id and t.id = d.task_id
join planstore.tasks n on n.plan_id = d.plan_id and n.id = d.needs_id
where p.id = $1
  and p.plan_type = {PLAN_SEQUENTIAL}
  and n.sequence_order > t.sequence_order
order by t.sequence_order, t.id, n.id
limit 1
"""


async def against_order(conn: Connection, plan_id: UUID) -> Row | None:
    """Return a dependency of a sequential plan on a task of a higher order; None if none is."""
    return await conn.fetchrow(_AGAINST_ORDER, plan_id)


_REACHABLE: Final = """
with recursive reached (task_id) as (
  select unnest($2::uuid[])
  union
  select d.needs_id
  from reached r
  join planstore.dependencies d on d.plan_id = $1 and d.task_id = r.task_id
)
select d.task_id, d.needs_id
from reached r
join planstore.dependencies d on d.plan_id = $1 and d.task_id = r.task_id
"""


async def reachable(conn: Connection, plan_id: UUID, from_ids: Sequence[UUID]) -> list[Row]:
    """Return every dependency of the tasks ``from_ids``, of those that they need, and so on."""
    return await conn.fetch(_REACHABLE, plan_id, from_ids)


_FOLLOWERS: Final = f"""
with recursive follower (task_id) as (
  select d.task_id from planstore.dependencies d where d.plan_id = $1 and d.needs_id = $2
  union
  select d.task_id
  from follower f
  join planstore.dependencies d on d.plan_id = $1 and d.needs_id = f.task_id
)
select f.task_id from follower f
union
select l.id
from planstore.plans p
join planstore.tasks t on t.plan_id = p.id and t.id = $2
join planstore.tasks l on l.plan_id = p.id and l.sequence_order > t.sequence_order
where p.id = $1
  and p.plan_type = {PLAN_SEQUENTIAL}
order by task_id
"""


async def followers(conn: Connection, plan_id: UUID, task_id: UUID) -> list[UUID]:
    """Return all tasks that come after the task.

    They need it, or need one that does, and so on; in a sequential plan those of a later order wait
    for it as well.
    """
    return [row["task_id"] for row in await conn.fetch(_FOLLOWERS, plan_id, task_id)]


# The parameters: $1 the plan, $2 the tasks, then the arrays of all edges that they are to have.
_REPLACE: Final = """
with given as materialized (
  select e.task_id, e.needs_id, e.condition, e.kind
  from unnest($3::uuid[], $4::uuid[], $5::text[], $6::text[])
    as e (task_id, needs_id, condition, kind)
),
removed as (
  delete from planstore.dependencies d
  where d.plan_id = $1
    and d.task_id = any ($2)
    and (d.task_id, d.needs_id) not in (select g.task_id, g.needs_id from given g)
  returning d.task_id
),
linked as (
  insert into planstore.dependencies (plan_id, task_id, needs_id, condition, kind)
  select $1, g.task_id, g.needs_id, g.condition, g.kind
  from given g
  on conflict (plan_id, task_id, needs_id) do update
    set condition = excluded.condition, kind = excluded.kind
    where dependencies.condition <> excluded.condition or dependencies.kind <> excluded.kind
  returning task_id
),
touched as (
  update planstore.task_states s
  set version = s.version + 1, updated_at = now()
  where s.plan_id = $1
    and s.task_id in (select r.task_id from removed r union select k.task_id from linked k)
  returning s.task_id, s.version
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'task.rewired', 'task', c.task_id, $1, c.version,
    json_build_object('depends_on', coalesce(e.depends_on, '[]')),
    json_build_object('revision', p.revision + 1)
  from touched c
  join planstore.plans p on p.id = $1
  left join (
    select
      g.task_id,
      json_agg(
        json_build_object('task_id', g.needs_id, 'when', g.condition, 'type', g.kind)
        order by g.needs_id
      ) as depends_on
    from given g
    group by g.task_id
  ) e on e.task_id = c.task_id
  order by c.task_id
)
select c.task_id from touched c order by c.task_id
"""


async def replace(
    conn: Connection, plan_id: UUID, task_ids: Sequence[UUID], edges: Sequence[NewEdge]
) -> list[UUID]:
    """Have tasks of a plan need exactly ``edges``; answers those for which that changed anything.

    The plan must be locked before, and all that follows derived after it.
    """
    rows = await conn.fetch(
        _REPLACE,
        plan_id,
        task_ids,
        [each.task_id for each in edges],
        [each.needs_id for each in edges],
        [each.condition for each in edges],
        [each.kind for each in edges],
    )
    return [row["task_id"] for row in rows]
