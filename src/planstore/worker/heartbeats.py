"""Heartbeats: a thread with a loop and a store of its own keeps all claims of a worker alive.

The worker's main loop may be busy or blocked by a handler, and its connections with it, so nothing
of theirs is used here.
"""

from __future__ import annotations

import asyncio
import time
from itertools import islice
from threading import Thread
from typing import TYPE_CHECKING, Final

from planstore.errors import PlanStoreError
from planstore.models.claim import MAX_CLAIMS, ClaimState, Heartbeat
from planstore.worker.context import StopReason
from planstore.worker.logs import logger

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from planstore.models.claim import RenewedClaim
    from planstore.worker.claims import Claim, Claims
    from planstore.worker.store import Opening, Store

_MOST_APART: Final = 1.0
"""Seconds between two looks at the claims, at most: news of progress wait no longer."""

_LOOKS_PER_LEASE: Final = 15


class Heartbeats:
    """Renews claims while they are held, and says which runs are no longer wanted."""

    def __init__(
        self,
        opening: Opening,
        claims: Claims,
        *,
        worker_id: str,
        lease: float,
        stop: Callable[[Claim, StopReason], None],
    ) -> None:
        """Prepare a thread.

        ``stop`` is called in it, once for each claim that is lost or whose run should end.
        """
        self._opening = opening
        self._claims = claims
        self._worker_id = worker_id
        self._lease = lease
        self._stop = stop
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._is_failing = False
        self._thread = Thread(target=self._run, name="planstore-heartbeats", daemon=True)

    def start(self) -> None:
        """Begin."""
        self._loop = asyncio.new_event_loop()
        self._thread.start()

    async def close(self) -> None:
        """End, whatever is under way; nothing should be held any more."""
        assert self._loop is not None
        self._loop.call_soon_threadsafe(self._end.set)
        await asyncio.to_thread(self._thread.join)

    def _run(self) -> None:
        loop = self._loop
        assert loop is not None
        with asyncio.Runner(loop_factory=lambda: loop) as runner:
            runner.run(self._beat_until_the_end())

    async def _beat_until_the_end(self) -> None:
        beating = asyncio.create_task(self._beat_without_end())
        await self._end.wait()
        beating.cancel()
        await asyncio.wait({beating})

    async def _beat_without_end(self) -> None:
        while True:
            try:
                async with self._opening() as store:
                    await self._beat_with(store)
            except Exception as error:  # noqa: BLE001 - without heartbeats all claims would be lost
                self._note_failure(error)
                self._give_up(self._claims.to_renew(time.monotonic(), with_news=False))
                await self._pause()

    async def _beat_with(self, store: Store) -> None:
        while True:
            due = iter(self._claims.to_renew(time.monotonic(), with_news=not self._is_failing))
            while some := list(islice(due, MAX_CLAIMS)):
                await self._beat(store, some)
            await self._pause()

    async def _pause(self) -> None:
        await asyncio.sleep(min(_MOST_APART, self._lease / _LOOKS_PER_LEASE))

    async def _beat(self, store: Store, claims: Sequence[Claim]) -> None:
        sent = time.monotonic()
        beats = [each.context.next_beat() for each in claims]
        try:
            async with asyncio.timeout(max(_MOST_APART, self._lease / 3)):
                answer = await store.heartbeat(Heartbeat(worker_id=self._worker_id, claims=beats))
        except (PlanStoreError, TimeoutError) as error:
            for claim, beat in zip(claims, beats, strict=True):
                claim.context.not_sent(beat)
            self._note_failure(error)
            self._give_up(claims)
            return
        if self._is_failing:
            self._is_failing = False
            logger.info("heartbeats_resumed")
        for claim, renewed in zip(claims, answer.claims, strict=True):
            self._heed(claim, renewed, sent=sent)

    def _heed(self, claim: Claim, renewed: RenewedClaim, *, sent: float) -> None:
        if renewed.state == ClaimState.LOST:
            self._lose(claim)
            return
        claim.last(self._lease, since=sent)
        if renewed.state == ClaimState.STOP and not claim.context.should_stop:
            self._stop(claim, StopReason.PLAN)

    def _give_up(self, claims: Sequence[Claim]) -> None:
        """Let go of claims whose lease has ended for all that is known here."""
        now = time.monotonic()
        for claim in claims:
            if claim.valid_until <= now:
                self._lose(claim)

    def _lose(self, claim: Claim) -> None:
        self._claims.drop([claim])
        # A report under way ends the claim too; whether it came in time its answer will say.
        if not claim.is_reported:
            logger.warning("claim_lost", **claim.names)
            self._stop(claim, StopReason.LOST)

    def _note_failure(self, error: BaseException) -> None:
        if not self._is_failing:
            self._is_failing = True
            logger.warning("heartbeats_failing", why=_why(error))


def _why(error: BaseException) -> str:
    if isinstance(error, PlanStoreError):
        return error.detail
    return "no answer in time" if isinstance(error, TimeoutError) else repr(error)
