"""Calls made one at a time, and how long each of them took."""

from __future__ import annotations

import math
import time
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from bench.load import percentile
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Sequence

T = TypeVar("T")

_UNMEASURED: Final = 5
"""Calls after which the connection has its statements planned."""


@asynccontextmanager
async def opened(url: str) -> AsyncGenerator[PlanStore]:
    """Open the store with one connection, for one caller."""
    async with PlanStore.open(url, pool_size=1, migrate=False) as store:
        yield store


@dataclass(frozen=True, slots=True)
class Calls:
    """How long calls took, in milliseconds, the shortest first."""

    ordered: Sequence[float]
    made: int
    """All of them, with those that were not measured."""

    @property
    def p50_ms(self) -> float:
        return percentile(self.ordered, 0.5)

    @property
    def p99_ms(self) -> float:
        return percentile(self.ordered, 0.99)


class Watch:
    """Measures calls, one after the other, for so many seconds once they are warm."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._until = math.inf
        self.made = 0
        """How many calls were made, with those that aren't measured."""
        self._found: list[float] = []

    @property
    def is_over(self) -> bool:
        """Whether no call is to be begun any more."""
        return time.perf_counter() >= self._until

    async def time(self, call: Awaitable[T]) -> T:
        """Wait for a call."""
        start = time.perf_counter()
        answer = await call
        end = time.perf_counter()
        self.made += 1
        if self.made > _UNMEASURED:
            self._found.append((end - start) * 1_000)
        elif self.made == _UNMEASURED:
            self._until = end + self._seconds
        return answer

    def calls(self, *, others: int = 0) -> Calls:
        """Return what was measured; ``others``: how many calls were made beside it."""
        return Calls(sorted(self._found), self.made + others)
