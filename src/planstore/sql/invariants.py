"""What must never happen, as statements that look for it.

Each is one statement, so it sees one moment of a database that is at work; and each goes through
the tables as a whole, never row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from planstore.sql.fragments import (
    IS_HELD,
    PLAN_ACTIVE,
    PLAN_COMPLETED,
    PLAN_FINAL,
    PLAN_SETTLED,
    TASK_FINISHED,
    TASK_RUNNING,
    TASK_UNSTARTED,
)

if TYPE_CHECKING:
    from planstore.sql.connection import Connection, Row


@dataclass(frozen=True, slots=True)
class Invariant:
    """One thing that holds at every moment."""

    rule: str
    """A short code, for ever."""
    broken: str
    """What is so where it doesn't hold."""
    violations: str
    """A query for the ``id`` of each plan or task for which it doesn't."""


_COUNTED: Final = f"""
with of_order as (
  select
    t.plan_id,
    t.sequence_order,
    count(*) as tasks,
    count(*) filter (where s.status not in {TASK_FINISHED}) as unfinished,
    count(*) filter (
      where s.status = {TASK_RUNNING} or s.status_reason = {IS_HELD} or s.due_at is not null
    ) as live,
    count(*) filter (where s.status = {TASK_RUNNING} or s.ready_at is not null) as offered
  from planstore.tasks t
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  group by t.plan_id, t.sequence_order
),
of_plan as (
  select
    o.plan_id,
    sum(o.tasks) as tasks,
    sum(o.unfinished) as unfinished,
    sum(o.live) as live,
    sum(o.offered) as offered,
    max(o.sequence_order) as last_order,
    min(o.sequence_order) filter (where o.unfinished > 0) as gate_order
  from of_order o
  group by o.plan_id
)
select p.id
from planstore.plans p
left join of_plan c on c.plan_id = p.id
left join of_order gate on gate.plan_id = p.id and gate.sequence_order = c.gate_order
where row(
    p.task_count, p.unfinished_tasks, p.gate_order, p.gate_unfinished, p.live_tasks,
    p.offered_tasks
  ) is distinct from row(
    coalesce(c.tasks, 0), coalesce(c.unfinished, 0), c.gate_order, coalesce(gate.unfinished, 0),
    coalesce(c.live, 0), coalesce(c.offered, 0)
  )
  or p.last_order < c.last_order
"""

_UNSETTLED: Final = f"""
select p.id
from planstore.plans p
where p.status = {PLAN_ACTIVE}
  and p.auto_complete
  and not p.reopened
  and p.task_count > 0
  and p.live_tasks = 0
"""

_MISSETTLED: Final = f"""
select p.id
from planstore.plans p
where p.status in {PLAN_SETTLED}
  and p.closed_at is null
  and (
    p.live_tasks > 0
    or p.auto_complete and (p.status = {PLAN_COMPLETED}) <> (p.unfinished_tasks = 0)
  )
"""

_MISCLOSED: Final = f"""
select p.id
from planstore.plans p
where case
    when p.status in {PLAN_SETTLED} then false
    else (p.status in {PLAN_FINAL}) <> (p.closed_at is not null)
  end
"""

_OPEN_IN_CLOSED: Final = f"""
select s.task_id as id
from planstore.plans p
join planstore.task_states s on s.plan_id = p.id
where p.closed_at is not null
  and s.status in {TASK_UNSTARTED}
"""

_STATELESS: Final = """
select t.id
from planstore.tasks t
left join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
where s.task_id is null
"""

_OBJECTS: Final = """
objects as (
  select p.id, p.version, p.status from planstore.plans p
  union all
  select s.task_id, s.version, s.status from planstore.task_states s
)"""

_CHANGES: Final = """
changes as (
  select e.aggregate_id, e.version, e.seq, e.payload
  from planstore.events e
  -- It keeps what was refused; nothing changed by it.
  where e.event_type <> 'task.result_refused'
)"""

_UNRECORDED: Final = f"""
with {_OBJECTS},
{_CHANGES}
select o.id
from objects o
left join (
  select c.aggregate_id, max(c.version) as version from changes c group by c.aggregate_id
) e on e.aggregate_id = o.id
where e.version is null
  or e.version < o.version
"""

_UNDONE: Final = f"""
with {_OBJECTS},
{_CHANGES}
select e.aggregate_id as id
from (
  select c.aggregate_id, max(c.version) as version from changes c group by c.aggregate_id
) e
left join objects o on o.id = e.aggregate_id
where o.id is null
  or o.version < e.version
"""

_MISNUMBERED: Final = f"""
with {_CHANGES}
select c.aggregate_id as id
from changes c
group by c.aggregate_id
having min(c.version) <> 1
  or max(c.version) <> count(*)
  or count(distinct c.version) <> count(*)
"""

_MISTOLD: Final = f"""
with {_OBJECTS},
{_CHANGES},
told as (
  select distinct on (c.aggregate_id) c.aggregate_id, c.payload ->> 'status' as status
  from changes c
  where c.payload -> 'status' is not null
  order by c.aggregate_id, c.seq desc
)
select o.id
from objects o
join told on told.aggregate_id = o.id
where told.status <> o.status
"""

INVARIANTS: Final = (
    Invariant(
        rule="plan_counts",
        broken="The plan's counts of its tasks, or its gate, differ from a recount.",
        violations=_COUNTED,
    ),
    Invariant(
        rule="plan_unsettled",
        broken="The plan is open, though it has tasks and none of them can go on.",
        violations=_UNSETTLED,
    ),
    Invariant(
        rule="plan_missettled",
        broken="The plan settled while a task runs or may start, or with the wrong status.",
        violations=_MISSETTLED,
    ),
    Invariant(
        rule="plan_misclosed",
        broken="The plan is open with a time of closing, or cancelled without one.",
        violations=_MISCLOSED,
    ),
    Invariant(
        rule="task_open_in_closed_plan",
        broken="The task is pending or blocked, though its plan was closed.",
        violations=_OPEN_IN_CLOSED,
    ),
    Invariant(
        rule="task_without_state",
        broken="The task has no status: its row in task_states is missing.",
        violations=_STATELESS,
    ),
    Invariant(
        rule="change_without_event",
        broken="The plan or task is at a version that no event tells of.",
        violations=_UNRECORDED,
    ),
    Invariant(
        rule="event_without_change",
        broken="An event tells of a version that the plan or task has not reached.",
        violations=_UNDONE,
    ),
    Invariant(
        rule="event_versions",
        broken="The versions of the plan's or task's events have gaps or repetitions.",
        violations=_MISNUMBERED,
    ),
    Invariant(
        rule="event_status",
        broken="The status that the events add up to is not that of the plan or task.",
        violations=_MISTOLD,
    ),
)
"""All that is looked for, in the order in which it is reported."""


async def violations(conn: Connection, invariant: Invariant, *, examples: int) -> Row:
    """Return how many violations there are (``count``), and the ids of the first (``examples``)."""
    row = await conn.fetchrow(
        f"""
with found as materialized ({invariant.violations})
select
  (select count(*) from found) as count,
  array(select found.id from found order by found.id limit $1) as examples
""",
        examples,
    )
    assert row is not None
    return row
