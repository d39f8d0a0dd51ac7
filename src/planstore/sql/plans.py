"""The statements about plans: one typed function is one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.plan import PLAN_LIFECYCLE, Plan
from planstore.sql import marks, words
from planstore.sql.fragments import (
    PLAN_ACTIVE,
    PLAN_FINAL,
    TASK_RUNNING,
    columns,
    compared,
    event_of,
    given,
    new_value,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from planstore.models.idempotency import RequestKey
    from planstore.models.plan import PlanCreate
    from planstore.sql.connection import Connection, Row

_FIELDS: Final = (
    ("goal_id", "uuid"),
    ("agent_id", "uuid"),
    ("plan_type", "text"),
    ("steps", "json"),
    ("status", "text"),
    ("current_step", "integer"),
    ("metadata", "json"),
    ("labels", "text[]"),
    ("auto_complete", "boolean"),
    ("on_failure", "text"),
    ("max_parallel_tasks", "integer"),
    ("retry_policy", "json"),
    ("budget", "json"),
    ("paused_at", "timestamptz"),
    ("pause_reason", "text"),
)
"""What a client or a verb may set, with its type, in the order of the parameters from $3 on."""

_PLAN: Final = tuple(Plan.model_fields)

_CREATE: Final = f"""
with recursive created as (
  insert into planstore.plans
    (id, goal_id, agent_id, plan_type, steps, status, current_step, metadata, auto_complete,
    on_failure, max_parallel_tasks, retry_policy, labels, template, template_version,
    budget, stops_at)
  values
    ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, $15, $16::json,
    ($16::json ->> 'deadline')::timestamptz)
  returning {", ".join(_PLAN)}
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'plan.created', 'plan', c.id, c.id, c.version, row_to_json(c),
    json_build_object('revision', c.revision)
  from created c
),
worded as (
  insert into planstore.plan_words (plan_id, created_at, words)
  select c.id, c.created_at, {words.of_plan("c")}
  from created c
),
{marks.marked("created")},
listed as (
  insert into planstore.plan_marks (plan_id, mark, created_at)
  select m.id, m.mark, c.created_at
  from marked m
  join created c on c.id = m.id
),
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select $17::text, $18::text, $19::bytea, row_to_json(c)
  from created c
  where $17::text is not null
)
select {", ".join(_PLAN)} from created
"""


async def create(
    conn: Connection,
    plan: PlanCreate,
    *,
    plan_id: UUID,
    key: RequestKey | None,
    template: tuple[str, int] | None = None,
) -> Row:
    """Make a plan; ``template``: the name and the version of that of which it is made."""
    row = await conn.fetchrow(
        _CREATE,
        plan_id,
        plan.goal_id,
        plan.agent_id,
        plan.plan_type,
        plan.steps,
        plan.status,
        plan.current_step,
        plan.metadata,
        plan.auto_complete,
        plan.on_failure,
        plan.max_parallel_tasks,
        plan.retry_policy,
        plan.labels,
        *(template or (None, None)),
        plan.budget,
        *(key.row if key else (None, None, None)),
    )
    assert row is not None
    return row


_GET: Final = f"select {', '.join(_PLAN)} from planstore.plans where id = $1"


async def get(conn: Connection, plan_id: UUID) -> Row | None:
    """Return the plan, or None."""
    return await conn.fetchrow(_GET, plan_id)


_MANY: Final = f"""
select {columns(_PLAN, of="p")}
from unnest($1::uuid[]) with ordinality as g (plan_id, position)
join planstore.plans p on p.id = g.plan_id
order by g.position
"""


async def many(conn: Connection, plan_ids: Sequence[UUID]) -> list[Row]:
    """Return plans by their ids, in the given order; those that aren't there are left out."""
    return await conn.fetch(_MANY, plan_ids)


_LOCK: Final = """
select p.id, p.plan_type, p.status, p.revision, p.last_order, p.max_parallel_tasks, p.closed_at,
  p.paused_at, p.on_failure, now() as locked_at
from planstore.plans p
where p.id = any ($1)
order by p.id
for no key update
"""


async def lock(conn: Connection, plan_ids: Iterable[UUID]) -> list[Row]:
    """Lock plans until the transaction ends: what is read after it is up to date."""
    return await conn.fetch(_LOCK, list(plan_ids))


_LOCK_OF_TASKS: Final = """
select p.id, p.plan_type, p.status, p.revision, p.last_order, p.max_parallel_tasks, p.closed_at,
  p.paused_at, p.on_failure, now() as locked_at
from planstore.plans p
where p.id in (select t.plan_id from planstore.tasks t where t.id = any ($1))
order by p.id
for no key update of p
"""


async def lock_of_tasks(conn: Connection, task_ids: Iterable[UUID]) -> list[Row]:
    """Lock the plans of tasks until the transaction ends."""
    return await conn.fetch(_LOCK_OF_TASKS, list(task_ids))


_FREE: Final = """
select p.id
from planstore.plans p
where p.id = any ($1)
for no key update of p skip locked
"""


