"""Where a plan's gate goes when one of its tasks changes.

The gate is the lowest ``sequence_order`` with unfinished tasks: in a sequential plan, whose turn
it is. `GATED` is a run of CTEs that reads ``plan`` (locked, with its counts), ``task`` as it is and
``wanted`` as it will be, and leaves

``left_at_gate``  what the other tasks leave unfinished at the gate: 0 where it has to go on
``gated``         the new gate, with what the others have there
``shut``          how many pending tasks lose their turn to this one

Going on, and losing a turn, mean to read other tasks: see `planstore.sql.following.IS_FRESH`.
"""

from __future__ import annotations

from typing import Final

from planstore.sql.fragments import TASK_FINISHED, TASK_PENDING
from planstore.sql.tasks.columns import TASKS

GATED: Final = f"""
left_at_gate as materialized (
  select
    plan.id,
    plan.gate_order,
    plan.gate_unfinished
      - (t.is_unfinished and t.sequence_order = plan.gate_order)::int as unfinished,
    plan.unfinished_tasks - t.is_unfinished::int as others
  from plan, task t
),
beyond as materialized (
  select o.sequence_order, o.unfinished, o.pending
  from left_at_gate l, lateral (
    select t.sequence_order, count(*) as unfinished,
      count(*) filter (where s.status = {TASK_PENDING}) as pending
    from {TASKS}
    where l.unfinished = 0
      and l.others > 0
      and t.plan_id = l.id
      and t.id <> $1
      and s.status not in {TASK_FINISHED}
      and t.sequence_order = (
        select t.sequence_order
        from {TASKS}
        where t.plan_id = l.id
          and t.sequence_order > l.gate_order
          and t.id <> $1
          and s.status not in {TASK_FINISHED}
        order by t.sequence_order
        limit 1
      )
    group by t.sequence_order
  ) o
),
gated as materialized (
  select
    least(
      o.sequence_order, case when w.status not in {TASK_FINISHED} then w.sequence_order end
    ) as gate_order,
    o.sequence_order as others_order,
    o.unfinished as others_unfinished,
    o.pending as others_opened,
    w.status not in {TASK_FINISHED} as is_unfinished
  from wanted w, left_at_gate l
  left join beyond on true,
  lateral (
    select
      case when l.unfinished > 0 then l.gate_order else beyond.sequence_order end
        as sequence_order,
      case when l.unfinished > 0 then l.unfinished else beyond.unfinished end as unfinished,
      case when l.unfinished > 0 then 0 else beyond.pending end as pending
  ) o
),
shut as materialized (  -- whose turn had come, and who now wait for this task
  select count(*) as tasks
  from gated g
  join plan on plan.is_sequential and g.gate_order < plan.gate_order
  join planstore.tasks t on t.plan_id = plan.id and t.sequence_order = plan.gate_order
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  where s.status = {TASK_PENDING}
    and t.id <> $1
)"""

NEEDS_OTHERS: Final = """(
          l.unfinished = 0 and l.others > 0
          or plan.is_sequential and g.gate_order < plan.gate_order
        )"""
"""Whether `GATED` had to read other tasks of the plan (``l``: left_at_gate, ``g``: gated)."""
