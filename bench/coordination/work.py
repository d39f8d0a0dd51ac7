"""What a worker process does through `PlanStore`."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final

from bench.coordination.pace import Load, Pace, Tally
from bench.server import POOL_SIZE
from planstore.models.claim import ClaimRequest, Completion, Result, Results, WorkPacket
from planstore.models.plan import PlanCreate, PlanStatus
from planstore.models.task import TaskBatch, TaskCreate, TaskDraft
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
    from uuid import UUID

NO_OP: Final = TaskDraft(description="Do nothing")

_PLANS: Final = 64
"""Over how many plans the calls that add tasks are spread."""

_GIVE_UP_AFTER: Final = 120
"""Seconds that a measurement may take beyond its own."""

_LOOK_AGAIN: Final = 0.1
"""Seconds that a lane waits for what another one unblocks, before it sees whether all is over."""


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[PlanStore]:
    """Open the store as a worker does whose database is there already."""
    async with PlanStore.open(url, pool_size=POOL_SIZE, migrate=False) as store:
        yield store


async def complete_batches(url: str, load: Load) -> Pace:
    """Claim and complete tasks: one call completes a batch and claims the next one."""

    async def complete(
        store: PlanStore, packets: list[WorkPacket], claim: ClaimRequest
    ) -> list[WorkPacket]:
        answer = await store.complete_tasks(
            Results(
                results=[
                    Result(task_id=each.id, fencing_token=each.fencing_token) for each in packets
                ],
                claim_next=claim,
            )
        )
        assert all(each.ok for each in answer.results)
        return answer.tasks

    return await _complete(url, load, complete)


async def complete_singly(url: str, load: Load) -> Pace:
    """Claim and complete tasks one at a time, by the verb for one task."""

    async def complete(
        store: PlanStore, packets: list[WorkPacket], claim: ClaimRequest
    ) -> list[WorkPacket]:
        (packet,) = packets
        completion = Completion(fencing_token=packet.fencing_token, claim_next=claim)
        return (await store.complete_task(packet.id, completion)).tasks

    return await _complete(url, load, complete)


async def _complete(
    url: str,
    load: Load,
    complete: Callable[[PlanStore, list[WorkPacket], ClaimRequest], Awaitable[list[WorkPacket]]],
) -> Pace:
    async with opened(url) as store:
        tally = Tally(load)

        async def lane(name: str) -> None:
            claim = ClaimRequest(worker_id=name, limit=load.size)
            patient = claim.model_copy(update={"wait_seconds": _LOOK_AGAIN})
            packets: list[WorkPacket] = []
            while not tally.is_over:
                packets = packets or await store.claim_tasks(patient)
                if packets:
                    done = len(packets)
                    packets = await complete(store, packets, claim)
                    tally.add(done)

        await at_once(load, lane)
        return tally.pace()


async def create_batches(url: str, load: Load) -> Pace:
    """Add tasks in batches, each to the next one of the plans."""
    async with opened(url) as store:
        drafts = [NO_OP] * load.size
        batches = cycle([TaskBatch(plan_id=plan, tasks=drafts) for plan in await _plans(store)])
        return await repeat(load, lambda: store.create_tasks(next(batches)))


async def create_singly(url: str, load: Load) -> Pace:
    """Add tasks one by one, each to the next one of the plans."""
    async with opened(url) as store:
        plans = await _plans(store)
        tasks = cycle([TaskCreate(plan_id=plan, **dict(NO_OP)) for plan in plans])
        return await repeat(load, lambda: store.create_task(next(tasks)))


async def _plans(store: PlanStore) -> list[UUID]:
    plan = PlanCreate(plan_type="parallel", status=PlanStatus.ACTIVE)
    return [(await store.create_plan(plan)).id for _ in range(_PLANS)]


async def repeat(load: Load, call: Callable[[], Awaitable[object]]) -> Pace:
    """Measure a call that does as many tasks as the load says."""
    tally = Tally(load)

    async def lane(_name: str) -> None:
        while not tally.is_over:
            await call()
            tally.add(load.size)

    await at_once(load, lane)
    return tally.pace()


async def at_once(load: Load, lane: Callable[[str], Coroutine[Any, Any, None]]) -> None:
    """Run the lanes of a load side by side."""
    async with asyncio.timeout(load.seconds + _GIVE_UP_AFTER), asyncio.TaskGroup() as group:
        for number in range(load.lanes):
            group.create_task(lane(f"lane {number}"))
