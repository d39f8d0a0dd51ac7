"""The statements that look at a plan as a whole, to say how far it is and what holds it back.

They only read, and each is bounded by a limit or by one plan: they run along its tasks in order,
the keys of its states and dependencies, and never along another plan's.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.task import TaskStatus
from planstore.sql.fragments import (
    IS_DEAD,
    IS_HELD,
    IS_UNAPPROVED,
    PLAN_SEQUENTIAL,
    TASK_BLOCKED,
    TASK_COMPLETED,
    TASK_FAILED,
    TASK_FINISHED,
    TASK_PENDING,
    TASK_RUNNING,
    TASK_SKIPPED,
    TASK_UNSTARTED,
    awaits_approval,
    is_dead,
    satisfies,
)
from planstore.sql.tasks.columns import TASKS

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.sql.connection import Connection, Row

_PLAN: Final = """
select p.id, p.status, p.plan_type, p.current_step, p.paused_at, p.pause_reason, p.closed_at,
  p.updated_at, p.max_parallel_tasks, p.on_failure, p.is_aborting, p.task_count, p.unfinished_tasks,
  p.offered_tasks, now() as now
from planstore.plans p
where p.id = $1
"""


async def plan(conn: Connection, plan_id: UUID) -> Row | None:
    """Return the plan as far as the work on it is concerned, with the time ``now``; or None."""
    return await conn.fetchrow(_PLAN, plan_id)


_OF_STATUS: Final = ",\n  ".join(
    f"count(*) filter (where s.status = '{each.value}') as {each.value}" for each in TaskStatus
)

_COUNTS: Final = f"""
select
  {_OF_STATUS},
  count(*) filter (where s.ready_at <= now()) as ready,
  min(s.ready_at) as ready_since,
  count(*) filter (where s.due_at > now()) as waiting_for_time,
  count(*) filter (where s.due_at > now() and s.attempt > s.free_attempts) as backing_off,
  min(s.due_at) filter (where s.due_at > now() and s.attempt > s.free_attempts) as backed_off_at,
  min(s.due_at) filter (where s.due_at > now() and s.attempt <= s.free_attempts) as starting_at,
  count(*) filter (where s.due_at <= now() and s.ready_at is null) as left_out,
  count(*) filter (where s.status = {TASK_PENDING} and s.attempt > s.free_attempts) as retrying,
  count(*) filter (where s.status = {TASK_PENDING} and s.due_at is null) as out_of_turn,
  count(*) filter (where s.status = {TASK_BLOCKED} and s.status_reason = {IS_HELD}) as held,
  count(*) filter (where s.status = {TASK_BLOCKED} and s.status_reason = {IS_UNAPPROVED})
    as unapproved
from planstore.task_states s
where s.plan_id = $1
"""


async def counts(conn: Connection, plan_id: UUID) -> Row:
    """Return how many tasks of a plan stand where.

    ``ready`` since ``ready_since``; ``waiting_for_time``, and of these ``backing_off``, the first
    until ``backed_off_at`` and of the others until ``starting_at``; ``left_out``: due, but not
    handed out by the plan; ``retrying``, ``out_of_turn``, ``held`` and ``unapproved``.
    """
    row = await conn.fetchrow(_COUNTS, plan_id)
    assert row is not None
    return row


_RUNNING: Final = f"""
select s.task_id, t.name, s.worker_id, s.attempt, s.started_at, s.lease_expires_at, s.progress,
  s.progress_note
from planstore.task_states s
join planstore.tasks t on t.plan_id = s.plan_id and t.id = s.task_id
where s.plan_id = $1
  and s.status = {TASK_RUNNING}
order by s.began_at, s.task_id
limit $2
"""


async def running(conn: Connection, plan_id: UUID, *, limit: int) -> list[Row]:
    """Return the tasks of a plan that run, longest first."""
    return await conn.fetch(_RUNNING, plan_id, limit)


_DURATIONS: Final = f"""
select
  s.task_type, count(*) as runs, avg(extract(epoch from s.ended_at - s.began_at))::float8 as seconds
from planstore.task_states s
where s.plan_id = $1
  and s.status = {TASK_COMPLETED}
  and s.began_at is not null
group by s.task_type
"""


async def durations(conn: Connection, plan_id: UUID) -> list[Row]:
    """Return how long the completed tasks of each type took, by the database's clock."""
    return await conn.fetch(_DURATIONS, plan_id)


_STANDING: Final = f"""t.id, t.name, t.sequence_order, t.estimated_duration, s.task_type,
  s.agent_id, s.status, s.status_reason, s.unmet, {awaits_approval("s")} as awaits_approval,
  s.due_at, s.ready_at, s.not_before, s.attempt,
  s.attempt > s.free_attempts as is_retrying, s.worker_id, s.began_at, s.ended_at, s.completed_at,
  s.lease_expires_at, s.needs_review"""

