"""The routes that say whether the service lives and can work."""

from __future__ import annotations

import asyncio
from typing import Final, Literal

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from planstore import __version__
from planstore.errors import Unavailable
from planstore.models.fields import Record
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint

_PATIENCE: Final = 2.0


class Health(Record):
    """That the service is well."""

    status: Literal["ok"] = "ok"
    version: str = __version__
    """The version of the program."""


_OK: Final = to_json(Health())


async def live(_: Request) -> Response:
    """Answer as long as the process does."""
    return Response(_OK, media_type="application/json")


async def ready(request: Request) -> Response:
    """Answer 200 when the database answers within 2 s, else 503."""
    check = asyncio.create_task(context_of(request).store.check())
    done, _ = await asyncio.wait({check}, timeout=_PATIENCE)
    if not done:
        # Not awaited: the driver would first wait for the server to hear that it is cancelled.
        check.cancel()
        raise Unavailable(f"The database hasn't answered within {_PATIENCE:g} s.")
    check.result()
    return Response(_OK, media_type="application/json")


HEALTH_ENDPOINTS: Final = (
    Endpoint("GET", "/health", ready, tag="health", answer=Health),
    Endpoint("GET", "/health/live", live, tag="health", answer=Health, aliases=("/livez",)),
    Endpoint("GET", "/health/ready", ready, tag="health", answer=Health, aliases=("/readyz",)),
)
