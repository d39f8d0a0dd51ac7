"""The routes of doing one thing to many plans or tasks."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from planstore.models.bulk import PlanBulk, PlanBulkAnswer, TaskBulk, TaskBulkAnswer
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint


async def bulk_plans(request: Request) -> Response:
    """Do one thing to all plans that a filter finds, each for itself.

    A call works for about two seconds; `next_cursor` says where the next one goes on. A dry run
    changes nothing, counts what the filter finds, and shows examples.
    """
    bulk, key = await reading.read_command(request, PlanBulk)
    return answering.whole(await context_of(request).store.bulk_plans(bulk, idempotency=key))


async def bulk_tasks(request: Request) -> Response:
    """Do one thing to all tasks that a filter finds, each for itself.

    A call works for about two seconds; `next_cursor` says where the next one goes on. A dry run
    changes nothing, counts what the filter finds, and shows examples.
    """
    bulk, key = await reading.read_command(request, TaskBulk)
    return answering.whole(await context_of(request).store.bulk_tasks(bulk, idempotency=key))


BULK_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/plans/bulk",
        bulk_plans,
        tag="plans",
        answer=PlanBulkAnswer,
        body=PlanBulk,
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
    Endpoint(
        "POST",
        "/tasks/bulk",
        bulk_tasks,
        tag="tasks",
        answer=TaskBulkAnswer,
        body=TaskBulk,
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
)
