"""The statements about deliveries: each is one event for one webhook."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

from planstore.models.event import LoggedEvent
from planstore.models.webhook import RETRIED_FOR, DeliveryStatus, DisabledReason
from planstore.sql.tailing import LOGGED
from planstore.sql.webhooks import ACTIVE, DISABLED

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import timedelta
    from uuid import UUID

    from planstore.sql.connection import Connection, Row

_PENDING: Final = f"'{DeliveryStatus.PENDING.value}'"
_DELIVERED: Final = f"'{DeliveryStatus.DELIVERED.value}'"
_FAILED: Final = f"'{DeliveryStatus.FAILED.value}'"

_RETRIED_FOR: Final = f"interval '{RETRIED_FOR.total_seconds():.0f} s'"


class Made(NamedTuple):
    """How far the log has become deliveries."""

    place: int
    """All events up to this ``seq`` have."""
    deliveries: int
    """How many there are more."""
    is_wanted: bool
    """Whether any webhook is active."""
    has_more: bool
    """Whether more of the log is settled."""


_MAKE: Final = f"""
with place as materialized (
  select
    r.place,
    greatest(
      r.place,
      case
        when exists (select from planstore.webhooks w where w.status = {ACTIVE})
          then least($3, r.place + $4)
        else $3
      end
    ) as through
  from planstore.relays r
  where r.name = $1
    and r.term = $2
  for no key update
),
moved as (
  update planstore.relays r
  set
    place = p.through,
    lease_expires_at = now() + $5::interval
  from place p
  where r.name = $1
),
made as (
  insert into planstore.deliveries (webhook_id, seq, event_type, plan_id, event_at)
  select w.id, e.seq, e.event_type, e.plan_id, e.created_at
  from place p
  join planstore.events e on e.seq > p.place and e.seq <= p.through
  join planstore.webhooks w on w.status = {ACTIVE}
    and w.after_seq < e.seq
    and (w.event_types is null or e.event_type = any (w.event_types))
    and (w.plan_ids is null or e.plan_id = any (w.plan_ids))
  -- Where the place is set back, as by a backup, what was made is not made again.
  on conflict (webhook_id, seq) do nothing
  returning 1
)
select
  p.through, (select count(*) from made) as deliveries,
  exists (select from planstore.webhooks w where w.status = {ACTIVE}) as is_wanted,
  p.through < $3 as has_more
from place p
"""


async def make(
    conn: Connection, name: str, *, term: int, through: int, bite: int, lease: timedelta
) -> Made | None:
    """Make deliveries of what comes after the place of a relay, and move the place on.

    ``through``: up to where the log is settled; of so much a ``bite`` is looked at, where any
    webhook is active. The relay's lease is renewed. None where another process has it.
    """
    row = await conn.fetchrow(_MAKE, name, term, through, bite, lease)
    return Made(*row) if row else None


class Due(NamedTuple):
    """A delivery that is to be sent now, by who has taken it."""

    webhook_id: UUID
    seq: int
    attempt: int
    """Who has taken it: only under this number its end is noted."""
    url: str
    secret: bytes
    former_secret: bytes | None
    event: LoggedEvent | None
    """None where it is no longer kept."""


_TAKE: Final = f"""
with receiver as materialized (
  select
    w.id, w.url, w.secret,
    case when w.former_secret_until > now() then w.former_secret end as former_secret,
    -- One that fails is tried with one at a time, until it goes well again.
    greatest(case when w.failures = 0 then $2::integer else 1 end - u.under_way, 0) as room
  from planstore.webhooks w
  cross join lateral (
    select count(*) as under_way
    from planstore.deliveries d
    where d.webhook_id = w.id
      and d.lease_expires_at > now()
  ) u
  where w.status = {ACTIVE}
    and w.rests_until <= now()
),
due as materialized (
  select d.webhook_id, d.seq
  from receiver w
  cross join lateral (
    select d.webhook_id, d.seq, d.due_at
    from planstore.deliveries d
    where d.webhook_id = w.id
      and d.status = {_PENDING}
      and d.due_at <= now()
    order by d.due_at
    limit w.room
    for no key update skip locked
  ) d
  order by d.due_at, d.seq
  limit $1
),
taken as (
  update planstore.deliveries d
  set
    attempts = d.attempts + 1,
    attempted_at = now(),
    due_at = now() + $3::interval,
    lease_expires_at = now() + $3::interval,
    response_status = null,
    error = null
  from due
  where d.webhook_id = due.webhook_id
    and d.seq = due.seq
  returning d.webhook_id, d.seq, d.attempts
)
select
  t.webhook_id, t.seq as delivery_seq, t.attempts, w.url, w.secret, w.former_secret,
  {LOGGED}
