"""Adding tasks to their plans, any number of them, to any plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from planstore.models.fields import MAX_ORDER
from planstore.sql.following import FOLLOWED, IS_FRESH, PLAN_COUNTS, PLAN_RECORDED
from planstore.sql.fragments import TASK_PENDING, columns
from planstore.sql.tasks.columns import ALL, OF_STATE, OF_TASK, TASK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.models.idempotency import RequestKey
    from planstore.models.task import TaskDraft
    from planstore.sql.connection import Connection, Row

_NEW: Final = (
    ("id", "uuid"),
    ("plan_id", "uuid"),
    ("name", "text"),
    ("agent_id", "uuid"),
    ("description", "text"),
    ("task_type", "text"),
    ("input_data", "json"),
    ("metadata", "json"),
    ("after_last", "integer"),
    ("at_least", "integer"),
    ("scope", "text"),
    ("key", "text"),
    ("fingerprint", "bytea"),
)
"""What is given of each new task, with its type, in the order of the parameters: one array each."""

# A task's order is `after_last` more than its plan's last order, and `at_least` so much: that
# says "after the last", "3", and "after those before me in this batch" in one way.
_CREATE: Final = f"""
with given as materialized (
  select *
  from unnest({", ".join(f"${n}::{kind}[]" for n, (_, kind) in enumerate(_NEW, start=1))})
    with ordinality as g ({", ".join(name for name, _ in _NEW)}, position)
),
seen as materialized (
  select p.id, p.xmin from planstore.plans p where p.id = any ($2::uuid[])
),
plan as materialized (
  select {PLAN_COUNTS}, {IS_FRESH} as is_fresh
  from planstore.plans p
  join seen on seen.id = p.id
  order by p.id
  for no key update of p
),
placed as materialized (
  select
    g.id, g.plan_id, g.position,
    least(
      greatest(plan.last_order + g.after_last, g.at_least), {MAX_ORDER}
    ) as sequence_order
  from given g
  join plan on plan.id = g.plan_id
),
added as materialized (
  select
    q.plan_id as id,
    count(*) as tasks,
    min(q.sequence_order) as lowest_order,
    max(q.sequence_order) as highest_order,
    least(min(q.sequence_order), min(plan.gate_order)) as gate_order
  from placed q
  join plan on plan.id = q.plan_id
  group by q.plan_id
),
judged as materialized (
  select
    plan.id,
    plan.is_sequential and a.gate_order < plan.gate_order as is_shutting,
    case
      when plan.is_closed then 'closed'
      when plan.is_sequential and a.gate_order < plan.gate_order and not plan.is_fresh
        then 'stale'
      else 'changed'
    end as verdict
  from plan
  join added a on a.id = plan.id
),
shut as materialized (  -- whose turn had come, and who now wait for the new tasks
  select j.id, count(*) as tasks
  from judged j
  join plan on plan.id = j.id
  join planstore.tasks t on t.plan_id = plan.id and t.sequence_order = plan.gate_order
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  where j.is_shutting
    and s.status = {TASK_PENDING}
  group by j.id
),
weighed as materialized (
  select
    plan.id,
    a.gate_order,
    at_gate.tasks
      + case when a.gate_order = plan.gate_order then plan.gate_unfinished else 0 end
      as gate_unfinished,
    plan.unfinished_tasks + a.tasks as unfinished_tasks,
    plan.live_tasks - coalesce(shut.tasks, 0)
      + case when plan.is_sequential then at_gate.tasks else a.tasks end as live_tasks,
    plan.task_count + a.tasks as task_count,
    greatest(plan.last_order, a.highest_order) as last_order,
    false as is_move,
    true as is_revision,
    false as is_start
  from judged j
  join plan on plan.id = j.id
  join added a on a.id = j.id
  left join shut on shut.id = j.id
  cross join lateral (
    select count(*) as tasks
    from placed q
    where q.plan_id = j.id
      and q.sequence_order = a.gate_order
  ) at_gate
  where j.verdict = 'changed'
),
{FOLLOWED},
created as (
  insert into planstore.tasks
    (id, plan_id, name, agent_id, description, task_type, input_data, metadata, sequence_order)
  select
    g.id, g.plan_id, g.name, g.agent_id, g.description, g.task_type, g.input_data, g.metadata,
    q.sequence_order
  from given g
  join placed q on q.position = g.position
  join judged j on j.id = g.plan_id and j.verdict = 'changed'
  order by g.position
  returning {", ".join(OF_TASK)}
),
stated as (
  insert into planstore.task_states (plan_id, task_id, status)
  select created.plan_id, created.id, {TASK_PENDING} from created
  returning plan_id, task_id, {", ".join(OF_STATE)}
),
answer as materialized (
  select {TASK}
  from created t
  join stated s on s.plan_id = t.plan_id and s.task_id = t.id
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'task.created', 'task', a.id, a.plan_id, a.version, row_to_json(a),
    json_build_object('revision', f.revision)
  from given g
  join answer a on a.id = g.id
  join followed f on f.id = a.plan_id
  order by g.position
  returning seq
),
{PLAN_RECORDED},
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select g.scope, g.key, g.fingerprint, row_to_json(a)
  from given g
  join answer a on a.id = g.id
  where g.scope is not null
)
select coalesce(j.verdict, 'missing') as verdict, {columns(ALL, of="a")}
from given g
left join judged j on j.id = g.plan_id
left join answer a on a.id = g.id
order by g.position
"""


@dataclass(frozen=True, slots=True)
class NewTask:
    """A task to be added, with its id, its place and the key of its request."""

    id: UUID
    plan_id: UUID
    task: TaskDraft
    after_last: int | None
    """Its order is so much more than the last one of its plan …"""
    at_least: int | None
    """… and not less than this."""
    key: RequestKey | None = None

    @property
    def row(self) -> tuple[Any, ...]:
        """What is given of it, in the order of the parameters."""
        task = self.task
        return (
            *(self.id, self.plan_id, task.name, task.agent_id, task.description, task.task_type),
            *(task.input_data, task.metadata, self.after_last, self.at_least),
            *(self.key.row if self.key else (None, None, None)),
        )


async def create(conn: Connection, new: Sequence[NewTask]) -> list[Row]:
    """Add tasks to their plans; answers each, in the given order, with ``verdict``.

    ``changed``: done. ``missing``: there is no such plan. ``closed``: the plan takes no task.
    ``stale``: nothing was done for the plan; call again with it locked before.
    """
    return await conn.fetch(_CREATE, *zip(*(each.row for each in new), strict=True))


async def expect_many(conn: Connection) -> None:
    """Have `create` planned for as many tasks as are given, until the transaction ends.

    The plan that is kept for it is right for a handful, and quadratic for thousands.
    """
    await conn.execute("set local plan_cache_mode = force_custom_plan")
