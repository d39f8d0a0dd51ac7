"""Events as they come, to any number of readers of one process.

One follower reads the log for all of them. Who begins further back reads up to where it stands by
itself, and joins it there. What a reader hasn't taken yet waits in a queue that is bounded: one who
can't keep up leaves the others, and reads by itself again.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from contextlib import asynccontextmanager
from contextvars import Context
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from planstore.errors import PlanStoreError, Unavailable
from planstore.services import log, refusals
from planstore.services.tailing import Follower
from planstore.sql import events, plans
from planstore.sql.log import Span, Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Callable, Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.event import LoggedEvent
    from planstore.services.tailing import Horizon

T = TypeVar("T")

MAX_QUEUED: Final = 10_000
"""Events that wait for a reader at most."""

MAX_QUEUED_BYTES: Final = 8 * 1024 * 1024
"""Bytes of these events at most, about."""

_MOST_BYTES: Final = 128 * 1024
"""Bytes of events that are handed over at once, as far as one alone hasn't more."""

_BITE: Final = 500
_LOOKED_AT: Final = 20_000
"""How many events one who isn't there yet reads at once, and looks at to find them."""

_ATTEMPTS: Final = 40
"""How often it waits so long where nothing is known of the log yet."""

_BUSY: Final = 0.004
_IDLE: Final = 0.025
"""Seconds between two looks at the log: while there is something to tell, and at most."""

_AGAIN: Final = 1.0
"""Seconds until the next look where the database can't be reached."""

logger = logging.getLogger("planstore")


@dataclass(frozen=True, slots=True)
class Subject:
    """What a reader is to be told of; of everything where nothing is said."""

    plan_id: UUID | None = None
    event_types: frozenset[str] | None = None
    aggregate_types: frozenset[str] | None = None

    def fits(self, event: LoggedEvent) -> bool:
        """Whether the event is one of these."""
        return (
            (self.plan_id is None or event.plan_id == self.plan_id)
            and (self.event_types is None or event.event_type in self.event_types)
            and (self.aggregate_types is None or event.aggregate_type in self.aggregate_types)
        )

    @property
    def wanted(self) -> Wanted:
        return Wanted(
            None if self.event_types is None else sorted(self.event_types),
            None if self.aggregate_types is None else sorted(self.aggregate_types),
        )


class Told:
    """Events that are told together, to one reader or to many."""

    def __init__(self, events: Sequence[LoggedEvent]) -> None:
        self.events = events
        self.size = sum(event.size for event in events)
        self._rendered: dict[object, object] = {}

    def rendered(self, render: Callable[[Sequence[LoggedEvent]], T]) -> T:
        """Return what ``render`` makes of them; it is made once for all readers."""
        if render not in self._rendered:
            self._rendered[render] = render(self.events)
        return self._rendered[render]  # pyright: ignore[reportReturnType] - what `render` returned

    def after(self, place: int) -> Told:
        """Return those that come after ``place``."""
        if not self.events or self.events[0].seq > place:
            return self
        return Told([event for event in self.events if event.seq > place])


_NOTHING: Final = Told(())


def _portions(events: Sequence[LoggedEvent]) -> list[Told]:
    """Put events together to be handed over at once."""
    portions: list[Told] = []
    begin = size = 0
    for number, event in enumerate(events):
        if size and size + event.size > _MOST_BYTES:
            portions.append(Told(events[begin:number]))
            begin, size = number, 0
        size += event.size
    portions.append(Told(events[begin:]))
    return portions


