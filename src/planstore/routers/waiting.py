"""Waiting for work on behalf of a client, for as long as it is there."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from starlette.requests import ClientDisconnect, Request

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from planstore.models.claim import ClaimRequest

T = TypeVar("T")


async def while_present(
    request: Request, work: Coroutine[Any, Any, T], claim: ClaimRequest | None
) -> T:
    """Await ``work``, which may wait for the tasks that ``claim`` asks for.

    Raises:
        ClientDisconnect: the client has left; nothing waits for it any more.
    """
    if claim is None or not claim.wait_seconds:
        return await work
    working = asyncio.create_task(work)
    leaving = asyncio.create_task(_departure(request))
    try:
        await asyncio.wait({working, leaving}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ClientDisconnect
        return working.result()
    finally:
        working.cancel()
        leaving.cancel()
        await asyncio.gather(working, leaving, return_exceptions=True)


async def _departure(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
