"""Reading the log of changes: of one plan, in the order in which they were made.

Each statement goes along `events_of_plan`, and those that answer events are read in bites, so that
a long log is never in memory as a whole.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.history import STRUCTURE, Event

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Sequence
    from datetime import datetime
    from uuid import UUID

    from planstore.sql.connection import Connection, Row

NEVER: Final = 2**63 - 1
"""A ``seq`` after all others."""

_BITE: Final = 500
"""How many events are fetched at a time."""

_EVENT: Final = ", ".join(f"e.{name}" for name in Event._fields)

_NO_EDIT: Final = (
    "e.event_type in ('task.completed', 'task.failed', 'task.requeued', 'task.evaluated')"
)
"""Whether an event is a run's end, or judges it: it brings no field but its own, and these may be
long."""

_IS_STRUCTURAL: Final = f"""(
    e.event_type in ('task.created', 'task.rewired', 'task.deleted')
    or not {_NO_EDIT} and exists (
      select
      from json_object_keys(e.payload) k (name)
      where k.name in ({", ".join(f"'{name}'" for name in STRUCTURE)})
    )
  )"""
"""Whether the event of a task changes what the task is by its plan."""


_BEGINNING: Final = """
select e.event_type, e.created_at
from planstore.events e
where e.plan_id = $1
order by e.seq
limit 1
"""


async def beginning(conn: Connection, plan_id: UUID) -> Row | None:
    """Return the first event that is kept of a plan: its ``event_type`` and ``created_at``."""
    return await conn.fetchrow(_BEGINNING, plan_id)


_FIRST_AFTER: Final = """
select e.seq
from planstore.events e
where e.plan_id = $1
  and e.created_at > $2
order by e.seq
limit 1
"""


async def first_after(conn: Connection, plan_id: UUID, at: datetime) -> int:
    """Return the ``seq`` of the first event of a plan that was begun after a time.

    What comes before it is how things stood then: `created_at` is when a transaction began, `seq`
    was drawn later, so what has a higher one was written after that time whenever it began.
    """
    seq = await conn.fetchval(_FIRST_AFTER, plan_id, at)
    assert seq is None or isinstance(seq, int)
    return NEVER if seq is None else seq


_PLAN_OF_DELETED: Final = """
select e.plan_id
from planstore.events e
where e.aggregate_id = $1
  and e.event_type = 'task.deleted'
order by e.seq desc
limit 1
"""


async def plan_of_deleted(conn: Connection, task_id: UUID) -> UUID | None:
    """Return the plan of which a task was deleted; None if none was."""
    return await conn.fetchval(_PLAN_OF_DELETED, task_id)


_OF_OBJECTS: Final = f"""
select {_EVENT}
from planstore.events e
where e.plan_id = $1
  -- Looked up in a table of hashes: an array would be searched from its start for each event.
  and (e.aggregate_id in (select unnest($2::uuid[]))) is true
  and e.seq < $3
order by e.seq
"""


async def of_objects(
    conn: Connection, plan_id: UUID, ids: Iterable[UUID], *, before: int
) -> AsyncIterator[Event]:
    """Yield the events of a plan or of tasks of it, in order, in a transaction."""
    async for row in conn.cursor(_OF_OBJECTS, plan_id, list(ids), before, prefetch=_BITE):
        yield Event(*row)


_PLACING: Final = f"""
select
  e.seq, e.event_type, e.aggregate_type, e.aggregate_id, e.plan_id, e.version, e.created_at,
  case
    when e.aggregate_type = 'plan' then '{{}}'
    when e.event_type = 'task.created' then json_build_object(
      'created_at', e.payload -> 'created_at', 'sequence_order', e.payload -> 'sequence_order'
    )
    else json_build_object('sequence_order', e.payload -> 'sequence_order')
  end as payload,
  '{{}}'::json as metadata
from planstore.events e
where e.plan_id = $1
  and (
    e.event_type in ('plan.created', 'plan.deleted', 'task.created', 'task.deleted')
    or e.aggregate_type = 'task' and not {_NO_EDIT} and e.payload -> 'sequence_order' is not null
  )
  and e.seq < $2
order by e.seq
"""


async def placing(conn: Connection, plan_id: UUID, *, before: int) -> AsyncIterator[Event]:
    """Yield what gave a plan's tasks their places, and no more of it than these."""
    async for row in conn.cursor(_PLACING, plan_id, before, prefetch=_BITE):
        yield Event(*row)


_STRUCTURAL: Final = f"""
select {_EVENT}
from planstore.events e
where e.plan_id = $1
  and (e.aggregate_id in (select unnest($2::uuid[]))) is true
  and e.seq > $3
  and e.seq <= $4
  and {_IS_STRUCTURAL}
order by e.seq
"""


async def structural(
    conn: Connection, plan_id: UUID, task_ids: Iterable[UUID], *, after: int = 0, through: int
) -> AsyncIterator[Event]:
    """Yield what changed tasks of a plan as parts of its structure."""
    async for row in conn.cursor(
        _STRUCTURAL, plan_id, list(task_ids), after, through, prefetch=_BITE
    ):
        yield Event(*row)


