"""The routes of events: what has happened, as a list and as it happens."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Annotated, Any, Final

from pydantic import Field, TypeAdapter, ValidationError
from starlette.requests import Request
from starlette.responses import Response

from planstore.errors import CursorGone, Fault, InvalidInput, Unavailable
from planstore.models.event import MAX_SEQ, AggregateTypes, Event, EventFilter
from planstore.models.fields import Record, shown
from planstore.models.page import DEFAULT_LIMIT
from planstore.models.query import Texts
from planstore.routers import reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.reading import NoQuery

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from starlette.types import Receive, Scope, Send

    from planstore.models.event import EventPage, LoggedEvent
    from planstore.services.streaming import EventStream, Told

Seq = Annotated[int, Field(ge=0, le=MAX_SEQ)]

_SEQ: Final = TypeAdapter[int](Seq)

_HEARTBEAT: Final = 15.0
"""Seconds after which a stream gives a sign of life, where nothing happens."""

_STALLED: Final = 20.0
"""Seconds for which a reader may take nothing at all."""

_AGAIN: Final = 1.0
"""Seconds until the next attempt where the database can't be reached."""

_RETRY: Final = 1_000
"""Milliseconds after which a browser whose stream has ended comes back."""

ABORT: Final = "planstore.abort"
"""What the server puts into the scope of a request: a function that cuts its connection off."""


class EventsQuery(EventFilter):
    """Which events to list."""

    after: Seq = 0
    """The `seq` after which the list begins: of the last event that is known already."""
    limit: Annotated[int, Field(ge=1)] = DEFAULT_LIMIT
    """How many at most; up to 1,000 unless the server is set otherwise."""
    offset: Annotated[int, Field(ge=0)] = 0
    """How many to pass over."""


class StreamQuery(Record):
    """Which events to be told of."""

    event_type: Texts | None = None
    """What happened, such as `task.completed`; of several one has to fit."""
    aggregate_type: AggregateTypes | None = None
    """What it happened to: `plan` or `task`."""
    after: Seq | None = None
    """The `seq` after which the stream begins; it begins now if left out. `Last-Event-ID` goes
    before it."""
    last_event_id: Seq | None = None
    """The same, for browsers that can't send the header."""


async def list_events(request: Request) -> Response:
    """List events in the order of their `seq`, as far as none can come before them any more.

    A page may hold less than `limit`, or nothing, and there is more all the same: as long as there
    is a `Link` header.
    """
    query = reading.parse_query(request, EventsQuery)
    names = EventFilter.model_fields.keys() & query.model_fields_set
    wanted = EventFilter.model_construct(**{name: getattr(query, name) for name in names})
    page = await context_of(request).store.list_events(
        wanted, after=query.after, limit=query.limit, offset=query.offset
    )
    content = f"[{','.join(event.json for event in page)}]"
    return Response(content, headers=_link(request, page), media_type="application/json")


def _link(request: Request, page: EventPage) -> dict[str, str]:
    if page.next_after is None:
        return {}
    url = request.url.include_query_params(after=page.next_after)
    url = (
        url.include_query_params(offset=page.next_offset)
        if page.next_offset
        else url.remove_query_params("offset")
    )
    return {"Link": f'<{url}>; rel="next"'}


async def get_event(request: Request) -> Response:
    """Answer one event with all of its payload, however large it is."""
    reading.parse_query(request, NoQuery)
    event = await context_of(request).store.get_event(reading.parse_id(request, "event_id"))
    return Response(event.json, media_type="application/json")


async def stream_events(request: Request) -> Response:
    """Tell of events as they happen, as server-sent events.

    `id` is the `seq`, `event` the type and `data` the event as JSON. Who comes back with the last
    `id` as `Last-Event-ID` goes on there, on any server: nothing is skipped, and nothing comes
    twice. An `id` that comes without data moves on over what wasn't asked for. The stream ends
    when the server does, and when its reader can't keep up.
    """
    return await _stream(request, plan_id=None)


async def stream_plan_events(request: Request) -> Response:
    """Tell of the events of a plan and its tasks as they happen, as `/events/stream` does."""
    return await _stream(request, plan_id=reading.parse_id(request, "plan_id"))


async def _stream(request: Request, *, plan_id: UUID | None) -> Response:
    query = reading.parse_query(request, StreamQuery)
    after = _parse_last_event_id(request)
    if after is None:
        after = query.last_event_id if query.last_event_id is not None else query.after
    stack = AsyncExitStack()
    stream = await stack.enter_async_context(
        context_of(request).store.stream_events(
            plan_id=plan_id,
            event_types=query.event_type,
            aggregate_types=query.aggregate_type,
            after=after,
        )
    )
    return StreamResponse(stream, stack)


