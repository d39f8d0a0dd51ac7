"""The Model Context Protocol: the ten tools of `planstore.agents`, over stdio and over HTTP.

Over HTTP each request stands for itself (streamable HTTP without sessions), so any server answers
any of them. Protocol: https://modelcontextprotocol.io/specification
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from mcp.server.lowlevel import Server
from mcp.server.stdio import stdio_server
from mcp.server.streamable_http_manager import StreamableHTTPSessionManager
from mcp_types import CallToolResult, ListToolsResult, TextContent, ToolAnnotations
from mcp_types import Tool as ToolDescription

from planstore import __version__
from planstore.agents.schemas import input_schema
from planstore.agents.tools import TOOLS, Desk
from planstore.errors import PlanStoreError

if TYPE_CHECKING:
    from mcp.server.context import ServerRequestContext
    from mcp_types import CallToolRequestParams, PaginatedRequestParams

    from planstore.agents.tools import Store, Tool

INSTRUCTIONS: Final = """\
PlanStore keeps plans and hands out their tasks. Turn a goal into a plan with create. Then, until \
nothing is left: claim a task, do it, complete it with its output (or fail it). Renew a claim with \
update before its lease ends. When something new comes up, replan. When nothing is ready, explain \
says why. After a loss of memory begin with context. Always use the same worker name."""

DESCRIPTIONS: Final = [
    ToolDescription(
        name=tool.name,
        description=tool.description,
        input_schema=input_schema(tool.arguments),
        annotations=ToolAnnotations(
            read_only_hint=tool.is_reading,
            destructive_hint=tool.takes_back,
            idempotent_hint=tool.is_repeatable,
            open_world_hint=False,
        ),
    )
    for tool in TOOLS.values()
]
"""The tools, as a model is told of them."""


def create_server(desk: Desk) -> Server[Any]:
    """Make the server of the tools at a desk."""

    async def list_tools(
        _context: ServerRequestContext[Any], _params: PaginatedRequestParams | None
    ) -> ListToolsResult:
        return ListToolsResult(tools=DESCRIPTIONS)

    async def call_tool(
        _context: ServerRequestContext[Any], params: CallToolRequestParams
    ) -> CallToolResult:
        tool = TOOLS.get(params.name)
        if tool is None:
            return _failed(f"There is no tool {params.name!r}; there are: {', '.join(TOOLS)}.")
        return await _called(desk, tool, params.arguments or {})

    return Server(
        "planstore",
        title="PlanStore",
        version=__version__,
        instructions=INSTRUCTIONS,
        on_list_tools=list_tools,
        on_call_tool=call_tool,
    )


async def serve_stdio(store: Store) -> None:
    """Serve the tools over standard input and output until that ends."""
    server = create_server(Desk(store))
    async with stdio_server() as (reading, writing):
        await server.run(reading, writing, server.create_initialization_options())


def over_http(desk: Desk, *, max_body: int) -> StreamableHTTPSessionManager:
    """Make what answers requests for the tools: an ASGI application within its ``run()``.

    ``max_body``: bytes of a request at most.
    """
    return StreamableHTTPSessionManager(
        create_server(desk), json_response=True, stateless=True, max_request_body_size=max_body
    )


async def _called(desk: Desk, tool: Tool[Any], arguments: dict[str, Any]) -> CallToolResult:
    try:
        return CallToolResult(content=[TextContent(text=await tool.run(desk, arguments))])
    except PlanStoreError as error:
        faults = "".join(f"\n{each.pointer}: {each.detail}" for each in error.faults[:20])
        return _failed(f"{error.code}: {error.detail}{faults}")


def _failed(text: str) -> CallToolResult:
    return CallToolResult(content=[TextContent(text=text)], is_error=True)
