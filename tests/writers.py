"""Transactions that write events and end when they are told to."""

from __future__ import annotations

from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from uuid import UUID

    from asyncpg.transaction import Transaction

_WRITE: Final = """
insert into planstore.events
  (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
select $3, split_part($3, '.', 1), $1, $1, n, $4::text::json, '{}'
from generate_series(1, $2::int) n
returning seq
"""


class Writer:
    """One connection, in a transaction for as long as it pleases."""

    def __init__(self, conn: asyncpg.Connection[asyncpg.Record]) -> None:
        self.conn = conn
        self._transaction: Transaction | None = None
        self.written: list[int] = []

    async def write(
        self,
        count: int,
        *,
        plan_id: UUID | None = None,
        event_type: str = "task.started",
        payload: str = "{}",
    ) -> list[int]:
        """Write events, of a plan of their own if none is given; answers their numbers."""
        if self._transaction is None:
            self._transaction = self.conn.transaction()
            await self._transaction.start()
        rows = await self.conn.fetch(_WRITE, plan_id or uuid4(), count, event_type, payload)
        written = [row["seq"] for row in rows]
        self.written += written
        return written

    async def end(self, *, commit: bool = True) -> list[int]:
        """End the transaction; answers the numbers that it has committed."""
        written, self.written = self.written, []
        if self._transaction is not None:
            await (self._transaction.commit() if commit else self._transaction.rollback())
            self._transaction = None
        return written if commit else []


@asynccontextmanager
async def writing(url: str, count: int) -> AsyncGenerator[list[Writer]]:
    """Open so many connections that write."""
    conns = [await asyncpg.connect(url) for _ in range(count)]
    try:
        yield [Writer(conn) for conn in conns]
    finally:
        for conn in conns:
            await conn.close()