_UNFINISHED: Final = f"""
select {_STANDING}
from {TASKS}
where t.plan_id = $1
  and s.status not in {TASK_FINISHED}
order by t.sequence_order, t.created_at, t.id
limit $2
"""


async def unfinished(conn: Connection, plan_id: UUID, *, limit: int) -> list[Row]:
    """Return the tasks of a plan that aren't finished, in their order."""
    return await conn.fetch(_UNFINISHED, plan_id, limit)


_UNSATISFIED: Final = f"""
not {satisfies("d.condition", status="n.status", reason="n.status_reason")}"""

_WAITS: Final = f"""
select d.task_id, d.needs_id
from planstore.task_states w
join planstore.dependencies d on d.plan_id = w.plan_id and d.task_id = w.task_id
join planstore.task_states n on n.plan_id = d.plan_id and n.task_id = d.needs_id
where w.plan_id = $1
  and w.status in {TASK_UNSTARTED}
  and w.unmet > 0
  and {_UNSATISFIED}
order by d.task_id, d.needs_id
limit $2
"""


async def waits(conn: Connection, plan_id: UUID, *, limit: int) -> list[Row]:
    """Return the dependencies of a plan that hold a task back."""
    return await conn.fetch(_WAITS, plan_id, limit)


_FAILED: Final = f"""
select s.task_id, t.name, s.attempt, s.ended_at as failed_at, s.needs_review,
  left(
    case json_typeof(s.error)
      when 'object' then coalesce(s.error ->> 'message', s.error::text)
      else s.error #>> '{{}}'
    end,
    200
  ) as error
from planstore.task_states s
join planstore.tasks t on t.plan_id = s.plan_id and t.id = s.task_id
where s.plan_id = $1
  and s.status = {TASK_FAILED}
  and ($2::uuid is null or s.task_id = $2)
order by s.ended_at desc, s.task_id
limit $3
"""


async def failed(
    conn: Connection, plan_id: UUID, task_id: UUID | None = None, *, limit: int
) -> list[Row]:
    """Return the tasks of a plan that failed, or that one, with the beginning of their errors."""
    return await conn.fetch(_FAILED, plan_id, task_id, limit)


_TASK: Final = f"""
select t.plan_id, {_STANDING}
from {TASKS}
where t.id = $1
"""


async def task(conn: Connection, task_id: UUID) -> Row | None:
    """Return where a task stands, or None."""
    return await conn.fetchrow(_TASK, task_id)


_STANDINGS: Final = f"""
select {_STANDING}
from {TASKS}
where t.plan_id = $1
  and t.id = any ($2::uuid[])
"""


async def standings(conn: Connection, plan_id: UUID, task_ids: Sequence[UUID]) -> list[Row]:
    """Return where tasks of a plan stand, in no order."""
    return await conn.fetch(_STANDINGS, plan_id, task_ids)


_EARLIER: Final = f"""
select {_STANDING}, count(*) over () as total
from {TASKS}
where t.plan_id = $1
  and t.sequence_order < $2
  and s.status not in {TASK_FINISHED}
order by t.sequence_order, t.created_at, t.id
limit $3
"""


async def earlier(conn: Connection, plan_id: UUID, order: int, *, limit: int) -> list[Row]:
    """Return the first unfinished tasks of a lower order; ``total``: how many there are."""
    return await conn.fetch(_EARLIER, plan_id, order, limit)


_OFFERED: Final = f"""
select {_STANDING}
from {TASKS}
where t.plan_id = $1
  and (s.status = {TASK_RUNNING} or s.ready_at is not null)
order by s.began_at, s.ready_at, t.id
limit $2
"""


async def offered(conn: Connection, plan_id: UUID, *, limit: int) -> list[Row]:
    """Return the tasks that take a plan's places: those that run, and those that may be claimed."""
    return await conn.fetch(_OFFERED, plan_id, limit)


_TRACE: Final = f"""
with recursive reached (task_id) as (
  select unnest($2::uuid[])
  union
  select d.needs_id
  from reached r
  join planstore.task_states w on w.plan_id = $1 and w.task_id = r.task_id
  join planstore.dependencies d on d.plan_id = $1 and d.task_id = r.task_id
  join planstore.task_states n on n.plan_id = $1 and n.task_id = d.needs_id
  where w.status in {TASK_UNSTARTED}
    and {_UNSATISFIED}
)
select
  d.task_id, d.needs_id, d.condition as "when", n.status, n.status_reason, n.unmet,
  {awaits_approval("n")} as awaits_approval, n.due_at
-- No more is worked out than is fetched.
from (select r.task_id from reached r limit $3) r
join planstore.task_states w on w.plan_id = $1 and w.task_id = r.task_id
join planstore.dependencies d on d.plan_id = $1 and d.task_id = r.task_id
join planstore.task_states n on n.plan_id = $1 and n.task_id = d.needs_id
where w.status in {TASK_UNSTARTED}
  and {_UNSATISFIED}
limit $4
"""


