"""What of a plan waits for what, and what follows from it: pure arithmetic on a graph.

Tasks are numbered from 0 by their place in a list. In a sequential plan, where each task waits for
all of a lower order, a gate stands between two orders: it waits for the one, and the other waits
for it. So a thousand tasks after a thousand others take two thousand edges and not a million.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

NEVER: Final = math.inf
"""The seconds until what doesn't come by itself."""


class Step(NamedTuple):
    """A task that isn't finished."""

    order: int
    """Its ``sequence_order``."""
    is_waiting: bool
    """Whether it has yet to start. What runs or has failed waits for nothing."""


class Precedence:
    """The order in which the unfinished tasks of a plan can be done."""

    def __init__(
        self, steps: Sequence[Step], edges: Iterable[tuple[int, int]], *, is_sequential: bool
    ) -> None:
        """``edges``: pairs of a task and one that it needs, where that isn't satisfied yet."""
        self._count = len(steps)
        self._followers: list[list[int]] = [[] for _ in steps]
        self._needs = [0] * self._count
        for task, needed in edges:
            if steps[task].is_waiting:
                self._link(task, needed)
        if is_sequential:
            self._set_gates(steps)
        self._order = self._sorted()

    def _link(self, later: int, earlier: int) -> None:
        self._followers[earlier].append(later)
        self._needs[later] += 1

    def _set_gates(self, steps: Sequence[Step]) -> None:
        ranks: dict[int, list[int]] = {}
        for number, step in enumerate(steps):
            ranks.setdefault(step.order, []).append(number)
        gate: int | None = None
        for rank in sorted(ranks):
            passed, gate = gate, len(self._needs)
            self._followers.append([])
            self._needs.append(0)
            for number in ranks[rank]:
                self._link(gate, number)
                if passed is not None and steps[number].is_waiting:
                    self._link(number, passed)
            if passed is not None:
                self._link(gate, passed)

    def _sorted(self) -> list[int]:
        """Each task and gate after all that it waits for; without those that wait in a circle."""
        left = list(self._needs)
        order = [number for number, needs in enumerate(left) if needs == 0]
        for number in order:
            for follower in self._followers[number]:
                left[follower] -= 1
                if left[follower] == 0:
                    order.append(follower)
        return order

    def reaches(self) -> list[int]:
        """Return for each task how many wait for it, directly or through others.

        A set of tasks is a whole number with a bit for each, so that joining two of ten thousand
        takes a fraction of a microsecond.
        """
        behind = [0] * len(self._followers)
        for number in reversed(self._order):
            joined = 0
            for follower in self._followers[number]:
                joined |= behind[follower]
                if follower < self._count:
                    joined |= 1 << follower
            behind[number] = joined
        return [joined.bit_count() for joined in behind[: self._count]]

    def ends(self, *, starts: Sequence[float], durations: Sequence[float]) -> list[float]:
        """Return in how many seconds each task ends if none waits for anything but the others.

        ``starts``: the seconds before which it doesn't start; ``durations``: those that it takes,
        `NEVER` where it doesn't end by itself, and then what waits for it doesn't either.
        """
        begins = [*starts, *(0.0 for _ in range(self._count, len(self._needs)))]
        ends = [NEVER] * len(begins)
        for number in self._order:
            ends[number] = begins[number] + (durations[number] if number < self._count else 0.0)
            for follower in self._followers[number]:
                begins[follower] = max(begins[follower], ends[number])
        return ends[: self._count]
