"""Who has their turn when runs end: by a dependency less, or by the end of all before them.

`opened` is a run of CTEs for the statements that end runs. It reads

``plan``      the plans, locked, with `PLAN_COUNTS`, ``is_fresh`` and ``is_underived``
``moving``    the tasks whose runs end, locked, with ``is_finishing``
``loosened``  who needs them: how many dependencies more are ``satisfied``, and whether one is dead
              or was (``is_wide``)
``tallied``   for each plan how many finish (``finished``), of which at its gate
              (``finished_at_gate``), and whether one fails or had failed (``is_failure``)

and leaves

``weighable``  a ``verdict`` for each plan, and ``is_done`` where it goes on
``gated``      the plans that go on, with their gate as it will be
``opened``     the tasks that were changed by it, in place
``newly_due``  how many of them have their turn, for each plan

The gate is the lowest ``sequence_order`` with unfinished tasks: in a sequential plan, whose turn it
is. Moving it on means to read other tasks: see `planstore.sql.following.IS_FRESH`.
"""

from __future__ import annotations

from typing import Final

from planstore.sql.following import IS_FRESH, IS_UNDERIVED, PLAN_COUNTS
from planstore.sql.fragments import (
    IS_UNMET,
    PLAN_ACTIVE,
    TASK_BLOCKED,
    TASK_FINISHED,
    TASK_PENDING,
)

_FREED: Final = (
    f"s.status = {TASK_BLOCKED} and s.status_reason = {IS_UNMET} and s.unmet = x.satisfied"
)
_DUE: Final = (
    "x.is_in_turn and s.due_at is null and s.unmet = x.satisfied and ("
    f"s.status = {TASK_PENDING} or s.status = {TASK_BLOCKED} and s.status_reason = {IS_UNMET})"
)
"""Of a row ``s`` whose dependencies and turn change by ``x``: what it becomes. It is said in terms
of the row itself, so that it holds for the row as it is once it is locked."""

_DUE_AT: Final = "greatest(now(), s.not_before, s.retry_at)"
"""When such a row is due."""

# The states by a subquery, for a join may be planned to go through all of a plan: for plans of the
# usual size that costs no more.
PLANS_LOCKED: Final = f"""
seen as materialized (
  select p.id, p.xmin, p.revision, p.derivations, p.retry_policy
  from (select distinct q.plan_id from placed q) q
  join planstore.plans p on p.id = q.plan_id
),
plan as materialized (
  select {PLAN_COUNTS}, {IS_FRESH} as is_fresh, {IS_UNDERIVED} as is_underived
  from planstore.plans p
  join seen on seen.id = p.id
  order by p.id
  for no key update of p
)"""
"""The plans of the tasks in ``placed``: as the statement sees them (``seen``), and locked."""


def touched_opened(*, is_offering: str, returning: str) -> str:
    """The change of the states in ``touched``, each with what it is ``satisfied`` by more.

    ``is_offering``: whether the plan hands out what becomes due. ``returning``: what is answered
    beside what became of each.
    """
    return f"""update planstore.task_states s
  set
    unmet = s.unmet - x.satisfied,
    status = case when {_FREED} then {TASK_PENDING} else s.status end,
    status_reason = case when {_FREED} then null else s.status_reason end,
    version = s.version + ({_FREED})::int,
    updated_at = case when {_FREED} then now() else s.updated_at end,
    due_at = case when {_DUE} then {_DUE_AT} else s.due_at end,
    ready_at = case
      when {_DUE} and {is_offering} then {_DUE_AT}
      else s.ready_at
    end
  from touched x
  where s.plan_id = x.plan_id
    and s.task_id = x.task_id
    and (x.satisfied <> 0 or s.status = {TASK_PENDING} and s.due_at is null)
  returning
    {returning}, s.task_id, s.version, s.task_type, s.due_at, s.ready_at,
    x.satisfied <> 0 and s.status = {TASK_PENDING} as is_unblocked"""


_TASKS_BEYOND: Final = f"""planstore.tasks t
      where t.plan_id = w.id
        and (
          select s.status not in {TASK_FINISHED}
          from planstore.task_states s
          where s.plan_id = t.plan_id
            and s.task_id = t.id
        )
        and t.id not in (select m.task_id from moving m where m.is_finishing)"""


