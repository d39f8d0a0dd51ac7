"""The routes that look back: a plan's revisions, and how they differ."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field
from starlette.requests import Request
from starlette.responses import Response

from planstore.models.fields import Moment, Record
from planstore.models.history import PlanDiff, Revision, WholeRevision
from planstore.models.page import DEFAULT_LIMIT
from planstore.models.revision import RevisionNumber
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.reading import NoQuery


class MomentQuery(Record):
    """When to look at something."""

    at: Moment | None = None
    """As it stood then; as it is now if left out."""


class RevisionsQuery(Record):
    """Which revisions to list."""

    limit: Annotated[int, Field(ge=1)] = DEFAULT_LIMIT
    """How many at most; up to 1,000 unless the server is set otherwise."""
    offset: Annotated[int, Field(ge=0)] = 0
    """How many to pass over."""
    cursor: str | None = None
    """Where to go on: from the `Link` header of the page before."""


class DiffQuery(Record):
    """Which revisions to compare."""

    from_revision: RevisionNumber | None = Field(default=None, alias="from")
    """The one revision; that before the other if left out."""
    to_revision: RevisionNumber | None = Field(default=None, alias="to")
    """The other one; the plan as it is now if left out."""


async def list_revisions(request: Request) -> Response:
    """List what changed a plan's structure, newest first."""
    plan_id = reading.parse_id(request, "plan_id")
    query = reading.parse_query(request, RevisionsQuery)
    page = await context_of(request).store.list_revisions(
        plan_id, limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    return answering.many(request, page)


async def get_revision(request: Request) -> Response:
    """Answer one revision: who made it and why, what was asked, and the structure as it was then.

    That is all tasks with what they are by the plan and what they need, whatever became of them.
    """
    reading.parse_query(request, NoQuery)
    plan_id = reading.parse_id(request, "plan_id")
    number = reading.parse_number(request, "revision")
    return answering.whole(await context_of(request).store.get_revision(plan_id, number))


async def compare_revisions(request: Request) -> Response:
    """Say how a plan's structure differs between two revisions, in either direction."""
    plan_id = reading.parse_id(request, "plan_id")
    query = reading.parse_query(request, DiffQuery)
    return answering.whole(
        await context_of(request).store.compare_revisions(
            plan_id, from_revision=query.from_revision, to_revision=query.to_revision
        )
    )


HISTORY_ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/plans/{plan_id}/revisions",
        list_revisions,
        tag="revisions",
        answer=list[Revision],
        query=RevisionsQuery,
        refusals=(404,),
    ),
    Endpoint(
        "GET",
        "/plans/{plan_id}/revisions/{revision}",
        get_revision,
        tag="revisions",
        answer=WholeRevision,
        refusals=(404, 410),
    ),
    Endpoint(
        "GET",
        "/plans/{plan_id}/diff",
        compare_revisions,
        tag="revisions",
        answer=PlanDiff,
        query=DiffQuery,
        refusals=(404, 410),
    ),
)