async def trace(
    conn: Connection, plan_id: UUID, task_ids: Sequence[UUID], *, max_tasks: int, max_edges: int
) -> list[Row]:
    """Return what the tasks wait for, what that waits for, and so on: the unmet dependencies.

    With where the needed task stands: ``status``, ``status_reason``, ``unmet``,
    ``awaits_approval``, ``due_at``.
    """
    return await conn.fetch(_TRACE, plan_id, task_ids, max_tasks, max_edges)


_ORIGINS: Final = f"""
with recursive dead (task_id) as (
  select $2::uuid
  union
  select d.needs_id
  from dead k
  join planstore.plans p on p.id = $1
  join planstore.task_states w on w.plan_id = $1 and w.task_id = k.task_id
  join planstore.dependencies d on d.plan_id = $1 and d.task_id = k.task_id
  join planstore.task_states n on n.plan_id = $1 and n.task_id = d.needs_id
  where w.status = {TASK_SKIPPED}
    and w.status_reason = {IS_DEAD}
    and {
    is_dead("d.condition", status="n.status", reason="n.status_reason", on_failure="p.on_failure")
}
)
select {_STANDING}
from (select k.task_id from dead k limit $3) k
join planstore.tasks t on t.plan_id = $1 and t.id = k.task_id
join planstore.task_states s on s.plan_id = $1 and s.task_id = k.task_id
where k.task_id <> $2
  and (s.status <> {TASK_SKIPPED} or s.status_reason is distinct from {IS_DEAD})
order by t.sequence_order, t.created_at, t.id
limit $4
"""


async def origins(
    conn: Connection, plan_id: UUID, task_id: UUID, *, max_tasks: int, limit: int
) -> list[Row]:
    """Return by what a task was skipped in the end: tasks that ended otherwise than was needed."""
    return await conn.fetch(_ORIGINS, plan_id, task_id, max_tasks, limit)


_DEPENDENTS: Final = f"""
with recursive dependent (task_id) as (
  select x.task_id
  from (
    select $2::uuid as task_id
    union all
    -- In a sequential plan, all that has its turn later.
    (
      select l.id
      from planstore.tasks t
      join planstore.plans p on p.id = t.plan_id
      join planstore.task_states m on m.plan_id = $1 and m.task_id = t.id
      join planstore.tasks l on l.plan_id = $1 and l.sequence_order > t.sequence_order
      join planstore.task_states w on w.plan_id = $1 and w.task_id = l.id
      where t.plan_id = $1
        and t.id = $2
        and p.plan_type = {PLAN_SEQUENTIAL}
        and m.status not in {TASK_FINISHED}
        and w.status in {TASK_UNSTARTED}
      limit $3
    )
  ) x
  union
  select d.task_id
  from dependent r
  join planstore.dependencies d on d.plan_id = $1 and d.needs_id = r.task_id
  join planstore.task_states n on n.plan_id = $1 and n.task_id = r.task_id
  join planstore.task_states w on w.plan_id = $1 and w.task_id = d.task_id
  where w.status in {TASK_UNSTARTED}
    and {_UNSATISFIED}
)
select least(count(*) - 1, $3)
-- No more is worked out than is fetched.
from (select r.task_id from dependent r limit $3 + 1) r
"""


async def dependents(conn: Connection, plan_id: UUID, task_id: UUID, *, limit: int) -> int:
    """Return how many tasks wait for a task, directly or through others; ``limit`` at most."""
    count = await conn.fetchval(_DEPENDENTS, plan_id, task_id, limit)
    assert isinstance(count, int)
    return count


_NODES: Final = f"""
select t.id, t.name, left(t.description, 1000) as description, s.status, t.sequence_order,
  t.parallel_group
from {TASKS}
where t.plan_id = $1
order by t.sequence_order, t.created_at, t.id
limit $2
"""


async def nodes(conn: Connection, plan_id: UUID, *, limit: int) -> list[Row]:
    """Return the tasks of a plan in their order, as parts of its graph."""
    return await conn.fetch(_NODES, plan_id, limit)


_EDGES: Final = f"""
select d.task_id, d.needs_id, d.condition as "when", d.kind as "type",
  {satisfies("d.condition", status="n.status", reason="n.status_reason")} as is_satisfied
from planstore.dependencies d
join planstore.task_states n on n.plan_id = d.plan_id and n.task_id = d.needs_id
where d.plan_id = $1
order by d.task_id, d.needs_id
limit $2
"""


async def edges(conn: Connection, plan_id: UUID, *, limit: int) -> list[Row]:
    """Return the dependencies of a plan, as parts of its graph."""
    return await conn.fetch(_EDGES, plan_id, limit)
