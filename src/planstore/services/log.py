"""The log of all changes: lists of events in the order of their numbers, and single ones.

A list never shows an event before one with a lower number that may still come, so it ends where
the log isn't settled yet.
"""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

from planstore.errors import CursorGone, NotFound
from planstore.models.event import MAX_SEQ, EventPage, seq_in
from planstore.sql import log
from planstore.sql.log import Span, Wanted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.event import EventFilter, LoggedEvent
    from planstore.services.tailing import Horizon
    from planstore.sql.connection import Connection

PATIENCE: Final = 0.25
"""Seconds for which those who write are waited for where it is asked how far the log is settled."""

_LOOKED_AT: Final = 100_000
"""At how many events a page looks to find those that are wanted."""

_MOST_BYTES: Final = 16 * 1024 * 1024
"""Bytes of a page, as far as one event alone hasn't more."""

_LONGEST: Final = timedelta(hours=1)
"""How long a transaction that writes events goes on at most: its events have the time of its
beginning, and a number that was drawn later."""


async def get_event(database: Database, identifier: UUID) -> LoggedEvent:
    """Return one event, whole."""
    seq = seq_in(identifier)
    if seq <= MAX_SEQ:
        async with database.connection() as conn:
            event = await log.get(conn, seq)
        if event is not None and event.id == identifier:
            return event
    raise NotFound(f"there is no event {identifier}, or it is no longer kept")


async def list_events(
    database: Database,
    horizon: Horizon,
    wanted: EventFilter,
    *,
    after: int,
    limit: int,
    offset: int,
) -> EventPage:
    """Return the events after a place, as far as the log is settled."""
    is_at_end = await horizon.reach(patience=PATIENCE)
    refuse_foreign(horizon, after)
    through = horizon.drawn if is_at_end else await horizon.unbroken(after)
    async with database.connection() as conn:
        plan_ids = await _plans_of(conn, wanted)
        if plan_ids == []:
            page = EventPage()
        else:
            span = await _span(conn, wanted, after=after, through=through)
            page = await find(
                conn,
                span,
                _wanted(wanted),
                plan_ids=plan_ids,
                limit=limit,
                offset=offset,
                looked_at=_LOOKED_AT,
                most_bytes=_MOST_BYTES,
            )
        await refuse_gone(conn, after, plan_ids=plan_ids)
    return page


def _wanted(wanted: EventFilter) -> Wanted:
    return Wanted(
        wanted.event_type,
        wanted.aggregate_type,
        wanted.aggregate_id,
        wanted.created_after,
        wanted.created_before,
    )


async def _plans_of(conn: Connection, wanted: EventFilter) -> list[UUID] | None:
    """Return the plans whose events are looked at; None for all."""
    if wanted.plan_id is not None:
        return [*dict.fromkeys(wanted.plan_id)]
    if wanted.aggregate_id is not None:
        return await log.plans_of(conn, wanted.aggregate_id)
    return None


async def _span(conn: Connection, wanted: EventFilter, *, after: int, through: int) -> Span:
    """Return the part of the log in which the events of the wanted time are."""
    if wanted.created_after is not None:
        since = await log.around(conn, _shifted(wanted.created_after, -_LONGEST))
        after = max(after, since["low"])
    if wanted.created_before is not None:
        until = await log.around(conn, _shifted(wanted.created_before, _LONGEST))
        through = min(through, until["high"])
    return Span(after, through)


def _shifted(time: datetime, by: timedelta) -> datetime:
    try:
        return time + by
    except OverflowError:
        return time


async def find(
    conn: Connection,
    span: Span,
    wanted: Wanted,
    *,
    plan_ids: Sequence[UUID] | None,
    limit: int,
    offset: int = 0,
    looked_at: int,
    most_bytes: int,
) -> EventPage:
    """Return the first events of a part of the log that are wanted, of all plans or of these.

    ``looked_at``: after how many others it is left to the next page to go on; ``most_bytes``: of a
    page, as far as one event alone hasn't more.
    """
    end = None
    if any(each is not None for each in wanted):
        end = await _end_of_look(conn, span, plan_ids, looked_at)
    part = Span(span.after, span.through if end is None else min(end, span.through))
    found = await log.find(
        conn,
        part,
        wanted,
        plan_ids=plan_ids,
        limit=limit + 1,
        offset=offset,
        most_bytes=most_bytes,
    )
    page = EventPage(found[:limit])
    if len(found) > limit:
        page.next_after = page[-1].seq
    elif found and _may_be_cut(found, most_bytes):
        page.next_after = found[-1].seq
    elif part.through < span.through:
        page.next_after = part.through
        if offset and not found:
            passed = await log.count(conn, part, wanted, plan_ids=plan_ids)
            page.next_offset = offset - passed
    return page


def _may_be_cut(found: list[LoggedEvent], most_bytes: int) -> bool:
    """Whether events may have been left out since these have as many bytes as a page may have."""
    return _BYTES_OF_CHARACTER * sum(event.size for event in found) >= most_bytes


_BYTES_OF_CHARACTER: Final = 4
"""At most, in UTF-8."""


async def _end_of_look(
    conn: Connection, span: Span, plan_ids: Sequence[UUID] | None, looked_at: int
) -> int | None:
    """Return up to where a part of the log is looked through at a time; None: up to its end."""
    if plan_ids is not None:
        return await log.nth_of_plans(conn, plan_ids, after=span.after, number=looked_at)
    # There are no more events than numbers.
    first = await log.first(conn, after=span.after)
    return None if first is None else first + looked_at


def refuse_foreign(horizon: Horizon, after: int) -> None:
    """Refuse a place to which the log hadn't come when the horizon was last looked at.

    Raises:
        CursorGone: it is one of another log, or of an older copy of this one.
    """
    if after > horizon.drawn:
        raise CursorGone(
            f"the log has only come to {horizon.drawn}, so {after} is none of its places: begin "
            "anew, without a cursor"
        )


async def refuse_gone(conn: Connection, after: int, *, plan_ids: Sequence[UUID] | None) -> None:
    """Refuse to go on after a place if events after it are no longer kept.

    To be asked after they were read: what was gone by then is known by now. At the very beginning
    is whoever takes what there is.

    Raises:
        CursorGone: who goes on there would miss some.
    """
    pruned = await log.pruned(conn) if after else 0
    if after >= pruned:
        return
    if plan_ids is None or await log.is_curtailed(conn, plan_ids, after=after):
        raise CursorGone(
            f"events after {after} are no longer kept, up to {pruned}: list what there is, and go "
            "on from there"
        )
