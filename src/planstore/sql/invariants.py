"""What must never happen, as statements that look for it.

Each is one statement, so it sees one moment of a database that is at work; and each goes through
the tables as a whole, never row by row.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from planstore.models.budget import PauseReason
from planstore.models.history import NO_CHANGE
from planstore.models.plan import OnFailure, PlanStatus
from planstore.models.task import DERIVED_REASONS, StatusReason, TaskStatus
from planstore.sql import marks
from planstore.sql.fragments import (
    IS_ABORTED,
    IS_DEAD,
    IS_HELD,
    IS_PATIENT,
    IS_UNAPPROVED,
    IS_UNMET,
    ON_FAILURE_ABORT,
    PLAN_ACTIVE,
    PLAN_COMPLETED,
    PLAN_FINAL,
    PLAN_SEQUENTIAL,
    PLAN_SETTLED,
    TASK_BLOCKED,
    TASK_FAILED,
    TASK_FINISHED,
    TASK_PENDING,
    TASK_RUNNING,
    TASK_SKIPPED,
    TASK_UNSTARTED,
    awaits_approval,
    is_dead,
    is_idle,
    one_of,
    satisfies,
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


_UNKNOWN_OF_PLAN: Final = f"""
select p.id
from planstore.plans p
where p.status not in {one_of(PlanStatus)}
  or p.on_failure not in {one_of(OnFailure)}
  or p.pause_reason not in {one_of(PauseReason)}
  or p.pause_reason is not null and p.paused_at is null
"""

_UNKNOWN_OF_TASK: Final = f"""
select s.task_id as id
from planstore.task_states s
where s.status not in {one_of(TaskStatus)}
  or s.status_reason not in {one_of(StatusReason)}
  or s.keeps_hold
    and not coalesce(s.status_reason in {one_of(DERIVED_REASONS)}, false)
