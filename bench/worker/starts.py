"""How soon an idle worker's handler begins with a task, beside a bare round trip."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bench import server as servers
from bench.coordination import doors, idle
from bench.coordination.turns import supplied
from bench.load import percentile
from bench.process import Process
from bench.worker import work

if TYPE_CHECKING:
    from bench.subject import Course

WHAT: Final = "ready → handler begins, over HTTP, beyond a bare round trip"

_UNMEASURED: Final = 5
"""Tasks after which all sides are warm."""


async def measure(course: Course) -> tuple[float, float]:
    """Return the median beyond that of a bare round trip, and the latter, in milliseconds."""
    count = _UNMEASURED + round(course.rounds * course.seconds * 2 / sum(idle.PAUSE))
    async with (
        supplied(course, "idle") as database,
        servers.planstore(course.postgres.url_of(database)) as server,
    ):
        with Process.running() as worker, Process.running() as creator:
            port = str(server.port)
            async with asyncio.TaskGroup() as group:
                beginning = group.create_task(worker.run(work.begin, port, count))
                group.create_task(creator.run(idle.create_tasks, doors.over_http, port, count))
    delays = beginning.result()
    start = percentile(sorted(delays.starts[_UNMEASURED:]), 0.5) * 1_000
    round_trip = percentile(sorted(delays.round_trips), 0.5) * 1_000
    return start - round_trip, round_trip
