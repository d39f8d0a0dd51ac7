"""Working out all that follows in one plan, from what its tasks and dependencies are.

What a task is by itself (it runs, is held by hand, has ended) stands; all else about it follows:
whether it waits for a dependency or an approval, is skipped because a dependency is dead, has its
turn, is handed out; and from that what the plan counts, and whether it settles. `derive` computes
this anew for one plan, and changes the rows that differ. Where a change was counted in place
(`planstore.sql.tasks`), there is nothing left for it to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.following import FOLLOWED, PLAN_COUNTS, REVISION_OF_PLAN, plan_recorded
from planstore.sql.fragments import (
    IS_ABORTED,
    IS_CLOSED,
    IS_DEAD,
    IS_HELD,
    IS_PATIENT,
    IS_UNAPPROVED,
    IS_UNMET,
    ON_FAILURE_ABORT,
    PLAN_DRAFT,
    TASK_BLOCKED,
    TASK_FAILED,
    TASK_FINISHED,
    TASK_PENDING,
    TASK_RUNNING,
    TASK_SKIPPED,
    WHEN_ENDED,
    awaits_approval,
    event_of,
    is_dead,
    is_held,
    is_idle,
    satisfies,
)

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from planstore.sql.connection import Connection

_LOCK: Final = """
select s.task_id
from planstore.task_states s
where s.plan_id = $1
  and s.ready_at is not null
