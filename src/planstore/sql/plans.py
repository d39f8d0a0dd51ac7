"""The statements about plans: one typed function is one statement."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.plan import PLAN_LIFECYCLE, Plan
from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.following import IS_FRESH, PLAN_COUNTS, next_step, settled
from planstore.sql.fragments import (
    PLAN_ACTIVE,
    PLAN_DRAFT,
    PLAN_FINAL,
    PLAN_SEQUENTIAL,
    TASK_BUSY,
    TASK_FINISHED,
    TASK_PENDING,
    TASK_SKIPPED,
    TASK_UNSTARTED,
    columns,
    compared,
    event_of,
    given,
    new_value,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
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
    ("auto_complete", "boolean"),
)
"""What a client may set, with its type, in the order of the parameters of `_CHANGE` from $3 on."""

_PLAN: Final = tuple(Plan.model_fields)

_CREATE: Final = f"""
with created as (
  insert into planstore.plans
    (id, goal_id, agent_id, plan_type, steps, status, current_step, metadata, auto_complete)
  values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
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
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select $10::text, $11::text, $12::bytea, row_to_json(c)
  from created c
  where $10::text is not null
)
select {", ".join(_PLAN)} from created
"""


async def create(
    conn: Connection, plan: PlanCreate, *, plan_id: UUID, key: RequestKey | None
) -> Row:
    """Make a plan."""
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
        *(key.row if key else (None, None, None)),
    )
    assert row is not None
    return row


_GET: Final = f"select {', '.join(_PLAN)} from planstore.plans where id = $1"


async def get(conn: Connection, plan_id: UUID) -> Row | None:
    """Return the plan, or None."""
    return await conn.fetchrow(_GET, plan_id)


_LOCK: Final = "select 1 from planstore.plans where id = $1 for no key update"


async def lock(conn: Connection, plan_id: UUID) -> None:
    """Lock the plan's row until the transaction ends: what is read after it is up to date."""
    await conn.execute(_LOCK, plan_id)


_LOCK_OF_TASK: Final = """
select 1
from planstore.plans p
where p.id = (select t.plan_id from planstore.tasks t where t.id = $1)
for no key update of p
"""


async def lock_of_task(conn: Connection, task_id: UUID) -> None:
    """Lock the row of the task's plan until the transaction ends."""
    await conn.execute(_LOCK_OF_TASK, task_id)


