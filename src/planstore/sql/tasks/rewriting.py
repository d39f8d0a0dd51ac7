"""Setting fields of many tasks of one plan, as a part of a change of its structure."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.sql.fragments import compared
from planstore.sql.tasks.columns import ON_STATE, ON_TASK

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from planstore.sql.connection import Connection

# The parameters: $1 the plan, $2 its tasks, $3 for each the fields that are set.
_COMPARED: Final = f"""
with task as materialized (
  select t, s, g.fields
  from unnest($2::uuid[], $3::json[]) as g (task_id, fields)
  join planstore.tasks t on t.plan_id = $1 and t.id = g.task_id
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  order by t.id
  for no key update of t, s
),
wanted as materialized (
  select
    (o.t).id,
    {", ".join(f"w.{name}" for name, _ in ON_TASK)},
    {", ".join(f"v.{name}" for name, _ in ON_STATE)},
    v.not_before is distinct from (o.s).not_before as is_retimed,
    (o.s).status,
    (o.s).task_type as task_type_was,
    c.payload
  from task o
  -- What the fields don't name stays as it is in the row.
  cross join lateral json_populate_record(o.t, o.fields) w
  cross join lateral json_populate_record(o.s, o.fields) v
  cross join lateral (
    select json_object_agg(c.field, c.value) filter (where c.is_changed) as payload
    from (
      values
      {compared(ON_TASK, new="w.", old="(o.t).")},
      {compared(ON_STATE, new="v.", old="(o.s).")}
    ) c (field, value, is_changed)
  ) c
  where c.payload is not null
)"""

_REWRITE: Final = f"""{_COMPARED},
rewritten as (
  update planstore.tasks t
  set {", ".join(f"{name} = w.{name}" for name, _ in ON_TASK)}
  from wanted w
  where t.plan_id = $1
    and t.id = w.id
),
worded as (
  insert into planstore.task_words_due (task_ids)
  select array_agg(w.id)
  from wanted w
  where w.payload::jsonb ?| array['name', 'description', 'labels', 'metadata']
  having count(*) > 0
),
stated as (
  update planstore.task_states s
  set
    {", ".join(f"{name} = w.{name}" for name, _ in ON_STATE)},
    agent_id = w.agent_id,
    task_type = w.task_type,
    version = s.version + 1,
    updated_at = now(),
    due_at = case when not w.is_retimed then s.due_at end,
    ready_at = case when not w.is_retimed then s.ready_at end
  from wanted w
  where s.plan_id = $1
    and s.task_id = w.id
  returning s.task_id, s.version
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'task.updated', 'task', w.id, $1, n.version, w.payload,
    case
      when w.task_type is not distinct from w.task_type_was
        then json_build_object('revision', p.revision + 1)
      else json_build_object(
        'revision', p.revision + 1, 'status', w.status, 'task_type', w.task_type,
        'task_type_was', w.task_type_was
      )
    end
  from wanted w
  join stated n on n.task_id = w.id
  join planstore.plans p on p.id = $1
  order by w.id
)
select w.id from wanted w order by w.id
"""


async def rewrite(
    conn: Connection, plan_id: UUID, fields: Mapping[UUID, Mapping[str, Any]]
) -> list[UUID]:
    """Set the fields of tasks that are named for each; answers those of which any differed.

    No two tasks may take each other's names at once. The plan and its ready tasks must be locked
    before, and all that follows derived after it.
    """
    rows = await conn.fetch(_REWRITE, plan_id, [*fields], [*fields.values()])
    return [row["id"] for row in rows]


# The parameters: $1 the plan, $2 its tasks, $3 the order of each.
_RENUMBER: Final = """
with wanted as materialized (
  select t.id, g.sequence_order
  from unnest($2::uuid[], $3::integer[]) as g (task_id, sequence_order)
  join planstore.tasks t on t.plan_id = $1 and t.id = g.task_id
  where t.sequence_order <> g.sequence_order
  order by t.id
  for no key update of t
),
renumbered as (
  update planstore.tasks t
  set sequence_order = w.sequence_order
  from wanted w
  where t.plan_id = $1
    and t.id = w.id
),
stated as (
  update planstore.task_states s
  set
    version = s.version + 1,
    updated_at = now()
  from wanted w
  where s.plan_id = $1
    and s.task_id = w.id
  returning s.task_id, s.version, w.sequence_order
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    'task.updated', 'task', n.task_id, $1, n.version,
    json_build_object('sequence_order', n.sequence_order),
    json_build_object(
      'revision', (select p.revision + 1 from planstore.plans p where p.id = $1)
    )
  from stated n
  order by n.task_id
)
select w.id from wanted w order by w.id
"""


async def renumber(conn: Connection, plan_id: UUID, orders: Mapping[UUID, int]) -> list[UUID]:
    """Give tasks another ``sequence_order``, and nothing else; answers those that had another.

    It does what `rewrite` would, for a fraction: what is put into a sequence may move hundreds. The
    plan and its ready tasks must be locked before, and all that follows derived after it.
    """
    rows = await conn.fetch(_RENUMBER, plan_id, [*orders], [*orders.values()])
    return [row["id"] for row in rows]


_DIFFERING: Final = f"""{_COMPARED}
select w.id from wanted w order by w.id
"""


async def differing(
    conn: Connection, plan_id: UUID, fields: Mapping[UUID, Mapping[str, Any]]
) -> set[UUID]:
    """Return those of the tasks of which `rewrite` would change anything; locks them all."""
    rows = await conn.fetch(_DIFFERING, plan_id, [*fields], [*fields.values()])
    return {row["id"] for row in rows}
