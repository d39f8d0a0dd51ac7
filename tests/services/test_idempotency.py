"""A request that is repeated with its key is done once."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.errors import (
    IdempotencyInFlight,
    IdempotencyMismatch,
    InvalidInput,
    InvalidTransition,
    PlanClosed,
    VersionMismatch,
)
from planstore.models import (
    PlanCreate,
    PlanStatus,
    PlanUpdate,
    TaskBatch,
    TaskCreate,
    TaskDraft,
    TaskUpdate,
)
from planstore.models import TaskStatus as S
from planstore.models.idempotency import Idempotency
from planstore.services import once
from tests.arranging import moved, plan_of, set_to, task_of
from tests.history import all_events, all_rows, assert_counts_hold
from tests.refusals import refused
from tests.rivals import behind, behind_plan

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.services.plan_store import PlanStore

KEY: Final = Idempotency("a-key", caller="someone")

DRAFTS: Final = [
    TaskDraft(description="boil", input_data={"b": 1, "a": 2}),
    TaskDraft(description="fry", sequence_order=0, metadata={"z": [None]}),
]

MADE: Final = {0: 1, 1: 0, 2: 1, 3: 0, 4: 2, 5: 3}
"""How many plans and tasks each of the `acts` makes."""


async def acts(
    store: PlanStore,
) -> list[Callable[[Idempotency], Awaitable[Plan | Task | list[Task]]]]:
    """Each of the writes, ready to be done under a key."""
    plan = await plan_of(store)
    task = await task_of(store, plan)
    add = TaskCreate(plan_id=plan.id, description="add", name="added", input_data={"b": 1, "a": 2})
    start = TaskUpdate(status=S.RUNNING)
    edit = PlanUpdate(steps=[{"z": 1, "a": [None]}])
    return [
        lambda key: store.create_plan(PlanCreate(metadata={"n": 1}), idempotency=key),
        lambda key: store.update_plan(plan.id, edit, expected_version=2, idempotency=key),
        lambda key: store.create_task(add, idempotency=key),
        lambda key: store.update_task(task.id, start, expected_version=1, idempotency=key),
        lambda key: store.create_tasks(TaskBatch(plan_id=plan.id, tasks=DRAFTS), idempotency=key),
        lambda key: store.create_plan(PlanCreate(tasks=DRAFTS), idempotency=key),
    ]


async def kept_keys(database: Database) -> int:
    async with database.connection() as conn:
        return await conn.fetchval("select count(*)::int from planstore.idempotency_keys")


async def age(database: Database, by: timedelta) -> None:
    async with database.connection() as conn:
        await conn.execute(
            "update planstore.idempotency_keys set created_at = created_at - $1::interval", by
        )


@pytest.mark.parametrize("number", MADE)
async def test_a_repeat_is_answered_as_the_first_and_changes_nothing(
    store: PlanStore, database: Database, number: int
) -> None:
    act = (await acts(store))[number]
    first = await act(KEY)
    before = await all_rows(database), await all_events(database)

    assert await act(KEY) == first

    assert (await all_rows(database), await all_events(database)) == before


async def test_a_repeated_result_is_no_late_one_though_the_output_was_edited_since(
    store: PlanStore, database: Database
) -> None:
    task = await task_of(store, await plan_of(store))
    complete = TaskUpdate(status=S.COMPLETED, output_data={"n": 1})
    first = await store.update_task(task.id, complete, idempotency=KEY)
    await store.update_task(task.id, TaskUpdate(output_data={"n": 2}))
    before = await all_events(database)

    assert await store.update_task(task.id, complete, idempotency=KEY) == first

    assert await all_events(database) == before


async def test_a_repeat_is_answered_as_the_first_though_the_object_changed_since(
    store: PlanStore, database: Database
) -> None:
    task = await task_of(store, await plan_of(store))
    start = TaskUpdate(status=S.RUNNING)
    first = await store.update_task(task.id, start, idempotency=KEY)
    await moved(store, task, S.COMPLETED)
    before = await all_events(database)

    assert await store.update_task(task.id, start, idempotency=KEY) == first

    assert (await store.get_task(task.id)).status == S.COMPLETED
    assert await all_events(database) == before


async def test_a_key_with_another_request_is_refused(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await store.create_plan(PlanCreate(), idempotency=KEY)
    await store.update_plan(plan.id, PlanUpdate(metadata={"n": 1}), idempotency=KEY)
    await store.create_task(TaskCreate(plan_id=plan.id, description="one"), idempotency=KEY)
    await store.update_task(task.id, TaskUpdate(agent_id=None), idempotency=KEY)

    async with refused(database, IdempotencyMismatch) as error:
        await store.create_plan(PlanCreate(plan_type="dag"), idempotency=KEY)
    assert "'a-key'" in str(error.value)
    async with refused(database, IdempotencyMismatch):
        await store.update_plan(plan.id, PlanUpdate(metadata={"n": 2}), idempotency=KEY)
    async with refused(database, IdempotencyMismatch):
        await store.create_task(TaskCreate(plan_id=plan.id, description="two"), idempotency=KEY)
    async with refused(database, IdempotencyMismatch):
        await store.update_task(task.id, TaskUpdate(), idempotency=KEY)


async def test_a_key_counts_for_its_caller_its_verb_and_its_object(store: PlanStore) -> None:
    first = await store.create_plan(PlanCreate(), idempotency=KEY)
    other = await store.create_plan(PlanCreate(), idempotency=replace(KEY, caller="another"))
    assert other.id != first.id

    edit = PlanUpdate(metadata={"edited": True})
    assert (await store.update_plan(first.id, edit, idempotency=KEY)).id == first.id
    assert (await store.update_plan(other.id, edit, idempotency=KEY)).id == other.id
    tasks = [await task_of(store, first) for _ in range(2)]
    for task in tasks:
        started = await store.update_task(task.id, TaskUpdate(status=S.RUNNING), idempotency=KEY)
        assert started.id == task.id


async def test_one_key_is_another_for_each_verb(store: PlanStore, database: Database) -> None:
    # The last one makes a plan as the first one does: the same verb with another request.
    each = (await acts(store))[:-1]
    before = len(await all_rows(database))

    answers = [await act(KEY) for act in each[:1] + each[2:]]

    assert len(await all_rows(database)) == before + MADE[0] + MADE[2] + MADE[4]
    assert await kept_keys(database) == 4
    assert [await act(KEY) for act in each[:1] + each[2:]] == answers


async def test_a_plan_and_a_task_with_one_id_do_not_share_a_key(store: PlanStore) -> None:
    plan_id = uuid4()
    plan = await plan_of(store, id=plan_id)
    await task_of(store, plan, id=plan_id)

    edited_plan = await store.update_plan(plan_id, PlanUpdate(metadata={"n": 1}), idempotency=KEY)
    edited_task = await store.update_task(plan_id, TaskUpdate(metadata={"n": 1}), idempotency=KEY)

    assert await store.get_plan(plan_id) == edited_plan
    assert await store.get_task(plan_id) == edited_task


async def test_a_key_with_other_tasks_is_refused(store: PlanStore, database: Database) -> None:
    plan, other = await plan_of(store), await plan_of(store)
    batch = TaskBatch(plan_id=plan.id, tasks=DRAFTS)
    await store.create_tasks(batch, idempotency=KEY)
    await store.create_plan(PlanCreate(tasks=DRAFTS), idempotency=KEY)

    for tasks in (DRAFTS[:1], DRAFTS[::-1], [*DRAFTS, *DRAFTS]):
        async with refused(database, IdempotencyMismatch):
            await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=tasks), idempotency=KEY)
        async with refused(database, IdempotencyMismatch):
            await store.create_plan(PlanCreate(tasks=tasks), idempotency=KEY)
    async with refused(database, IdempotencyMismatch):
        await store.create_tasks(TaskBatch(plan_id=other.id, tasks=DRAFTS), idempotency=KEY)
    async with refused(database, IdempotencyMismatch):
        await store.create_plan(PlanCreate(), idempotency=KEY)


async def test_a_repeated_batch_is_answered_as_the_first_though_all_changed_since(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    batch = TaskBatch(plan_id=plan.id, tasks=[DRAFTS[0], TaskDraft(id=uuid4(), description="fry")])
    first = await store.create_tasks(batch, idempotency=KEY)
    await moved(store, first[0], S.COMPLETED)
    await set_to(store, plan, PlanStatus.CANCELLED)
    before = await all_rows(database), await all_events(database)

    assert await store.create_tasks(batch, idempotency=KEY) == first

    assert (await all_rows(database), await all_events(database)) == before


async def test_a_plan_with_tasks_is_answered_as_the_first_though_they_changed_since(
    store: PlanStore, database: Database
) -> None:
    create = PlanCreate(id=uuid4(), tasks=[TaskDraft(id=uuid4(), description="boil")])
    first = await store.create_plan(create, idempotency=KEY)
    (task,) = await store.list_tasks(plan_id=first.id)
    await moved(store, task, S.COMPLETED)
    before = await all_rows(database), await all_events(database)

    assert await store.create_plan(create, idempotency=KEY) == first

    assert (await all_rows(database), await all_events(database)) == before


async def test_a_refused_batch_leaves_its_key_free(store: PlanStore, database: Database) -> None:
    plan = await set_to(store, await plan_of(store), PlanStatus.CANCELLED)
    batch = TaskBatch(plan_id=plan.id, tasks=DRAFTS)
    async with refused(database, PlanClosed):
        await store.create_tasks(batch, idempotency=KEY)
    assert await kept_keys(database) == 0
    await set_to(store, plan, PlanStatus.ACTIVE)

    made = await store.create_tasks(batch, idempotency=KEY)

    assert {task.id for task in made} == {task.id for task in await store.list_tasks()}


async def test_of_two_batches_with_one_key_that_wait_for_the_plan_one_is_made(
    store: PlanStore, database: Database, database_url: str
) -> None:
    plan = await plan_of(store)
    batch = TaskBatch(plan_id=plan.id, tasks=DRAFTS)

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(store.create_tasks(batch, idempotency=KEY))
        second = await queue.join(store.create_tasks(batch, idempotency=KEY))
        await queue.release()

    assert await first == await second
    assert len(await store.list_tasks()) == 2
    assert (await store.get_plan(plan.id)).revision == 2
    await assert_counts_hold(database)


async def test_of_two_batches_with_one_key_that_differ_one_is_made(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    batches = [TaskBatch(plan_id=plan.id, tasks=tasks) for tasks in (DRAFTS, DRAFTS[:1])]

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(store.create_tasks(batches[0], idempotency=KEY))
        late = await queue.join(store.create_tasks(batches[1], idempotency=KEY))
        await queue.release()

    assert isinstance(late.exception(), IdempotencyMismatch)
    assert {task.id for task in await first} == {task.id for task in await store.list_tasks()}


async def test_a_change_that_changed_nothing_is_kept_too(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store))
    same = TaskUpdate(description=task.description)
    first = await store.update_task(task.id, same, idempotency=KEY)
    await store.update_task(task.id, TaskUpdate(description="changed"))

    assert await store.update_task(task.id, same, idempotency=KEY) == first == task


@pytest.mark.parametrize("what", ["task", "plan"])
async def test_a_refusal_is_not_kept(store: PlanStore, database: Database, what: str) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.COMPLETED)

    async def act() -> Any:
        if what == "task":
            return await store.update_task(task.id, TaskUpdate(status=S.RUNNING), idempotency=KEY)
        draft = PlanUpdate(status=PlanStatus.DRAFT)
        return await store.update_plan(plan.id, draft, idempotency=KEY)

    with pytest.raises(InvalidTransition):
        await act()

    assert await kept_keys(database) == 0


async def test_a_refused_request_may_be_repeated_with_its_key(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store), status=S.COMPLETED)
    start = TaskUpdate(status=S.RUNNING)
    with pytest.raises(InvalidTransition):
        await store.update_task(task.id, start, idempotency=KEY)
    await moved(store, task, S.PENDING)

    started = await store.update_task(task.id, start, idempotency=KEY)

    assert started.status == S.RUNNING


async def test_a_key_lasts_for_a_day(store: PlanStore, database: Database) -> None:
    first = await store.create_plan(PlanCreate(), idempotency=KEY)
    await age(database, timedelta(hours=23, minutes=59))
    assert await store.create_plan(PlanCreate(), idempotency=KEY) == first
    await age(database, timedelta(minutes=1))

    second = await store.create_plan(PlanCreate(), idempotency=KEY)

    assert second.id != first.id
    assert await store.create_plan(PlanCreate(), idempotency=KEY) == second


async def test_a_key_that_is_over_does_not_answer_for_a_refusal(
    store: PlanStore, database: Database
) -> None:
    task = await task_of(store, await plan_of(store))
    start = TaskUpdate(status=S.RUNNING)
    await store.update_task(task.id, start, expected_version=1, idempotency=KEY)
    await age(database, timedelta(hours=24))

    async with refused(database, VersionMismatch):
        await store.update_task(task.id, start, expected_version=1, idempotency=KEY)


async def test_old_keys_are_forgotten_and_young_ones_kept(
    store: PlanStore, database: Database
) -> None:
    await store.create_plan(PlanCreate(), idempotency=KEY)
    await age(database, timedelta(hours=24))
    young = replace(KEY, key="young")
    first = await store.create_plan(PlanCreate(), idempotency=young)

    assert await store.forget_old_keys() == 1

    assert await store.create_plan(PlanCreate(), idempotency=young) == first


@pytest.mark.parametrize("number", MADE)
async def test_many_at_once_with_one_key_do_it_once(
    store: PlanStore, database: Database, number: int
) -> None:
    act = (await acts(store))[number]
    before = len(await all_rows(database))

    answers = await asyncio.gather(*(act(KEY) for _ in range(8)))

    assert all(answer == answers[0] for answer in answers)
    assert len(await all_rows(database)) == before + MADE[number]
    assert await kept_keys(database) == 1
    await assert_counts_hold(database)


async def test_two_that_find_a_key_over_do_it_once(
    store: PlanStore, database: Database, database_url: str
) -> None:
    over = await store.create_plan(PlanCreate(), idempotency=KEY)
    await age(database, timedelta(hours=24))

    async with behind(database_url, "select 1 from planstore.idempotency_keys") as queue:
        first = await queue.join(store.create_plan(PlanCreate(), idempotency=KEY))
        second = await queue.join(store.create_plan(PlanCreate(), idempotency=KEY))
        await queue.release()

    assert await first == await second != over


async def test_a_request_in_flight_is_not_waited_for_for_ever(
    store: PlanStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await plan_of(store)
    create = TaskCreate(plan_id=plan.id, description="do it")

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(store.create_task(create, idempotency=KEY))
        monkeypatch.setattr(once, "PATIENCE", timedelta(milliseconds=50))
        with pytest.raises(IdempotencyInFlight, match="'a-key'"):
            await store.create_task(create, idempotency=KEY)
        await queue.release()

    monkeypatch.undo()
    made = await first
    assert await store.create_task(create, idempotency=KEY) == made
    assert await store.list_tasks() == [made]


async def test_what_began_is_done_though_its_caller_leaves(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    create = TaskCreate(plan_id=plan.id, description="do it")

    async with behind_plan(database_url, plan.id) as queue:
        caller = await queue.join(store.create_task(create, idempotency=KEY))
        caller.cancel()
        await queue.release()

    made = await store.create_task(create, idempotency=KEY)
    assert await store.list_tasks() == [made]


@pytest.mark.parametrize("key", ["", " ", "a b", "\x00", "\ud800", "é", "k" * 256])
def test_a_key_is_visible_ascii_and_not_long(key: str) -> None:
    with pytest.raises(InvalidInput) as error:
        Idempotency(key)
    assert error.value.faults[0].pointer == "Idempotency-Key"
