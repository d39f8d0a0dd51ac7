"""How much of the rate is kept where there is much else in the database, or a long transaction."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from bench.coordination import backlog, rates, work
from bench.coordination.figures import Aim, Figure
from bench.coordination.turns import Side, in_turn, memory_of, ratio_of, record, supplied
from bench.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from bench.coordination.backlog import Kind
    from bench.coordination.pace import Load, Pace
    from bench.subject import Course


CROWDS: Final = {
    "waiting": (
        "rate kept with tasks ready, and as many finished",
        (backlog.READY, backlog.FINISHED),
    ),
    "paused": ("rate kept with tasks of paused plans", (backlog.PAUSED,)),
}
"""What is there beside the tasks that the load works off."""

_AIM: Final = Aim(floor=0.8, goal=0.9, unit="", digits=2)

HELD: Final = "rate kept beside a transaction held open"
_HELD_AIM: Final = Aim(floor=0.6, goal=0.8, unit="", digits=2)
_BEFORE: Final = 10
_LAST: Final = 20
_MOST_PER_SECOND: Final = 30_000
"""For how many tasks a second there is work while the transaction is held."""


async def measure(course: Course, line: str) -> Figure:
    """Measure the rate with a crowd and without it, in turn."""
    what, kinds = CROWDS[line]
    load = rates.RATES["batches"].load_of(course.seconds)
    async with AsyncExitStack() as stack:
        alone = await stack.enter_async_context(_filled(course, "alone", load))
        among = await stack.enter_async_context(
            _filled(course, "among", load, *((kind, course.rows) for kind in kinds))
        )
        process = stack.enter_context(Process.running())
        sides = (
            Side("alone", work.complete_batches, load, alone, process),
            Side("among", work.complete_batches, load, among, process),
        )
        free, crowded = await in_turn(course, line, sides)
    return Figure(f"{what}: {course.rows:,}", _AIM, ratio_of(crowded, free), memory_of(crowded))


@asynccontextmanager
async def _filled(
    course: Course, name: str, load: Load, *crowd: tuple[Kind, int]
) -> AsyncGenerator[str]:
    """Make a database with what the load works off, and a crowd: all of it in the same way."""
    async with supplied(course, name) as database:
        async with course.postgres.filling(database) as url:
            for kind, rows in ((backlog.WORK, load.warm_up + load.tasks), *crowd):
                await backlog.add(url, kind, rows)
        yield database


async def measure_held(course: Course) -> Figure:
    """Measure the rate at the end of a long transaction against that before it."""
    before, last = (min(each, course.held_seconds / 2) for each in (_BEFORE, _LAST))
    rows = math.ceil(_MOST_PER_SECOND * (before + course.held_seconds))
    load = replace(rates.RATES["batches"].load, tasks=rows)
    async with _filled(course, "held", load) as database:
        url = course.postgres.url_of(database)
        with Process.running() as process:

            async def work_for(seconds: float, when: str) -> Pace:
                pace = await process.run(work.complete_batches, url, replace(load, seconds=seconds))
                record(course, "held", when, pace)
                if pace.seconds < seconds / 2:
                    raise RuntimeError("the tasks ran out: raise _MOST_PER_SECOND")
                return pace

            free = await work_for(before, "before")
            async with backlog.held_open(url):
                await work_for(course.held_seconds - last, "held")
                held = await work_for(last, "held, at the end")
    return Figure(
        f"{HELD}, after {course.held_seconds:g} s",
        _HELD_AIM,
        value=held.rate / free.rate,
        memory_mb=held.memory_mb,
    )
