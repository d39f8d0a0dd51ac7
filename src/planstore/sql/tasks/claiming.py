"""Handing out ready tasks, and keeping the claims on them alive.

A claim takes task rows only, by an index that holds nothing but what is ready, and passes over
what another claim is just taking. Its plan is neither read nor locked for that: what a plan hands
out is said by `ready_at` alone.
"""

from __future__ import annotations

from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from planstore.models.claim import MAX_PACKET_OUTPUT, PREVIOUS_ATTEMPTS
from planstore.sql.fragments import (
    PLAN_ACTIVE,
    TASK_RUNNING,
    columns,
    satisfies,
)
from planstore.sql.routines import routine
from planstore.sql.tasks.columns import ALL, TASK

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.models.claim import ClaimRequest, HeartbeatClaim
    from planstore.sql.connection import Connection, Row

_OF_AGENT: Final = "(s.agent_id = $6::uuid or s.agent_id is null)"
_OF_TYPES: Final = "s.task_type = any ($5::text[])"


def _sources(*, plan: bool, types: bool, agent: bool) -> tuple[tuple[str, str], ...]:
    """What is searched: each source with what stands before it and what it asks for.

    Each is served by one of the indexes on what is ready.
    """
    if plan:
        asked = ["s.plan_id = $4::uuid", *([_OF_TYPES] if types else [])]
        return (("", " and ".join([*asked, *([_OF_AGENT] if agent else [])])),)
    if types:
        kind = "unnest($5::text[]) k (task_type) cross join lateral"
        return (
            (kind, " and ".join(["s.task_type = k.task_type", *([_OF_AGENT] if agent else [])])),
        )
    if agent:
        return ("", "s.agent_id = $6::uuid"), ("", "s.agent_id is null")
    return (("", "true"),)


def _next_priority(sources: tuple[tuple[str, str], ...], *, below: str) -> str:
    """The highest priority that has something ready, or is to have: one probe of the index."""
    arms = " union all ".join(
        f"""select n.priority from {before} (
          select s.priority
          from planstore.task_states s
          where s.ready_at is not null and {asked} and {below}
          order by s.priority desc
          limit 1
        ) n"""
        for before, asked in sources
    )
    return f"select max(p.priority) as priority from ({arms}) p"


def _of_priority(sources: tuple[tuple[str, str], ...]) -> str:
    """What is ready of one priority, longest ready first."""
    return " union all ".join(
        f"""select r.plan_id, r.task_id, r.priority, r.ready_at from {before} (
        select s.plan_id, s.task_id, s.priority, s.ready_at
        from planstore.task_states s
        where s.ready_at <= now() and s.priority = l.priority and {asked}
          and (s.ready_at, s.task_id) > ({_AFTER})
        order by s.ready_at, s.task_id
        limit $3
        for no key update skip locked
      ) r"""
        for before, asked in sources
    )


_AFTER: Final = (
    "case when l.priority = $7::smallint then $8::timestamptz else '-infinity' end,"
    " case when l.priority = $7::smallint then $9::uuid"
    f" else '{UUID(int=0)}' end"
)


# The parameters: $1 the worker, $2 the lease in seconds, $3 how many, $4 the plan, $5 the types,
# $6 the agent; the place after which to search: $7 its priority, $8 the time, $9 the task; and $10
# the trace that it is a part of.
@cache
def _claim(*, plan: bool, types: bool, agent: bool, is_one: bool) -> str:
    sources = _sources(plan=plan, types=types, agent=agent)
    # One source is in order already; several have to be merged.
    merged = "" if sources == (sources[0],) and not types else "order by r.ready_at, r.task_id"
    return f"""
with recursive level (priority) as (
  select coalesce($7::smallint, ({_next_priority(sources, below="true")}))
  union all
  select n.priority
  from level l
  cross join lateral ({_next_priority(sources, below="s.priority < l.priority")}) n
  where l.priority is not null
),
picked as materialized (
  select c.plan_id, c.task_id, c.priority, c.ready_at
  from level l
  cross join lateral (
    select r.* from ({_of_priority(sources)}) r {merged}
  ) c
  where l.priority is not null
  limit $3
),
{_handed_over(is_one=is_one)}"""


def _needed(plan_id: str, task_id: str) -> str:
    """What a task needed."""
    return f"""
    select json_agg(
      json_build_object(
        'task_id', n.id, 'name', n.name, 'when', n.condition, 'type', n.kind, 'status', n.status,
        'is_satisfied', n.is_satisfied,
        'output_data', case when n.size_so_far <= {MAX_PACKET_OUTPUT} then n.output_data end,
        'output_link', case when n.size_so_far > {MAX_PACKET_OUTPUT} then '/tasks/' || n.id end
      )
      order by n.sequence_order, n.id
    )
    from (
      select
        n.id, n.name, n.sequence_order, d.condition, d.kind, n.status, n.output_data,
        {satisfies("d.condition", status="n.status", reason="n.status_reason")} as is_satisfied,
        sum(coalesce(octet_length(n.output_data::text), 0))
          over (order by n.sequence_order, n.id) as size_so_far
      from planstore.dependencies d
      cross join lateral (
        select t.id, t.name, t.sequence_order, s.status, s.status_reason, s.output_data
        from planstore.tasks t
        join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
        where t.plan_id = d.plan_id
          and t.id = d.needs_id
        offset 0  -- or else it might begin with all tasks of the plan
      ) n
      where d.plan_id = {plan_id}
        and d.task_id = {task_id}
    ) n"""


