"""``planstore mcp``: what a language model needs to work, over standard input and output."""

from __future__ import annotations

from typing import Annotated

import typer

from planstore.commands.address import DEFAULT_URL

app = typer.Typer()


@app.command()
def mcp(
    *,
    url: Annotated[str, typer.Option(envvar="PLANSTORE_URL", help="The server.")] = DEFAULT_URL,
    api_key: Annotated[
        str | None, typer.Option(envvar="PLANSTORE_API_KEY", help="Its key.", show_default=False)
    ] = None,
) -> None:
    """Serve a language model's tools over standard input and output (MCP)."""
    import asyncio

    from planstore.client import AsyncPlanStoreClient
    from planstore.mcp_server import serve_stdio

    async def work() -> None:
        async with AsyncPlanStoreClient.open(url, api_key=api_key) as store:
            await serve_stdio(store)

    asyncio.run(work())
