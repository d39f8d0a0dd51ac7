"""How fast a process goes: counted while it works, from the moment it is warm."""

from __future__ import annotations

import math
import sys
import time
from dataclasses import dataclass

from bench.memory import peak_mb


@dataclass(frozen=True, slots=True)
class Load:
    """How a process is to work."""

    size: int
    """Tasks for each call."""
    lanes: int
    """Calls at a time."""
    seconds: float
    """For how long at most."""
    warm_up: int
    """Tasks that are done before the clock runs."""
    tasks: int = sys.maxsize
    """How many tasks at most, without those of the warm-up."""


@dataclass(frozen=True, slots=True)
class Pace:
    """How fast it went."""

    tasks: int
    seconds: float
    memory_mb: float
    """The most that the process ever had."""

    @property
    def rate(self) -> float:
        """Tasks per second."""
        return self.tasks / self.seconds


class Tally:
    """Counts the tasks of one measurement."""

    def __init__(self, load: Load) -> None:
        self._load = load
        self._start = math.inf
        self._last = math.inf
        self._warm_up = 0
        self._tasks = 0

    @property
    def is_over(self) -> bool:
        """Whether no call is to be begun any more."""
        # Lanes may end the warm-up out of turn, so only the sum is sure.
        return (
            self._warm_up + self._tasks >= self._load.warm_up + self._load.tasks
            or time.perf_counter() >= self._start + self._load.seconds
        )

    def add(self, tasks: int) -> None:
        """Count tasks that are done."""
        self._last = time.perf_counter()
        if self._warm_up >= self._load.warm_up:
            self._tasks += tasks
            return
        self._warm_up += tasks
        if self._warm_up >= self._load.warm_up:
            self._start = self._last

    def pace(self) -> Pace:
        """Return how fast it went until now; only what was done counts, not waiting for the end.

        Raises:
            RuntimeError: nothing was done.
        """
        if not self._tasks:
            raise RuntimeError("there was nothing to measure: the tasks ran out in the warm-up")
        return Pace(self._tasks, self._last - self._start, peak_mb())
