"""What a handler is given beside the work packet: whether to go on, and whom to tell how far it is.

A handler may run in a thread of its own, and heartbeats do, so all of this may be called from any
thread.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Any

from planstore.models.claim import HeartbeatClaim
from planstore.worker.signals import Stopped

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planstore.models.claim import WorkPacket


class StopReason(StrEnum):
    """Why a run is no longer wanted."""

    LOST = "claim_lost"
    """The claim has ended, and the task may be another worker's."""
    PLAN = "plan_closed"
    """The plan was closed or aborted; what there is may still be reported."""
    SHUTDOWN = "shutdown"
    """The worker is about to end."""


class Context:
    """The run of one task, as its handler sees it."""

    __slots__ = ("_news", "_packet", "_stop_reason", "values")

    def __init__(self, packet: WorkPacket, values: Mapping[str, Any]) -> None:
        self._packet = packet
        self._stop_reason: StopReason | None = None
        self._news: HeartbeatClaim | None = None
        self.values = values
        """What `Orchestrator.execute_plan` was given as ``context``; empty for a worker."""

    @property
    def should_stop(self) -> bool:
        """Whether the run is no longer wanted; one that isn't async looks here now and then."""
        return self._stop_reason is not None

    @property
    def stop_reason(self) -> StopReason | None:
        """Why it should stop; None while it should not."""
        return self._stop_reason

    def raise_if_stopped(self) -> None:
        """End the run if it is no longer wanted.

        Raises:
            Stopped: it isn't wanted any more.
        """
        if self._stop_reason is not None:
            raise Stopped(self._stop_reason.value)

    def report_progress(self, progress: float, note: str | None = None) -> None:
        """Say how far the run is, in a measure of its own; it is sent within about a second.

        ``progress``: 0 or more. ``note``: what to say about it, up to 10,000 characters. Where
        there is news again before it is sent, only the latest is.

        Raises:
            ValidationError: the progress is negative or no number, or the note can't be kept.
        """
        self._news = HeartbeatClaim(
            task_id=self._packet.id,
            fencing_token=self._packet.fencing_token,
            progress=progress,
            note=note,
        )

    # The rest is for the worker.

    def stop(self, reason: StopReason) -> None:
        """Ask the run to end; the first reason stands."""
        self._stop_reason = self._stop_reason or reason

    @property
    def has_news(self) -> bool:
        """Whether there is progress that was not sent yet."""
        return self._news is not None

    def next_beat(self) -> HeartbeatClaim:
        """Take what the next heartbeat is to say of this run."""
        news, self._news = self._news, None
        return news or HeartbeatClaim(
            task_id=self._packet.id, fencing_token=self._packet.fencing_token
        )

    def not_sent(self, beat: HeartbeatClaim) -> None:
        """Give back what could not be sent; newer news stand."""
        if self._news is None and beat.progress is not None:
            self._news = beat
