"""Deleting plans and tasks: what stands in the way, what goes along, and what follows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from planstore.errors import (
    IdempotencyMismatch,
    NotFound,
    StaleClaim,
    TaskNeeded,
    TasksRunning,
    VersionMismatch,
)
from planstore.models import PlanCreate, TaskCreate
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimState
from planstore.models.idempotency import Idempotency
from tests.arranging import moved, plan_of, set_to, status_of, task_of
from tests.history import all_events, all_rows
from tests.holder import claim, complete, fail, renew
from tests.refusals import refused
from tests.services.weaving import claimed, run_fails, woven

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


_LEFT = """
select
  (select count(*) from planstore.tasks) as tasks,
  (select count(*) from planstore.task_states) as states,
  (select count(*) from planstore.dependencies) as dependencies,
  (select count(*) from planstore.attempts) as attempts
"""


async def rows_left(database: Database) -> dict[str, int]:
    async with database.connection() as conn:
        row = await conn.fetchrow(_LEFT)
    assert row is not None
    return dict(row)


async def told_of(database: Database, item_id: UUID) -> list[str]:
    return [each.event_type for each in await all_events(database) if each.aggregate_id == item_id]


async def handed_out(store: PlanStore, plan: Plan) -> list[str]:
    return sorted(str(packet.name) for packet in await claim(store, plan=plan))


async def test_a_plan_takes_its_tasks_along_and_leaves_its_events(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]})
    await run_fails(store, await claimed(store, plan))
    before = await store.get_plan(plan.id)
    other = await plan_of(store)
    kept = await task_of(store, other)

    await store.delete_plan(plan.id)

    assert set(await all_rows(database)) == {other.id, kept.id}
    assert await rows_left(database) == {"tasks": 1, "states": 1, "dependencies": 0, "attempts": 0}
    last = (await all_events(database))[-1]
    assert (last.event_type, last.aggregate_id, last.plan_id) == ("plan.deleted", plan.id, plan.id)
    assert (last.version, last.payload) == (before.version + 1, {})
    assert last.metadata == {
        "revision": before.revision,
        "tasks": 2,
        "statuses": [
            {"task_type": None, "status": "blocked", "count": 1},
            {"task_type": None, "status": "pending", "count": 1},
        ],
    }
    assert (await told_of(database, tasks["b"].id))[-1] != "task.deleted"


@pytest.mark.parametrize("status", [P.DRAFT, P.ACTIVE, P.COMPLETED, P.FAILED, P.CANCELLED])
async def test_a_plan_is_deleted_whatever_its_status(store: PlanStore, status: P) -> None:
    plan = await store.create_plan(PlanCreate())
    await task_of(store, plan)
    if status != P.DRAFT:
        await set_to(store, plan, status)

    await store.delete_plan(plan.id)

    with pytest.raises(NotFound):
        await store.get_plan(plan.id)


async def test_a_plan_stays_while_its_tasks_run_and_says_who_runs_them(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag")
    for number in range(8):
        await task_of(store, plan, name=f"t{number}")
    await claim(store, "the holder", plan=plan, limit=7)

    async with refused(database, TasksRunning) as info:
        await store.delete_plan(plan.id)

    assert "7 tasks" in info.value.detail
    assert "'t0' (worker 'the holder')" in info.value.detail
    assert "and 2 more" in info.value.detail


async def test_by_force_a_plan_goes_and_its_workers_learn_that_their_claims_are_lost(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)

    await store.delete_plan(plan.id, force=True)

    assert (await renew(store, packet)).state == ClaimState.LOST
    async with refused(database, NotFound):
        await complete(store, packet)
    async with refused(database, NotFound):
        await fail(store, packet)
    assert await store.sweep() == 0


async def test_what_is_not_there_is_not_found_a_repetition_too(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await store.delete_task(task.id)
    await store.delete_plan(plan.id)

    for which in (plan.id, uuid4()):
        async with refused(database, NotFound) as info:
            await store.delete_plan(which, force=True)
        assert str(which) in info.value.detail
    for which in (task.id, uuid4()):
        async with refused(database, NotFound) as info:
            await store.delete_task(which, force=True)
        assert str(which) in info.value.detail


@pytest.mark.parametrize("force", [False, True])
async def test_what_has_changed_since_it_was_seen_stays(
    store: PlanStore, database: Database, *, force: bool
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    version = (await store.get_plan(plan.id)).version

    async with refused(database, VersionMismatch):
        await store.delete_plan(plan.id, force=force, expected_version=version - 1)
    async with refused(database, VersionMismatch):
        await store.delete_task(task.id, force=force, expected_version=task.version + 1)

    await store.delete_task(task.id, force=force, expected_version=task.version)
    version = (await store.get_plan(plan.id)).version
    await store.delete_plan(plan.id, force=force, expected_version=version)


async def test_deleting_a_task_is_a_revision_of_its_plan(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task, other = await task_of(store, plan), await task_of(store, plan)
    before = await store.get_plan(plan.id)

    await store.delete_task(other.id)

    after = await store.get_plan(plan.id)
    assert (after.revision, after.version) == (before.revision + 1, before.version + 1)
    assert await store.list_tasks(plan_id=plan.id) == [task]
    deleted, revised = (await all_events(database))[-2:]
    assert (deleted.event_type, deleted.aggregate_id) == ("task.deleted", other.id)
    assert (deleted.version, deleted.payload) == (other.version + 1, {})
    assert deleted.metadata == {"revision": after.revision, "was": "pending", "task_type": None}
    assert (revised.event_type, revised.payload) == ("plan.revised", {"revision": after.revision})


async def test_a_task_stays_while_others_need_it_and_says_which(
    store: PlanStore, database: Database
) -> None:
    needs = {"a": [], **{f"b{number}": ["a"] for number in range(7)}}
    _, tasks = await woven(store, needs)

    async with refused(database, TaskNeeded) as info:
        await store.delete_task(tasks["a"].id)

    assert "7 tasks need it: 'b0', 'b1', 'b2', 'b3', 'b4' and 2 more" in info.value.detail
    await store.delete_task(tasks["b0"].id)


async def test_by_force_those_who_needed_the_task_go_on(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["a", "b"], "d": [], "e": ["a"]})

    await store.delete_task(tasks["a"].id, force=True)

    assert await handed_out(store, plan) == ["b", "d", "e"]
    (left,) = await store.list_dependencies(tasks["c"].id)
    assert left.task_id == tasks["b"].id
    assert await told_of(database, tasks["b"].id) == [
        *("task.created", "task.rewired", "task.unblocked", "task.started"),
    ]
    rewired = {
        each.aggregate_id: each.payload["depends_on"]
        for each in await all_events(database)
        if each.event_type == "task.rewired"
    }
    edge = {"task_id": str(tasks["b"].id), "when": "success", "type": "blocking"}
    assert rewired == {tasks["b"].id: [], tasks["c"].id: [edge], tasks["e"].id: []}


async def test_a_task_stays_while_it_runs(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    by_hand = await task_of(store, plan, status=S.RUNNING, sequence_order=1)
    await task_of(store, plan, sequence_order=1)
    packet = await claimed(store, plan, "the holder")

    async with refused(database, TasksRunning) as info:
        await store.delete_task(packet.id)
    assert "'the holder'" in info.value.detail
    async with refused(database, TasksRunning):
        await store.delete_task(by_hand.id)


async def test_by_force_a_run_ends_and_what_its_worker_still_sends_changes_nothing(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    rest = await task_of(store, plan, name="rest")
    packet = await claimed(store, plan)

    await store.delete_task(packet.id, force=True)

    assert (await renew(store, packet)).state == ClaimState.LOST
    for report in (complete, fail):
        async with refused(database, NotFound):
            await report(store, packet)
    assert await handed_out(store, plan) == [rest.name]


async def test_the_token_of_a_deleted_task_is_nothing_to_another_one_of_its_id(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    packet = await claimed(store, plan)
    await store.delete_task(task.id, force=True)
    await task_of(store, plan, id=task.id)
    again = await claimed(store, plan, "w2")

    with pytest.raises(StaleClaim):
        await complete(store, packet)

    assert (again.id, again.attempt) == (task.id, 1)
    await complete(store, again)


async def test_a_deleted_id_and_name_can_be_taken_again(store: PlanStore) -> None:
    plan = await plan_of(store, metadata={"life": 1})
    task = await task_of(store, plan, name="same")
    await store.delete_task(task.id)
    assert (await task_of(store, plan, id=task.id, name="same")).version == 1
    await store.delete_plan(plan.id)

    again = await store.create_plan(PlanCreate(id=plan.id))

    assert (again.version, again.metadata) == (1, {})
    assert await store.list_tasks(plan_id=plan.id) == []
    await task_of(store, again, id=task.id, name="same")


async def test_a_repeated_create_does_not_bring_back_what_was_deleted(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    key = Idempotency("k")
    create = TaskCreate(id=uuid4(), plan_id=plan.id, description="do it")
    task = await store.create_task(create, idempotency=key)
    await store.delete_task(task.id)

    assert await store.create_task(create, idempotency=key) == task

    assert set(await all_rows(database)) == {plan.id}
    await store.delete_plan(plan.id)
    assert await store.create_task(create, idempotency=key) == task
    assert await all_rows(database) == {}


async def test_a_deletion_is_done_once_under_its_key(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    key = Idempotency("k")
    await store.delete_task(task.id, idempotency=key)
    await store.delete_plan(plan.id, idempotency=key)
    again = await store.create_plan(PlanCreate(id=plan.id))
    await task_of(store, again, id=task.id)
    before = await all_rows(database), await all_events(database)

    await store.delete_task(task.id, idempotency=key)
    with pytest.raises(IdempotencyMismatch):
        await store.delete_plan(plan.id, force=True, idempotency=key)
    await store.delete_plan(plan.id, idempotency=key)

    assert (await all_rows(database), await all_events(database)) == before


@pytest.mark.parametrize(
    ("statuses", "settled"),
    [
        ([S.COMPLETED], P.COMPLETED),
        ([S.COMPLETED, S.SKIPPED], P.COMPLETED),
        ([S.COMPLETED, S.FAILED], P.FAILED),
        ([], P.ACTIVE),
    ],
)
async def test_a_plan_settles_when_its_last_open_task_is_deleted_unless_it_is_left_without(
    store: PlanStore, statuses: list[S], settled: P
) -> None:
    plan = await plan_of(store, plan_type="dag")
    tasks = [await task_of(store, plan) for _ in statuses]
    last = await task_of(store, plan)
    for task, status in zip(tasks, statuses, strict=True):
        await moved(store, task, status)

    await store.delete_task(last.id)

    assert await status_of(store, plan) == settled


async def test_a_plan_that_failed_is_completed_when_what_failed_is_deleted(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, status=S.COMPLETED)
    failed = await task_of(store, plan, status=S.FAILED)
    assert await status_of(store, plan) == P.FAILED

    await store.delete_task(failed.id)

    assert await status_of(store, plan) == P.COMPLETED


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED])
async def test_a_settled_plan_that_is_left_without_tasks_stays_as_it_is(
    store: PlanStore, status: S
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=status)

    await store.delete_task(task.id)

    assert await status_of(store, plan) == P(status.value)
    await task_of(store, plan)
    assert await status_of(store, plan) == P.ACTIVE


async def test_a_settled_plan_is_open_again_when_what_held_up_a_task_is_deleted(
    store: PlanStore,
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]}, on_failure="skip")
    await fail(store, await claimed(store, plan), retryable=False)
    assert await status_of(store, plan) == P.FAILED

    await store.delete_task(tasks["a"].id, force=True)

    assert await status_of(store, plan) == P.ACTIVE
    assert await handed_out(store, plan) == ["b"]


async def test_in_a_sequential_plan_the_next_order_has_its_turn_when_the_last_before_it_goes(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    first, gone = [await task_of(store, plan, sequence_order=1) for _ in range(2)]
    await task_of(store, plan, name="next", sequence_order=5)
    await moved(store, first, S.COMPLETED)
    assert (await store.get_plan(plan.id)).current_step == 1

    await store.delete_task(gone.id)

    assert (await store.get_plan(plan.id)).current_step == 5
    assert await handed_out(store, plan) == ["next"]


async def test_a_deleted_task_leaves_its_place_to_another_one(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag", max_parallel_tasks=1)
    await task_of(store, plan, name="first")
    await task_of(store, plan, name="second")
    packet = await claimed(store, plan)
    assert await handed_out(store, plan) == []

    await store.delete_task(packet.id, force=True)

    assert await handed_out(store, plan) == ["second"]


async def test_what_a_deleted_failure_aborted_is_revived(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []}, on_failure="abort")
    await fail(store, await claimed(store, plan), retryable=False)
    (failed,) = [
        each for each in tasks.values() if (await store.get_task(each.id)).status == S.FAILED
    ]

    await store.delete_task(failed.id)

    assert len(await claim(store, plan=plan)) == 1


async def test_tasks_of_a_closed_plan_can_be_deleted(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await set_to(store, plan, P.CANCELLED)

    await store.delete_task(task.id)

    assert await status_of(store, plan) == P.CANCELLED
    assert await store.list_tasks(plan_id=plan.id) == []


async def test_what_an_input_took_from_a_deleted_task_is_left_as_it_was_written(
    store: PlanStore,
) -> None:
    given: dict[str, Any] = {"input_data": {"text": "{{a.text}}"}}
    plan, tasks = await woven(store, {"a": [], "b": []}, fields={"b": given})
    assert len(await store.list_dependencies(tasks["b"].id)) == 1

    await store.delete_task(tasks["a"].id, force=True)

    assert (await claimed(store, plan)).resolved_input == given["input_data"]
