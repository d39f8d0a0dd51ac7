"""Runs: calling the handlers of claimed tasks, so many at a time, and telling what came of it."""

from __future__ import annotations

import asyncio
from collections import deque
from traceback import format_exception
from typing import TYPE_CHECKING, Any

from planstore.models.task import SideEffects
from planstore.worker.context import StopReason
from planstore.worker.logs import logger
from planstore.worker.results import failure_of, interruption_of, result_of
from planstore.worker.signals import Permanent, Retry, Stopped
from planstore.worker.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from planstore.worker.claims import Claim, Claims
    from planstore.worker.handlers import Handlers
    from planstore.worker.reports import Reports
    from planstore.worker.tally import Tally


class Runs:
    """The tasks in hand that have not ended: those whose handler runs, and those that wait."""

    def __init__(
        self,
        handlers: Handlers,
        claims: Claims,
        reports: Reports,
        tally: Tally,
        *,
        at_once: int,
        ended: Callable[[], None],
    ) -> None:
        """Prepare; ``ended`` is called after each run."""
        self._handlers = handlers
        self._claims = claims
        self._reports = reports
        self._tally = tally
        self._at_once = at_once
        self._ended = ended
        self._threads = Threads("planstore-handler")
        self._waiting: deque[Claim] = deque()
        self._running: dict[Claim, asyncio.Task[None]] = {}
        self._none_left = asyncio.Event()
        self._none_left.set()

    def __len__(self) -> int:
        return len(self._waiting) + len(self._running)

    @property
    def has_idle_place(self) -> bool:
        """Whether another handler could run at once if there were a task for it."""
        return len(self) < self._at_once

    def add(self, claims: Iterable[Claim]) -> None:
        """Carry tasks out as soon as it is their turn."""
        self._waiting.extend(claims)
        self._begin_some()

    def _begin_some(self) -> None:
        while self._waiting and len(self._running) < self._at_once:
            claim = self._waiting.popleft()
            self._none_left.clear()
            self._running[claim] = asyncio.create_task(self._carry_out(claim))

    async def _carry_out(self, claim: Claim) -> None:
        try:
            if claim.context.stop_reason is None:
                await self._call(claim)
            else:
                self._end_stopped(claim)
        finally:
            del self._running[claim]
            if not self._running:
                self._none_left.set()
            self._begin_some()
            self._ended()

    async def _call(self, claim: Claim) -> None:
        packet = claim.packet
        claim.is_begun = True
        try:
            handler = self._handlers.of(packet.task_type)
            returned = await handler.call(packet, claim.context, self._threads)
            result = result_of(packet, returned)
        except (asyncio.CancelledError, Stopped) as ending:
            if claim.context.should_stop:
                self._end_stopped(claim)
            else:
                self._fail(claim, ending)
        except (Exception, SystemExit) as error:  # noqa: BLE001 - whatever it is, it is the task's
            self._fail(claim, error)
        else:
            if not claim.is_reported:
                self._reports.complete(claim, result)

    def _fail(self, claim: Claim, error: BaseException) -> None:
        if claim.is_reported:
            return
        fields: dict[str, Any] = {"error": type(error).__name__, **claim.names}
        if not isinstance(error, (Permanent, Retry)):
            # As text: of an error itself, a program's log may show what the task was given.
            fields["exception"] = "".join(format_exception(error)).rstrip()
        logger.warning("run_failed", **fields)
        self._reports.fail(claim, failure_of(claim.packet, error))

    def _end_stopped(self, claim: Claim) -> None:
        """End a run of which nothing came since it was asked to stop."""
        if claim.is_reported:
            return
        if claim.context.stop_reason == StopReason.LOST:
            self._tally.lost += 1
            self._claims.drop([claim])
        else:
            self.give_up(claim)

    def give_up(self, claim: Claim) -> None:
        """Give a task back, unless it may have done what must not be done twice."""
        if claim.is_begun and claim.packet.side_effects == SideEffects.ONCE:
            self._reports.fail(claim, interruption_of(claim.packet))
        else:
            self._reports.release(claim)

    def stop(self, claim: Claim, reason: StopReason) -> None:
        """Ask a run to end, or don't begin it; async handlers are cancelled."""
        claim.context.stop(reason)
        if (task := self._running.get(claim)) is not None:
            if claim.is_begun and self._handlers.is_async(claim.packet.task_type):
                task.cancel()
        elif claim in self._waiting:
            self._waiting.remove(claim)
            self._end_stopped(claim)
            self._ended()

    def give_back_waiting(self) -> None:
        """Give back what has not begun."""
        while self._waiting:
            self._reports.release(self._waiting.popleft())

    async def none_left(self) -> None:
        """Wait until no handler runs."""
        await self._none_left.wait()

    def stop_all(self) -> None:
        """Ask all runs to end."""
        for claim in list(self._running):
            self.stop(claim, StopReason.SHUTDOWN)

    def give_up_all(self) -> None:
        """Give back the tasks of handlers that don't end; what they still return is dropped."""
        for claim in self._running:
            if not claim.is_reported:
                logger.warning("handler_does_not_stop", **claim.names)
                self.give_up(claim)
        self._threads.close()
