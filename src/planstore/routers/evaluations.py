"""The routes of evaluations."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from planstore.models.evaluation import Evaluation, EvaluationCreate
from planstore.models.fields import Record
from planstore.models.page import DEFAULT_LIMIT
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint


class EvaluationsQuery(Record):
    """Which evaluations to list."""

    limit: Annotated[int, Field(ge=1)] = DEFAULT_LIMIT
    """How many at most; up to 1,000 unless the server is set otherwise."""
    offset: Annotated[int, Field(ge=0)] = 0
    """How many to pass over."""
    cursor: str | None = None
    """Where to go on: from the `Link` header of the page before."""


async def create_evaluation(request: Request) -> Response:
    """Keep how what came of a task was judged, once it is completed or failed."""
    task_id = reading.parse_id(request, "task_id")
    content, key = await reading.read_command(request, EvaluationCreate)
    made = await context_of(request).store.create_evaluation(task_id, content, idempotency=key)
    return answering.whole(made, status=201)


async def list_evaluations(request: Request) -> Response:
    """List how what came of a task was judged, oldest first."""
    task_id = reading.parse_id(request, "task_id")
    query = reading.parse_query(request, EvaluationsQuery)
    page = await context_of(request).store.list_evaluations(
        task_id, limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    return answering.many(request, page)


EVALUATION_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/tasks/{task_id}/evaluations",
        create_evaluation,
        tag="evaluations",
        status=201,
        answer=Evaluation,
        body=EvaluationCreate,
        headers=("Idempotency-Key",),
        refusals=(404, 409),
    ),
    Endpoint(
        "GET",
        "/tasks/{task_id}/evaluations",
        list_evaluations,
        tag="evaluations",
        answer=list[Evaluation],
        query=EvaluationsQuery,
        refusals=(404,),
    ),
)
