"""Completing tasks of one plan by those who hold them: what happens most.

It is `planstore.sql.tasks.ending` for one verb, one plan and without the exceptions: a task that
isn't held with the given token, or isn't of the plan, is left to that, and so is whatever takes
more than counting. Here the plan comes first, and all else is read once it is locked, so that
nothing is ever found stale.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.plan import PLAN_LIFECYCLE
from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.following import PLAN_COUNTS, next_step, settled
from planstore.sql.fragments import (
    PLAN_ACTIVE,
    TASK_COMPLETED,
    TASK_FINISHED,
    TASK_RUNNING,
    WHEN_FAILED,
    event_of,
    run_of,
)
from planstore.sql.routines import routine
from planstore.sql.tasks.opening import UNBLOCKED_PAYLOAD, touched_opened

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.sql.connection import Connection, Row
    from planstore.sql.tasks.ending import Ending

_EVENT: Final = next(
    f"'task.{each.past}'" for each in TASK_LIFECYCLE.transitions if each.verb == "complete"
)

_SIGNATURE: Final = """
  task_ids uuid[], tokens bigint[], outputs json[], is_written_later boolean,
  out of_plan uuid, out verdict text, out taken integer[],
  out unblocked uuid[], out unblocked_by integer[], out had_to_wait boolean
"""

_UNFINISHED: Final = f"""(
          select s.status not in {TASK_FINISHED}
          from planstore.task_states s
          where s.plan_id = t.plan_id
            and s.task_id = t.id
        )"""

_NEW_STATUS: Final = f"""case
    when plan.is_closed then plan.status
    else {
    settled(
        f"case when new_live > 0 then {PLAN_ACTIVE} else plan.status end",
        task_count="plan.task_count",
        unfinished="new_unfinished",
        live="new_live",
        auto="plan.auto_complete",
    )
}
  end"""

_LOCKED_PLAN: Final = f"""select {PLAN_COUNTS}
  into plan
  from planstore.plans p
  where p.id = (select t.plan_id from planstore.tasks t where t.id = task_ids[1])
  for no key update"""
"""The plan of the first task; how it is waited for is to be added."""

_HELD: Final = f"""select
        s.plan_id, s.task_id, t.sequence_order, s.version, s.error is not null as had_error,
        s.task_type, s.agent_id, s.worker_id, s.attempt, s.was_ready_at, s.began_at
      from planstore.tasks t
      join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
      where t.plan_id = of_plan
        and s.status = {TASK_RUNNING}"""
"""The tasks of the plan that run, with what is to be known of them; which ones is to be added."""


def _change(output: str) -> str:
    """What becomes of a task ``s``, given what came of it."""
    return f"""status = {TASK_COMPLETED},
      completed_at = now(),
      output_data = coalesce({output}, s.output_data),
      error = null,
      version = s.version + 1,
      updated_at = now(),
      lease_expires_at = null,
      lease_seconds = null,
      times_out_at = null,
      ended_at = now()"""


def _told(task: str, output: str) -> str:
    """The event of that; its payload as text, for it is always the same."""
    return f"""
      {_EVENT}, 'task', {task}.task_id, {task}.plan_id, {task}.version + 1,
      (
        '{{"status":"' || {TASK_COMPLETED} || '","completed_at":' || to_json(now())
        || case when {task}.had_error then ',"error":null' else '' end
        || case when {output} is null then '' else ',"output_data":' || {output} end
        || '}}'
      )::json,
      row_to_json(r)"""


_BODY: Final = f"""
declare
  plan record;
  held record;
  opened record;
  ids uuid[];
  last_at_gate integer;
  is_needed boolean;
  is_wide boolean;
  is_turning boolean := false;
  finished integer;
  finished_at_gate integer;
  new_unfinished integer;
  new_live integer;
  new_offered integer;
  new_gate integer;
  new_at_gate integer;
  new_status text;
  new_step integer;
