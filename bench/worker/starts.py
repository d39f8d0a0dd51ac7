"""How soon an idle worker's handler begins with a task, beside a bare round trip."""

from __future__ import annotations

import asyncio
from statistics import median
from typing import TYPE_CHECKING, Any, Final

from bench import server as servers
from bench.coordination import doors, idle
from bench.coordination.turns import supplied
from bench.process import Process
from bench.worker import work

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from bench.subject import Course
    from bench.worker.work import Delays

WHAT: Final = "ready → handler begins, over HTTP, beyond a bare round trip"

_UNMEASURED: Final = 5
"""Tasks after which all sides are warm."""


async def measure(course: Course) -> tuple[float, float, float]:
    """Return medians in milliseconds: the worker's and a bare caller's, and the round trip.

    The first two are without the round trip.
    """
    worker = await _measure(course, work.begin)
    bare = await _measure(course, work.begin_bare)
    round_trip = _median([*worker.round_trips, *bare.round_trips])
    starts = [_median(each.starts[_UNMEASURED:]) - round_trip for each in (worker, bare)]
    return starts[0], starts[1], round_trip


async def _measure(
    course: Course, act: Callable[[str, int], Coroutine[Any, Any, Delays]]
) -> Delays:
    count = _UNMEASURED + round(course.rounds * course.seconds * 2 / sum(idle.PAUSE))
    async with (
        supplied(course, "idle") as database,
        servers.planstore(course.postgres.url_of(database)) as server,
    ):
        with Process.running() as worker, Process.running() as creator:
            port = str(server.port)
            async with asyncio.TaskGroup() as group:
                beginning = group.create_task(worker.run(act, port, count))
                group.create_task(creator.run(idle.create_tasks, doors.over_http, port, count))
    return beginning.result()


def _median(seconds: list[float]) -> float:
    return median(seconds) * 1_000
