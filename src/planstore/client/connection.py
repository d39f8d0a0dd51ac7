"""What both clients do beside their methods: they open, send calls until answered, and close.

What is the same for both stands in `attempts` and `access`; here is only what has to wait.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Final, Self, TypeVar

import httpx2

from planstore.client.access import Access
from planstore.client.attempts import Attempts
from planstore.client.streaming import AsyncEventStream, EventStream

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator

    from planstore.client.attempts import Outcome
    from planstore.client.call import Call, Subscription
    from planstore.models.idempotency import Idempotency

T = TypeVar("T")

TIMEOUT: Final = 30.0
RETRY_FOR: Final = 30.0
POOL_SIZE: Final = 100


class AsyncConnection:
    """A server, as asynchronous code asks it."""

    def __init__(self, http: httpx2.AsyncClient, access: Access) -> None:
        self._http = http
        self._access = access

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.where}>"

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT,  # noqa: ASYNC109 - it is that of each answer, not of this call
        retry_for: float = RETRY_FOR,
        pool_size: int = POOL_SIZE,
    ) -> AsyncGenerator[Self]:
        """Open a client of the server at ``url``; nothing is sent before it is asked for something.

        ``timeout``: seconds that an answer may take, beside those that a claim waits.
        ``retry_for``: seconds for which a call is tried again, from its first failure; 0 tries
        once. ``pool_size``: connections at most.

        Raises:
            InvalidInput: the URL or the API key can't be one.
        """
        access = Access.to(
            url, api_key=api_key, timeout=timeout, retry_for=retry_for, pool_size=pool_size
        )
        async with httpx2.AsyncClient(**access.options) as http:
            yield cls(http, access)

    @property
    def where(self) -> str:
        """Which server it is, without any secret."""
        return self._access.where

    async def _do(self, call: Call[T], *, idempotency: Idempotency | None = None) -> T:
        attempts = Attempts(call, self._access, idempotency)
        while (pause := attempts.pause_after(await self._attempt(attempts))) is not None:  # noqa: ASYNC110 - what it waits for is elsewhere
            await asyncio.sleep(pause)
        answer = attempts.answer()
        further = attempts.further(answer)
        return answer if further is None else await self._do(further)

    async def _attempt(self, attempts: Attempts[T]) -> Outcome:
        try:
            return await self._http.request(**attempts.request)
        except httpx2.RequestError as error:
            return error

    @asynccontextmanager
    async def _open(self, subscription: Subscription) -> AsyncGenerator[AsyncEventStream]:
        stream = AsyncEventStream(self._http, self._access, subscription)
        try:
            await stream.connect()
            yield stream
        finally:
            await stream.close()


class Connection:
    """A server, as synchronous code asks it."""

    def __init__(self, http: httpx2.Client, access: Access) -> None:
        self._http = http
        self._access = access

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.where}>"

    @classmethod
    @contextmanager
    def open(
        cls,
        url: str,
        *,
        api_key: str | None = None,
        timeout: float = TIMEOUT,
        retry_for: float = RETRY_FOR,
        pool_size: int = POOL_SIZE,
    ) -> Generator[Self]:
        """Open a client of the server at ``url``; nothing is sent before it is asked for something.

        ``timeout``: seconds that an answer may take, beside those that a claim waits.
        ``retry_for``: seconds for which a call is tried again, from its first failure; 0 tries
        once. ``pool_size``: connections at most.

        Raises:
            InvalidInput: the URL or the API key can't be one.
        """
        access = Access.to(
            url, api_key=api_key, timeout=timeout, retry_for=retry_for, pool_size=pool_size
        )
        with httpx2.Client(**access.options) as http:
            yield cls(http, access)

    @property
    def where(self) -> str:
        """Which server it is, without any secret."""
        return self._access.where

    def _do(self, call: Call[T], *, idempotency: Idempotency | None = None) -> T:
        attempts = Attempts(call, self._access, idempotency)
        while (pause := attempts.pause_after(self._attempt(attempts))) is not None:
            time.sleep(pause)
        answer = attempts.answer()
        further = attempts.further(answer)
        return answer if further is None else self._do(further)

    def _attempt(self, attempts: Attempts[T]) -> Outcome:
        try:
            return self._http.request(**attempts.request)
        except httpx2.RequestError as error:
            return error

    @contextmanager
    def _open(self, subscription: Subscription) -> Generator[EventStream]:
        stream = EventStream(self._http, self._access, subscription)
        try:
            stream.connect()
            yield stream
        finally:
            stream.close()
