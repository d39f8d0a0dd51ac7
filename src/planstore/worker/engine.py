"""The engine of workers and orchestrators: claims tasks, has them carried out, and ends in order.

Three things go on side by side: claims, as there is room for more; runs; and reports. A thread of
its own renews what is held. At the end nothing more is claimed, what has not begun is given back,
and what runs has some time to end.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from planstore.models.claim import MAX_CLAIMS
from planstore.worker.claims import Claim, Claims
from planstore.worker.context import Context
from planstore.worker.heartbeats import Heartbeats
from planstore.worker.logs import logger
from planstore.worker.patience import Patience
from planstore.worker.reports import Reports
from planstore.worker.runs import Runs
from planstore.worker.store import Answering

if TYPE_CHECKING:
    from collections.abc import Coroutine, Mapping, Sequence

    from planstore.models.claim import ClaimRequest, WorkPacket
    from planstore.worker.context import StopReason
    from planstore.worker.handlers import Handlers
    from planstore.worker.store import Opening, Store
    from planstore.worker.tally import Tally
    from planstore.worker.terms import Terms

_SHARE: Final = 0.1
"""Of the time of grace, how much is left to handlers once they are asked to stop; as much is left
to the last reports after that."""

_MOST_HELD: Final = 4
"""How many times what may be in hand may be held with what still is to be reported."""

_ANSWER_PATIENCE: Final = 1.0
"""Seconds that a claim has to be answered once nobody is to wait any more."""


class Engine:
    """Carries tasks out until it is told to end."""

    def __init__(
        self,
        store: Store,
        opening: Opening,
        handlers: Handlers,
        terms: Terms,
        tally: Tally,
        *,
        values: Mapping[str, Any],
    ) -> None:
        self._store = store
        self._terms = terms
        self._values = values
        self._claims = Claims()
        self._reports = Reports(store, self._claims, tally, answered=self._reported)
        self._runs = Runs(
            handlers,
            self._claims,
            self._reports,
            tally,
            at_once=terms.concurrency,
            ended=self._run_ended,
        )
        self._heartbeats = Heartbeats(
            opening,
            self._claims,
            worker_id=terms.request.worker_id,
            lease=terms.request.lease_seconds,
            stop=self._stop_from_thread,
        )
        self._loop = asyncio.get_running_loop()
        self._there_is_room = asyncio.Event()
        self._there_is_room.set()
        self._is_to_end = asyncio.Event()
        self._is_in_hurry = asyncio.Event()
        self.went_quiet = asyncio.Event()
        """Set each time when nothing is in hand any more; whoever waits for it clears it."""

    def end(self) -> None:
        """End: claim nothing more, and let what runs end within the time of grace.

        Asked again, there is no more time: what runs is asked to stop at once.
        """
        if self._is_to_end.is_set():
            self._is_in_hurry.set()
        self._is_to_end.set()

    async def run(self) -> None:
        """Work until `end`; cancelling this ends it in a hurry.

        Raises:
            PlanStoreError: the store refuses to talk to this worker at all.
        """
        self._heartbeats.start()
        claiming = asyncio.create_task(self._claim_until_the_end())
        sending = [asyncio.create_task(each) for each in self._reports.senders()]
        ending = asyncio.create_task(self._is_to_end.wait())
        try:
            await asyncio.wait({claiming, ending, *sending}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            if not ending.done():  # something has gone wrong, or this is cancelled
                self._is_in_hurry.set()
            await self._stop_claiming(claiming)
            await self._drain()
            for each in (ending, *sending):
                each.cancel()
            await asyncio.wait({ending, *sending})
            await self._heartbeats.close()
        for each in (claiming, *sending):
            if not each.cancelled() and (error := each.exception()):
                raise error

    async def _claim_until_the_end(self) -> None:
        patience = Patience("claims")
        while True:
            await self._there_is_room.wait()
            await asyncio.sleep(0)  # runs that end in the same turn of the loop make room together
            if self._is_to_end.is_set():
                return
            if room := self._look_for_room():
                request = self._terms.request.model_copy(update={"limit": room})
                sent, packets = await patience.until_answered(partial(self._ask, request))
                self._take(packets, sent)

    async def _ask(self, request: ClaimRequest) -> tuple[float, list[WorkPacket]]:
        sent = time.monotonic()
        return sent, await self._store.claim_tasks(request)

    def _take(self, packets: Sequence[WorkPacket], sent: float) -> None:
        claims = [Claim(each, Context(each, self._values)) for each in packets]
        for each in claims:
            each.last(self._terms.request.lease_seconds, since=sent)
        self._claims.take(claims)
        if self._is_to_end.is_set():
            for each in claims:
                self._reports.release(each)
        else:
            self._runs.add(claims)
            self._look_for_room()

    def _room(self) -> int:
        """How many more tasks may be taken in hand now; 0 where it is worth waiting for more."""
        most = self._terms.concurrency + self._terms.claim_ahead
        room = min(most - len(self._runs), _MOST_HELD * most - len(self._claims), MAX_CLAIMS)
        # A place that is idle is filled at once; what is claimed ahead is asked for in numbers.
        is_worth_it = self._runs.has_idle_place or 2 * room >= self._terms.claim_ahead
        return room if is_worth_it else 0

    def _look_for_room(self) -> int:
        room = self._room()
        if room > 0:
            self._there_is_room.set()
        else:
            self._there_is_room.clear()
        return room

    def _run_ended(self) -> None:
        if not self._there_is_room.is_set():
            self._look_for_room()

    def _reported(self) -> None:
        self._look_for_room()
        if not len(self._claims):
            self.went_quiet.set()

    def _stop_from_thread(self, claim: Claim, reason: StopReason) -> None:
        # The handler may look before the loop, which it may even be blocking, comes to it.
        claim.context.stop(reason)
        with suppress(RuntimeError):  # the loop is closed: nothing runs any more
            self._loop.call_soon_threadsafe(self._runs.stop, claim, reason)

    async def _stop_claiming(self, claiming: asyncio.Task[None]) -> None:
        """Let a claim under way be answered where that can be hastened, for it may bring tasks."""
        self._is_to_end.set()
        self._there_is_room.set()
        if isinstance(self._store, Answering):
            self._store.stop_waiting()
            await asyncio.wait({claiming}, timeout=_ANSWER_PATIENCE)
        claiming.cancel()
        await asyncio.wait({claiming})

    async def _drain(self) -> None:
        """Give back what has not begun, and let what runs end; then let it be reported."""
        grace = self._terms.grace_seconds
        self._runs.give_back_waiting()
        await _first(
            self._runs.none_left(), self._is_in_hurry.wait(), within=(1 - 2 * _SHARE) * grace
        )
        self._runs.stop_all()
        await _first(self._runs.none_left(), within=_SHARE * grace)
        self._runs.give_up_all()
        await _first(self._reports.all_sent(), within=_SHARE * grace)
        if self._reports.open:
            logger.warning("reports_not_sent", count=self._reports.open)


async def _first(*waits: Coroutine[Any, Any, object], within: float) -> None:
    """Wait for the first of these, for so many seconds at most."""
    tasks = [asyncio.create_task(each) for each in waits]
    try:
        await asyncio.wait(tasks, timeout=within, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in tasks:
            each.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
