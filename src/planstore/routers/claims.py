"""The routes of those who carry tasks out: claiming them, keeping the claims, reporting back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response

from planstore.models.claim import (
    ClaimAnswer,
    ClaimRequest,
    Completion,
    EndedTask,
    Failure,
    Heartbeat,
    HeartbeatAnswer,
    Release,
    Results,
    ResultsAnswer,
)
from planstore.models.fields import Record, ShortText
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.waiting import while_present
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from collections.abc import Coroutine
    from uuid import UUID

    from planstore.models.idempotency import Idempotency

R = TypeVar("R", bound=Release)
R_contra = TypeVar("R_contra", bound=Release, contravariant=True)


async def claim_tasks(request: Request) -> Response:
    """Hand out ready tasks: highest priority first, then longest ready.

    Where there are none, `wait_seconds` waits for some, and the answer is an empty list then.
    """
    claim, key = await reading.read_command(request, ClaimRequest)
    work = context_of(request).store.claim_tasks(claim, idempotency=key)
    packets = await while_present(request, work, claim)
    return answering.whole(ClaimAnswer.model_construct(tasks=packets))


class ClaimsQuery(Record):
    """Whose claims to answer."""

    worker_id: ShortText
    """Who holds them."""


async def list_claims(request: Request) -> Response:
    """Answer what a worker holds, as it was handed out: for one that was started anew."""
    query = reading.parse_query(request, ClaimsQuery)
    packets = await context_of(request).store.list_claims(query.worker_id)
    return answering.whole(ClaimAnswer.model_construct(tasks=packets))


async def heartbeat(request: Request) -> Response:
    """Renew claims, each for as long as it was made for; says which are lost and which to stop."""
    context = context_of(request)
    beat, key = await reading.read_command(request, Heartbeat, limit=context.max_batch_body)
    return answering.whole(await context.store.heartbeat(beat, idempotency=key))


async def complete_tasks(request: Request) -> Response:
    """Complete up to 1,000 tasks at once; each is taken or refused for itself."""
    context = context_of(request)
    results, key = await reading.read_command(request, Results, limit=context.max_batch_body)
    work = context.store.complete_tasks(results, idempotency=key)
    return answering.whole(await while_present(request, work, results.claim_next))


async def complete_task(request: Request) -> Response:
    """End a task with success: what waits for it goes on, and its plan may settle."""
    return await _end(request, PlanStore.complete_task, Completion, default=Completion())


async def fail_task(request: Request) -> Response:
    """End a task's run without success: it is tried again, or has failed."""
    return await _end(request, PlanStore.fail_task, Failure)


async def release_task(request: Request) -> Response:
    """Give a task's run up: it is ready again at once, and the attempt isn't held against it."""
    return await _end(request, PlanStore.release_task, Release, default=Release())


class _Verb(Protocol[R_contra]):
    """A method of the store by which a run ends."""

    def __call__(
        self,
        store: PlanStore,
        task_id: UUID,
        report: R_contra,
        /,
        *,
        idempotency: Idempotency | None,
    ) -> Coroutine[Any, Any, EndedTask]: ...


async def _end(
    request: Request, verb: _Verb[R], model: type[R], *, default: R | None = None
) -> Response:
    task_id = reading.parse_id(request, "task_id")
    report, key = await reading.read_command(request, model, default=default)
    work = verb(context_of(request).store, task_id, report, idempotency=key)
    return answering.one(await while_present(request, work, report.claim_next))


CLAIM_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/tasks/claim",
        claim_tasks,
        tag="claims",
        answer=ClaimAnswer,
        body=ClaimRequest,
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
    Endpoint(
        "GET",
        "/tasks/claims",
        list_claims,
        tag="claims",
        answer=ClaimAnswer,
        query=ClaimsQuery,
    ),
    Endpoint(
        "POST",
        "/tasks/heartbeat",
        heartbeat,
        tag="claims",
        answer=HeartbeatAnswer,
        body=Heartbeat,
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
    Endpoint(
        "POST",
        "/tasks/complete",
        complete_tasks,
        tag="claims",
        answer=ResultsAnswer,
        body=Results,
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
    *(
        Endpoint(
            "POST",
            f"/tasks/{{task_id}}/{verb}",
            handler,
            tag="claims",
            answer=EndedTask,
            body=body,
            needs_body=body is Failure,
            headers=("Idempotency-Key",),
            refusals=(404, 409),
        )
        for verb, handler, body in (
            ("complete", complete_task, Completion),
            ("fail", fail_task, Failure),
            ("release", release_task, Release),
        )
    ),
)
