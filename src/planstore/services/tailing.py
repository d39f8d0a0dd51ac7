"""Following the log: each event once, in order, as soon as none can come before it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from planstore.sql import tailing

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.event import LoggedEvent
    from planstore.sql.connection import Connection

BITE: Final = 1_000
"""How many events are read at a time."""

_LEAST: Final = 64
"""How many are read at a time at first: twice as many as were told the last time."""

_LOOK_AGAIN: Final = 0.005
"""Seconds between two looks at who still writes."""

_RUN: Final = 10_000
"""How many numbers are looked at to see whether one is missing."""


class Horizon:
    """Up to where the log is settled, as far as this process knows."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.place: int | None = None
        """No event comes up to here any more that isn't there; None where nothing is known yet."""
        self.drawn = 0
        """The highest number that anybody had drawn when it was last looked."""

    def move(self, place: int) -> None:
        """Note that the log is settled up to ``place``."""
        self.place = place if self.place is None else max(self.place, place)

    async def reach(self, *, patience: float) -> bool:
        """Move to the last number that is drawn now; whether that was done within ``patience``.

        It takes as long as those who write at this moment; seconds at most ``patience``.
        """
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        async with self._database.connection() as conn:
            # Who draws a number holds the lock already, so the numbers are looked at first.
            drawn = await tailing.drawn(conn)
            writers = await tailing.writers(conn)
        while writers and loop.time() < deadline:
            await asyncio.sleep(_LOOK_AGAIN)
            async with self._database.connection() as conn:
                writers &= await tailing.writers(conn)
        if drawn < self.drawn and self.place is not None:
            # Another server has taken the place of one that had come further.
            self.place = min(self.place, drawn)
        self.drawn = drawn
        if not writers:
            self.move(drawn)
        return not writers

    async def unbroken(self, after: int) -> int:
        """Return up to where the log is settled for one who was told of all up to ``after``.

        Where a transaction goes on for long, that is up to the first number that is missing.
        """
        place = max(after, self.place or 0)
        async with self._database.connection() as conn:
            end = await tailing.unbroken(conn, place, limit=_RUN)
        if self.place == place:
            self.move(end)
        return end


class Follower:
    """A place in the log, and what comes after it."""

    def __init__(self, database: Database, *, place: int) -> None:
        self._database = database
        self.place = place
        """The number of the last event that was told: all up to it are past."""
        self._limit = _LEAST
        self._gap_seen = 0
        """Up to where gaps were seen that somebody may still fill."""
        self._writers: set[str] = set()
        """Who may, of those who wrote when they were seen."""
        self._is_whole_to = 0
        """Up to where nothing can come any more: what is missing there was given up."""

    @classmethod
    async def at_end(cls, database: Database) -> Follower:
        """Follow from now on: what is committed before this returns may not be told."""
        async with database.connection() as conn:
            place = await tailing.last(conn)
            writers = await tailing.writers(conn)
            while writers:
                await asyncio.sleep(_LOOK_AGAIN)
                writers &= await tailing.writers(conn)
        return cls(database, place=place)

    @property
    def is_held_up(self) -> bool:
        """Whether there are events that can't be told yet, since others may come before them."""
        return self._gap_seen > self.place

    async def next(self, *, limit: int = BITE) -> list[LoggedEvent]:
        """Return what comes next, as far as it is settled; empty if nothing is yet."""
        limit = min(limit, self._limit)
        async with self._database.connection() as conn:
            if self.is_held_up and not await self._has_one_ended(conn):
                return []
            found = await tailing.after(conn, self.place, limit=limit)
            settled = self._settled(found)
            if len(settled) < len(found) and not self.is_held_up:
                writers = await tailing.writers(conn)
                if writers:
                    self._gap_seen, self._writers = found[-1].seq, writers
                else:
                    # They have ended, so what they wrote is seen by whoever looks from now on.
                    self._is_whole_to = found[-1].seq
                    found = await tailing.after(conn, self.place, limit=limit)
                    settled = self._settled(found)
        self._limit = max(_LEAST, min(2 * len(settled), BITE))
        if settled:
            self.place = settled[-1].seq
        return settled

    async def _has_one_ended(self, conn: Connection) -> bool:
        """Whether anything may have come into the gaps: only who ends fills any."""
        left = self._writers & await tailing.writers(conn)
        has_ended = len(left) < len(self._writers)
        self._writers = left
        if not left:
            self._is_whole_to, self._gap_seen = self._gap_seen, 0
        return has_ended

    def _settled(self, found: list[LoggedEvent]) -> list[LoggedEvent]:
        """The events before the first gap that may still be filled."""
        place = self.place
        for number, event in enumerate(found):
            if event.seq > place + 1 and event.seq > self._is_whole_to:
                return found[:number]
            place = event.seq
        return found