"""

_COUNTED: Final = f"""
with of_order as (
  select
    t.plan_id,
    t.sequence_order,
    count(*) as tasks,
    count(*) filter (where s.status not in {TASK_FINISHED}) as unfinished,
    count(*) filter (
      where s.status = {TASK_RUNNING} or s.status_reason in {IS_PATIENT} or s.due_at is not null
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
    -- One whose tasks were deleted stays as it is.
    or p.auto_complete and p.task_count > 0
      and (p.status = {PLAN_COMPLETED}) <> (p.unfinished_tasks = 0)
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

_TASKLESS: Final = """
select s.task_id as id
from planstore.task_states s
left join planstore.tasks t on t.plan_id = s.plan_id and t.id = s.task_id
where t.id is null
"""

_COPIED: Final = """
select t.id
from planstore.tasks t
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
where (s.agent_id, s.task_type, s.created_at)
  is distinct from (t.agent_id, t.task_type, t.created_at)
"""

_WORDLESS: Final = """
select p.id
from planstore.plans p
left join planstore.plan_words w on w.plan_id = p.id and w.created_at = p.created_at
where w.plan_id is null
"""

_PLANS_MISMARKED: Final = f"""
with recursive {marks.marked("planstore.plans")}
select coalesce(w.id, m.plan_id) as id
from marked w
full join planstore.plan_marks m on m.plan_id = w.id and m.mark = w.mark
left join planstore.plans p on p.id = m.plan_id
where w.id is null
  or m.plan_id is null
  or m.created_at <> p.created_at
group by coalesce(w.id, m.plan_id)
"""

# Until a task that was edited is marked anew, its old marks are there.
_TASKS_MISMARKED: Final = f"""
with recursive unchanged as (
  select t.id, t.labels, t.metadata
  from planstore.tasks t
  where t.id not in (
    select g.id from planstore.task_words_due d cross join unnest(d.task_ids) g (id)
  )
),
{marks.marked("unchanged")}
select w.id
from marked w
left join planstore.task_marks m on m.task_id = w.id and m.mark = w.mark
where m.mark is null
union
select m.task_id
from planstore.task_marks m
left join planstore.tasks t
  on t.plan_id = m.plan_id and t.id = m.task_id and t.created_at = m.created_at
where t.id is null
"""

_PLANLESS: Final = """
select t.id
from planstore.tasks t
left join planstore.plans p on p.id = t.plan_id
where p.id is null
"""

_MISWIRED: Final = f"""
with counted as (
  select
    d.plan_id,
    d.task_id,
    count(*) as needs,
    count(*) filter (
      where not {satisfies("d.condition", status="n.status", reason="n.status_reason")}
    ) as unmet
  from planstore.dependencies d
  join planstore.task_states n on n.plan_id = d.plan_id and n.task_id = d.needs_id
  group by d.plan_id, d.task_id
)
select s.task_id as id
from planstore.task_states s
left join counted c on c.plan_id = s.plan_id and c.task_id = s.task_id
where row(s.needs, s.unmet) is distinct from row(
    coalesce(c.needs, 0), coalesce(c.unmet, 0) + {awaits_approval("s")}::int
  )
  or s.status = {TASK_PENDING} and s.unmet > 0
  or s.status = {TASK_BLOCKED}
    and not coalesce(
      case
        when {awaits_approval("s")} then s.status_reason in ({IS_HELD}, {IS_UNAPPROVED})
        else s.status_reason = {IS_HELD} or s.status_reason = {IS_UNMET} and s.unmet > 0
      end,
      false
    )
"""

_LOOSE: Final = """
select d.task_id as id
from planstore.dependencies d
left join planstore.tasks t on t.plan_id = d.plan_id and t.id = d.task_id
left join planstore.tasks n on n.plan_id = d.plan_id and n.id = d.needs_id
where t.id is null
  or n.id is null
"""

_MISREADY: Final = f"""
select s.task_id as id
from planstore.plans p
join planstore.tasks t on t.plan_id = p.id
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
where (s.due_at is not null) <> (
    s.status = {TASK_PENDING}
    and (p.plan_type <> {PLAN_SEQUENTIAL} or t.sequence_order = p.gate_order)
  )
  or (s.ready_at is not null) and not (p.status = {PLAN_ACTIVE} and p.paused_at is null)
  or s.due_at is not null and s.ready_at is null
    and p.status = {PLAN_ACTIVE} and p.paused_at is null and p.max_parallel_tasks is null
  or s.ready_at is not null and s.ready_at is distinct from s.due_at
"""

_MISPLACED: Final = f"""
with counted as (
  select
    s.plan_id,
    count(*) filter (where s.status = {TASK_RUNNING}) as running,
    count(s.due_at) as due,
    count(s.ready_at) as ready
  from planstore.task_states s
  group by s.plan_id
)
select p.id
from planstore.plans p
join counted c on c.plan_id = p.id
where p.max_parallel_tasks is not null
  and p.status = {PLAN_ACTIVE}
  and p.paused_at is null
  and c.ready <> least(c.due, greatest(p.max_parallel_tasks - c.running, 0))
"""

_DEAD: Final = f"""
with dead as (
  select distinct d.plan_id, d.task_id
  from planstore.dependencies d
  join planstore.plans p on p.id = d.plan_id
  join planstore.task_states n on n.plan_id = d.plan_id and n.task_id = d.needs_id
  -- What is skipped with all the rest comes back with it.
  where n.status_reason is distinct from {IS_ABORTED}
    and {
    is_dead("d.condition", status="n.status", reason="n.status_reason", on_failure="p.on_failure")
}
)
select s.task_id as id
from planstore.task_states s
left join dead d on d.plan_id = s.plan_id and d.task_id = s.task_id
where {is_idle("s")}
  and (d.task_id is not null)
    <> (s.status = {TASK_SKIPPED} and coalesce(s.status_reason = {IS_DEAD}, false))
"""

_MISABORTED: Final = f"""
with counted as (
  select
    s.plan_id,
    bool_or(s.status = {TASK_FAILED}) as has_failed,
    bool_or(s.status in {TASK_UNSTARTED}) as has_open,
    bool_or(s.status_reason = {IS_ABORTED}) as has_aborted
  from planstore.task_states s
  group by s.plan_id
)
select p.id
from planstore.plans p
join counted c on c.plan_id = p.id
cross join lateral (select p.on_failure = {ON_FAILURE_ABORT} and c.has_failed as is_aborting) a
where p.is_aborting <> a.is_aborting
  or a.is_aborting and c.has_open
  or c.has_aborted and not a.is_aborting
"""

_MISNUMBERED_CLAIMS: Final = """
with given as (
  select s.task_id, s.fencing_token, count(*) over (partition by s.fencing_token) as holders
  from planstore.task_states s
  where s.fencing_token is not null
)
select g.task_id as id
from given g
cross join planstore.fencing_tokens f
where g.holders > 1
  or g.fencing_token > f.last_value
  or not f.is_called
"""

_MISLEASED: Final = f"""
select s.task_id as id
from planstore.task_states s
where case
    when s.status = {TASK_RUNNING} and s.fencing_token is not null
      then s.worker_id is null or s.lease_seconds is null or s.lease_expires_at is null
        or s.lease_expires_at > s.times_out_at
    else s.lease_seconds is not null or s.lease_expires_at is not null
      or s.times_out_at is not null
  end
"""

_MISCOUNTED_RUNS: Final = f"""
select s.task_id as id
from planstore.task_states s
left join (
  select a.plan_id, a.task_id, max(a.attempt) as attempt
  from planstore.attempts a
  group by a.plan_id, a.task_id
) a on a.plan_id = s.plan_id and a.task_id = s.task_id
where s.attempt < s.free_attempts
  or s.attempt < a.attempt
  -- How a run ended is written once it has.
  or s.status = {TASK_RUNNING} and s.attempt in (0, a.attempt)
union
select a.task_id
from planstore.attempts a
left join planstore.task_states s on s.plan_id = a.plan_id and s.task_id = a.task_id
where s.task_id is null
"""

_MISCHARGED: Final = """
with filed as (
  select u.plan_id, n.key, sum(n.value::numeric) as value
  from planstore.usage u
  cross join lateral json_each_text(u.usage) n
  group by u.plan_id, n.key
),
charged as (
  select p.id, n.key, n.value::numeric as value
  from planstore.plans p
  cross join lateral json_each_text(p.usage) n
)
select distinct coalesce(c.id, f.plan_id) as id
from charged c
full join filed f on f.plan_id = c.id and f.key = c.key
where c.value is distinct from f.value
"""

_CURTAILED: Final = """
curtailed as (  -- plans of which old events are no longer kept
  select p.id
  from planstore.plans p
  join planstore.retention r on p.created_at < r.pruned_before
  left join (
    select e.plan_id, max(e.created_at) as created_at
    from planstore.events e
    where e.event_type = 'plan.created'
    group by e.plan_id
  ) c on c.plan_id = p.id
  where c.created_at is null
    or c.created_at < p.created_at  -- of an earlier plan of the same id
)"""

_OBJECTS: Final = """
objects as (
  select p.id, p.version, p.status
  from planstore.plans p
  left join curtailed c on c.id = p.id
  where c.id is null
  union all
  select s.task_id, s.version, s.status
  from planstore.task_states s
  left join curtailed c on c.id = s.plan_id
  where c.id is null
)"""

_CHANGES: Final = f"""
deleted as (
  select e.aggregate_id, max(e.seq) as seq
  from planstore.events e
  where e.event_type in ('plan.deleted', 'task.deleted')
  group by e.aggregate_id
),
changes as (
  select e.aggregate_id, e.version, e.seq, e.payload
  from planstore.events e
  left join deleted d on d.aggregate_id = e.aggregate_id
  left join deleted p on p.aggregate_id = e.plan_id
  left join curtailed c on c.id = e.plan_id
  -- They keep what was refused or said; nothing changed by them.
  where e.event_type not in ({", ".join(f"'{event}'" for event in sorted(NO_CHANGE))})
    and c.id is null
    -- What came before is over, also where the id was taken again; a plan takes its tasks along.
    and e.seq > greatest(coalesce(d.seq, 0), coalesce(p.seq, 0))
)"""

_UNRECORDED: Final = f"""
with {_CURTAILED},
{_OBJECTS},
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
with {_CURTAILED},
{_OBJECTS},
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
with {_CURTAILED},
{_CHANGES}
select c.aggregate_id as id
from changes c
group by c.aggregate_id
having min(c.version) <> 1
  or max(c.version) <> count(*)
  or count(distinct c.version) <> count(*)
"""

_MISTOLD: Final = f"""
with {_CURTAILED},
{_OBJECTS},
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
        rule="plan_unknown_value",
        broken="The plan's status, what it does on failure, or why it is paused is none that "
        "there is.",
        violations=_UNKNOWN_OF_PLAN,
    ),
    Invariant(
        rule="task_unknown_value",
        broken="The task's status, or the reason for it, is none that there is.",
        violations=_UNKNOWN_OF_TASK,
    ),
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
        rule="state_without_task",
        broken="The row in task_states belongs to no task.",
        violations=_TASKLESS,
    ),
    Invariant(
        rule="task_copies",
        broken="The row in task_states repeats another agent, type or time of creation than the "
        "task has.",
        violations=_COPIED,
    ),
    Invariant(
        rule="plan_without_words",
        broken="The plan isn't found by its words: its row in plan_words is missing.",
        violations=_WORDLESS,
    ),
    Invariant(
        rule="plan_marks",
        broken="The plan isn't listed by what its labels and metadata are, or listed by what they "
        "aren't.",
        violations=_PLANS_MISMARKED,
    ),
    Invariant(
        rule="task_marks",
        broken="The task isn't listed by what its labels and metadata are, or is listed though it "
        "isn't there.",
        violations=_TASKS_MISMARKED,
    ),
    Invariant(
        rule="task_without_plan",
        broken="The task belongs to no plan.",
        violations=_PLANLESS,
    ),
    Invariant(
        rule="task_dependencies",
        broken="How many dependencies the task has, or how many of them and of its approval are "
        "missing, differs from a recount, or it is pending with some of these, or blocked without.",
        violations=_MISWIRED,
    ),
    Invariant(
        rule="dependency_without_task",
        broken="A dependency of the task is on one that isn't there, or the task itself isn't.",
        violations=_LOOSE,
    ),
    Invariant(
        rule="task_readiness",
        broken="The task waits though its turn has come, or may start though it hasn't, or though "
        "its plan hands out nothing.",
        violations=_MISREADY,
    ),
    Invariant(
        rule="plan_places",
        broken="The plan hands out more tasks than it has places for, or leaves places empty.",
        violations=_MISPLACED,
    ),
    Invariant(
        rule="dependency_dead",
        broken="The task waits for what can't come any more, or was skipped for what may.",
        violations=_DEAD,
    ),
    Invariant(
        rule="plan_aborting",
        broken="The plan goes on though it is to be aborted, or was aborted for nothing.",
        violations=_MISABORTED,
    ),
    Invariant(
        rule="claim_tokens",
        broken="The task's fencing token is another one's too, or was never drawn.",
        violations=_MISNUMBERED_CLAIMS,
    ),
    Invariant(
        rule="claim_lease",
        broken="The task is claimed without a worker or a lease, or has a lease without a claim.",
        violations=_MISLEASED,
    ),
    Invariant(
        rule="task_attempts",
        broken="The task has run more often than it counts, or its run goes on though it ended, "
        "or it has run though there is no such task.",
        violations=_MISCOUNTED_RUNS,
    ),
    Invariant(
        rule="plan_usage",
        broken="What the plan has used differs from what was filed for its agents and types.",
        violations=_MISCHARGED,
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
