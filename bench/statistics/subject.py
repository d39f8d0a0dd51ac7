"""The subject: which lines there are, and how they are measured beside one store."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import asyncpg
from rich.table import Table

from bench.process import Process
from bench.report import verdict
from bench.statistics import asked, stock
from bench.subject import Subject

if TYPE_CHECKING:
    from bench.finding.calls import Calls
    from bench.subject import Course

_TASKS_OF_A_ROW: Final = 5
"""In full, five million tasks."""


async def _run(course: Course) -> None:
    ends_at = datetime.now(UTC)
    async with course.postgres.database("statistics") as database:
        caption = await _filled(course, database, ends_at)
        table = Table(
            title="Statistics through PlanStore, one call at a time",
            caption=f"{caption}. Each line for {course.rounds * course.seconds:g} s.",
        )
        table.add_column("line", no_wrap=True)
        table.add_column("case", no_wrap=True)
        for header in ("calls", "p50 ms", "p99 ms", "at most"):
            table.add_column(header, justify="right", no_wrap=True)
        url = course.postgres.url_of(database)
        with Process.running() as process:
            for line, what in asked.LINES.items():
                if line in course.lines:
                    course.report.progress(what)
                    cases = asked.cases(line)
                    seconds = course.rounds * course.seconds / len(cases)
                    for case in cases:
                        calls = await process.run(asked.ask, line, case, ends_at, url, seconds)
                        _note(course, table, line, case.name, calls)
        course.report.add(table)


async def _filled(course: Course, database: str, ends_at: datetime) -> str:
    """Make the statistics; answers a sentence about them."""
    tasks = course.rows * _TASKS_OF_A_ROW
    course.report.progress(f"making statistics of {tasks:,} tasks of {stock.PERIOD_DAYS} days")
    async with course.postgres.filling(database) as url:
        rate = await stock.add(url, tasks, ends_at)
        conn = await asyncpg.connect(url)
        try:
            size = "select pg_total_relation_size('planstore.statistics') / 1e6::float8"
            megabytes = await conn.fetchval(size)
        finally:
            await conn.close()
    course.report.record(
        "statistics",
        tasks=tasks,
        megabytes=round(megabytes),
        events_per_second=round(rate),
    )
    return (
        f"{tasks:,} tasks of {stock.PERIOD_DAYS} days: {megabytes:,.0f} MB, counted at "
        f"{rate:,.0f} events/s"
    )


def _note(course: Course, table: Table, line: str, case: str, calls: Calls) -> None:
    course.report.record(
        "calls",
        line=f"statistics.{line}",
        case=case,
        calls=len(calls.ordered),
        p50_ms=round(calls.p50_ms, 3),
        p99_ms=round(calls.p99_ms, 3),
        most_ms=asked.MOST_MS,
    )
    table.add_row(
        line,
        case,
        f"{len(calls.ordered):,}",
        f"{calls.p50_ms:,.1f}",
        f"{calls.p99_ms:,.1f}",
        verdict(f"{asked.MOST_MS:g}", is_met=calls.p99_ms <= asked.MOST_MS),
    )


SUBJECT: Final = Subject("statistics", asked.LINES, _run)
