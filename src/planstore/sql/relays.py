"""The statements about relays: who passes the log on, and how far each has come."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.sql.connection import Connection

LOST_AFTER: Final = timedelta(days=7)
"""How long after its last sign of life a relay still keeps the log from being pruned."""


class Lease(NamedTuple):
    """The right of one process to pass the log on, for as long as it renews it."""

    id: UUID
    """Of the relay, apart from those of other databases."""
    term: int
    """Higher than that of all who held the lease before, also if the database is an older copy."""
    place: int
    """All events up to this ``seq`` were passed on."""


class Lag(NamedTuple):
    """How far a relay is behind the log."""

    events: int
    """At most: numbers that were given up count as well."""
    seconds: float
    """Since the oldest event that it has to pass on; 0 if there is none."""


_BEGIN: Final = """
insert into planstore.relays (name, place)
select $1::text, coalesce($2::bigint, max(e.seq), 0)
from planstore.events e
on conflict (name) do nothing
"""


async def begin(conn: Connection, name: str, *, at: int | None = None) -> None:
    """Let a relay begin, where it hasn't begun before.

    ``at``: its place; the end of the log if left out.
    """
    await conn.execute(_BEGIN, name, at)


_TAKE: Final = """
update planstore.relays r
set
  holder = $2,
  term = greatest(r.term + 1, (extract(epoch from now()) * 1000)::bigint),
  lease_expires_at = now() + $3::interval
where r.name = $1
  and r.lease_expires_at <= now()
returning r.id, r.term, r.place
"""


async def take(conn: Connection, name: str, *, holder: str, lease: timedelta) -> Lease | None:
    """Take the lease of a relay; None while another one has it.

    ``holder``: who takes it, for people.
    """
    row = await conn.fetchrow(_TAKE, name, holder, lease)
    return Lease(*row) if row else None


_KEEP: Final = """
-- What is lost of it in a crash is passed on once more, so no disk has to be waited for.
with eased as materialized (
  select set_config('synchronous_commit', 'off', true)
)
update planstore.relays r
set
  place = $3,
  lease_expires_at = now() + $4::interval
from eased
where r.name = $1
  and r.term = $2
returning 1
"""


async def keep(conn: Connection, name: str, *, term: int, place: int, lease: timedelta) -> bool:
    """Renew the lease and note the place; False where another one has taken the lease."""
    return await conn.fetchval(_KEEP, name, term, place, lease) is not None


_RELEASE: Final = """
update planstore.relays r
set
  place = $3,
  lease_expires_at = now()
where r.name = $1
  and r.term = $2
"""


async def release(conn: Connection, name: str, *, term: int, place: int) -> None:
    """Note the place and give the lease up, so that another one may take it at once."""
    await conn.execute(_RELEASE, name, term, place)


_LAG: Final = """
select
  coalesce((select max(e.seq) from planstore.events e), 0) - r.place as events,
  coalesce(
    (
      select extract(epoch from now() - e.created_at)::float8
      from planstore.events e
      where e.seq > r.place
      order by e.seq
      limit 1
    ),
    0
  ) as seconds
from planstore.relays r
where r.name = $1
"""


async def lag(conn: Connection, name: str) -> Lag | None:
    """Return how far a relay is behind; None if it has never begun."""
    row = await conn.fetchrow(_LAG, name)
    return Lag(max(row["events"], 0), max(row["seconds"], 0.0)) if row else None


_LOWEST_PLACE: Final = """
select min(r.place)
from planstore.relays r
where r.lease_expires_at > now() - $1::interval
"""


async def lowest_place(conn: Connection) -> int | None:
    """Return the ``seq`` up to which every relay has passed the log on; None if there is no relay.

    What comes after it is still needed. A relay that nobody has carried on for `LOST_AFTER`
    doesn't count: it would keep the log from being pruned for good.
    """
    return await conn.fetchval(_LOWEST_PLACE, LOST_AFTER)
