"""Changing a task: its fields, and its status where that is no run's end."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.following import PLAN_COUNTS
from planstore.sql.fragments import (
    IS_HELD,
    IS_WAITING,
    PLAN_ACTIVE,
    TASK_BLOCKED,
    TASK_COMPLETED,
    TASK_ENDED,
    TASK_PENDING,
    TASK_RUNNING,
    TASK_UNSTARTED,
    columns,
    compared,
    event_of,
    given,
    new_value,
)
from planstore.sql.tasks.columns import ALL, ON_STATE, ON_TASK, TASK, TASKS
from planstore.sql.tasks.resetting import approval_kept

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from planstore.models.idempotency import RequestKey
    from planstore.sql.connection import Connection, Row

_OF_STATE: Final = (
    *ON_STATE,
    ("status", "text"),
    ("output_data", "json"),
    ("error", "json"),
    ("started_at", "timestamptz"),
    ("completed_at", "timestamptz"),
)
_FIELDS: Final = (*ON_TASK, *_OF_STATE)
"""What a client may set, with its type, in the order of the parameters from $4 on."""

_FOLLOWING: Final = (
    ("status_reason", "text"),
    ("attempt", "integer"),
    ("worker_id", "text"),
    ("progress", "double precision"),
    ("progress_note", "text"),
    ("needs_review", "boolean"),
    ("approval", "json"),
)
"""What a move changes beside what the client sets."""

_CONCERNING_PLAN: Final = frozenset(
    {"status", "sequence_order", "not_before", "name", "requires_approval"}
)
"""What a task has in common with the others of its plan. A name is: two tasks that take each
other's at once would each wait for the other, did they not wait for the plan."""


def _kept(field: str, *, on_start: str = "", on_reset: str = "", on_return: str = "") -> str:
    """The field's value after a move that doesn't name it."""
    cases = (("t.is_start", on_start), ("t.is_reset", on_reset), ("t.is_return", on_return))
    rows = " ".join(f"when {move} then {value}" for move, value in cases if value)
    return f"case {rows} else t.{field} end"


_STILL_DUE: Final = "not o.is_move and o.not_before is not distinct from w.not_before"

_HELD: Final = f"case when given.status = {TASK_BLOCKED} then {IS_HELD} end"

_N: Final = len(_FIELDS)

# The parameters: $1 the task, $2 the fields that are named, $3 whether the plan is concerned,
# then the fields' values, the expected version, the fencing token, whether all that follows is
# derived afterwards, and the idempotency key.
_VERSION: Final = f"${_N + 4}::bigint"
_TOKEN: Final = f"${_N + 5}::bigint"
_DERIVED_AFTER: Final = f"${_N + 6}::boolean"
_KEY: Final = tuple(f"${_N + n}::{kind}" for n, kind in ((7, "text"), (8, "text"), (9, "bytea")))

