"""The tools for language models at a path of the server, loaded when somebody asks for them.

The SDK takes a second and some 40 MB to load, and most servers are never asked.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
    from starlette.types import Receive, Scope, Send

    from planstore.models.fields import Limits
    from planstore.services.plan_store import PlanStore


class McpApp:
    """An ASGI application; it answers while `run` does.

    ``limits``: how large what the tools are given may be. ``max_body``: bytes of a request at most.
    """

    def __init__(self, store: PlanStore, *, limits: Limits, max_body: int) -> None:
        self._store = store
        self._limits = limits
        self._max_body = max_body
        self._is_wanted = asyncio.Event()
        self._is_ready = asyncio.Event()
        self._requests: StreamableHTTPSessionManager | None = None

    async def run(self) -> None:
        """Answer requests until it is cancelled."""
        await self._is_wanted.wait()
        self._requests = await asyncio.to_thread(self._load)
        async with self._requests.run():
            self._is_ready.set()
            await asyncio.Event().wait()

    def _load(self) -> StreamableHTTPSessionManager:
        from planstore.agents.tools import Desk  # noqa: PLC0415 - see above
        from planstore.mcp_server import over_http  # noqa: PLC0415

        return over_http(Desk(self._store, self._limits), max_body=self._max_body)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._is_wanted.set()
        await self._is_ready.wait()
        assert self._requests is not None
        await self._requests.handle_request(scope, receive, send)
