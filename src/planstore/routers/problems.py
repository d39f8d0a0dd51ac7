"""Errors as responses: RFC 9457 ``application/problem+json``, made in this one place."""

from __future__ import annotations

import logging
from http import HTTPStatus
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect
from starlette.responses import Response
from starlette.routing import Match

from planstore import errors, logs
from planstore.models.problem import Problem
from planstore.routers.context import route_of

if TYPE_CHECKING:
    from collections.abc import Iterable

    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.types import Scope

logger = logging.getLogger("planstore")

PROBLEM_JSON: Final = "application/problem+json"

STATUS: Final[dict[type[errors.PlanStoreError], int]] = {
    errors.InvalidInput: 422,
    errors.MalformedRequest: 400,
    errors.MalformedBody: 400,
    errors.BodyTooLarge: 413,
    errors.NotFound: 404,
    errors.HistoryGone: 410,
    errors.MethodNotAllowed: 405,
    errors.Conflict: 409,
    errors.VersionMismatch: 412,
    errors.IdempotencyMismatch: 422,
    errors.Unauthorized: 401,
    errors.CrossSite: 403,
    errors.Unavailable: 503,
    errors.SetupError: 503,
    errors.PlanStoreError: 500,
}
"""The HTTP status of each family of errors; a class that isn't listed has that of its parent."""


def status_of(kind: type[errors.PlanStoreError]) -> int:
    """Return the HTTP status of an error, its own or its nearest parent's."""
    return next(STATUS[each] for each in kind.__mro__ if each in STATUS)


def problem_response(error: errors.PlanStoreError) -> Response:
    """Say an error in HTTP."""
    status = status_of(type(error))
    of_log = logs.bound("request_id") if status >= HTTPStatus.INTERNAL_SERVER_ERROR else None
    problem = Problem.of(error, status=status, request_id=of_log)
    return Response(
        to_json(problem, exclude_none=True),
        status,
        headers=_headers(error, status),
        media_type=PROBLEM_JSON,
    )


def _headers(error: errors.PlanStoreError, status: int) -> dict[str, str]:
    match error:
        case errors.Unauthorized():
            return {"WWW-Authenticate": "Bearer"}
        case errors.MethodNotAllowed():
            return {"Allow": error.allowed}
        case errors.IdempotencyInFlight() | errors.Unavailable():
            return {"Retry-After": "1"}
        case _ if status == HTTPStatus.INTERNAL_SERVER_ERROR:
            return {"Cache-Control": "no-store"}
        case _:
            return {}


def not_allowed(scope: Scope, methods: Iterable[str]) -> errors.MethodNotAllowed:
    """The error for a method that a path doesn't take."""
    allowed = ", ".join(sorted(methods))
    return errors.MethodNotAllowed(
        f"{scope['method']} is not allowed on {scope['path']}; allowed: {allowed}", allowed=allowed
    )


async def _on_planstore_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, errors.PlanStoreError)
    return problem_response(error)


async def _on_http_exception(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    path = request.url.path
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        return problem_response(not_allowed(request.scope, _methods_of(request)))
    return problem_response(errors.NotFound(f"there is no {path}; /docs lists what there is"))


def _methods_of(request: Request) -> set[str]:
    methods: set[str] = set()
    for route in request.app.routes:
        if route.matches(request.scope)[0] is not Match.NONE:
            methods |= getattr(route, "methods", None) or set()
    return methods


async def _on_disconnect(_: Request, __: Exception) -> Response:
    # The client left before its body was whole; nobody reads this.
    return Response(status_code=HTTPStatus.BAD_REQUEST)


async def _on_anything_else(request: Request, error: Exception) -> Response:
    # The text of an unforeseen error may hold anything, so it goes to the log alone.
    logger.error("%s %s failed", request.method, route_of(request.scope), exc_info=error)
    return problem_response(
        errors.PlanStoreError("Something went wrong inside PlanStore; its log says more.")
    )


def install(app: FastAPI) -> None:
    """Answer every error of ``app`` as a problem."""
    handlers: dict[type[Exception], Any] = {
        errors.PlanStoreError: _on_planstore_error,
        HTTPException: _on_http_exception,
        ClientDisconnect: _on_disconnect,
        Exception: _on_anything_else,
    }
    for kind, handler in handlers.items():
        app.add_exception_handler(kind, handler)
