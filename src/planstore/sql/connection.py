"""What the statements need of a connection, so that they need not know the driver."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    import asyncpg
    from asyncpg.pool import PoolConnectionProxy

    Row: TypeAlias = asyncpg.Record
    RowLike: TypeAlias = Row | Mapping[str, Any]
    """A row, or what says the same without having been read."""
    Connection: TypeAlias = asyncpg.Connection[Row] | PoolConnectionProxy[Row]
