"""Keeping claims alive, and finding those whose lease has ended."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from planstore.sql.fragments import TASK_RUNNING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.models.claim import HeartbeatClaim
    from planstore.sql.connection import Connection, Row

LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

_OVERDUE: Final = """
select o.plan_id, o.task_id, o.fencing_token, now() as looked_at
from (select 1) one
left join lateral (
  select s.plan_id, s.task_id, s.fencing_token
  from planstore.task_states s
  where s.lease_expires_at <= now()
    and s.lease_expires_at > $2
  order by s.lease_expires_at
  limit $1
) o on true
"""


async def overdue(
    conn: Connection, *, limit: int, after: datetime = LONG_AGO
) -> tuple[list[Row], datetime]:
    """Return tasks whose lease has ended, with ``plan_id`` and ``fencing_token``, and the time.

    ``after``: only leases that ended after that.
    """
    rows = await conn.fetch(_OVERDUE, limit, after)
    return [row for row in rows if row["task_id"] is not None], rows[0]["looked_at"]


_RENEW: Final = f"""
with given as materialized (
  select *
  from unnest($2::uuid[], $3::bigint[], $4::float8[], $5::text[]) with ordinality
    as g (task_id, token, progress, note, position)
),
held as materialized (
  select
    g.*, s.plan_id, s.version, s.progress as progress_before, s.progress_note as note_before,
    g.progress is not null and g.progress is distinct from s.progress as is_further,
    g.note is not null and g.note is distinct from s.progress_note as is_noted
  -- One after the other: locked in the order of their ids, and never looked for all at once.
  from (select * from given order by task_id) g
  cross join lateral (
    select s.*
    from planstore.tasks t
    join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
    where t.id = g.task_id
      and s.status = {TASK_RUNNING}
      and s.fencing_token = g.token
      and s.worker_id = $1
      and s.times_out_at is distinct from least(s.times_out_at, now())
    for no key update of s
  ) s
),
renewed as (
  update planstore.task_states s
  set
    lease_expires_at = least(now() + make_interval(secs => s.lease_seconds), s.times_out_at),
    progress = case when h.is_further then h.progress else s.progress end,
    progress_note = case when h.is_noted then h.note else s.progress_note end,
    version = s.version + (h.is_further or h.is_noted)::int,
    updated_at = case when h.is_further or h.is_noted then now() else s.updated_at end
  from held h
  where s.plan_id = h.plan_id
    and s.task_id = h.task_id
  returning s.task_id, s.plan_id, s.version, s.lease_expires_at
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'task.progressed', 'task', r.task_id, r.plan_id, r.version,
    case
      when h.is_further and h.is_noted
        then json_build_object('progress', h.progress, 'progress_note', h.note)
      when h.is_further then json_build_object('progress', h.progress)
      else json_build_object('progress_note', h.note)
    end,
    json_build_object('revision', p.revision)
  from renewed r
  join held h on h.task_id = r.task_id
  join planstore.plans p on p.id = r.plan_id
  where h.is_further or h.is_noted
  order by h.position
)
select
  g.task_id,
  r.lease_expires_at,
  case
    when r.task_id is null then 'lost'
    when p.closed_at is not null or p.is_aborting then 'stop'
    else 'renewed'
  end as state
from given g
left join renewed r on r.task_id = g.task_id
left join planstore.plans p on p.id = r.plan_id
order by g.position
"""


async def renew(conn: Connection, worker_id: str, claims: Sequence[HeartbeatClaim]) -> list[Row]:
    """Renew claims; answers each, in the given order, with ``state`` and ``lease_expires_at``.

    ``renewed``; ``stop``: renewed, but the plan wants it ended; ``lost``: the claim has ended.
    """
    return await conn.fetch(
        _RENEW,
        worker_id,
        [each.task_id for each in claims],
        [each.fencing_token for each in claims],
        [each.progress for each in claims],
        [each.note for each in claims],
    )
