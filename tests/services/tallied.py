"""What the statistics have to say, worked out from the log anew and without any cleverness."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest

from planstore.models import Task
from planstore.models.history import Past
from planstore.models.sketch import RELATIVE_ERROR, SHORTEST
from planstore.models.statistics import Dimension, StatisticsQuery, TimelineQuery
from tests.history import all_events, all_rows

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.db import Database
    from planstore.models.history import Event
    from planstore.models.statistics import Durations, Figures
    from planstore.services.plan_store import PlanStore

_ENDS: Final = {
    "task.completed": "completed",
    "task.failed": "failed",
    "task.skipped": "skipped",
    "task.requeued": "retried",
}


class Told(NamedTuple):
    """One thing that counts."""

    at: datetime
    kind: str
    values: dict[Dimension, str | None]
    wait: float | None
    run: float | None
    score: float | None


async def all_told(database: Database) -> list[Told]:
    """Return what counts, by what the plans and tasks were when it happened."""
    pasts: defaultdict[Any, Past] = defaultdict(Past)
    told: list[Told] = []
    for event in await all_events(database):
        past = pasts[event.plan_id]
        past.lay(event)
        if event.event_type in _ENDS or event.event_type == "task.evaluated":
            told.append(_told(event, past))
    return told


def _told(event: Event, past: Past) -> Told:
    assert past.plan is not None
    task = past.tasks[event.aggregate_id]
    began_at = _time(event.metadata.get("began_at"))
    ready_at = _time(event.metadata.get("ready_at"))
    is_score = event.event_type == "task.evaluated"
    return Told(
        at=event.created_at,
        kind=_ENDS.get(event.event_type, "evaluated"),
        values={
            Dimension.TASK_TYPE: task["task_type"],
            Dimension.AGENT: task["agent_id"],
            Dimension.PLAN_TYPE: past.plan["plan_type"],
            Dimension.TEMPLATE: event.metadata["template"],
            Dimension.EVALUATION_TYPE: event.payload.get("evaluation_type"),
        },
        wait=(began_at - ready_at).total_seconds() if began_at and ready_at else None,
        run=(event.created_at - began_at).total_seconds()
        if began_at and event.event_type == "task.completed"
        else None,
        score=event.payload["score"] if is_score else None,
    )


def _time(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text).astimezone(UTC)


async def assert_tallied(database: Database, store: PlanStore) -> None:
    """Assert that all is counted, and that all statistics are what the log says."""
    while await store.count_events():
        pass
    await assert_tasks_tallied(database, store)
    told = await all_told(database)
    async with database.connection() as conn:
        now = await conn.fetchval("select now()")
    for window in ("15m", "24h", "90d"):
        await _assert_told(store, told, StatisticsQuery(window=window), now)
        await _assert_timeline(store, told, TimelineQuery(window=window))
    for by in Dimension:
        await _assert_told(store, told, StatisticsQuery(window="30d", group_by=by, limit=50), now)
        values = {each.values[by] for each in told} - {None}
        for value in sorted(map(str, values))[:2]:
            asked: dict[str, Any] = {by.value: value, "window": "7d"}
            await _assert_told(store, told, StatisticsQuery.model_validate(asked), now)
            await _assert_timeline(store, told, TimelineQuery.model_validate(asked))


async def assert_tasks_tallied(database: Database, store: PlanStore) -> None:
    """Assert that so many tasks are counted of each type and status as there are."""
    counted = (await store.get_standing()).tasks
    there = Counter(
        (each.task_type or "", each.status.value)
        for each in (await all_rows(database)).values()
        if isinstance(each, Task)
    )
    assert counted == there


async def _assert_told(
    store: PlanStore, told: Sequence[Told], query: StatisticsQuery, now: datetime
) -> None:
    answer = await store.get_statistics(query)
    assert answer.as_of >= now
    chosen = [
        each for each in _chosen(told, query) if answer.since <= each.at <= max(answer.until, now)
    ]
    seconds = (answer.until - answer.since).total_seconds()
    _assert_figures(answer.total, chosen, seconds)
    groups: defaultdict[str | None, list[Told]] = defaultdict(list)
    if query.group_by is not None:
        for each in chosen:
            if query.group_by != Dimension.EVALUATION_TYPE or each.kind == "evaluated":
                groups[each.values[query.group_by]].append(each)
    assert {group.value for group in answer.groups} == groups.keys()
    assert answer.group_count == len(groups)
    for group in answer.groups:
        _assert_figures(group, groups[group.value], seconds)


async def _assert_timeline(store: PlanStore, told: Sequence[Told], query: TimelineQuery) -> None:
    answer = await store.get_timeline(query)
    chosen = _chosen(told, query)
    assert answer.points[0].at == answer.since
    for point in answer.points:
        end = point.at + answer.step.length
        within = [each for each in chosen if point.at <= each.at < end]
        _assert_figures(point, within, answer.step.length.total_seconds())
    assert answer.points[-1].at + answer.step.length == answer.until


def _chosen(told: Sequence[Told], query: TimelineQuery) -> list[Told]:
    return [
        each
        for each in told
        if query.filter is None or each.values[query.filter[0]] == query.filter[1]
    ]


def _assert_figures(figures: Figures, told: Sequence[Told], seconds: float) -> None:
    counts = Counter(each.kind for each in told)
    assert figures.completed == counts["completed"]
    assert figures.failed == counts["failed"]
    assert figures.skipped == counts["skipped"]
    assert figures.retried == counts["retried"]
    ended = counts["completed"] + counts["failed"]
    rate = counts["completed"] / ended if ended else None
    assert figures.success_rate == pytest.approx(rate)
    assert figures.throughput == pytest.approx(ended / seconds)
    _assert_durations(figures.queue_wait, [e.wait for e in told if e.wait is not None])
    _assert_durations(figures.run_time, [e.run for e in told if e.run is not None])
    scores = [each.score for each in told if each.score is not None]
    assert figures.scores.count == len(scores)
    assert figures.scores.mean == pytest.approx(sum(scores) / len(scores) if scores else None)


def _assert_durations(durations: Durations, exact: list[float]) -> None:
    assert durations.count == len(exact)
    if not exact:
        assert (durations.mean, durations.p50, durations.p95, durations.p99) == (None,) * 4
        return
    exact.sort()
    assert durations.mean == pytest.approx(sum(exact) / len(exact))
    for share, told in ((0.5, durations.p50), (0.95, durations.p95), (0.99, durations.p99)):
        rank = math.ceil(share * len(exact))
        assert told == pytest.approx(
            max(exact[rank - 1], SHORTEST), rel=RELATIVE_ERROR * 1.001, abs=0
        )


_AGE: Final = """
update planstore.events e
set
  created_at = e.created_at - $1::interval,
  metadata = case
    when e.metadata ->> 'began_at' is null then e.metadata
    else (
      e.metadata::jsonb || jsonb_build_object(
        'began_at', (e.metadata ->> 'began_at')::timestamptz - $1::interval,
        'ready_at', (e.metadata ->> 'ready_at')::timestamptz - $1::interval
      )
    )::json
  end
from planstore.statistics_place p
where e.seq > p.seq
"""


async def age_uncounted(database: Database, by: timedelta) -> None:
    """Let what isn't counted yet have happened earlier."""
    async with database.connection() as conn:
        await conn.execute(_AGE, by)
