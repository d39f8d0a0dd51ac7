"""The claims that a worker holds: its main thread and that of its heartbeats share them."""

from __future__ import annotations

from threading import Lock
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable

    from planstore.models.claim import WorkPacket
    from planstore.worker.context import Context

RENEWALS_PER_LEASE: Final = 3
"""A claim is renewed when a third of its lease is over: two heartbeats may fail."""


class Claim:
    """One task in hand, from the claim's answer until its report is answered."""

    __slots__ = ("context", "is_begun", "is_reported", "packet", "renew_at", "valid_until")

    def __init__(self, packet: WorkPacket, context: Context) -> None:
        self.packet = packet
        self.context = context
        self.is_begun = False
        """Whether its handler was called."""
        self.is_reported = False
        """Whether it was decided what is to be reported of it."""
        self.renew_at = 0.0
        self.valid_until = 0.0
        """Both by this process's monotonic clock."""

    @property
    def names(self) -> dict[str, Any]:
        """What tells it apart in the log."""
        packet = self.packet
        return {
            "task_id": str(packet.id),
            "plan_id": str(packet.plan_id),
            "task_type": packet.task_type,
            "attempt": packet.attempt,
        }

    def last(self, lease: float, *, since: float) -> None:
        """Note that the claim lasts for ``lease`` seconds from ``since``, the time of the request.

        The database counts from a moment later, so this errs on the safe side.
        """
        self.renew_at = since + lease / RENEWALS_PER_LEASE
        self.valid_until = since + lease


class Claims:
    """What is in hand. A task that was lost may come again, by a claim of its own."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._held: set[Claim] = set()

    def __len__(self) -> int:
        return len(self._held)

    def take(self, claims: Iterable[Claim]) -> None:
        """Add claims that were just made."""
        with self._lock:
            self._held.update(claims)

    def drop(self, claims: Iterable[Claim]) -> None:
        """Remove claims that have ended: nobody renews them any more."""
        with self._lock:
            self._held.difference_update(claims)

    def to_renew(self, now: float, *, with_news: bool) -> list[Claim]:
        """Return those that are to be renewed now, and those with news if they are asked for."""
        with self._lock:
            held = list(self._held)
        return [
            each for each in held if each.renew_at <= now or (with_news and each.context.has_news)
        ]
