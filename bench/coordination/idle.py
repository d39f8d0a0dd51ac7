"""A worker that waits for work, and another process that gives it some once in a while."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from bench.memory import peak_mb

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractAsyncContextManager

    from bench.coordination.doors import Door

PAUSE: Final = (0.03, 0.09)
"""Seconds between two tasks, at least and at most: by chance, so that they fall in with nothing
that happens at regular times."""

_GIVE_UP_AFTER: Final = 30


@dataclass(frozen=True, slots=True)
class Times:
    """When something happened to each task, by the clock that all processes share."""

    of_tasks: dict[str, float]
    memory_mb: float


async def start_tasks(
    door: Callable[[str], AbstractAsyncContextManager[Door]], where: str, count: int
) -> Times:
    """Wait for tasks one by one; answers when each was in hand."""
    started: dict[str, float] = {}
    async with door(where) as planstore, asyncio.timeout(count * PAUSE[1] + _GIVE_UP_AFTER):
        while len(started) < count:
            if claimed := await planstore.claim():
                task_id, token = claimed
                started[task_id] = time.monotonic()
                await planstore.complete(task_id, token)
    return Times(started, peak_mb())


async def create_tasks(
    door: Callable[[str], AbstractAsyncContextManager[Door]], where: str, count: int
) -> Times:
    """Add tasks one by one, with pauses; answers when each was asked for."""
    asked: dict[str, float] = {}
    async with door(where) as planstore, asyncio.timeout(count * PAUSE[1] + _GIVE_UP_AFTER):
        plan_id = await planstore.create_plan()
        while len(asked) < count:
            now = time.monotonic()
            task_id = await planstore.create_task(plan_id)
            asked[task_id] = now
            if len(asked) == 1:
                await _until_completed(planstore, task_id)
            await asyncio.sleep(random.uniform(*PAUSE))
    return Times(asked, peak_mb())


async def _until_completed(planstore: Door, task_id: str) -> None:
    """Wait for the worker to be there."""
    while True:
        if await planstore.is_completed(task_id):
            return
        await asyncio.sleep(PAUSE[0])