order by s.task_id
for no key update
"""


async def lock(conn: Connection, plan_id: UUID) -> None:
    """Keep the plan's ready tasks from being claimed until the transaction ends.

    The plan itself must be locked before.
    """
    await conn.execute(_LOCK, plan_id)


def _is_open(state: str) -> str:
    """Whether what becomes of a task follows from the others: a hold rests with all the rest."""
    return f"""({is_idle(state)}
      or {is_held(state)} and (select plan.is_closed or plan.aborts from plan))"""


_NOTED: Final = f"""case
      when $6::json is null then {REVISION_OF_PLAN}
      else (left({REVISION_OF_PLAN}::text, -1) || ',' || substr($6::json::text, 2))::json
    end"""
"""The text is kept as it is, for jsonb would write its numbers in another way."""

# The parameters: $1 the plan; whether $2 a task moved by itself, $3 the plan's structure changed,
# $4 a task was started or ended, $5 a client has just set the step; $6 what is noted with it.
_DERIVE: Final = f"""
with recursive plan as materialized (
  select {PLAN_COUNTS},
    p.on_failure = {ON_FAILURE_ABORT} and exists (
      select from planstore.task_states s where s.plan_id = p.id and s.status = {TASK_FAILED}
    ) as aborts
  from planstore.plans p
  where p.id = $1
  for no key update of p
),
dead (task_id) as (
  select d.task_id
  from planstore.dependencies d
  join planstore.task_states n on n.plan_id = d.plan_id and n.task_id = d.needs_id
  join planstore.task_states s on s.plan_id = d.plan_id and s.task_id = d.task_id
  where d.plan_id = $1
    and {_is_open("s")}
    and not {is_idle("n")}
    and not {is_held("n")}
    and {
    is_dead(
        "d.condition",
        status="n.status",
        reason="n.status_reason",
        on_failure="(select plan.on_failure from plan)",
    )
}
  union
  select d.task_id
  from dead k
  join planstore.dependencies d on d.plan_id = $1 and d.needs_id = k.task_id
  join planstore.task_states s on s.plan_id = d.plan_id and s.task_id = d.task_id
  where d.condition <> {WHEN_ENDED}
    and {_is_open("s")}
),
standing as materialized (
  select
    s.task_id, t.sequence_order, d.needs, u.unmet, w.status, s.due_at, s.not_before, s.retry_at,
    s.priority, s.ready_at is not null as was_ready,
    case
      when w.status = {TASK_SKIPPED} and (i.is_idle or i.is_held) then
        case
          when i.is_dead then {IS_DEAD}
          when plan.is_closed then {IS_CLOSED}
          else {IS_ABORTED}
        end
      when w.status = {TASK_BLOCKED} and not i.is_held then
        case when {awaits_approval("s")} then {IS_UNAPPROVED} else {IS_UNMET} end
      when w.status = {TASK_PENDING} then null
      when i.is_held then {IS_HELD}
      else s.status_reason
    end as status_reason,
    w.status = {TASK_SKIPPED} and i.is_held and (i.is_dead or not plan.is_closed) as keeps_hold
  from plan
  join planstore.tasks t on t.plan_id = plan.id
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  cross join lateral (
    select
      {is_idle("s")} as is_idle,
      {is_held("s")} as is_held,
      s.task_id in (select dead.task_id from dead) as is_dead
  ) i
  cross join lateral (
    select
      count(*) as needs,
      count(*) filter (
        where not case
          -- What is about to be skipped with all the rest satisfies who waits for any end.
          when ({is_idle("n")} or {is_held("n")}) and (plan.is_closed or plan.aborts)
            then d.condition = {WHEN_ENDED}
          when {is_held("n")} then false
          when not {is_idle("n")} then
            {satisfies("d.condition", status="n.status", reason="n.status_reason")}
          when d.needs_id in (select dead.task_id from dead) then d.condition = {WHEN_ENDED}
          else false
        end
      ) as unmet
    from planstore.dependencies d
    cross join lateral (
      select n.status, n.status_reason, n.keeps_hold
      from planstore.task_states n
      where n.plan_id = d.plan_id
        and n.task_id = d.needs_id
      offset 0  -- looked up one by one: where little is known of the tables, all would be each time
    ) n
    where d.plan_id = t.plan_id
      and d.task_id = t.id
  ) d
  cross join lateral (select d.unmet + {awaits_approval("s")}::int as unmet) u
  cross join lateral (
    select
      case
        when (i.is_idle or i.is_held) and (plan.is_closed or plan.aborts) or i.is_dead
          then {TASK_SKIPPED}
        when i.is_held then {TASK_BLOCKED}
        when not i.is_idle then s.status
        when u.unmet > 0 then {TASK_BLOCKED}
        else {TASK_PENDING}
      end as status
  ) w
),
gate as materialized (
  select
    g.gate_order,
    count(*) filter (where n.sequence_order = g.gate_order and n.status not in {TASK_FINISHED})
      as unfinished
  from (
    select min(n.sequence_order) as gate_order
    from standing n
    where n.status not in {TASK_FINISHED}
  ) g
  left join standing n on true
  group by g.gate_order
),
timed as materialized (
  select
    n.*,
    case
      when n.status = {TASK_PENDING}
        and (not plan.is_sequential or n.sequence_order <= gate.gate_order)
        then coalesce(n.due_at, greatest(now(), n.not_before, n.retry_at))
    end as now_due_at
  from standing n
  cross join plan
  cross join gate
),
counted as materialized (
  select
    count(*) as tasks,
    count(*) filter (where n.status not in {TASK_FINISHED}) as unfinished,
    count(*) filter (where n.status = {TASK_RUNNING}) as running,
    count(*) filter (
      where n.status = {TASK_RUNNING}
      or n.status = {TASK_BLOCKED} and n.status_reason in {IS_PATIENT}
      or n.now_due_at is not null
    ) as live,
    max(n.sequence_order) as last_order
  from timed n
),
handing as materialized (
  select
    -- With a task that is due the plan is active, unless it was closed or hasn't been started.
    not plan.is_closed and plan.paused_at is null
      and (plan.status <> {PLAN_DRAFT} or $4::boolean) as is_handing_out,
    case when plan.is_limited then greatest(plan.max_parallel_tasks - c.running, 0) end as places
  from plan
  cross join counted c
),
offered as materialized (
  select
    r.*,
    case
      when h.is_handing_out and (h.places is null or r.place <= h.places) then r.now_due_at
    end as now_ready_at
  from (
    select
      n.*,
      case when n.now_due_at is not null then
        row_number() over (
          order by
            n.now_due_at is null, n.now_due_at > now(),
            -- Who has a place keeps it; who waits for a time gets one by the time alone.
            case when n.now_due_at <= now() then not n.was_ready end,
            case when n.now_due_at <= now() then -n.priority end,
            n.now_due_at, n.task_id
        )
      end as place
    from timed n
  ) r
  cross join handing h
),
before as materialized (
  select s.task_id, s.status, s.status_reason, s.completed_at, s.due_at
  from plan
  join planstore.task_states s on s.plan_id = plan.id
),
changed as (
  update planstore.task_states s
  set
    status = o.status,
    status_reason = o.status_reason,
    keeps_hold = o.keeps_hold,
    needs = o.needs,
    unmet = o.unmet,
    due_at = o.now_due_at,
    ready_at = o.now_ready_at,
    version = s.version + (row(o.status, o.status_reason)
      is distinct from row(s.status, s.status_reason))::int,
    updated_at = case
      when row(o.status, o.status_reason) is distinct from row(s.status, s.status_reason)
        then now()
      else s.updated_at
    end,
    completed_at = case
      when o.status = s.status then s.completed_at
      when o.status = {TASK_SKIPPED} then now()
    end
  from offered o
  where s.plan_id = $1
    and s.task_id = o.task_id
    and row(s.status, s.status_reason, s.keeps_hold, s.needs, s.unmet, s.due_at, s.ready_at)
      is distinct from
      row(o.status, o.status_reason, o.keeps_hold, o.needs, o.unmet, o.now_due_at, o.now_ready_at)
  returning s.task_id, s.task_type, s.agent_id, s.status, s.status_reason, s.completed_at,
    s.version, s.due_at
),
weighed as materialized (
  select
    plan.id,
    gate.gate_order,
    gate.unfinished as gate_unfinished,
    c.unfinished as unfinished_tasks,
    c.live as live_tasks,
    c.running + (select count(o.now_ready_at) from offered o) as offered_tasks,
    plan.aborts as is_aborting,
    c.tasks as task_count,
    greatest(plan.last_order, c.last_order) as last_order,
    $2::boolean as is_move,
    $3::boolean::int as revisions,
    $4::boolean as is_start,
    true as is_derivation,
    $5::boolean as keeps_step
  from plan
  cross join gate
  cross join counted c
),
{FOLLOWED},
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    coalesce(
      {event_of(TASK_LIFECYCLE, "b.status", "n.status", by_service=True)}, 'task.updated'
    ),
    'task', n.task_id, $1, n.version, c.payload,
    json_build_object(
      'revision', f.revision, 'was', b.status, 'task_type', n.task_type, 'agent_id', n.agent_id,
      'plan_type', plan.plan_type, 'template', plan.template
    )
  from changed n
  join before b on b.task_id = n.task_id
  cross join plan
  cross join followed f
  cross join lateral (
    select json_object_agg(c.field, c.value) filter (where c.is_changed) as payload
    from (
      values
        ('status', to_json(n.status), n.status <> b.status),
        (
          'status_reason', to_json(n.status_reason),
          n.status_reason is distinct from b.status_reason
        ),
        (
          'completed_at', to_json(n.completed_at),
          n.completed_at is distinct from b.completed_at
        )
    ) c (field, value, is_changed)
  ) c
  where c.payload is not null
  order by n.task_id
  returning seq
),
{plan_recorded(_NOTED)}
select n.task_id
from changed n
join before b on b.task_id = n.task_id
where n.due_at is not null
  and b.due_at is null
order by n.task_id
"""


async def derive(
    conn: Connection,
    plan_id: UUID,
    *,
    is_move: bool = False,
    is_revision: bool = False,
    is_start: bool = False,
    keeps_step: bool = False,
    note: Mapping[str, Any] | None = None,
) -> list[UUID]:
    """Compute anew what follows for the tasks of a plan and for the plan itself.

    Answers the tasks whose turn has come by it.

    The plan and its ready tasks must be locked before, in the same transaction. ``is_move``: a
    task was moved; ``is_revision``: the plan's structure was changed; ``is_start``: a task was
    started or ended, which makes a draft active; ``keeps_step``: a client has just set the step;
    ``note``: what the plan's event is to say beside it, not empty.
    """
    rows = await conn.fetch(_DERIVE, plan_id, is_move, is_revision, is_start, keeps_step, note)
    return [row["task_id"] for row in rows]
