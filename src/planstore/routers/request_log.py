"""Each request's id, and the line that the log has of it."""

from __future__ import annotations

import logging
import re
import secrets
from http import HTTPStatus
from itertools import count
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final

from planstore import logs
from planstore.routers.context import route_of
from planstore.routers.gate import OPEN_PATHS

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("planstore.requests")

REQUEST_ID: Final = b"x-request-id"

_WELL_FORMED: Final = re.compile(rb"[A-Za-z0-9._:/+=-]{1,128}")


class RequestLog:
    """Gives each request an id, its client's or a new one, and logs how it was answered.

    The id stands in the answer's header and in every line that is logged on the way. Of the request
    only the method and the route are logged: its path, its query and its body are the client's.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self._process = secrets.token_hex(8)
        self._numbers = count(1)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        began = perf_counter()
        request_id = _given(scope) or f"{self._process}-{next(self._numbers)}"
        header = (REQUEST_ID, request_id.encode())
        logs.bind(request_id=request_id)
        status: int | None = None
        is_whole = False

        async def answer(message: Message) -> None:
            nonlocal status, is_whole
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message.get("headers", ()), header]}
            else:
                is_whole = not message.get("more_body", False)
            await send(message)

        try:
            await self._app(scope, receive, answer)
        except Exception:
            # What is answered whole was logged by who answered, and needs no cut connection.
            if not is_whole:
                raise
        finally:
            _log(scope, status, perf_counter() - began)


def _given(scope: Scope) -> str | None:
    for name, value in scope["headers"]:
        if name == REQUEST_ID and _WELL_FORMED.fullmatch(value):
            return value.decode()
    return None


def _log(scope: Scope, status: int | None, seconds: float) -> None:
    if status is None or status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        level = logging.WARNING
    elif scope["path"].rstrip("/") in OPEN_PATHS:
        level = logging.DEBUG
    else:
        level = logging.INFO
    if logger.isEnabledFor(level):
        fields: dict[str, Any] = {
            "method": scope["method"],
            "route": route_of(scope),
            "status": status,
            "duration_seconds": round(seconds, 6),
        }
        # Asked to log, it would walk the stack for the line of code that does: a quarter of it all.
        said = {logs.FIELDS: fields}
        logger.handle(
            logger.makeRecord(logger.name, level, __file__, 0, "request", (), None, extra=said)
        )
