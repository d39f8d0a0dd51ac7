"""One caller over HTTP: a keep-alive connection and no more around it than the JSON."""

from __future__ import annotations

import asyncio
import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from bench.load import content_length, request

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_MOST_HEAD = 65_536


class Caller:
    """A connection on which one request follows another."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    @asynccontextmanager
    async def to(cls, port: int) -> AsyncGenerator[Caller]:
        """Connect to a port of this machine."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=_MOST_HEAD)
        try:
            yield cls(reader, writer)
        finally:
            writer.close()

    async def call(self, method: str, path: str, body: Any = None) -> Any:
        """Send a request and return the JSON of its answer.

        Raises:
            RuntimeError: the answer is a refusal.
        """
        self._writer.write(request(method, path, body))
        head = await self._reader.readuntil(b"\r\n\r\n")
        content = await self._reader.readexactly(content_length(head))
        if not head.startswith(b"HTTP/1.1 2"):
            raise RuntimeError(f"{method} {path} is refused: {content[:2000]!r}")
        return json.loads(content)
