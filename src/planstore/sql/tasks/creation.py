"""Adding tasks to their plans, any number of them, to any plans."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json

from planstore.models.fields import MAX_ORDER
from planstore.sql.following import FOLLOWED, IS_FRESH, PLAN_COUNTS, PLAN_RECORDED
from planstore.sql.fragments import (
    IS_UNAPPROVED,
    IS_UNMET,
    PLAN_DRAFT,
    TASK_BLOCKED,
    TASK_PENDING,
    columns,
    is_dead,
    names_of,
    rows_of,
    satisfies,
)
from planstore.sql.tasks.columns import OF_STATE, OF_TASK, TASK

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.models.dependency import Condition, DependencyType
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
    ("labels", "text"),
    ("parallel_group", "text"),
    ("priority", "smallint"),
    ("not_before", "timestamptz"),
    ("side_effects", "text"),
    ("timeout_seconds", "double precision"),
    ("retry_policy", "json"),
    ("estimated_duration", "text"),
    ("requires_approval", "boolean"),
    ("after_last", "integer"),
    ("at_least", "integer"),
    ("scope", "text"),
    ("key", "text"),
    ("fingerprint", "bytea"),
)
"""What is given of each new task, with its type, in the order of the parameters: one array each."""

_EDGES: Final = (
    ("plan_id", "uuid"),
    ("task_id", "uuid"),
    ("needs_id", "uuid"),
    ("condition", "text"),
    ("kind", "text"),
)
"""What is given of each dependency, in arrays that follow those of the tasks."""

_LOCKED: Final = f"${len(_NEW) + len(_EDGES) + 1}::boolean"
_DERIVED_AFTER: Final = f"${len(_NEW) + len(_EDGES) + 2}::boolean"
_APART: Final = f"${len(_NEW) + len(_EDGES) + 3}::boolean"

_OF_GIVEN: Final = (
    *("id", "plan_id", "name", "agent_id", "description", "task_type", "input_data", "metadata"),
    *("parallel_group", "side_effects", "timeout_seconds", "retry_policy", "estimated_duration"),
)
"""Columns of ``tasks`` that are taken over as they were given."""

# A task's order is `after_last` more than its plan's last order, and `at_least` so much: that
# says "after the last", "3", and "after those before me in this batch" in one way.
_CREATE: Final = f"""
with given as materialized (
  select *
  from {rows_of(_NEW, first=1)} with ordinality as g ({names_of(_NEW)}, position)
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
edge as materialized (
  select
    e.*,
    -- A task of the same batch has no state yet.
    coalesce({satisfies("e.condition", status="s.status", reason="s.status_reason")}, false)
      as is_satisfied,
    coalesce(
      {
    is_dead(
        "e.condition", status="s.status", reason="s.status_reason", on_failure="plan.on_failure"
    )
},
      false
    ) as is_dead
  from {rows_of(_EDGES, first=len(_NEW) + 1)} as e ({names_of(_EDGES)})
  join plan on plan.id = e.plan_id
  left join planstore.task_states s on s.plan_id = e.plan_id and s.task_id = e.needs_id
),
needed as materialized (
  select
    e.plan_id, e.task_id,
    count(*) as needs,
    count(*) filter (where not e.is_satisfied) as unmet,
    bool_or(e.is_dead) as is_dead,
    json_agg(
      json_build_object('task_id', e.needs_id, 'when', e.condition, 'type', e.kind)
      order by e.needs_id
    ) as depends_on
  from edge e
  group by e.plan_id, e.task_id
),
placed as materialized (
  select
    g.id, g.plan_id, g.position,
    least(
      greatest(plan.last_order + g.after_last, g.at_least), {MAX_ORDER}
    ) as sequence_order,
    coalesce(n.needs, 0) as needs,
    coalesce(n.unmet, 0) + a.is_awaiting::int as unmet,
    a.is_awaiting,
    n.depends_on
  from given g
  join plan on plan.id = g.plan_id
  left join needed n on n.task_id = g.id
  cross join lateral (select coalesce(g.requires_approval, false) as is_awaiting) a
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
    a.gate_order,
    plan.is_sequential,
    not plan.is_closed and plan.paused_at is null and plan.status <> {PLAN_DRAFT}
      and not plan.is_limited as is_offering,
    case
      when plan.is_closed then 'closed'
      when {_DERIVED_AFTER} then 'changed'
      when f.is_wide then 'wide'
      when plan.is_limited and not {_LOCKED} then 'stale'
      else 'changed'
    end as verdict,
    not plan.is_closed and (
      {_DERIVED_AFTER} or not f.is_wide and ({_LOCKED} or not plan.is_limited)
    ) as is_done
  from plan
  join added a on a.id = plan.id
  cross join lateral (
    select
      -- Others lose their turn to the new tasks, or new ones are skipped at once.
      plan.is_sequential and coalesce(a.gate_order < plan.gate_order, false)
        or plan.is_aborting
        or exists (select from needed n where n.plan_id = plan.id and n.is_dead) as is_wide
  ) f
),
standing as materialized (
  select
    q.*, j.is_offering,
    case when q.unmet > 0 then {TASK_BLOCKED} else {TASK_PENDING} end as status,
    case when q.is_awaiting then {IS_UNAPPROVED} when q.unmet > 0 then {IS_UNMET} end
      as status_reason,
    case
      when q.unmet = 0 and (not j.is_sequential or q.sequence_order <= j.gate_order)
        then greatest(now(), g.not_before)
    end as due_at
  from placed q
  join given g on g.position = q.position
  join judged j on j.id = q.plan_id and j.is_done
),
weighed as materialized (
  select
    plan.id,
    a.gate_order,
    n.at_gate
      + case when a.gate_order = plan.gate_order then plan.gate_unfinished else 0 end
      as gate_unfinished,
    plan.unfinished_tasks + a.tasks as unfinished_tasks,
    plan.live_tasks + n.due + n.awaiting as live_tasks,
    plan.offered_tasks + case when j.is_offering then n.due else 0 end as offered_tasks,
    plan.is_aborting,
    plan.task_count + a.tasks as task_count,
    greatest(plan.last_order, a.highest_order) as last_order,
    false as is_move,
    case when {_APART} then a.tasks else 1 end::int as revisions,
    false as is_start,
    false as is_derivation,
    false as keeps_step
  from judged j
  join plan on plan.id = j.id
  join added a on a.id = j.id
  join (
    select
      n.plan_id,
      count(n.due_at) as due,
      count(*) filter (where n.is_awaiting) as awaiting,
      count(*) filter (where n.sequence_order = a.gate_order) as at_gate
    from standing n
    join added a on a.id = n.plan_id
    group by n.plan_id
  ) n on n.plan_id = j.id
  where j.is_done
    and not {_DERIVED_AFTER}
),
{FOLLOWED},
created as (
  insert into planstore.tasks ({", ".join(_OF_GIVEN)}, labels, sequence_order)
  select
    {columns(_OF_GIVEN, of="g")},
    -- An array can't hold lists of different lengths, so they are given as JSON.
    case
      when g.labels is null then '{{}}'
      else array(select json_array_elements_text(g.labels::json))
    end,
    n.sequence_order
  from given g
  join standing n on n.position = g.position
  order by g.position
  returning {", ".join(OF_TASK)}
),
stated as (
  insert into planstore.task_states
    (plan_id, task_id, status, status_reason, agent_id, task_type, priority, not_before,
    requires_approval, needs, unmet, due_at, ready_at)
  select
    g.plan_id, g.id, n.status, n.status_reason, g.agent_id, g.task_type,
    g.priority, g.not_before, n.is_awaiting, n.needs, n.unmet, n.due_at,
    case when n.is_offering and not {_DERIVED_AFTER} then n.due_at end
  from given g
  join standing n on n.position = g.position
  order by g.position
  returning plan_id, task_id, {", ".join(OF_STATE)}
),
worded as (
  insert into planstore.task_words_due (task_ids)
  select array_agg(n.id)
  from standing n
  having count(*) > 0
),
linked as (
  insert into planstore.dependencies (plan_id, task_id, needs_id, condition, kind)
  select e.plan_id, e.task_id, e.needs_id, e.condition, e.kind
  from edge e
  join judged j on j.id = e.plan_id and j.is_done
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
    'task.created', 'task', a.id, a.plan_id, a.version,
    case
      when n.needs = 0 then row_to_json(a)
      else (left(row_to_json(a)::text, -1) || ',"depends_on":' || n.depends_on || '}}')::json
    end,
    row_to_json(r)
  from standing n
  join answer a on a.id = n.id
  join plan on plan.id = n.plan_id
  left join followed f on f.id = a.plan_id
  cross join lateral (
    select coalesce(f.revision, plan.revision + 1) as revision, a.status, a.task_type
  ) r
  order by n.position
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
select
  coalesce(j.verdict, case when seen.id is null then 'missing' else 'busy' end) as verdict,
  n.sequence_order, n.status, n.status_reason,
  now() as created_at
from given g
left join seen on seen.id = g.plan_id
left join judged j on j.id = g.plan_id
left join standing n on n.position = g.position
order by g.position
"""


_LOCKING: Final = "for no key update of p\n"
assert _LOCKING in _CREATE
_CREATE_WHERE_FREE: Final = _CREATE.replace(_LOCKING, "for no key update of p skip locked\n")


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

    def order(self, last_order: int) -> int:
        """Its place, given the last order of its plan."""
        after_last = last_order + self.after_last if self.after_last is not None else 0
        return min(max(after_last, self.at_least or 0), MAX_ORDER)

    @property
    def row(self) -> tuple[Any, ...]:
        """What is given of it, in the order of the parameters."""
        task = self.task
        labels = to_json(task.labels).decode() if task.labels else None
        return (
            *(self.id, self.plan_id, task.name, task.agent_id, task.description, task.task_type),
            *(task.input_data, task.metadata, labels, task.parallel_group, task.priority),
            *(task.not_before, task.side_effects, task.timeout_seconds, task.retry_policy),
            *(task.estimated_duration, task.requires_approval or None),
            *(self.after_last, self.at_least),
            *(self.key.row if self.key else (None, None, None)),
        )


@dataclass(frozen=True, slots=True)
class NewEdge:
    """A dependency of a new task, on another new one or on one that is there."""

    plan_id: UUID
    task_id: UUID
    needs_id: UUID
    condition: Condition
    kind: DependencyType

    @property
    def row(self) -> tuple[Any, ...]:
        """What is given of it, in the order of the parameters."""
        return self.plan_id, self.task_id, self.needs_id, self.condition, self.kind


_NO_EDGES: Final = ((),) * len(_EDGES)


def _column(values: tuple[Any, ...]) -> tuple[Any, ...]:
    """Leave out what no task gives: arrays are filled up with nulls, and each entry takes time."""
    return values if any(value is not None for value in values) else ()


async def create(
    conn: Connection,
    new: Sequence[NewTask],
    edges: Sequence[NewEdge] = (),
    *,
    is_locked: bool = False,
    is_derived_after: bool = False,
    is_waiting: bool = True,
    are_apart: bool = False,
) -> list[Row]:
    """Add tasks to their plans; answers for each, in the given order, a ``verdict``.

    With it comes what is not in the task as it was given: ``sequence_order``, ``status``,
    ``status_reason`` and ``created_at``.

    ``edges``: their dependencies, known to be without a cycle; with any, the plans must be locked
    before, in the same transaction (``is_locked``). ``is_derived_after``: so they are, and all that
    follows for them is derived after it.

    ``are_apart``: each was asked for by itself, so each is a revision of its plan.

    ``changed``: done. ``missing``: there is no such plan. ``closed``: the plan takes no task.
    ``stale``: nothing was done for the plan; call again with it locked before. ``wide``: nothing
    was done for it, since what follows takes more than counting. ``busy``, unless ``is_waiting``:
    another transaction holds the plan.
    """
    return await conn.fetch(
        _CREATE if is_waiting else _CREATE_WHERE_FREE,
        *(_column(each) for each in zip(*(each.row for each in new), strict=True)),
        *(zip(*(each.row for each in edges), strict=True) if edges else _NO_EDGES),
        is_locked,
        is_derived_after,
        are_apart,
    )


async def expect_many(conn: Connection) -> None:
    """Have `create` planned for as many tasks as are given, until the transaction ends.

    The plan that is kept for it is right for a handful, and quadratic for thousands.
    """
    await conn.execute("set local plan_cache_mode = force_custom_plan")
