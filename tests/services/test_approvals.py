"""Tasks that require an approval: they wait for it, and what was decided isn't lost."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

import pytest

from planstore.errors import InvalidTransition
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, Task, TaskCreate, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.approval import Decision, Review
from planstore.models.plan import OnFailure
from planstore.models.query import TaskFilter
from planstore.models.revision import RevisionDraft, WantedTasks
from planstore.models.task import StatusReason as R
from tests.arranging import moved, plan_of, set_to, status_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, fail
from tests.refusals import refused

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")

ADA = Review(by="ada", comment="Go ahead")


async def gated_of(store: PlanStore, **fields: object) -> tuple[Plan, Task]:
    """A plan, and a task of it that requires an approval."""
    plan = await plan_of(store, plan_type="dag", **fields)
    return plan, await task_of(store, plan, name="deploy", requires_approval=True)


def standing(task: Task) -> tuple[S, R | None]:
    return task.status, task.status_reason


async def test_a_task_that_requires_an_approval_waits_for_it(store: PlanStore) -> None:
    plan, task = await gated_of(store)

    assert standing(task) == (S.BLOCKED, R.UNAPPROVED)
    assert await claim(store, plan=plan) == []
    assert await status_of(store, plan) == P.ACTIVE


async def test_once_approved_it_is_handed_out_with_what_was_said(store: PlanStore) -> None:
    plan, task = await gated_of(store)

    approved = await store.approve_task(task.id, ADA)

    assert standing(approved) == (S.PENDING, None)
    assert approved.approval is not None
    assert approved.approval.decision == Decision.APPROVED
    assert (approved.approval.by, approved.approval.comment) == ("ada", "Go ahead")
    (packet,) = await claim(store, plan=plan)
    assert packet.approval == approved.approval


async def test_the_decision_is_one_change_with_one_event(
    store: PlanStore, database: Database
) -> None:
    _, task = await gated_of(store)
    before = await all_events(database)

    approved = await store.approve_task(task.id, ADA)

    (event,) = (await all_events(database))[len(before) :]
    assert (event.event_type, event.version) == ("task.approved", approved.version)
    assert event.payload.keys() == {"approval", "status", "status_reason"}


async def test_an_approval_that_comes_before_the_turn_is_not_lost(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    first = await task_of(store, plan)
    then = await task_of(store, plan, depends_on=[first.id], requires_approval=True)

    approved = await store.approve_task(then.id)
    await store.complete_task(first.id)

    assert standing(approved) == (S.BLOCKED, R.UNMET)
    assert standing(await store.get_task(then.id)) == (S.PENDING, None)


async def test_with_its_dependencies_satisfied_it_waits_for_the_approval_alone(
    store: PlanStore,
) -> None:
    plan = await plan_of(store, plan_type="dag")
    first = await task_of(store, plan)
    then = await task_of(store, plan, depends_on=[first.id], requires_approval=True)

    ended = await store.complete_task(first.id)

    assert ended.unblocked == []
    assert standing(await store.get_task(then.id)) == (S.BLOCKED, R.UNAPPROVED)
    assert standing(await store.approve_task(then.id)) == (S.PENDING, None)


async def test_in_a_sequential_plan_an_approved_task_still_waits_for_its_turn(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    first = await task_of(store, plan)
    then = await task_of(store, plan, requires_approval=True)

    assert standing(await store.approve_task(then.id)) == (S.PENDING, None)

    assert [each.id for each in await claim(store, plan=plan)] == [first.id]


async def test_an_approved_task_waits_for_one_of_the_plans_places(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag", max_parallel_tasks=1)
    first = await task_of(store, plan)
    then = await task_of(store, plan, requires_approval=True)

    await store.approve_task(then.id)

    (packet,) = await claim(store, plan=plan)
    assert packet.id == first.id
    await complete(store, packet)
    assert [each.id for each in await claim(store, plan=plan)] == [then.id]


async def test_an_approved_task_takes_a_place_that_is_free(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag", max_parallel_tasks=1)
    task = await task_of(store, plan, requires_approval=True)

    await store.approve_task(task.id)

    assert [each.id for each in await claim(store, plan=plan)] == [task.id]


async def test_a_rejected_task_has_failed_and_is_not_retried(
    store: PlanStore, database: Database
) -> None:
    plan, task = await gated_of(store)
    before = await all_events(database)

    rejected = await store.reject_task(task.id, Review(by="bo", comment="too early"))

    assert standing(rejected) == (S.FAILED, None)
    assert rejected.error == {"code": "rejected", "message": "rejected by bo: too early"}
    assert rejected.approval is not None
    assert rejected.approval.decision == Decision.REJECTED
    assert await status_of(store, plan) == P.FAILED
    written = [each.event_type for each in (await all_events(database))[len(before) :]]
    assert written == ["task.rejected", "task.failed", "plan.failed"]


@pytest.mark.parametrize(
    ("on_failure", "needing", "other"),
    [
        (OnFailure.BLOCK, S.BLOCKED, S.PENDING),
        (OnFailure.SKIP, S.SKIPPED, S.PENDING),
        (OnFailure.ABORT, S.SKIPPED, S.SKIPPED),
    ],
)
async def test_a_rejection_does_to_the_plan_what_a_failure_does(
    store: PlanStore, on_failure: OnFailure, needing: S, other: S
) -> None:
    plan, task = await gated_of(store, on_failure=on_failure)
    after = await task_of(store, plan, depends_on=[task.id])
    beside = await task_of(store, plan)

    await store.reject_task(task.id)

    assert (await store.get_task(after.id)).status == needing
    assert (await store.get_task(beside.id)).status == other


async def test_going_through_a_draft_does_not_start_it(store: PlanStore) -> None:
    plan, task = await gated_of(store, status="draft")
    other = await task_of(store, plan, requires_approval=True)

    await store.reject_task(task.id)
    await store.approve_task(other.id)

    assert await status_of(store, plan) == P.DRAFT
    await store.start_plan(plan.id)
    assert [each.id for each in await claim(store, plan=plan)] == [other.id]


@pytest.mark.parametrize("verb", ["approve_task", "reject_task"])
async def test_who_decides_the_same_again_changes_nothing(
    store: PlanStore, database: Database, verb: str
) -> None:
    _, task = await gated_of(store)
    decided = await getattr(store, verb)(task.id, ADA)
    before = await all_events(database)

    assert await getattr(store, verb)(task.id, Review(by="bo")) == decided

    assert await all_events(database) == before


async def test_what_was_decided_once_is_not_decided_otherwise(
    store: PlanStore, database: Database
) -> None:
    plan, task = await gated_of(store)
    other = await task_of(store, plan, requires_approval=True)
    await store.approve_task(task.id, ADA)
    await store.reject_task(other.id)

    async with refused(database, InvalidTransition) as withdrawn:
        await store.reject_task(task.id)
    async with refused(database, InvalidTransition) as raised:
        await store.approve_task(other.id)

    assert "it was approved by 'ada' already" in withdrawn.value.detail
    assert "it is failed; allowed now: complete, skip, reset" in raised.value.detail


async def test_nothing_is_decided_about_a_task_that_requires_no_approval_or_runs(
    store: PlanStore, database: Database
) -> None:
    plan, _ = await gated_of(store)
    plain = await task_of(store, plan)
    running = await task_of(store, plan, status=S.RUNNING)
    await store.update_task(running.id, TaskUpdate(requires_approval=True))

    async with refused(database, InvalidTransition) as free:
        await store.approve_task(plain.id)
    async with refused(database, InvalidTransition) as begun:
        await store.reject_task(running.id)

    assert "it requires no approval" in free.value.detail
    assert "it is running" in begun.value.detail


@pytest.mark.parametrize("status", [S.RUNNING, S.PENDING])
async def test_it_is_not_started_nor_let_go_by_hand(
    store: PlanStore, database: Database, status: S
) -> None:
    _, task = await gated_of(store)

    async with refused(database, InvalidTransition) as info:
        await moved(store, task, status)

    assert "allowed now: complete, skip, fail, approve, reject" in info.value.detail


async def test_an_operator_may_complete_it_all_the_same(store: PlanStore) -> None:
    plan, task = await gated_of(store)

    done = await moved(store, task, S.COMPLETED)

    assert (done.status, done.approval) == (S.COMPLETED, None)
    assert await status_of(store, plan) == P.COMPLETED


async def test_a_held_task_may_be_approved_and_stays_held(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    task = await task_of(store, plan, status=S.BLOCKED)
    await store.update_task(task.id, TaskUpdate(requires_approval=True))

    assert standing(await store.approve_task(task.id)) == (S.BLOCKED, R.HELD)

    assert standing(await moved(store, task, S.PENDING)) == (S.PENDING, None)


async def test_the_approval_covers_all_runs_until_the_task_has_completed(store: PlanStore) -> None:
    plan, task = await gated_of(store, retry_policy={"max_retries": 1, "initial_delay_sec": 0})
    await store.approve_task(task.id)
    for _ in range(2):
        (packet,) = await claim(store, plan=plan)
        await fail(store, packet)

    assert (await store.get_task(task.id)).status == S.FAILED
    assert standing(await store.retry_task(task.id)) == (S.PENDING, None)
    (packet,) = await claim(store, plan=plan)
    await complete(store, packet)

    again = await store.reset_task(task.id)

    assert (standing(again), again.approval) == ((S.BLOCKED, R.UNAPPROVED), None)


@pytest.mark.parametrize("verb", ["retry_task", "reset_task", "by hand"])
async def test_a_rejection_is_over_when_the_task_begins_anew(store: PlanStore, verb: str) -> None:
    _, task = await gated_of(store)
    await store.reject_task(task.id)

    if verb == "by hand":
        again = await moved(store, task, S.PENDING)
    else:
        again = await getattr(store, verb)(task.id)

    assert (standing(again), again.approval) == ((S.BLOCKED, R.UNAPPROVED), None)


async def test_an_approval_may_be_asked_for_and_given_up_later(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    asked = await store.update_task(task.id, TaskUpdate(requires_approval=True))
    assert standing(asked) == (S.BLOCKED, R.UNAPPROVED)
    assert await claim(store, plan=plan) == []

    free = await store.update_task(task.id, TaskUpdate(requires_approval=False))
    assert standing(free) == (S.PENDING, None)
    assert len(await claim(store, plan=plan)) == 1


async def test_what_waits_for_an_approval_is_skipped_when_what_it_needs_cannot_come(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag", on_failure="skip")
    first = await task_of(store, plan)
    then = await task_of(store, plan, depends_on=[first.id], requires_approval=True)

    await moved(store, first, S.FAILED)

    assert standing(await store.get_task(then.id)) == (S.SKIPPED, R.DEAD)
    assert await status_of(store, plan) == P.FAILED
    async with refused(database, InvalidTransition):
        await store.approve_task(then.id)


async def test_closing_the_plan_skips_it(store: PlanStore) -> None:
    plan, task = await gated_of(store)

    await set_to(store, plan, P.CANCELLED)

    assert standing(await store.get_task(task.id)) == (S.SKIPPED, R.CLOSED)


async def test_a_plan_settles_only_once_it_is_decided(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    first = await task_of(store, plan, status=S.RUNNING)
    then = await task_of(store, plan, depends_on=[first.id], requires_approval=True)
    await moved(store, first, S.FAILED)

    assert await status_of(store, plan) == P.ACTIVE
    await store.approve_task(then.id)

    assert await status_of(store, plan) == P.FAILED


async def test_replanning_says_which_tasks_require_an_approval(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan, name="build")
    operations = [
        {"op": "change", "task": "build", "set": {"requires_approval": True}},
        {
            "op": "add",
            "task": {"name": "ship", "description": "Ship it", "requires_approval": True},
        },
    ]

    await store.revise_plan(plan.id, RevisionDraft.model_validate({"operations": operations}))

    tasks = await store.list_tasks(plan_id=plan.id)
    assert [standing(each) for each in tasks] == [(S.BLOCKED, R.UNAPPROVED)] * 2
    wanted = [{"name": "build", "requires_approval": False}, {"name": "ship"}]
    await store.set_tasks(plan.id, WantedTasks.model_validate({"tasks": wanted}))
    tasks = await store.list_tasks(plan_id=plan.id)
    assert [each.requires_approval for each in tasks] == [False, True]
    diff = await store.compare_revisions(plan.id)
    assert diff.changed[0].fields["requires_approval"].new is False


async def test_steps_say_which_tasks_require_an_approval(store: PlanStore) -> None:
    plan = await plan_of(
        store,
        steps=[
            {"action": "build"},
            {"actions": ["notify", "deploy"], "requires_approval": True},
        ],
        expand=True,
    )

    tasks = await store.list_tasks(plan_id=plan.id)

    assert [each.requires_approval for each in tasks] == [False, True, True]


async def test_those_that_wait_for_an_approval_are_listed(store: PlanStore) -> None:
    plan, task = await gated_of(store)
    approved = await task_of(store, plan, requires_approval=True)
    await store.approve_task(approved.id)
    other, elsewhere = await gated_of(store)
    waiting = TaskFilter(awaits_approval=True)

    assert [each.id for each in await store.list_tasks(waiting)] == [elsewhere.id, task.id]
    assert [each.id for each in await store.list_tasks(waiting, plan_id=other.id)] == [elsewhere.id]


async def test_explanations_say_that_somebody_is_to_decide(store: PlanStore) -> None:
    plan, task = await gated_of(store)
    after = await task_of(store, plan, depends_on=[task.id])

    of_task = await store.explain_task(task.id)
    of_after = await store.explain_task(after.id)
    of_plan = await store.explain_plan(plan.id)

    assert of_task.sentence == "It waits until somebody approves it, or rejects it."
    assert of_after.sentence == ("It waits for 'deploy', which waits for somebody to approve it.")
    assert [each.task_id for each in of_after.blockers] == [task.id]
    assert of_plan.sentence.startswith(
        "Nothing of it runs: 1 of its tasks waits to be approved: 'deploy'"
    )
    assert of_plan.unblocks_most is not None
    assert of_plan.unblocks_most.task_id == task.id


async def test_what_was_decided_is_seen_in_the_past(store: PlanStore) -> None:
    _, task = await gated_of(store)
    approved = await store.approve_task(task.id, ADA)
    await store.complete_task(task.id)

    before = await store.get_task(task.id, at=approved.updated_at - timedelta(microseconds=1))
    then = await store.get_task(task.id, at=approved.updated_at)

    assert before.approval is None
    assert then == approved


async def test_the_object_may_be_read_edited_and_sent_back(store: PlanStore) -> None:
    _, task = await gated_of(store)
    approved = await store.approve_task(task.id, ADA)

    whole = approved.model_dump() | {"description": "edited"}
    edited = await store.update_task(task.id, TaskUpdate.model_validate(whole))

    assert (edited.description, edited.approval) == ("edited", approved.approval)


async def test_with_a_time_before_which_it_is_not_to_start_it_waits_for_both(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    later = datetime.now(UTC) + timedelta(hours=1)
    create = TaskCreate(
        plan_id=plan.id, description="do it", requires_approval=True, not_before=later
    )
    task = await store.create_task(create)

    await store.approve_task(task.id)

    assert await claim(store, plan=plan) == []
    await store.update_task(task.id, TaskUpdate(not_before=None))
    assert len(await claim(store, plan=plan)) == 1


async def test_a_paused_plan_hands_nothing_out_though_it_is_approved(store: PlanStore) -> None:
    plan, task = await gated_of(store)
    await store.pause_plan(plan.id)

    await store.approve_task(task.id)
    assert await claim(store, plan=plan) == []

    await store.resume_plan(plan.id)
    await store.update_plan(plan.id, PlanUpdate(metadata={}))
    assert len(await claim(store, plan=plan)) == 1
