"""Something between a client and a server that loses answers, and gives some of its own."""

from __future__ import annotations

import asyncio
import re
from collections import deque
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator
    from typing import Self

_KEY: Final = re.compile(rb"idempotency-key: (\S+)", re.IGNORECASE)
_REQUEST: Final = re.compile(rb"^(?:GET|POST|PUT|PATCH|DELETE) \S+ HTTP/1\.1\r\n")


class Proxy:
    """Passes bytes on between clients and a server."""

    def __init__(self, port: int) -> None:
        self._port = port
        self.url = ""
        self.lost_answers = 0
        """How many answers are still to be lost, once the server has given them."""
        self.answers: deque[bytes] = deque()
        """What is to be answered here instead of asking the server."""
        self.requests = 0
        """How many requests came."""
        self.keys: list[bytes] = []
        """The idempotency keys that they bore."""
        self._writers: set[asyncio.StreamWriter] = set()

    @classmethod
    @asynccontextmanager
    async def before(cls, port: int) -> AsyncGenerator[Self]:
        proxy = cls(port)
        listening = await asyncio.start_server(proxy._serve, "127.0.0.1", 0)
        _, own_port = listening.sockets[0].getsockname()
        proxy.url = f"http://127.0.0.1:{own_port}"
        try:
            yield proxy
        finally:
            listening.close()
            proxy.cut()

    def answer(self, status: str, *headers: str, body: str = "") -> None:
        """Have the next request answered here."""
        head = [f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers]
        self.answers.append("\r\n".join([*head, "", body]).encode())

    def cut(self) -> None:
        """Cut all connections off."""
        for each in self._writers:
            each.transport.abort()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        there, to_server = await asyncio.open_connection("127.0.0.1", self._port)
        passing_back = asyncio.create_task(self._pass_back(there, writer))
        try:
            while data := await reader.read(65_536):
                self.requests += bool(_REQUEST.match(data))
                self.keys += _KEY.findall(data)
                if self.answers:
                    writer.write(self.answers.popleft())
                    await writer.drain()
                    return
                to_server.write(data)
        except ConnectionError:
            pass
        finally:
            self._writers.discard(writer)
            passing_back.cancel()
            to_server.close()
            writer.close()

    async def _pass_back(self, there: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await there.read(65_536):
            if self.lost_answers:
                self.lost_answers -= 1
                break
            writer.write(data)
        writer.transport.abort()