_CHANGE: Final = f"""
with given as materialized (
  select {given(_FIELDS, first=4)}
),
plan as materialized (
  select {PLAN_COUNTS}
  from planstore.plans p
  where $3
    and p.id = (select t.plan_id from planstore.tasks t where t.id = $1)
  for no key update of p
),
task as materialized (
  select
    {TASK},
    s.fencing_token, s.began_at, s.unmet, s.free_attempts, s.due_at, s.ready_at,
    s.lease_expires_at is not null as is_claimed,
    plan.is_closed,
    coalesce(plan.revision, q.revision) as revision,
    m.is_move,
    m.is_move and given.status = {TASK_RUNNING} as is_start,
    m.is_move and given.status in {TASK_ENDED} as is_end,
    m.is_move and given.status = {TASK_PENDING} and s.status in {TASK_ENDED} as is_reset,
    -- Released, held, or no longer held.
    m.is_move and given.status in {TASK_UNSTARTED} and s.status not in {TASK_ENDED} as is_return
  from given, {TASKS}
  join planstore.plans q on q.id = t.plan_id
  left join plan on plan.id = t.plan_id
  cross join lateral (
    select 'status' = any ($2) and s.status <> (select given.status from given) as is_move
  ) m
  where t.id = $1
  for no key update of t, s
),
wanted as materialized (
  select
    t.id,
    {", ".join(new_value(name, of="t") for name, _ in (*ON_TASK, *ON_STATE))},
    {new_value("status", of="t")},
    case
      -- A result that is reported again may spell the same output in another way.
      when t.status = {TASK_COMPLETED} and given.status = {TASK_COMPLETED}
        and t.output_data::jsonb = given.output_data::jsonb then t.output_data
      when 'output_data' = any ($2) then given.output_data
      else {_kept("output_data", on_reset="null")}
    end as output_data,
    {new_value("error", of="t", otherwise=_kept("error", on_reset="null"))},
    {
    new_value(
        "started_at",
        of="t",
        otherwise=_kept("started_at", on_start="now()", on_reset="null", on_return="null"),
    )
},
    {
    new_value(
        "completed_at",
        of="t",
        otherwise=_kept("completed_at", on_start="null", on_reset="null", on_return="null"),
    )
},
    {_kept("status_reason", on_reset="null", on_return=_HELD)} as status_reason,
    {_kept("attempt", on_start="t.attempt + 1")} as attempt,
    {_kept("worker_id", on_start="null", on_reset="null", on_return="null")} as worker_id,
    {_kept("progress", on_start="null", on_reset="null", on_return="null")} as progress,
    {_kept("progress_note", on_start="null", on_reset="null", on_return="null")} as progress_note,
    {_kept("needs_review", on_reset="false")} as needs_review,
    {_kept("approval", on_reset=approval_kept("t"))} as approval
  from task t, given
),
changes as materialized (
  select json_object_agg(c.field, c.value) as payload
  from task t, wanted w, lateral (
    values
      {compared((*_FIELDS, *_FOLLOWING), new="w.", old="t.")}
  ) c (field, value, is_changed)
  where c.is_changed
),
judged as materialized (
  select
    t.id,
    case
      when {_VERSION} <> t.version then 'mismatch'
      when {_TOKEN} <> coalesce(t.fencing_token, 0) then 'stale_claim'
      -- A claimed task runs already, and whoever starts it by hand would take it for theirs. But
      -- one that is sent back whole, as it was read, says with worker_id whose it is.
      when t.is_claimed and {_TOKEN} is null and 'status' = any ($2)
        and given.status = {TASK_RUNNING} and not 'worker_id' = any ($2) then 'claimed'
      when t.is_move and e.event_type is null then 'refused'
      when t.status = {TASK_BLOCKED} and t.is_return and t.status_reason in {IS_WAITING}
        then 'waiting'
      when t.is_end then 'end'
      when t.is_move and t.is_closed then 'closed'
      when 'status' = any ($2)
        and not t.is_move
        and t.status = {TASK_COMPLETED}
        and t.output_data::text is distinct from w.output_data::text then 'conflict'
      when c.payload is null then 'same'
      when {_DERIVED_AFTER} then 'changed'
      when t.is_move and not t.is_start
        or t.is_start and (
          plan.status <> {PLAN_ACTIVE} or t.due_at is null or plan.reopened
          or plan.is_limited and t.ready_at is null
        )
        or t.sequence_order <> w.sequence_order
        or t.not_before is distinct from w.not_before
        or t.requires_approval <> w.requires_approval then 'wide'
      else 'changed'
    end as verdict,
    coalesce(e.event_type, 'task.updated') as event_type
  from given, task t
  join wanted w on w.id = t.id
  cross join changes c
  left join plan on true,
  lateral (select case when t.is_move then
    {event_of(TASK_LIFECYCLE, "t.status", "w.status")}
  end as event_type) e
),
offered as (  -- a start by hand takes a place, whether the task had been handed out or not
  update planstore.plans p
  set offered_tasks = p.offered_tasks + 1
  from judged j, task t
  where j.verdict = 'changed'
    and t.is_start
    and t.ready_at is null
    and not {_DERIVED_AFTER}
    and p.id = t.plan_id
),
edited as (
  update planstore.tasks t
  set {", ".join(f"{name} = w.{name}" for name, _ in ON_TASK)}
  from wanted w, judged j, task o
  where j.verdict = 'changed'
    and $2 && '{{{",".join(name for name, _ in ON_TASK)}}}'
    and t.plan_id = o.plan_id
    and t.id = o.id
),
moved as (
  update planstore.task_states s
  set
    {", ".join(f"{name} = w.{name}" for name, _ in (*_OF_STATE, *_FOLLOWING))},
    agent_id = w.agent_id,
    task_type = w.task_type,
    version = s.version + 1,
    updated_at = now(),
    -- What is no longer pending isn't due; nor, until it is derived anew, what is to wait longer.
    due_at = case when {_STILL_DUE} then s.due_at end,
    ready_at = case when {_STILL_DUE} then s.ready_at end,
    retry_at = case when not (o.is_start or o.is_reset) then s.retry_at end,
    keeps_hold = s.keeps_hold and not o.is_move,
    was_ready_at = case when o.is_start then o.ready_at else s.was_ready_at end,
    began_at = case when o.is_start then now() when o.is_move then null else s.began_at end,
    ended_at = case when o.is_move then null else s.ended_at end,
    free_attempts = case
      when o.is_reset then s.attempt
      else s.free_attempts + (o.is_return and o.status = {TASK_RUNNING})::int
    end,
    fencing_token = case when o.is_move then null else s.fencing_token end,
    lease_expires_at = case when o.is_move then null else s.lease_expires_at end,
    lease_seconds = case when o.is_move then null else s.lease_seconds end,
    times_out_at = case when o.is_move then null else s.times_out_at end
  from wanted w, judged j, task o
  where j.verdict = 'changed'
    and s.plan_id = o.plan_id
    and s.task_id = o.id
  returning s.version, s.updated_at
),
worded as (
  insert into planstore.task_words_due (task_ids)
  select array[w.id]
  from wanted w, judged j, task o
  where j.verdict = 'changed'
    and (
      $2 && '{{name,description}}'
        and (w.name is distinct from o.name or w.description <> o.description)
      or $2 && '{{labels,metadata}}'
        and (w.labels <> o.labels or w.metadata::text <> o.metadata::text)
    )
),
tried as (  -- a run that is undone, or ended by hand, stays readable
  insert into planstore.attempts
    (plan_id, task_id, attempt, worker_id, fencing_token, began_at, ended_at, outcome, error)
  select
    o.plan_id, o.id, o.attempt, o.worker_id, o.fencing_token, o.began_at,
    coalesce(o.completed_at, now()),
    case
      when o.is_reset then o.status
      when o.is_claimed and {_TOKEN} is null then 'overridden'
      else 'released'
    end,
    null
  from task o, judged j
  where j.verdict = 'changed'
    and o.began_at is not null
    and (o.is_reset and o.status = {TASK_COMPLETED} or o.is_return and o.status = {TASK_RUNNING})
),
answer as materialized (
  select
    t.id, t.plan_id, t.created_at, t.usage,
    {columns((name for name, _ in (*_FIELDS, *_FOLLOWING)), of="w")},
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
      when j.verdict = 'changed' and w.task_type is distinct from t.task_type
        then json_build_object(
          'revision', t.revision, 'was', t.status, 'status', a.status, 'task_type', a.task_type,
          'task_type_was', t.task_type
        )
      when j.verdict = 'changed' and t.is_move
        then json_build_object('revision', t.revision, 'was', t.status, 'task_type', t.task_type)
      when j.verdict = 'changed' then json_build_object('revision', t.revision)
      -- A late answer is kept, though it isn't taken.
      else json_build_object('revision', t.revision, 'reason', j.verdict, 'refused', c.payload)
    end
  from judged j
  cross join task t
  cross join wanted w
  cross join changes c
  left join answer a on true
  where j.verdict = 'changed'
    -- A repetition under its key isn't late: it is answered as the first request was.
    or j.verdict in ('conflict', 'stale_claim') and not exists (
      select from planstore.idempotency_keys k where k.scope = {_KEY[0]} and k.key = {_KEY[1]}
    )
),
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select {", ".join(_KEY)}, row_to_json(a)
  from answer a
  where {_KEY[0]} is not null
    and not {_DERIVED_AFTER}
)
select j.verdict, t.status as status_before, t.status_reason as reason_before,
  t.version as version_before,
  t.plan_id as plan_id_before, t.worker_id as worker_before,
  t.sequence_order is distinct from w.sequence_order as is_reordered,
  {columns(ALL, of="a")}
from judged j
join task t on t.id = j.id
join wanted w on w.id = j.id
left join answer a on true
"""


