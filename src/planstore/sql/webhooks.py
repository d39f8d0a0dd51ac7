"""The statements about webhooks: who is told of what."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.webhook import DisabledReason, Webhook, WebhookStatus
from planstore.sql.fragments import columns, given, new_value

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime, timedelta
    from uuid import UUID

    from planstore.models.webhook import WebhookCreate
    from planstore.sql.connection import Connection, Row

ACTIVE: Final = f"'{WebhookStatus.ACTIVE.value}'"
DISABLED: Final = f"'{WebhookStatus.DISABLED.value}'"

_WEBHOOK: Final = ", ".join(
    # A former secret that has had its time is none, though nobody has removed it yet.
    "case when w.former_secret_until > now() then w.former_secret_until end as former_secret_until"
    if name == "former_secret_until"
    else f"w.{name}"
    for name in Webhook.model_fields
)
"""The columns of a `Webhook`, of ``planstore.webhooks w``."""

_CREATE: Final = f"""
insert into planstore.webhooks as w (id, url, description, event_types, plan_ids, secret, after_seq)
values ($1, $2, $3, $4, $5, $6, $7)
returning {_WEBHOOK}
"""


async def create(
    conn: Connection, webhook: WebhookCreate, *, webhook_id: UUID, secret: bytes, after: int
) -> Row:
    """Make a webhook, which is told of events ``after`` a number of the log."""
    row = await conn.fetchrow(
        _CREATE,
        webhook_id,
        webhook.url,
        webhook.description,
        webhook.event_types,
        webhook.plan_ids,
        secret,
        after,
    )
    assert row is not None
    return row


_GET: Final = f"""
select {_WEBHOOK}
from planstore.webhooks w
where w.id = $1
  and w.deleted_at is null
"""


async def get(conn: Connection, webhook_id: UUID) -> Row | None:
    """Return the webhook, or None."""
    return await conn.fetchrow(_GET, webhook_id)


_SECRETS: Final = """
select
  w.url, w.secret,
  case when w.former_secret_until > now() then w.former_secret end as former_secret
from planstore.webhooks w
where w.id = $1
  and w.deleted_at is null
"""


async def secrets(conn: Connection, webhook_id: UUID) -> Row | None:
    """Return what sends to the webhook: ``url``, ``secret``, ``former_secret``; or None."""
    return await conn.fetchrow(_SECRETS, webhook_id)


_NEWEST: Final = f"""
select {_WEBHOOK}
from planstore.webhooks w
where w.deleted_at is null
  and ($1::timestamptz is null or (w.created_at, w.id) < ($1, $2::uuid))
order by w.created_at desc, w.id desc
limit $3
offset $4
"""


async def newest(
    conn: Connection, *, before: tuple[datetime, UUID] | None, limit: int, offset: int
) -> list[Row]:
    """Return webhooks, the newest first."""
    return await conn.fetch(_NEWEST, *(before or (None, None)), limit, offset)


_LOCK: Final = """
select w.version
from planstore.webhooks w
where w.id = $1
  and w.deleted_at is null
