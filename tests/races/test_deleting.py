"""Deletions that meet other work on the same plan or task: one of both is first, and all holds."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.errors import NotFound, TaskNeeded, TasksRunning
from planstore.models import PlanUpdate, TaskBatch, TaskCreate, TaskDraft, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimState
from planstore.models.dependency import DependenciesUpdate
from planstore.models.revision import RevisionDraft
from tests.arranging import moved, plan_of, task_of
from tests.history import all_rows
from tests.holder import claim, complete, release, renew
from tests.rivals import behind, behind_plan, behind_task
from tests.services.weaving import claimed, woven

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


def create(store: PlanStore, plan: Plan, **fields: Any) -> Coroutine[Any, Any, Task]:
    given = {"plan_id": plan.id, "description": "do it", **fields}
    return store.create_task(TaskCreate.model_validate(given))


@pytest.mark.parametrize("is_created_first", [True, False])
@pytest.mark.parametrize("depends_on", [[], ["there"]])
async def test_a_task_that_is_added_to_a_plan_which_just_goes_is_gone_or_refused(
    store: PlanStore,
    elsewhere: PlanStore,
    database: Database,
    database_url: str,
    *,
    is_created_first: bool,
    depends_on: list[str],
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, name="there")

    rivals: list[Any] = [elsewhere.delete_plan(plan.id), create(store, plan, depends_on=depends_on)]

    async with behind_plan(database_url, plan.id) as queue:
        ordered = rivals[::-1] if is_created_first else rivals
        began = [await queue.join(each) for each in ordered]
        more = asyncio.create_task(create(store, plan))
        await queue.release()

    deleted, created = reversed(began) if is_created_first else began
    await deleted
    if is_created_first:
        assert (await created).plan_id == plan.id
    else:
        with pytest.raises(NotFound):
            await created
    await asyncio.gather(more, return_exceptions=True)
    with pytest.raises(NotFound):
        await create(store, plan)
    assert await all_rows(database) == {}


async def test_a_batch_that_waited_for_a_plan_which_went_is_refused(
    store: PlanStore, database: Database, database_url: str
) -> None:
    plan = await plan_of(store)
    batch = TaskBatch(plan_id=plan.id, tasks=[TaskDraft(description="do it")] * 3)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(store.delete_plan(plan.id))
        created = await queue.join(store.create_tasks(batch))
        await queue.release()

    with pytest.raises(NotFound):
        await created
    assert await all_rows(database) == {}


OF_PLAN: Final[dict[str, Callable[[PlanStore, Plan], Any]]] = {
    "update": lambda store, plan: store.update_plan(plan.id, PlanUpdate(metadata={"a": 1})),
    "type": lambda store, plan: store.update_plan(plan.id, PlanUpdate(plan_type="dag")),
    "cancel": lambda store, plan: store.cancel_plan(plan.id),
    "retry": lambda store, plan: store.retry_plan(plan.id),
    "expand": lambda store, plan: store.expand_plan(plan.id),
    "delete": lambda store, plan: store.delete_plan(plan.id),
}


@pytest.mark.parametrize("verb", OF_PLAN)
async def test_whoever_waited_for_a_plan_that_went_finds_nothing(
    store: PlanStore, database: Database, database_url: str, verb: str
) -> None:
    plan = await plan_of(store, steps=[{"action": "lint"}])
    await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(store.delete_plan(plan.id))
        rival = await queue.join(OF_PLAN[verb](store, plan))
        await queue.release()

    with pytest.raises(NotFound):
        await rival
    assert await all_rows(database) == {}


OF_TASK: Final[dict[str, Callable[[PlanStore, Task], Any]]] = {
    "move": lambda store, task: moved(store, task, S.RUNNING),
    "hold": lambda store, task: moved(store, task, S.BLOCKED),
    "complete": lambda store, task: moved(store, task, S.COMPLETED),
    "rebind": lambda store, task: store.update_task(
        task.id, TaskUpdate(input_data={"text": "{{other.text}}"})
    ),
    "skip": lambda store, task: store.skip_task(task.id),
    "retry": lambda store, task: store.retry_task(task.id),
    "reset": lambda store, task: store.reset_task(task.id),
    "need": lambda store, task: store.add_dependencies(
        task.id, DependenciesUpdate.model_validate({"depends_on": ["other"]})
    ),
    "report": lambda store, task: store.complete_task(task.id),
    "delete": lambda store, task: store.delete_task(task.id),
}


@pytest.mark.parametrize("verb", OF_TASK)
@pytest.mark.parametrize("noun", ["plan", "task"])
async def test_whoever_waited_for_a_task_that_went_finds_nothing(
    store: PlanStore, elsewhere: PlanStore, database_url: str, noun: str, verb: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await task_of(store, plan, name="other")
    delete = elsewhere.delete_task(task.id) if noun == "task" else elsewhere.delete_plan(plan.id)

    async with behind_plan(database_url, plan.id) as queue:
        deleted = await queue.join(delete)
        rival = await queue.join(OF_TASK[verb](store, task))
        await queue.release()

    await deleted
    with pytest.raises(NotFound):
        await rival


async def test_an_edit_that_waited_for_a_task_which_went_finds_nothing(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    async with behind_task(database_url, task.id) as queue:
        await queue.join(store.delete_task(task.id))
        edited = await queue.join(store.update_task(task.id, TaskUpdate(description="new")))
        await queue.release()

    with pytest.raises(NotFound):
        await edited


async def test_an_edit_that_comes_first_is_told_of_before_the_deletion(
    store: PlanStore, database: Database, database_url: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    async with behind_task(database_url, task.id) as queue:
        edited = await queue.join(store.update_task(task.id, TaskUpdate(description="new")))
        deleted = await queue.join(store.delete_task(task.id))
        await queue.release()

    assert (await edited).version == 2
    await deleted
    assert set(await all_rows(database)) == {plan.id}


@pytest.mark.parametrize("noun", ["plan", "task"])
async def test_a_claim_passes_over_what_just_goes(
    store: PlanStore, elsewhere: PlanStore, database_url: str, noun: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    other = await plan_of(store)
    await task_of(store, other)
    delete = elsewhere.delete_task(task.id) if noun == "task" else elsewhere.delete_plan(plan.id)

    async with behind_task(database_url, task.id) as queue:
        await queue.join(delete)
        (packet,) = await claim(store)
        await queue.release()

    assert packet.plan_id == other.id
    assert await claim(store) == []


@pytest.mark.parametrize("noun", ["plan", "task"])
async def test_a_claim_that_comes_first_stands_in_the_way(
    store: PlanStore, database_url: str, noun: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        delete = store.delete_task(task.id) if noun == "task" else store.delete_plan(plan.id)
        deleted = await queue.join(delete)
        packet = await claimed(store, plan)  # it takes the task's row only
        await queue.release()

    with pytest.raises(TasksRunning):
        await deleted
    await complete(store, packet)


async def test_a_heartbeat_that_waited_for_a_task_which_went_is_lost(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)

    async with behind_task(database_url, packet.id) as queue:
        await queue.join(store.delete_task(packet.id, force=True))
        renewed = await queue.join(renew(store, packet))
        await queue.release()

    assert (await renewed).state == ClaimState.LOST


@pytest.mark.parametrize("noun", ["plan", "task"])
@pytest.mark.parametrize("report", [complete, release])
async def test_a_report_that_waited_for_what_went_finds_nothing(
    store: PlanStore,
    elsewhere: PlanStore,
    database_url: str,
    noun: str,
    report: Callable[..., Any],
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)
    delete = (
        elsewhere.delete_task(packet.id, force=True)
        if noun == "task"
        else elsewhere.delete_plan(plan.id, force=True)
    )

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(delete)
        reported = await queue.join(report(store, packet))
        await queue.release()

    with pytest.raises(NotFound):
        await reported


@pytest.mark.parametrize("is_needed_first", [True, False])
async def test_a_task_that_is_needed_by_a_new_one_stays_or_was_gone_before(
    store: PlanStore, database_url: str, *, is_needed_first: bool
) -> None:
    plan, tasks = await woven(store, {"a": []})
    rivals = [create(store, plan, depends_on=["a"]), store.delete_task(tasks["a"].id)]

    async with behind_plan(database_url, plan.id) as queue:
        ordered = rivals if is_needed_first else rivals[::-1]
        began = [await queue.join(each) for each in ordered]
        await queue.release()

    first, second = await asyncio.gather(*began, return_exceptions=True)
    assert not isinstance(first, BaseException)
    if is_needed_first:
        assert isinstance(second, TaskNeeded)
    else:
        assert "leads nowhere" in str(second)


async def test_deletions_of_many_tasks_of_one_plan_at_once_all_take_place(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag")
    tasks = [await task_of(store, plan) for _ in range(20)]

    await asyncio.gather(
        *(
            (store if number % 2 else elsewhere).delete_task(task.id)
            for number, task in enumerate(tasks)
        ),
        *(claim(store, limit=1) for _ in range(3)),
        return_exceptions=True,
    )

    left = await store.list_tasks(plan_id=plan.id)
    assert all(task.status == S.RUNNING for task in left)
    assert (await store.get_plan(plan.id)).revision == 1 + 20 + 20 - len(left)
    assert len(await all_rows(database)) == 1 + len(left)


@pytest.mark.parametrize("is_deleted_first", [True, False])
@pytest.mark.parametrize("what", ["plan", "task", "revision"])
async def test_what_goes_while_it_is_listed_leaves_nothing_behind(
    store: PlanStore,
    elsewhere: PlanStore,
    database: Database,
    database_url: str,
    what: str,
    *,
    is_deleted_first: bool,
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, labels=["blue"])
    removal = {"reason": "it isn't needed", "operations": [{"op": "remove", "task": str(task.id)}]}
    deletion: dict[str, Coroutine[Any, Any, Any]] = {
        "plan": elsewhere.delete_plan(plan.id),
        "task": elsewhere.delete_task(task.id),
        "revision": elsewhere.revise_plan(plan.id, RevisionDraft.model_validate(removal)),
    }
    rivals = [deletion.pop(what), store.index_words()]
    for other in deletion.values():
        other.close()

    async with behind(
        database_url, "select 1 from planstore.tasks where id = $1", task.id
    ) as queue:
        began = [await queue.join(each) for each in rivals[:: 1 if is_deleted_first else -1]]
        await queue.release()

    assert all(each.exception() is None for each in began)
    async with database.connection() as conn:
        assert not await conn.fetchval("select count(*) from planstore.task_marks")
        if what == "plan":
            assert not await conn.fetchval("select count(*) from planstore.task_words")
