"""Reading a plan whole, however many tasks it has: in their order, so many at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.sql.tasks.columns import TASK, TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from planstore.sql.connection import Connection, Row

_LABELS: Final = """
select t.id, t.name
from planstore.tasks t
where t.plan_id = $1
order by t.sequence_order, t.created_at, t.id
"""


async def labels(conn: Connection, plan_id: UUID) -> list[Row]:
    """Return the ``id`` and the ``name`` of a plan's tasks, in their order."""
    return await conn.fetch(_LABELS, plan_id)


_PAGE: Final = f"""
select {TASK}
from {TASKS}
where t.plan_id = $1
  and (t.sequence_order, t.created_at, t.id) > ($2::integer, $3::timestamptz, $4::uuid)
order by t.sequence_order, t.created_at, t.id
limit $5
"""

After = tuple[int, "datetime", "UUID"]
"""The place of a task among those of its plan: its order, when it was created, its id."""


async def page(conn: Connection, plan_id: UUID, after: After, *, limit: int) -> Sequence[Row]:
    """Return the tasks of a plan that come after a place, in their order."""
    return await conn.fetch(_PAGE, plan_id, *after, limit)
