"""What is reported of tokens, money and the like: added up for tasks, plans, agents and types.

A sum is an object of numbers. These are added as `numeric`, so whatever the order and the number of
reports, nothing is lost by rounding.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.budget import PauseReason
from planstore.sql.fragments import PLAN_ACTIVE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from uuid import UUID

    from planstore.models.query import UsageFilter, UsageGroup
    from planstore.sql.connection import Connection, Row

_SCALE: Final = 12
"""Decimal places that are kept: of a dollar, its millionth millionths."""

_ADDED: Final = f"trim_scale(round(sum(n.value::numeric), {_SCALE}))"


def _of_parts(parts: str) -> str:
    """The sum of objects, given a query for the ``key`` and the ``value`` of all their members."""
    return f"""(
      select json_object_agg(m.key, m.value order by m.key)
      from (
        select n.key, {_ADDED} as value
        from ({parts}) n
        group by n.key
      ) m
    )"""


def _sum_of(one: str, other: str) -> str:
    """The sum of two objects; either may be null."""
    return _of_parts(
        f"select e.* from json_each_text({one}) e"
        f" union all select e.* from json_each_text({other}) e"
    )


# The parameters: $1 the tasks, $2 for each what is reported.
_RECORD: Final = f"""
with spent as materialized (
  select
    g.position, g.reported, s.plan_id, s.task_id, t.agent_id, t.task_type, s.version, s.attempt,
    s.worker_id, s.usage as usage_before
  from unnest($1::uuid[], $2::json[]) with ordinality as g (task_id, reported, position)
  join planstore.tasks t on t.id = g.task_id
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  order by g.task_id
  for no key update of s
),
summed as materialized (
  select s.*, u.usage
  from spent s
  cross join lateral (select {_sum_of("s.usage_before", "s.reported")} as usage) u
  -- A report of nothing changes nothing.
  where u.usage::text is distinct from s.usage_before::text
),
counted as materialized (
  select s.plan_id, s.agent_id, s.task_type, n.key, n.value
  from summed s
  cross join lateral json_each_text(s.reported) n
),
moved as (
  update planstore.task_states s
  set
    usage = n.usage,
    version = s.version + 1,
    updated_at = now()
  from summed n
  where s.plan_id = n.plan_id
    and s.task_id = n.task_id
),
filed as (
  insert into planstore.usage as u (plan_id, agent_id, task_type, usage)
  select f.plan_id, f.agent_id, f.task_type, json_object_agg(f.key, f.value order by f.key)
  from (
    select n.plan_id, n.agent_id, n.task_type, n.key, {_ADDED} as value
    from counted n
    group by n.plan_id, n.agent_id, n.task_type, n.key
  ) f
  group by f.plan_id, f.agent_id, f.task_type
  on conflict on constraint usage_key do update
    set usage = {_sum_of("u.usage", "excluded.usage")}
),
charged as materialized (
  select p.id, p.revision, p.version, u.usage
  -- By way of an array, of which PostgreSQL expects few entries, and so doesn't read all plans.
  from unnest(array(select distinct n.plan_id from summed n)) as c (plan_id)
  join planstore.plans p on p.id = c.plan_id
  cross join lateral (
    select {
    _of_parts(
        "select e.key, e.value from json_each_text(p.usage) e"
        " union all select k.key, k.value from counted k where k.plan_id = p.id"
    )
} as usage
  ) u
),
planned as (
  update planstore.plans p
  set
    usage = c.usage,
    version = p.version + 1,
    updated_at = now()
  from charged c
  where p.id = c.id
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    e.event_type, e.aggregate_type, e.id, e.plan_id, e.version, json_build_object('usage', e.usage),
    e.metadata
  from (
    select
      n.position as place, 'task.usage_recorded' as event_type, 'task' as aggregate_type,
      n.task_id as id, n.plan_id, n.version + 1 as version, n.usage,
      json_build_object(
        'revision', c.revision, 'reported', n.reported, 'attempt', n.attempt,
        'worker_id', n.worker_id
      ) as metadata
    from summed n
    join charged c on c.id = n.plan_id
    union all
    select
      9223372036854775807, 'plan.usage_recorded', 'plan', c.id, c.id, c.version + 1, c.usage,
      json_build_object('revision', c.revision)
    from charged c
  ) e
  order by e.place, e.id
)
select c.id from charged c order by c.id
"""


async def record(conn: Connection, reports: Mapping[UUID, Any]) -> list[UUID]:
    """Add what is reported for tasks to what they, and theirs, have used; answers their plans.

    These must be locked before, in the same transaction. No plan is answered for which nothing was
    added.
    """
    rows = await conn.fetch(_RECORD, [*reports], [*reports.values()])
    return [row["id"] for row in rows]


_REFUSE: Final = """
insert into planstore.events
  (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
select
  'task.result_refused', 'task', s.task_id, s.plan_id, s.version, '{}',
  json_build_object(
    'revision', p.revision, 'reason', 'stale_claim', 'refused',
    json_build_object('verb', 'heartbeat', 'fencing_token', g.token, 'usage', g.reported)
  )
from unnest($1::uuid[], $2::bigint[], $3::json[]) with ordinality
  as g (task_id, token, reported, position)
join planstore.tasks t on t.id = g.task_id
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
join planstore.plans p on p.id = s.plan_id
order by g.position
"""


async def refuse(
    conn: Connection, task_ids: Sequence[UUID], tokens: Sequence[int], reports: Sequence[Any]
) -> None:
    """Keep what was reported by heartbeats under claims that have ended, though it isn't taken."""
    await conn.execute(_REFUSE, task_ids, tokens, reports)


_REACHED: Final = f"""case
      when (p.usage ->> 'cost_usd')::numeric >= (p.budget ->> 'max_cost_usd')::numeric
        then '{PauseReason.MAX_COST}'
      when coalesce((p.usage ->> 'input_tokens')::numeric, 0)
        + coalesce((p.usage ->> 'output_tokens')::numeric, 0)
        >= (p.budget ->> 'max_tokens')::numeric
        then '{PauseReason.MAX_TOKENS}'
      when p.budget ->> 'max_attempts' is not null
        and (
          select sum(s.attempt) from planstore.task_states s where s.plan_id = p.id
        ) >= (p.budget ->> 'max_attempts')::bigint
        then '{PauseReason.MAX_ATTEMPTS}'
      when (p.budget ->> 'deadline')::timestamptz <= now() then '{PauseReason.DEADLINE}'
    end"""

_JUDGE: Final = f"""
with judged as materialized (
  select
    p.id, p.status, p.paused_at, p.pause_reason, r.reached,
    case when r.reached is null then (p.budget ->> 'deadline')::timestamptz else '-infinity' end
      as stops_at
  from planstore.plans p
  cross join lateral (select {_REACHED} as reached) r
  where p.id = any ($1)
    and (p.budget is not null or p.pause_reason is not null or p.stops_at is not null)
),
noted as (
  update planstore.plans p
  set stops_at = j.stops_at
  from judged j
  where p.id = j.id
    and p.stops_at is distinct from j.stops_at
)
select j.id, j.status, j.paused_at, j.pause_reason, j.reached, now() as judged_at
from judged j
order by j.id
"""


async def judge(conn: Connection, plan_ids: Sequence[UUID]) -> list[Row]:
    """Return those of the plans that have a budget, or are paused by one, with what is ``reached``.

    They must be locked before, in the same transaction.
    """
    return await conn.fetch(_JUDGE, plan_ids)


_STOPPING: Final = f"""
select p.id
from planstore.plans p
where p.stops_at <= now()
  and p.paused_at is null
  and p.status = {PLAN_ACTIVE}
order by p.stops_at
limit $1
"""


async def stopping(conn: Connection, *, limit: int) -> list[UUID]:
    """Return plans that hand out tasks though their budget is to pause them."""
    return [row["id"] for row in await conn.fetch(_STOPPING, limit)]


_GROUPS: Final[Mapping[UsageGroup | None, str]] = {
    None: "null::uuid as plan_id, null::uuid as agent_id, null as task_type",
    "plan": "u.plan_id, null::uuid as agent_id, null as task_type",
    "agent": "null::uuid as plan_id, u.agent_id, null as task_type",
    "task_type": "null::uuid as plan_id, null::uuid as agent_id, u.task_type",
}

_ASKED: Final = (("plan_id", "uuid"), ("agent_id", "uuid"), ("task_type", "text"))


def _sums(group: UsageGroup | None, asked: Sequence[str]) -> str:
    kinds = [(name, kind) for name, kind in _ASKED if name in asked]
    conditions = [
        f"u.{name} = any (${number}::{kind}[])"
        for number, (name, kind) in enumerate(kinds, start=3)
    ]
    return f"""
with found as (
  select {_GROUPS[group]}, n.key, {_ADDED} as value
  from planstore.usage u
  cross join lateral json_each_text(u.usage) n
  where {" and ".join(conditions) or "true"}
  group by 1, 2, 3, 4
)
select
  f.plan_id, f.agent_id, f.task_type, json_object_agg(f.key, f.value order by f.key) as usage
from found f
group by f.plan_id, f.agent_id, f.task_type
order by
  coalesce(sum(f.value) filter (where f.key = 'cost_usd'), 0) desc,
  coalesce(sum(f.value) filter (where f.key in ('input_tokens', 'output_tokens')), 0) desc,
  f.plan_id, f.agent_id, f.task_type
limit $1
offset $2
"""


async def sums(
    conn: Connection,
    found: UsageFilter,
    *,
    group: UsageGroup | None,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return what has been used, told apart by ``group``: who cost most first."""
    asked = {name: value for name, _ in _ASKED if (value := getattr(found, name)) is not None}
    return await conn.fetch(_sums(group, [*asked]), limit, offset, *asked.values())
