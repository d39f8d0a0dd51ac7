"""Where a search for ready tasks, or for ended leases, has to begin.

What was claimed leaves its index, but while some transaction of the database stays open PostgreSQL
must keep the old entries, and each search would go through all of them again: twenty thousand a
second, after two minutes two million. So a process remembers where its searches got to. It goes by
that only while searching from the beginning is slow, and then spends at most a tenth of its time on
it; what became ready before the place meanwhile (by a transaction that took long, or of a higher
priority) is found a little later.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

from planstore.sql.tasks import LONG_AGO, Place

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from planstore.sql.connection import RowLike

_SLOW: Final = 0.02
"""Seconds, beyond those that the tasks themselves take, from which a search is slow …"""
_PER_TASK: Final = 0.0002
_VERY_SLOW: Final = 0.1
"""… and from which it isn't done anew at each hint."""
_SHARE: Final = 10
"""How many times as long as a slow search took the next one from the beginning has to wait."""
_SHAPES: Final = 1_000
"""How many kinds of searches are remembered."""

_LATE: Final = timedelta(seconds=5)
"""How much later than it began the transaction of a claim may commit, to be noticed at once."""
_PER_EXPIRED: Final = 0.002
"""Seconds that taking back one lease may take."""


class Look(NamedTuple):
    """One search of many that may go on at once."""

    after: Place | None
    """After which place is searched; None from the beginning."""
    began_at: float


class Search:
    """The search of those who ask for the same."""

    def __init__(self) -> None:
        self._place: Place | None = None
        self._slow_until = 0.0
        self._is_very_slow = False
        self._hints = 0

    def begin(self, hints: int) -> Look:
        """Say where to search, at the moment at which that is done.

        ``hints``: how many there have been that something has become ready.
        """
        now = time.monotonic()
        is_news = hints != self._hints and not self._is_very_slow
        self._hints = hints
        return Look(None if is_news or now >= self._slow_until else self._place, now)

    def forget(self) -> None:
        """Take a beginning back: there was no search after it."""
        self._hints = -1

    def end(self, look: Look, rows: Sequence[RowLike]) -> None:
        """Note what was found, and how long that took."""
        now = time.monotonic()
        if rows:
            last = rows[-1]
            self._place = Place(last["priority"], last["was_ready_at"], last["id"])
        if look.after is None:
            took = now - look.began_at
            excess = took - _PER_TASK * len(rows)
            self._is_very_slow = excess > _VERY_SLOW
            self._slow_until = now + _SHARE * took if excess > _SLOW else 0.0

    def may_look_everywhere(self) -> bool:
        """Whether it is time again for a search from the beginning."""
        return time.monotonic() >= self._slow_until


class Searches:
    """The searches of one process."""

    def __init__(self) -> None:
        self._by_shape: OrderedDict[Hashable, Search] = OrderedDict()

    def of(self, shape: Hashable) -> Search:
        """Return the search of those who ask for ``shape``."""
        search = self._by_shape.setdefault(shape, Search())
        self._by_shape.move_to_end(shape)
        if len(self._by_shape) > _SHAPES:
            self._by_shape.popitem(last=False)
        return search


class Sweep(NamedTuple):
    """One look for ended leases."""

    after: datetime
    """After which time a lease must have ended to be looked at."""
    began_at: float

    @property
    def is_from_beginning(self) -> bool:
        return self.after == LONG_AGO


class Leases:
    """Up to when all leases that ended have been taken back."""

    def __init__(self) -> None:
        self._done_until = LONG_AGO
        self._slow_until = 0.0

    def begin(self) -> Sweep:
        """Say which leases to look at."""
        now = time.monotonic()
        return Sweep(LONG_AGO if now >= self._slow_until else self._done_until, now)

    def end(self, sweep: Sweep, looked_at: datetime, *, taken_back: int) -> None:
        """Note that all leases which had ended at that time have been taken back."""
        self._done_until = looked_at - _LATE
        if sweep.is_from_beginning:
            now = time.monotonic()
            took = now - sweep.began_at
            is_slow = took - _PER_EXPIRED * taken_back > _SLOW
            self._slow_until = now + _SHARE * took if is_slow else 0.0
