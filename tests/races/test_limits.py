"""Plans that bound how many of their tasks are at work: never more, and never fewer for long."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest

from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimRequest
from planstore.models.idempotency import Idempotency
from tests.arranging import moved, status_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, complete_all, fail, release
from tests.rivals import behind_key, behind_plan
from tests.services.weaving import claimed, woven

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


async def most_at_work(database: Database) -> int:
    """How many tasks ran at once at most.

    A task that ends gives its place away by the same transaction, so its event comes first.
    """
    at_work, most = set[UUID](), 0
    for event in await all_events(database):
        if event.event_type == "task.started":
            at_work.add(event.aggregate_id)
        else:
            at_work.discard(event.aggregate_id)
        most = max(most, len(at_work))
    return most


async def offered_of(database: Database, plan: Plan) -> int:
    """How many of the plan's tasks run or may be claimed now."""
    async with database.connection() as conn:
        count = await conn.fetchval(
            "select count(*) from planstore.task_states s"
            " where s.plan_id = $1 and (s.status = 'running' or s.ready_at is not null)",
            plan.id,
        )
    assert isinstance(count, int)
    return count


@pytest.mark.parametrize("plan_type", ["dag", "sequential"])
async def test_however_many_claim_and_report_at_once_no_more_than_may_are_at_work(
    store: PlanStore, database: Database, plan_type: str
) -> None:
    names = [f"t{number}" for number in range(36)]
    fields = {name: {"sequence_order": n // 9} for n, name in enumerate(names)}
    plan, _ = await woven(
        store,
        {name: [] for name in names},
        fields=fields,
        plan_type=plan_type,
        max_parallel_tasks=3,
        retry_policy={"initial_delay_sec": 0},
    )

    async def worker(number: int) -> None:
        turn = number
        while await status_of(store, plan) == P.ACTIVE:
            for packet in await claim(store, f"w{number}", limit=1 + number % 3):
                turn += 1
                if turn % 5 == 0:
                    await release(store, packet)
                elif turn % 7 == 0:
                    await fail(store, packet)
                else:
                    await complete(store, packet)

    await asyncio.gather(*map(worker, range(6)))

    assert await most_at_work(database) == 3
    assert await status_of(store, plan) in {P.COMPLETED, P.FAILED}


async def test_those_who_end_at_once_open_as_many_places(
    store: PlanStore, elsewhere: PlanStore, database: Database, database_url: str
) -> None:
    plan, _ = await woven(store, {f"t{n}": [] for n in range(8)}, max_parallel_tasks=3)
    packets = await claim(store)
    assert len(packets) == 3

    async with behind_plan(database_url, plan.id) as queue:
        for packet in packets:
            await queue.join(complete(elsewhere, packet))
        await queue.release()

    assert await offered_of(database, plan) == 3
    assert len(await claim(store)) == 3


async def test_tasks_that_are_added_while_others_end_get_the_places_that_are_left(
    store: PlanStore, elsewhere: PlanStore, database: Database, database_url: str
) -> None:
    plan, _ = await woven(store, {"a": [], "b": []}, max_parallel_tasks=2)
    packets = await claim(store)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(task_of(store, plan))
        await queue.join(complete_all(elsewhere, packets))
        await queue.join(task_of(elsewhere, plan))
        await queue.release()

    assert await offered_of(database, plan) == 2
    assert len(await claim(store)) == 2


@pytest.mark.parametrize("is_lowered_first", [True, False])
async def test_a_limit_that_is_lowered_while_a_task_ends_holds(
    store: PlanStore,
    elsewhere: PlanStore,
    database: Database,
    database_url: str,
    *,
    is_lowered_first: bool,
) -> None:
    plan, _ = await woven(store, {f"t{n}": [] for n in range(6)}, max_parallel_tasks=3)
    packet, _ = await claim(store, limit=2)
    update = PlanUpdate(max_parallel_tasks=1)
    rivals: list[Any] = [elsewhere.update_plan(plan.id, update), complete(elsewhere, packet)]

    async with behind_plan(database_url, plan.id) as queue:
        for rival in rivals if is_lowered_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    assert await offered_of(database, plan) == 1
    assert await claim(store) == []


async def test_a_start_by_hand_while_a_task_ends_takes_one_place(
    store: PlanStore, elsewhere: PlanStore, database: Database, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": []}, max_parallel_tasks=1)
    a = await claimed(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(complete(elsewhere, a))
        started = await queue.join(moved(elsewhere, tasks["b"], S.RUNNING))
        await queue.release()

    assert (await started).status == S.RUNNING
    assert await offered_of(database, plan) == 1
    assert await claim(store) == []


async def test_a_place_that_waits_for_a_time_is_counted_though_its_task_is_just_claimed(
    store: PlanStore, database: Database, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": ["a"]}, max_parallel_tasks=2)
    a, b = sorted(await claim(store), key=lambda packet: str(packet.name))
    await fail(store, b, retry_in_seconds=3_000)
    late, key = ClaimRequest(worker_id="late"), Idempotency("claim")

    async with (
        behind_plan(database_url, plan.id) as of_plan,
        behind_key(database_url, key.of("claim_tasks", late)) as of_key,
    ):
        # Its transaction begins before the time comes that the other task waits for.
        await of_key.join(complete(store, a, idempotency=key))
        await _hand_out_now(database, b.id)
        claiming = await of_key.join(store.claim_tasks(late, idempotency=key))
        await of_plan.release()
        await of_key.one_waits_for_another()
        await of_key.release()

    assert [packet.id for packet in await claiming] == [b.id]
    assert await offered_of(database, plan) == 2
    assert [packet.id for packet in await claim(store)] == [tasks["c"].id]


async def _hand_out_now(database: Database, task_id: UUID) -> None:
    async with database.connection() as conn:
        await conn.execute(
            "update planstore.task_states set due_at = now(), ready_at = now() where task_id = $1",
            task_id,
        )
