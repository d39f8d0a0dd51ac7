"""Claiming and completing tasks, with and without a relay that passes on their events."""

from __future__ import annotations

import math
from contextlib import AsyncExitStack
from dataclasses import replace
from functools import partial
from statistics import median
from typing import TYPE_CHECKING, Final

from bench import server as servers
from bench.coordination import supply, work
from bench.coordination.rates import RATES
from bench.coordination.turns import record, supplied
from bench.process import Process

if TYPE_CHECKING:
    from bench.coordination.pace import Load, Pace
    from bench.subject import Course
    from tests.redis import Valkey

WHAT: Final = "claim and complete beside the relay, as a share of that beside a server without it"


async def measure(course: Course, valkey: Valkey) -> float:
    """Return the rate with the relay as a share of that without it, the median of the rounds'."""
    load = RATES["batches"].load
    load = replace(load, seconds=course.seconds, tasks=math.ceil(load.tasks * course.seconds))
    ratios: list[float] = []
    async with supplied(course, "beside", partial(supply.loose, load)) as template:
        with Process.running() as process:
            for turn in range(course.rounds):
                order = (False, True) if turn % 2 == 0 else (True, False)
                paces = {
                    has_relay: await _pace(
                        course, template, process, load, valkey.url if has_relay else ""
                    )
                    for has_relay in order
                }
                for has_relay, pace in paces.items():
                    side = "with" if has_relay else "without"
                    record(course, "beside", side, pace, subject="relay", turn=turn)
                ratios.append(paces[True].rate / paces[False].rate)
    return median(ratios)


async def _pace(
    course: Course, template: str, process: Process, load: Load, redis_url: str
) -> Pace:
    async with AsyncExitStack() as stack:
        name = await stack.enter_async_context(
            course.postgres.database("beside_measured", template=template)
        )
        url = course.postgres.url_of(name)
        await stack.enter_async_context(servers.planstore(url, REDIS_URL=redis_url))
        return await process.run(work.complete_batches, url, load)
