"""What memory a server process takes that carries out batches for workers elsewhere."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench import server as servers
from bench.coordination import remote
from bench.coordination.figures import MEMORY, Figure
from bench.coordination.pace import Load
from bench.coordination.turns import record, supplied
from bench.process import Process

if TYPE_CHECKING:
    from bench.subject import Course

WHAT: Final = "memory of a server process that takes batches over HTTP"

_CREATED: Final = 40_000
"""Tasks, in batches as large as they may be."""


async def measure(course: Course) -> Figure:
    """Add tasks by the largest batches there are, and carry them out by hundreds."""
    steps = (
        ("create", remote.create_batches, Load(10_000, 2, 60, warm_up=10_000, tasks=_CREATED)),
        ("complete", remote.complete_batches, Load(100, 2, course.seconds, warm_up=200)),
    )
    async with (
        supplied(course, "server") as database,
        servers.planstore(course.postgres.url_of(database)) as server,
    ):
        with Process.running() as process:
            for side, act, load in steps:
                pace = await process.run(act, str(server.port), load)
                record(course, "server-memory", side, pace)
        memory_mb = server.peak_memory_mb()
    course.report.record("need", line="coordination.server-memory", value=round(memory_mb, 1))
    return Figure(WHAT, MEMORY, memory_mb, memory_mb)
