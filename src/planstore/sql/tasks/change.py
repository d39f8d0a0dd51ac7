"""Changing a task: its fields, its status, its place."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.following import FOLLOWED, IS_FRESH, PLAN_COUNTS, PLAN_RECORDED, is_live
from planstore.sql.fragments import (
    TASK_COMPLETED,
    TASK_ENDED,
    TASK_FINISHED,
    TASK_PENDING,
    TASK_RUNNING,
    TASK_UNSTARTED,
    columns,
    compared,
    event_of,
    given,
    new_value,
)
from planstore.sql.tasks.columns import ALL, TASK, TASKS
from planstore.sql.tasks.gate import GATED, NEEDS_OTHERS

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from planstore.models.idempotency import RequestKey
    from planstore.sql.connection import Connection, Row

_FIELDS: Final = (
    ("name", "text"),
    ("agent_id", "uuid"),
    ("description", "text"),
    ("task_type", "text"),
    ("input_data", "json"),
    ("metadata", "json"),
    ("sequence_order", "integer"),
    ("status", "text"),
    ("output_data", "json"),
    ("error", "json"),
    ("started_at", "timestamptz"),
    ("completed_at", "timestamptz"),
)
"""What a client may set, with its type, in the order of the parameters from $4 on."""

_CONCERNING_PLAN: Final = frozenset({"status", "sequence_order", "name"})
"""What a task has in common with the others of its plan. A name is: two tasks that take each
other's at once would each wait for the other, did they not wait for the plan."""

# What a move does to the fields that go with it, unless the client names them.
_ERROR: Final = new_value(
    "error",
    of="t",
    otherwise=f"""case
      when t.is_move and given.status in ({TASK_PENDING}, {TASK_COMPLETED}) then null
      else t.error
    end""",
)
_STARTED_AT: Final = new_value(
    "started_at",
    of="t",
    otherwise=f"""case
      when not t.is_move then t.started_at
      when given.status = {TASK_RUNNING} then now()
      when given.status in {TASK_UNSTARTED} then null
      else t.started_at
    end""",
)
_COMPLETED_AT: Final = new_value(
    "completed_at",
    of="t",
    otherwise=f"""case
      when not t.is_move then t.completed_at
      when given.status in {TASK_ENDED} then now()
    end""",
)