async def free(conn: Connection, plan_ids: Iterable[UUID]) -> set[UUID]:
    """Return those of the plans that nobody holds at this moment."""
    return {row["id"] for row in await conn.fetch(_FREE, list(plan_ids))}


_DERIVING: Final = frozenset(
    {"plan_type", "status", "auto_complete", "on_failure", "max_parallel_tasks", "paused_at"}
    | {"budget"}
)
"""Fields from which the state of the plan's tasks follows."""


def concerns_tasks(changes: Mapping[str, Any]) -> bool:
    """Whether what follows from ``changes`` has to be derived after them."""
    return not changes.keys().isdisjoint(_DERIVING)


_N: Final = len(_FIELDS)
_KEY: Final = tuple(f"${_N + n}::{kind}" for n, kind in ((4, "text"), (5, "text"), (6, "bytea")))

# The parameters: $1 the plan, $2 the fields that are named, then the fields' values, the expected
# version and the idempotency key.
_CHANGE: Final = f"""
with recursive given as materialized (
  select {given(_FIELDS, first=3)}
),
plan as materialized (
  select {", ".join(f"p.{name}" for name in _PLAN)}, p.reopened
  from planstore.plans p
  where p.id = $1
  for no key update
),
wanted as materialized (
  select
    p.id,
    {", ".join(new_value(name, of="p") for name, _ in _FIELDS)},
    case
      when m.is_closing then coalesce(p.closed_at, now())
      when m.is_reopening then null
      else p.closed_at
    end as closed_at,
    m.is_move, m.is_closing, m.is_reopening
  from plan p
  cross join given
  cross join lateral (
    select
      'status' = any ($2) and given.status <> p.status as is_move,
      -- A plan that has settled by itself can still be closed; but one that is sent back whole,
      -- as it was read, says with closed_at that it is not.
      'status' = any ($2) and given.status in {PLAN_FINAL}
        and not (given.status = p.status and 'closed_at' = any ($2)) as is_closing,
      'status' = any ($2) and given.status = {PLAN_ACTIVE} and p.status in {PLAN_FINAL}
        as is_reopening
  ) m
),
changes as materialized (
  select json_object_agg(c.field, c.value) as payload
  from plan p, wanted w, lateral (
    values
      {compared((*_FIELDS, ("closed_at", "timestamptz")), new="w.", old="p.")}
  ) c (field, value, is_changed)
  where c.is_changed
),
judged as materialized (
  select
    p.id,
    case
      when ${_N + 3}::bigint <> p.version then 'mismatch'
      when w.is_move and e.event_type is null then 'refused'
      else 'changed'
    end as verdict,
    coalesce(e.event_type, 'plan.updated') as event_type
  from plan p, wanted w, lateral (
    select case
      when w.is_move then {event_of(PLAN_LIFECYCLE, "p.status", "w.status")}
      when w.paused_at is not null and p.paused_at is null then 'plan.paused'
      when w.paused_at is null and p.paused_at is not null then 'plan.resumed'
    end as event_type
  ) e
),
changed as (
  update planstore.plans p
  set
    {", ".join(f"{name} = w.{name}" for name, _ in _FIELDS if name != "steps")},
    steps = case when 'steps' = any ($2) then w.steps else p.steps end,
    version = p.version + 1,
    updated_at = now(),
    closed_at = w.closed_at,
    reopened = not w.is_closing and (p.reopened or w.is_reopening)
  from judged j, wanted w, changes c
  where j.verdict = 'changed'
    and c.payload is not null
    and p.id = j.id
  returning p.version, p.updated_at
),
answer as materialized (
  select
    p.id, p.template, p.template_version, p.usage, p.revision, p.created_at, w.closed_at,
    {columns((name for name, _ in _FIELDS), of="w")},
    coalesce(n.version, p.version) as version,
    coalesce(n.updated_at, p.updated_at) as updated_at
  from judged j
  join plan p on p.id = j.id
  join wanted w on w.id = j.id
  left join changed n on true
  where j.verdict = 'changed'
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    j.event_type, 'plan', p.id, p.id, n.version, c.payload,
    json_build_object('revision', p.revision)
  from judged j, plan p, changes c, changed n
),
worded as (
  insert into planstore.plan_words (plan_id, created_at, words)
  select w.id, p.created_at, {words.of_plan("w")}
  from wanted w, plan p, changed
  where $2 && '{{steps,metadata}}'
  on conflict (plan_id) do update set words = excluded.words
),
filed as materialized (
  select w.id, w.labels, w.metadata, p.created_at
  from wanted w, plan p, changed
  where $2 && '{{labels,metadata}}'
),
{marks.marked("filed")},
unlisted as (
  delete from planstore.plan_marks m
  using filed o
  where m.plan_id = o.id
    and m.mark not in (select n.mark from marked n)
),
listed as (
  insert into planstore.plan_marks (plan_id, mark, created_at)
  select n.id, n.mark, o.created_at
  from marked n
  join filed o on o.id = n.id
  on conflict do nothing
),
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select {", ".join(_KEY)}, row_to_json(a)
  from answer a
  where {_KEY[0]} is not null
)
select j.verdict, p.status as status_before, p.version as version_before,
  {columns(_PLAN, of="a")}
from judged j
join plan p on p.id = j.id
left join answer a on true
"""