async def change(
    conn: Connection,
    task_id: UUID,
    changes: Mapping[str, Any],
    *,
    expected_version: int | None,
    token: int | None,
    key: RequestKey | None,
    is_derived_after: bool = False,
) -> list[Row]:
    """Set the fields of a task that ``changes`` names; answers the task with ``verdict``.

    ``status`` among them starts, releases, holds, unholds or resets it; what ends it is
    `planstore.sql.tasks.ending`. ``token``: of the claim that the change is made under.
    ``worker_id`` among them says that the task is sent back as it was read.
    ``is_derived_after``: the plan and its ready tasks are locked, and all that follows is derived
    after it, in the same transaction; then no key is kept.

    ``changed`` and ``same``: done, or nothing to do. ``wide``: nothing was done, since what follows
    takes more than counting. ``end``: nor was it, since the task would end. Refusals, by which
    nothing changed: ``mismatch`` (it is at ``version_before``), ``refused`` (``status_before``
    doesn't allow it), ``claimed`` (by ``worker_before``), ``waiting`` (for a dependency),
    ``closed`` (the plan is), ``stale_claim`` (it has ended) and ``conflict`` (it has another
    output): of these two an event keeps what was sent. Nothing: no such task.
    """
    return await conn.fetch(
        _CHANGE,
        task_id,
        list(changes),
        not changes.keys().isdisjoint(_CONCERNING_PLAN),
        *(changes.get(name) for name, _ in _FIELDS),
        expected_version,
        token,
        is_derived_after,
        *(key.row if key else (None, None, None)),
    )
