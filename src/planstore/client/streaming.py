"""Streams of events over HTTP: they go on where they were when a connection is lost."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Any, Final

import httpx2

from planstore.client.attempts import Retrying, refusal_in
from planstore.models.event import Event, LoggedEvent

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator
    from typing import Self

    from planstore.client.access import Access
    from planstore.client.attempts import Outcome
    from planstore.client.call import Subscription

_SILENCE: Final = 45.0
"""Seconds without a sign of life: the server gives one every 15."""


class Reading:
    """How far a stream has been read, and what becomes of a failure."""

    def __init__(self, access: Access, subscription: Subscription) -> None:
        self._access = access
        self._subscription = subscription
        self.place = subscription.after
        """All events up to it were handed over; None before the server has said where it begins."""
        self._retrying = Retrying(access.retry_for)

    @property
    def request(self) -> dict[str, Any]:
        """What is sent to begin, or to go on, in the words of httpx2."""
        query = self._subscription.query
        return {
            "method": "GET",
            "url": self._subscription.path,
            "params": {name: value for name, value in query.items() if value is not None},
            "headers": {
                "Accept": "text/event-stream",
                **({} if self.place is None else {"Last-Event-ID": str(self.place)}),
            },
            "timeout": self._access.timeouts(read=_SILENCE),
        }

    def taken(self, sent: httpx2.ServerSentEvent) -> LoggedEvent | None:
        """Take what the server has sent; returns the event in it, where there is a new one."""
        self._retrying = Retrying(self._access.retry_for)
        if not sent.id:
            return None
        place = int(sent.id)
        if self.place is not None and place <= self.place:
            return None
        self.place = place
        if not sent.data:
            return None
        return LoggedEvent.encoded(Event.model_validate_json(sent.data, extra="ignore"))

    def pause_after(self, outcome: Outcome) -> float:
        """Return after how many seconds it is to be tried again.

        Raises:
            PlanStoreError: it isn't, and why.
        """
        pause = self._retrying.pause_after(outcome)
        if pause is not None:
            return pause
        self._retrying = Retrying(self._access.retry_for)
        raise refusal_in(outcome, self._access)


_OVER: Final = httpx2.RemoteProtocolError("the stream has ended")


class AsyncEventStream:
    """The events of a subject, each once and in order, as they come.

    Iterate over it. Where the server can't be reached for long it raises `Unavailable`, and can be
    gone on with.
    """

    def __init__(
        self, http: httpx2.AsyncClient, access: Access, subscription: Subscription
    ) -> None:
        self._http = http
        self._reading = Reading(access, subscription)
        self._response: httpx2.Response | None = None
        self._sent: AsyncIterator[httpx2.ServerSentEvent] | None = None

    @property
    def place(self) -> int:
        """The cursor: all events up to it have been handed over."""
        assert self._reading.place is not None
        return self._reading.place

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LoggedEvent:
        while (event := self._reading.taken(await self._next())) is None:
            pass
        return event

    async def connect(self) -> None:
        """Have the server tell of events, and say where it begins: before it tells of any."""
        self._reading.taken(await self._next())
        while self._reading.place is None:
            self._reading.taken(await self._next())

    async def _next(self) -> httpx2.ServerSentEvent:
        while not isinstance(outcome := await self._attempt(), httpx2.ServerSentEvent):
            await self.close()
            await asyncio.sleep(self._reading.pause_after(outcome))
        return outcome

    async def _attempt(self) -> httpx2.ServerSentEvent | Outcome:
        try:
            if self._sent is None:
                request = self._http.build_request(**self._reading.request)
                self._response = await self._http.send(request, stream=True)
                if not self._response.is_success:
                    await self._response.aread()
                    return self._response
                self._sent = aiter(httpx2.EventSource(self._response, max_event_size=None))
            return await anext(self._sent)
        except StopAsyncIteration:
            return _OVER
        except httpx2.RequestError as error:
            return error

    async def close(self) -> None:
        """Let the connection go."""
        response, self._response, self._sent = self._response, None, None
        if response is not None:
            await response.aclose()


class EventStream:
    """The events of a subject, each once and in order, as they come.

    Iterate over it. Where the server can't be reached for long it raises `Unavailable`, and can be
    gone on with.
    """

    def __init__(self, http: httpx2.Client, access: Access, subscription: Subscription) -> None:
        self._http = http
        self._reading = Reading(access, subscription)
        self._response: httpx2.Response | None = None
        self._sent: Iterator[httpx2.ServerSentEvent] | None = None

    @property
    def place(self) -> int:
        """The cursor: all events up to it have been handed over."""
        assert self._reading.place is not None
        return self._reading.place

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> LoggedEvent:
        while (event := self._reading.taken(self._next())) is None:
            pass
        return event

    def connect(self) -> None:
        """Have the server tell of events, and say where it begins: before it tells of any."""
        self._reading.taken(self._next())
        while self._reading.place is None:
            self._reading.taken(self._next())

    def _next(self) -> httpx2.ServerSentEvent:
        while not isinstance(outcome := self._attempt(), httpx2.ServerSentEvent):
            self.close()
            time.sleep(self._reading.pause_after(outcome))
        return outcome

    def _attempt(self) -> httpx2.ServerSentEvent | Outcome:
        try:
            if self._sent is None:
                request = self._http.build_request(**self._reading.request)
                self._response = self._http.send(request, stream=True)
                if not self._response.is_success:
                    self._response.read()
                    return self._response
                self._sent = iter(httpx2.EventSource(self._response, max_event_size=None))
            return next(self._sent)
        except StopIteration:
            return _OVER
        except httpx2.RequestError as error:
            return error

    def close(self) -> None:
        """Let the connection go."""
        response, self._response, self._sent = self._response, None, None
        if response is not None:
            response.close()
