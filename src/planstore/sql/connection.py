"""What the statements need of a connection, so that they need not know the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Row: TypeAlias = asyncpg.Record
    Connection: TypeAlias = asyncpg.Connection[Row] | PoolConnectionProxy[Row]
