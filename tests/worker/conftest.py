"""Workers on a database of the test's own, in this process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import structlog

from planstore.worker.store import on_database

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from structlog.typing import EventDict

    from planstore.worker import Worker

    Working = Callable[[Worker], AbstractAsyncContextManager[asyncio.Task[None]]]


@pytest.fixture
def working(database_url: str) -> Working:
    """Have a worker work until the end of a block, and then in order to its own end."""

    @asynccontextmanager
    async def working(worker: Worker) -> AsyncGenerator[asyncio.Task[None]]:
        task = asyncio.create_task(worker.work(on_database(database_url, migrate=False)))
        try:
            yield task
        finally:
            worker.stop()
            await task

    return working


@pytest.fixture(autouse=True)
def logged() -> Iterator[list[EventDict]]:
    """What workers have logged."""
    with structlog.testing.capture_logs() as logged:
        yield logged
