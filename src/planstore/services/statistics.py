"""Counting the log as it grows, and telling what was counted.

Any number of servers count, by turns that happen: who has read how far the log is counted moves
that place on together with what it counts, unless another one has done so meanwhile.
"""

from __future__ import annotations

import asyncio
from collections import Counter as Tally
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from planstore.errors import Fault, InvalidInput
from planstore.models.duration import seconds_in
from planstore.models.sketch import percentiles
from planstore.models.statistics import (
    BY_HOUR,
    BY_MINUTE,
    KEPT,
    MAX_WINDOW,
    TIMELINE_BY_HOUR,
    Durations,
    Ever,
    Figures,
    Group,
    Point,
    Scores,
    Standing,
    Statistics,
    StatisticsQuery,
    Timeline,
    cover,
    grain_of,
    steps,
)
from planstore.services.tailing import Horizon
from planstore.sql import statistics

if TYPE_CHECKING:
    from collections.abc import Collection

    from planstore.db import Database
    from planstore.models.statistics import Cover, TimelineQuery
    from planstore.sql.connection import Row

BITE: Final = 20_000
"""How many events are counted by one statement at most."""

_LEAST: Final = 1_000

_LONG: Final = 0.5
"""Seconds: where counting takes longer, half as many events are counted the next time."""

COUNTED_AT_MOST: Final = 100_000
"""How many ready tasks and how many leases are counted, each time that it is asked how things
stand."""

TYPES: Final = 200
"""How many types of tasks are told apart then, those of the most tasks."""

_PATIENCE: Final = 0.5
"""Seconds for which those who write are waited for; then only what comes before them is counted."""

_FORGOTTEN_AT_ONCE: Final = 1_000
_FORGET_EVERY: Final = 600.0
_DEFAULT_WINDOW: Final = timedelta(hours=24)
_SHARES: Final = (0.5, 0.95, 0.99)


