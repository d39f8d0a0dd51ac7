"""What waited for a rival is done on what the rival left, never over it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.errors import AlreadyExists, InvalidInput, PlanClosed, VersionMismatch
from planstore.models import Plan, PlanUpdate, Task, TaskBatch, TaskDraft, TaskUpdate
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.services import once
from tests.arranging import moved, plan_of, set_to, task_of
from tests.history import all_events, assert_counts_hold, assert_history_holds
from tests.rivals import behind, behind_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.db import Database
    from planstore.services.plan_store import PlanStore


@pytest.fixture(autouse=True)
async def _nothing_is_miscounted(database: Database) -> AsyncIterator[None]:
    yield
    await assert_counts_hold(database)
    await assert_history_holds(database)


PATCHES: Final[list[dict[str, Any]]] = [
    {"metadata": {"patched": True}},
    {"steps": [{"do": "boil"}]},
    {"goal_id": None, "metadata": {"patched": True}},
    {"plan_type": "dag"},
    {"auto_complete": False},
    {"current_step": 7},
    {"status": P.CANCELLED},
]


async def rival_of(store: PlanStore, plan: Plan, task: Task, kind: str) -> Any:
    """Change the plan's counts in one of the ways that there are."""
    match kind:
        case "creation":
            return await task_of(store, plan)
        case "batch":
            return await add(store, plan, "one", "two")
        case "completion":
            return await moved(store, task, S.COMPLETED)
        case _:
            return await moved(store, task, S.RUNNING)


async def add(store: PlanStore, plan: Plan, *names: str) -> list[Task]:
    drafts = [TaskDraft(name=name, description="do it") for name in names]
    return await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts))


@pytest.mark.parametrize("patch", PATCHES, ids="-".join)
async def test_any_patch_of_an_empty_plan_is_done_behind_its_first_task(
    store: PlanStore, database_url: str, patch: dict[str, Any]
) -> None:
    plan = await plan_of(store, goal_id="11111111-1111-4111-8111-111111111111")

    async with behind_plan(database_url, plan.id) as queue:
        added = await queue.join(task_of(store, plan))
        patched = await queue.join(store.update_plan(plan.id, PlanUpdate(**patch)))
        await queue.release()

    after = await store.get_plan(plan.id)
    assert await patched == after
    assert {name: getattr(after, name) for name in patch} == patch
    assert (after.revision, after.version) == (2, 3)
    assert [task.id for task in await store.list_tasks(plan_id=plan.id)] == [(await added).id]


