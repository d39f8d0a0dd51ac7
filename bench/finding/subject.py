"""The subject: which lines there are, and how they are measured in one store."""

from __future__ import annotations

import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from bench.finding import lists, revisions, stock
from bench.finding.figures import Figure, add_table, record
from bench.process import Process
from bench.subject import Subject
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bench.finding.calls import Calls
    from bench.finding.stock import Stock
    from bench.subject import Course

_LINES: Final = {
    **{line: each.what for line, each in lists.LINES.items()},
    **{line: way.what for line, way in revisions.WAYS.items()},
}


_PAGES_READ: Final = """
select d.blks_hit + d.blks_read from pg_stat_database d where d.datname = current_database()
"""

# What a connection has counted is there for others to see once it is gone.
_IS_USED: Final = """
select exists (
    select
    from pg_stat_activity a
    where a.datname = current_database()
      and a.application_name = 'planstore'
  )
  and pg_sleep(0.01) is not null
"""


async def _run(course: Course) -> None:
    async with course.postgres.database("finding") as database:
        there, caption = await _filled(course, database)
        url = course.postgres.url_of(database)
        figures: list[Figure] = []
        with Process.running() as process:
            for line, what in _LINES.items():
                if line in course.lines:
                    course.report.progress(what)
                    figures += await _measured(course, url, process, line, there)
        add_table(course, figures, store=caption)


async def _measured(
    course: Course, url: str, process: Process, line: str, there: Stock
) -> list[Figure]:
    """Measure the cases of a line, which share its time."""
    cases = await _cases(line, there, process, url)
    seconds = course.rounds * course.seconds / len(cases)
    figures: list[Figure] = []
    for case in cases:
        figure = await _measure(url, process, line, case, seconds)
        if figure.calls.ordered:
            record(course, figure)
            figures.append(figure)
    return figures


async def _filled(course: Course, database: str) -> tuple[Stock, str]:
    """Make the store; answers what is there, and a sentence about it."""
    what = f"{course.rows:,} plans, {course.rows * stock.TASKS_OF_A_PLAN:,} tasks"
    course.report.progress(f"making {what}")
    start = time.perf_counter()
    async with course.postgres.filling(database) as url:
        async with PlanStore.open(url, pool_size=1) as store:
            large_plans = await stock.add_large_plans(store)
        there = await stock.add(url, course.rows, large_plans)
    seconds = time.perf_counter() - start
    gigabytes = await _value(url, "select pg_database_size(current_database())") / 1e9
    course.report.record(
        "store",
        plans=course.rows,
        tasks=course.rows * stock.TASKS_OF_A_PLAN,
        seconds=round(seconds, 1),
        gigabytes=round(gigabytes, 2),
    )
    return there, f"{what}: {gigabytes:.1f} GB, made in {seconds:,.0f} s"


@dataclass(frozen=True, slots=True)
class _Case:
    """Calls of one kind."""

    name: str
    most_ms: float
    act: Callable[[str, float], Coroutine[Any, Any, Calls]]
    """What the process carries out, given the URL of the database and for how long."""


async def _cases(line: str, there: Stock, process: Process, url: str) -> list[_Case]:
    if line in revisions.WAYS:
        plans = await process.run(revisions.prepare, line, url)
        return [_Case("", revisions.MOST_MS, partial(revisions.revise, plans))]
    most_ms = lists.LINES[line].most_ms
    return [
        _Case(each.name, most_ms, partial(lists.look, each))
        for each in lists.LINES[line].cases(there)
    ]


async def _measure(url: str, process: Process, line: str, case: _Case, seconds: float) -> Figure:
    before = await _value(url, _PAGES_READ)
    calls = await process.run(case.act, url, seconds)
    while await _value(url, _IS_USED):
        """It looks again."""
    pages = await _value(url, _PAGES_READ) - before
    return Figure(line, case.name, case.most_ms, calls, pages / calls.made)


async def _value(url: str, query: str) -> Any:
    conn = await asyncpg.connect(url)
    try:
        return await conn.fetchval(query)
    finally:
        await conn.close()


SUBJECT: Final = Subject("finding", _LINES, _run)
