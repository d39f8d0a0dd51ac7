"""Threads for handlers that aren't async.

Those of `concurrent.futures` are waited for when the process ends; a handler that doesn't heed that
it should stop would then keep a worker from ending at all, so these are daemons.
"""

from __future__ import annotations

import asyncio
import contextvars
from contextlib import suppress
from queue import SimpleQueue
from threading import Thread
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    Job: TypeAlias = tuple[Callable[[], Any], asyncio.Future[Any], asyncio.AbstractEventLoop]


class Threads:
    """As many threads as there were calls at a time; each stays for the next call."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._jobs: SimpleQueue[Job | None] = SimpleQueue()
        self._count = 0
        self._busy = 0

    async def call(self, function: Callable[..., Any], *args: Any) -> Any:
        """Call a function in a thread; cancelling this doesn't end it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        future.add_done_callback(self._end)
        context = contextvars.copy_context()
        self._busy += 1
        if self._busy > self._count:
            self._count += 1
            Thread(target=self._work, name=f"{self._name}-{self._count}", daemon=True).start()
        self._jobs.put((lambda: context.run(function, *args), future, loop))
        return await asyncio.shield(future)

    def _end(self, _future: asyncio.Future[Any]) -> None:
        self._busy -= 1

    def close(self) -> None:
        """Let those threads end that have nothing to do, and the others once they are done."""
        for _ in range(self._count):
            self._jobs.put(None)

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            function, future, loop = job
            try:
                output, error = function(), None
            except BaseException as raised:  # noqa: BLE001 - it is raised again where it is awaited
                output, error = None, raised
            with suppress(RuntimeError):  # the loop is closed: nobody waits any more
                loop.call_soon_threadsafe(_settle, future, output, error)


def _settle(future: asyncio.Future[Any], output: Any, error: BaseException | None) -> None:
    if future.done():
        return
    if error is None:
        future.set_result(output)
    elif isinstance(error, StopIteration):  # a future can't hold it
        future.set_exception(RuntimeError("the handler raised StopIteration"))
    else:
        future.set_exception(error)
