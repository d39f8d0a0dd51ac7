"""Deciding about a task that awaits an approval: it is one thing less that it waits for.

What follows is counted in place, as where a dependency is satisfied (`planstore.sql.tasks.opening`)
but for one task, whose row is written once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.approval import Decision
from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.following import FOLLOWED, PLAN_COUNTS, PLAN_RECORDED
from planstore.sql.fragments import (
    IS_HELD,
    IS_UNMET,
    TASK_BLOCKED,
    TASK_PENDING,
    awaits_approval,
    compared,
)

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.approval import Review
    from planstore.sql.connection import Connection

_APPROVED: Final = f"'{Decision.APPROVED.value}'"

_EVENTS: Final = {
    decision: next(
        f"'task.{each.past}'" for each in TASK_LIFECYCLE.transitions if each.verb == verb
    )
    for decision, verb in ((Decision.APPROVED, "approve"), (Decision.REJECTED, "reject"))
}

_SHOWN: Final = (("status", "text"), ("status_reason", "text"), ("approval", "json"))

# The parameters: $1 the task, $2 the decision, $3 who made it, $4 the comment.
_DECIDE: Final = f"""
with plan as materialized (
  select {PLAN_COUNTS}
  from planstore.plans p
  where p.id = (select t.plan_id from planstore.tasks t where t.id = $1)
  for no key update of p
),
task as materialized (
  select
    s.plan_id, s.task_id, s.status, s.status_reason, s.approval, s.version, s.unmet - 1 as unmet,
    s.not_before, s.retry_at,
    s.status_reason = {IS_HELD} as is_held, $2 = {_APPROVED} as is_approved,
    not plan.is_sequential or t.sequence_order <= plan.gate_order as is_in_turn,
    plan.is_handing_out and not plan.is_limited as is_offering
  from plan
  join planstore.tasks t on t.plan_id = plan.id and t.id = $1
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  where s.status = {TASK_BLOCKED}
    and {awaits_approval("s")}
  for no key update of s
),
landing as materialized (
  select
    t.*,
    f.is_freed,
    json_build_object('decision', $2::text, 'by', $3::text, 'comment', $4::text, 'at', now())
      as new_approval,
    case when f.is_freed then {TASK_PENDING} else t.status end as new_status,
    case
      when f.is_freed then null
      when t.is_approved and not t.is_held then {IS_UNMET}
      else t.status_reason
    end as new_status_reason,
    case when f.is_freed and t.is_in_turn then greatest(now(), t.not_before, t.retry_at) end
      as due_at
  from task t
  cross join lateral (select t.is_approved and not t.is_held and t.unmet = 0 as is_freed) f
),
decided as (
  update planstore.task_states s
  set
    {", ".join(f"{name} = n.new_{name}" for name, _ in _SHOWN)},
    unmet = n.unmet,
    due_at = n.due_at,
    ready_at = case when n.is_offering then n.due_at end,
    version = s.version + 1,
    updated_at = now()
  from landing n
  where s.plan_id = n.plan_id
    and s.task_id = n.task_id
),
weighed as materialized (
  select
    plan.id,
    plan.gate_order,
    plan.gate_unfinished,
    plan.unfinished_tasks,
    -- It kept the plan from settling by itself, and does so still where it is held or has its turn.
    -- One that is rejected does until it has failed.
    plan.live_tasks - (n.is_approved and not n.is_held and n.due_at is null)::int as live_tasks,
    plan.offered_tasks + (n.is_offering and n.due_at is not null)::int as offered_tasks,
    plan.is_aborting,
    plan.task_count,
    plan.last_order,
    n.is_freed as is_move,
    0 as revisions,
    false as is_start,
    false as is_derivation,
    false as keeps_step
  from landing n
  join plan on plan.id = n.plan_id
),
{FOLLOWED},
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    case when n.is_approved then {_EVENTS[Decision.APPROVED]} else {_EVENTS[Decision.REJECTED]} end,
    'task', n.task_id, n.plan_id, n.version + 1, c.payload,
    json_build_object('revision', plan.revision)
  from landing n
  join plan on plan.id = n.plan_id
  cross join lateral (
    select json_object_agg(f.field, f.value) filter (where f.is_changed) as payload
    from (
      values
      {compared(_SHOWN, new="n.new_", old="n.")}
    ) f (field, value, is_changed)
  ) c
  returning seq
),
{PLAN_RECORDED}
select exists (select from landing)
"""


async def decide(conn: Connection, task_id: UUID, decision: Decision, review: Review) -> bool:
    """Keep what was decided about a task; False where it awaits no approval.

    One that is approved has its turn, or waits for what else it needs; who rejects it is to have
    it fail, in the same transaction. The plan must be locked before, and where it has as many
    tasks at work as it may have, the next ones are to be offered after it.
    """
    is_decided = await conn.fetchval(_DECIDE, task_id, decision, review.by, review.comment)
    assert isinstance(is_decided, bool)
    return is_decided
