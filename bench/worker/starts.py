"""How soon an idle worker's handler begins with a task, beside a bare round trip."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from statistics import median
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from bench import postgres
from bench import server as servers
from bench.coordination import doors, idle
from bench.coordination.turns import supplied
from bench.process import Process
from bench.worker import work

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine
    from uuid import UUID

    from bench.subject import Course
    from bench.worker.work import Delays

WHAT: Final = "ready → handler begins, over HTTP, beyond a bare round trip"

_UNMEASURED: Final = 5
"""Tasks after which all sides are warm."""

_MADE: Final = """
select
  t.id,
  extract(epoch from t.created_at)::float8 as made_at,
  extract(epoch from pg_xact_commit_timestamp(t.xmin))::float8 as ready_at
from planstore.tasks t
"""


@dataclass(frozen=True, slots=True)
class Starts:
    """Medians in milliseconds, each without the bare round trip."""

    worker: float
    """From when a task was ready, by the commit that made it so, until its handler began."""
    bare: float
    """The same until a bare caller had it."""
    from_making: float
    """From when the transaction began that added the task, until its handler began."""
    round_trip: float


async def measure(course: Course) -> Starts:
    """Measure the worker, and a bare caller beside it."""
    async with postgres.noting_commits() as noting:
        course = replace(course, postgres=noting)
        worker, seen = await _measure(course, work.begin)
        bare, seen_bare = await _measure(course, work.begin_bare)
    round_trip = _median([*worker.round_trips, *bare.round_trips])
    return Starts(
        worker=_delay(worker, seen, "ready_at") - round_trip,
        bare=_delay(bare, seen_bare, "ready_at") - round_trip,
        from_making=_delay(worker, seen, "made_at") - round_trip,
        round_trip=round_trip,
    )


async def _measure(
    course: Course, act: Callable[[str, int], Coroutine[Any, Any, Delays]]
) -> tuple[Delays, dict[UUID, asyncpg.Record]]:
    """What the worker saw, and when each task was made and ready."""
    count = _UNMEASURED + round(course.rounds * course.seconds * 2 / sum(idle.PAUSE))
    async with supplied(course, "idle") as database:
        url = course.postgres.url_of(database)
        async with servers.planstore(url) as server:
            with Process.running() as worker, Process.running() as creator:
                port = str(server.port)
                async with asyncio.TaskGroup() as group:
                    beginning = group.create_task(worker.run(act, port, count))
                    group.create_task(creator.run(idle.create_tasks, doors.over_http, port, count))
        conn = await asyncpg.connect(url)
        try:
            seen = {row["id"]: row for row in await conn.fetch(_MADE)}
        finally:
            await conn.close()
    return beginning.result(), seen


def _delay(delays: Delays, seen: dict[UUID, asyncpg.Record], since: str) -> float:
    measured = list(delays.starts.items())[_UNMEASURED:]
    return _median([began - seen[task][since] for task, began in measured])


def _median(seconds: list[float]) -> float:
    return median(seconds) * 1_000
