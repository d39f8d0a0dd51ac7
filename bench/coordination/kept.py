"""How much of the rate is kept where there is much else in the database, or a long transaction."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Final

from bench.coordination import backlog, rates, supply, work
from bench.coordination.figures import Aim, Figure
from bench.coordination.turns import Side, in_turn, memory_of, ratio_of, record, supplied
from bench.process import Process

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence

    from bench.coordination.backlog import Kind
    from bench.coordination.pace import Pace
    from bench.subject import Course
    from planstore.services.plan_store import PlanStore


@dataclass(frozen=True, slots=True)
class Crowd:
    """What else there is."""

    what: str
    kinds: Sequence[Kind]
    supply: supply.Supply
    """What the load works on beside it."""


CROWDS: Final = {
    "waiting": Crowd(
        "rate kept with tasks ready, and as many finished",
        (backlog.READY, backlog.FINISHED),
        supply.warm_up,
    ),
    "paused": Crowd("rate kept with tasks of paused plans", (backlog.PAUSED,), supply.loose),
}

_AIM: Final = Aim(floor=0.8, goal=0.9, unit="", digits=2)

HELD: Final = "rate kept beside a transaction held open"
_HELD_AIM: Final = Aim(floor=0.6, goal=0.8, unit="", digits=2)
_BEFORE: Final = 10
_LAST: Final = 20
_MOST_PER_SECOND: Final = 30_000
"""For how many tasks a second there is work while the transaction is held."""


async def measure(course: Course, line: str) -> Figure:
    """Measure the rate with a crowd and without it, in turn."""
    crowd = CROWDS[line]
    load = rates.RATES["batches"].load_of(course.seconds)
    # There are as many as wait, or as were added.
    load = replace(load, tasks=min(load.tasks, course.rows))
    async with AsyncExitStack() as stack:
        empty = await stack.enter_async_context(
            supplied(course, "empty", partial(supply.loose, load))
        )
        crowded = await stack.enter_async_context(
            _crowded(course, crowd.kinds, course.rows, partial(crowd.supply, load))
        )
        process = stack.enter_context(Process.running())
        sides = (
            Side("empty", work.complete_batches, load, empty, process),
            Side("crowded", work.complete_batches, load, crowded, process),
        )
        alone, among = await in_turn(course, line, sides)
    return Figure(f"{crowd.what}: {course.rows:,}", _AIM, ratio_of(among, alone), memory_of(among))


@asynccontextmanager
async def _crowded(
    course: Course,
    kinds: Sequence[Kind],
    rows: int,
    supply: Callable[[PlanStore], Awaitable[None]],
) -> AsyncGenerator[str]:
    async with supplied(course, "crowded", supply) as database:
        async with course.postgres.filling(database) as url:
            for kind in kinds:
                await backlog.add(url, kind, rows)
        yield database


async def measure_held(course: Course) -> Figure:
    """Measure the rate at the end of a long transaction against that before it."""
    before, last = (min(each, course.held_seconds / 2) for each in (_BEFORE, _LAST))
    rows = math.ceil(_MOST_PER_SECOND * (before + course.held_seconds))
    load = rates.RATES["batches"].load_of(course.seconds)
    async with _crowded(course, (backlog.READY,), rows, partial(supply.warm_up, load)) as database:
        url = course.postgres.url_of(database)
        with Process.running() as process:

            async def work_for(seconds: float, when: str) -> Pace:
                pace = await process.run(
                    work.complete_batches, url, replace(load, seconds=seconds, tasks=rows)
                )
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
