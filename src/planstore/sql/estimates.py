"""How large PostgreSQL believes the tables to be, which is what it plans statements by.

A connection plans each statement once, and keeps to it until the table is analyzed again. What was
planned when a table was known to be all but empty reads all of it, each time; and autovacuum looks
once a minute, in which a hundred thousand tasks may have been added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from planstore.sql.connection import Connection

_GROWTH: Final = 4
"""How many times as large as it was a table is, before its estimates are called wrong."""

# Of a table that was never analyzed PostgreSQL knows that it knows nothing, and plans well.
_OUTGROWN: Final = f"""
select c.oid::regclass::text as name
from pg_class c
where c.relnamespace = 'planstore'::regnamespace
  and c.relkind = 'r'
  and c.reltuples >= 0
  and pg_has_role(c.relowner, 'usage')
  and pg_relation_size(c.oid)
    > {_GROWTH} * greatest(c.relpages, 1) * current_setting('block_size')::bigint
order by c.relname
"""


async def outgrown(conn: Connection) -> list[str]:
    """Return the tables that are far larger than estimated, as far as we may analyze them."""
    return [row["name"] for row in await conn.fetch(_OUTGROWN)]


async def refresh(conn: Connection, table: str) -> None:
    """Estimate a table anew, unless somebody is at it already; all statements on it are replanned.

    ``table``: its name as SQL, which can't be a parameter, as `outgrown` answers it.
    """
    await conn.execute(f"analyze (skip_locked) {table}")
