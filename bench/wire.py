"""Counting round trips to PostgreSQL: a proxy that watches the direction of what passes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Self
from urllib.parse import parse_qsl, urlencode, urlsplit, urlunsplit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

_CHUNK = 65_536


class Wire:
    """A way to PostgreSQL on which round trips are counted.

    A round trip is what a client sends after the server was the last to speak, however many
    messages that is: it needs to know nothing of the protocol, so nothing can escape it.
    """

    def __init__(self, url: str) -> None:
        self._target = url
        self.url = ""
        """What to connect to instead."""
        self.round_trips = 0

    @classmethod
    @asynccontextmanager
    async def to(cls, url: str) -> AsyncGenerator[Self]:
        """Open a way to the database at ``url``."""
        wire = cls(url)
        server = await asyncio.start_server(wire._serve, "127.0.0.1", 0)
        async with server:
            wire.url = _readdressed(url, server.sockets[0].getsockname()[1])
            yield wire
            server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        answers, questions = await _connect(self._target)
        was_answered = True

        async def ask() -> None:
            nonlocal was_answered
            while chunk := await reader.read(_CHUNK):
                self.round_trips += was_answered
                was_answered = False
                questions.write(chunk)
                await questions.drain()
            questions.close()

        async def answer() -> None:
            nonlocal was_answered
            while chunk := await answers.read(_CHUNK):
                was_answered = True
                writer.write(chunk)
                await writer.drain()
            writer.close()

        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(ask())
                group.create_task(answer())
        except* OSError:
            writer.close()
            questions.close()


async def _connect(url: str) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    parts = urlsplit(url)
    query = dict(parse_qsl(parts.query))
    host = query.get("host") or parts.hostname or "localhost"
    port = int(query.get("port") or parts.port or 5432)
    if host.startswith("/"):
        return await asyncio.open_unix_connection(f"{host}/.s.PGSQL.{port}")
    return await asyncio.open_connection(host, port)


def _readdressed(url: str, port: int) -> str:
    parts = urlsplit(url)
    user = parts.netloc.rpartition("@")[0]
    query = [(key, text) for key, text in parse_qsl(parts.query) if key not in {"host", "port"}]
    netloc = f"{user}@127.0.0.1:{port}" if user else f"127.0.0.1:{port}"
    return urlunsplit(parts._replace(netloc=netloc, query=urlencode(query)))