def _parse_last_event_id(request: Request) -> int | None:
    """Return the place at which a reader wants to go on, as its browser says it.

    Raises:
        InvalidInput: it isn't one.
    """
    text = request.headers.get("last-event-id", "").strip()
    if not text:
        return None
    try:
        return _SEQ.validate_python(text)
    except ValidationError:
        fault = Fault("Last-Event-ID", f"it must be the seq of an event; it is {shown(text)}")
        raise InvalidInput("The place to go on from can't be read.", faults=(fault,)) from None


def server_sent(events: Sequence[LoggedEvent]) -> bytes:
    """Return events as they are sent: by the WHATWG's living standard of HTML, section 9.2.6."""
    return "".join(
        f"id: {event.seq}\nevent: {event.event_type}\ndata: {_on_one_line(event.json)}\n\n"
        for event in events
    ).encode()


def _on_one_line(json: str) -> str:
    # In JSON a line's end as such only stands between other things, where a blank does as well.
    if "\n" in json or "\r" in json:
        return json.replace("\n", " ").replace("\r", " ")
    return json


class StreamResponse(Response):
    """A stream of events, until its reader leaves or can't keep up, or the server ends."""

    media_type = "text/event-stream"

    def __init__(self, stream: EventStream, stack: AsyncExitStack) -> None:
        super().__init__(
            headers={
                "Cache-Control": "no-cache, no-transform",
                "X-Accel-Buffering": "no",  # proxies are to pass on each event at once
            }
        )
        del self.headers["content-length"]
        self._stream = stream
        self._stack = stack
        self._place = -1

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Send what comes, as long as somebody takes it."""
        start = {
            "type": "http.response.start",
            "status": self.status_code,
            "headers": self.raw_headers,
        }
        leaving = asyncio.create_task(self._departure(receive))
        try:
            async with self._stack:
                await send(start)
                if scope["method"] != "HEAD":
                    await self._send_all(send)
                await self._send(send, b"", is_more=False)
        except TimeoutError:
            # It took nothing for long, so it won't take an end either.
            if (abort := scope.get(ABORT)) is not None:
                abort()
                await leaving
        finally:
            leaving.cancel()
            await asyncio.gather(leaving, return_exceptions=True)

    async def _departure(self, receive: Receive) -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        self._stream.end()

    async def _send_all(self, send: Send) -> None:
        await self._send(send, b"retry: %d\n\n" % _RETRY)
        await self._send_place(send)
        while (told := await self._next()) is not None and not self._stream.is_outrun:
            if told.events:
                await self._send(send, told.rendered(server_sent))
                self._place = told.events[-1].seq
            else:
                await self._send_place(send)
        if self._stream.is_outrun:
            await self._send(send, b": too slow for what happens: go on after the last id\n\n")

    async def _next(self) -> Told | None:
        while not self._stream.is_over:
            try:
                return await self._stream.next(within=_HEARTBEAT)
            except Unavailable:
                await asyncio.sleep(_AGAIN)
            except CursorGone:
                return None  # it is told why when it comes back
        return None

    async def _send_place(self, send: Send) -> None:
        """Give a sign of life, and say up to where there is nothing that was asked for."""
        place = self._stream.place
        if place > self._place:
            self._place = place
            await self._send(send, b"id: %d\n\n" % place)
        else:
            await self._send(send, b":\n\n")

    async def _send(self, send: Send, body: bytes, *, is_more: bool = True) -> None:
        message: dict[str, Any] = {"type": "http.response.body", "body": body, "more_body": is_more}
        async with asyncio.timeout(_STALLED):
            await send(message)


EVENT_ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/events/stream",
        stream_events,
        tag="events",
        query=StreamQuery,
        media_types=("text/event-stream",),
        headers=("Last-Event-ID",),
        refusals=(410,),
    ),
    Endpoint(
        "GET",
        "/plans/{plan_id}/events/stream",
        stream_plan_events,
        tag="events",
        query=StreamQuery,
        media_types=("text/event-stream",),
        headers=("Last-Event-ID",),
        refusals=(404, 410),
    ),
    Endpoint(
        "GET",
        "/events/",
        list_events,
        tag="events",
        answer=list[Event],
        query=EventsQuery,
        refusals=(410,),
    ),
    Endpoint("GET", "/events/{event_id}", get_event, tag="events", answer=Event, refusals=(404,)),
)
