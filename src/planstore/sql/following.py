"""What a change of a plan's tasks does to the plan itself: its counts, its step, its status.

A plan settles by the rule in `settled` and by no other. `FOLLOWED` is a run of CTEs that goes
into each statement which moves tasks; adding some has less to say (`planstore.sql.tasks.creation`).
It reads two CTEs that the statement brings:

``plan``     the rows of the plans, locked, with `PLAN_COUNTS`
``weighed``  one row for each plan that changes: its ``id``; ``gate_order``, ``gate_unfinished``,
             ``unfinished_tasks``, ``live_tasks``, ``offered_tasks``, ``task_count`` and
             ``last_order`` as they will be; ``is_aborting``; and ``is_move`` (a task's status
             changes), ``revisions`` (how many changes of the plan's structure it is), ``is_start``
             (a task starts or ends, so a draft becomes active), ``is_derivation`` (all was
             computed anew), ``keeps_step`` (the client has just set the step)

and it leaves ``followed``, the plans as clients will see it. `PLAN_RECORDED` comes at the end,
after the statement's own ``recorded``: the plan's event, where clients see a change.
"""

from __future__ import annotations

from typing import Final

from planstore.models.plan import PLAN_LIFECYCLE
from planstore.sql.fragments import (
    ON_FAILURE_BLOCK,
    PLAN_ACTIVE,
    PLAN_COMPLETED,
    PLAN_DRAFT,
    PLAN_FAILED,
    PLAN_SEQUENTIAL,
    event_of,
)

PLAN_COUNTS: Final = f"""
    p.id,
    p.status,
    p.plan_type,
    p.template,
    p.plan_type = {PLAN_SEQUENTIAL} as is_sequential,
    p.closed_at is not null as is_closed,
    p.status = {PLAN_ACTIVE} and p.paused_at is null as is_handing_out,
    p.max_parallel_tasks is not null as is_limited,
    p.on_failure <> {ON_FAILURE_BLOCK} as is_strict,
    p.on_failure,
    p.max_parallel_tasks,
    p.paused_at,
    p.auto_complete,
    p.reopened,
    p.revision,
    p.version,
    p.current_step,
    p.computed_step,
    p.last_order,
    p.task_count,
    p.unfinished_tasks,
    p.live_tasks,
    p.offered_tasks,
    p.is_aborting,
    p.gate_order,
    p.gate_unfinished"""

IS_FRESH: Final = "p.xmin = seen.xmin"
"""Whether the statement's snapshot is as new as the lock on the plan: nothing about the plan
changed between the two, so what the statement reads of the plan's other rows is true."""

IS_UNDERIVED: Final = "p.revision = seen.revision and p.derivations = seen.derivations"
"""Whether since the statement's snapshot tasks of the plan have ended at most: neither did its
structure change nor was anything taken back."""


def settled(status: str, *, task_count: str, unfinished: str, live: str, auto: str) -> str:
    """An expression for the status of an open plan, given its counts.

    ``status`` is what it is while it can't settle; all arguments are SQL expressions.
    """
    return f"""case
        when {live} > 0 or {task_count} = 0 or not {auto} then {status}
        when {unfinished} = 0 then {PLAN_COMPLETED}
        else {PLAN_FAILED}
      end"""


def next_step(gate: str, *, plan: str) -> str:
    """An expression for ``current_step``, given the new gate and the plan as it was.

    A client's value stands until the service computes a higher one; while the gate stays where
    it is, nothing is computed.
    """
    return f"""case
      when {gate} is null or {gate} = {plan}.computed_step then {plan}.current_step
      when {plan}.current_step = {plan}.computed_step then {gate}
      else greatest({plan}.current_step, {gate})
    end"""


def followed(*, which: str) -> str:
    """`FOLLOWED`, where ``which`` says of a plan ``p`` whether it is the one followed in ``f``."""
    return f"""
followed as materialized (
  select
    w.*, p.version + (c.payload is not null)::int as version, p.status as status_before,
    p.revision as revision_before, o.stays_open, f.status, f.current_step, f.revision, c.payload
  from weighed w
  join plan p on p.id = w.id
  cross join lateral (
    -- What was added to a settled plan and can't start keeps it open until a task moves.
    select not w.is_move and (
      p.reopened or w.task_count > p.task_count and w.live_tasks = 0
    ) as stays_open
  ) o
  cross join lateral (
    select
      case
        when p.status = {PLAN_DRAFT} and not w.is_start or p.is_closed then p.status
        when o.stays_open then {PLAN_ACTIVE}
        else {
        settled(
            f"case when p.status = {PLAN_DRAFT} or w.live_tasks > 0 then {PLAN_ACTIVE}"
            " else p.status end",
            task_count="w.task_count",
            unfinished="w.unfinished_tasks",
            live="w.live_tasks",
            auto="p.auto_complete",
        )
    }
      end as status,
      case when w.keeps_step then p.current_step else {next_step("w.gate_order", plan="p")} end
        as current_step,
      p.revision + w.revisions as revision
  ) f
  cross join lateral (
    select json_object_agg(c.field, c.value) filter (where c.is_changed) as payload
    from (
      values
        ('status', to_json(f.status), f.status <> p.status),
        ('current_step', to_json(f.current_step), f.current_step <> p.current_step),
        ('revision', to_json(f.revision), f.revision <> p.revision)
    ) c (field, value, is_changed)
  ) c
),
planned as (
  update planstore.plans p
  set
    status = f.status,
    current_step = f.current_step,
    revision = f.revision,
    version = f.version,
    updated_at = case when f.payload is null then p.updated_at else now() end,
    last_order = f.last_order,
    computed_step = coalesce(f.gate_order, p.computed_step),
    task_count = f.task_count,
    unfinished_tasks = f.unfinished_tasks,
    live_tasks = f.live_tasks,
    offered_tasks = f.offered_tasks,
    is_aborting = f.is_aborting,
    gate_order = f.gate_order,
    gate_unfinished = f.gate_unfinished,
    derivations = p.derivations + f.is_derivation::int,
    reopened = f.stays_open
  from followed f
  where {which}
)"""


FOLLOWED: Final = followed(which="p.id = f.id")

REVISION_OF_PLAN: Final = "json_build_object('revision', f.revision)"
"""What the plan's event says beside what has changed."""


def plan_recorded(metadata: str) -> str:
    """The plan's event, if clients see a change, with ``metadata`` as an expression."""
    return f"""
plan_recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    coalesce(
      {event_of(PLAN_LIFECYCLE, "f.status_before", "f.status")},
      case when f.revision <> f.revision_before then 'plan.revised' else 'plan.advanced' end
    ),
    'plan', f.id, f.id, f.version, f.payload, {metadata}
  from followed f
  where f.payload is not null
    -- The events of the tasks come first.
    and (select count(*) from recorded) >= 0
)"""


PLAN_RECORDED: Final = plan_recorded(REVISION_OF_PLAN)
