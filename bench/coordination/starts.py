"""How long it takes from the creation of a task until an idle worker has it in hand."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench import server as servers
from bench.coordination import doors, idle
from bench.coordination.figures import Aim, Figure
from bench.coordination.turns import supplied
from bench.load import percentile
from bench.process import Process

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from bench.coordination.doors import Door
    from bench.coordination.idle import Times
    from bench.subject import Course

_UNMEASURED: Final = 5
"""Tasks after which both sides are warm."""

_P50_IN_PYTHON: Final = Aim(4, 3, is_most=True, unit=" ms", digits=1)
_P50_OVER_HTTP: Final = Aim(8, 6, is_most=True, unit=" ms", digits=1)
_P99_OVER_HTTP: Final = Aim(30, 20, is_most=True, unit=" ms", digits=1)


@dataclass(frozen=True, slots=True)
class Way:
    """How both of them go to PlanStore."""

    what: str
    door: Callable[[str], AbstractAsyncContextManager[Door]]
    aims: dict[float, Aim]
    """By percentile."""


WAYS: Final = {
    "start": Way(
        "create → start by an idle worker, in Python", doors.in_python, {0.5: _P50_IN_PYTHON}
    ),
    "start-http": Way(
        "create → start by long poll over HTTP",
        doors.over_http,
        {0.5: _P50_OVER_HTTP, 0.99: _P99_OVER_HTTP},
    ),
}


async def measure(course: Course, line: str) -> list[Figure]:
    """Measure for as long as all rounds together."""
    way = WAYS[line]
    count = _UNMEASURED + round(course.rounds * course.seconds * 2 / sum(idle.PAUSE))
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(supplied(course, "idle"))
        where = course.postgres.url_of(database)
        server = None
        if way.door is doors.over_http:
            server = await stack.enter_async_context(servers.planstore(where))
            where = str(server.port)
        worker, creator = (stack.enter_context(Process.running()) for _ in range(2))
        async with asyncio.TaskGroup() as group:
            starting = group.create_task(worker.run(idle.start_tasks, way.door, where, count))
            creating = group.create_task(creator.run(idle.create_tasks, way.door, where, count))
        started, asked = starting.result(), creating.result()
        memory_mb = server.peak_memory_mb() if server else started.memory_mb
    delays = _delays(asked, started)
    found = {share: percentile(delays, share) for share in (0.5, 0.99)}
    course.report.record(
        "delay",
        line=f"coordination.{line}",
        tasks=len(delays),
        p50_ms=round(found[0.5], 3),
        p99_ms=round(found[0.99], 3),
        memory_mb=round(memory_mb, 1),
    )
    return [
        Figure(f"{way.what}, p{share:.0%}".rstrip("%"), aim, found[share], memory_mb)
        for share, aim in way.aims.items()
    ]


def _delays(asked: Times, started: Times) -> list[float]:
    """In milliseconds, the shortest first."""
    measured = list(asked.of_tasks.items())[_UNMEASURED:]
    return sorted((started.of_tasks[task] - when) * 1_000 for task, when in measured)
