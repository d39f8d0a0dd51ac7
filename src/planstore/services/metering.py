"""What the parts of one process count of themselves, for those who watch it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from planstore.db import PoolUse


@dataclass(slots=True)
class ClaimMeter:
    """What claims through one process have come to."""

    claimed: int = 0
    """Tasks that were handed out."""
    searches_with_tasks: int = 0
    searches_without: int = 0
    """Searches for ready tasks; a claim that waits looks again and again."""
    taken_back: int = 0
    """Tasks whose lease had ended."""

    def note(self, found: int) -> None:
        """Note that a search found so many tasks."""
        self.claimed += found
        if found:
            self.searches_with_tasks += 1
        else:
            self.searches_without += 1


@dataclass(frozen=True, slots=True)
class Meters:
    """How much one process has done, and how busy it is."""

    claimed: int
    searches_with_tasks: int
    searches_without: int
    taken_back: int
    waiting: int
    """Claims that wait for work."""
    connections: PoolUse

    @classmethod
    def of(cls, claims: ClaimMeter, *, waiting: int, connections: PoolUse) -> Meters:
        return cls(
            claims.claimed,
            claims.searches_with_tasks,
            claims.searches_without,
            claims.taken_back,
            waiting,
            connections,
        )
