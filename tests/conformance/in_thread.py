"""A synchronous client, asked from asynchronous tests."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any, Self

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from planstore.client import EventStream, PlanStoreClient
    from planstore.models import LoggedEvent


class InThread:
    """Has each method of a client run in a thread, to be awaited."""

    def __init__(self, client: PlanStoreClient) -> None:
        self._client = client

    def __getattr__(self, name: str) -> Callable[..., Any]:
        return partial(asyncio.to_thread, getattr(self._client, name))

    @asynccontextmanager
    async def stream_events(self, **subject: Any) -> AsyncGenerator[_Stream]:
        opened = self._client.stream_events(**subject)
        stream = await asyncio.to_thread(opened.__enter__)
        try:
            yield _Stream(stream)
        finally:
            await asyncio.to_thread(opened.__exit__, None, None, None)


class _Stream:
    def __init__(self, stream: EventStream) -> None:
        self._stream = stream

    @property
    def place(self) -> int:
        return self._stream.place

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> LoggedEvent:
        return await asyncio.to_thread(next, self._stream)
