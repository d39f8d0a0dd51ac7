"""The methods of `PlanStore` by which tasks are carried out: claims, and what ends them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from planstore.models.claim import (
    Completion,
    EndedTask,
    ErrorSummary,
    HeartbeatAnswer,
    Release,
    ResultsAnswer,
    TakenResult,
    WorkPacket,
)
from planstore.models.task import Task
from planstore.models.trusted import Trusted
from planstore.services import refusals
from planstore.services.reports import Report
from planstore.services.store.core import Core
from planstore.sql import tasks
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.errors import PlanStoreError
    from planstore.models.claim import ClaimRequest, Failure, Heartbeat, Results
    from planstore.models.idempotency import Idempotency
    from planstore.models.usage import UsageReport
    from planstore.services.following import Ended
    from planstore.sql.connection import Connection, RowLike

_ENDED: Final = Trusted(EndedTask)


class Runs(Core):
    """The methods of `PlanStore` by which tasks are carried out: claims, and what ends them."""

    async def claim_tasks(
        self, request: ClaimRequest, *, idempotency: Idempotency | None = None
    ) -> list[WorkPacket]:
        """Hand out ready tasks: highest priority first, then longest ready.

        Waits up to ``wait_seconds`` for work where there is none, and answers an empty list then. A
        repetition under the same key answers the same tasks; an empty answer isn't kept.
        """
        key = idempotency and idempotency.of("claim_tasks", request)
        return await self._claims.claim(request, key=key)

    async def list_claims(self, worker_id: str) -> list[WorkPacket]:
        """Return the tasks that a worker holds, as they were handed out to it, oldest first.

        For a worker that was started anew and goes on with what it had: up to 1,000. A name that
        nobody claims by holds nothing.
        """
        return await self._claims.held(worker_id)

    def stop_waiting(self) -> None:
        """Answer all claims that wait for work, and end all streams of events: the end is near."""
        self._wakeups.stop()
        self._feed.stop()

    async def heartbeat(
        self, heartbeat: Heartbeat, *, idempotency: Idempotency | None = None
    ) -> HeartbeatAnswer:
        """Renew claims, each for as long as it was made for, and say which are lost or to stop.

        ``usage`` is added to what was reported before, so what reports any is sent under a key
        where it may have to be sent again.
        """
        key = idempotency and idempotency.of("heartbeat", heartbeat)

        async def work() -> HeartbeatAnswer:
            return await self._claims.renew(heartbeat, key=key)

        return await self._writes.do(work, key=key, replay=HeartbeatAnswer.model_validate)

    async def complete_task(
        self,
        task_id: UUID,
        completion: Completion | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> EndedTask:
        """End a task with success; whoever waits for it goes on, and its plan may settle.

        Raises:
            NotFound: there is no such task.
            StaleClaim: the claim has ended; what was sent is kept as an event.
            Claimed: a worker holds a claim, and no fencing token is given.
            ResultConflict: it has completed with another output.
        """
        completion = completion or Completion()
        ending = Ending(
            task_id,
            End.COMPLETE,
            token=completion.fencing_token,
            output_data=completion.output_data,
            usage=_reported(completion.usage),
        )
        return await self._end_one(ending, completion, idempotency)

    async def fail_task(
        self, task_id: UUID, failure: Failure, *, idempotency: Idempotency | None = None
    ) -> EndedTask:
        """End a task's run without success: it is tried again, or has failed.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: the status doesn't allow it.
            StaleClaim: the claim has ended; what was sent is kept as an event.
            Claimed: a worker holds a claim, and no fencing token is given.
        """
        ending = Ending(
            task_id,
            End.FAIL,
            token=failure.fencing_token,
            error=failure.error,
            usage=_reported(failure.usage),
            is_retryable=failure.retryable,
            retry_in=failure.retry_in_seconds,
        )
        return await self._end_one(ending, failure, idempotency)

    async def release_task(
        self,
        task_id: UUID,
        release: Release | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> EndedTask:
        """Give a task's run up; it is ready again at once, and the attempt isn't held against it.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: the status doesn't allow it.
            StaleClaim: the claim has ended.
            Claimed: a worker holds a claim, and no fencing token is given.
        """
        release = release or Release()
        ending = Ending(
            task_id, End.RELEASE, token=release.fencing_token, usage=_reported(release.usage)
        )
        return await self._end_one(ending, release, idempotency)

    async def _end_one(
        self, ending: Ending, request: Release, idempotency: Idempotency | None
    ) -> EndedTask:
        key = idempotency and idempotency.of(f"{ending.verb.value} {ending.task_id}", request)

        def refusal(ended: Ended) -> PlanStoreError | None:
            is_done = ended.rows[0]["verdict"] in {"changed", "same"}
            return None if is_done else refusals.of_ending(ended.rows[0], ending)

        async def answer(conn: Connection, ended: Ended, packets: list[WorkPacket]) -> EndedTask:
            row = ended.task or await tasks.get(conn, ending.task_id)
            if row is None:
                raise refusals.no_task(ending.task_id)  # it ended, and was deleted since
            fields = {name: row[name] for name in Task.model_fields}
            return _ENDED.of_row({**fields, "unblocked": ended.unblocked, "tasks": packets})

        return await self._claims.report(
            Report(
                [replace(ending, key=key)],
                request.claim_next,
                key,
                refusal=refusal,
                answer=answer,
                replay=EndedTask.model_validate,
                is_whole=True,
            )
        )

    async def complete_tasks(
        self, results: Results, *, idempotency: Idempotency | None = None
    ) -> ResultsAnswer:
        """End many tasks with success, at once; each is taken or refused for itself."""
        endings = [
            Ending(
                each.task_id,
                End.COMPLETE,
                each.fencing_token,
                each.output_data,
                usage=_reported(each.usage),
            )
            for each in results.results
        ]

        async def answer(
            _conn: Connection, ended: Ended, packets: list[WorkPacket]
        ) -> ResultsAnswer:
            taken = [_taken(*each) for each in zip(ended.rows, endings, strict=True)]
            return ResultsAnswer.model_construct(
                results=taken, unblocked=ended.unblocked, tasks=packets
            )

        return await self._claims.report(
            Report(
                endings,
                results.claim_next,
                idempotency and idempotency.of("complete_tasks", results),
                refusal=lambda _: None,
                answer=answer,
                replay=ResultsAnswer.model_validate,
            )
        )

    async def sweep(self) -> int:
        """Take back all tasks whose lease has ended; answers how many.

        Plans are paused whose deadline is over.

        Claims do so as well, so this is only needed where nobody asks for work.
        """
        return await self._claims.sweep()


def _reported(usage: UsageReport | None) -> dict[str, Any] | None:
    """What was told of it, if anything was."""
    return usage.named or None if usage is not None else None


def _taken(row: RowLike, ending: Ending) -> TakenResult:
    if row["verdict"] in {"changed", "same"}:
        return TakenResult(task_id=ending.task_id, ok=True, status=row["status"])
    error = refusals.of_ending(row, ending)
    return TakenResult(
        task_id=ending.task_id,
        ok=False,
        status=row["status"],
        error=ErrorSummary(code=error.code, detail=error.detail),
    )
