"""A backlog that the relay works off."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING, Final

import asyncpg

from bench import server as servers
from bench.coordination.turns import supplied
from planstore.services.relaying import NAME
from planstore.sql import relays

if TYPE_CHECKING:
    from bench.subject import Course
    from tests.redis import Valkey

WHAT: Final = "a backlog, worked off by one server"

_PER_SECOND: Final = 40_000
"""Events that lie there for each second of the measurement: more than are worked off."""

_FILL: Final = """
insert into planstore.events
  (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
select
  'task.completed', 'task', gen_random_uuid(), gen_random_uuid(), 3,
  '{"status" : "completed", "completed_at" : "2026-01-01T00:00:00.123456+00:00", '
    '"output_data" : {"found": 42, "note": "as it was asked for"}}',
  '{"revision" : 1}'
from generate_series(1, $1::int)
"""


async def measure(course: Course, valkey: Valkey) -> float:
    """Return how many events the relay passes on in a second."""
    async with supplied(course, "backlog") as database:
        url = course.postgres.url_of(database)
        conn = await asyncpg.connect(url)
        try:
            await relays.begin(conn, NAME)
            await conn.execute(_FILL, round(_PER_SECOND * course.seconds))
            async with servers.planstore(url, REDIS_URL=valkey.url):
                first = await _place(conn, above=0)
                begun = time.perf_counter()
                await asyncio.sleep(course.seconds)
                last = await _place(conn, above=first)
                seconds = time.perf_counter() - begun
        finally:
            await conn.close()
    return (last - first) / seconds


async def _place(conn: asyncpg.Connection[asyncpg.Record], *, above: int) -> int:
    while True:
        place = await conn.fetchval("select place from planstore.relays where name = $1", NAME)
        if place > above:
            return place
        await asyncio.sleep(0.001)
