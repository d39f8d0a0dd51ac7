"""What became of tasks over a time, as those who ask are told; the counting itself is held to the
log by `test_statistics_properties`."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from planstore.errors import InvalidInput
from planstore.models import TaskStatus as S
from planstore.models import TaskUpdate
from planstore.models.claim import ClaimRequest
from planstore.models.evaluation import EvaluationCreate
from planstore.models.revision import RevisionDraft
from planstore.models.statistics import Grain, StatisticsQuery, TimelineQuery
from planstore.services import statistics
from planstore.sql import statistics as sql
from tests.arranging import moved, plan_of, task_of
from tests.holder import claim, complete, fail, release
from tests.services.tallied import age_uncounted, assert_tallied, assert_tasks_tallied
from tests.time_travel import pass_time
from tests.writers import writing

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.statistics import Statistics
    from planstore.services.plan_store import PlanStore
    from planstore.sql.connection import Connection


async def told(store: PlanStore, **query: Any) -> Statistics:
    return await store.get_statistics(StatisticsQuery.model_validate(query))


async def counted(store: PlanStore) -> None:
    while await store.count_events():
        pass


async def test_where_nothing_has_happened_there_is_nothing_to_tell(store: PlanStore) -> None:
    answer = await told(store, group_by="task_type")

    assert (answer.total.completed, answer.total.success_rate) == (0, None)
    assert answer.total.queue_wait.p99 is None
    assert answer.groups == []
    points = (await store.get_timeline(TimelineQuery(window="1h"))).points
    assert 60 <= len(points) <= 61
    assert {point.throughput for point in points} == {0}


async def test_waiting_and_running_are_told_by_the_clock_of_the_database(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan)
    await pass_time(database, 40)
    (packet,) = await claim(store, plan=plan)
    await pass_time(database, 10)
    await moved(store, packet, S.COMPLETED, started_at=datetime(2020, 1, 1, tzinfo=UTC))
    await counted(store)

    figures = (await told(store)).total
    assert (figures.completed, figures.success_rate) == (1, 1.0)
    for durations, seconds in ((figures.queue_wait, 40), (figures.run_time, 10)):
        assert durations.mean == pytest.approx(seconds, abs=2)
        assert durations.p50 == durations.p99 == pytest.approx(seconds, abs=2)


async def test_what_was_done_by_hand_counts_and_has_no_times_unless_it_was_started(
    store: PlanStore,
) -> None:
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan, status=S.COMPLETED)
    started = await task_of(store, plan, status=S.RUNNING)
    await moved(store, started, S.COMPLETED)
    await task_of(store, plan, status=S.SKIPPED)
    await counted(store)

    figures = (await told(store)).total
    assert (figures.completed, figures.skipped) == (2, 1)
    assert (figures.queue_wait.count, figures.run_time.count) == (1, 1)


async def test_runs_that_fail_are_told_apart_by_whether_they_are_tried_again(
    store: PlanStore,
) -> None:
    plan = await plan_of(store, plan_type="dag", retry_policy={"max_retries": 1})
    await task_of(store, plan)
    (packet,) = await claim(store, plan=plan)
    await fail(store, packet, retry_in_seconds=0)
    (packet,) = await claim(store, plan=plan)
    await release(store, packet)
    (packet,) = await claim(store, plan=plan)
    await fail(store, packet)
    await counted(store)

    figures = (await told(store)).total
    assert (figures.completed, figures.failed, figures.retried) == (0, 1, 1)
    assert figures.success_rate == 0
    assert (figures.queue_wait.count, figures.run_time.count) == (2, 0)


async def test_values_tell_runs_apart_and_the_most_come_first(store: PlanStore) -> None:
    agent = uuid4()
    dag, row = await plan_of(store, plan_type="dag"), await plan_of(store)
    for plan, kind, who in (
        (dag, "read", agent),
        (dag, "read", None),
        (dag, "write", agent),
        (row, None, None),
    ):
        await task_of(store, plan, task_type=kind, agent_id=who, status=S.COMPLETED)
    await counted(store)

    by_type = await told(store, group_by="task_type")
    assert [(g.value, g.completed) for g in by_type.groups] == [
        ("read", 2),
        (None, 1),
        ("write", 1),
    ]
    assert (await told(store, agent_id=agent)).total.completed == 2
    by_agent = await told(store, group_by="agent_id")
    assert [(g.value, g.completed) for g in by_agent.groups] == [(None, 2), (str(agent), 2)]
    first = await told(store, group_by="task_type", limit=1)
    assert [g.value for g in first.groups] == ["read"]
    assert first.group_count == 3


async def test_scores_are_told_by_what_was_judged(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store), task_type="read", status=S.COMPLETED)
    for kind, score in (("quality", 0.5), ("quality", 1.0), ("safety", 0.0)):
        await store.create_evaluation(task.id, EvaluationCreate(evaluation_type=kind, score=score))
    await counted(store)

    assert (await told(store)).total.scores.model_dump() == {"count": 3, "mean": 0.5}
    by_kind = await told(store, group_by="evaluation_type")
    assert {g.value: g.scores.mean for g in by_kind.groups} == {"quality": 0.75, "safety": 0.0}
    safe = (await told(store, evaluation_type="safety")).total
    assert (safe.scores.count, safe.completed) == (1, 0)
    assert (await told(store, task_type="read")).total.scores.count == 3


async def test_a_time_ends_where_it_is_said(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, plan_type="dag")
    for hours in (30, 5, 0):
        await task_of(store, plan, status=S.COMPLETED)
        await age_uncounted(database, timedelta(hours=hours))
        await counted(store)
    now = datetime.now(UTC)

    assert (await told(store, window="1h")).total.completed == 1
    assert (await told(store, window="6h")).total.completed == 2
    assert (await told(store, window="2d")).total.completed == 3
    between = await told(
        store, **{"from": now - timedelta(hours=31), "to": now - timedelta(hours=2)}
    )
    assert between.total.completed == 2
    assert between.until < now - timedelta(minutes=59)
    line = await store.get_timeline(TimelineQuery(window="2d"))
    assert line.step == Grain.HOUR
    assert sum(point.completed for point in line.points) == 3


@pytest.mark.parametrize(
    ("query", "named"),
    [
        ({"from": "2026-01-02T00:00:00Z", "to": "2026-01-01T00:00:00Z"}, ["?from"]),
        ({"from": "2020-01-01T00:00:00Z"}, ["?from"]),
        ({"from": "2999-01-01T00:00:00Z"}, ["?from"]),
    ],
)
async def test_what_cannot_be_told_is_refused(
    store: PlanStore, query: dict[str, str], named: list[str]
) -> None:
    with pytest.raises(InvalidInput) as info:
        await told(store, **query)

    assert [fault.pointer for fault in info.value.faults] == named


async def test_many_who_count_at_once_count_each_event_once(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag")
    for _ in range(5):
        for _ in range(4):
            await task_of(store, plan, task_type="read", status=S.COMPLETED)
        await asyncio.gather(*(each.count_events() for each in (store, elsewhere) * 3))

    assert (await told(elsewhere)).total.completed == 20
    await assert_tallied(database, store)


async def test_what_is_committed_late_is_waited_for(
    store: PlanStore, database: Database, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "_PATIENCE", 0.01)
    plan = await plan_of(store, plan_type="dag")
    await counted(store)
    async with writing(database_url, 1) as (slow,):
        await slow.write(1)
        await task_of(store, plan, status=S.COMPLETED)
        await counted(store)
        assert (await told(store)).total.completed == 0
        before = (await told(store)).as_of
        await slow.end(commit=False)
    await counted(store)

    answer = await told(store)
    assert answer.total.completed == 1
    assert answer.as_of > before


async def test_events_are_counted_in_bites(
    store: PlanStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "BITE", 3)
    monkeypatch.setattr(statistics, "_LEAST", 1)
    plan = await plan_of(store, plan_type="dag")
    for _ in range(5):
        await task_of(store, plan, status=S.COMPLETED)

    counting = statistics.Counting(database)
    assert [await counting.count() for _ in range(2)] == [3, 3]
    await assert_tallied(database, store)


async def test_types_that_change_are_counted_as_they_are(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag")
    one = await task_of(store, plan, name="one", task_type="read")
    await task_of(store, plan, name="two")
    await store.update_task(one.id, TaskUpdate(task_type=None))
    await store.update_task(one.id, TaskUpdate(task_type="write", status=S.BLOCKED))
    plan = await store.get_plan(plan.id)
    operations = [
        {"op": "change", "task": name, "set": {"task_type": kind}}
        for name, kind in (("one", None), ("two", "read"))
    ]
    draft = {"expected_revision": plan.revision, "reason": "test", "operations": operations}
    await store.revise_plan(plan.id, RevisionDraft.model_validate(draft))
    await counted(store)

    await assert_tasks_tallied(database, store)
    assert (await store.get_standing()).tasks == {("", "blocked"): 1, ("read", "pending"): 1}


async def test_small_spans_are_forgotten_and_the_large_ones_stay(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, status=S.COMPLETED)
    await counted(store)
    async with database.connection() as conn:
        assert await _grains(conn) == {"minute", "hour", "day", "week", "ever"}
        await conn.execute("update planstore.statistics set began_at = now() - interval '20 days'")
        while await sql.forget(conn, Grain.MINUTE, limit=2) or await sql.forget(
            conn, Grain.HOUR, limit=2
        ):
            pass
        assert await _grains(conn) == {"day", "week", "ever"}

    await task_of(store, plan, status=S.COMPLETED)
    await age_uncounted(database, timedelta(days=20, hours=1))
    await counted(store)
    async with database.connection() as conn:
        assert await _grains(conn) == {"day", "week", "ever"}


async def _grains(conn: Connection) -> set[str]:
    rows = await conn.fetch("select distinct s.grain from planstore.statistics s")
    return {row["grain"] for row in rows}


async def test_how_things_stand_is_told(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, plan_type="dag")
    for priority in (0, 5, 5):
        await task_of(store, plan, priority=priority, task_type="read")
    await pass_time(database, 30)
    await store.claim_tasks(ClaimRequest(worker_id="w1", limit=1, lease_seconds=60))

    now = await store.get_standing()
    assert (now.ready, now.leases, now.expired_leases) == (2, 1, 0)
    assert now.oldest_ready_seconds == pytest.approx(30, abs=5)
    assert now.uncounted_seconds > 0
    await pass_time(database, 100)
    await counted(store)
    now = await store.get_standing()
    assert (now.leases, now.expired_leases, now.uncounted_seconds) == (0, 1, 0)
    assert now.tasks == {("read", "pending"): 2, ("read", "running"): 1}


async def test_complete_is_told_with_its_claim(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan, task_type="read")
    (packet,) = await claim(store, plan=plan)
    await complete(store, packet)
    await counted(store)

    every = (await store.get_standing()).ever
    assert [each.task_type for each in every] == [None, "read"]
    for ever in every:
        assert (ever.completed, ever.failed) == (1, 0)
        assert (sum(ever.waits.values()), sum(ever.runs.values())) == (1, 1)
