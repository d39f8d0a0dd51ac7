"""What is refused is refused alike by each door: the same class, code, sentence and faults."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest

from planstore import errors
from planstore.models import (
    Completion,
    DependenciesUpdate,
    Idempotency,
    PlanCreate,
    PlanStatus,
    PlanUpdate,
    TaskBatch,
    TaskCreate,
    TaskFilter,
    TaskStatus,
    TaskUpdate,
)
from planstore.models.bulk import TaskAction, TaskBulk
from planstore.models.revision import RemoveTask, RevisionDraft
from tests.arranging import plan_of, set_to, task_of
from tests.holder import claim, complete

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from planstore.services.plan_store import PlanStore

    Ask = Callable[[PlanStore], Awaitable[Any]]
    Arranged = Callable[[PlanStore], Awaitable[Ask]]

NOBODY: Final = UUID(int=0)


async def no_plan(_: PlanStore) -> Ask:
    return lambda store: store.get_plan(NOBODY)


async def no_plan_for_a_task(_: PlanStore) -> Ask:
    return lambda store: store.create_task(TaskCreate(plan_id=NOBODY, description="do it"))


async def an_id_that_is_taken(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    return lambda store: store.create_plan(PlanCreate(id=plan.id))


async def an_unknown_dependency(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    content = {"plan_id": plan.id, "tasks": [{"description": "x", "depends_on": ["a~b/c", "d"]}]}
    return lambda store: store.create_tasks(TaskBatch.model_validate(content))


async def a_cycle(store: PlanStore) -> Ask:
    plan = await plan_of(store, plan_type="dag")
    first = await task_of(store, plan, name="first")
    await task_of(store, plan, name="then", depends_on=["first"])
    wired = DependenciesUpdate.model_validate({"depends_on": ["then"]})
    return lambda store: store.add_dependencies(first.id, wired)


async def a_verb_that_the_status_forbids(store: PlanStore) -> Ask:
    task = await task_of(store, await plan_of(store), status=TaskStatus.COMPLETED)
    return lambda store: store.skip_task(task.id)


async def a_plan_that_is_closed(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    await set_to(store, plan, PlanStatus.CANCELLED)
    return lambda store: store.create_task(TaskCreate(plan_id=plan.id, description="late"))


async def another_version(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    return lambda store: store.update_plan(plan.id, PlanUpdate(metadata={}), expected_version=7)


async def a_field_that_is_kept(store: PlanStore) -> Ask:
    task = await task_of(store, await plan_of(store))
    return lambda store: store.update_task(task.id, TaskUpdate(attempt=7, plan_id=NOBODY))


async def a_claim_of_another(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await claim(store, plan=plan)
    return lambda store: store.complete_task(task.id)


async def a_claim_that_has_ended(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    (packet,) = await claim(store, plan=plan)
    late = Completion(fencing_token=packet.fencing_token - 1, output_data={"late": True})
    return lambda store: store.complete_task(task.id, late)


async def another_result(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    await task_of(store, plan)
    (packet,) = await claim(store, plan=plan)
    await complete(store, packet, output_data={"n": 1})
    return lambda store: store.complete_task(packet.id, Completion(output_data={"n": 2}))


async def tasks_that_run(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    await task_of(store, plan)
    await claim(store, plan=plan)
    return lambda store: store.delete_plan(plan.id)


async def a_task_that_is_needed(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    task = await task_of(store, plan, name="first")
    await task_of(store, plan, depends_on=["first"])
    return lambda store: store.delete_task(task.id)


async def a_revision_that_can_not_be(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    draft = RevisionDraft(operations=[RemoveTask(task="nobody"), RemoveTask(task="nothing")])
    return lambda store: store.revise_plan(plan.id, draft)


async def another_revision(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    draft = RevisionDraft(operations=[RemoveTask(task="nobody")], expected_revision=7)
    return lambda store: store.revise_plan(plan.id, draft)


async def a_key_of_another_request(store: PlanStore) -> Ask:
    plan = await plan_of(store)
    key = Idempotency(f"k-{plan.id}")

    async def ask(store: PlanStore) -> None:
        await store.pause_plan(plan.id, idempotency=key)
        await store.update_plan(plan.id, PlanUpdate(metadata={"n": 1}), idempotency=key)
        await store.update_plan(plan.id, PlanUpdate(metadata={"n": 2}), idempotency=key)

    return ask


async def a_cursor_of_another_list(_: PlanStore) -> Ask:
    return lambda store: store.list_plans(cursor="bm90IG91cnM")


async def a_list_that_is_too_long(_: PlanStore) -> Ask:
    return lambda store: store.list_tasks(limit=1_001)


async def everything_without_saying_so(_: PlanStore) -> Ask:
    return lambda store: store.bulk_tasks(TaskBulk(filter=TaskFilter(), action=TaskAction.SKIP))


async def a_place_in_a_log_that_is_not_this_one(_: PlanStore) -> Ask:
    async def ask(store: PlanStore) -> None:
        async with store.stream_events(after=10**15):
            pass

    return ask


async def a_stream_of_no_plan(_: PlanStore) -> Ask:
    async def ask(store: PlanStore) -> None:
        async with store.stream_events(plan_id=NOBODY):
            pass

    return ask


REFUSED: Final[dict[Arranged, type[errors.PlanStoreError]]] = {
    no_plan: errors.NotFound,
    no_plan_for_a_task: errors.NotFound,
    an_id_that_is_taken: errors.AlreadyExists,
    an_unknown_dependency: errors.InvalidInput,
    a_cycle: errors.DependencyCycle,
    a_verb_that_the_status_forbids: errors.InvalidTransition,
    a_plan_that_is_closed: errors.PlanClosed,
    another_version: errors.VersionMismatch,
    a_field_that_is_kept: errors.InvalidInput,
    a_claim_of_another: errors.Claimed,
    a_claim_that_has_ended: errors.StaleClaim,
    another_result: errors.ResultConflict,
    tasks_that_run: errors.TasksRunning,
    a_task_that_is_needed: errors.TaskNeeded,
    a_revision_that_can_not_be: errors.RevisionRefused,
    another_revision: errors.VersionMismatch,
    a_key_of_another_request: errors.IdempotencyMismatch,
    a_cursor_of_another_list: errors.InvalidInput,
    a_list_that_is_too_long: errors.InvalidInput,
    everything_without_saying_so: errors.InvalidInput,
    a_place_in_a_log_that_is_not_this_one: errors.CursorGone,
    a_stream_of_no_plan: errors.NotFound,
}


@pytest.mark.parametrize("arranged", REFUSED, ids=lambda arranged: arranged.__name__)
async def test_it_is_refused_alike(
    arranged: Arranged, store: PlanStore, library: PlanStore
) -> None:
    ask = await arranged(library)
    with pytest.raises(errors.PlanStoreError) as in_process:
        await ask(library)
    with pytest.raises(errors.PlanStoreError) as told:
        await ask(store)
    assert type(told.value) is type(in_process.value) is REFUSED[arranged]
    assert told.value.code == in_process.value.code
    assert str(told.value) == str(in_process.value)
    assert told.value.detail == in_process.value.detail
    assert told.value.faults == in_process.value.faults
