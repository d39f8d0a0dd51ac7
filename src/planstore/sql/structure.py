"""Reading the structure of a plan: its tasks, their places, and what needs what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.dependency import Condition, DependencyType

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.sql.connection import Connection, Row

_LOCK_READY: Final = """
select
from planstore.task_states s
join planstore.tasks t on t.plan_id = s.plan_id and t.id = s.task_id
where s.plan_id = $1
  and s.ready_at is not null
order by s.task_id
-- What a task is before where it stands, as an edit takes them.
for no key update of t, s
"""


async def lock_ready(conn: Connection, plan_id: UUID) -> None:
    """Keep the plan's ready tasks from being claimed or edited until the transaction ends.

    The plan itself must be locked before.
    """
    await conn.execute(_LOCK_READY, plan_id)


_LOCK: Final = """
select
from planstore.tasks t
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
where t.plan_id = $1
  and t.id = any ($2)
order by t.id
for no key update of t, s
"""


async def lock(conn: Connection, plan_id: UUID, task_ids: Sequence[UUID]) -> None:
    """Keep tasks that are to be changed from being edited until the transaction ends.

    The plan and its ready tasks must be locked before.
    """
    await conn.execute(_LOCK, plan_id, task_ids)


_NODES: Final = """
select t.id, t.name, t.sequence_order, s.status, s.status_reason, s.due_at is not null as is_due
from planstore.tasks t
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
where t.plan_id = $1
order by t.sequence_order, t.created_at, t.id
"""


async def nodes(conn: Connection, plan_id: UUID) -> list[Row]:
    """Return the tasks of a plan in their order.

    These are ``id``, ``name``, ``sequence_order``, ``status``, ``status_reason``, ``is_due``.
    """
    return await conn.fetch(_NODES, plan_id)


_INPUTS: Final = f"""
select t.id, t.input_data
from planstore.tasks t
where t.plan_id = $1
  and exists (
    select
    from planstore.dependencies d
    where d.plan_id = t.plan_id
      and d.task_id = t.id
      and d.kind = '{DependencyType.DATA.value}'
  )
"""


async def inputs(conn: Connection, plan_id: UUID) -> dict[UUID, Any]:
    """Return the input of those tasks of a plan that take others' output."""
    return {row["id"]: row["input_data"] for row in await conn.fetch(_INPUTS, plan_id)}


_IS_OTHERWISE: Final = (
    f"d.condition <> '{Condition.SUCCESS.value}' or d.kind <> '{DependencyType.BLOCKING.value}'"
)

_NEEDS: Final = f"""
select
  d.task_id,
  array_agg(d.needs_id order by d.needs_id) as needs_ids,
  array_agg(d.needs_id order by d.needs_id) filter (where {_IS_OTHERWISE}) as needs_otherwise,
  array_agg(d.condition order by d.needs_id) filter (where {_IS_OTHERWISE}) as conditions,
  array_agg(d.kind order by d.needs_id) filter (where {_IS_OTHERWISE}) as kinds
from planstore.dependencies d
where d.plan_id = $1
group by d.task_id
order by d.task_id
"""


async def needs(conn: Connection, plan_id: UUID) -> list[Row]:
    """Return what each task of a plan needs: ``task_id``, ``needs_ids``.

    Most tasks wait for the others' success, and for no more. Those that ``task_id`` needs in
    another way are ``needs_otherwise``, with their ``conditions`` and ``kinds``; null where it
    needs none so.
    """
    return await conn.fetch(_NEEDS, plan_id)


_EDGES: Final = """
select d.task_id, d.needs_id, d.condition, d.kind
from planstore.dependencies d
where d.plan_id = $1
order by d.task_id, d.needs_id
"""


async def edges(conn: Connection, plan_id: UUID) -> list[Row]:
    """Return the dependencies of a plan's tasks."""
    return await conn.fetch(_EDGES, plan_id)