# The parameters: $1 the plan, $2 the fields that are named, then the fields' values, the expected
# version and the idempotency key.
_CHANGE: Final = f"""
with given as materialized (
  select {given(_FIELDS, first=3)}, ${len(_FIELDS) + 3}::bigint as version
),
seen as materialized (
  select p.id, p.xmin from planstore.plans p where p.id = $1
),
plan as materialized (
  select {PLAN_COUNTS}, {IS_FRESH} as is_fresh,
    p.goal_id, p.agent_id, p.plan_type, p.steps, p.metadata, p.created_at, p.updated_at,
    p.closed_at
  from planstore.plans p
  join seen on seen.id = p.id
  for no key update of p
),
wanted as materialized (
  select
    p.id,
    {", ".join(new_value(name, of="p") for name, _ in _FIELDS)},
    'status' = any ($2) and given.status <> p.status as is_move,
    -- A plan that has settled by itself can still be closed; but one that is sent back whole,
    -- as it was read, says with closed_at that it is not.
    'status' = any ($2) and given.status in {PLAN_FINAL}
      and not (given.status = p.status and 'closed_at' = any ($2)) as is_closing,
    'status' = any ($2) and given.status = {PLAN_ACTIVE} and p.status in {PLAN_FINAL}
      as is_reopening
  from plan p, given
),
judged as materialized (
  select
    p.id,
    case
      when given.version <> p.version then 'mismatch'
      when w.is_move and e.event_type is null then 'refused'
      when not p.is_fresh
        and (w.is_closing or (w.plan_type = {PLAN_SEQUENTIAL}) <> p.is_sequential) then 'stale'
      else 'changed'
    end as verdict,
    e.event_type
  from plan p, wanted w, given, lateral (
    select case when w.is_move then
      {event_of(PLAN_LIFECYCLE, "p.status", "w.status")}
    end as event_type
  ) e
),
-- Closing skips what has not started.
unstarted as materialized (
  select s.task_id, s.status, s.version, t.sequence_order
  from judged j
  join wanted w on w.id = j.id and w.is_closing
  join planstore.task_states s on s.plan_id = j.id
  join planstore.tasks t on t.plan_id = s.plan_id and t.id = s.task_id
  where j.verdict = 'changed'
    and s.status in {TASK_UNSTARTED}
  order by s.task_id
  for no key update of s
),
skipped as (
  update planstore.task_states s
  set status = {TASK_SKIPPED}, version = s.version + 1, updated_at = now(), completed_at = now()
  from unstarted u
  where s.plan_id = $1
    and s.task_id = u.task_id
  returning s.task_id, s.version, s.completed_at, u.status as status_before
),
tasks_recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    {event_of(TASK_LIFECYCLE, "s.status_before", TASK_SKIPPED)},
    'task', s.task_id, p.id, s.version,
    json_build_object('status', {TASK_SKIPPED}, 'completed_at', s.completed_at),
    json_build_object('revision', p.revision, 'reason', 'plan_closed')
  from skipped s, plan p
  order by s.task_id
  returning seq
),
-- What is counted anew, where the change can't be counted in place: what closing leaves, and
-- whose turn has come under another plan type.
counted as materialized (
  select
    min(t.sequence_order) as gate_order,
    count(*) filter (where s.status in {TASK_BUSY}) as live,
    count(*) filter (where s.status = {TASK_PENDING}) as pending,
    count(*) filter (where s.status = {TASK_PENDING} and t.sequence_order = p.gate_order)
      as pending_at_gate
  from judged j
  join plan p on p.id = j.id
  join wanted w on w.id = j.id
    and (w.is_closing or (w.plan_type = {PLAN_SEQUENTIAL}) <> p.is_sequential)
  join planstore.task_states s on s.plan_id = j.id
  join planstore.tasks t on t.plan_id = s.plan_id and t.id = s.task_id
  where j.verdict = 'changed'
    and s.status not in {TASK_FINISHED}
    and not (w.is_closing and s.status in {TASK_UNSTARTED})
),
left_at_gate as materialized (
  select count(*) as unfinished
  from counted c
  join planstore.tasks t on t.plan_id = $1 and t.sequence_order = c.gate_order
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  join wanted w on w.is_closing
  where s.status not in {TASK_FINISHED}
    and s.status not in {TASK_UNSTARTED}
),
weighed as materialized (
  select
    w.id,
    case when w.is_closing then c.gate_order else p.gate_order end as gate_order,
    case when w.is_closing then l.unfinished else p.gate_unfinished end as gate_unfinished,
    p.task_count,
    p.unfinished_tasks - (select count(*) from unstarted) as unfinished_tasks,
    case
      when w.is_closing then c.live
      when (w.plan_type = {PLAN_SEQUENTIAL}) = p.is_sequential then p.live_tasks
      when p.is_sequential then c.live + c.pending
      else c.live + c.pending_at_gate
    end as live_tasks
  from plan p, wanted w, counted c, left_at_gate l
),
followed as materialized (
  select
    w.id, w.goal_id, w.agent_id, w.plan_type, w.steps, w.metadata, w.auto_complete,
    case
      when w.is_closing then w.status
      when 'status' = any ($2) and w.status = {PLAN_ACTIVE} and p.status <> w.status
        then w.status
      when p.status = {PLAN_DRAFT} or p.is_closed or p.reopened then w.status
      else {
    settled(
        f"case when g.live_tasks > 0 then {PLAN_ACTIVE} else w.status end",
        task_count="p.task_count",
        unfinished="g.unfinished_tasks",
        live="g.live_tasks",
        auto="w.auto_complete",
    )
}
    end as status,
    case
      when 'current_step' = any ($2) then w.current_step
      else {next_step("g.gate_order")}
    end as current_step,
    case
      when w.is_closing then coalesce(p.closed_at, now())
      when w.is_reopening then null
      else p.closed_at
    end as closed_at
  from plan p
  join wanted w on w.id = p.id
  join weighed g on g.id = p.id
),
changes as materialized (
  select json_object_agg(c.field, c.value) as payload
  from plan p, followed f, lateral (
    values
      {compared((*_FIELDS, ("closed_at", "timestamptz")), new="f", old="p")}
  ) c (field, value, is_changed)
  where c.is_changed
),
changed as (
  update planstore.plans p
  set
    goal_id = f.goal_id,
    agent_id = f.agent_id,
    plan_type = f.plan_type,
    steps = case when 'steps' = any ($2) then f.steps else p.steps end,
    status = f.status,
    current_step = f.current_step,
    metadata = f.metadata,
    auto_complete = f.auto_complete,
    version = p.version + 1,
    updated_at = now(),
    closed_at = f.closed_at,
    computed_step = coalesce(g.gate_order, p.computed_step),
    -- PostgreSQL checks constraints before it notices that a row was updated meanwhile, so all
    -- that a constraint compares comes from the locked row.
    task_count = g.task_count,
    unfinished_tasks = g.unfinished_tasks,
    live_tasks = g.live_tasks,
    gate_order = g.gate_order,
    gate_unfinished = g.gate_unfinished,
    reopened = not w.is_closing and (p.reopened or w.is_reopening)
  from judged j, wanted w, followed f, weighed g, changes c
  where j.verdict = 'changed'
    and c.payload is not null
    and p.id = j.id
  returning p.version, p.updated_at
),
answer as materialized (
  select
    p.id, p.revision, p.created_at, {columns((name for name, _ in _FIELDS), of="f")},
    f.closed_at,
    coalesce(n.version, p.version) as version,
    coalesce(n.updated_at, p.updated_at) as updated_at
  from judged j
  join plan p on p.id = j.id
  join followed f on f.id = j.id
  left join changed n on true
  where j.verdict = 'changed'
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    coalesce({event_of(PLAN_LIFECYCLE, "p.status", "f.status")}, 'plan.updated'),
    'plan', p.id, p.id, n.version, c.payload, json_build_object('revision', p.revision)
  from plan p, followed f, changes c, changed n
  -- The events of the tasks come first.
  where (select count(*) from tasks_recorded) >= 0
),
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select
    ${len(_FIELDS) + 4}::text, ${len(_FIELDS) + 5}::text, ${len(_FIELDS) + 6}::bytea,
    row_to_json(a)
  from answer a
  where ${len(_FIELDS) + 4}::text is not null
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

    ``closed_at`` among them says that the plan is sent back as it was read.

    ``changed``: done. Refusals, by which nothing changed: ``mismatch`` (it is at
    ``version_before``), ``refused`` (``status_before`` doesn't allow it). ``stale``: nothing was
    done; call again with the plan locked before. Nothing: no such plan.
    """
    return await conn.fetch(
        _CHANGE,
        plan_id,
        list(changes),
        *(changes.get(name) for name, _ in _FIELDS),
        expected_version,
        *(key.row if key else (None, None, None)),
    )
