"""What callers of one process complete while another of them is at the plan is one statement."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from planstore.errors import StaleClaim
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from tests.holder import claim, complete, complete_all
from tests.rivals import behind_plan, behind_task
from tests.services.weaving import woven

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from planstore.db import Database
    from planstore.models import Plan
    from planstore.models.claim import EndedTask, WorkPacket
    from planstore.services.plan_store import PlanStore
    from tests.services.weaving import Woven

pytestmark = pytest.mark.usefixtures("stays_healthy")

_COUNT: Final = 4
_NEEDS: Final = {
    **{f"first-{n}": list[str]() for n in range(_COUNT)},
    **{f"then-{n}": [f"first-{n}"] for n in range(_COUNT)},
}

_TRANSACTIONS: Final = """
select count(distinct xmin::text) from planstore.events where event_type = 'task.completed'
"""

_CANCELLED: Final = """
select pg_cancel_backend(pid)
from pg_stat_activity
where datname = current_database() and wait_event_type = 'Lock'
"""


@pytest.fixture
async def made(store: PlanStore) -> tuple[Plan, Woven]:
    return await woven(store, _NEEDS)


@pytest.fixture
async def packets(store: PlanStore, made: tuple[Plan, Woven]) -> list[WorkPacket]:
    """Four tasks that run, each of which another one needs."""
    return sorted(await claim(store, plan=made[0]), key=lambda packet: packet.name or "")


async def begun(
    rivals: Sequence[Coroutine[None, None, EndedTask]],
) -> list[asyncio.Task[EndedTask]]:
    """Start them, and return once each waits for its turn."""
    started = [asyncio.create_task(each) for each in rivals]
    for _ in range(20):
        await asyncio.sleep(0)
    assert not any(each.done() for each in started)
    return started


async def test_each_is_told_what_it_unblocked_itself(
    store: PlanStore,
    database_url: str,
    database: Database,
    made: tuple[Plan, Woven],
    packets: list[WorkPacket],
) -> None:
    plan, tasks = made
    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(complete(store, packets[0]))
        others = await begun([complete(store, each) for each in packets[1:]])
        await queue.release()
        answers = [await first, *[await each for each in others]]

    assert [each.unblocked for each in answers] == [[tasks[f"then-{n}"].id] for n in range(_COUNT)]
    assert {each.status for each in answers} == {S.COMPLETED}
    async with database.connection() as conn:
        assert await conn.fetchval(_TRANSACTIONS) == 2


async def test_a_stale_one_is_refused_and_the_others_are_taken(
    store: PlanStore, database_url: str, made: tuple[Plan, Woven], packets: list[WorkPacket]
) -> None:
    late = packets[2].model_copy(update={"fencing_token": packets[2].fencing_token + 1_000})
    async with behind_plan(database_url, made[0].id) as queue:
        first = await queue.join(complete(store, packets[0]))
        others = await begun([complete(store, each) for each in (packets[1], late, packets[3])])
        await queue.release()

    await first
    answers = await asyncio.gather(*others, return_exceptions=True)
    assert [isinstance(each, StaleClaim) for each in answers] == [False, True, False]
    assert [(await store.get_task(each.id)).status for each in packets] == [
        S.COMPLETED,
        S.COMPLETED,
        S.RUNNING,
        S.COMPLETED,
    ]


async def test_the_same_task_twice_is_completed_once(
    store: PlanStore, database_url: str, made: tuple[Plan, Woven], packets: list[WorkPacket]
) -> None:
    async with behind_plan(database_url, made[0].id) as queue:
        first = await queue.join(complete(store, packets[0]))
        others = await begun([complete(store, packets[1]) for _ in range(2)])
        await queue.release()

    await first
    answers = [await each for each in others]
    assert {each.status for each in answers} == {S.COMPLETED}
    assert sorted(len(each.unblocked) for each in answers) == [0, 1]


async def test_where_the_statement_fails_each_does_its_part_alone(
    store: PlanStore,
    database_url: str,
    database: Database,
    made: tuple[Plan, Woven],
    packets: list[WorkPacket],
) -> None:
    plan, tasks = made
    async with behind_task(database_url, packets[1].id) as held:
        async with behind_plan(database_url, plan.id) as queue:
            first = await queue.join(complete(store, packets[0]))
            others = await begun([complete(store, each) for each in packets[1:]])
            await queue.release()
        await first
        await held.somebody_waits()
        async with database.connection() as conn:
            await conn.fetch(_CANCELLED)
        await held.release()
    answers = [await each for each in others]

    assert [each.unblocked for each in answers] == [
        [tasks[f"then-{n}"].id] for n in range(1, _COUNT)
    ]
    async with database.connection() as conn:
        assert await conn.fetchval(_TRANSACTIONS) == _COUNT


async def test_a_batch_of_several_plans_is_completed_plan_by_plan(store: PlanStore) -> None:
    plans = [(await woven(store, {"only": []}))[0] for _ in range(3)]
    packets = await claim(store)

    answer = await complete_all(store, packets)

    assert [each.ok for each in answer.results] == [True] * 3
    assert [each.task_id for each in answer.results] == [each.id for each in packets]
    assert {(await store.get_plan(each.id)).status for each in plans} == {P.COMPLETED}
