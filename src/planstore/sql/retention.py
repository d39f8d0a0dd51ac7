"""Removing what need not be kept any longer: old events, and plans that ended long ago."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from planstore.sql.fragments import PLAN_FINAL

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta

    from planstore.sql.connection import Connection, Row

_ENDED: Final = f"""
looked_at as materialized (  -- up to the first event that is too young
  select b.seq, b.plan_id
  from (
    select
      e.seq, e.plan_id,
      bool_or(e.created_at >= now() - $1::interval) over (order by e.seq) as is_beyond
    from (
      select e.seq, e.plan_id, e.created_at
      from planstore.events e
      where e.seq > (select place.examined_to from place)
        and e.seq <= $4
      order by e.seq
      limit $2
    ) e
  ) b
  where not b.is_beyond
),
ended as materialized (  -- whose last event it is, and who needs them no more
  select l.plan_id, l.seq
  from (select l.plan_id, max(l.seq) as seq from looked_at l group by l.plan_id) l
  left join planstore.plans p on p.id = l.plan_id
  where (p.id is null or p.status in {PLAN_FINAL})
    and not exists (
      select
      from planstore.events e
      where e.plan_id = l.plan_id
        and e.seq > l.seq
    )
)"""

_PRUNE: Final = f"""
with place as materialized (
  select r.examined_to from planstore.retention r for update skip locked
),
{_ENDED},
doomed as materialized (
  select d.seq
  from ended l
  cross join lateral (
    select e.seq
    from planstore.events e
    where e.plan_id = l.plan_id
      and e.seq <= l.seq
      and e.event_type <> 'plan.deleted'
    order by e.seq
    limit $3
  ) d
  limit $3
),
pruned as (
  delete from planstore.events e
  using doomed d
  where e.seq = d.seq
),
outcome as materialized (
  select
    (select count(*) from doomed) as events,
    (select max(d.seq) from doomed d) as pruned_to,
    (select max(l.seq) from looked_at l) as examined_to
),
noted as (
  update planstore.retention r
  set
    -- What was too much for one bite is met again.
    examined_to = case
      when o.events < $3 then coalesce(o.examined_to, r.examined_to)
      else r.examined_to
    end,
    pruned_to = greatest(r.pruned_to, o.pruned_to),
    pruned_before = case
      when o.events > 0 then greatest(r.pruned_before, now() - $1::interval)
      else r.pruned_before
    end
  from place, outcome o
)
select
  o.events,
  o.events = $3 or (select count(*) from looked_at) = $2 as has_more
from place, outcome o
"""


async def prune(
    conn: Connection, kept: timedelta, *, looked_at: int, bite: int, through: int
) -> Row | None:
    """Remove events of plans that have ended, and whose last event is older than ``kept``.

    Looks at so many events, ``through`` this number, and removes ``bite`` at most. Answers how many
    ``events`` went, and whether it ``has_more`` to look at; None where another one is at it.
    """
    return await conn.fetchrow(_PRUNE, kept, looked_at, bite, through)


_PRUNABLE: Final = f"""
with place as (
  select $3::bigint as examined_to
),
{_ENDED}
select
  (select max(l.seq) from looked_at l) as examined_to,
  (select count(*) from looked_at) as looked_at,
  count(*) filter (where c.events > 0) as plans,
  coalesce(sum(c.events), 0)::bigint as events
from ended l
cross join lateral (
  select count(*) as events
  from planstore.events e
  where e.plan_id = l.plan_id
    and e.seq <= l.seq
    and e.event_type <> 'plan.deleted'
) c
"""


async def prunable(
    conn: Connection, kept: timedelta, *, looked_at: int, after: int, through: int
) -> Row:
    """Count what `prune` would remove, looking at so many events ``after`` a number.

    Answers ``events``, of how many ``plans``; how many were ``looked_at``, and up to where.
    """
    row = await conn.fetchrow(_PRUNABLE, kept, looked_at, after, through)
    assert row is not None
    return row


_EXAMINED: Final = "select r.examined_to from planstore.retention r"


async def examined(conn: Connection) -> int:
    """Return up to where the log was looked at."""
    seq = await conn.fetchval(_EXAMINED)
    assert isinstance(seq, int)
    return seq


class AmongPlans(NamedTuple):
    """A place among plans, in the order in which they were made."""

    created_at: datetime
    id: UUID


FIRST: Final = AmongPlans(datetime(1, 1, 2, tzinfo=UTC), UUID(int=0))
"""Before all plans."""

_IS_OLD: Final = f"""
  p.status in {PLAN_FINAL}
  and p.updated_at < now() - $1::interval
  -- An edit of one of its tasks is no change of the plan itself.
  and coalesce(
    (
      select e.created_at < now() - $1::interval
      from planstore.events e
      where e.plan_id = p.id
      order by e.seq desc
      limit 1
    ),
    true
  )"""

_FINISHED: Final = f"""
select p.id, p.created_at, p.task_count,{_IS_OLD} as is_old
from planstore.plans p
where p.status = $2
  and (p.created_at, p.id) > ($3, $4)
  and p.created_at < now() - $1::interval
order by p.created_at, p.id
limit $5
"""


async def finished(
    conn: Connection, kept: timedelta, *, status: str, after: AmongPlans, limit: int
) -> list[Row]:
    """Return plans of a final status that are older than ``kept``, in the order of their making.

    Each with its ``id``, ``created_at``, ``task_count``, and whether it ``is_old``: nothing has
    happened to it for that long.
    """
    return await conn.fetch(_FINISHED, kept, status, *after, limit)


_STILL_OLD: Final = f"""
select p.id
from planstore.plans p
where p.id = any ($2)
  and{_IS_OLD}
order by p.id
"""


async def still_old(conn: Connection, kept: timedelta, plan_ids: Sequence[UUID]) -> list[UUID]:
    """Return which of these plans, that are locked, nothing has happened to for that long."""
    return [row["id"] for row in await conn.fetch(_STILL_OLD, kept, plan_ids)]