class EventStream:
    """The events of a subject, each once and in order, as they come.

    Iterate over it, or take several at once by `next`.
    """

    def __init__(self, feed: Feed, database: Database, subject: Subject, place: int) -> None:
        self._feed = feed
        self._database = database
        self.subject = subject
        self._place = place
        self._queue: deque[Told] = deque()
        self._queued = 0
        self._queued_bytes = 0
        self._waiter: asyncio.Future[None] | None = None
        self.is_joined = False
        """Whether it is told what the feed reads."""
        self.is_outrun = False
        """Whether more came than its reader took, and it had to begin reading by itself again."""
        self.is_over = False
        """Whether it has been ended."""

    @property
    def place(self) -> int:
        """The cursor: all events up to it have been handed over."""
        if self.is_joined and not self._queue:
            self._place = max(self._place, self._feed.place or 0)
        return self._place

    async def next(self, *, within: float | None = None) -> Told | None:
        """Return what comes next; None once the stream is over.

        What is returned has no events where none came ``within`` so many seconds, or where many
        were looked at in vain; the `place` has gone on even so.

        Raises:
            CursorGone: what would be next is no longer kept.
            Unavailable: the database can't be reached; the stream can be gone on with.
        """
        if self.is_over:
            return None
        if not self.is_joined and self._feed.place is not None:
            if self._place < self._feed.place:
                return await self._catch_up(self._feed.place)
            self._feed.join(self)
        if not self._queue:
            await self._wait(within)
        return self._taken()

    async def _catch_up(self, through: int) -> Told:
        plan_id = self.subject.plan_id
        plan_ids = None if plan_id is None else [plan_id]
        async with self._database.connection() as conn:
            page = await log.find(
                conn,
                Span(self._place, through),
                self.subject.wanted,
                plan_ids=plan_ids,
                limit=_BITE,
                looked_at=_LOOKED_AT,
                most_bytes=_MOST_BYTES,
            )
            await log.refuse_gone(conn, self._place, plan_ids=plan_ids)
        self._place = through if page.next_after is None else page.next_after
        return Told(page)

    async def _wait(self, within: float | None) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(within):
                await self._waiter
        except TimeoutError:
            pass
        finally:
            self._waiter = None

    def _taken(self) -> Told | None:
        if self.is_over:
            return None
        if not self._queue:
            return _NOTHING
        told = self._queue.popleft()
        self._queued -= len(told.events)
        self._queued_bytes -= told.size
        self._place = max(self._place, told.events[-1].seq)
        return told

    def put(self, told: Told) -> None:
        """Have it hand these over next; called by the feed, for each event once and in order."""
        told = told.after(self._place)
        if not told.events:
            return
        self._queue.append(told)
        self._queued += len(told.events)
        self._queued_bytes += told.size
        if self._queued > MAX_QUEUED or self._queued_bytes > MAX_QUEUED_BYTES:
            self._fall_back()
        self.wake()

    def _fall_back(self) -> None:
        self._feed.leave(self)
        self.is_outrun = True
        self._queue.clear()
        self._queued = self._queued_bytes = 0

    def end(self) -> None:
        """End it: nothing more comes."""
        self.is_over = True
        self._feed.leave(self)
        self.wake()

    def wake(self) -> None:
        """Have who waits for what comes next look again."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def __aiter__(self) -> AsyncIterator[LoggedEvent]:
        while (told := await self.next()) is not None:
            for event in told.events:
                yield event


class _Channel:
    """Those who are told of the same subject."""

    def __init__(self, subject: Subject) -> None:
        self.subject = subject
        self.streams: list[EventStream] = []
        self.events: list[LoggedEvent] = []
        """What they are to be told next."""

    def tell(self) -> None:
        if self.events:
            for told in _portions(self.events):
                for stream in [*self.streams]:
                    stream.put(told)
            self.events = []


class Feed:
    """What all streams of one process have in common: who reads the log for them."""

    def __init__(self, database: Database, horizon: Horizon) -> None:
        self._database = database
        self._horizon = horizon
        self.place: int | None = None
        """All events up to it were told to those who have joined; None while that isn't known."""
        self._streams: set[EventStream] = set()
        self._channels: dict[Subject, _Channel] = {}
        self._of_plans: dict[UUID, list[_Channel]] = {}
        self._of_all: list[_Channel] = []
        self._reading: asyncio.Task[None] | None = None
        self._is_stopped = False

    @asynccontextmanager
    async def open(self, subject: Subject, *, after: int | None) -> AsyncGenerator[EventStream]:
        """Open a stream of what comes after a place; None: of what is committed from now on.

        Raises:
            NotFound: there is no such plan, and no event of one.
            CursorGone: events after that place are no longer kept.
            Unavailable: the database can't be reached, or the end of the log isn't known for long.
        """
        place = await self._end_of_log() if after is None else after
        await self._check(subject, after)
        stream = EventStream(self, self._database, subject, place)
        self._streams.add(stream)
        if self._is_stopped:
            stream.end()
        elif self._reading is None or self._reading.done():
            # It goes on after the request in which it begins.
            self._reading = asyncio.create_task(self._read(), context=Context())
        try:
            yield stream
        finally:
            stream.end()
            self._streams.discard(stream)

    async def _end_of_log(self) -> int:
        for _ in range(_ATTEMPTS):
            is_reached = await self._horizon.reach(patience=log.PATIENCE)
            if self._horizon.place is not None:
                return self._horizon.drawn if is_reached else self._horizon.place
        raise Unavailable(
            "Another transaction has been writing for long, and until it ends it isn't known where "
            "the log of events ends. Repeat the request in a while."
        )

    async def _check(self, subject: Subject, after: int | None) -> None:
        plan_id = subject.plan_id
        if after is not None:
            await self._horizon.reach(patience=0)
            log.refuse_foreign(self._horizon, after)
        async with self._database.connection() as conn:
            if plan_id is not None:
                has_events = await events.beginning(conn, plan_id) is not None
                if not has_events and await plans.get(conn, plan_id) is None:
                    raise refusals.no_plan(plan_id)
            if after is not None:
                plan_ids = None if plan_id is None else [plan_id]
                await log.refuse_gone(conn, after, plan_ids=plan_ids)

    def join(self, stream: EventStream) -> None:
        """Tell a stream of all that comes from now on; it must have come as far as the feed."""
        channel = self._channels.get(stream.subject)
        if channel is None:
            channel = self._channels[stream.subject] = _Channel(stream.subject)
            self._beside(channel).append(channel)
        channel.streams.append(stream)
        stream.is_joined = True

    def leave(self, stream: EventStream) -> None:
        """Tell a stream of nothing any more."""
        if not stream.is_joined:
            return
        stream.is_joined = False
        channel = self._channels[stream.subject]
        channel.streams.remove(stream)
        if not channel.streams:
            del self._channels[stream.subject]
            self._beside(channel).remove(channel)
            if channel.subject.plan_id is not None and not self._beside(channel):
                del self._of_plans[channel.subject.plan_id]

    def _beside(self, channel: _Channel) -> list[_Channel]:
        """The channels of the same plan, or those of all plans."""
        plan_id = channel.subject.plan_id
        return self._of_all if plan_id is None else self._of_plans.setdefault(plan_id, [])

    def stop(self) -> None:
        """End all streams, and let none go on any more: the end is near."""
        self._is_stopped = True
        for stream in self._streams:
            stream.end()

    async def close(self) -> None:
        """End all streams, and stop reading."""
        self.stop()
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)

    async def _read(self) -> None:
        """Read the log for as long as somebody listens."""
        follower: Follower | None = None
        pause = _BUSY
        while self._streams:
            try:
                follower = follower or await self._begin()
                told = await follower.next() if follower else []
            except PlanStoreError as error:
                logger.debug("events have to wait: %s", error.detail)
                await asyncio.sleep(_AGAIN)
                continue
            except Exception:
                logger.exception("Reading the log of events failed")
                await asyncio.sleep(_AGAIN)
                continue
            if follower is not None and told:
                self._tell(told)
                self.place = follower.place
                self._horizon.move(follower.place)
            is_busy = bool(told) or follower is None or follower.is_held_up
            pause = _BUSY if is_busy else min(2 * pause, _IDLE)
            await asyncio.sleep(pause)
        self.place = None

    async def _begin(self) -> Follower | None:
        """Begin where the log is known to be settled; None while that isn't known anywhere."""
        await self._horizon.reach(patience=log.PATIENCE)
        if self._horizon.place is None:
            return None
        self.place = self._horizon.place
        for stream in self._streams:
            stream.wake()
        return Follower(self._database, place=self.place)

    def _tell(self, told: Sequence[LoggedEvent]) -> None:
        concerned = [*self._of_all]
        for channel in self._of_all:
            fits = channel.subject.fits
            channel.events = [event for event in told if fits(event)]
        if self._of_plans:
            for event in told:
                for channel in self._of_plans.get(event.plan_id, ()):
                    if channel.subject.fits(event):
                        if not channel.events:
                            concerned.append(channel)
                        channel.events.append(event)
        for channel in concerned:
            channel.tell()
