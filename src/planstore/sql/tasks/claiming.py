"""Handing out ready tasks.

A claim takes task rows only, by an index that holds nothing but what is ready, and passes over
what another claim is just taking. Its plan is neither read nor locked for that: what a plan hands
out is said by `ready_at` alone.
"""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from planstore.models.claim import WorkPacket
from planstore.sql.fragments import TASK_RUNNING
from planstore.sql.routines import Routine, routine
from planstore.sql.tasks.columns import TASK, TYPES
from planstore.sql.tasks.packets import packet

if TYPE_CHECKING:
    from datetime import datetime

    from planstore.models.claim import ClaimRequest
    from planstore.sql.connection import Connection, Row

_OF_AGENT: Final = "(s.agent_id = $6::uuid or s.agent_id is null)"
_OF_TYPES: Final = "s.task_type = any ($5::text[])"


class _Search(NamedTuple):
    """How ready tasks are looked for by those who ask for the same."""

    highest: str
    """The highest priority that has something ready, or is to have."""
    next_lower: str
    """The next one below that of ``l``."""
    one: str
    """What is ready of the priority of ``l``: the first one, locked."""
    many: str
    """As many as are asked for."""


def _sources(*, plan: bool, types: bool, agent: bool) -> tuple[tuple[str, str], ...]:
    """What is searched: each source with what stands before it and what it asks for.

    Each is served by one of the indexes on what is ready.
    """
    if plan:
        asked = ["s.plan_id = $4::uuid", *([_OF_TYPES] if types else [])]
        return (("", " and ".join([*asked, *([_OF_AGENT] if agent else [])])),)
    if types:
        kind = "unnest($5::text[]) y (task_type) cross join lateral"
        return (
            (kind, " and ".join(["s.task_type = y.task_type", *([_OF_AGENT] if agent else [])])),
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


def _of_priority(sources: tuple[tuple[str, str], ...], *, at_most: str) -> str:
    """What is ready of the priority of ``l``, longest ready first."""
    return " union all ".join(
        f"""select r.plan_id, r.task_id, r.priority, r.ready_at from {before} (
        select s.plan_id, s.task_id, s.priority, s.ready_at
        from planstore.task_states s
        where s.ready_at <= now() and s.priority = l.priority and {asked}
          and (s.ready_at, s.task_id) > ({_AFTER})
        order by s.ready_at, s.task_id
        limit {at_most}
        for no key update skip locked
      ) r"""
        for before, asked in sources
    )


_AFTER: Final = (
    "case when l.priority = $7::smallint then $8::timestamptz else '-infinity' end,"
    " case when l.priority = $7::smallint then $9::uuid"
    f" else '{UUID(int=0)}' end"
)


def _search(*, plan: bool, types: bool, agent: bool) -> _Search:
    sources = _sources(plan=plan, types=types, agent=agent)
    # One source is in order already; several have to be merged.
    merged = "" if sources == (sources[0],) and not types else "order by r.ready_at, r.task_id"
    return _Search(
        highest=_next_priority(sources, below="true"),
        next_lower=_next_priority(sources, below="s.priority < l.priority"),
        one=f"select r.* from ({_of_priority(sources, at_most='1')}) r {merged} limit 1",
        many=f"select r.* from ({_of_priority(sources, at_most='$3')}) r {merged}",
    )


_CHANGE: Final = f"""
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
    ended_at = null"""
"""What becomes of a state ``s``, of the task ``t``, that was picked as ``k``."""

_RETURNED: Final = f"""
    {TASK}, s.needs, s.fencing_token, s.lease_expires_at, p.revision as plan_revision,
    k.ready_at as was_ready_at, p.budget ->> 'max_attempts' is not null as counts_attempts"""

_RECORDED: Final = """
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
  cross join lateral (select c.plan_revision as revision, c.task_type) r"""


def _answer(*, by_calls: bool) -> str:
    return f"""{packet(by_calls=by_calls)},
  $10::text as traceparent,
  c.was_ready_at, c.counts_attempts"""


# The parameters: $1 the worker, $2 the lease in seconds, $3 how many, $4 the plan, $5 the types,
# $6 the agent; the place after which to search: $7 its priority, $8 the time, $9 the task; and $10
# the trace that it is a part of.
def _claim_many(search: _Search) -> str:
    return f"""
with recursive level (priority) as (
  select coalesce($7::smallint, ({search.highest}))
  union all
  select n.priority
  from level l
  cross join lateral ({search.next_lower}) n
  where l.priority is not null
),
picked as materialized (
  select c.plan_id, c.task_id, c.priority, c.ready_at
  from level l
  cross join lateral ({search.many}) c
  where l.priority is not null
  limit $3
),
asked as (  -- here for the types of what isn't used by every search
  select $4::uuid, $5::text[], $6::uuid
),
claimed as (
  update planstore.task_states s
  set {_CHANGE}
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
  returning {_RETURNED}
),
recorded as (
  {_RECORDED}
  order by c.priority desc, c.was_ready_at, c.id
)
select {_answer(by_calls=False)}
from claimed c
order by c.priority desc, c.was_ready_at, c.id
"""


_TYPES: Final = {
    **TYPES,
    "fencing_token": "bigint",
    "lease_expires_at": "timestamptz",
    "was_ready_at": "timestamptz",
    "plan_revision": "planstore.plans.revision%type",
    "resolved_input": "json",
    "dependencies": "json",
    "previous_attempts": "json",
    "traceparent": "text",
    "counts_attempts": "boolean",
}
CLAIMED: Final = (*WorkPacket.model_fields, "was_ready_at", "counts_attempts")
"""What is answered of one task, in this order."""


def _claim_one(search: _Search, *, shape: str) -> Routine:
    """The same for one task, step by step."""
    return routine(
        f"claim_{shape}",
        """
  worker text, lease double precision, at_most integer, of_plan uuid, of_types text[],
  of_agent uuid, after_priority smallint, after_time timestamptz, after_task uuid, trace text
""",
        returns=f"table ({', '.join(f'{name} {_TYPES[name]}' for name in CLAIMED)})",
        body=f"""
declare
  l record;
  k record;
begin
  select coalesce($7, ({search.highest})) as priority into l;
  loop
    if l.priority is null then
      return;
    end if;
    {search.one} into k;
    exit when found;
    l.priority := ({search.next_lower});
  end loop;

  return query
  with claimed as (
    update planstore.task_states s
    set {_CHANGE}
    from planstore.tasks t
    join planstore.plans p on p.id = t.plan_id
    where t.id = k.task_id
      and s.plan_id = k.plan_id
      and s.task_id = k.task_id
    returning {_RETURNED}
  ),
  recorded as ({_RECORDED})
  select {_answer(by_calls=True)}
  from claimed c;
end
""",
    )


def _shape(*, plan: bool, types: bool, agent: bool) -> str:
    asked = {"plan": plan, "types": types, "agent": agent}
    return "_".join(["one", *(name for name, is_asked in asked.items() if is_asked)])


_SEARCHES: Final = {
    asked: _search(plan=asked[0], types=asked[1], agent=asked[2])
    for asked in product((False, True), repeat=3)
}
_MANY: Final = {asked: _claim_many(search) for asked, search in _SEARCHES.items()}
CLAIMS_OF_ONE: Final = {
    asked: _claim_one(search, shape=_shape(plan=asked[0], types=asked[1], agent=asked[2]))
    for asked, search in _SEARCHES.items()
}
"""By whether a plan, types and an agent are asked for."""
LAST: Final = 10
"""The number of their last parameter."""
CLAIM_ONE: Final = {
    asked: f"select {', '.join(CLAIMED)} from planstore.{each.name}"
    f"({', '.join(f'${number}' for number in range(1, LAST + 1))})"
    for asked, each in CLAIMS_OF_ONE.items()
}
"""The statements that call them."""


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
    statements = CLAIM_ONE if request.limit == 1 else _MANY
    return await conn.fetch(
        statements[asked_by(request)], *parameters(request, after=after, traceparent=traceparent)
    )


def asked_by(request: ClaimRequest) -> tuple[bool, bool, bool]:
    """Whether a plan, types and an agent are asked for."""
    return (
        request.plan_id is not None,
        request.task_types is not None,
        request.agent_id is not None,
    )


def parameters(
    request: ClaimRequest, *, after: Place | None, traceparent: str | None
) -> tuple[object, ...]:
    """What a statement that claims is given; see `claim`."""
    return (
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
  {packet(by_calls=False)},
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
