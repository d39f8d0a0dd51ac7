"""Emptying a database between two examples that use it one after the other."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from planstore.db import Database

_TABLES: Final = """
select format('%I.%I', c.relnamespace::regnamespace, c.relname) as name
from pg_class c
where c.relnamespace = 'planstore'::regnamespace
  and c.relkind = 'r'
  and c.relname not in ('schema_migrations', 'retention', 'statistics_place')
"""


async def empty(database: Database) -> None:
    """Remove all plans and tasks, with all that is kept of them."""
    async with database.connection() as conn:
        names = [row["name"] for row in await conn.fetch(_TABLES)]
        await conn.execute(f"truncate {', '.join(names)}")
