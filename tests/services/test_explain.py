"""Why a task or a plan isn't going on, said in a sentence and in data."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.errors import NotFound
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models.claim import Completion
from planstore.models.dependency import Condition
from planstore.models.insight import ReasonCode as R
from planstore.services import insight as service
from planstore.sql.derivation import derive
from tests.arranging import moved, plan_of, set_to, task_of
from tests.services.weaving import claimed, run_fails, woven

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database
    from planstore.models import Task
    from planstore.models.insight import PlanExplanation, TaskExplanation
    from planstore.services.plan_store import PlanStore

_TIME: Final = re.compile(r"(?:\d{4}-\d\d-\d\dT)?\d\d:\d\d:\d\dZ")


def said(explanation: TaskExplanation | PlanExplanation) -> str:
    """The sentence, with T for each time."""
    return _TIME.sub("T", explanation.sentence)


def codes(explanation: TaskExplanation | PlanExplanation) -> list[R]:
    return [each.code for each in explanation.reasons]


async def why(store: PlanStore, task: Task) -> str:
    return said(await store.explain_task(task.id))


async def elapse(database: Database, task: Task, **back: float) -> None:
    """Have times of the task lie by so many seconds earlier."""
    moves = ", ".join(f"{name} = {name} - make_interval(secs => {by})" for name, by in back.items())
    async with database.connection() as conn:
        await conn.execute(f"update planstore.task_states set {moves} where task_id = $1", task.id)


# A task that waits for others.


async def test_a_task_waits_for_one_that_a_worker_is_running(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"research": [], "write": ["research"]})
    await run_fails(store, await claimed(store, plan), retry_in_seconds=0)
    claim = await claimed(store, plan, "w1")

    answer = await store.explain_task(tasks["write"].id)

    since = claim.started_at
    assert since is not None
    assert said(answer) == (
        "It waits for 'research', which worker w1 has been running since T (attempt 2)."
    )
    assert f"{since:%H:%M:%SZ} (attempt" in answer.sentence
    (reason,) = answer.reasons
    assert (reason.code, reason.detail, reason.count) == (R.DEPENDENCIES, answer.sentence, 1)
    (needed,) = reason.tasks
    assert (needed.task_id, needed.name, needed.status) == (claim.id, "research", S.RUNNING)
    assert (needed.worker_id, needed.attempt, needed.when) == ("w1", 2, Condition.SUCCESS)
    assert (needed.since, needed.until) == (since, claim.lease_expires_at)
    assert _TIME.sub("T", needed.detail) == "worker w1 has been running it since T (attempt 2)"
    assert [each.task_id for each in answer.blockers] == [claim.id]


async def test_what_is_needed_is_followed_to_where_it_is_held_up(store: PlanStore) -> None:
    plan, tasks = await woven(
        store, {"a": [], "b": ["a"], "c": ["b"], "d": ["c"]}, fields={"a": {"task_type": "x"}}
    )
    await claimed(store, plan)

    assert await why(store, tasks["c"]) == (
        "It waits for 'b', which waits for 'a', which worker w1 has been running since T "
        "(attempt 1)."
    )
    answer = await store.explain_task(tasks["d"].id)
    assert said(answer) == (
        "It waits for 'c', which in the end waits for 'a', which worker w1 has been running since "
        "T (attempt 1)."
    )
    assert [each.name for each in answer.reasons[0].tasks] == ["c"]
    assert answer.reasons[0].tasks[0].detail == "it waits for 1 other task"
    assert [each.name for each in answer.blockers] == ["a"]


async def test_what_needs_somebodys_hand_is_named_first(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {"runs": [], "held": [], "failed": [], "x": ["runs", "held", "failed"]},
        fields={"runs": {"priority": 1}},
    )
    await claimed(store, plan)
    await moved(store, tasks["held"], S.BLOCKED)
    assert await why(store, tasks["x"]) == (
        "It waits for 3 tasks, among them 'held', which is held by hand."
    )
    await moved(store, tasks["failed"], S.FAILED)

    answer = await store.explain_task(tasks["x"].id)

    assert said(answer) == "It waits for 3 tasks, among them 'failed', which failed at T."
    assert answer.reasons[0].count == 3
    assert [each.name for each in answer.blockers] == ["failed", "held", "runs"]
    assert [each.name for each in answer.reasons[0].tasks] == ["failed", "held", "runs"]


@pytest.mark.parametrize(
    ("when", "what"), [("failure", "the failure of 'a'"), ("ended", "the end of 'a'")]
)
async def test_what_is_needed_of_a_task_is_said(store: PlanStore, when: str, what: str) -> None:
    _, tasks = await woven(store, {"a": [], "b": [{"task": "a", "when": when}]})

    answer = await store.explain_task(tasks["b"].id)

    assert said(answer) == f"It waits for {what}, which nobody has claimed since T."
    assert answer.reasons[0].tasks[0].when == Condition(when)


async def test_a_satisfied_dependency_is_no_reason(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": ["a", "b"]})
    await moved(store, tasks["a"], S.COMPLETED)
    await claimed(store, plan, "a worker's\nname")

    answer = await store.explain_task(tasks["c"].id)

    assert said(answer) == (
        "It waits for 'b', which worker \"a worker's\\nname\" has been running since T (attempt 1)."
    )
    assert answer.reasons[0].count == 1


async def test_of_many_that_are_needed_ten_are_named(store: PlanStore) -> None:
    names = [f"t{n}" for n in range(12)]
    _, tasks = await woven(store, {**{name: [] for name in names}, "last": names})

    (reason,) = (answer := await store.explain_task(tasks["last"].id)).reasons

    assert (reason.count, len(reason.tasks), len(answer.blockers)) == (12, 10, 10)
    assert reason.detail.startswith("It waits for 12 tasks, among them 't")


async def test_a_task_without_a_name_is_called_by_its_id(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    first = await task_of(store, plan, status=S.RUNNING)
    second = await task_of(store, plan, depends_on=[str(first.id)])

    assert await why(store, second) == (
        f"It waits for task {first.id}, which has been running since T, started by hand."
    )


async def test_in_a_sequence_a_task_waits_for_all_of_a_lower_order(store: PlanStore) -> None:
    plan = await plan_of(store)
    first = await task_of(store, plan, name="first", status=S.RUNNING)
    await task_of(store, plan, name="second")
    third = await task_of(store, plan, name="third")

    answer = await store.explain_task(third.id)

    assert said(answer) == (
        "Its turn comes after 2 tasks, among them 'first', which has been running since T, "
        "started by hand."
    )
    (reason,) = answer.reasons
    assert (reason.code, reason.count) == (R.SEQUENCE, 2)
    assert [(each.name, each.detail.split(" since")[0]) for each in reason.tasks] == [
        ("first", "it has been running"),
        ("second", "it waits for its turn"),
    ]
    assert [each.name for each in answer.blockers] == ["first"]
    await moved(store, first, S.COMPLETED)
    assert await why(store, third) == (
        "Its turn comes after 'second', which nobody has claimed since T."
    )


async def test_of_a_long_sequence_the_first_ten_are_named(store: PlanStore) -> None:
    names = [f"t{n:02}" for n in range(13)]
    fields = {name: {"sequence_order": n} for n, name in enumerate(names)}
    _, tasks = await woven(
        store, {name: [] for name in names}, fields=fields, plan_type="sequential"
    )

    (reason,) = (await store.explain_task(tasks["t12"].id)).reasons

    assert reason.count == 12
    assert [each.name for each in reason.tasks] == names[:10]


async def test_turn_and_dependency_lead_to_the_same_root(store: PlanStore) -> None:
    _, tasks = await woven(
        store,
        {"a": [], "b": [], "c": ["b"]},
        fields={name: {"sequence_order": n} for n, name in enumerate("abc")},
        plan_type="sequential",
    )

    answer = await store.explain_task(tasks["c"].id)

    # 'b' is needed, but it is not what holds things up: its own turn hasn't come.
    assert codes(answer) == [R.DEPENDENCIES, R.SEQUENCE]
    assert said(answer) == "It waits for 'b', which waits for its turn."
    assert [each.name for each in answer.blockers] == ["a"]


# A task that waits for a time, a place, a claim or somebody's hand.


async def test_a_task_that_nobody_has_claimed_says_who_may(store: PlanStore) -> None:
    agent = uuid4()
    plan = await plan_of(store, plan_type="dag")
    plain = await task_of(store, plan)
    picky = await task_of(store, plan, agent_id=agent, task_type="cook")

    assert await why(store, plain) == "It is ready, and nobody has claimed it since T."
    answer = await store.explain_task(picky.id)
    assert said(answer) == (
        "It is ready, and nobody has claimed it since T. "
        f"Claims that name an agent_id get it only where it is {agent}. "
        "Claims that name task_types get it only where 'cook' is among them."
    )
    assert codes(answer) == [R.READY]
    assert answer.reasons[0].since == picky.created_at


async def test_a_task_waits_for_its_time(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, not_before="2999-12-31T10:00:00Z")

    answer = await store.explain_task(task.id)

    assert answer.sentence == "It isn't to start before 2999-12-31T10:00:00Z."
    assert codes(answer) == [R.NOT_BEFORE]
    assert answer.reasons[0].until == task.not_before


async def test_a_task_waits_until_it_is_tried_again(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]})
    await run_fails(store, await claimed(store, plan), retry_in_seconds=600)

    answer = await store.explain_task(tasks["a"].id)

    assert said(answer) == "Its attempt 1 failed, and it waits until T for the next one."
    assert codes(answer) == [R.BACKOFF]
    assert answer.reasons[0].until is not None
    assert await why(store, tasks["b"]) == (
        "It waits for 'a', which waits until T to be tried again."
    )


async def test_a_task_is_held_by_hand(store: PlanStore) -> None:
    _, tasks = await woven(store, {"a": [], "b": []})
    held = await moved(store, tasks["a"], S.BLOCKED)

    answer = await store.explain_task(held.id)

    assert answer.sentence == "It is held by hand, until it is set to pending."
    assert codes(answer) == [R.HELD]


async def test_all_places_of_a_plan_are_taken(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "b": [], "c": []},
        fields={"a": {"priority": 9}, "b": {"priority": 8}},
        max_parallel_tasks=2,
    )
    await claimed(store, plan)

    answer = await store.explain_task(tasks["c"].id)

    assert said(answer) == (
        "It waits for one of the 2 places that its plan has; they are taken among others by 'a', "
        "which worker w1 has been running since T (attempt 1)."
    )
    (reason,) = answer.reasons
    assert (reason.code, reason.limit, reason.count) == (R.PLAN_LIMIT, 2, 2)
    assert [each.name for each in reason.tasks] == ["a", "b"]


async def test_a_draft_hands_out_nothing(store: PlanStore) -> None:
    _, tasks = await woven(store, {"a": [], "b": ["a"]}, status="draft")

    assert codes(await store.explain_task(tasks["a"].id)) == [R.PLAN_DRAFT]
    answer = await store.explain_task(tasks["b"].id)
    assert answer.sentence == "Its plan is a draft: it has not been started."
    assert [_TIME.sub("T", each.detail) for each in answer.reasons[1:]] == [
        "It waits for 'a', which waits for the plan to be started."
    ]


async def test_a_paused_plan_hands_out_nothing(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]}, max_parallel_tasks=1)
    paused = await store.pause_plan(plan.id)

    answer = await store.explain_task(tasks["b"].id)

    assert said(answer) == "Its plan has been paused since T."
    assert answer.reasons[0].since == paused.paused_at
    assert answer.reasons[1].detail == "It waits for 'a', which waits for the plan to be resumed."
    assert codes(await store.explain_task(tasks["a"].id)) == [R.PLAN_PAUSED]


async def test_all_reasons_are_given_at_once(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "b": ["a"]},
        fields={
            "a": {"sequence_order": 1},
            "b": {"sequence_order": 2, "not_before": "2999-01-01T00:00:00Z"},
        },
        plan_type="sequential",
        status="draft",
    )
    await store.pause_plan(plan.id)

    assert codes(await store.explain_task(tasks["b"].id)) == [
        *(R.PLAN_DRAFT, R.PLAN_PAUSED, R.DEPENDENCIES, R.SEQUENCE, R.NOT_BEFORE)
    ]


async def test_a_task_of_a_plan_that_failed_names_what_failed(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, name="first", status=S.FAILED)
    second = await task_of(store, plan, name="second")
    # It was added in vain, and the next move settles the plan.
    await moved(store, await moved(store, second, S.BLOCKED), S.PENDING)

    answer = await store.explain_task(second.id)

    assert said(answer) == "Its turn comes after 'first', which failed at T."
    assert codes(answer) == [R.SEQUENCE, R.PLAN_SETTLED]


# A task that runs, or has ended.


async def test_a_running_task_says_who_runs_it(store: PlanStore, database: Database) -> None:
    plan, tasks = await woven(store, {"a": []})
    claim = await claimed(store, plan)

    answer = await store.explain_task(claim.id)
    assert said(answer) == "Worker w1 has been running it since T (attempt 1)."
    assert codes(answer) == [R.RUNNING]
    assert answer.reasons[0].until == claim.lease_expires_at

    await elapse(database, tasks["a"], lease_expires_at=120)
    assert await why(store, tasks["a"]) == (
        "Worker w1 has been running it since T (attempt 1); its lease ended at T, so it will be "
        "taken back."
    )


async def test_a_running_task_of_a_closed_plan_is_to_stop(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []}, fields={"a": {"priority": 1}})
    await claimed(store, plan)
    await store.cancel_plan(plan.id)

    answer = await store.explain_task(tasks["a"].id)

    assert codes(answer) == [R.RUNNING, R.PLAN_CLOSED]
    assert await why(store, tasks["b"]) == "It was skipped at T, when its plan was closed by hand."


async def test_an_aborted_plan_says_what_failed(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {"bad": [], "runs": [], "late": []},
        fields={"runs": {"priority": 1}, "late": {"priority": -1}},
        on_failure="abort",
    )
    await claimed(store, plan)
    await moved(store, tasks["bad"], S.FAILED)

    runs, late = [await store.explain_task(tasks[name].id) for name in ("runs", "late")]

    assert codes(runs) == [R.RUNNING, R.PLAN_ABORTED]
    assert _TIME.sub("T", runs.reasons[1].detail) == (
        "Its worker is to stop: the plan aborts, since 'bad' failed at T."
    )
    assert codes(late) == [R.PLAN_ABORTED]
    assert said(late) == "It was skipped at T, when its plan was aborted: 'bad' failed at T."
    assert [each.name for each in late.reasons[0].tasks] == ["bad"]


async def test_a_task_was_skipped_by_what_failed_in_the_first_place(store: PlanStore) -> None:
    _, tasks = await woven(
        store, {"bad": [], "next": ["bad"], "last": ["next"], "other": []}, on_failure="skip"
    )
    await moved(store, tasks["bad"], S.FAILED)

    answer = await store.explain_task(tasks["last"].id)

    assert said(answer) == (
        "It was skipped at T, for what it needs can't come any more: 'bad' failed at T."
    )
    assert codes(answer) == [R.DEPENDENCY_DEAD]
    assert [each.name for each in answer.reasons[0].tasks] == ["bad"]


async def test_a_task_was_skipped_for_a_failure_did_not_come(store: PlanStore) -> None:
    _, tasks = await woven(store, {"a": [], "mop": [{"task": "a", "when": "failure"}], "b": []})
    await moved(store, tasks["a"], S.COMPLETED)

    assert await why(store, tasks["mop"]) == (
        "It was skipped at T, for what it needs can't come any more: 'a' was completed at T."
    )


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (S.COMPLETED, "It was completed at T."),
        (S.SKIPPED, "It was skipped by hand at T."),
        (S.FAILED, "It failed at T; it isn't tried again by itself."),
    ],
)
async def test_a_task_that_has_ended_says_how(store: PlanStore, status: S, sentence: str) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=status)

    answer = await store.explain_task(task.id)

    assert said(answer) == sentence
    assert codes(answer) == [R(status)]
    assert answer.reasons[0].since is not None


async def test_a_completed_task_says_by_whom(store: PlanStore) -> None:
    plan, _ = await woven(store, {"a": []})
    claim = await claimed(store, plan)
    await store.complete_task(claim.id, Completion(fencing_token=claim.fencing_token))

    assert await why(store, claim) == "It was completed at T, by worker w1."


@pytest.mark.parametrize(
    ("error", "shown"),
    [
        ("boom", "'boom'"),
        ({"message": "boom", "trace": "…"}, "'boom'"),
        ({"code": 7}, "'{\"code\":7}'"),
        ("x" * 1_000, f"'{'x' * 60}…'"),
    ],
)
async def test_a_failed_task_says_what_went_wrong(store: PlanStore, error: Any, shown: str) -> None:
    plan, _ = await woven(store, {"a": []})
    claim = await claimed(store, plan)
    await run_fails(store, claim, error=error, retryable=False)

    assert await why(store, claim) == f"It failed at T: {shown}; it isn't tried again by itself."
    (failed,) = (await store.explain_plan(plan.id)).failed
    assert failed.error is not None
    assert len(failed.error) <= 200


async def test_a_task_whose_worker_vanished_asks_for_somebody(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": []}, fields={"a": {"side_effects": "once"}})
    await claimed(store, plan)
    await elapse(database, tasks["a"], lease_expires_at=120)
    await store.sweep()

    assert (await why(store, tasks["a"])).endswith(
        "Somebody should look: its worker vanished, and it must not run twice."
    )
    (failed,) = (await store.explain_plan(plan.id)).failed
    assert (failed.name, failed.attempt, failed.needs_review) == ("a", 1, True)


async def test_an_unknown_task_or_plan_is_not_found(store: PlanStore) -> None:
    with pytest.raises(NotFound):
        await store.explain_task(uuid4())
    with pytest.raises(NotFound):
        await store.explain_plan(uuid4())


# A plan.


async def test_a_plan_says_which_task_unblocks_most(store: PlanStore) -> None:
    plan, _ = await woven(
        store,
        {"a": [], "b": [], "c": ["a"], "d": ["a", "b"], "e": ["c", "d"]},
        fields={"b": {"priority": 1}},
    )
    await claimed(store, plan)

    answer = await store.explain_plan(plan.id)

    assert said(answer) == (
        "1 of its tasks runs: 'b', which worker w1 has been running since T (attempt 1), and for "
        "which 2 tasks wait."
    )
    assert codes(answer) == [R.RUNNING, R.READY, R.DEPENDENCIES]
    assert [(each.name, each.holds_back) for each in answer.blockers] == [("a", 3), ("b", 2)]
    assert answer.unblocks_most == answer.blockers[0]


async def test_a_plan_where_nothing_runs_says_what_that_lies_at(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["b"], "d": []})

    answer = await store.explain_plan(plan.id)
    assert said(answer) == (
        "Nothing of it runs: 2 of its tasks are ready, among them 'a', which nobody has claimed "
        "since T, and for which 2 tasks wait."
    )
    await moved(store, tasks["d"], S.COMPLETED)
    await moved(store, tasks["a"], S.BLOCKED)

    answer = await store.explain_plan(plan.id)
    assert said(answer) == (
        "Nothing of it runs: 1 of its tasks is held by hand: 'a', which is held by hand, and for "
        "which 2 tasks wait."
    )
    assert codes(answer) == [R.HELD, R.DEPENDENCIES]


async def test_a_plan_waits_for_times(store: PlanStore) -> None:
    plan, _ = await woven(
        store,
        {"a": [], "b": []},
        fields={"a": {"not_before": "2999-01-01T00:00:00Z"}},
    )
    await run_fails(store, await claimed(store, plan), retry_in_seconds=600)

    answer = await store.explain_plan(plan.id)

    assert codes(answer) == [R.BACKOFF, R.NOT_BEFORE]
    assert said(answer) == (
        "Nothing of it runs: 1 of its tasks is to be tried again: 'b', which waits until T to be "
        "tried again."
    )
    assert [str(each.until)[:4] for each in answer.reasons][1] == "2999"


async def test_a_plan_at_its_limit_says_so(store: PlanStore) -> None:
    plan, _ = await woven(store, {"a": [], "b": [], "c": []}, max_parallel_tasks=1)
    await claimed(store, plan)

    answer = await store.explain_plan(plan.id)

    assert codes(answer) == [R.RUNNING, R.PLAN_LIMIT]
    assert (answer.reasons[1].limit, answer.reasons[1].count) == (1, 2)


@pytest.mark.parametrize(
    ("needs", "fields", "sentence"),
    [
        ({}, {}, "It has no tasks."),
        ({"a": []}, {"status": "draft"}, "It is a draft: it has not been started."),
    ],
)
async def test_a_plan_that_has_not_begun_says_why(
    store: PlanStore, needs: dict[str, list[str]], fields: dict[str, Any], sentence: str
) -> None:
    plan, _ = await woven(store, needs, **fields)

    assert (await store.explain_plan(plan.id)).sentence == sentence


async def test_a_paused_plan_says_what_still_runs(store: PlanStore) -> None:
    plan, _ = await woven(store, {"a": []})
    await claimed(store, plan)
    await store.pause_plan(plan.id)

    assert said(await store.explain_plan(plan.id)) == (
        "It has been paused since T; 1 of its tasks still runs."
    )


async def test_a_closed_plan_says_by_what(store: PlanStore) -> None:
    plan, _ = await woven(store, {"a": []})
    await claimed(store, plan)
    await set_to(store, plan, P.CANCELLED)

    answer = await store.explain_plan(plan.id)

    assert said(answer) == "It was closed by hand as cancelled at T; 1 of its tasks still runs."
    assert codes(answer) == [R.PLAN_CLOSED, R.RUNNING]


async def test_a_settled_plan_says_how(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []})
    await moved(store, tasks["a"], S.COMPLETED)
    await moved(store, tasks["b"], S.FAILED)

    answer = await store.explain_plan(plan.id)
    assert said(answer) == (
        "It has failed, for nothing of it could become ready any more: 'b' failed at T."
    )
    assert codes(answer) == [R.PLAN_SETTLED, R.FAILED]
    assert [each.name for each in answer.failed] == ["b"]
    await moved(store, tasks["b"], S.COMPLETED)

    answer = await store.explain_plan(plan.id)
    assert answer.sentence == "It is completed: all its tasks are finished."
    assert (answer.unblocks_most, answer.blockers, answer.failed) == (None, [], [])


async def test_a_plan_that_may_not_settle_says_so(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": []}, auto_complete=False)
    await moved(store, tasks["a"], S.COMPLETED)

    assert codes(await store.explain_plan(plan.id)) == [R.ALL_FINISHED]


async def test_of_a_plan_that_is_too_large_only_what_is_counted_is_said(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = await woven(store, {"a": [], "b": ["a"], "c": ["b"]})
    monkeypatch.setattr(service, "MAX_WEIGHED", 2)

    answer = await store.explain_plan(plan.id)

    assert said(answer) == (
        "Nothing of it runs: 1 of its tasks is ready: 'a', which nobody has claimed since T."
    )
    assert answer.unblocks_most is None
    assert [(each.name, each.holds_back) for each in answer.blockers] == [("a", None)]


async def test_what_waits_in_a_circle_is_still_explained(
    store: PlanStore, database: Database
) -> None:
    fields = {"a": {"sequence_order": 2}, "b": {"sequence_order": 1}}
    plan, tasks = await woven(store, {"a": [], "b": ["a"]}, fields=fields)
    # By its orders b comes first, by its dependencies a does.
    # The store refuses to make it so.
    async with database.transaction() as conn:
        await conn.execute("update planstore.plans set plan_type = 'sequential'")
        await derive(conn, plan.id)

    answer = await store.explain_task(tasks["b"].id)

    assert said(answer) == "It waits for 'a', which waits for its turn."
    assert answer.blockers == []
    assert (await store.explain_plan(plan.id)).reasons


# All together.


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("plan_type", ["dag", "sequential"])
async def test_every_task_of_any_plan_is_explained_and_both_counts_agree(
    store: PlanStore, seed: int, plan_type: str
) -> None:
    draw = random.Random(seed)
    names = [f"t{n:02}" for n in range(14)]
    plan, tasks = await woven(
        store,
        {
            name: [
                {"task": other, "when": draw.choice(["success", "success", "ended", "failure"])}
                for other in names[:n]
                if draw.random() < 0.2
            ]
            for n, name in enumerate(names)
        },
        fields={name: {"sequence_order": n // 4} for n, name in enumerate(names)},
        plan_type=plan_type,
        on_failure=draw.choice(["block", "skip", "abort"]),
        max_parallel_tasks=draw.choice([None, 2]),
    )
    for _ in range(12):
        task = await store.get_task(draw.choice([*tasks.values()]).id)
        if task.status == S.PENDING:
            await moved(store, task, draw.choice([S.RUNNING, S.BLOCKED, S.FAILED]))
        elif task.status == S.RUNNING:
            await moved(store, task, draw.choice([S.COMPLETED, S.FAILED, S.PENDING]))
        await _agrees(store, plan.id)


async def _agrees(store: PlanStore, plan_id: UUID) -> None:
    whole = await store.explain_plan(plan_id)
    held_back = {each.task_id: each.holds_back for each in whole.blockers}
    of_status = {
        S.RUNNING: R.RUNNING,
        S.COMPLETED: R.COMPLETED,
        S.FAILED: R.FAILED,
    }
    ready = 0
    for task in await store.list_tasks(plan_id=plan_id):
        answer = await store.explain_task(task.id)
        assert (answer.status, answer.sentence) == (task.status, answer.reasons[0].detail)
        assert answer.reasons[0].code == of_status.get(task.status, answer.reasons[0].code)
        ready += R.READY in codes(answer)
        if task.id in held_back:
            assert answer.would_unblock == held_back[task.id]
            assert R.DEPENDENCIES not in codes(answer)
        if R.DEPENDENCIES in codes(answer) or R.SEQUENCE in codes(answer):
            assert answer.blockers
            assert {each.task_id for each in answer.blockers} <= held_back.keys()
    assert ready == (await store.get_progress(plan_id)).ready
    await store.get_graph(plan_id)
