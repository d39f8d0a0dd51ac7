"""Putting rivals into an order by the locks that they wait for."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Coroutine
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from planstore.models.idempotency import RequestKey
    from planstore.sql.connection import Row

T = TypeVar("T")

DEADLINE: Final = 10.0

_WAITING: Final = """
select count(*)
from pg_stat_activity
where datname = current_database()
  and wait_event_type = 'Lock'
"""

_WAITING_FOR_ANOTHER: Final = """
select count(*)
from pg_stat_activity w
cross join unnest(pg_blocking_pids(w.pid)) b (pid)
join pg_stat_activity s on s.pid = b.pid
where w.datname = current_database()
  and s.wait_event_type = 'Lock'
"""


class Queue:
    """Those who wait for a lock that the test holds, in the order in which they came."""

    def __init__(self, holder: asyncpg.Connection[Row], watch: asyncpg.Connection[Row]) -> None:
        self._holder = holder
        self._watch = watch
        self._began: list[asyncio.Task[Any]] = []

    async def join(self, rival: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Start a rival and return once PostgreSQL says that it waits for a lock."""
        already = await self._watch.fetchval(_WAITING)
        task = asyncio.create_task(rival)
        self._began.append(task)
        async with asyncio.timeout(DEADLINE):
            while await self._watch.fetchval(_WAITING) <= already:
                assert not task.done(), "it did not wait"
                await asyncio.sleep(0.002)  # between two looks; nothing is ordered by it
        return task

    async def somebody_waits(self) -> None:
        """Return once somebody who began elsewhere waits for a lock."""
        async with asyncio.timeout(DEADLINE):
            while not await self._watch.fetchval(_WAITING):
                assert not self._holder.is_closed(), "nothing is held"
                await asyncio.sleep(0.002)  # between two looks; nothing is ordered by it

    async def one_waits_for_another(self) -> None:
        """Return once somebody waits for one who waits himself."""
        async with asyncio.timeout(DEADLINE):
            while not await self._watch.fetchval(_WAITING_FOR_ANOTHER):
                assert not all(task.done() for task in self._began), "nobody waits"
                await asyncio.sleep(0.002)  # between two looks; nothing is ordered by it

    async def release(self) -> None:
        """Let go of the lock and wait until all who waited are through, in whatever way."""
        await self._holder.execute("rollback")
        async with asyncio.timeout(DEADLINE):
            await asyncio.gather(*self._began, return_exceptions=True)


@asynccontextmanager
async def behind(url: str, rows: str, *args: Any) -> AsyncGenerator[Queue]:
    """Lock the rows of a query, so that whoever changes them has to queue."""
    holder, watch = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await holder.execute("begin")
        assert await holder.fetch(f"{rows} for update", *args)
        yield Queue(holder, watch)
    finally:
        await holder.close()
        await watch.close()


def behind_plan(url: str, plan_id: UUID) -> AbstractAsyncContextManager[Queue]:
    """Lock the plan's row: whoever changes the plan or moves one of its tasks has to queue."""
    return behind(url, "select 1 from planstore.plans where id = $1", plan_id)


def behind_task(url: str, task_id: UUID) -> AbstractAsyncContextManager[Queue]:
    """Lock the row that says where a task stands: whoever moves the task, or renews its claim."""
    return behind(url, "select 1 from planstore.task_states where task_id = $1", task_id)


@asynccontextmanager
async def behind_key(url: str, key: RequestKey) -> AsyncGenerator[Queue]:
    """Take an idempotency key: whoever is to keep an answer under it has to queue.

    It has done its work by then, but not committed it; so this holds a transaction in flight.
    """
    holder, watch = await asyncpg.connect(url), await asyncpg.connect(url)
    try:
        await holder.execute("begin")
        await holder.execute(
            "insert into planstore.idempotency_keys (scope, key, fingerprint, response)"
            " values ($1, $2, $3, 'null')",
            *key.row,
        )
        yield Queue(holder, watch)
    finally:
        await holder.close()
        await watch.close()
