"""What a work packet holds beside the task: what it needed, and how it was tried before."""

from __future__ import annotations

from typing import Final

from planstore.models.claim import MAX_PACKET_OUTPUT, PREVIOUS_ATTEMPTS
from planstore.sql.fragments import columns, satisfies
from planstore.sql.routines import routine
from planstore.sql.tasks.columns import ALL


def _needed(plan_id: str, task_id: str) -> str:
    """What a task needed."""
    return f"""
    select json_agg(
      json_build_object(
        'task_id', n.id, 'name', n.name, 'when', n.condition, 'type', n.kind, 'status', n.status,
        'is_satisfied', n.is_satisfied,
        'output_data', case when n.size_so_far <= {MAX_PACKET_OUTPUT} then n.output_data end,
        'output_link', case when n.size_so_far > {MAX_PACKET_OUTPUT} then '/tasks/' || n.id end
      )
      order by n.sequence_order, n.id
    )
    from (
      select
        n.id, n.name, n.sequence_order, d.condition, d.kind, n.status, n.output_data,
        {satisfies("d.condition", status="n.status", reason="n.status_reason")} as is_satisfied,
        sum(coalesce(octet_length(n.output_data::text), 0))
          over (order by n.sequence_order, n.id) as size_so_far
      from planstore.dependencies d
      cross join lateral (
        select t.id, t.name, t.sequence_order, s.status, s.status_reason, s.output_data
        from planstore.tasks t
        join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
        where t.plan_id = d.plan_id
          and t.id = d.needs_id
        offset 0  -- or else it might begin with all tasks of the plan
      ) n
      where d.plan_id = {plan_id}
        and d.task_id = {task_id}
    ) n"""


def _tried(plan_id: str, task_id: str) -> str:
    """The last runs of a task."""
    return f"""
    select json_agg(
      json_build_object(
        'attempt', n.attempt, 'worker_id', n.worker_id, 'began_at', n.began_at,
        'ended_at', n.ended_at, 'outcome', n.outcome, 'error', n.error
      )
      order by n.attempt
    )
    from (
      select a.attempt, a.worker_id, a.began_at, a.ended_at, a.outcome, a.error
      from planstore.attempts a
      where a.plan_id = {plan_id}
        and a.task_id = {task_id}
      order by a.attempt desc
      limit {PREVIOUS_ATTEMPTS}
    ) n"""


NEEDED: Final = routine(
    "needed",
    "of_plan uuid, of_task uuid, out needed json",
    f"begin needed := ({_needed('of_plan', 'of_task')}); end",
)
TRIED: Final = routine(
    "tried",
    "of_plan uuid, of_task uuid, out tried json",
    f"begin tried := ({_tried('of_plan', 'of_task')}); end",
)


def packet(*, by_calls: bool) -> str:
    """The claimed task ``c``, with all that its worker needs.

    ``by_calls``: what few tasks have is asked for by functions. For one task that costs less than
    to provide for it in each statement; for many it costs more.
    """
    if by_calls:
        needed = f"planstore.{NEEDED.name}(c.plan_id, c.id)"
        tried = f"planstore.{TRIED.name}(c.plan_id, c.id)"
    else:
        needed, tried = f"({_needed('c.plan_id', 'c.id')})", f"({_tried('c.plan_id', 'c.id')})"
    return f"""{columns(ALL, of="c")},
  c.fencing_token, c.lease_expires_at, c.plan_revision,
  null::json as resolved_input,  -- worked out later
  case when c.needs > 0 then {needed} end as dependencies,
  case when c.attempt > 1 then {tried} end as previous_attempts"""
