"""`max_parallel_tasks`: how many tasks of a plan may be ready or running at a time."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from planstore.models import PlanUpdate, TaskBatch, TaskDraft, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimRequest
from tests.arranging import moved, task_of
from tests.holder import claim, complete, complete_all, fail, release
from tests.services.weaving import claimed, woven
from tests.time_travel import end_leases, pass_time

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


def names_of(packets: list[WorkPacket]) -> str:
    return "".join(str(packet.name) for packet in packets)


FREE: dict[str, list[Any]] = {name: [] for name in "abcdef"}


async def test_a_plan_hands_out_no_more_tasks_than_may_be_at_work(store: PlanStore) -> None:
    await woven(store, FREE, max_parallel_tasks=2)

    first = await claim(store)

    assert names_of(first) == "ab"
    assert await claim(store) == []
    await complete(store, first[0])
    assert names_of(await claim(store)) == "c"


async def test_as_many_places_open_as_tasks_end(store: PlanStore) -> None:
    await woven(store, FREE, max_parallel_tasks=3)
    request = ClaimRequest(worker_id="w1", limit=10)

    answer = await complete_all(store, await claim(store), claim_next=request)

    assert names_of(answer.tasks) == "def"


async def test_a_place_goes_to_the_highest_priority_then_to_who_waits_longest(
    store: PlanStore,
) -> None:
    _, tasks = await woven(store, FREE, fields={"e": {"priority": 5}}, max_parallel_tasks=1)
    (e,) = await claim(store)
    await store.update_task(tasks["c"].id, TaskUpdate(priority=2))

    ran = [e]
    for _ in range(3):
        await complete(store, ran[-1])
        ran += await claim(store)

    assert names_of(ran) == "ecab"


@pytest.mark.parametrize("way", ["release", "fail", "lease"])
async def test_a_task_that_returns_leaves_its_place_and_gets_the_next_one(
    store: PlanStore, database: Database, way: str
) -> None:
    plan, _ = await woven(
        store, {"a": [], "b": []}, fields={"a": {"priority": 1}}, max_parallel_tasks=1
    )
    a = await claimed(store, plan)

    match way:
        case "release":
            await release(store, a)
        case "fail":
            await fail(store, a, retry_in_seconds=0)
        case _:
            await end_leases(database)
            await store.sweep()

    assert len(await claim(store)) == 1
    assert await claim(store) == []


async def test_a_task_that_waits_for_its_time_holds_no_place_that_others_could_use(
    store: PlanStore, database: Database
) -> None:
    plan, _ = await woven(store, {"a": [], "b": [], "c": []}, max_parallel_tasks=1)
    await fail(store, await claimed(store, plan), retry_in_seconds=50)

    b = await claimed(store, plan)
    await complete(store, b)
    c = await claimed(store, plan)
    await pass_time(database, 50)
    assert await claim(store) == []

    await complete(store, c)
    assert names_of(await claim(store)) == "a"


async def test_a_task_that_waits_alone_gets_its_place_at_its_time(
    store: PlanStore, database: Database
) -> None:
    plan, _ = await woven(store, {"a": []}, max_parallel_tasks=1)
    await fail(store, await claimed(store, plan), retry_in_seconds=50)
    assert await claim(store) == []

    await pass_time(database, 50)

    assert names_of(await claim(store)) == "a"


async def test_a_limit_that_is_raised_lowered_or_lifted_holds_at_once(store: PlanStore) -> None:
    plan, _ = await woven(store, FREE, max_parallel_tasks=1)
    sizes = [len(await claim(store))]

    for limit in (3, 2, None):
        await store.update_plan(plan.id, PlanUpdate(max_parallel_tasks=limit))
        sizes.append(len(await claim(store)))

    assert sizes == [1, 2, 0, 3]


async def test_what_was_ready_beyond_a_new_limit_is_no_longer_handed_out(store: PlanStore) -> None:
    plan, _ = await woven(store, FREE)

    await store.update_plan(plan.id, PlanUpdate(max_parallel_tasks=2))

    assert names_of(await claim(store)) == "ab"


async def test_a_start_by_hand_takes_a_place_whatever_the_limit(store: PlanStore) -> None:
    _, tasks = await woven(store, FREE, max_parallel_tasks=1)

    await moved(store, tasks["c"], S.RUNNING)
    assert await claim(store) == []
    await moved(store, tasks["d"], S.RUNNING)
    await moved(store, tasks["c"], S.COMPLETED)
    assert await claim(store) == []

    await moved(store, tasks["d"], S.COMPLETED)
    assert names_of(await claim(store)) == "a"


async def test_what_is_added_gets_the_places_that_are_left(store: PlanStore) -> None:
    plan, _ = await woven(store, {"a": []}, max_parallel_tasks=2)
    await claim(store)
    drafts = [TaskDraft(description="do it", name=name) for name in "bcd"]

    await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts))
    await task_of(store, plan, name="e", priority=100)

    assert len(await claim(store)) == 1


async def test_unblocked_tasks_get_the_places_that_are_left(store: PlanStore) -> None:
    plan, _ = await woven(
        store, {"a": [], "b": ["a"], "c": ["a"], "d": ["a"]}, max_parallel_tasks=2
    )

    ended = await complete(store, await claimed(store, plan))

    assert len(ended.unblocked) == 3
    assert len(await claim(store)) == 2


async def test_a_paused_plan_gives_its_places_anew_when_it_goes_on(store: PlanStore) -> None:
    plan, _ = await woven(store, FREE, max_parallel_tasks=2)
    a = await claimed(store, plan, limit=1)
    await store.pause_plan(plan.id)
    await complete(store, a)
    assert await claim(store) == []

    await store.resume_plan(plan.id)

    assert names_of(await claim(store)) == "bc"


async def test_the_next_order_gets_places_too(store: PlanStore) -> None:
    plan, _ = await woven(
        store,
        FREE,
        fields={name: {"sequence_order": n // 3} for n, name in enumerate(FREE)},
        plan_type="sequential",
        max_parallel_tasks=2,
    )

    ran: list[str] = []
    while packets := await claim(store, plan=plan):
        ran.append(names_of(packets))
        await complete_all(store, packets)

    assert ran == ["ab", "c", "de", "f"]


async def test_one_plans_limit_is_not_anothers(store: PlanStore) -> None:
    await woven(store, {"a": [], "b": []}, max_parallel_tasks=1)
    await woven(store, {"c": [], "d": []})

    assert names_of(await claim(store)) == "acd"
