"""Tasks that are made together: all or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from pydantic import ValidationError

from planstore.errors import AlreadyExists, NotFound, PlanClosed
from planstore.models import PlanCreate, TaskBatch, TaskDraft
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models.fields import MAX_ORDER
from planstore.models.task import MAX_BATCH
from tests.arranging import moved, plan_of, set_to, status_of, task_of
from tests.history import all_events, assert_counts_hold, assert_history_holds
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable

    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.services.plan_store import PlanStore

FULL: Final[dict[str, Any]] = {
    "id": "33333333-3333-4333-8333-333333333333",
    "name": "boil",
    "agent_id": "22222222-2222-4222-8222-222222222222",
    "description": "boil the water",
    "task_type": "kitchen",
    "input_data": {"litres": 1.5, "z": None, "a": ["b"]},
    "sequence_order": 4,
    "metadata": {"tags": ["hot"]},
}


@pytest.fixture(autouse=True)
async def _nothing_is_miscounted(database: Database) -> AsyncIterator[None]:
    yield
    await assert_counts_hold(database)
    await assert_history_holds(database)


def drafts_of(*given: dict[str, Any]) -> list[TaskDraft]:
    return [TaskDraft.model_validate({"description": "do it", **each}) for each in given]


def placed(orders: Iterable[int | None]) -> list[TaskDraft]:
    return drafts_of(*({"sequence_order": order} for order in orders))


async def add(store: PlanStore, plan: Plan, drafts: list[TaskDraft]) -> list[Task]:
    return await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts))


async def test_each_task_of_a_batch_is_made_as_it_was_given(store: PlanStore) -> None:
    plan = await plan_of(store)

    full, plain = await add(store, plan, drafts_of(FULL, {}))

    assert full.model_dump(mode="json", include=set(FULL)) == FULL
    assert list(full.input_data or {}) == ["litres", "z", "a"]
    assert (plain.plan_id, plain.status, plain.version) == (plan.id, S.PENDING, 1)
    assert (plain.name, plain.input_data, plain.metadata) == (None, {}, {})
    assert plain.id.version == 7
    assert await store.list_tasks(plan_id=plan.id) == [full, plain]


async def test_a_batch_is_answered_in_its_order_whatever_the_places(store: PlanStore) -> None:
    plan = await plan_of(store)
    drafts = drafts_of(*({"name": name, "sequence_order": ord(name) % 5} for name in "hotsaucemix"))

    tasks = await add(store, plan, drafts)

    assert [task.name for task in tasks] == list("hotsaucemix")


async def test_a_batch_is_one_revision_and_one_event_of_the_plan(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    before = len(await all_events(database))

    tasks = await add(store, plan, placed([None, 0, None]))

    after = await store.get_plan(plan.id)
    assert (after.revision, after.version) == (3, 3)
    events = (await all_events(database))[before:]
    assert [(event.event_type, event.aggregate_id) for event in events] == [
        *(("task.created", task.id) for task in tasks),
        ("plan.revised", plan.id),
    ]
    assert {event.metadata["revision"] for event in events} == {3}


@pytest.mark.parametrize(
    ("last", "given", "orders"),
    [
        (None, [None], [1]),
        (None, [None, None, None], [1, 2, 3]),
        (4, [None, None], [5, 6]),
        (4, [3, 1, 3], [3, 1, 3]),
        (4, [0, None], [0, 5]),
        (4, [2, None, 3, None], [2, 5, 3, 6]),
        (4, [9, None, None], [9, 10, 11]),
        (4, [None, 9, None, 2, None], [5, 9, 10, 2, 11]),
        (4, [None, None, 5, None], [5, 6, 5, 7]),
        (4, [None, 6, None, 7, None], [5, 6, 7, 7, 8]),
        (None, [MAX_ORDER, None, 3, None], [MAX_ORDER, MAX_ORDER, 3, MAX_ORDER]),
        (MAX_ORDER - 1, [None, None, None], [MAX_ORDER] * 3),
        (0, [MAX_ORDER - 1, None, None], [MAX_ORDER - 1, MAX_ORDER, MAX_ORDER]),
    ],
)
async def test_what_has_no_order_comes_after_the_highest_so_far(
    store: PlanStore, last: int | None, given: list[int | None], orders: list[int]
) -> None:
    plan = await plan_of(store)
    if last is not None:
        await task_of(store, plan, sequence_order=last)

    tasks = await add(store, plan, placed(given))

    assert [task.sequence_order for task in tasks] == orders
    after = await task_of(store, plan)
    assert after.sequence_order == min(MAX_ORDER, max(last or 0, *orders, 0) + 1)


@pytest.mark.parametrize("field", ["id", "name"])
def test_a_batch_that_shares_an_id_or_a_name_is_refused(field: str) -> None:
    value = str(FULL[field])
    drafts = [{"description": "do it", **each} for each in ({field: value}, {}, {field: value})]

    for refusing in (
        lambda: TaskBatch.model_validate({"plan_id": uuid4(), "tasks": drafts}),
        lambda: PlanCreate.model_validate({"tasks": drafts}),
    ):
        with pytest.raises(ValidationError, match=f"tasks share the {field} {value}"):
            refusing()


def test_a_batch_has_one_to_ten_thousand_tasks() -> None:
    many = placed([None] * MAX_BATCH)
    plan_id = uuid4()

    assert len(TaskBatch(plan_id=plan_id, tasks=many).tasks) == 10_000
    for refusing in (
        lambda: TaskBatch(plan_id=plan_id, tasks=[]),
        lambda: TaskBatch(plan_id=plan_id, tasks=[*many, *many[:1]]),
        lambda: PlanCreate(tasks=[*many, *many[:1]]),
    ):
        with pytest.raises(ValidationError, match=r"at (least 1|most 10000)"):
            refusing()


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("elsewhere", [False, True])
async def test_a_taken_id_refuses_the_whole_batch(
    store: PlanStore, database: Database, position: int, *, elsewhere: bool
) -> None:
    plan = await plan_of(store)
    taken = await task_of(store, await plan_of(store) if elsewhere else plan)
    given: list[dict[str, Any]] = [{}, {}, {}]
    given[position] = {"id": taken.id}

    async with refused(database, AlreadyExists) as error:
        await add(store, plan, drafts_of(*given))

    assert str(error.value) == f"there is a task {taken.id} already"


@pytest.mark.parametrize("position", [0, 1, 2])
async def test_a_taken_name_refuses_the_whole_batch(
    store: PlanStore, database: Database, position: int
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, name="boil, (then)=(fry)")
    given = [{"name": "a"}, {"name": "b"}, {"name": "c"}]
    given[position] = {"name": "boil, (then)=(fry)"}

    async with refused(database, AlreadyExists) as error:
        await add(store, plan, drafts_of(*given))

    assert str(error.value) == f"plan {plan.id} has a task named 'boil, (then)=(fry)' already"


async def test_a_batch_for_a_closed_plan_is_refused(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    await set_to(store, plan, P.CANCELLED)

    async with refused(database, PlanClosed) as error:
        await add(store, plan, placed([None, None]))

    assert f"cannot add a task: plan {plan.id} was closed by hand" in str(error.value)


async def test_a_batch_for_an_unknown_plan_is_refused(store: PlanStore, database: Database) -> None:
    plan_id = uuid4()

    async with refused(database, NotFound) as error:
        await store.create_tasks(TaskBatch(plan_id=plan_id, tasks=placed([None, None])))

    assert str(error.value) == f"there is no plan {plan_id}"


@pytest.mark.parametrize("plan_type", ["sequential", "parallel"])
@pytest.mark.parametrize("orders", [[1], [1, 2], [3, 1, 1], [2, None], [3], [None, 0, 1]])
async def test_a_batch_before_the_gate_takes_the_turn_of_those_there(
    store: PlanStore, database: Database, plan_type: str, orders: list[int | None]
) -> None:
    plan = await plan_of(store, plan_type=plan_type)
    for status in (S.PENDING, S.RUNNING, S.PENDING):
        await task_of(store, plan, sequence_order=2, status=status)

    tasks = await add(store, plan, placed(orders))

    lowest = min(2, *(task.sequence_order for task in tasks), 2)
    assert (await store.get_plan(plan.id)).current_step == lowest
    await assert_counts_hold(database)


async def test_a_batch_makes_a_settled_plan_active(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, status=S.COMPLETED)
    assert await status_of(store, plan) == P.COMPLETED

    await add(store, plan, placed([None, None]))

    assert await status_of(store, plan) == P.ACTIVE


async def test_a_batch_that_can_not_start_keeps_its_plan_open_until_a_task_moves(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, sequence_order=1, status=S.FAILED)
    assert await status_of(store, plan) == P.FAILED

    first, _ = await add(store, plan, placed([None, None]))

    assert await status_of(store, plan) == P.ACTIVE
    await moved(store, first, S.SKIPPED)
    assert await status_of(store, plan) == P.FAILED


async def test_a_batch_of_ten_thousand_is_taken_whole(store: PlanStore) -> None:
    plan = await plan_of(store)
    drafts = drafts_of(*({"name": f"task {n}"} for n in range(MAX_BATCH)))

    tasks = await add(store, plan, drafts)

    assert [task.sequence_order for task in tasks] == list(range(1, MAX_BATCH + 1))
    assert [task.name for task in tasks] == [draft.name for draft in drafts]
    assert (await store.get_plan(plan.id)).revision == 2
    await moved(store, tasks[0], S.COMPLETED)
    assert (await store.get_plan(plan.id)).current_step == 2