for no key update
"""


async def lock(conn: Connection, webhook_id: UUID) -> int | None:
    """Lock a webhook until the transaction ends; answers its version, None if there is none."""
    return await conn.fetchval(_LOCK, webhook_id)


_FIELDS: Final = (
    ("url", "text"),
    ("description", "text"),
    ("event_types", "text[]"),
    ("plan_ids", "uuid[]"),
    ("status", "text"),
)
"""What a client may set, with its type, in the order of the parameters from $3 on."""

_NAMES: Final = tuple(name for name, _ in _FIELDS)

_CHANGE: Final = f"""
with given as materialized (
  select {given(_FIELDS, first=3)}
),
wanted as materialized (
  select
    w.id, {", ".join(new_value(name, of="w") for name in _NAMES)},
    w.status as status_before, w.url as url_before
  from planstore.webhooks w
  cross join given
  where w.id = $1
),
judged as materialized (
  select
    n.*,
    n.status = {ACTIVE} and n.status_before = {DISABLED} as is_enabled,
    n.status = {DISABLED} and n.status_before = {ACTIVE} as is_disabled,
    n.url <> n.url_before as is_moved
  from wanted n
)
update planstore.webhooks w
set
  {", ".join(f"{name} = n.{name}" for name in _NAMES)},
  disabled_reason = case
    when n.is_enabled then null
    when n.is_disabled then '{DisabledReason.BY_HAND.value}'
    else w.disabled_reason
  end,
  disabled_at = case
    when n.is_enabled then null when n.is_disabled then now() else w.disabled_at
  end,
  enabled_at = case when n.is_enabled then now() else w.enabled_at end,
  after_seq = case when n.is_enabled then $8 else w.after_seq end,
  -- What another receiver did, or this one long ago, says nothing.
  failures = case when n.is_enabled or n.is_moved then 0 else w.failures end,
  rests_until = case when n.is_enabled or n.is_moved then now() else w.rests_until end,
  version = w.version + 1,
  updated_at = now()
from judged n
where w.id = n.id
  and ({columns(_NAMES, of="w")}) is distinct from ({columns(_NAMES, of="n")})
"""


async def change(
    conn: Connection, webhook_id: UUID, changes: Mapping[str, Any], *, after: int
) -> None:
    """Set the fields of a webhook that ``changes`` names; it must be locked.

    Where it is enabled by that, it is told of events ``after`` a number of the log.
    """
    await conn.execute(
        _CHANGE, webhook_id, list(changes), *(changes.get(name) for name in _NAMES), after
    )


_ROTATE: Final = """
update planstore.webhooks w
set
  secret = $2,
  former_secret = case when $3::interval > interval '0' then w.secret end,
  former_secret_until = case when $3::interval > interval '0' then now() + $3::interval end,
  version = w.version + 1,
  updated_at = now()
where w.id = $1
"""


async def rotate(conn: Connection, webhook_id: UUID, *, secret: bytes, grace: timedelta) -> None:
    """Give a webhook, which must be locked, another secret; the former one has its ``grace``."""
    await conn.execute(_ROTATE, webhook_id, secret, grace)


_DELETE: Final = f"""
update planstore.webhooks w
set
  status = {DISABLED},
  disabled_reason = '{DisabledReason.BY_HAND.value}',
  disabled_at = now(),
  deleted_at = now(),
  secret = '',
  former_secret = null,
  former_secret_until = null
where w.id = $1
"""


async def delete(conn: Connection, webhook_id: UUID) -> None:
    """Delete a webhook, which must be locked; what is left of it goes with its deliveries."""
    await conn.execute(_DELETE, webhook_id)


_DISABLE_OVERFULL: Final = f"""
update planstore.webhooks w
set
  status = {DISABLED},
  disabled_reason = '{DisabledReason.BACKLOG.value}',
  disabled_at = now(),
  version = w.version + 1,
  updated_at = now()
where w.status = {ACTIVE}
  and exists (
    select
    from planstore.deliveries d
    where d.webhook_id = w.id
      and d.status = 'pending'
    order by d.due_at
    offset $1
    limit 1
  )
returning w.id
"""


async def disable_overfull(conn: Connection, *, most: int) -> list[UUID]:
    """Disable webhooks for which more than so many deliveries wait; answers which."""
    return [row["id"] for row in await conn.fetch(_DISABLE_OVERFULL, most)]


_FORGET_DELETED: Final = """
delete from planstore.webhooks w
where w.deleted_at < now() - interval '1 hour'  -- none is being made any more
  and not exists (select from planstore.deliveries d where d.webhook_id = w.id)
"""


async def forget_deleted(conn: Connection) -> None:
    """Remove what is left of deleted webhooks whose deliveries have gone."""
    await conn.execute(_FORGET_DELETED)
