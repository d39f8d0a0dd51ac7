"""How many tasks a worker process carries out over HTTP, beside a bare caller."""

from __future__ import annotations

import math
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench import server as servers
from bench.coordination import remote, supply
from bench.coordination.pace import Load
from bench.coordination.turns import record, supplied
from bench.process import Process
from bench.worker import work

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bench.coordination.pace import Pace
    from bench.subject import Course

WHAT: Final = "claim, carry out and complete no-op tasks over HTTP"

_PER_SECOND: Final = 30_000
"""More than a machine works off."""

_SIZE: Final = 400
"""Tasks of one call of the bare caller: about what the worker makes of them."""


async def measure(course: Course) -> tuple[float, float]:
    """Return tasks per second of the worker, and the ratio of that to the bare caller's rate."""
    tasks = math.ceil(_PER_SECOND * course.seconds)
    load = Load(size=_SIZE, lanes=2, seconds=course.seconds, warm_up=4_000, tasks=tasks)
    found: dict[str, list[float]] = {"bare": [], "worker": []}
    sides = {"bare": remote.complete_batches, "worker": work.carry_out}
    async with supplied(course, "worker", partial(supply.loose, load)) as template:
        for turn in range(course.rounds):
            for side in sides if turn % 2 == 0 else reversed(sides):
                pace = await _measure(course, template, sides[side], load)
                found[side].append(pace.rate)
                record(course, "rate", side, pace, turn=turn, subject="worker")
    ratios = [one / other for one, other in zip(found["worker"], found["bare"], strict=True)]
    return median(found["worker"]), median(ratios)


async def _measure(
    course: Course,
    template: str,
    act: Callable[[str, Load], Coroutine[Any, Any, Pace]],
    load: Load,
) -> Pace:
    async with (
        course.postgres.database("measured", template=template) as database,
        servers.planstore(course.postgres.url_of(database)) as server,
    ):
        with Process.running() as process:
            return await process.run(act, str(server.port), load)
