"""Waiting until something that workers do has come true."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

    from planstore.models import Task
    from planstore.models.task import TaskStatus
    from planstore.services.plan_store import PlanStore

PATIENCE: Final = 30


async def so(is_so: Callable[[], Awaitable[bool]]) -> None:
    """Wait until it is so; what is looked at is not ordered by how long that takes."""
    async with asyncio.timeout(PATIENCE):
        while not await is_so():  # noqa: ASYNC110 - nothing tells of it
            await asyncio.sleep(0.01)


async def task_is(store: PlanStore, task_id: UUID, *statuses: TaskStatus) -> Task:
    """Wait until a task has come to one of the statuses, and return it."""

    async def is_so() -> bool:
        return (await store.get_task(task_id)).status in statuses

    await so(is_so)
    return await store.get_task(task_id)