from taken t
join receiver w on w.id = t.webhook_id
left join planstore.events e on e.seq = t.seq
"""


async def take(conn: Connection, *, limit: int, at_once: int, lease: timedelta) -> list[Due]:
    """Take deliveries that are due, ``at_once`` for each webhook at most.

    Nobody else takes them until the lease ends: who hasn't noted an end until then has died.
    """
    rows = await conn.fetch(_TAKE, limit, at_once, lease)
    return [
        Due(
            webhook_id=row["webhook_id"],
            seq=row["delivery_seq"],
            attempt=row["attempts"],
            url=row["url"],
            secret=row["secret"],
            former_secret=row["former_secret"],
            event=None
            if row["seq"] is None
            else LoggedEvent(*(row[name] for name in LoggedEvent._fields)),
        )
        for row in rows
    ]


_GIVE_BACK: Final = f"""
with mine as materialized (
  select d.webhook_id, d.seq
  from unnest($1::uuid[], $2::bigint[], $3::integer[]) as g (webhook_id, seq, attempt)
  join planstore.deliveries d on d.webhook_id = g.webhook_id and d.seq = g.seq
  where d.attempts = g.attempt
    and d.status = {_PENDING}
  order by d.webhook_id, d.seq
  for no key update of d
)
update planstore.deliveries d
set
  due_at = now(),
  lease_expires_at = null
from mine
where d.webhook_id = mine.webhook_id
  and d.seq = mine.seq
"""


async def give_back(conn: Connection, left: Sequence[Due]) -> None:
    """Let others send at once what was taken and isn't going to be sent to its end."""
    await conn.execute(
        _GIVE_BACK,
        [due.webhook_id for due in left],
        [due.seq for due in left],
        [due.attempt for due in left],
    )


_NOTE_DELIVERED: Final = f"""
with ended as (
  update planstore.deliveries d
  set
    status = {_DELIVERED},
    due_at = null,
    lease_expires_at = null,
    ended_at = now(),
    response_status = $4,
    error = null
  where d.webhook_id = $1
    and d.seq = $2
    and d.attempts = $3
    and d.status = {_PENDING}
  returning d.webhook_id
)
update planstore.webhooks w
set
  failures = 0,
  rests_until = now(),
  succeeded_at = now()
from ended
where w.id = ended.webhook_id
  -- Where all goes well, the row is left alone: all that are sent at once would queue for it.
  and (
    w.failures > 0
    or w.succeeded_at is null
    or w.succeeded_at < now() - interval '10 s'
  )
"""


async def note_delivered(conn: Connection, due: Due, *, status: int) -> None:
    """Note that a delivery has succeeded, unless another one has taken it since."""
    await conn.execute(_NOTE_DELIVERED, due.webhook_id, due.seq, due.attempt, status)


# The parameters: $1 to $3 which delivery, $4 and $5 how it failed, $6 whether the receiver is gone
# for good, $7 where it was sent to. Before it is tried again as much time goes by as has gone by
# since it began.
_NOTE_FAILED: Final = f"""
with judged as materialized (
  select
    d.webhook_id, d.seq, d.began_at,
    $6::boolean or now() >= d.began_at + {_RETRIED_FOR} as is_given_up
  from planstore.deliveries d
  where d.webhook_id = $1
    and d.seq = $2
    and d.attempts = $3
    and d.status = {_PENDING}
  for no key update
),
ended as (
  update planstore.deliveries d
  set
    status = case when j.is_given_up then {_FAILED} else {_PENDING} end,
    due_at = case when not j.is_given_up then least(
      now() + least(interval '1 hour', greatest(interval '5 s', now() - d.began_at))
        * (1 - random() / 2),
      d.began_at + {_RETRIED_FOR}
    ) end,
    lease_expires_at = null,
    ended_at = case when j.is_given_up then now() end,
    response_status = $4,
    error = $5
  from judged j
  where d.webhook_id = j.webhook_id
    and d.seq = j.seq
),
verdict as materialized (
  select
    w.id, w.status = {ACTIVE} and why.reason is not null as is_disabled, why.reason
  from judged j
  join planstore.webhooks w on w.id = j.webhook_id
  cross join lateral (
    select case
      when $6::boolean then '{DisabledReason.GONE.value}'
      when j.is_given_up and greatest(w.succeeded_at, w.enabled_at) <= j.began_at
        then '{DisabledReason.FAILING.value}'
    end as reason
  ) why
  -- What another receiver did says nothing.
  where w.url = $7
  for no key update of w
),
noted as (
  update planstore.webhooks w
  set
    failures = w.failures + 1,
    -- Three may fail in a row before it is left alone for a while.
    rests_until = now() + case
      when w.failures < 3 then interval '0'
      else least(interval '1 min', interval '1 s' * power(2, least(w.failures - 3, 10)))
    end,
    status = case when v.is_disabled then {DISABLED} else w.status end,
    disabled_reason = case when v.is_disabled then v.reason else w.disabled_reason end,
    disabled_at = case when v.is_disabled then now() else w.disabled_at end,
    version = w.version + v.is_disabled::integer,
    updated_at = case when v.is_disabled then now() else w.updated_at end
  from verdict v
  where w.id = v.id
)
select v.reason from verdict v where v.is_disabled
"""


