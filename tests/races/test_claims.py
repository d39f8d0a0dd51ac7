"""Rivals for ready tasks: each task has one holder, and a plan that hands out nothing has none."""

from __future__ import annotations

import asyncio
from itertools import chain, pairwise
from typing import TYPE_CHECKING, Any

import pytest

from planstore.errors import Claimed
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models import TaskUpdate
from planstore.models.claim import ClaimRequest, ClaimState
from planstore.models.idempotency import Idempotency
from tests.arranging import moved, plan_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, complete_all, renew
from tests.rivals import behind_key, behind_plan, behind_task
from tests.services.weaving import woven

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.claim import WorkPacket
    from planstore.models.idempotency import RequestKey
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


KEY = Idempotency("claim")


def key_of(worker: str) -> RequestKey:
    """Under which the answer to the worker's claim is kept."""
    return KEY.of("claim_tasks", ClaimRequest(worker_id=worker, limit=100))


async def test_of_two_claims_on_one_task_one_gets_it(store: PlanStore, database_url: str) -> None:
    task = await task_of(store, await plan_of(store))

    async with behind_key(database_url, key_of("w1")) as queue:
        first = await queue.join(claim(store, "w1", idempotency=KEY))
        assert await claim(store, "w2") == []
        await queue.release()

    (packet,) = await first
    assert (packet.id, packet.worker_id) == (task.id, "w1")
    assert await claim(store, "w2") == []


async def test_a_claim_takes_what_one_before_it_leaves(store: PlanStore, database_url: str) -> None:
    plan = await plan_of(store, plan_type="dag")
    tasks = [await task_of(store, plan) for _ in range(3)]
    two = ClaimRequest(worker_id="w1", limit=2)

    async with behind_key(database_url, KEY.of("claim_tasks", two)) as queue:
        first = await queue.join(store.claim_tasks(two, idempotency=KEY))
        left = await claim(store, "w2")
        await queue.release()

    assert [each.id for each in [*await first, *left]] == [task.id for task in tasks]


async def test_many_claimers_never_get_a_task_twice(store: PlanStore) -> None:
    plan, _ = await woven(store, {f"t{n}": [] for n in range(120)})
    other, _ = await woven(store, {f"t{n}": [] for n in range(60)})

    async def claimer(number: int) -> list[WorkPacket]:
        taken: list[WorkPacket] = []
        fields: dict[str, Any] = {"limit": 1 + number % 4, "plan": [None, plan, other][number % 3]}
        while packets := await claim(store, f"w{number}", **fields):
            taken += packets
        return taken

    taken = list(chain.from_iterable(await asyncio.gather(*map(claimer, range(12)))))

    assert len(taken) == len({packet.id for packet in taken}) == 180
    assert len({packet.fencing_token for packet in taken}) == 180


async def test_many_workers_run_each_task_of_a_graph_once(
    store: PlanStore, database: Database
) -> None:
    layers = 4
    needs = {
        f"{layer}-{n}": [f"{layer - 1}-{m % 6}" for m in (n, n + 1, n + 2)] if layer else []
        for layer in range(layers)
        for n in range(6)
    }
    plan, tasks = await woven(store, needs)

    async def worker(number: int) -> None:
        while (await store.get_plan(plan.id)).status == P.ACTIVE:
            packets = await claim(store, f"w{number}", limit=1 + number % 3)
            if number % 2:
                await asyncio.gather(*(complete(store, packet) for packet in packets))
            elif packets:
                await complete_all(store, packets)

    await asyncio.gather(*map(worker, range(6)))

    events = await all_events(database)
    for name, needed in needs.items():
        (started,) = [e.seq for e in events if _is(e, "task.started", tasks[name].id)]
        for other in needed:
            (ended,) = [e.seq for e in events if _is(e, "task.completed", tasks[other].id)]
            assert ended < started
    assert [e.event_type for e in events].count("plan.completed") == 1


def _is(event: Any, event_type: str, task_id: Any) -> bool:
    return event.event_type == event_type and event.aggregate_id == task_id


@pytest.mark.parametrize("verb", ["pause_plan", "cancel_plan"])
async def test_a_claim_passes_over_what_a_plan_is_just_taking_back(
    store: PlanStore, database_url: str, verb: str
) -> None:
    plan = await plan_of(store, plan_type="dag")
    tasks = [await task_of(store, plan) for _ in range(3)]

    # They are locked in the order of their ids, so all but the last are the rival's by then.
    async with behind_task(database_url, max(task.id for task in tasks)) as queue:
        await queue.join(getattr(store, verb)(plan.id))
        assert await claim(store) == []
        await queue.release()

    assert await claim(store) == []


@pytest.mark.parametrize(
    ("verb", "state"), [("pause_plan", ClaimState.RENEWED), ("cancel_plan", ClaimState.STOP)]
)
async def test_what_was_just_claimed_is_not_taken_back_with_the_rest(
    store: PlanStore, database_url: str, verb: str, state: ClaimState
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    later = await task_of(store, plan)

    async with behind_key(database_url, key_of("w1")) as queue:
        claimed = await queue.join(claim(store, idempotency=KEY))
        taking_back = await queue.join(getattr(store, verb)(plan.id))
        await queue.release()

    (packet,) = await claimed
    assert (await taking_back).status in {P.ACTIVE, P.CANCELLED}
    assert (await store.get_task(task.id)).status == S.RUNNING
    assert (await renew(store, packet)).state == state
    await complete(store, packet)
    assert (await store.get_task(later.id)).status in {S.PENDING, S.SKIPPED}
    assert await claim(store) == []


async def test_nothing_starts_between_a_pause_and_its_end(
    store: PlanStore, database: Database
) -> None:
    plan, _ = await woven(store, {f"t{n}": [] for n in range(80)})
    is_over = False

    async def worker(name: str) -> None:
        while not is_over or await claim(store, name, limit=1):
            for packet in await claim(store, name, limit=2):
                await complete(store, packet)

    async def pauser() -> None:
        nonlocal is_over
        for _ in range(8):
            await store.pause_plan(plan.id)
            await store.resume_plan(plan.id)
        is_over = True

    await asyncio.gather(worker("w1"), worker("w2"), worker("w3"), pauser())

    told = [
        event.event_type
        for event in await all_events(database)
        if event.event_type in {"plan.paused", "plan.resumed", "task.started"}
    ]
    assert told.count("plan.paused") == 8
    assert ("plan.paused", "task.started") not in set(pairwise(told))


async def test_a_start_by_hand_finds_what_was_claimed_meanwhile(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        late = await queue.join(moved(store, task, S.RUNNING))
        (packet,) = await claim(store)
        await queue.release()

    assert isinstance(late.exception(), Claimed)
    assert (await store.get_task(task.id)).worker_id == packet.worker_id


async def test_a_claim_passes_over_what_is_just_started_by_hand(
    store: PlanStore, database_url: str
) -> None:
    task = await task_of(store, await plan_of(store))
    start = TaskUpdate(status=S.RUNNING)

    async with behind_key(database_url, KEY.of(f"update_task {task.id}", start)) as queue:
        started = await queue.join(store.update_task(task.id, start, idempotency=KEY))
        assert await claim(store) == []
        await queue.release()

    assert ((await started).status, (await started).worker_id) == (S.RUNNING, None)
    assert await claim(store) == []