def opened(*, locked: str, derived_after: str) -> str:
    """The CTEs; whether the plans were locked before, and whether all is derived after it."""
    return f"""
weighable as materialized (
  select
    plan.id, plan.is_handing_out, plan.is_sequential, plan.is_limited, plan.live_tasks,
    plan.offered_tasks, plan.task_count, plan.last_order, plan.is_aborting, plan.gate_order,
    t.finished,
    plan.unfinished_tasks - t.finished as unfinished_tasks,
    plan.gate_unfinished - t.finished_at_gate as gate_unfinished,
    v.is_passing,
    {derived_after} or not (v.is_wide or v.is_stale) as is_done,
    case
      when {derived_after} then 'changed'
      when v.is_wide then 'wide'
      when v.is_stale then 'stale'
      else 'changed'
    end as verdict
  from tallied t
  join plan on plan.id = t.id
  cross join lateral (
    select plan.gate_unfinished = t.finished_at_gate and plan.unfinished_tasks > t.finished
      as is_passing
  ) g
  cross join lateral (
    select
      g.is_passing,
      -- What takes more than counting: nothing is handed out yet, or something is taken back.
      plan.status <> {PLAN_ACTIVE} and not plan.is_closed
        or plan.is_strict and t.is_failure
        or plan.is_aborting
        or exists (select from loosened l where l.plan_id = plan.id and l.is_wide) as is_wide,
      not {locked} and (
        plan.is_limited or not plan.is_underived or g.is_passing and not plan.is_fresh
      ) as is_stale
  ) v
),
gated as materialized (
  select
    w.*,
    w.is_handing_out and not w.is_limited as is_offering,
    w.is_passing and w.is_sequential as is_turning,
    case when w.is_passing then n.sequence_order when w.unfinished_tasks > 0 then w.gate_order end
      as new_gate_order,
    case when w.is_passing then n.unfinished else w.gate_unfinished end as new_gate_unfinished
  from weighable w
  left join lateral (
    select o.sequence_order, c.unfinished
    from (
      select t.sequence_order
      from {_TASKS_BEYOND}
        and t.sequence_order > w.gate_order
      order by t.sequence_order
      limit 1
    ) o
    cross join lateral (
      select count(*) as unfinished
      from {_TASKS_BEYOND}
        and t.sequence_order = o.sequence_order
    ) c
  ) n on w.is_passing
  where w.is_done
    and not {derived_after}
),
touched as materialized (
  select
    x.plan_id, x.task_id, sum(x.satisfied)::int as satisfied, bool_or(x.is_in_turn) as is_in_turn,
    bool_and(x.is_offering) as is_offering
  from (
    select
      l.plan_id, l.task_id, l.satisfied, g.is_offering,
      not g.is_sequential or t.sequence_order <= g.new_gate_order as is_in_turn
    from loosened l
    join gated g on g.id = l.plan_id
    join planstore.tasks t on t.plan_id = l.plan_id and t.id = l.task_id
    where l.satisfied <> 0
    union all
    select t.plan_id, t.id, 0, g.is_offering, true
    from gated g
    join planstore.tasks t on t.plan_id = g.id and t.sequence_order = g.new_gate_order
    where g.is_turning
  ) x
  where x.task_id not in (select m.task_id from moving m)
  group by x.plan_id, x.task_id
),
opened as (
  {touched_opened(is_offering="x.is_offering", returning="s.plan_id")}
),
newly_due as materialized (
  select o.plan_id, count(*) as due, count(o.ready_at) as ready
  from opened o
  where o.due_at is not null
  group by o.plan_id
)"""


WEIGHED: Final = """g.id,
    g.new_gate_order as gate_order,
    coalesce(g.new_gate_unfinished, 0) as gate_unfinished,
    g.unfinished_tasks,
    g.is_aborting,
    g.task_count,
    g.last_order,
    true as is_move,
    0 as revisions,
    true as is_start,
    false as is_derivation,
    false as keeps_step"""
"""Of `planstore.sql.following`'s ``weighed``, what is the same for all runs that end; beside it
come ``live_tasks`` and ``offered_tasks``."""

UNBLOCKED_PAYLOAD: Final = f"json_build_object('status', {TASK_PENDING}, 'status_reason', null)"

UNBLOCKED_EVENTS: Final = f"""select
      9223372036854775807, 'task.unblocked', o.task_id, o.plan_id, o.version,
      {UNBLOCKED_PAYLOAD},
      row_to_json(r)
    from opened o
    join plan on plan.id = o.plan_id
    cross join lateral (select plan.revision, o.task_type) r
    where o.is_unblocked"""
"""The events of those whose last dependency is satisfied, after all others."""

UNBLOCKED: Final = (
    "array(select o.task_id from opened o where o.due_at is not null order by o.task_id)"
)
"""The tasks whose turn has come."""