async def note_failed(
    conn: Connection, due: Due, *, status: int | None, error: str, is_gone: bool
) -> str | None:
    """Note that an attempt has failed: it is tried again, or given up after a day.

    Nothing happens where another one has taken the delivery since. Answers why the webhook was
    disabled by it; None where it wasn't.
    """
    return await conn.fetchval(
        _NOTE_FAILED,
        due.webhook_id,
        due.seq,
        due.attempt,
        status,
        error,
        is_gone,
        due.url,
    )


_DELIVERY: Final = """
  d.webhook_id, d.seq, d.event_type, d.plan_id, d.event_at, d.status, d.attempts, d.created_at,
  d.due_at as next_attempt_at, d.attempted_at, d.ended_at, d.response_status, d.error"""

_OF_WEBHOOK: Final = f"""
select {_DELIVERY}
from planstore.deliveries d
where d.webhook_id = $1
  and d.seq < $2
  {{narrowed}}
order by d.seq desc
limit $3
offset $4
"""

_ALL: Final = _OF_WEBHOOK.format(narrowed="")
_OF_STATUS: Final = _OF_WEBHOOK.format(narrowed="and d.status = $5")


async def newest(
    conn: Connection,
    webhook_id: UUID,
    *,
    status: DeliveryStatus | None,
    before: int,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return the deliveries of a webhook, those of the latest events first."""
    if status is None:
        return await conn.fetch(_ALL, webhook_id, before, limit, offset)
    return await conn.fetch(_OF_STATUS, webhook_id, before, limit, offset, status)


_GET: Final = f"""
select {_DELIVERY}
from planstore.deliveries d
where d.webhook_id = $1
  and d.seq = $2
"""


async def get(conn: Connection, webhook_id: UUID, seq: int) -> Row | None:
    """Return a delivery of a webhook, or None."""
    return await conn.fetchrow(_GET, webhook_id, seq)


_REDELIVER: Final = f"""
with asked as materialized (
  select
    d.webhook_id, d.seq,
    case
      when w.status <> {ACTIVE} then 'disabled'
      when not exists (select from planstore.events e where e.seq = d.seq) then 'gone'
      when d.lease_expires_at > now() then 'same'
      else 'changed'
    end as verdict
  from planstore.deliveries d
  join planstore.webhooks w on w.id = d.webhook_id
  where d.webhook_id = $1
    and d.seq = $2
  for no key update of d
),
changed as (
  update planstore.deliveries d
  set
    status = {_PENDING},
    began_at = now(),
    due_at = now(),
    lease_expires_at = null,
    ended_at = null
  from asked a
  where a.verdict = 'changed'
    and d.webhook_id = a.webhook_id
    and d.seq = a.seq
)
select a.verdict from asked a
"""


async def redeliver(conn: Connection, webhook_id: UUID, seq: int) -> str | None:
    """Have a delivery sent now, however it stands; tried for a day from now on.

    ``changed``: done; ``same``: it is being sent. Refusals: ``disabled``: its webhook is; ``gone``:
    the event is no longer kept. None: there is no such delivery.
    """
    return await conn.fetchval(_REDELIVER, webhook_id, seq)


_FORGET: Final = """
with old as materialized (
  (
    select d.webhook_id, d.seq
    from planstore.deliveries d
    where d.began_at < now() - $1::interval
    order by d.began_at
    limit $2
  )
  union
  (
    select d.webhook_id, d.seq
    from planstore.webhooks w
    join planstore.deliveries d on d.webhook_id = w.id
    where w.deleted_at is not null
    limit $2
  )
),
forgotten as (
  delete from planstore.deliveries d
  using old
  where d.webhook_id = old.webhook_id
    and d.seq = old.seq
  returning 1
)
select count(*) from forgotten
"""


async def forget(conn: Connection, kept: timedelta, *, limit: int) -> int:
    """Remove deliveries that began longer ago than ``kept``, and those of deleted webhooks.

    Removes about ``limit`` of either at most; answers how many.
    """
    count = await conn.fetchval(_FORGET, kept, limit)
    assert isinstance(count, int)
    return count
