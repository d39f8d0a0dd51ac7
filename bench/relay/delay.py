"""How long it takes from the commit of a change until a subscriber has its event."""

from __future__ import annotations

import asyncio
import math
from functools import partial
from typing import TYPE_CHECKING, Final

from bench import server as servers
from bench.coordination import supply
from bench.coordination.pace import Load
from bench.coordination.turns import supplied
from bench.load import percentile
from bench.process import Process
from bench.relay import work

if TYPE_CHECKING:
    from bench.subject import Course
    from tests.redis import Valkey

RATES: Final = (200, 2_000, 10_000)
"""Events per second."""

_UNMEASURED: Final = 0.5
"""Seconds at the beginning, in which statements are prepared."""

_QUIET: Final = 1.0


async def measure(course: Course, valkey: Valkey, per_second: int) -> list[float]:
    """Return the delays in milliseconds, the shortest first."""
    seconds = course.seconds * course.rounds + _UNMEASURED
    tasks = math.ceil(per_second * seconds)
    load = Load(size=1, lanes=1, seconds=seconds, warm_up=1, tasks=tasks)
    async with supplied(course, "delay", partial(supply.loose, load)) as database:
        url = course.postgres.url_of(database)
        with Process.running() as worker, Process.running() as subscriber:
            async with servers.planstore(url, REDIS_URL=valkey.url), asyncio.TaskGroup() as group:
                listening = group.create_task(subscriber.run(work.listen, valkey.port, _QUIET))
                await work.until_subscribed(valkey.port)
                writing = group.create_task(
                    worker.run(work.complete_steadily, url, per_second, seconds)
                )
    kept, told = writing.result(), listening.result()
    if missing := kept.keys() - told.keys():
        raise RuntimeError(f"{len(missing)} of {len(kept)} events were never told")
    first = min(kept.values()) + _UNMEASURED
    return sorted((told[task] - when) * 1_000 for task, when in kept.items() if when >= first)


def shares(delays: list[float]) -> dict[float, float]:
    """The median, and what all but a hundredth keep."""
    return {share: percentile(delays, share) for share in (0.5, 0.99)}
