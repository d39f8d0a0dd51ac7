"""Reports: what came of the runs, sent in as few calls as it takes.

While one call is under way results gather, and the next call takes them all: a worker that has
little to do reports at once, and a busy one in large batches. Failures are rare and go one by one.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from uuid_utils.compat import uuid7

from planstore.errors import Conflict, InvalidInput, NotFound
from planstore.models.claim import MAX_CLAIMS, Failure, Release, Result, Results
from planstore.models.idempotency import Idempotency
from planstore.models.task import TaskStatus
from planstore.worker.logs import logger
from planstore.worker.patience import Patience

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence
    from typing import TypeAlias

    from planstore.errors import PlanStoreError
    from planstore.models.claim import TakenResult
    from planstore.worker.claims import Claim, Claims
    from planstore.worker.store import Store
    from planstore.worker.tally import Tally

    Other: TypeAlias = tuple[Claim, Failure | Release]

_OTHERS_AT_ONCE: Final = 8
"""Failures and releases that are reported side by side."""


class Reports:
    """What is still to be reported."""

    def __init__(
        self, store: Store, claims: Claims, tally: Tally, *, answered: Callable[[], None]
    ) -> None:
        """Prepare; ``answered`` is called after each answer."""
        self._store = store
        self._claims = claims
        self._tally = tally
        self._answered = answered
        self._results: list[tuple[Claim, Result]] = []
        self._there_are_results = asyncio.Event()
        self._others: asyncio.Queue[Other] = asyncio.Queue()
        self._open = 0
        self._all_sent = asyncio.Event()
        self._all_sent.set()

    @property
    def open(self) -> int:
        """How many are still to be answered."""
        return self._open

    def complete(self, claim: Claim, result: Result) -> None:
        """Report that a run has ended with success."""
        self._add(claim)
        self._results.append((claim, result))
        self._there_are_results.set()

    def fail(self, claim: Claim, failure: Failure) -> None:
        """Report that a run has failed."""
        self._add(claim)
        self._others.put_nowait((claim, failure))

    def release(self, claim: Claim) -> None:
        """Give a run up."""
        self._add(claim)
        self._others.put_nowait((claim, Release(fencing_token=claim.packet.fencing_token)))

    def _add(self, claim: Claim) -> None:
        claim.is_reported = True
        self._open += 1
        self._all_sent.clear()

    async def all_sent(self) -> None:
        """Wait until all that was to be reported has been answered."""
        await self._all_sent.wait()

    def senders(self) -> list[Coroutine[Any, Any, None]]:
        """What is to run, side by side, until nothing more is to be reported; none ends by itself.

        Where the store refuses to talk to this worker at all, they raise what it says.
        """
        return [self._send_results(), *(self._send_others() for _ in range(_OTHERS_AT_ONCE))]

    async def _send_results(self) -> None:
        patience = Patience("results")
        while True:
            await self._there_are_results.wait()
            some, self._results = self._results[:MAX_CLAIMS], self._results[MAX_CLAIMS:]
            if not self._results:
                self._there_are_results.clear()
            await self._send_some(some, patience)
            self._close([claim for claim, _ in some])

    async def _send_some(self, some: Sequence[tuple[Claim, Result]], patience: Patience) -> None:
        results = Results(results=[result for _, result in some])
        try:
            answer = await patience.until_answered(lambda: self._store.complete_tasks(results))
        except InvalidInput as error:
            # Too large as a whole, or one of them can't be kept.
            if len(some) > 1:
                for each in some:
                    await self._send_some([each], patience)
                return
            ((claim, _),) = some
            await self._send_other(claim, _unkept(claim, error), patience)
            return
        for (claim, _), taken in zip(some, answer.results, strict=True):
            self._note(claim, taken)

    def _note(self, claim: Claim, taken: TakenResult) -> None:
        if taken.error is None:
            self._tally.completed += 1
        else:
            self._refused(claim, taken.error.code, taken.error.detail)

    async def _send_others(self) -> None:
        patience = Patience("failures and releases")
        while True:
            claim, report = await self._others.get()
            await self._send_other(claim, report, patience)
            self._close([claim])

    async def _send_other(
        self, claim: Claim, report: Failure | Release, patience: Patience
    ) -> None:
        task_id, key = claim.packet.id, Idempotency(str(uuid7()))
        try:
            if isinstance(report, Failure):
                ended = await patience.until_answered(
                    lambda: self._store.fail_task(task_id, report, idempotency=key)
                )
                if ended.status == TaskStatus.PENDING:
                    self._tally.retried += 1
                else:
                    self._tally.failed += 1
            else:
                await patience.until_answered(
                    lambda: self._store.release_task(task_id, report, idempotency=key)
                )
                self._tally.released += 1
        except (Conflict, NotFound) as error:
            self._refused(claim, error.code, error.detail)

    def _refused(self, claim: Claim, code: str, detail: str) -> None:
        self._tally.refused += 1
        logger.warning("report_refused", code=code, detail=detail, **claim.names)

    def _close(self, claims: Sequence[Claim]) -> None:
        self._claims.drop(claims)
        self._open -= len(claims)
        if not self._open:
            self._all_sent.set()
        self._answered()


def _unkept(claim: Claim, error: PlanStoreError) -> Failure:
    report = {"type": type(error).__name__, "message": f"The output can't be kept: {error.detail}"}
    return Failure(fencing_token=claim.packet.fencing_token, error=report, retryable=False)
