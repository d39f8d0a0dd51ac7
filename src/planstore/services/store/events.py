"""The methods of `PlanStore` that tell what has happened, and for how long that is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.models.event import EventFilter
from planstore.models.page import DEFAULT_LIMIT
from planstore.services import log, pruning
from planstore.services.store.core import Core
from planstore.services.streaming import Subject

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AbstractAsyncContextManager
    from uuid import UUID

    from planstore.models.event import EventPage, LoggedEvent
    from planstore.models.retention import Kept, Pruned
    from planstore.services.streaming import EventStream


class Events(Core):
    """The methods of `PlanStore` that tell what has happened, and for how long that is known."""

    async def list_events(
        self,
        found: EventFilter | None = None,
        *,
        after: int = 0,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
    ) -> EventPage:
        """Return the events that a filter finds, in the order of their ``seq``.

        ``after``: the ``seq`` of the last one that is known already; 0 begins with the oldest that
        is kept. The list ends where an event may still come before another. As long as its
        ``next_after`` isn't None there may be more, also where it has fewer than ``limit``.

        Raises:
            CursorGone: events after that place are no longer kept.
            InvalidInput: ``limit`` or ``offset`` is out of range.
        """
        self._check_window(limit, offset)
        return await log.list_events(
            self._database,
            self._horizon,
            found or EventFilter(),
            after=after,
            limit=limit,
            offset=offset,
        )

    async def get_event(self, event_id: UUID) -> LoggedEvent:
        """Return an event with all of its payload, however large it is.

        Raises:
            NotFound: there is none, or it is no longer kept.
        """
        return await log.get_event(self._database, event_id)

    def stream_events(
        self,
        *,
        after: int | None = None,
        plan_id: UUID | None = None,
        event_types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
    ) -> AbstractAsyncContextManager[EventStream]:
        """Open a stream of events: of all, or of a plan, or of these types; in order, each once.

        ``after``: the ``seq`` of the last one that is known already; the stream begins now if it is
        left out. Iterate over it within the ``async with``; its ``place`` is where to go on later,
        here or in another process.

        Raises:
            NotFound: there is no such plan.
            CursorGone: events after that place are no longer kept; also while it is read.
        """
        subject = Subject(
            plan_id,
            None if event_types is None else frozenset(event_types),
            None if aggregate_types is None else frozenset(aggregate_types),
        )
        return self._feed.open(subject, after=after)

    async def watch_log(self) -> None:
        """Look where the log of events ends; a server does it all the time.

        So it is known where another transaction begins to write for long.
        """
        await self._horizon.reach(patience=log.PATIENCE)

    async def prune(self, kept: Kept) -> Pruned:
        """Remove old events, and plans that ended long ago, with their tasks; answers how many.

        The events of a plan go together, but `plan.deleted` stays.
        """
        return await pruning.prune(self._database, kept)

    async def preview_pruning(self, kept: Kept) -> Pruned:
        """Count what `prune` would remove now; nothing is changed."""
        return await pruning.preview(self._database, kept)