begin
  verdict := 'unheld';
  unblocked := '{{}}';
  unblocked_by := '{{}}';

  {_LOCKED_PLAN} skip locked;
  had_to_wait := not found;
  if had_to_wait then
    {_LOCKED_PLAN};
    if not found then
      return;
    end if;
  end if;
  of_plan := plan.id;

  -- What needs them, and whether a part of that can never start now.
  select count(*) > 0, coalesce(bool_or(d.condition = {WHEN_FAILED}), false)
  into is_needed, is_wide
  from planstore.dependencies d
  where d.needs_id = any (task_ids)
    -- In words that aren't those of an index, or else it might begin with all of the plan's.
    and d.plan_id is not distinct from of_plan;

  if is_wide or plan.is_aborting or plan.status <> {PLAN_ACTIVE} and not plan.is_closed then
    verdict := 'wide';
    return;
  end if;
  if plan.is_limited then
    verdict := 'stale';
    return;
  end if;

  if cardinality(task_ids) = 1 then
    {_HELD}
      and t.id = task_ids[1]
      and s.fencing_token = tokens[1]
    into held
    for no key update of s;
    if not found then
      return;
    end if;

    update planstore.task_states s
    set
      {_change("outputs[1]")}
    where s.plan_id = held.plan_id
      and s.task_id = held.task_id;

    insert into planstore.events
      (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
    select {_told("held", "outputs[1]")}
    from (select plan.revision, {run_of("held", plan="plan")}) r;

    finished := 1;
    finished_at_gate := (held.sequence_order = plan.gate_order)::integer;
    last_at_gate := 1;
    taken := array[1];
    ids := task_ids;
  else
    with moving as materialized (
      select g.position, g.output_data, s.*
      from (
        select *
        from unnest(task_ids, tokens, outputs) with ordinality
          as u (task_id, token, output_data, position)
        order by u.task_id
      ) g
      -- One after the other, in the order of their ids, and never by all tasks of the plan.
      cross join lateral (
        {_HELD}
          and t.id = g.task_id
          and s.fencing_token = g.token
        for no key update of s
      ) s
    ),
    moved as (
      update planstore.task_states s
      set
        {_change("m.output_data")}
      from moving m
      where s.plan_id = m.plan_id
        and s.task_id = m.task_id
    ),
    recorded as (
      insert into planstore.events
        (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
      select {_told("m", "m.output_data")}
      from moving m
      cross join lateral (select plan.revision, {run_of("m", plan="plan")}) r
      order by m.position
    )
    select
      count(*),
      count(*) filter (where m.sequence_order = plan.gate_order),
      max(m.position) filter (where m.sequence_order = plan.gate_order),
      array_agg(m.position::integer),
      array_agg(m.task_id)
    into finished, finished_at_gate, last_at_gate, taken, ids
    from moving m;
    if finished = 0 then
      return;
    end if;
  end if;
  verdict := 'changed';

  new_unfinished := plan.unfinished_tasks - finished;
  new_live := plan.live_tasks - finished;
  new_offered := plan.offered_tasks - finished;
  new_gate := case when new_unfinished > 0 then plan.gate_order end;
  new_at_gate := plan.gate_unfinished - finished_at_gate;

  if new_at_gate = 0 and new_unfinished > 0 then
    select o.sequence_order, c.unfinished
    into new_gate, new_at_gate
    from (
      select t.sequence_order
      from planstore.tasks t
      where t.plan_id = of_plan
        and t.sequence_order > plan.gate_order
        and t.id <> all (ids)  -- need not be looked at again
        and {_UNFINISHED}
      order by t.sequence_order
      limit 1
    ) o
    cross join lateral (
      select count(*) as unfinished
      from planstore.tasks t
      where t.plan_id = of_plan
        and t.sequence_order = o.sequence_order
        and {_UNFINISHED}
    ) c;
    is_turning := plan.is_sequential;
  end if;

  if is_needed or is_turning then
    with touched as materialized (
      select
        x.plan_id, x.task_id, sum(x.satisfied)::integer as satisfied,
        bool_or(x.is_in_turn) as is_in_turn, max(x.place) as place
      from (
        select
          d.plan_id, d.task_id, 1 as satisfied, m.position as place,
          not plan.is_sequential or d.sequence_order <= new_gate as is_in_turn
        from unnest(ids, taken) as m (task_id, position)
        cross join lateral (
          select d.plan_id, d.task_id, t.sequence_order
          from planstore.dependencies d
          join planstore.tasks t on t.id = d.task_id
          where d.needs_id = m.task_id
            and d.plan_id = of_plan
          offset 0  -- or else it might begin with all tasks of the plan
        ) d
        union all
        select t.plan_id, t.id, 0, last_at_gate, true
        from planstore.tasks t
        where is_turning
          and t.plan_id = of_plan
          and t.sequence_order = new_gate
      ) x
      group by x.plan_id, x.task_id
    ),
    opened as (
      {touched_opened(is_offering="plan.is_handing_out", returning="x.place")}
    ),
    recorded as (
      insert into planstore.events
        (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
      select
        'task.unblocked', 'task', o.task_id, of_plan, o.version,
        {UNBLOCKED_PAYLOAD},
        row_to_json(r)
      from opened o
      cross join lateral (select plan.revision, o.task_type) r
      where o.is_unblocked
      order by o.task_id
    )
    select
      count(*) as due,
      count(o.ready_at) as ready,
      coalesce(array_agg(o.task_id order by o.task_id), '{{}}') as ids,
      coalesce(array_agg(o.place::integer order by o.task_id), '{{}}') as places
    into opened
    from opened o
    where o.due_at is not null;

    new_live := new_live + opened.due;
    new_offered := new_offered + opened.ready;
    unblocked := opened.ids;
    unblocked_by := opened.places;
  end if;

  new_status := {_NEW_STATUS};
  new_step := {next_step("new_gate", plan="plan")};

  update planstore.plans p
  set
    status = new_status,
    current_step = new_step,
    version = plan.version + (new_status <> plan.status or new_step <> plan.current_step)::int,
    updated_at = case
      when new_status <> plan.status or new_step <> plan.current_step then now()
      else p.updated_at
    end,
    computed_step = coalesce(new_gate, p.computed_step),
    unfinished_tasks = new_unfinished,
    live_tasks = new_live,
    offered_tasks = new_offered,
    gate_order = new_gate,
    gate_unfinished = coalesce(new_at_gate, 0),
    reopened = false
  where p.id = of_plan;

  if new_status <> plan.status or new_step <> plan.current_step then
    insert into planstore.events
      (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
    values (
      coalesce({event_of(PLAN_LIFECYCLE, "plan.status", "new_status")}, 'plan.advanced'),
      'plan', of_plan, of_plan, plan.version + 1,
      case
        when new_status = plan.status then json_build_object('current_step', new_step)
        when new_step = plan.current_step then json_build_object('status', new_status)
        else json_build_object('status', new_status, 'current_step', new_step)
      end,
      json_build_object('revision', plan.revision)
    );
  end if;

  if is_written_later then
    perform set_config('synchronous_commit', 'off', true);
  end if;
end
"""

COMPLETE: Final = routine("complete_runs", _SIGNATURE, _BODY)

COMPLETED: Final = ("of_plan", "verdict", "taken", "unblocked", "unblocked_by", "had_to_wait")
"""What it answers."""

_COMPLETE: Final = f"select {', '.join(COMPLETED)} from planstore.{COMPLETE.name}($1, $2, $3, $4)"


async def complete(
    conn: Connection, endings: Sequence[Ending], *, is_written_later: bool = False
) -> Row:
    """Complete tasks of the first one's plan by their holders; answers what became of them.

    ``verdict``: ``changed``; or nothing was done, for there is more to it: ``unheld`` (nobody holds
    any of them with the given token), or what `tasks.end` means by ``stale`` and ``wide``.
    ``of_plan``: the plan, if the first one is there. ``taken``: the places of those that were
    completed, 1 for the first; the others are unheld. ``unblocked``: the tasks whose turn has come,
    with the places of those by which it has in ``unblocked_by``. ``had_to_wait``: for somebody else
    at the plan.

    ``is_written_later``: as in `tasks.end`.
    """
    row = await conn.fetchrow(
        _COMPLETE,
        [each.task_id for each in endings],
        [each.token for each in endings],
        [each.output_data for each in endings],
        is_written_later,
    )
    assert row is not None
    return row
