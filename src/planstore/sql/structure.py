"""Reading the structure of a plan: its tasks, their places, and what needs what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.dependency import DependencyType

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.sql.connection import Connection, Row

_NODES: Final = f"""
select
  t.id, t.name, t.sequence_order, s.status, s.status_reason, s.due_at is not null as is_due,
  case
    when exists (
      select
      from planstore.dependencies d
      where d.plan_id = t.plan_id
        and d.task_id = t.id
        and d.kind = '{DependencyType.DATA.value}'
    ) then t.input_data
  end as input_data
from planstore.tasks t
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
where t.plan_id = $1
order by t.sequence_order, t.created_at, t.id
"""


async def nodes(conn: Connection, plan_id: UUID) -> list[Row]:
    """Return the tasks of a plan in their order, with the input of those that take others' output.

    These are ``id``, ``name``, ``sequence_order``, ``status``, ``status_reason``, ``is_due``,
    ``input_data``.
    """
    return await conn.fetch(_NODES, plan_id)


_EDGES: Final = """
select d.task_id, d.needs_id, d.condition, d.kind
from planstore.dependencies d
where d.plan_id = $1
order by d.task_id, d.needs_id
"""


async def edges(conn: Connection, plan_id: UUID) -> list[Row]:
    """Return the dependencies of a plan's tasks."""
    return await conn.fetch(_EDGES, plan_id)
