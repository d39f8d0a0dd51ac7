"""Time passes by moving back the timestamps that rules look at, so no test has to wait."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from planstore.db import Database

_OF_STATES: Final = """
with moved as (
  update planstore.task_states s
  set
    due_at = s.due_at - $1::interval,
    ready_at = s.ready_at - $1::interval,
    not_before = s.not_before - $1::interval,
    retry_at = s.retry_at - $1::interval,
    lease_expires_at = s.lease_expires_at - $1::interval,
    times_out_at = s.times_out_at - $1::interval,
    was_ready_at = s.was_ready_at - $1::interval,
    began_at = s.began_at - $1::interval,
    ended_at = s.ended_at - $1::interval
  returning s.task_id, s.not_before
)
-- Clients see it, so the events tell of it as well.
update planstore.events e
set payload = (e.payload::jsonb || jsonb_build_object('not_before', m.not_before))::json
from moved m
where e.aggregate_id = m.task_id
  and e.payload ->> 'not_before' is not null
"""

_OF_ATTEMPTS: Final = """
update planstore.attempts a
set began_at = a.began_at - $1::interval, ended_at = a.ended_at - $1::interval
"""


async def pass_time(database: Database, seconds: float) -> None:
    """Let so many seconds have passed since all that has happened."""
    async with database.transaction() as conn:
        for statement in (_OF_STATES, _OF_ATTEMPTS):
            await conn.execute(statement, timedelta(seconds=seconds))


async def end_leases(database: Database) -> None:
    """Let just so much time have passed that every lease is over."""
    async with database.connection() as conn:
        left = await conn.fetchval(
            "select extract(epoch from max(lease_expires_at) - now())::float8"
            " from planstore.task_states"
        )
    await pass_time(database, left)