class Counting:
    """The counting that is done by one process."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._horizon = Horizon(database)
        self._forgotten_at = -_FORGET_EVERY
        self._bite = BITE

    async def count(self) -> int:
        """Count what comes next of what is settled in the log; answers how far that went on.

        Small spans that are out of date are removed now and then.
        """
        loop = asyncio.get_running_loop()
        if loop.time() - self._forgotten_at >= _FORGET_EVERY:
            self._forgotten_at = loop.time()
            await self._forget()
        settled, after = await self._settled()
        through = min(settled, after + self._bite)
        if through <= after:
            return 0
        began = loop.time()
        async with self._database.connection() as conn:
            await statistics.count(conn, after=after, through=through)
        is_long = loop.time() - began > _LONG
        self._bite = max(self._bite // 2, _LEAST) if is_long else min(2 * self._bite, BITE)
        return through - after

    async def _settled(self) -> tuple[int, int]:
        """Up to where the log is settled, and up to where it is counted."""
        async with self._database.connection() as conn:
            after: int = (await statistics.place(conn))["seq"]
        if await self._horizon.reach(patience=_PATIENCE):
            return self._horizon.place or 0, after
        return await self._horizon.unbroken(after), after

    async def _forget(self) -> None:
        for grain in KEPT:
            while True:
                async with self._database.connection() as conn:
                    count = await statistics.forget(conn, grain, limit=_FORGOTTEN_AT_ONCE)
                if count < _FORGOTTEN_AT_ONCE:
                    break


async def get(database: Database, query: StatisticsQuery) -> Statistics:
    """Return what became of tasks over a time, and by the values of a dimension.

    Raises:
        InvalidInput: the time is empty, too long or lies ahead.
    """
    async with database.moment() as conn:
        place = await statistics.place(conn)
        told = _cover(query, now=place["looked_at"], by_hour=BY_HOUR)
        counted = await statistics.counted(conn, told.spans, *(query.filter or (None, "")))
        groups: list[Row] = []
        if query.group_by is not None:
            groups = await statistics.groups(conn, told.spans, query.group_by, limit=query.limit)
    until = max(told.since, min(told.until, place["as_of"]))
    seconds = (until - told.since).total_seconds()
    return Statistics(
        since=told.since,
        until=until,
        as_of=place["as_of"],
        total=Figures(**_figures(counted, seconds)),
        group_by=query.group_by,
        groups=[Group(value=row["value"] or None, **_figures([row], seconds)) for row in groups],
        group_count=groups[0]["group_count"] if groups else 0,
    )


async def timeline(database: Database, query: TimelineQuery) -> Timeline:
    """Return what became of tasks over a time, span by span.

    Raises:
        InvalidInput: the time is empty, too long or lies ahead.
    """
    async with database.moment() as conn:
        place = await statistics.place(conn)
        told = _cover(query, now=place["looked_at"], by_hour=TIMELINE_BY_HOUR)
        spans = steps(told)
        rows = await statistics.counted(conn, spans, *(query.filter or (None, "")))
    counted = {row["began_at"]: [row] for row in rows}
    seconds = told.grain.length.total_seconds()
    return Timeline(
        since=told.since,
        until=told.until,
        as_of=place["as_of"],
        step=told.grain,
        points=[
            Point(at=span.began_at, **_figures(counted.get(span.began_at, ()), seconds))
            for span in spans
        ],
    )


def _cover(query: TimelineQuery, *, now: datetime, by_hour: timedelta) -> Cover:
    """Return the spans that a query asks for.

    Raises:
        InvalidInput: they can't be told of.
    """
    until = min(query.until or now, now)
    length = timedelta(seconds=seconds_in(query.window) or 0) if query.window else _DEFAULT_WINDOW
    since = query.since or until - length
    faults: list[Fault] = []
    if since >= until:
        faults.append(Fault("?from", f"it is {_shown(since)}, which isn't before {_shown(until)}"))
    elif until - since > MAX_WINDOW:
        days = MAX_WINDOW.days
        faults.append(Fault("?from", f"statistics are told of {days} days at once, and it is more"))
    if faults:
        raise InvalidInput(
            f"These statistics can't be told: {faults[0].detail}", faults=tuple(faults)
        )
    grain = grain_of(since, until, now=now, by_minute=BY_MINUTE, by_hour=by_hour)
    return cover(since, until, grain, now=now)


def _shown(at: datetime) -> str:
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


def _figures(rows: Collection[Row], seconds: float) -> dict[str, Any]:
    """What is told of some counts together; ``seconds``: how long a time they are of."""
    completed, failed, scores = (_sum(rows, name) for name in ("completed", "failed", "scores"))
    ended = completed + failed
    return {
        "completed": completed,
        "failed": failed,
        "skipped": _sum(rows, "skipped"),
        "retried": _sum(rows, "retried"),
        "success_rate": completed / ended if ended else None,
        "throughput": ended / seconds if seconds else 0.0,
        "queue_wait": _durations(rows, "wait"),
        "run_time": _durations(rows, "run"),
        "scores": Scores(
            count=scores, mean=sum(row["score_sum"] for row in rows) / scores if scores else None
        ),
    }


def _sum(rows: Collection[Row], name: str) -> int:
    return sum(int(row[name]) for row in rows)


def _durations(rows: Collection[Row], name: str) -> Durations:
    count = _sum(rows, f"{name}s")
    sketch: Tally[int] = Tally()
    for row in rows:
        sketch.update(_sketch(row, name))
    p50, p95, p99 = percentiles(sketch.items(), _SHARES)
    return Durations(
        count=count,
        mean=sum(row[f"{name}_seconds"] for row in rows) / count if count else None,
        p50=p50,
        p95=p95,
        p99=p99,
    )


def _sketch(row: Row, name: str) -> dict[int, int]:
    return dict(zip(row[f"{name}_bins"] or (), row[f"{name}_counts"] or (), strict=True))


async def standing(database: Database) -> Standing:
    """Return how things stand, for those who watch."""
    async with database.connection() as conn:
        now = await statistics.standing(conn, most=COUNTED_AT_MOST)
        tasks = await statistics.tasks(conn, types=TYPES)
        ever = await statistics.ever(conn, types=TYPES)
    return Standing(
        ready=now["ready"],
        oldest_ready_seconds=now["oldest_ready_seconds"],
        leases=now["leases"],
        expired_leases=now["expired_leases"],
        uncounted_seconds=now["uncounted_seconds"],
        tasks={(row["task_type"], row["status"]): row["count"] for row in tasks},
        ever=[
            Ever(
                task_type=row["task_type"],
                completed=row["completed"],
                failed=row["failed"],
                skipped=row["skipped"],
                retried=row["retried"],
                wait_seconds=row["wait_seconds"],
                waits=_sketch(row, "wait"),
                run_seconds=row["run_seconds"],
                runs=_sketch(row, "run"),
            )
            for row in ever
        ],
    )
