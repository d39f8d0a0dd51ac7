"""Reading the log as it grows.

``seq`` is drawn before the transaction commits, so an event may appear after others with a higher
number: whoever has read past its place has missed it. Who has drawn a number holds a lock on the
table until it has ended, and lets go of it only when what it wrote is there to be seen. So once
all who held one when a gap was seen have ended, nothing comes into that gap any more.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.event import MAX_PAYLOAD, LoggedEvent

if TYPE_CHECKING:
    from planstore.sql.connection import Connection

# What is larger than that though compressed need not be unpacked to be measured.
_IS_SMALL: Final = "pg_column_size(e.{0}) <= {1} and octet_length(e.{0}::text) <= {1}"
_HAS_SMALL_METADATA: Final = _IS_SMALL.format("metadata", MAX_PAYLOAD)
_IS_TOLD: Final = f"{_IS_SMALL.format('payload', MAX_PAYLOAD)} and {_HAS_SMALL_METADATA}"

LOGGED: Final = f"""
  e.seq, e.event_type, e.aggregate_type, e.aggregate_id, e.plan_id, e.version, e.created_at,
  case when {_IS_TOLD} then e.payload::text end as payload,
  case when {_HAS_SMALL_METADATA} then e.metadata::text else '{{}}' end as metadata"""
"""The columns of a `LoggedEvent`, of ``planstore.events e``."""

MAX_BITE: Final = 4 * 1024 * 1024
"""Bytes of events that are read at a time, as far as one alone hasn't more."""


def bite_of(events: str, *, most: str) -> str:
    """The query for as many of the first of some events as have about so many bytes together.

    ``events``: a query for the columns of a `LoggedEvent`; ``most``: the parameter with the bytes.
    """
    names = ", ".join(f"b.{name}" for name in LoggedEvent._fields)
    return f"""
select {names}
from (
  select
    l.*,
    sum(octet_length(l.metadata) + coalesce(octet_length(l.payload), 0)) over (
      order by l.seq
      rows between unbounded preceding and 1 preceding
    ) as before
  from ({events}) l
) b
where b.before is null
  or b.before < {most}
order by b.seq
"""


_AFTER: Final = bite_of(
    f"""
    select {LOGGED}
    from planstore.events e
    where e.seq > $1
    order by e.seq
    limit $2
  """,
    most=f"{MAX_BITE}",
)


async def after(conn: Connection, seq: int, *, limit: int) -> list[LoggedEvent]:
    """Return the events after a place that are to be seen now, in the order of their numbers.

    They are fewer than ``limit`` where there are no more, or where they are large.
    """
    return [LoggedEvent(*row) for row in await conn.fetch(_AFTER, seq, limit)]


_LAST: Final = "select coalesce(max(e.seq), 0) from planstore.events e"


async def last(conn: Connection) -> int:
    """Return the highest number that is to be seen now; 0 if there is none."""
    seq = await conn.fetchval(_LAST)
    assert isinstance(seq, int)
    return seq


_DRAWN: Final = """
select case when s.is_called then s.last_value else 0 end from planstore.events_seq_seq s
"""


async def drawn(conn: Connection) -> int:
    """Return the highest number that anybody has drawn; 0 if nobody has."""
    seq = await conn.fetchval(_DRAWN)
    assert isinstance(seq, int)
    return seq


_UNBROKEN: Final = """
select coalesce(max(n.seq), $1)
from (
  select f.seq, row_number() over (order by f.seq) as number
  from (
    select e.seq
    from planstore.events e
    where e.seq > $1
    order by e.seq
    limit $2
  ) f
) n
where n.seq = $1 + n.number
"""


async def unbroken(conn: Connection, seq: int, *, limit: int) -> int:
    """Return up to where no number is missing after ``seq``, looking at so many at most."""
    end = await conn.fetchval(_UNBROKEN, seq, limit)
    assert isinstance(end, int)
    return end


_WRITERS: Final = """
select l.virtualtransaction
from pg_locks l
where l.locktype = 'relation'
  and l.database = (select d.oid from pg_database d where d.datname = current_database())
  and l.relation = 'planstore.events'::regclass
  and l.mode = 'RowExclusiveLock'
"""


async def writers(conn: Connection) -> set[str]:
    """Return the transactions that write events now, or have written some and go on."""
    return {row["virtualtransaction"] for row in await conn.fetch(_WRITERS)}