@pytest.mark.parametrize("kind", ["creation", "batch", "completion", "start"])
@pytest.mark.parametrize("others", [0, 1])
async def test_a_patch_is_done_behind_whatever_counts_anew(
    store: PlanStore, database_url: str, kind: str, others: int
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    for _ in range(others):
        await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(rival_of(store, plan, task, kind))
        patched = await queue.join(store.update_plan(plan.id, PlanUpdate(metadata={"n": 1})))
        await queue.release()

    assert await first
    after = await store.get_plan(plan.id)
    assert await patched == after
    assert after.metadata == {"n": 1}
    is_settled = kind == "completion" and others == 0
    assert after.status == (P.COMPLETED if is_settled else P.ACTIVE)
    assert after.current_step == (2 if kind == "completion" and others else 1)


@pytest.mark.parametrize("kind", ["creation", "batch", "completion", "start"])
async def test_what_counts_anew_is_done_behind_a_patch(
    store: PlanStore, database_url: str, kind: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        patched = await queue.join(store.update_plan(plan.id, PlanUpdate(metadata={"n": 1})))
        last = await queue.join(rival_of(store, plan, task, kind))
        await queue.release()

    assert (await patched).metadata == {"n": 1}
    assert await last
    assert (await store.get_plan(plan.id)).metadata == {"n": 1}


async def test_two_that_take_each_others_name_do_not_deadlock(
    store: PlanStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan = await plan_of(store)
    a, b = [await task_of(store, plan, name=name) for name in ("a", "b")]
    monkeypatch.setattr(once, "_ATTEMPTS", 1)  # a deadlock would be said, not tried again

    # Each waits for the plan: had it a name half changed by then, they would wait for each other.
    async with behind_plan(database_url, plan.id) as queue:
        rivals = [
            await queue.join(store.update_task(a.id, TaskUpdate(name="b"))),
            await queue.join(store.update_task(b.id, TaskUpdate(name="a"))),
        ]
        await queue.release()

    assert [type(rival.exception()) for rival in rivals] == [AlreadyExists, AlreadyExists]
    assert await store.list_tasks(plan_id=plan.id) == [a, b]


async def test_a_name_that_was_just_given_up_is_free(store: PlanStore, database_url: str) -> None:
    plan = await plan_of(store)
    a, b = [await task_of(store, plan, name=name) for name in ("a", "b")]

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(store.update_task(a.id, TaskUpdate(name="c")))
        heir = await queue.join(store.update_task(b.id, TaskUpdate(name="a")))
        await queue.release()

    assert (await heir).name == "a"
    assert [task.name for task in await store.list_tasks(plan_id=plan.id)] == ["c", "a"]


async def test_names_that_change_hands_at_once_are_each_held_by_one(store: PlanStore) -> None:
    plan = await plan_of(store)
    names = ["a", "b", "c", "d"]
    tasks = [await task_of(store, plan, name=name) for name in names]

    answers = await asyncio.gather(
        *(
            store.update_task(task.id, TaskUpdate(name=names[(number + shift) % 4] + mark))
            for shift in (1, 2, 3)
            for mark in ("", "2")
            for number, task in enumerate(tasks)
        ),
        return_exceptions=True,
    )

    assert {type(answer) for answer in answers} <= {Task, AlreadyExists}
    after = [task.name for task in await store.list_tasks(plan_id=plan.id)]
    assert len(set(after)) == 4


@pytest.mark.parametrize("edit", [{}, {"metadata": {"n": 1}}])
async def test_a_plan_that_is_sent_back_whole_does_not_undo_the_close_that_it_waited_for(
    store: PlanStore, database: Database, database_url: str, edit: dict[str, Any]
) -> None:
    plan = await plan_of(store)
    whole = PlanUpdate.model_validate({**plan.model_dump(), **edit})

    async with behind_plan(database_url, plan.id) as queue:
        closed = await queue.join(set_to(store, plan, P.CANCELLED))
        late = await queue.join(store.update_plan(plan.id, whole))
        await queue.release()

    assert_kept_fields_are_named(late.exception(), "/closed_at", "/updated_at", "/version")
    assert await store.get_plan(plan.id) == await closed
    assert (await all_events(database))[-1].event_type == "plan.cancelled"


async def test_a_plan_that_is_sent_back_whole_does_not_undo_the_task_that_it_waited_for(
    store: PlanStore, database: Database, database_url: str
) -> None:
    plan = await plan_of(store)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(task_of(store, plan))
        late = await queue.join(store.update_plan(plan.id, PlanUpdate(**plan.model_dump())))
        await queue.release()

    assert_kept_fields_are_named(late.exception(), "/revision", "/updated_at", "/version")
    after = await store.get_plan(plan.id)
    assert (after.current_step, after.version) == (1, 2)


@pytest.mark.parametrize("edit", [{}, {"metadata": {"n": 1}}])
async def test_a_task_that_is_sent_back_whole_does_not_undo_the_result_that_it_waited_for(
    store: PlanStore, database: Database, database_url: str, edit: dict[str, Any]
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    whole = TaskUpdate.model_validate({**task.model_dump(), **edit})

    async with behind_plan(database_url, plan.id) as queue:
        done = await queue.join(moved(store, task, S.COMPLETED, output_data={"litres": 1}))
        late = await queue.join(store.update_task(task.id, whole))
        await queue.release()

    assert_kept_fields_are_named(late.exception(), "/updated_at", "/version")
    assert await store.get_task(task.id) == await done
    assert (await all_events(database))[-1].event_type == "plan.completed"


@pytest.mark.parametrize("rival", [{"description": "rival"}, {"output_data": {"litres": 1}}])
async def test_an_edit_of_a_version_is_not_made_over_the_edit_that_it_waited_for(
    store: PlanStore, database: Database, database_url: str, rival: dict[str, Any]
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    edit = TaskUpdate(version=task.version, description="late", output_data=None)

    async with behind(
        database_url, "select 1 from planstore.tasks where id = $1", task.id
    ) as queue:
        first = await queue.join(store.update_task(task.id, TaskUpdate(**rival)))
        late = await queue.join(store.update_task(task.id, edit))
        await queue.release()

    assert_kept_fields_are_named(late.exception(), "/version")
    assert await store.get_task(task.id) == await first


async def test_what_names_only_the_id_is_done_on_what_it_waited_for(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    of_plan = PlanUpdate(id=plan.id, current_step=4)
    of_task = TaskUpdate(id=task.id, plan_id=plan.id, sequence_order=4)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(store.update_plan(plan.id, PlanUpdate(metadata={"n": 1})))
        await queue.join(moved(store, task, S.RUNNING))
        plan_last = await queue.join(store.update_plan(plan.id, of_plan))
        task_last = await queue.join(store.update_task(task.id, of_task))
        await queue.release()

    assert ((await plan_last).current_step, (await plan_last).metadata) == (4, {"n": 1})
    assert ((await task_last).sequence_order, (await task_last).status) == (4, S.RUNNING)


async def test_what_expects_a_version_is_told_so_though_it_was_sent_back_whole(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    whole = PlanUpdate(**plan.model_dump())

    async with behind_plan(database_url, plan.id) as queue:
        closed = await queue.join(set_to(store, plan, P.COMPLETED))
        late = await queue.join(store.update_plan(plan.id, whole, expected_version=1))
        await queue.release()

    assert isinstance(late.exception(), VersionMismatch)
    assert await store.get_plan(plan.id) == await closed


def assert_kept_fields_are_named(error: BaseException | None, *pointers: str) -> None:
    assert isinstance(error, InvalidInput)
    assert tuple(fault.pointer for fault in error.faults) == pointers


async def test_two_batches_stand_one_after_the_other(store: PlanStore, database_url: str) -> None:
    plan = await plan_of(store)

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(add(store, plan, "a", "b"))
        second = await queue.join(add(store, plan, "c", "d"))
        await queue.release()

    assert [task.sequence_order for task in [*await first, *await second]] == [1, 2, 3, 4]
    assert (await store.get_plan(plan.id)).revision == 3


async def test_of_two_batches_that_share_a_name_only_the_first_is_made(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(add(store, plan, "a", "b"))
        late = await queue.join(add(store, plan, "c", "b", "d"))
        await queue.release()

    assert isinstance(late.exception(), AlreadyExists)
    assert await store.list_tasks(plan_id=plan.id) == await first
    assert (await store.get_plan(plan.id)).revision == 2


async def test_no_batch_is_added_behind_a_close(store: PlanStore, database_url: str) -> None:
    plan = await plan_of(store)

    async with behind_plan(database_url, plan.id) as queue:
        closed = await queue.join(set_to(store, plan, P.COMPLETED))
        late = await queue.join(add(store, plan, "a", "b"))
        await queue.release()

    assert isinstance(late.exception(), PlanClosed)
    assert await store.list_tasks(plan_id=plan.id) == []
    assert await store.get_plan(plan.id) == await closed


async def test_a_batch_before_the_gate_sees_what_just_started_there(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    at_gate = [await task_of(store, plan, sequence_order=2) for _ in range(3)]
    drafts = [TaskDraft(description="do it", sequence_order=order) for order in (3, 1, 2)]

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(moved(store, at_gate[0], S.RUNNING))
        await queue.join(store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts)))
        await queue.release()

    assert (await store.get_plan(plan.id)).current_step == 1


async def test_edits_of_one_task_never_wait_for_each_other_in_a_circle(
    store: PlanStore, elsewhere: PlanStore, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "_ATTEMPTS", 1)
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan, name="fetch")
    task = await task_of(store, plan)
    feed = TaskUpdate(input_data={"text": "{{fetch.text}}"})

    row = "select 1 from planstore.tasks where id = $1"
    async with behind(database_url, row, task.id) as queue:
        edits = [
            await queue.join(store.update_task(task.id, TaskUpdate(description="do it well"))),
            await queue.join(elsewhere.update_task(task.id, feed)),
        ]
        await queue.release()

    assert [each.exception() for each in edits] == [None, None]
    edited = await store.get_task(task.id)
    assert (edited.description, edited.input_data) == ("do it well", feed.input_data)
