"""One server, asked for its tools over both transports by the SDK's own client."""

from __future__ import annotations

import json
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pytest
from mcp import Client, StdioServerParameters

from tests.served import database_of, environment, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from tests.conftest import Postgres
    from tests.served import Served


MAX_DESCRIPTION: Final = 5_000
"""Characters that the server takes."""


@dataclass(frozen=True, slots=True)
class Agent:
    """What a language model does with the tools."""

    client: Client

    async def calls(self, tool: str, **arguments: Any) -> Any:
        """Call a tool, and return its answer."""
        return json.loads(await self.hears(tool, **arguments))

    async def hears(self, tool: str, **arguments: Any) -> str:
        """Call a tool, and return the text of its answer."""
        text, is_error = await self._called(tool, arguments)
        assert not is_error, text
        return text

    async def is_refused(self, tool: str, **arguments: Any) -> str:
        """Call a tool, and return why it is refused."""
        text, is_error = await self._called(tool, arguments)
        assert is_error, text
        return text

    async def _called(self, tool: str, arguments: dict[str, Any]) -> tuple[str, bool]:
        result = await self.client.call_tool(tool, arguments)
        (content,) = result.content
        assert content.type == "text"
        return content.text, result.is_error


@pytest.fixture(scope="package")
def server(postgres: Postgres) -> Iterator[Served]:
    settings = {
        "PLANSTORE_MAX_JSON_DEPTH": "100",
        "PLANSTORE_MAX_DESCRIPTION": f"{MAX_DESCRIPTION}",
    }
    with database_of(postgres) as url, serving(PLANSTORE_DATABASE_URL=url, **settings) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@asynccontextmanager
async def agent_over(transport: str, server: Served) -> AsyncGenerator[Agent]:
    """Open a session with the tools of a server."""
    command = StdioServerParameters(
        command=sys.executable,
        args=["-m", "planstore", "mcp"],
        env=environment(PLANSTORE_URL=server.url),
    )
    async with Client(command if transport == "stdio" else f"{server.url}/mcp") as client:
        yield Agent(client)