_TOUCHED: Final = f"""
select distinct e.aggregate_id as task_id
from planstore.events e
where e.plan_id = $1
  and e.seq > $2
  and e.seq <= $3
  and e.aggregate_type = 'task'
  and {_IS_STRUCTURAL}
limit $4
"""


async def touched(
    conn: Connection, plan_id: UUID, *, after: int, through: int, limit: int
) -> list[UUID]:
    """Return the tasks that were changed as parts of a plan's structure."""
    rows = await conn.fetch(_TOUCHED, plan_id, after, through, limit)
    return [row["task_id"] for row in rows]


_REVISIONS: Final = """
with life as materialized (  -- the id of a deleted plan may have been given to another one
  select coalesce(max(e.seq), 0) as first_seq
  from planstore.events e
  where e.plan_id = $1
    and e.event_type = 'plan.created'
)
select
  r.seq, r.seq_before, r.revision, r.created_at,
  r.metadata ->> 'by' as "by", r.metadata ->> 'reason' as reason,
  coalesce(r.revision_before, r.revision - 1) as revision_before
from (
  select
    e.seq, e.created_at, e.metadata,
    (e.payload ->> 'revision')::int as revision,
    coalesce(lag(e.seq) over w, 0) as seq_before,
    lag((e.payload ->> 'revision')::int) over w as revision_before
  from life
  join planstore.events e on e.plan_id = $1 and e.seq >= life.first_seq
  where case when e.aggregate_type = 'plan' then e.payload ->> 'revision' end is not null
  window w as (order by e.seq)
) r
where r.revision >= $2
  and coalesce(r.revision_before, r.revision - 1) < $3
order by r.seq desc
"""


async def revisions(conn: Connection, plan_id: UUID, *, lowest: int, highest: int) -> list[Row]:
    """Return the events that made revisions of a plan, newest first.

    Each made ``revision``; and where tasks were added by several calls at once, all of those after
    ``revision_before``. What belongs to it lies after ``seq_before``, and comes before the event
    itself, in the same transaction.
    """
    return await conn.fetch(_REVISIONS, plan_id, lowest, highest)


_OPERATIONS: Final = """
select e.metadata -> 'operations' from planstore.events e where e.plan_id = $1 and e.seq = $2
"""


async def operations(conn: Connection, plan_id: UUID, seq: int) -> list[dict[str, object]] | None:
    """Return the operations that a revision was asked for by; None where it came otherwise."""
    return await conn.fetchval(_OPERATIONS, plan_id, seq)


_TALLIES: Final = f"""
select
  o.through as seq,
  count(*) filter (where o.is_added and not o.is_removed) as added,
  count(*) filter (where o.is_removed and not o.is_added) as removed,
  count(*) filter (where o.is_changed and not o.is_added and not o.is_removed) as changed,
  count(*) filter (where o.is_rewired and not o.is_added and not o.is_removed) as rewired
from (
  select
    b.through,
    bool_or(c.event_type = 'task.created') as is_added,
    bool_or(c.event_type = 'task.deleted') as is_removed,
    bool_or(c.event_type = 'task.rewired') as is_rewired,
    bool_or(c.event_type not in ('task.created', 'task.deleted', 'task.rewired')) as is_changed
  from unnest($2::bigint[], $3::bigint[], $4::timestamptz[]) as b (after, through, created_at)
  cross join lateral (
    select e.event_type, e.aggregate_id
    from planstore.events e
    where e.plan_id = $1
      and e.seq > b.after
      and e.seq < b.through
      -- What others wrote meanwhile is no part of it.
      and e.created_at = b.created_at
      and e.aggregate_type = 'task'
      and {_IS_STRUCTURAL}
    offset 0  -- or else all events of the plan might be read
  ) c
  group by b.through, c.aggregate_id
) o
group by o.through
"""


async def tallies(conn: Connection, plan_id: UUID, made: Sequence[Row]) -> dict[int, Row]:
    """Return how many tasks were ``added``, ``changed``, ``removed`` and ``rewired``.

    By the ``seq`` of the events that made the revisions; of those that did none of it, nothing.
    """
    rows = await conn.fetch(
        _TALLIES,
        plan_id,
        [each["seq_before"] for each in made],
        [each["seq"] for each in made],
        [each["created_at"] for each in made],
    )
    return {row["seq"]: row for row in rows}


_NTH_ADDED: Final = """
select e.seq
from planstore.events e
where e.plan_id = $1
  and e.seq > $2
  and e.seq < $3
  and e.created_at = $4
  and e.event_type = 'task.created'
order by e.seq
limit 1
offset $5 - 1
"""


async def nth_added(conn: Connection, plan_id: UUID, made: Row, number: int) -> int:
    """Return the event of the n-th of the tasks that were added by several calls at once."""
    seq = await conn.fetchval(
        _NTH_ADDED, plan_id, made["seq_before"], made["seq"], made["created_at"], number
    )
    assert isinstance(seq, int)
    return seq
