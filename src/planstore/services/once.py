"""Doing a piece of work once per idempotency key, and to its end once it has begun."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar

import asyncpg

from planstore.errors import IdempotencyInFlight, IdempotencyMismatch, PlanStoreError, Unavailable
from planstore.services import refusals
from planstore.services.refusals import KeyTaken
from planstore.sql import idempotency as keys

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine

    from planstore.db import Database
    from planstore.models.idempotency import RequestKey
    from planstore.sql.connection import Row

T = TypeVar("T")

KEY_LIFETIME: Final = timedelta(hours=24)
"""How long an answer is kept under its key."""

PATIENCE: Final = timedelta(seconds=5)
"""How long a repetition waits for the first request to be answered."""

_BITE: Final = 1_000
_ATTEMPTS: Final = 5


class Writes:
    """The writes of one process that are under way.

    None is cancelled when its caller leaves: PostgreSQL may answer a cancelled commit as done
    though no standby has it, so what has begun runs to its end.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._under_way: set[asyncio.Task[Any]] = set()

    async def finish(self, *, within: timedelta) -> int:
        """Wait for what is under way; answers how many writes are still not done.

        They are left to the database, and whether they take place is not known here.
        """
        now = asyncio.get_running_loop().time
        deadline = now() + within.total_seconds()
        # One may begin another: what was claimed for somebody who is gone is given back.
        while self._under_way and (left := deadline - now()) > 0:
            await asyncio.wait(self._under_way, timeout=left)
        return len(self._under_way)

    async def do(
        self,
        work: Callable[[], Coroutine[Any, Any, T]],
        *,
        key: RequestKey | None,
        replay: Callable[[Any], T],
        patience: timedelta | None = None,
        tidy: Callable[[], None] | None = None,
    ) -> T:
        """Do ``work``, or ``replay`` the answer that is kept under the key.

        ``patience``: how long it may take, where there is a key; `PATIENCE` if left out. ``tidy``:
        what is called once the work has come to its end, however long after its caller has left.

        Raises:
            IdempotencyInFlight: the request, or the first one with its key, takes over
                ``patience``.
            IdempotencyMismatch: the key belongs to another request.
        """
        task = self.begin(said(work) if key is None else self._once(work, key, replay))
        if tidy is not None:
            task.add_done_callback(lambda _: tidy())
        if key is None:
            return await asyncio.shield(task)
        done, _ = await asyncio.wait({task}, timeout=(patience or PATIENCE).total_seconds())
        if not done:
            raise IdempotencyInFlight(
                f"what was asked with the idempotency key {key.key!r} is still being carried "
                "out: repeat the request in a while to get its answer"
            )
        return task.result()

    def begin(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        """Have work done to its end, whoever leaves; `finish` waits for it."""
        task = asyncio.create_task(work)
        self._under_way.add(task)
        task.add_done_callback(self._end)
        return task

    def _end(self, task: asyncio.Task[Any]) -> None:
        self._under_way.discard(task)
        if not task.cancelled():
            task.exception()  # its caller may have left; then nobody else asks

    async def _once(
        self,
        work: Callable[[], Awaitable[T]],
        key: RequestKey,
        replay: Callable[[Any], T],
    ) -> T:
        """Try first and look after: repetitions are rare, and the work itself finds the key.

        A refusal may be the effect of the first request (the version it expected is gone, the id
        is taken), so the key is looked up then too. A key that is over or was forgotten meanwhile
        is free again, for whoever takes it first.
        """
        while True:
            try:
                return await said(work)
            except (KeyTaken, PlanStoreError) as refusal:
                kept = await self._kept(key)
                if kept is None:
                    if isinstance(refusal, KeyTaken):
                        continue
                    raise
            if kept["fingerprint"] != key.fingerprint:
                raise IdempotencyMismatch(
                    f"the idempotency key {key.key!r} was used for another request: "
                    "a repetition has the same body, a new request a new key"
                )
            return replay(kept["response"])

    async def _kept(self, key: RequestKey) -> Row | None:
        async with self._database.connection() as conn:
            kept = await keys.kept(conn, key, lifetime=KEY_LIFETIME)
            if kept is not None and kept["is_expired"]:
                await keys.forget(conn, key, lifetime=KEY_LIFETIME)
                return None
        return kept

    async def forget_old_keys(self) -> int:
        """Remove the keys whose lifetime is over, in bites; answers how many."""
        total = 0
        while True:
            async with self._database.connection() as conn:
                count = await keys.forget_old(conn, lifetime=KEY_LIFETIME, limit=_BITE)
            total += count
            if count < _BITE:
                return total


async def said(work: Callable[[], Awaitable[T]]) -> T:
    """Do ``work``; what the database has against it is said as an error of ours.

    A deadlock undid one of the rivals whole, so it can simply be done again.
    """
    for attempts_left in reversed(range(_ATTEMPTS)):
        try:
            return await work()
        except asyncpg.UniqueViolationError as error:
            raise refusals.of_violation(error) from error
        except asyncpg.DeadlockDetectedError as error:
            if not attempts_left:
                raise Unavailable("Rivals for the same rows were in the way; try again.") from error
    raise AssertionError
