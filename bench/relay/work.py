"""What the processes around the relay do: complete tasks at a steady pace, and listen."""

from __future__ import annotations

import asyncio
import json
import time
from typing import TYPE_CHECKING, Final

import hiredis

from bench.coordination.work import opened
from planstore.models.claim import ClaimRequest, Result, Results

if TYPE_CHECKING:
    from planstore.models.claim import WorkPacket

EVENTS_OF_A_TASK: Final = 2
"""That it was started and that it was completed."""

_AT_ONCE: Final = 50
"""Tasks that one call completes, while it claims as many."""

_SUBSCRIBE: Final = b"*2\r\n$9\r\nSUBSCRIBE\r\n$11\r\nevents:task\r\n"
_COUNT: Final = b"*3\r\n$6\r\nPUBSUB\r\n$6\r\nNUMSUB\r\n$11\r\nevents:task\r\n"
_GIVE_UP_AFTER: Final = 30

Times = dict[str, float]
"""When something happened to each task, by the clock that all processes share."""


async def complete_steadily(url: str, per_second: int, seconds: float) -> Times:
    """Complete tasks so that there are so many events per second; answers when each was kept."""
    size = max(1, min(_AT_ONCE, per_second // EVENTS_OF_A_TASK // 20))
    apart = size * EVENTS_OF_A_TASK / per_second
    kept: Times = {}
    async with opened(url) as store, asyncio.TaskGroup() as group:
        waiting: asyncio.Queue[list[WorkPacket]] = asyncio.Queue()
        claim = ClaimRequest(worker_id="bench", limit=size)

        async def complete() -> None:
            packets = await waiting.get() if not waiting.empty() else []
            packets = packets or await store.claim_tasks(claim)
            results = [
                Result(task_id=each.id, fencing_token=each.fencing_token) for each in packets
            ]
            answer = await store.complete_tasks(Results(results=results, claim_next=claim))
            now = time.monotonic()
            kept.update((str(each.id), now) for each in packets)
            waiting.put_nowait(answer.tasks)

        begun = time.monotonic()
        calls = 0
        while (now := time.monotonic()) < begun + seconds:
            while begun + calls * apart <= now:
                group.create_task(complete())
                calls += 1
            await asyncio.sleep(max(0, begun + calls * apart - time.monotonic()))
    return kept


async def until_subscribed(port: int) -> None:
    """Return once somebody listens: what is told before is told to nobody."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    parser = hiredis.Reader()
    async with asyncio.timeout(_GIVE_UP_AFTER):
        while True:
            writer.write(_COUNT)
            while not (counted := parser.gets()):
                parser.feed(await reader.read(1 << 10))
            if counted[1]:
                break
            await asyncio.sleep(0.01)
    writer.close()


async def listen(port: int, quiet: float) -> Times:
    """Subscribe to what happens to tasks; answers when each completion was told.

    It ends when nothing has been told for ``quiet`` seconds. It does as little as it can for each
    message, since it shares the machine with what it measures.
    """
    told: list[tuple[float, bytes]] = []
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(_SUBSCRIBE)
    parser = hiredis.Reader()
    patience = float(_GIVE_UP_AFTER)
    while True:
        try:
            data = await asyncio.wait_for(reader.read(1 << 20), patience)
        except TimeoutError:
            break
        now = time.monotonic()
        parser.feed(data)
        while message := parser.gets():
            if message[0] == b"message":
                patience = quiet
                told.append((now, message[2]))
    writer.close()
    return _completions(told)


def _completions(told: list[tuple[float, bytes]]) -> Times:
    times: Times = {}
    for when, text in told:
        event = json.loads(text)
        if event["event_type"] == "task.completed":
            times.setdefault(event["aggregate_id"], when)
    return times
