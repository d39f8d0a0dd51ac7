"""The connections of what PlanStore is measured against: with its settings, and nothing else."""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from planstore.sql.connection import Row


@asynccontextmanager
async def bare_pool(url: str, *, size: int) -> AsyncGenerator[asyncpg.Pool[Row]]:
    """Open a pool of at most ``size`` connections to ``url``."""
    async with asyncpg.create_pool(
        url,
        min_size=1,
        max_size=size,
        max_cacheable_statement_size=0,
        max_cached_statement_lifetime=0,
        server_settings={
            "application_name": "bare",
            "TimeZone": "UTC",
            "jit": "off",
            "plan_cache_mode": "force_generic_plan",
            "enable_seqscan": "off",
            "random_page_cost": "0.1",
        },
        init=_prepare,
        reset=_keep,
    ) as pool:
        yield pool


async def _prepare(conn: asyncpg.Connection[Row]) -> None:
    for kind in ("json", "jsonb"):
        await conn.set_type_codec(
            kind, schema="pg_catalog", encoder=json.dumps, decoder=json.loads, format="text"
        )


async def _keep(_conn: object) -> None:
    """Spare the round trip of the driver's own reset, as PlanStore does."""
