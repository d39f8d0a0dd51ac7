"""The routes by which a plan's structure is changed while it runs."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from planstore.models.revision import RevisionAnswer, RevisionDraft, WantedTasks
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint


async def revise_plan(request: Request) -> Response:
    """Change a plan's structure while it runs: all operations or none, as one revision."""
    context, plan_id = context_of(request), reading.parse_id(request, "plan_id")
    draft, key = await reading.read_command(request, RevisionDraft, limit=context.max_batch_body)
    return answering.whole(await context.store.revise_plan(plan_id, draft, idempotency=key))


async def set_tasks(request: Request) -> Response:
    """Have a plan consist of the tasks that are listed: the difference is made as one revision."""
    context, plan_id = context_of(request), reading.parse_id(request, "plan_id")
    wanted, key = await reading.read_command(request, WantedTasks, limit=context.max_batch_body)
    return answering.whole(await context.store.set_tasks(plan_id, wanted, idempotency=key))


REVISION_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/plans/{plan_id}/revisions",
        revise_plan,
        tag="revisions",
        answer=RevisionAnswer,
        body=RevisionDraft,
        headers=("Idempotency-Key",),
        refusals=(404, 409, 412),
    ),
    Endpoint(
        "PUT",
        "/plans/{plan_id}/tasks",
        set_tasks,
        tag="revisions",
        answer=RevisionAnswer,
        body=WantedTasks,
        headers=("Idempotency-Key",),
        refusals=(404, 409, 412),
    ),
)
