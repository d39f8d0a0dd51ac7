"""How far a plan is, and when it may end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from planstore.errors import NotFound
from planstore.models import TaskStatus as S
from planstore.models.claim import Heartbeat
from planstore.models.insight import Basis
from tests.arranging import moved, plan_of, task_of
from tests.services.weaving import claimed, run_fails, woven

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.models.insight import Progress
    from planstore.services.plan_store import PlanStore


async def now_of(database: Database) -> datetime:
    async with database.connection() as conn:
        return await conn.fetchval("select now()")


async def took(database: Database, task: Task, seconds: float) -> None:
    """Have a run of the task that has ended taken so long."""
    async with database.connection() as conn:
        await conn.execute(
            "update planstore.task_states set began_at = ended_at - make_interval(secs => $2)"
            " where task_id = $1",
            task.id,
            seconds,
        )


async def completed(
    store: PlanStore, database: Database, plan: Plan, seconds: float, **fields: Any
) -> Task:
    """Add a task that was started, and completed after so long."""
    task = await task_of(store, plan, status=S.RUNNING, **fields)
    await moved(store, task, S.COMPLETED)
    await took(database, task, seconds)
    return task


async def left_of(store: PlanStore, database: Database, plan: Plan) -> float | None:
    """How many seconds the plan will still take, as it is estimated."""
    now = await now_of(database)
    progress = await store.get_progress(plan.id)
    if progress.estimated_end is None:
        return None
    return (progress.estimated_end - now).total_seconds()


def about(seconds: float) -> Any:
    return pytest.approx(seconds, abs=0.9)


async def test_a_plan_without_tasks_is_at_nothing(store: PlanStore) -> None:
    plan = await plan_of(store)

    progress = await store.get_progress(plan.id)

    assert (progress.total, progress.percent, progress.running) == (0, 0.0, [])
    assert (progress.estimated_end, progress.basis) == (None, Basis.NONE)


async def test_the_progress_of_an_unknown_plan_is_not_found(store: PlanStore) -> None:
    with pytest.raises(NotFound):
        await store.get_progress(uuid4())


async def test_tasks_are_counted_by_where_they_stand(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    for status, count in zip(S, (1, 2, 3, 1, 2, 4), strict=True):
        for _ in range(count):
            await task_of(store, plan, status=status)

    progress = await store.get_progress(plan.id)

    assert progress.total == 13
    assert progress.counts.model_dump() == {
        each.value: n for each, n in zip(S, (1, 2, 3, 1, 2, 4), strict=True)
    }
    assert progress.percent == 53.8  # 7 of 13


async def test_what_may_start_and_what_waits_for_a_time_are_told_apart(store: PlanStore) -> None:
    plan, _ = await woven(
        store,
        {"now": [], "later": [], "after": ["now"], "failed": []},
        fields={"later": {"not_before": "2999-01-01T00:00:00Z"}, "failed": {"priority": 1}},
    )
    await run_fails(store, await claimed(store, plan), retry_in_seconds=1_000)

    progress = await store.get_progress(plan.id)

    assert (progress.ready, progress.waiting_for_time, progress.retrying) == (1, 2, 1)


async def test_a_paused_plan_has_nothing_ready_and_no_end(store: PlanStore) -> None:
    plan, _ = await woven(store, {"a": []}, fields={"a": {"estimated_duration": "10s"}})
    paused = await store.pause_plan(plan.id)

    progress = await store.get_progress(plan.id)

    assert (progress.ready, progress.paused_at) == (0, paused.paused_at)
    assert (progress.estimated_end, progress.basis) == (None, Basis.NONE)


async def test_running_tasks_are_listed_with_their_workers_longest_first(
    store: PlanStore,
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []}, fields={"a": {"priority": 1}})
    first = await claimed(store, plan)
    await moved(store, tasks["b"], S.RUNNING)
    beat = {"task_id": first.id, "fencing_token": first.fencing_token, "progress": 0.5, "note": "½"}
    answer = await store.heartbeat(Heartbeat.model_validate({"worker_id": "w1", "claims": [beat]}))

    claim, by_hand = (await store.get_progress(plan.id)).running

    assert (claim.task_id, claim.name, claim.worker_id, claim.attempt) == (first.id, "a", "w1", 1)
    assert (claim.progress, claim.progress_note) == (0.5, "½")
    assert claim.lease_expires_at == answer.claims[0].lease_expires_at
    assert claim.started_at == first.started_at
    assert (by_hand.name, by_hand.worker_id, by_hand.lease_expires_at) == ("b", None, None)


async def test_of_many_running_tasks_the_first_hundred_are_listed(store: PlanStore) -> None:
    plan, _ = await woven(store, {f"t{n}": [] for n in range(101)})
    for _ in range(101):
        await claimed(store, plan)

    progress = await store.get_progress(plan.id)

    assert (len(progress.running), progress.counts.running) == (100, 101)


async def test_where_nothing_is_known_there_is_no_estimate(store: PlanStore) -> None:
    plan, _ = await woven(store, {"a": [], "b": ["a"]})

    progress = await store.get_progress(plan.id)

    assert (progress.estimated_end, progress.basis) == (None, Basis.NONE)


async def test_estimates_stand_in_until_something_is_measured(
    store: PlanStore, database: Database
) -> None:
    fields = {"a": {"estimated_duration": "100s"}, "b": {"estimated_duration": "5m"}}
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["b"]}, fields=fields)

    # What has no estimate is taken for as long as the others.
    assert await left_of(store, database, plan) == about(100 + 300 + 200)
    assert (await store.get_progress(plan.id)).basis == Basis.ESTIMATED

    await moved(store, await moved(store, tasks["a"], S.RUNNING), S.COMPLETED)
    await took(database, tasks["a"], 7)

    assert await left_of(store, database, plan) == about(7 + 7)
    assert (await store.get_progress(plan.id)).basis == Basis.MEASURED


async def test_tasks_take_as_long_as_others_of_their_type_did(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag")
    await completed(store, database, plan, 10, task_type="cook")
    await completed(store, database, plan, 20, task_type="cook")
    await completed(store, database, plan, 60, task_type="wash")
    cook = await task_of(store, plan, task_type="cook")
    wash = await task_of(store, plan, task_type="wash", depends_on=[str(cook.id)])
    await task_of(store, plan, task_type="new", depends_on=[str(wash.id)])

    assert await left_of(store, database, plan) == about(15 + 60 + 30)


async def test_what_was_completed_without_a_run_is_no_measure(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan, status=S.COMPLETED)
    await task_of(store, plan, estimated_duration="50s")

    assert await left_of(store, database, plan) == about(50)
    assert (await store.get_progress(plan.id)).basis == Basis.ESTIMATED


@pytest.mark.parametrize(("plan_type", "seconds"), [("dag", 30), ("sequential", 60)])
async def test_the_longest_way_counts_along_dependencies_and_orders(
    store: PlanStore, database: Database, plan_type: str, seconds: float
) -> None:
    plan, _ = await woven(
        store,
        {"a": [], "b": ["a"], "c": [], "d": ["c"]},
        fields={
            "a": {"estimated_duration": "10s", "sequence_order": 1},
            "b": {"estimated_duration": "10s", "sequence_order": 2},
            "c": {"estimated_duration": "5s", "sequence_order": 2},
            "d": {"estimated_duration": "25s", "sequence_order": 4},
        },
        plan_type=plan_type,
    )
    await task_of(store, plan, sequence_order=5, estimated_duration="15s")

    # Sequential: a, then b beside c, then d, then the last one.
    assert await left_of(store, database, plan) == about(seconds)


@pytest.mark.parametrize(("limit", "seconds"), [(None, 10), (2, 30)])
async def test_work_takes_at_least_its_share_of_the_places(
    store: PlanStore, database: Database, limit: int | None, seconds: float
) -> None:
    names = [f"t{n}" for n in range(6)]
    plan, _ = await woven(
        store,
        {name: [] for name in names},
        fields={name: {"estimated_duration": 10} for name in names},
        max_parallel_tasks=limit,
    )

    assert await left_of(store, database, plan) == about(seconds)


async def test_as_much_is_done_at_once_as_runs_now(store: PlanStore, database: Database) -> None:
    names = [f"t{n}" for n in range(6)]
    plan, _ = await woven(
        store,
        {name: [] for name in names},
        fields={name: {"estimated_duration": 10} for name in names},
    )
    for worker in ("w1", "w2", "w3"):
        await claimed(store, plan, worker)

    assert await left_of(store, database, plan) == about(20)


async def test_a_running_task_has_done_some_of_it(store: PlanStore, database: Database) -> None:
    plan, tasks = await woven(store, {"a": []}, fields={"a": {"estimated_duration": "100s"}})
    await claimed(store, plan)
    async with database.connection() as conn:
        await conn.execute(
            "update planstore.task_states set began_at = began_at - interval '70 s'"
            " where task_id = $1",
            tasks["a"].id,
        )

    assert await left_of(store, database, plan) == about(30)


async def test_what_is_overdue_ends_now(store: PlanStore, database: Database) -> None:
    plan, _ = await woven(store, {"a": []}, fields={"a": {"estimated_duration": "0s"}})
    await claimed(store, plan)

    assert await left_of(store, database, plan) == about(0)


async def test_what_is_not_to_start_yet_ends_later(store: PlanStore, database: Database) -> None:
    later = await now_of(database) + timedelta(seconds=500)
    plan, _ = await woven(
        store,
        {"a": [], "b": ["a"]},
        fields={
            "a": {"estimated_duration": "10s"},
            "b": {"estimated_duration": "10s", "not_before": later},
        },
    )

    assert await left_of(store, database, plan) == about(510)


@pytest.mark.parametrize("status", [S.FAILED, S.BLOCKED])
async def test_what_waits_for_somebodys_hand_is_not_counted(
    store: PlanStore, database: Database, status: S
) -> None:
    names = ["stuck", "behind", "free"]
    plan, tasks = await woven(
        store,
        {"stuck": [], "behind": ["stuck"], "free": []},
        fields={name: {"estimated_duration": "10s"} for name in names},
    )
    await moved(store, tasks["stuck"], status)

    assert await left_of(store, database, plan) == about(10)
    await moved(store, tasks["free"], S.SKIPPED)
    assert await left_of(store, database, plan) is None


async def test_an_end_beyond_all_calendars_is_none(store: PlanStore) -> None:
    plan, _ = await woven(store, {"a": []}, fields={"a": {"estimated_duration": "9" * 90 + "d"}})

    assert (await store.get_progress(plan.id)).estimated_end is None


def finished(progress: Progress) -> Sequence[object]:
    return progress.percent, progress.estimated_end, progress.basis, progress.counts.completed


async def test_a_plan_that_is_done_has_no_end_to_come(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": []})
    await moved(store, tasks["a"], S.COMPLETED)

    assert finished(await store.get_progress(plan.id)) == (100.0, None, Basis.NONE, 1)
