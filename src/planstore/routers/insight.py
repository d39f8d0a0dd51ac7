"""The routes that say how far a plan is, what it looks like and why something isn't running."""

from __future__ import annotations

from typing import Final, Literal

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from planstore.models.fields import Record
from planstore.models.graph import PlanGraph, to_dot, to_mermaid
from planstore.models.insight import PlanExplanation, Progress, TaskExplanation
from planstore.models.usage import UsageSum
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.lists import UsageQuery
from planstore.routers.reading import NoQuery

_DRAWINGS: Final = {
    "mermaid": (to_mermaid, "text/vnd.mermaid"),
    "dot": (to_dot, "text/vnd.graphviz"),
}
"""How each format is drawn, and its media type as IANA has registered it."""


class GraphQuery(Record):
    """How to answer a graph."""

    format: Literal["json", "mermaid", "dot"] = Field(default="json")
    """`json`, or a text that Mermaid (`mermaid`) or Graphviz (`dot`) draws."""


async def get_progress(request: Request) -> Response:
    """Say how far a plan is: counts, what is ready, who runs what, and when it may end."""
    reading.parse_query(request, NoQuery)
    plan_id = reading.parse_id(request, "plan_id")
    return answering.whole(await context_of(request).store.get_progress(plan_id))


async def get_graph(request: Request) -> Response:
    """Answer a plan's tasks and dependencies, as JSON or drawn."""
    query = reading.parse_query(request, GraphQuery)
    plan_id = reading.parse_id(request, "plan_id")
    graph = await context_of(request).store.get_graph(plan_id)
    if query.format == "json":
        return answering.whole(graph)
    draw, media_type = _DRAWINGS[query.format]
    return Response(draw(graph), media_type=media_type)


async def explain_plan(request: Request) -> Response:
    """Say why a plan isn't going on, and which task unblocks most."""
    reading.parse_query(request, NoQuery)
    plan_id = reading.parse_id(request, "plan_id")
    return answering.whole(await context_of(request).store.explain_plan(plan_id))


async def explain_task(request: Request) -> Response:
    """Say why a task isn't running: what it waits for, who holds that, until when."""
    reading.parse_query(request, NoQuery)
    task_id = reading.parse_id(request, "task_id")
    return answering.whole(await context_of(request).store.explain_task(task_id))


async def get_usage(request: Request) -> Response:
    """Add up what was reported of tokens, money and the like; who cost most comes first."""
    query = reading.parse_query(request, UsageQuery)
    sums = await context_of(request).store.get_usage(
        query, by=query.by, limit=query.limit, offset=query.offset
    )
    return answering.array(sums)


INSIGHT_ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/plans/{plan_id}/progress",
        get_progress,
        tag="insight",
        answer=Progress,
        refusals=(404,),
    ),
    Endpoint(
        "GET",
        "/plans/{plan_id}/graph",
        get_graph,
        tag="insight",
        answer=PlanGraph,
        query=GraphQuery,
        refusals=(404,),
        media_types=tuple(media_type for _, media_type in _DRAWINGS.values()),
    ),
    Endpoint(
        "GET",
        "/plans/{plan_id}/explain",
        explain_plan,
        tag="insight",
        answer=PlanExplanation,
        refusals=(404,),
    ),
    Endpoint(
        "GET",
        "/usage/",
        get_usage,
        tag="insight",
        answer=list[UsageSum],
        query=UsageQuery,
    ),
    Endpoint(
        "GET",
        "/tasks/{task_id}/explain",
        explain_task,
        tag="insight",
        answer=TaskExplanation,
        refusals=(404,),
    ),
)
