"""What PostgreSQL gives on the day: the same work in bare SQL, with no feature at all.

A table of its own holds tasks that are ready, running or completed. Nothing is fenced, recorded,
counted or waited for.
"""

from __future__ import annotations

from itertools import repeat as endless
from typing import Final

from uuid_utils.compat import uuid7

from bench.coordination.pace import Load, Pace, Tally
from bench.coordination.work import NO_OP, at_once, repeat
from bench.pool import bare_pool
from bench.server import POOL_SIZE

_PAYLOAD: Final = {"description": NO_OP.description}

_MAKE: Final = """
create table queue (
  id uuid primary key,
  status text not null,
  ready_at timestamptz not null,
  payload json not null
);

create index queue_ready on queue (ready_at, id) where status = 'ready'
"""

_FILL: Final = """
insert into queue (id, status, ready_at, payload)
select lpad(to_hex(n), 32, '0')::uuid, 'ready', now(), $2
from generate_series(1, $1::int) n
"""

# As an array, so that the rows are found one by one: what else the planner may think of depends on
# how many tasks it expects, and some of it reads them all.
_CLAIM: Final = """
update queue
set status = 'running'
where id = any (array(
  select id from queue where status = 'ready' order by ready_at, id limit $1
  for update skip locked
))
returning id, payload
"""

_COMPLETE: Final = "update queue set status = 'completed' where id = any ($1::uuid[])"

_CREATE: Final = """
insert into queue (id, status, ready_at, payload)
select n.id, 'ready', now(), n.payload
from unnest($1::uuid[], $2::json[]) n (id, payload)
"""

_CREATE_ONE: Final = """
insert into queue (id, status, ready_at, payload) values ($1, 'ready', now(), $2)
"""


async def fill(url: str, tasks: int) -> None:
    """Make the table with so many tasks that are ready."""
    async with bare_pool(url, size=1) as pool:
        await pool.execute(_MAKE)
        await pool.execute(_FILL, tasks, _PAYLOAD)


async def complete(url: str, load: Load) -> Pace:
    """Claim tasks and complete them, each by a statement of its own."""
    async with bare_pool(url, size=POOL_SIZE) as pool:
        tally = Tally(load)

        async def lane(_name: str) -> None:
            while not tally.is_over:
                async with pool.acquire() as conn:
                    rows = await conn.fetch(_CLAIM, load.size)
                    if not rows:
                        return
                    await conn.execute(_COMPLETE, [row["id"] for row in rows])
                tally.add(len(rows))

        await at_once(load, lane)
        return tally.pace()


async def create_batches(url: str, load: Load) -> Pace:
    """Insert tasks, many by one statement."""
    async with bare_pool(url, size=POOL_SIZE) as pool:
        payloads = list(endless(_PAYLOAD, load.size))

        async def create() -> None:
            async with pool.acquire() as conn:
                await conn.execute(_CREATE, [uuid7() for _ in payloads], payloads)

        return await repeat(load, create)


async def create_singly(url: str, load: Load) -> Pace:
    """Insert tasks one by one, each by a statement and a commit of its own."""
    async with bare_pool(url, size=POOL_SIZE) as pool:

        async def create() -> None:
            async with pool.acquire() as conn:
                await conn.execute(_CREATE_ONE, uuid7(), _PAYLOAD)

        return await repeat(load, create)
