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
from planstore.sql.following import PLAN_COUNTS, REVISION_OF_PLAN, followed, plan_recorded
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
from planstore.sql.routines import routine

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


_IS_DEAD: Final = is_dead(
    "d.condition",
    status="n.status",
    reason="n.status_reason",
    on_failure="(select plan.on_failure from plan)",
)

_SKIPS_THE_REST: Final = "(select plan.is_closed or plan.aborts from plan)"

_NOTED: Final = f"""case
      when $6::json is null then {REVISION_OF_PLAN}
      else (left({REVISION_OF_PLAN}::text, -1) || ',' || substr($6::json::text, 2))::json
    end"""
"""The text is kept as it is, for jsonb would write its numbers in another way."""

# The parameters: $1 the plan; whether $2 a task moved by itself, $3 the plan's structure changed,
# $4 a task was started or ended, $5 a client has just set the step; $6 what is noted with it.
_BODY: Final = f"""
declare
  unblocked uuid[];
begin
  with recursive plan as materialized (
    select {PLAN_COUNTS},
      p.on_failure = {ON_FAILURE_ABORT} and exists (
        select from planstore.task_states s where s.plan_id = p.id and s.status = {TASK_FAILED}
      ) as aborts
    from planstore.plans p
    where p.id = $1
    for no key update of p
  ),
  known as materialized (
    select
      s.*,
      -- What is about to be skipped with all the rest.
      (s.is_idle or s.is_held) and {_SKIPS_THE_REST} as is_over
    from (
      select
        s.task_id, t.sequence_order, s.status, s.status_reason, s.keeps_hold, s.needs, s.unmet,
        s.due_at, s.ready_at, s.not_before, s.retry_at, s.priority, s.completed_at,
        {awaits_approval("s")} as awaits_approval,
        {is_idle("s")} as is_idle,
        {is_held("s")} as is_held
      from planstore.tasks t
      join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
      where t.plan_id = $1
      offset 0  -- or else it would be worked out again wherever it is used
    ) s
  ),
  linked as materialized (
    select
      d.task_id, d.needs_id, d.condition,
      not n.is_idle and not n.is_held and {_IS_DEAD} as is_dead,
      case
        when n.is_over then d.condition = {WHEN_ENDED}
        when n.is_held then false
        when not n.is_idle then
          {satisfies("d.condition", status="n.status", reason="n.status_reason")}
      end as is_satisfied  -- null: not unless what is needed is dead
    from planstore.dependencies d
    join known n on n.task_id = d.needs_id
    where d.plan_id = $1
  ),
  dead (task_id) as (
    select l.task_id
    from linked l
    join known s on s.task_id = l.task_id
    where l.is_dead
      and (s.is_idle or s.is_over)
    union
    select d.task_id
    from dead k
    -- One by one, for there may be as many rounds as tasks.
    cross join lateral (
      select d.task_id
      from planstore.dependencies d
      where d.plan_id = $1
        and d.needs_id = k.task_id
        and d.condition <> {WHEN_ENDED}
      offset 0
    ) d
    cross join lateral (
      select
      from planstore.task_states s
      where s.plan_id = $1
        and s.task_id = d.task_id
        and ({is_idle("s")} or {is_held("s")} and {_SKIPS_THE_REST})
      offset 0
    ) s
  ),
  needed as materialized (
    select
      l.task_id,
      count(*) as needs,
      count(*) filter (
        where not coalesce(
          l.is_satisfied,
          l.condition = {WHEN_ENDED} and l.needs_id in (select dead.task_id from dead)
        )
      ) as unmet
    from linked l
    group by l.task_id
  ),
  standing as materialized (
    select
      s.*,
      case
        when s.new_status = {TASK_SKIPPED} and (s.is_idle or s.is_held) then
          case
            when s.is_dead then {IS_DEAD}
            when plan.is_closed then {IS_CLOSED}
            else {IS_ABORTED}
          end
        when s.new_status = {TASK_BLOCKED} and not s.is_held then
          case when s.awaits_approval then {IS_UNAPPROVED} else {IS_UNMET} end
        when s.new_status = {TASK_PENDING} then null
        when s.is_held then {IS_HELD}
        else s.status_reason
      end as new_reason,
      s.new_status = {TASK_SKIPPED} and s.is_held and (s.is_dead or not plan.is_closed)
        as new_keeps_hold
    from plan
    cross join (
      select
        s.*, k.task_id is not null as is_dead, c.new_needs, c.new_unmet,
        case
          when s.is_over or k.task_id is not null then {TASK_SKIPPED}
          when s.is_held then {TASK_BLOCKED}
          when not s.is_idle then s.status
          when c.new_unmet > 0 then {TASK_BLOCKED}
          else {TASK_PENDING}
        end as new_status
      from known s
      left join needed d on d.task_id = s.task_id
      left join dead k on k.task_id = s.task_id
      cross join lateral (
        select
          coalesce(d.needs, 0) as new_needs,
          coalesce(d.unmet, 0) + s.awaits_approval::int as new_unmet
      ) c
      offset 0
    ) s
  ),
  gate as materialized (
    select
      g.gate_order,
      (
        select count(*)
        from standing n
        where n.sequence_order = g.gate_order
          and n.new_status not in {TASK_FINISHED}
      ) as unfinished
    from (
      select min(n.sequence_order) as gate_order
      from standing n
      where n.new_status not in {TASK_FINISHED}
    ) g
  ),
  timed as materialized (
    select
      n.*,
      case
        when n.new_status = {TASK_PENDING}
          and (not plan.is_sequential or n.sequence_order <= gate.gate_order)
          then coalesce(n.due_at, greatest(now(), n.not_before, n.retry_at))
      end as new_due_at
    from plan
    cross join gate
    cross join standing n
  ),
  counted as materialized (
    select
      count(*) as tasks,
      count(*) filter (where n.new_status not in {TASK_FINISHED}) as unfinished,
      count(*) filter (where n.new_status = {TASK_RUNNING}) as running,
      count(*) filter (
        where n.new_status = {TASK_RUNNING}
        or n.new_status = {TASK_BLOCKED} and n.new_reason in {IS_PATIENT}
        or n.new_due_at is not null
      ) as live,
      max(n.sequence_order) as last_order
    from timed n
  ),
  handing as materialized (
    select
      -- With a task that is due the plan is active, unless it was closed or hasn't been started.
      not plan.is_closed and plan.paused_at is null
        and (plan.status <> {PLAN_DRAFT} or $4::boolean) as is_handing_out,
      plan.is_limited,
      greatest(plan.max_parallel_tasks - c.running, 0) as places
    from plan
    cross join counted c
  ),
  placed as materialized (
    select
      n.task_id,
      row_number() over (
        order by
          n.new_due_at > now(),
          -- Who has a place keeps it; who waits for a time gets one by the time alone.
          case when n.new_due_at <= now() then n.ready_at is null end,
          case when n.new_due_at <= now() then -n.priority end,
          n.new_due_at, n.task_id
      ) as place
    from handing h
    cross join timed n
    where h.is_limited
      and n.new_due_at is not null
  ),
  offered as materialized (
    select
      n.*,
      case
        when h.is_handing_out and (not h.is_limited or l.place <= h.places) then n.new_due_at
      end as new_ready_at
    from handing h
    cross join timed n
    left join placed l on l.task_id = n.task_id
  ),
  changed as (
    update planstore.task_states s
    set
      status = o.new_status,
      status_reason = o.new_reason,
      keeps_hold = o.new_keeps_hold,
      needs = o.new_needs,
      unmet = o.new_unmet,
      due_at = o.new_due_at,
      ready_at = o.new_ready_at,
      version = s.version + (row(o.new_status, o.new_reason)
        is distinct from row(s.status, s.status_reason))::int,
      updated_at = case
        when row(o.new_status, o.new_reason) is distinct from row(s.status, s.status_reason)
          then now()
        else s.updated_at
      end,
      completed_at = case
        when o.new_status = s.status then s.completed_at
        when o.new_status = {TASK_SKIPPED} then now()
      end
    from offered o
    where s.plan_id = $1
      and s.task_id = o.task_id
      and row(
        o.status, o.status_reason, o.keeps_hold, o.needs, o.unmet, o.due_at, o.ready_at
      ) is distinct from row(
        o.new_status, o.new_reason, o.new_keeps_hold, o.new_needs, o.new_unmet, o.new_due_at,
        o.new_ready_at
      )
    returning s.task_id, s.task_type, s.agent_id, s.status, s.status_reason, s.completed_at,
      s.version, s.due_at, o.status as status_before, o.status_reason as reason_before,
      o.completed_at as completed_before, o.due_at as due_before
  ),
  weighed as materialized (
    select
      plan.id,
      gate.gate_order,
      gate.unfinished as gate_unfinished,
      c.unfinished as unfinished_tasks,
      c.live as live_tasks,
      c.running + (select count(o.new_ready_at) from offered o) as offered_tasks,
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
{followed(which="p.id = $1")},
  recorded as (
    insert into planstore.events
      (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
    select
      coalesce(
        {event_of(TASK_LIFECYCLE, "n.status_before", "n.status", by_service=True)}, 'task.updated'
      ),
      'task', n.task_id, $1, n.version, c.payload,
      json_build_object(
        'revision', f.revision, 'was', n.status_before, 'task_type', n.task_type,
        'agent_id', n.agent_id, 'plan_type', plan.plan_type, 'template', plan.template
      )
    from changed n
    cross join plan
    cross join followed f
    cross join lateral (
      select json_object_agg(c.field, c.value) filter (where c.is_changed) as payload
      from (
        values
          ('status', to_json(n.status), n.status <> n.status_before),
          (
            'status_reason', to_json(n.status_reason),
            n.status_reason is distinct from n.reason_before
          ),
          (
            'completed_at', to_json(n.completed_at),
            n.completed_at is distinct from n.completed_before
          )
      ) c (field, value, is_changed)
    ) c
    where c.payload is not null
    order by n.task_id
    returning seq
  ),
{plan_recorded(_NOTED)}
  select coalesce(array_agg(n.task_id order by n.task_id), '{{}}')
  into unblocked
  from changed n
  where n.due_at is not null
    and n.due_before is null;
  return unblocked;
end
"""

DERIVE: Final = routine(
    "derive",
    "uuid, boolean, boolean, boolean, boolean, json",
    _BODY,
    returns="uuid[]",
    # Most plans are small: the tasks of a large one would be looked up one by one. So each table is
    # read by $1 itself; by a row that bears the same id, all plans would be gone through. Planning
    # takes as long as hundreds of tasks do, and what is right for one plan is right for all.
    planned_with=("enable_nestloop = off", "plan_cache_mode = force_generic_plan"),
)

_DERIVE: Final = f"""
select planstore.{DERIVE.name}($1, $2, $3, $4, $5, $6)
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
    unblocked: list[UUID] = await conn.fetchval(
        _DERIVE, plan_id, is_move, is_revision, is_start, keeps_step, note
    )
    return unblocked