def _tried(plan_id: str, task_id: str) -> str:
    """The last runs of a task."""
    return f"""
    select json_agg(
      json_build_object(
        'attempt', n.attempt, 'worker_id', n.worker_id, 'began_at', n.began_at,
        'ended_at', n.ended_at, 'outcome', n.outcome, 'error', n.error
      )
      order by n.attempt
    )
    from (
      select a.attempt, a.worker_id, a.began_at, a.ended_at, a.outcome, a.error
      from planstore.attempts a
      where a.plan_id = {plan_id}
        and a.task_id = {task_id}
      order by a.attempt desc
      limit {PREVIOUS_ATTEMPTS}
    ) n"""


NEEDED: Final = routine(
    "needed",
    "of_plan uuid, of_task uuid, out needed json",
    f"begin needed := ({_needed('of_plan', 'of_task')}); end",
)
TRIED: Final = routine(
    "tried",
    "of_plan uuid, of_task uuid, out tried json",
    f"begin tried := ({_tried('of_plan', 'of_task')}); end",
)


def _packet(*, by_calls: bool) -> str:
    """The claimed task ``c``, with all that its worker needs.

    ``by_calls``: what few tasks have is asked for by functions. For one task that costs less than
    to provide for it in each statement; for many it costs more.
    """
    if by_calls:
        needed = f"planstore.{NEEDED.name}(c.plan_id, c.id)"
        tried = f"planstore.{TRIED.name}(c.plan_id, c.id)"
    else:
        needed, tried = f"({_needed('c.plan_id', 'c.id')})", f"({_tried('c.plan_id', 'c.id')})"
    return f"""{columns(ALL, of="c")},
  c.fencing_token, c.lease_expires_at, c.plan_revision,
  null::json as resolved_input,  -- worked out later
  case when c.needs > 0 then {needed} end as dependencies,
  case when c.attempt > 1 then {tried} end as previous_attempts"""


def _handed_over(*, is_one: bool) -> str:
    return f"""
asked as (  -- here for the types of what isn't used by every search
  select $4::uuid, $5::text[], $6::uuid
),
claimed as (
  update planstore.task_states s
  set
    status = {TASK_RUNNING},
    version = s.version + 1,
    updated_at = now(),
    started_at = now(),
    due_at = null,
    ready_at = null,
    attempt = s.attempt + 1,
    worker_id = $1,
    fencing_token = nextval('planstore.fencing_tokens'),
    lease_seconds = $2::float8,
    lease_expires_at =
      now() + make_interval(secs => least($2::float8, t.timeout_seconds)),
    times_out_at = now() + make_interval(secs => t.timeout_seconds),
    was_ready_at = k.ready_at,
    began_at = now(),
    ended_at = null
  -- By way of arrays, of which PostgreSQL expects few entries; of a limit that it doesn't know it
  -- expects a tenth of the table, and would read all of it.
  from unnest(
    array(select p.plan_id from picked p),
    array(select p.task_id from picked p),
    array(select p.ready_at from picked p)
  ) as k (plan_id, task_id, ready_at)
  join planstore.tasks t on t.plan_id = k.plan_id and t.id = k.task_id
  join planstore.plans p on p.id = k.plan_id
  where s.plan_id = k.plan_id
    and s.task_id = k.task_id
  returning
    {TASK}, s.needs, s.fencing_token, s.lease_expires_at, p.revision as plan_revision,
    k.ready_at as was_ready_at, p.budget ->> 'max_attempts' is not null as counts_attempts
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'task.started', 'task', c.id, c.plan_id, c.version,
    row_to_json(q),
    case
      when $10::text is null then row_to_json(r)
      else json_build_object(
        'revision', c.plan_revision, 'task_type', c.task_type, 'traceparent', $10::text
      )
    end
  from claimed c
  cross join lateral (select c.status, c.started_at, c.attempt, c.worker_id) q
  cross join lateral (select c.plan_revision as revision, c.task_type) r
  order by c.priority desc, c.was_ready_at, c.id
)
select
  {_packet(by_calls=is_one)},
  $10::text as traceparent,
  c.was_ready_at, c.counts_attempts
from claimed c
order by c.priority desc, c.was_ready_at, c.id
"""


class Place(NamedTuple):
    """A place in the order in which tasks are handed out."""

    priority: int
    ready_at: datetime
    task_id: UUID


