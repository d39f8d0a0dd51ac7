"""Answers: models as JSON, with the ETag of an object and the link to a list's next page."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

from pydantic_core import to_json
from starlette.responses import Response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from pydantic import BaseModel
    from starlette.requests import Request

    from planstore.models.page import Page
    from planstore.models.plan import Plan
    from planstore.models.task import Task
    from planstore.models.template import Template
    from planstore.models.webhook import Webhook

T = TypeVar("T")


def one(item: Plan | Task | Template | Webhook, *, status: int = 200) -> Response:
    """Answer an object whole, with its version as the ETag."""
    return whole(item, status=status, headers={"ETag": f'"{item.version}"'})


def whole(
    answer: BaseModel, *, status: int = 200, headers: dict[str, str] | None = None
) -> Response:
    """Answer a model; one that is no object of its own has no ETag."""
    content = answer.__pydantic_serializer__.to_json(answer)
    return Response(content, status, headers=headers, media_type="application/json")


def nothing() -> Response:
    """Answer that it is done, and that there is nothing to say about it."""
    return Response(status_code=204)


def unless_known(request: Request, item: Plan | Task | Webhook) -> Response:
    """Answer an object, or 304 where If-None-Match names the version that it has."""
    known = ",".join(request.headers.getlist("if-none-match"))
    etag = f'"{item.version}"'
    if known and any(each.strip().removeprefix("W/") in {etag, "*"} for each in known.split(",")):
        return Response(status_code=304, headers={"ETag": etag})
    return one(item)


def array(items: Sequence[BaseModel]) -> Response:
    """Answer a list that is whole."""
    return Response(to_json(items), media_type="application/json")


def many(request: Request, page: Page[T]) -> Response:
    """Answer a list; where there is more, a Link header leads to the next page."""
    headers: dict[str, str] = {}
    if page.next_cursor is not None:
        url = request.url.remove_query_params("offset")
        url = url.include_query_params(cursor=page.next_cursor)
        headers["Link"] = f'<{url}>; rel="next"'
    return Response(to_json(list(page)), headers=headers, media_type="application/json")
