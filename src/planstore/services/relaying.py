"""Passing the log on to Redis: each event at least once, in order, by one server at a time.

The place up to which events were passed on is kept in the database, together with a lease for the
one who does it. Who dies stops renewing the lease, and another one takes it and goes on from there.
Who was held up until its lease had gone to another one finds out when it next notes its place; what
it sends before that is refused by Redis, since it bears an older term.
"""

from __future__ import annotations

import asyncio
import logging
import os
import random
import socket
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from planstore.errors import PlanStoreError
from planstore.services.publishing import Undelivered
from planstore.services.tailing import Follower
from planstore.sql import relays, tailing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.db import Database
    from planstore.models.event import LoggedEvent
    from planstore.services.publishing import Publisher
    from planstore.sql.relays import Lag, Lease

NAME: Final = "redis"
"""Of the relay, in the database."""

LEASE: Final = timedelta(seconds=5)
"""How long it takes at most until another server may take the place of one that has died."""

_RENEW_EVERY: Final = 1.0
_TAKE_EVERY: Final = 1.0
_TRY_AGAIN: Final = (0.1, 5.0)
"""Seconds until Redis is tried again: at first, and at most."""

_BITE: Final = 500
"""Events that are read at a time."""

MOST: Final = 20_000
"""Events that are passed on in a second, at most."""

FLOOD: Final = 15_000
"""Events that come in a second, from which on those who write them need the processors more."""

UNDER_FLOOD: Final = min(MOST, 1_500 * (os.cpu_count() or 1))
"""Events that are passed on in a second then: about a fortieth of the machine."""

_GAUGE_EVERY: Final = 0.2
"""Seconds between two looks at how many events come, as long as there are any."""

_SOON: Final = 0.01
_LATER: Final = 0.02
"""Seconds until the log is looked at again, where something was found and where nothing was."""

logger = logging.getLogger("planstore")


class _Superseded(Exception):  # it says what has happened, and never leaves this module
    """Another server has taken the lease."""


@dataclass(slots=True)
class RelayStatus:
    """How it goes on this server."""

    is_at_work: bool = False
    """Whether this server has the lease; else another one may."""
    is_connected: bool = False
    """Whether Redis answered when it was last asked by this server."""
    relayed: int = 0
    """Events that this server has passed on."""
    failures: int = 0
    """How often Redis couldn't be reached or refused."""


class Pace:
    """How fast events may be passed on, going by how fast others come."""

    def __init__(self) -> None:
        self.per_second = MOST
        """Events."""
        self._gauged = (0, -_GAUGE_EVERY)

    def is_due(self, now: float) -> bool:
        """Whether it is time to look how many events have come."""
        return now >= self._gauged[1] + _GAUGE_EVERY

    def gauge(self, last: int, now: float) -> None:
        """Note the number of the last event that has come."""
        before, at = self._gauged
        is_flood = before > 0 and last - before >= FLOOD * (now - at)
        self.per_second = UNDER_FLOOD if is_flood else MOST
        self._gauged = last, now


class Relay:
    """Passes the log on, while this server has the lease for it."""

    def __init__(self, database: Database, publisher: Publisher) -> None:
        self._database = database
        self._publisher = publisher
        self._holder = f"{socket.gethostname()} {os.getpid()}"
        self._place = 0
        self._renew_at = 0.0
        self._rest = _TRY_AGAIN[0]
        self._told: str | None = None
        self.status = RelayStatus()

    async def begin(self) -> None:
        """See to it that what is written from now on is passed on.

        The first relay of a database begins at the end of the log; any later one goes on where the
        one before has stopped.
        """
        async with self._database.connection() as conn:
            await relays.begin(conn, NAME)

    async def run(self) -> None:
        """Pass events on whenever no other server does, until cancelled."""
        try:
            while True:
                rest = await self._try()
                await asyncio.sleep(rest)
        finally:
            await self._publisher.close()

    async def lag(self) -> Lag:
        """Return how far Redis is behind the log, whichever server passes it on.

        Raises:
            Unavailable: the database can't be reached.
        """
        async with self._database.connection() as conn:
            lag = await relays.lag(conn, NAME)
        return lag or relays.Lag(0, 0.0)

    async def _try(self) -> float:
        """Work for as long as it goes; answers for how many seconds to rest then."""
        try:
            await self._work()
        except _Superseded:
            logger.info("Another server passes events on to Redis now")
        except Undelivered as error:
            self.status.is_connected = False
            self.status.failures += 1
            self._tell(error.why)
            self._rest = min(2 * self._rest, _TRY_AGAIN[1])
            return self._rest * random.uniform(0.5, 1)  # noqa: S311 - no secret
        except PlanStoreError as error:
            _end_if_cancelled()
            self._tell(error.detail)
        except Exception:
            _end_if_cancelled()
            logger.exception("Passing events on to Redis failed")
        return _TAKE_EVERY

    def _tell(self, why: str) -> None:
        """Say why events wait; once, though it is tried again and again."""
        if why != self._told:
            logger.warning("Events for Redis have to wait: %s", why)
            self._told = why

    def _went_well(self) -> None:
        self._rest = _TRY_AGAIN[0]
        if self._told is not None:
            logger.info("Events are passed on to Redis at %s again", self._publisher.where)
            self._told = None

    async def _work(self) -> None:
        async with self._database.connection() as conn:
            lease = await relays.take(conn, NAME, holder=self._holder, lease=LEASE)
        if lease is None:
            return
        self.status.is_at_work = True
        self._place = lease.place
        try:
            await self._check()
            await self._carry_on(lease)
        finally:
            self.status.is_at_work = False
            # Another server may reach Redis where this one doesn't.
            await self._release(lease)

    async def _check(self) -> None:
        await self._publisher.check()
        self.status.is_connected = True

    async def _carry_on(self, lease: Lease) -> None:
        """Pass on what comes, until it fails or another server has taken the lease."""
        now = asyncio.get_running_loop().time
        follower = Follower(self._database, place=lease.place)
        pace = Pace()
        self._renew_at = now() + _RENEW_EVERY
        while True:
            begun = now()
            events = await follower.next(limit=_BITE)
            if now() >= self._renew_at:
                await self._keep(lease)
                await self._check()
            if events:
                await self._pass_on(events, lease)
            if events and pace.is_due(begun):
                async with self._database.connection() as conn:
                    pace.gauge(await tailing.last(conn), now())
            rest = max(len(events) / pace.per_second, _SOON if events else _LATER)
            await asyncio.sleep(begun + rest - now())

    async def _pass_on(self, events: Sequence[LoggedEvent], lease: Lease) -> None:
        try:
            await self._publisher.publish(events, lease)
        except Undelivered as error:
            if error.delivered:
                self._place = events[error.delivered - 1].seq
            raise
        self._place = events[-1].seq
        self.status.relayed += len(events)
        self._went_well()
        await self._keep(lease)

    async def _keep(self, lease: Lease) -> None:
        async with self._database.connection() as conn:
            is_ours = await relays.keep(conn, NAME, term=lease.term, place=self._place, lease=LEASE)
        if not is_ours:
            raise _Superseded
        self._renew_at = asyncio.get_running_loop().time() + _RENEW_EVERY

    async def _release(self, lease: Lease) -> None:
        try:
            async with self._database.connection() as conn:
                await relays.release(conn, NAME, term=lease.term, place=self._place)
        except PlanStoreError as error:
            logger.debug("the lease ends by itself: %s", error.detail)


def _end_if_cancelled() -> None:
    # Where the database doesn't answer, the driver puts its own error in the place of this one.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