# The parameters: $1 the task, $2 the fields that are named, $3 whether the plan is concerned,
# then the fields' values, the expected version and the idempotency key.
_CHANGE: Final = f"""
with given as materialized (
  select {given(_FIELDS, first=4)}, ${len(_FIELDS) + 4}::bigint as version
),
seen as materialized (
  select p.id, p.xmin, p.revision
  from planstore.tasks t
  join planstore.plans p on p.id = t.plan_id
  where t.id = $1
),
plan as materialized (
  select {PLAN_COUNTS}, {IS_FRESH} as is_fresh
  from planstore.plans p
  join seen on seen.id = p.id
  where $3
  for no key update of p
),
task as materialized (
  select
    {TASK},
    s.status not in {TASK_FINISHED} as is_unfinished,
    {is_live("s.status", order="t.sequence_order", gate="plan.gate_order")} as is_live,
    'status' = any ($2) and s.status <> given.status as is_move,
    plan.is_closed
  from given, {TASKS}
  left join plan on plan.id = t.plan_id
  where t.id = $1
  for no key update of t, s
),
wanted as materialized (
  select
    t.id,
    {new_value("name", of="t")},
    {new_value("agent_id", of="t")},
    {new_value("description", of="t")},
    {new_value("task_type", of="t")},
    {new_value("input_data", of="t")},
    {new_value("metadata", of="t")},
    {new_value("sequence_order", of="t")},
    {new_value("status", of="t")},
    case
      -- A result that is reported again may spell the same output in another way.
      when t.status = {TASK_COMPLETED} and given.status = {TASK_COMPLETED}
        and t.output_data::jsonb = given.output_data::jsonb then t.output_data
      when 'output_data' = any ($2) then given.output_data
      when t.is_move and t.status in {TASK_ENDED} and given.status = {TASK_PENDING} then null
      else t.output_data
    end as output_data,
    {_ERROR},
    {_STARTED_AT},
    {_COMPLETED_AT}
  from task t, given
),
changes as materialized (
  select json_object_agg(c.field, c.value) as payload
  from task t, wanted w, lateral (
    values
      {compared(_FIELDS, new="w", old="t")}
  ) c (field, value, is_changed)
  where c.is_changed
),
{GATED},
judged as materialized (
  select
    t.id,
    case
      when given.version <> t.version then 'mismatch'
      when t.is_move and e.event_type is null then 'refused'
      when t.is_move and t.is_closed and w.status not in {TASK_ENDED} then 'closed'
      when 'status' = any ($2)
        and not t.is_move
        and t.status = {TASK_COMPLETED}
        and t.output_data::text is distinct from w.output_data::text then 'conflict'
      when c.payload is null then 'same'
      when not plan.is_fresh
        and {NEEDS_OTHERS} then 'stale'
      else 'changed'
    end as verdict,
    coalesce(e.event_type, 'task.updated') as event_type
  from given, task t
  join wanted w on w.id = t.id
  cross join changes c
  left join plan on true
  left join left_at_gate l on true
  left join gated g on true,
  lateral (select case when t.is_move then
    {event_of(TASK_LIFECYCLE, "t.status", "w.status")}
  end as event_type) e
),
weighed as materialized (
  select
    plan.id,
    g.gate_order,
    coalesce(case when g.gate_order = g.others_order then g.others_unfinished end, 0)
      + (g.is_unfinished and w.sequence_order = g.gate_order)::int as gate_unfinished,
    plan.unfinished_tasks - t.is_unfinished::int + g.is_unfinished::int as unfinished_tasks,
    plan.live_tasks - t.is_live::int
      + ({is_live("w.status", order="w.sequence_order", gate="g.gate_order")})::int
      + case
        when plan.is_sequential and g.gate_order = g.others_order then g.others_opened else 0
      end
      - shut.tasks::int as live_tasks,
    plan.task_count,
    greatest(plan.last_order, w.sequence_order) as last_order,
    t.is_move,
    t.sequence_order <> w.sequence_order as is_revision,
    t.is_move and w.status not in {TASK_UNSTARTED} as is_start
  from judged j, plan, task t, wanted w, gated g, shut
  where j.verdict = 'changed'
    and (t.is_move or t.sequence_order <> w.sequence_order)
),
{FOLLOWED},
edited as (
  update planstore.tasks t
  set
    name = w.name,
    agent_id = w.agent_id,
    description = w.description,
    task_type = w.task_type,
    input_data = w.input_data,
    metadata = w.metadata,
    sequence_order = w.sequence_order
  from wanted w, judged j
  where j.verdict = 'changed'
    and $2 && '{{name,agent_id,description,task_type,input_data,metadata,sequence_order}}'
    and t.plan_id = (select seen.id from seen)
    and t.id = w.id
),
moved as (
  update planstore.task_states s
  set
    status = w.status,
    version = s.version + 1,
    updated_at = now(),
    started_at = w.started_at,
    completed_at = w.completed_at,
    output_data = w.output_data,
    error = w.error
  from wanted w, judged j
  where j.verdict = 'changed'
    and s.plan_id = (select seen.id from seen)
    and s.task_id = w.id
  returning s.version, s.updated_at
),
answer as materialized (
  select
    t.id, t.plan_id, t.created_at,
    {columns((name for name, _ in _FIELDS), of="w")},
    coalesce(m.version, t.version) as version,
    coalesce(m.updated_at, t.updated_at) as updated_at
  from judged j
  join task t on t.id = j.id
  join wanted w on w.id = j.id
  left join moved m on true
  where j.verdict in ('changed', 'same')
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    case when j.verdict = 'changed' then j.event_type else 'task.result_refused' end,
    'task', t.id, t.plan_id, coalesce(a.version, t.version),
    case when j.verdict = 'changed' then c.payload else '{{}}' end,
    case
      when j.verdict = 'changed'
        then json_build_object('revision', coalesce(f.revision, seen.revision))
      -- A late answer is kept, though it isn't taken.
      else json_build_object('revision', seen.revision, 'refused', c.payload)
    end
  from judged j
  cross join task t
  cross join changes c
  cross join seen
  left join answer a on true
  left join followed f on true
  where j.verdict = 'changed'
    -- A repetition under its key isn't late: it is answered as the first request was.
    or j.verdict = 'conflict' and not exists (
      select from planstore.idempotency_keys k
      where k.scope = ${len(_FIELDS) + 5}::text and k.key = ${len(_FIELDS) + 6}::text
    )
  returning seq
),
{PLAN_RECORDED},
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select
    ${len(_FIELDS) + 5}::text, ${len(_FIELDS) + 6}::text, ${len(_FIELDS) + 7}::bytea,
    row_to_json(a)
  from answer a
  where ${len(_FIELDS) + 5}::text is not null
)
select j.verdict, t.status as status_before, t.version as version_before,
  t.plan_id as plan_id_before,
  {columns(ALL, of="a")}
from judged j
join task t on t.id = j.id
left join answer a on true
"""


async def change(
    conn: Connection,
    task_id: UUID,
    changes: Mapping[str, Any],
    *,
    expected_version: int | None,
    key: RequestKey | None,
) -> list[Row]:
    """Set the fields of a task that ``changes`` names; answers the task with ``verdict``.

    ``changed`` and ``same``: done, or nothing to do. Refusals, by which nothing changed:
    ``mismatch`` (it is at ``version_before``), ``refused`` (``status_before`` doesn't allow it),
    ``closed`` (the plan is), ``conflict`` (it has another output; the event is kept).
    ``stale``: nothing was done; call again with the plan locked before. Nothing: no such task.
    """
    return await conn.fetch(
        _CHANGE,
        task_id,
        list(changes),
        not changes.keys().isdisjoint(_CONCERNING_PLAN),
        *(changes.get(name) for name, _ in _FIELDS),
        expected_version,
        *(key.row if key else (None, None, None)),
    )
