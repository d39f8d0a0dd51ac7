"""Completing tasks by those who hold them: what happens most, and as little as can be for it.

It is `planstore.sql.tasks.ending` for one verb and without the exceptions: a task that isn't held
with the given token is ``unheld`` here, and left to that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.following import (
    FOLLOWED,
    PLAN_RECORDED,
)
from planstore.sql.fragments import TASK_COMPLETED, TASK_RUNNING, WHEN_FAILED, run_of
from planstore.sql.tasks.opening import PLANS_LOCKED, UNBLOCKED, UNBLOCKED_EVENTS, WEIGHED, opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.sql.connection import Connection, Row
    from planstore.sql.tasks.ending import Ending

_EVENT: Final = next(
    f"'task.{each.past}'" for each in TASK_LIFECYCLE.transitions if each.verb == "complete"
)

# The parameters: $1 the tasks, $2 the tokens, $3 the outputs, $4 whether the commit need not wait
# for the disk.
_COMPLETE: Final = f"""
with given as materialized (
  select *
  from unnest($1::uuid[], $2::bigint[], $3::json[]) with ordinality
    as g (task_id, token, output_data, position)
),
placed as materialized (
  -- The plan's id twice, so that PostgreSQL can't think of looking for the states by `plan`.
  select g.*, t.plan_id, t.plan_id as of_plan, t.sequence_order
  from given g
  join planstore.tasks t on t.id = g.task_id
),
{PLANS_LOCKED},
moving as materialized (
  select
    q.*, s.version, plan.revision, plan.gate_order, plan.plan_type, plan.template,
    s.task_type, s.agent_id, s.worker_id, s.attempt, s.was_ready_at, s.began_at,
    s.error is not null as had_error,
    true as is_finishing
  from placed q
  join plan on plan.id = q.of_plan
  join planstore.task_states s on s.plan_id = q.plan_id and s.task_id = q.task_id
  where s.status = {TASK_RUNNING}
    and s.fencing_token = q.token
  order by q.task_id
  for no key update of s
),
loosened as materialized (
  select
    d.plan_id, d.task_id,
    count(*) filter (where d.condition <> {WHEN_FAILED})::int as satisfied,
    bool_or(d.condition = {WHEN_FAILED}) as is_wide
  from moving m
  join planstore.dependencies d on d.plan_id = m.plan_id and d.needs_id = m.task_id
  group by d.plan_id, d.task_id
),
tallied as materialized (
  select
    m.plan_id as id,
    count(*) as finished,
    count(*) filter (where m.sequence_order = m.gate_order) as finished_at_gate,
    false as is_failure
  from moving m
  group by m.plan_id
),
{opened(locked="false", derived_after="false")},
landing as materialized (
  select m.*, coalesce(l.satisfied, 0) as satisfied
  from moving m
  join weighable w on w.id = m.plan_id and w.is_done
  left join loosened l on l.plan_id = m.plan_id and l.task_id = m.task_id
),
moved as (
  update planstore.task_states s
  set
    status = {TASK_COMPLETED},
    completed_at = now(),
    output_data = coalesce(n.output_data, s.output_data),
    error = null,
    version = s.version + 1,
    updated_at = now(),
    unmet = s.unmet - n.satisfied,
    lease_expires_at = null,
    lease_seconds = null,
    times_out_at = null,
    ended_at = now()
  from landing n
  where s.plan_id = n.plan_id
    and s.task_id = n.task_id
),
weighed as materialized (
  select
    {WEIGHED},
    g.live_tasks - g.finished + coalesce(o.due, 0) as live_tasks,
    g.offered_tasks - g.finished + coalesce(o.ready, 0) as offered_tasks
  from gated g
  left join newly_due o on o.plan_id = g.id
),
{FOLLOWED},
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select e.event_type, 'task', e.task_id, e.plan_id, e.version, e.payload, e.metadata
  from (
    select
      n.position as place,
      {_EVENT} as event_type,
      n.task_id, n.plan_id, n.version + 1 as version,
      (
        '{{"status":"' || {TASK_COMPLETED} || '","completed_at":' || to_json(now())
        || case when n.had_error then ',"error":null' else '' end
        || case when n.output_data is null then '' else ',"output_data":' || n.output_data end
        || '}}'
      )::json as payload,
      row_to_json(r) as metadata
    from landing n
    cross join lateral (select n.revision, {run_of("n", plan="n")}) r
    union all
    {UNBLOCKED_EVENTS}
  ) e
  order by e.place, e.task_id
  returning seq
),
{PLAN_RECORDED}
select
  g.task_id,
  m.plan_id,
  coalesce(w.verdict, 'unheld') as verdict,
  {TASK_COMPLETED} as status,
  false as is_limited,
  false as is_returned,
  case when g.position = 1 then {UNBLOCKED} end as unblocked,
  case when g.position = 1 and $4::boolean then
    set_config('synchronous_commit', 'off', true)
  end as is_written_later
from given g
left join moving m on m.position = g.position
left join weighable w on w.id = m.plan_id
order by g.position
"""


async def complete(
    conn: Connection, endings: Sequence[Ending], *, is_written_later: bool = False
) -> list[Row]:
    """Complete tasks by their holders; answers each, in the given order, with ``verdict``.

    ``unheld``: nothing was done, for there is more to it; see `tasks.end`, whose other verdicts and
    columns these are.
    """
    return await conn.fetch(
        _COMPLETE,
        [each.task_id for each in endings],
        [each.token for each in endings],
        [each.output_data for each in endings],
        is_written_later,
    )
