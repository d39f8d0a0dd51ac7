"""Telling those who wait for work that there may be some, here and in other processes.

A hint is only ever a hint: who is woken looks for work, and who isn't looks by itself once in a
while. So hints may be late, lost or too many, and `NOTIFY`, which would hold up every commit that
it rides in (PostgreSQL takes a lock on the whole queue for it), is sent by itself, one for all that
became ready within a few milliseconds.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import suppress
from contextvars import Context
from typing import TYPE_CHECKING, Final

import asyncpg

from planstore.errors import PlanStoreError
from planstore.services.waiters import Waiter

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from planstore.db import Database
    from planstore.services.waiters import Wish
    from planstore.sql.connection import RowLike
    from planstore.sql.tasks import NewTask

CHANNEL: Final = "planstore_ready"

_APART: Final = 0.01
"""Seconds between two notifications of one process."""

_FIRST: Final = 4
"""Within how many rounds of the loop who was woken here has sent a search for work. Nothing else is
begun before: all else has its turn while PostgreSQL works on that."""

_FAILURES: Final = (PlanStoreError, asyncpg.PostgresError, asyncpg.InterfaceError)
"""What a hint may meet with: the next one may go well."""

_RECONNECT: Final = 1.0
"""Seconds between two attempts to listen again."""

logger = logging.getLogger("planstore")


class Wakeups:
    """Those of one process who wait for work, by what they ask for.

    Of those who ask for the same only one is woken at a time: it wakes the next one where it found
    as much as it wanted, so a thousand waiters don't all look for one task.
    """

    def __init__(self, database: Database) -> None:
        self._database = database
        self._waiting: dict[Hashable, deque[Waiter]] = {}
        self._hints = 0
        self._looked: set[Hashable] = set()
        """For what somebody has begun to look since the last hint."""
        self._is_stopped = False
        self._has_woken = False
        """Whether somebody here was woken by the last hint."""
        self._unsent = asyncio.Event()
        self._chores: list[asyncio.Task[None]] = []
        self._listener: asyncio.Task[None] | None = None

    @property
    def hints(self) -> int:
        """How many there have been."""
        return self._hints

    def look(self, shape: Hashable) -> int:
        """Note that somebody begins to look; answers how many hints there have been before."""
        self._looked.add(shape)
        return self._hints

    @property
    def waiting(self) -> int:
        """How many wait."""
        return sum(map(len, self._waiting.values()))

    @property
    def is_stopped(self) -> bool:
        """Whether nobody is to wait any more."""
        return self._is_stopped

    def stop(self) -> None:
        """Wake all who wait, for good."""
        self._is_stopped = True
        self._hints += 1
        for waiters in self._waiting.values():
            for waiter in waiters:
                waiter.wake()

    def hint(self) -> None:
        """Say that a task has become ready, or will at a time that nobody knew of."""
        self._has_woken = self._wake_all()
        if not self._chores:
            # It goes on after the request in which it begins, as the listener does.
            self._chores.append(asyncio.create_task(self._notify(), context=Context()))
        self._unsent.set()

    async def hint_before(self) -> None:
        """Do so before anything else is done: return once who was woken here searches for work."""
        self.hint()
        if self._has_woken:
            await give_way()

    def wake_next(self, shape: Hashable) -> bool:
        """Wake another one of those who ask for the same; answers whether there was one."""
        waiters = self._waiting.get(shape, ())
        while waiters:
            waiter = waiters.popleft()
            if not waiter.is_woken:
                waiter.wake()
                return True
        return False

    def take(self, new: NewTask) -> tuple[Waiter, Wish] | None:
        """Return somebody who waits for just such a task, and is to be given one or woken."""
        for waiters in self._waiting.values():
            for waiter in waiters:
                if waiter.wish is not None and not waiter.is_woken:
                    if not waiter.wish.fits(new):
                        break  # so it is with all who ask for the same
                    waiters.remove(waiter)
                    return waiter, waiter.wish
        return None

    async def wait(
        self, shape: Hashable, *, since: int, at_most: float, wish: Wish | None = None
    ) -> Sequence[RowLike]:
        """Wait until a hint comes that is newer than ``since``, or for ``at_most`` seconds.

        Answers what has been claimed meanwhile as it was wished, if anything.
        """
        if self._listener is None:
            self._listener = asyncio.create_task(self._listen(), context=Context())
        # Where somebody has begun to look since then, that one has others look if there is more.
        if self._is_stopped or (self._hints != since and shape not in self._looked):
            return ()
        waiter = Waiter(wish)
        self._waiting.setdefault(shape, deque()).append(waiter)
        try:
            return await waiter.wait(at_most=at_most)
        except asyncio.CancelledError:
            if waiter.has_missed_it:
                self.wake_next(shape)
            raise
        finally:
            self._forget(shape, waiter)

    def _forget(self, shape: Hashable, waiter: Waiter) -> None:
        waiters = self._waiting.get(shape)
        if waiters is not None:
            with suppress(ValueError):
                waiters.remove(waiter)
            if not waiters:
                del self._waiting[shape]

    def _wake_all(self) -> bool:
        self._hints += 1
        self._looked.clear()
        return sum(self.wake_next(shape) for shape in list(self._waiting)) > 0

    def _hear(self) -> None:
        self._wake_all()

    async def close(self) -> None:
        """Stop listening and notifying; a last hint is still sent."""
        if self._unsent.is_set():
            await self._send()
        chores = [*self._chores, *([self._listener] if self._listener else [])]
        for chore in chores:
            chore.cancel()
        await asyncio.gather(*chores, return_exceptions=True)

    async def _notify(self) -> None:
        while True:
            await self._unsent.wait()
            if self._has_woken:
                await give_way()
            await self._send()
            await asyncio.sleep(_APART)

    async def _send(self) -> None:
        self._unsent.clear()
        try:
            async with self._database.connection() as conn:
                await conn.execute(f"notify {CHANNEL}")
        except _FAILURES as error:
            logger.debug("a hint was not sent: %s", error)

    async def _listen(self) -> None:
        while True:
            try:
                async with self._database.listening(CHANNEL, self._hear) as lost:
                    self._hear()  # for what was missed while nobody listened
                    await lost.wait()
            except _FAILURES as error:
                logger.debug("hints of other processes are not heard: %s", error)
            await asyncio.sleep(_RECONNECT)


async def give_way() -> None:
    """Let those go first who were woken."""
    for _ in range(_FIRST):
        await asyncio.sleep(0)
