"""Single creates of many callers, made by one statement: each is answered for itself."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest

from planstore.errors import AlreadyExists, IdempotencyMismatch, NotFound, PlanClosed
from planstore.models import Plan, PlanStatus, Task, TaskCreate
from planstore.models.idempotency import Idempotency
from tests.arranging import plan_of, set_to, task_of
from tests.holder import claim
from tests.rivals import behind_plan

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


def create(
    store: PlanStore, plan: Plan | UUID, *, idempotency: Idempotency | None = None, **fields: Any
) -> Coroutine[Any, Any, Task]:
    plan_id = plan.id if isinstance(plan, Plan) else plan
    given = {"plan_id": plan_id, "description": "do it", **fields}
    return store.create_task(TaskCreate.model_validate(given), idempotency=idempotency)


async def test_of_creates_at_once_only_the_bad_one_is_refused(store: PlanStore) -> None:
    plan, closed = await plan_of(store), await plan_of(store)
    taken = await task_of(store, plan, name="taken")
    await set_to(store, closed, PlanStatus.CANCELLED)
    bad = [
        (create(store, uuid4()), NotFound),
        (create(store, closed), PlanClosed),
        (create(store, plan, name="taken"), AlreadyExists),
        (create(store, plan, id=taken.id), AlreadyExists),
    ]
    good = [create(store, plan, name=f"good {number}") for number in range(8)]

    answers = await asyncio.gather(*(call for call, _ in bad), *good, return_exceptions=True)

    assert [type(answer) for answer in answers[: len(bad)]] == [error for _, error in bad]
    made = answers[len(bad) :]
    assert {each.name for each in made if isinstance(each, Task)} == {
        f"good {number}" for number in range(8)
    }
    assert len(await store.list_tasks(plan_id=plan.id)) == 9
    assert await store.list_tasks(plan_id=closed.id) == []


async def test_of_creates_of_one_name_at_once_one_is_made(store: PlanStore) -> None:
    plan = await plan_of(store)

    answers = await asyncio.gather(
        *(create(store, plan, name="same") for _ in range(6)), return_exceptions=True
    )

    (made,) = [answer for answer in answers if isinstance(answer, Task)]
    assert sum(isinstance(answer, AlreadyExists) for answer in answers) == 5
    assert await store.list_tasks(plan_id=plan.id) == [made]


async def test_of_creates_of_one_key_at_once_all_are_answered_by_one_task(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    key = Idempotency("once")
    same = [create(store, plan, name="same", idempotency=key) for _ in range(5)]
    other = create(store, plan, name="other", idempotency=key)

    *answers, refusal = await asyncio.gather(*same, other, return_exceptions=True)

    assert isinstance(refusal, IdempotencyMismatch)
    assert await store.list_tasks(plan_id=plan.id) == answers[:1]
    assert answers == answers[:1] * 5


async def test_creates_at_once_have_orders_of_their_own(store: PlanStore) -> None:
    plans = [await plan_of(store) for _ in range(3)]

    await asyncio.gather(*(create(store, plans[n % 3]) for n in range(30)))

    for plan in plans:
        orders = [task.sequence_order for task in await store.list_tasks(plan_id=plan.id)]
        assert orders == list(range(1, 11))
        assert (await store.get_plan(plan.id)).revision == 11


async def test_a_plan_that_is_held_holds_up_only_its_own_creates(
    store: PlanStore, database_url: str
) -> None:
    held, free = await plan_of(store), await plan_of(store)

    async with behind_plan(database_url, held.id) as queue:
        first = await queue.join(create(store, held, name="first"))
        others = [asyncio.create_task(create(store, held, name=f"t{n}")) for n in range(4)]
        made = [await create(store, free) for _ in range(4)]
        mixed = await asyncio.gather(*(create(store, free) for _ in range(4)))
        assert not first.done()
        await queue.release()

    assert len(await store.list_tasks(plan_id=free.id)) == len(made) + len(mixed)
    assert (await first).sequence_order == 1
    assert sorted([(await task).sequence_order for task in others]) == [2, 3, 4, 5]


async def test_a_create_that_comes_with_those_of_a_held_plan_does_not_wait(
    store: PlanStore, database_url: str
) -> None:
    held, other, free = [await plan_of(store) for _ in range(3)]

    async with (
        behind_plan(database_url, held.id) as queue,
        behind_plan(database_url, other.id) as other_queue,
    ):
        waiting = [asyncio.create_task(create(store, plan)) for plan in (held, other, held, other)]
        await create(store, free)
        assert not any(task.done() for task in waiting)
        await other_queue.release()
        for task in (waiting[1], waiting[3]):
            await task
        assert not waiting[0].done()
        await queue.release()

    for task in waiting:
        await task
    assert len(await claim(store)) == 3


async def test_a_create_that_waited_finds_its_plan_closed(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(store.cancel_plan(plan.id))
        late = [await queue.join(create(store, plan)), asyncio.create_task(create(store, plan))]
        await queue.release()

    for refusal in await asyncio.gather(*late, return_exceptions=True):
        assert isinstance(refusal, PlanClosed)
    assert await store.list_tasks(plan_id=plan.id) == []


async def test_a_create_is_carried_out_though_its_caller_leaves(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)

    async with behind_plan(database_url, plan.id) as queue:
        left = await queue.join(create(store, plan, name="left"))
        left.cancel()
        await asyncio.wait([left])
        stayed = asyncio.create_task(create(store, plan, name="stayed"))
        await queue.release()

    await stayed
    assert left.cancelled()
    assert [each.name for each in await store.list_tasks(plan_id=plan.id)] == ["left", "stayed"]
