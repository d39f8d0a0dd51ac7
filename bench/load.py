"""The load generator: a process that sends ready-made requests over keep-alive connections.

It does as little as it can for each request, because it shares the machine with what it measures:
requests are bytes before the clock runs, and of an answer it reads the status and the length.
"""

from __future__ import annotations

import asyncio
import gc
import itertools
import json
import math
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from bench.process import Process

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator, Mapping, Sequence


@dataclass(frozen=True, slots=True)
class Work:
    """What is to be sent.

    A script is a run of requests that follow one another on one connection. Each connection takes
    the next script when it is through with one, so no two connections play the same at once.
    """

    scripts: Sequence[Sequence[bytes]]
    status: int
    """What each answer must have."""
    is_endless: bool = False
    """Whether the scripts may be played again."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What was measured."""

    requests: int
    seconds: float
    p50_ms: float
    p99_ms: float
    cpu_share: float
    """Of one processor, used by the generator itself: near 1, it measures nothing but itself."""

    @property
    def rate(self) -> float:
        """Requests per second."""
        return self.requests / self.seconds


def request(
    method: str, path: str, body: Any = None, headers: Mapping[str, str] | None = None
) -> bytes:
    """Make the bytes of a request; ``body`` is what becomes its JSON."""
    content = b"" if body is None else json.dumps(body).encode()
    fields = {"Host": "localhost", "User-Agent": "bench", "Accept": "*/*", **(headers or {})}
    if content:
        fields |= {"Content-Type": "application/json", "Content-Length": str(len(content))}
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return f"{method} {path} HTTP/1.1\r\n{lines}\r\n".encode() + content


class LoadGenerator:
    """The process; `running` starts it."""

    def __init__(self, process: Process) -> None:
        self._process = process

    @classmethod
    @contextmanager
    def running(cls) -> Generator[LoadGenerator]:
        """Start the process, and end it afterwards."""
        with Process.running() as process:
            yield cls(process)

    async def play(self, port: int, work: Work, *, connections: int, seconds: float) -> Outcome:
        """Send requests to a port of this machine for ``seconds``, or as long as there are any.

        Raises:
            RuntimeError: an answer has another status than it must have, or didn't come.
        """
        return await self._process.run(_play, port, work, connections, seconds)


async def _play(port: int, work: Work, connections: int, seconds: float) -> Outcome:
    gc.collect()
    gc.disable()
    try:
        return await _Play(work).run(port, connections, seconds)
    finally:
        gc.enable()


class _Play:
    """One measurement."""

    def __init__(self, work: Work) -> None:
        self.status = str(work.status).encode()
        self.scripts: Iterator[Sequence[bytes]] = (
            itertools.cycle(work.scripts) if work.is_endless else iter(work.scripts)
        )
        self.latencies: list[float] = []
        self.deadline = 0.0
        self._open = 0
        self._ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    async def run(self, port: int, connections: int, seconds: float) -> Outcome:
        loop = asyncio.get_running_loop()
        callers = [
            (await loop.create_connection(lambda: _Caller(self), "127.0.0.1", port))[1]
            for _ in range(connections)
        ]
        self._open = connections
        cpu = time.process_time()
        start = time.perf_counter()
        self.deadline = start + seconds
        for caller in callers:
            caller.go_on()
        async with asyncio.timeout(seconds + 60):
            await self._ended
        elapsed = time.perf_counter() - start
        ordered = sorted(self.latencies)
        return Outcome(
            requests=len(ordered),
            seconds=elapsed,
            p50_ms=percentile(ordered, 0.50) * 1_000,
            p99_ms=percentile(ordered, 0.99) * 1_000,
            cpu_share=(time.process_time() - cpu) / elapsed,
        )

    def leave(self) -> None:
        self._open -= 1
        if self._open == 0 and not self._ended.done():
            self._ended.set_result(None)

    def fail(self, why: str) -> None:
        if not self._ended.done():
            self._ended.set_exception(RuntimeError(why))


class _Caller(asyncio.Protocol):
    """One connection."""

    def __init__(self, play: _Play) -> None:
        self._play = play
        self._script: Iterator[bytes] = iter(())
        self._received = b""
        self._sent = 0.0
        self._is_done = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        # uvloop's transports don't derive from asyncio's.
        self._transport = cast("asyncio.Transport", transport)

    def go_on(self) -> None:
        """Send the next request, or leave."""
        assert self._transport is not None
        now = time.perf_counter()
        if now < self._play.deadline and (content := self._next()) is not None:
            self._sent = now
            self._transport.write(content)
        else:
            self._is_done = True
            self._transport.close()
            self._play.leave()

    def _next(self) -> bytes | None:
        content = next(self._script, None)
        if content is None and (script := next(self._play.scripts, None)) is not None:
            self._script = iter(script)
            content = next(self._script)
        return content

    def data_received(self, data: bytes) -> None:
        if self._received:
            data = self._received + data
        end = data.find(b"\r\n\r\n")
        if end < 0 or len(data) < end + 4 + content_length(data[: end + 2]):
            self._received = data
            return
        self._received = b""
        self._play.latencies.append(time.perf_counter() - self._sent)
        if data[9:12] != self._play.status:
            self._play.fail(f"an answer is not {self._play.status.decode()}: {data[:2000]!r}")
            return
        self.go_on()

    def connection_lost(self, exc: Exception | None) -> None:
        if not self._is_done:
            self._play.fail(f"the server closed a connection: {exc}")


def content_length(head: bytes) -> int:
    """Return what the head of an answer says of its content."""
    head = head.lower()
    at = head.index(b"content-length:") + 15
    return int(head[at : head.index(b"\r\n", at)])


def percentile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank percentile: the least value that ``share`` of all don't exceed."""
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]