async def change(
    conn: Connection,
    plan_id: UUID,
    changes: Mapping[str, Any],
    *,
    expected_version: int | None,
    key: RequestKey | None,
) -> list[Row]:
    """Set the fields of a plan that ``changes`` names; answers the plan with ``verdict``.

    ``closed_at`` among them says that the plan is sent back as it was read. Where the changes
    concern its tasks (`concerns_tasks`), what follows is to be derived after it, in the same
    transaction, with the plan and its ready tasks locked before.

    ``changed``: done. Refusals, by which nothing changed: ``mismatch`` (it is at
    ``version_before``), ``refused`` (``status_before`` doesn't allow it). Nothing: no such plan.
    """
    return await conn.fetch(
        _CHANGE,
        plan_id,
        list(changes),
        *(changes.get(name) for name, _ in _FIELDS),
        expected_version,
        *(key.row if key else (None, None, None)),
    )


# The parameters: $1 the plans, $2 whether running tasks are no obstacle, $3 the version that they
# must be at, $4 how many of the running tasks are named.
_DELETE: Final = f"""
with plan as materialized (
  select p.id, p.version, p.revision, p.task_count
  from planstore.plans p
  where p.id = any ($1::uuid[])
  order by p.id
  for update
),
state as materialized (
  select t.plan_id, t.id, t.name, t.task_type, s.status, s.worker_id
  from plan
  join planstore.tasks t on t.plan_id = plan.id
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  order by t.id
  -- What a task is before where it stands, as an edit takes them.
  for update of t, s
),
judged as materialized (
  select
    plan.*, coalesce(r.running, 0) as running,
    case
      when $3::bigint <> plan.version then 'mismatch'
      when r.running > 0 and not $2::boolean then 'running'
      else 'deleted'
    end as verdict
  from plan
  left join (
    select s.plan_id, count(*) as running
    from state s
    where s.status = {TASK_RUNNING}
    group by s.plan_id
  ) r on r.plan_id = plan.id
),
going as materialized (
  select j.id from judged j where j.verdict = 'deleted'
),
unlinked as (
  delete from planstore.dependencies d using going g where d.plan_id = g.id
),
untried as (
  delete from planstore.attempts a using going g where a.plan_id = g.id
),
unjudged as (
  delete from planstore.evaluations v using going g where v.plan_id = g.id
),
unstated as (
  delete from planstore.task_states s using going g where s.plan_id = g.id
),
emptied as (
  delete from planstore.tasks t using going g where t.plan_id = g.id
),
forgotten as (
  delete from planstore.task_words w using going g where w.plan_id = g.id
),
uncharged as (
  delete from planstore.usage u using going g where u.plan_id = g.id
),
unworded as (
  delete from planstore.plan_words w using going g where w.plan_id = g.id
),
unlisted as (
  delete from planstore.plan_marks m using going g where m.plan_id = g.id
),
unmarked as (
  delete from planstore.task_marks m using going g where m.plan_id = g.id
),
deleted as (
  delete from planstore.plans p using going g where p.id = g.id
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'plan.deleted', 'plan', j.id, j.id, j.version + 1, '{{}}',
    json_build_object(
      'revision', j.revision, 'tasks', j.task_count,
      'statuses', (
        select coalesce(json_agg(c), '[]')
        from (
          select s.task_type, s.status, count(*) as count
          from state s
          where s.plan_id = j.id
          group by s.task_type, s.status
          order by s.task_type, s.status
        ) c
      )
    )
  from judged j
  where j.verdict = 'deleted'
  order by j.id
)
select
  j.id as plan_id, j.verdict, j.version as version_before, j.task_count, j.running,
  case when j.verdict = 'running' then (
    select json_agg(json_build_object('id', r.id, 'name', r.name, 'worker_id', r.worker_id))
    from (
      select s.id, s.name, s.worker_id
      from state s
      where s.plan_id = j.id
        and s.status = {TASK_RUNNING}
      order by s.id
      limit $4
    ) r
  ) end as running_tasks
from judged j
order by j.id
"""


async def delete(
    conn: Connection,
    plan_ids: Iterable[UUID],
    *,
    force: bool,
    expected_version: int | None = None,
    named: int,
) -> list[Row]:
    """Delete plans with their tasks and all that is kept of these but the events.

    They must be locked before, in the same transaction. ``force``: also where tasks run, whose
    claims end by it. ``named``: of how many running tasks it is told what they are.

    Answers for each plan that there was ``plan_id``, ``task_count`` and a ``verdict``:
    ``deleted``; or, and nothing changed, ``mismatch`` (it is at ``version_before``) or ``running``
    (so many tasks are ``running``; ``running_tasks`` are the first, with their workers).
    """
    return await conn.fetch(_DELETE, list(plan_ids), force, expected_version, named)
