"""The statements about idempotency keys. They are written by the statement that does the work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from datetime import timedelta

    from planstore.models.idempotency import RequestKey
    from planstore.sql.connection import Connection, Row

_KEEP: Final = """
insert into planstore.idempotency_keys (scope, key, fingerprint, response)
values ($1, $2, $3, $4)
"""


async def keep(conn: Connection, key: RequestKey, response: object) -> None:
    """Keep an answer under its key, where the work took more than one statement."""
    await conn.execute(_KEEP, *key.row, response)


_KEPT: Final = """
select k.fingerprint, k.response, k.created_at <= now() - $3::interval as is_expired
from planstore.idempotency_keys k
where k.scope = $1
  and k.key = $2
"""


async def kept(conn: Connection, key: RequestKey, *, lifetime: timedelta) -> Row | None:
    """Return what was answered under the key: ``fingerprint``, ``response``, ``is_expired``."""
    return await conn.fetchrow(_KEPT, key.scope, key.key, lifetime)


_FORGET: Final = """
delete from planstore.idempotency_keys k
where k.scope = $1
  and k.key = $2
  and k.created_at <= now() - $3::interval
"""


async def forget(conn: Connection, key: RequestKey, *, lifetime: timedelta) -> None:
    """Remove the key where its lifetime is over."""
    await conn.execute(_FORGET, key.scope, key.key, lifetime)


_FORGET_OLD: Final = """
with old as materialized (
  select k.scope, k.key
  from planstore.idempotency_keys k
  where k.created_at <= now() - $1::interval
  order by k.created_at
  limit $2
  for update skip locked
),
forgotten as (
  delete from planstore.idempotency_keys k
  using old
  where k.scope = old.scope
    and k.key = old.key
  returning 1
)
select count(*) from forgotten
"""


async def forget_old(conn: Connection, *, lifetime: timedelta, limit: int) -> int:
    """Remove up to ``limit`` keys whose lifetime is over; answers how many."""
    count = await conn.fetchval(_FORGET_OLD, lifetime, limit)
    assert isinstance(count, int)
    return count