async def claim(
    conn: Connection,
    request: ClaimRequest,
    *,
    after: Place | None = None,
    traceparent: str | None = None,
) -> list[Row]:
    """Hand out up to ``limit`` ready tasks: highest priority first, then longest ready.

    ``after``: only from after this place on. ``traceparent``: the span that hands them out, if any.

    Answers the tasks with ``was_ready_at``, ``fencing_token``, ``lease_expires_at``,
    ``plan_revision``, ``dependencies`` and ``previous_attempts`` (null where there are none), and
    ``counts_attempts``: whether the plan's budget limits how many runs may begin.
    """
    statement = _claim(
        plan=request.plan_id is not None,
        types=request.task_types is not None,
        agent=request.agent_id is not None,
        is_one=request.limit == 1,
    )
    return await conn.fetch(
        statement,
        request.worker_id,
        request.lease_seconds,
        request.limit,
        request.plan_id,
        request.task_types,
        request.agent_id,
        *(after or (None, None, None)),
        traceparent,
    )


_HELD: Final = f"""
with held as materialized (
  select {TASK}, s.needs, s.fencing_token, s.lease_expires_at, p.revision as plan_revision
  from planstore.task_states s
  join planstore.tasks t on t.plan_id = s.plan_id and t.id = s.task_id
  join planstore.plans p on p.id = s.plan_id
  where starts_with(s.status, {TASK_RUNNING})
    and s.worker_id = $1
    and s.lease_expires_at is not null
  order by s.created_at, s.task_id
  limit $2
)
select
  {_packet(by_calls=False)},
  null::text as traceparent
from held c
order by c.created_at, c.id
"""


async def held(conn: Connection, worker_id: str, *, limit: int) -> list[Row]:
    """Return the tasks that a worker holds, oldest first, as `claim` does."""
    return await conn.fetch(_HELD, worker_id, limit)


_NEXT_READY: Final = """
with recursive level (priority) as (
  select (
    select s.priority
    from planstore.task_states s
    where s.ready_at is not null
    order by s.priority desc
    limit 1
  )
  union all
  select (
    select s.priority
    from planstore.task_states s
    where s.ready_at is not null
      and s.priority < l.priority
    order by s.priority desc
    limit 1
  )
  from level l
  where l.priority is not null
)
select extract(epoch from min(n.ready_at) - now())::float8
from level l
cross join lateral (
  select s.ready_at
  from planstore.task_states s
  where s.priority = l.priority
    and s.ready_at > now()
  order by s.ready_at
  limit 1
) n
"""


async def seconds_to_next(conn: Connection) -> float | None:
    """Return in how many seconds the next task becomes ready by the clock; None if none does."""
    seconds = await conn.fetchval(_NEXT_READY)
    assert seconds is None or isinstance(seconds, float)
    return seconds


LONG_AGO: Final = datetime(1970, 1, 1, tzinfo=UTC)

_OVERDUE: Final = """
select o.task_id, o.fencing_token, now() as looked_at
from (select 1) one
left join lateral (
  select s.task_id, s.fencing_token
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
    """Return tasks whose lease has ended, with the ``fencing_token`` of the claim, and the time.

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


_OFFER: Final = f"""
with plan as materialized (
  select p.id, p.max_parallel_tasks, p.offered_tasks
  from planstore.plans p
  where p.id = $1
    and p.max_parallel_tasks is not null
    and p.status = {PLAN_ACTIVE}
    and p.paused_at is null
  for no key update
),
-- A place that waits for a time is given to who need not wait. Locked, for by its own clock, which
-- is later than that of a transaction that had to wait, a claim may have just taken the task.
waiting as materialized (
  select s.task_id
  from plan p
  join planstore.task_states s on s.plan_id = p.id
  where s.ready_at > now()
  order by s.task_id
  for no key update of s
),
room as materialized (
  select greatest(p.max_parallel_tasks - p.offered_tasks + (select count(*) from waiting), 0)
    as places
  from plan p
),
chosen as materialized (
  select c.task_id
  from (
    (
      select s.task_id, s.due_at, s.priority, true as is_now
      from planstore.task_states s
      where s.plan_id = (select p.id from plan p)
        and s.due_at <= now()
        and s.ready_at is null
      order by s.priority desc, s.due_at, s.task_id
      limit (select r.places from room r)
    )
    union all
    (
      select s.task_id, s.due_at, s.priority, false
      from planstore.task_states s
      where s.plan_id = (select p.id from plan p)
        and s.due_at > now()
        and (s.ready_at is null or s.task_id in (select w.task_id from waiting w))
      order by s.due_at, s.task_id
      limit (select r.places from room r)
    )
  ) c
  order by not c.is_now, case when c.is_now then -c.priority end, c.due_at, c.task_id
  limit (select r.places from room r)
),
offered as (
  update planstore.task_states s
  set ready_at = case when s.task_id in (select c.task_id from chosen c) then s.due_at end
  from plan p
  where s.plan_id = p.id
    and s.task_id in (
      select w.task_id from waiting w union select c.task_id from chosen c
    )
  returning s.ready_at
)
update planstore.plans p
set offered_tasks = p.offered_tasks
  - (select count(*) from waiting) + (select count(o.ready_at) from offered o)
from plan
where p.id = plan.id
"""


async def offer(conn: Connection, plan_id: UUID) -> None:
    """Hand out as many due tasks of a plan as it has places for: ``max_parallel_tasks``.

    The plan must be locked before, in the same transaction.
    """
    await conn.execute(_OFFER, plan_id)
