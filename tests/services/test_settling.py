"""What tasks do to their plan, and what closing a plan does to its tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from planstore.errors import PlanClosed
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, TaskUpdate
from planstore.models import TaskStatus as S
from tests.arranging import moved, plan_of, set_to, status_of, task_of
from tests.history import (
    all_events,
    assert_counts_hold,
    assert_history_holds,
)
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.db import Database
    from planstore.services.plan_store import PlanStore


@pytest.fixture(autouse=True)
async def _nothing_is_miscounted(database: Database) -> AsyncIterator[None]:
    yield
    await assert_counts_hold(database)
    await assert_history_holds(database)


async def test_a_plan_completes_when_all_its_tasks_are_finished(store: PlanStore) -> None:
    plan = await plan_of(store)
    first, second = await task_of(store, plan), await task_of(store, plan)

    await moved(store, first, S.COMPLETED)
    assert await status_of(store, plan) == P.ACTIVE
    await moved(store, second, S.SKIPPED)

    settled = await store.get_plan(plan.id)
    assert settled.status == P.COMPLETED
    assert settled.closed_at is None


async def test_a_sequential_plan_fails_when_a_failed_task_shuts_off_the_rest(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    first = await task_of(store, plan)
    await task_of(store, plan)

    await moved(store, first, S.FAILED)

    assert await status_of(store, plan) == P.FAILED


async def test_a_parallel_plan_fails_only_when_all_have_ended(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    first, second = await task_of(store, plan), await task_of(store, plan)

    await moved(store, first, S.FAILED)
    assert await status_of(store, plan) == P.ACTIVE
    await moved(store, second, S.COMPLETED)

    assert await status_of(store, plan) == P.FAILED


@pytest.mark.parametrize("status", [S.RUNNING, S.BLOCKED])
async def test_a_plan_does_not_settle_while_a_task_runs_or_is_held(
    store: PlanStore, status: S
) -> None:
    plan = await plan_of(store)
    first = await task_of(store, plan)
    await task_of(store, plan, status=status)

    await moved(store, first, S.FAILED)

    assert await status_of(store, plan) == P.ACTIVE


async def test_tasks_of_one_order_do_not_wait_for_each_other(store: PlanStore) -> None:
    plan = await plan_of(store)
    first = await task_of(store, plan, sequence_order=1)
    second = await task_of(store, plan, sequence_order=1)

    await moved(store, first, S.FAILED)
    assert await status_of(store, plan) == P.ACTIVE
    await moved(store, second, S.COMPLETED)

    assert await status_of(store, plan) == P.FAILED


async def test_a_plan_without_tasks_does_not_settle(store: PlanStore) -> None:
    plan = await plan_of(store)

    changed = await store.update_plan(plan.id, PlanUpdate(metadata={"n": 1}))

    assert changed.status == P.ACTIVE


@pytest.mark.parametrize("status", [S.RUNNING, S.COMPLETED, S.FAILED, S.SKIPPED])
async def test_starting_or_ending_a_task_activates_its_draft(store: PlanStore, status: S) -> None:
    plan = await plan_of(store, status="draft", plan_type="parallel")
    task = await task_of(store, plan)
    await task_of(store, plan)

    await moved(store, task, status)

    assert await status_of(store, plan) == P.ACTIVE


async def test_holding_a_task_leaves_its_draft_alone(store: PlanStore) -> None:
    plan = await plan_of(store, status="draft")
    task = await task_of(store, plan)

    await moved(store, await moved(store, task, S.BLOCKED), S.PENDING)

    assert await status_of(store, plan) == P.DRAFT


async def test_a_draft_settles_with_its_only_task(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, status="draft")
    task = await task_of(store, plan)

    await moved(store, task, S.COMPLETED)

    assert await status_of(store, plan) == P.COMPLETED
    assert (await all_events(database))[-1].event_type == "plan.completed"


async def test_a_plan_settles_by_itself_only_where_it_may(store: PlanStore) -> None:
    plan = await plan_of(store, auto_complete=False)
    task = await task_of(store, plan)

    await moved(store, task, S.COMPLETED)
    assert await status_of(store, plan) == P.ACTIVE
    settled = await store.update_plan(plan.id, PlanUpdate(auto_complete=True))

    assert settled.status == P.COMPLETED


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED])
async def test_adding_to_a_settled_plan_makes_it_active(store: PlanStore, status: S) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, status=status)
    assert await status_of(store, plan) == P(status)

    await task_of(store, plan)
    await task_of(store, plan)

    assert await status_of(store, plan) == P.ACTIVE


async def test_a_plan_that_was_added_to_in_vain_settles_with_the_next_move(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, status=S.FAILED)
    added = await task_of(store, plan)

    await moved(store, await moved(store, added, S.BLOCKED), S.PENDING)

    assert await status_of(store, plan) == P.FAILED


async def test_resetting_a_task_of_a_settled_plan_makes_it_active(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.COMPLETED)

    await moved(store, task, S.PENDING)

    assert await status_of(store, plan) == P.ACTIVE


async def test_completing_a_failed_task_lets_the_rest_go_on(store: PlanStore) -> None:
    plan = await plan_of(store)
    first, _ = await task_of(store, plan), await task_of(store, plan)
    await moved(store, first, S.FAILED)

    await moved(store, first, S.COMPLETED)

    assert await status_of(store, plan) == P.ACTIVE


async def test_moving_a_finished_task_leaves_a_settled_plan_alone(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.COMPLETED)

    await store.update_task(task.id, TaskUpdate(sequence_order=5))

    assert await status_of(store, plan) == P.COMPLETED


async def test_moving_a_task_before_the_failed_one_makes_the_plan_active(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, status=S.FAILED)
    task = await task_of(store, plan)
    await moved(store, await moved(store, task, S.BLOCKED), S.PENDING)
    assert await status_of(store, plan) == P.FAILED

    await store.update_task(task.id, TaskUpdate(sequence_order=0))

    assert await status_of(store, plan) == P.ACTIVE


async def test_another_plan_type_settles_or_opens_the_plan(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="parallel")
    await task_of(store, plan, status=S.FAILED)
    await task_of(store, plan)

    statuses = [
        (await store.update_plan(plan.id, PlanUpdate(plan_type=plan_type))).status
        for plan_type in ("sequential", "parallel")
    ]

    assert statuses == [P.FAILED, P.ACTIVE]


@pytest.mark.parametrize("status", [P.COMPLETED, P.FAILED, P.CANCELLED])
async def test_closing_skips_what_has_not_started(
    store: PlanStore, database: Database, status: P
) -> None:
    plan = await plan_of(store)
    made = {
        each: await task_of(store, plan, status=each, sequence_order=1)
        for each in (S.PENDING, S.BLOCKED, S.RUNNING, S.FAILED, S.COMPLETED)
    }
    before = await all_events(database)

    closed = await set_to(store, plan, status)

    assert (closed.status, closed.closed_at) == (status, closed.updated_at)
    after = {each: (await store.get_task(task.id)).status for each, task in made.items()}
    assert after == {
        S.PENDING: S.SKIPPED,
        S.BLOCKED: S.SKIPPED,
        S.RUNNING: S.RUNNING,
        S.FAILED: S.FAILED,
        S.COMPLETED: S.COMPLETED,
    }
    written = (await all_events(database))[len(before) :]
    skipped = {made[S.PENDING].id, made[S.BLOCKED].id}
    assert {event.aggregate_id for event in written[1:]} == skipped
    assert [(event.event_type, event.payload.get("status_reason")) for event in written] == [
        (f"plan.{status}", None),
        ("task.skipped", "plan_closed"),
        ("task.skipped", "plan_closed"),
    ]


@pytest.mark.parametrize("result", [S.COMPLETED, S.FAILED])
async def test_what_runs_still_reports_after_the_close(store: PlanStore, result: S) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.RUNNING)
    closed = await set_to(store, plan, P.CANCELLED)

    reported = await moved(store, task, result, output_data={"late": True})

    assert (reported.status, reported.output_data) == (result, {"late": True})
    after = await store.get_plan(plan.id)
    assert (after.status, after.closed_at) == (P.CANCELLED, closed.closed_at)


@pytest.mark.parametrize("target", [S.PENDING, S.BLOCKED])
async def test_what_runs_can_not_go_back_after_the_close(
    store: PlanStore, database: Database, target: S
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.RUNNING)
    await set_to(store, plan, P.FAILED)

    async with refused(database, PlanClosed):
        await moved(store, task, target)


async def test_nothing_is_added_to_a_closed_plan(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    await set_to(store, plan, P.COMPLETED)

    async with refused(database, PlanClosed) as error:
        await task_of(store, plan)

    assert str(error.value) == (
        f"cannot add a task: plan {plan.id} was closed by hand; "
        "reopen it first by setting its status to active"
    )


async def test_a_settled_plan_can_still_be_closed(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, status=S.COMPLETED)

    closed = await set_to(store, plan, P.COMPLETED)

    assert closed.closed_at is not None
    async with refused(database, PlanClosed):
        await task_of(store, plan)


async def test_a_settled_plan_that_is_sent_back_as_it_was_read_is_not_closed(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, status=S.COMPLETED)
    settled = await store.get_plan(plan.id)

    after = await store.update_plan(plan.id, PlanUpdate(**settled.model_dump()))

    assert after == settled


async def test_closing_again_changes_nothing(store: PlanStore, database: Database) -> None:
    closed = await set_to(store, await plan_of(store), P.CANCELLED)
    before = await all_events(database)

    assert await set_to(store, closed, P.CANCELLED) == closed

    assert await all_events(database) == before


async def test_a_reopened_plan_takes_tasks_again(store: PlanStore) -> None:
    plan = await plan_of(store)
    skipped = await task_of(store, plan)
    await set_to(store, plan, P.CANCELLED)

    reopened = await set_to(store, plan, P.ACTIVE)
    added = await task_of(store, plan)
    reset = await moved(store, skipped, S.PENDING)

    assert (reopened.status, reopened.closed_at) == (P.ACTIVE, None)
    assert (added.status, reset.status) == (S.PENDING, S.PENDING)
    assert await status_of(store, plan) == P.ACTIVE


async def test_a_reopened_plan_stays_open_until_a_task_moves(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.FAILED)
    await set_to(store, plan, P.ACTIVE)
    edited = await store.update_plan(plan.id, PlanUpdate(plan_type="parallel"))
    assert edited.status == P.ACTIVE

    await moved(store, task, S.COMPLETED)

    assert await status_of(store, plan) == P.COMPLETED
