"""Reading the log of all changes: by its numbers, by plan and by time, with filters.

Each index of the events costs every change that is made, so there are but two: by number, and by
plan and number. What else is looked for is looked at, within bounds that the caller sets.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from planstore.models.event import LoggedEvent
from planstore.sql.tailing import LOGGED, bite_of

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from planstore.sql.connection import Connection, Row


class Span(NamedTuple):
    """A part of the log, without its beginning and with its end."""

    after: int
    through: int


class Wanted(NamedTuple):
    """What the events of a list have to be; None where anything will do."""

    event_types: Sequence[str] | None = None
    aggregate_types: Sequence[str] | None = None
    aggregate_ids: Sequence[UUID] | None = None
    created_after: datetime | None = None
    """Then or later."""
    created_before: datetime | None = None


_IS_WANTED: Final = """
      and ($3::text[] is null or e.event_type = any ($3))
      and ($4::text[] is null or e.aggregate_type = any ($4))
      and ($5::uuid[] is null or e.aggregate_id = any ($5))
      and ($6::timestamptz is null or e.created_at >= $6)
      and ($7::timestamptz is null or e.created_at < $7)"""

# The parameters of all that look for events: $1 after and $2 through which number, $3 to $7 what
# they have to be; then $8 how many, $9 how many to pass over, $10 how many bytes, $11 the plans.
_WHOLE: Final = bite_of(
    f"""
    select {LOGGED}
    from planstore.events e
    where e.seq > $1
      and e.seq <= $2{_IS_WANTED}
    order by e.seq
    limit $8
    offset $9
  """,
    most="$10",
)

_OF_PLANS: Final = bite_of(
    f"""
    select {LOGGED}
    from (
      select f.seq
      from unnest($11::uuid[]) p (plan_id)
      cross join lateral (
        select e.seq
        from planstore.events e
        where e.plan_id = p.plan_id
          and e.seq > $1
          and e.seq <= $2{_IS_WANTED}
        order by e.seq
        limit $8::bigint + $9::bigint
      ) f
      order by f.seq
      limit $8
      offset $9
    ) f
    join planstore.events e on e.seq = f.seq
  """,
    most="$10",
)


async def find(
    conn: Connection,
    span: Span,
    wanted: Wanted,
    *,
    plan_ids: Sequence[UUID] | None,
    limit: int,
    offset: int,
    most_bytes: int,
) -> list[LoggedEvent]:
    """Return the first of the events that are wanted, of all plans or of these.

    They are fewer than ``limit`` where there are no more, or where they are large.
    """
    given = (*span, *wanted, limit, offset, most_bytes)
    rows = (
        await conn.fetch(_WHOLE, *given)
        if plan_ids is None
        else await conn.fetch(_OF_PLANS, *given, plan_ids)
    )
    return [LoggedEvent(*row) for row in rows]


_COUNT_WHOLE: Final = f"""
select count(*)
from planstore.events e
where e.seq > $1
  and e.seq <= $2{_IS_WANTED}
"""

_COUNT_OF_PLANS: Final = f"""
select count(*)
from planstore.events e
where e.plan_id = any ($8::uuid[])
  and e.seq > $1
  and e.seq <= $2{_IS_WANTED}
"""


async def count(
    conn: Connection, span: Span, wanted: Wanted, *, plan_ids: Sequence[UUID] | None
) -> int:
    """Return how many events are wanted; the span is to be bounded."""
    found = (
        await conn.fetchval(_COUNT_WHOLE, *span, *wanted)
        if plan_ids is None
        else await conn.fetchval(_COUNT_OF_PLANS, *span, *wanted, plan_ids)
    )
    assert isinstance(found, int)
    return found


_FIRST: Final = """
select e.seq
from planstore.events e
where e.seq > $1
order by e.seq
limit 1
"""


async def first(conn: Connection, *, after: int) -> int | None:
    """Return the first event after a number; None if there is none."""
    return await conn.fetchval(_FIRST, after)


_NTH_OF_PLANS: Final = """
select min(n.seq)
from unnest($1::uuid[]) p (plan_id)
cross join lateral (
  select e.seq
  from planstore.events e
  where e.plan_id = p.plan_id
    and e.seq > $2
  order by e.seq
  offset $3 - 1
  limit 1
) n
"""


async def nth_of_plans(
    conn: Connection, plan_ids: Sequence[UUID], *, after: int, number: int
) -> int | None:
    """Return the n-th event of that plan which has so many first; None if none has."""
    return await conn.fetchval(_NTH_OF_PLANS, plan_ids, after, number)


_AROUND: Final = """
with recursive halved (low, high) as (
  select 0::bigint, (select coalesce(max(e.seq), 0) + 1 from planstore.events e)
  union all
  select
    case when e.created_at < $1 then h.middle else h.low end,
    case when e.created_at < $1 then h.high else h.middle end
  from (select low, high, (low + high) / 2 as middle from halved where high - low > 1000) h
  left join lateral (
    select e.created_at
    from planstore.events e
    where e.seq >= h.middle
    order by e.seq
    limit 1
  ) e on true
)
select h.low, h.high from halved h order by h.high - h.low limit 1
"""


async def around(conn: Connection, at: datetime) -> Row:
    """Return two numbers, ``low`` and ``high``, between which the events of a time begin.

    They lie close together, and are to be trusted only so far as the times follow the numbers: an
    event's time is when its transaction began, and its number was drawn later.
    """
    row = await conn.fetchrow(_AROUND, at)
    assert row is not None
    return row


_PLANS_OF: Final = """
select t.plan_id from planstore.tasks t where t.id = any ($1::uuid[])
union
select e.plan_id
from planstore.events e
where e.aggregate_id = any ($1)
  and e.event_type = 'task.deleted'
union
select g.id
from unnest($1) g (id)
where exists (select from planstore.events e where e.plan_id = g.id)
"""


async def plans_of(conn: Connection, ids: Iterable[UUID]) -> list[UUID]:
    """Return the plans in whose events these plans and tasks are; not those of deleted plans."""
    return [row["plan_id"] for row in await conn.fetch(_PLANS_OF, list(ids))]


_GET: Final = """
select
  e.seq, e.event_type, e.aggregate_type, e.aggregate_id, e.plan_id, e.version, e.created_at,
  e.payload::text as payload, e.metadata::text as metadata
from planstore.events e
where e.seq = $1
"""


async def get(conn: Connection, seq: int) -> LoggedEvent | None:
    """Return one event with all of its payload, however large it is."""
    row = await conn.fetchrow(_GET, seq)
    return None if row is None else LoggedEvent(*row)


_PRUNED: Final = "select r.pruned_to from planstore.retention r"


async def pruned(conn: Connection) -> int:
    """Return the highest number of an event that is no longer kept; 0 if all are."""
    seq = await conn.fetchval(_PRUNED)
    assert isinstance(seq, int)
    return seq


_CURTAILED: Final = """
select e.plan_id
from unnest($1::uuid[]) g (id)
cross join lateral (
  select e.plan_id, e.event_type, e.seq
  from planstore.events e
  where e.plan_id = g.id
  order by e.seq
  limit 1
) e
where e.event_type <> 'plan.created'
  and e.seq > $2
union all
select p.id
from planstore.plans p
where p.id = any ($1)
  and not exists (select from planstore.events e where e.plan_id = p.id)
limit 1
"""


async def is_curtailed(conn: Connection, plan_ids: Iterable[UUID], *, after: int) -> bool:
    """Whether of one of these plans events may be missing after a number."""
    return await conn.fetchval(_CURTAILED, list(plan_ids), after) is not None
