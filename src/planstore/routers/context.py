"""What a request finds when it arrives: the store, and how much it may ask of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from planstore.models.fields import DEFAULT_LIMITS, Limits

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from starlette.requests import Request
    from starlette.types import Scope

    from planstore.services.plan_store import PlanStore

MEBIBYTE = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Context:
    """What all requests of an app share."""

    store: PlanStore
    limits: Limits = DEFAULT_LIMITS
    max_body: int = 8 * MEBIBYTE
    """Bytes of a body."""
    max_batch_body: int = 256 * MEBIBYTE
    """Bytes of the body of a batch."""
    tell_metrics: Callable[[str], Awaitable[tuple[bytes, str]]] | None = None
    """Answers all metrics as an ``Accept`` header asks for them, and their media type."""


def context_of(request: Request) -> Context:
    """Return the context of the app that the request came to."""
    context = request.app.state.context
    assert isinstance(context, Context)
    return context


def route_of(scope: Scope) -> str | None:
    """Return the route that a request was led to, as in `/plans/{plan_id}`; None: to none."""
    path: str | None = getattr(scope.get("route"), "path", None)
    return path and (path.rstrip("/") or "/")
