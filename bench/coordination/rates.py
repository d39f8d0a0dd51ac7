"""Tasks per second, of PlanStore and of bare SQL in turn."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from bench.coordination import bare, supply, work
from bench.coordination.figures import Aim, Figure
from bench.coordination.pace import Load
from bench.coordination.turns import Side, in_turn, memory_of, rate_of, ratio_of, supplied
from bench.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bench.coordination.pace import Pace
    from bench.subject import Course


@dataclass(frozen=True, slots=True)
class Rate:
    """One kind of work."""

    what: str
    aim: Aim
    ours: Callable[[str, Load], Coroutine[Any, Any, Pace]]
    bare: Callable[[str, Load], Coroutine[Any, Any, Pace]]
    load: Load
    """For one second."""
    supply: supply.Supply | None = None
    """What is there to be worked on; None where the load itself adds tasks."""
    is_whole: bool = False
    """Whether all tasks are worked off, however long that takes."""

    def load_of(self, seconds: float) -> Load:
        """The load for a measurement of so many seconds."""
        if self.is_whole:
            return self.load
        return replace(self.load, seconds=seconds, tasks=math.ceil(self.load.tasks * seconds))


_BATCHES: Final = Load(size=100, lanes=4, seconds=1, warm_up=800, tasks=80_000)
"""With more tasks than a machine works off in a second; where it does so all the same, the
measurement ends early, and its rate is right."""
_SINGLES: Final = Load(size=1, lanes=1, seconds=1, warm_up=20, tasks=8_000)
_WHOLE: Final = replace(_BATCHES, seconds=60, tasks=supply.SHAPED)

RATES: Final = {
    "batches": Rate(
        "claim and complete, batches of 100, four lanes",
        Aim(20_000, 30_000),
        work.complete_batches,
        bare.complete,
        _BATCHES,
        supply.loose,
    ),
    "one": Rate(
        "claim and complete, one at a time (complete_tasks)",
        Aim(1_000, 1_300),
        work.complete_batches,
        bare.complete,
        _SINGLES,
        supply.loose,
    ),
    "one-by-id": Rate(
        "claim and complete, one at a time (complete_task)",
        Aim(1_000, 1_300),
        work.complete_singly,
        bare.complete,
        _SINGLES,
        supply.loose,
    ),
    "create-1000": Rate(
        "create, batches of 1,000, two callers",
        Aim(45_000, 60_000),
        work.create_batches,
        bare.create_batches,
        Load(size=1_000, lanes=2, seconds=1, warm_up=8_000),
    ),
    "create-10000": Rate(
        "create, batches of 10,000, two callers",
        Aim(45_000, 60_000),
        work.create_batches,
        bare.create_batches,
        Load(size=10_000, lanes=2, seconds=1, warm_up=40_000),
    ),
    "create-one": Rate(
        "create one by one, 16 callers, 64 plans",
        Aim(8_000, 15_000),
        work.create_singly,
        bare.create_singly,
        Load(size=1, lanes=16, seconds=1, warm_up=1_000),
    ),
    "fan-out": Rate(
        "10,000 tasks: one, then 9,999",
        Aim(8_000, 10_000),
        work.complete_batches,
        bare.complete,
        _WHOLE,
        supply.shaped(supply.fan_out),
        is_whole=True,
    ),
    "fan-in": Rate(
        "10,000 tasks: 9,999, then one",
        Aim(8_000, 10_000),
        work.complete_batches,
        bare.complete,
        _WHOLE,
        supply.shaped(supply.fan_in),
        is_whole=True,
    ),
    "layers": Rate(
        "10,000 tasks: 20 layers, each task needs three",
        Aim(8_000, 10_000),
        work.complete_batches,
        bare.complete,
        _WHOLE,
        supply.shaped(supply.layers),
        is_whole=True,
    ),
    "chain": Rate(
        "one chain of 10,000, one at a time",
        Aim(600, 1_000),
        work.complete_batches,
        bare.complete,
        _SINGLES,
        supply.shaped(supply.chain),
    ),
}


async def measure(course: Course, line: str) -> Figure:
    """Measure one kind of work."""
    rate = RATES[line]
    load = rate.load_of(course.seconds)
    ready = load.warm_up + load.tasks if rate.supply else 0
    async with AsyncExitStack() as stack:
        theirs = await stack.enter_async_context(course.postgres.database("bare"))
        async with course.postgres.filling(theirs) as url:
            await bare.fill(url, ready)
        ours = await stack.enter_async_context(
            supplied(course, "planstore", rate.supply and partial(rate.supply, load))
        )
        sides = (
            Side("bare", rate.bare, load, theirs, stack.enter_context(Process.running())),
            Side("planstore", rate.ours, load, ours, stack.enter_context(Process.running())),
        )
        bares, paces = await in_turn(course, line, sides)
    return Figure(
        rate.what,
        rate.aim,
        value=rate_of(paces),
        memory_mb=memory_of(paces),
        bare=rate_of(bares),
        ratio=ratio_of(paces, bares),
    )
