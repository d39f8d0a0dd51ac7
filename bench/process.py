"""A process beside this one, in which coroutines are carried out."""

from __future__ import annotations

import asyncio
import gc
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from functools import partial
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any, ParamSpec, TypeVar

import uvloop

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator

P = ParamSpec("P")
T = TypeVar("T")


class Process:
    """A fresh Python process; it imports what it carries out and nothing else."""

    def __init__(self, pool: ProcessPoolExecutor) -> None:
        self._pool = pool

    @classmethod
    @contextmanager
    def running(cls) -> Generator[Process]:
        """Start the process, and end it afterwards."""
        with ProcessPoolExecutor(max_workers=1, mp_context=get_context("spawn")) as pool:
            yield cls(pool)

    async def run(
        self, act: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs
    ) -> T:
        """Carry out a coroutine on a loop of its own; all of it must be picklable."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._pool, partial(_run, act, *args, **kwargs))


def _run(act: Callable[P, Coroutine[Any, Any, T]], *args: P.args, **kwargs: P.kwargs) -> T:
    gc.freeze()  # as servers and workers do
    return uvloop.run(act(*args, **kwargs))
