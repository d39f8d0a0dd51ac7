"""What a worker process does that is measured, given the port of a server."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from uuid import UUID

from bench.caller import Caller
from bench.coordination.pace import Pace, Tally
from planstore.worker import Worker

if TYPE_CHECKING:
    from bench.coordination.pace import Load
    from planstore.models.claim import WorkPacket

CONCURRENCY: Final = 200
CLAIM_AHEAD: Final = 600

_ROUND_TRIPS: Final = 200


@dataclass(frozen=True, slots=True)
class Delays:
    """What a worker saw, in order."""

    starts: dict[UUID, float]
    """When the handler of each task began, by the clock of the machine."""
    round_trips: list[float]
    """Seconds that a request took which the server answers without asking anybody."""


async def carry_out(port: str, load: Load) -> Pace:
    """Carry out tasks that do nothing, in batches as the worker makes them."""
    worker = Worker(concurrency=CONCURRENCY, claim_ahead=CLAIM_AHEAD)
    tally = Tally(load)
    is_over = False

    @worker.task()
    async def do_nothing(_packet: WorkPacket) -> None:
        nonlocal is_over
        if is_over:
            return
        tally.add(1)
        if tally.is_over:
            is_over = True
            worker.stop()

    await worker.work(f"http://127.0.0.1:{port}")
    return tally.pace()


async def begin(port: str, count: int) -> Delays:
    """Wait for tasks one by one; answers when each began."""
    worker = Worker(concurrency=1)
    starts: dict[UUID, float] = {}

    @worker.task()
    async def note(packet: WorkPacket) -> None:
        starts[packet.id] = time.time()
        if len(starts) == count:
            worker.stop()

    await worker.work(f"http://127.0.0.1:{port}")
    return Delays(starts, await _round_trips(int(port)))


async def begin_bare(port: str, count: int) -> Delays:
    """The same by a caller that waits for tasks one by one, and no worker."""
    claim = {"worker_id": "bare", "wait_seconds": 10}
    starts: dict[UUID, float] = {}
    async with Caller.to(int(port)) as caller:
        while len(starts) < count:
            for task in (await caller.call("POST", "/tasks/claim", claim))["tasks"]:
                starts[UUID(task["id"])] = time.time()
                done = {"fencing_token": task["fencing_token"]}
                await caller.call("POST", f"/tasks/{task['id']}/complete", done)
    return Delays(starts, await _round_trips(int(port)))


async def _round_trips(port: int) -> list[float]:
    times: list[float] = []
    async with Caller.to(port) as caller:
        for _ in range(_ROUND_TRIPS):
            begun = time.perf_counter()
            await caller.call("GET", "/health/live")
            times.append(time.perf_counter() - begun)
    return times
