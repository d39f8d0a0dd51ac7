"""Handing out as much of a plan as it may have at work."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.sql.fragments import PLAN_ACTIVE

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.sql.connection import Connection

_OFFER: Final = f"""
with plan as materialized (
  select p.id, p.max_parallel_tasks, p.offered_tasks
  from planstore.plans p
  where p.id = $1
    and p.max_parallel_tasks is not null
    and p.status = {PLAN_ACTIVE}
    and p.paused_at is null
  for no key update
),
-- A place that waits for a time is given to who need not wait. Locked, for by its own clock, which
-- is later than that of a transaction that had to wait, a claim may have just taken the task.
waiting as materialized (
  select s.task_id
  from plan p
  join planstore.task_states s on s.plan_id = p.id
  where s.ready_at > now()
  order by s.task_id
  for no key update of s
),
room as materialized (
  select greatest(p.max_parallel_tasks - p.offered_tasks + (select count(*) from waiting), 0)
    as places
  from plan p
),
chosen as materialized (
  select c.task_id
  from (
    (
      select s.task_id, s.due_at, s.priority, true as is_now
      from planstore.task_states s
      where s.plan_id = (select p.id from plan p)
        and s.due_at <= now()
        and s.ready_at is null
      order by s.priority desc, s.due_at, s.task_id
      limit (select r.places from room r)
    )
    union all
    (
      select s.task_id, s.due_at, s.priority, false
      from planstore.task_states s
      where s.plan_id = (select p.id from plan p)
        and s.due_at > now()
        and (s.ready_at is null or s.task_id in (select w.task_id from waiting w))
      order by s.due_at, s.task_id
      limit (select r.places from room r)
    )
  ) c
  order by not c.is_now, case when c.is_now then -c.priority end, c.due_at, c.task_id
  limit (select r.places from room r)
),
offered as (
  update planstore.task_states s
  set ready_at = case when s.task_id in (select c.task_id from chosen c) then s.due_at end
  from plan p
  where s.plan_id = p.id
    and s.task_id in (
      select w.task_id from waiting w union select c.task_id from chosen c
    )
  returning s.ready_at
)
update planstore.plans p
set offered_tasks = p.offered_tasks
  - (select count(*) from waiting) + (select count(o.ready_at) from offered o)
from plan
where p.id = plan.id
"""


async def offer(conn: Connection, plan_id: UUID) -> None:
    """Hand out as many due tasks of a plan as it has places for: ``max_parallel_tasks``.

    The plan must be locked before, in the same transaction.
    """
    await conn.execute(_OFFER, plan_id)
