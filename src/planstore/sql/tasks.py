"""The statements about tasks: one typed function is one statement.

Each that changes a task locks its plan first and the task after it, writes the change, what it
does to the plan (`planstore.sql.following`), the events of both and the idempotency key, all at
once; and answers a ``verdict`` beside the task, so that a refusal costs no second round trip.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from planstore.models.fields import MAX_ORDER
from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.following import FOLLOWED, IS_FRESH, PLAN_COUNTS, PLAN_RECORDED
from planstore.sql.fragments import (
    TASK_BLOCKED,
    TASK_COMPLETED,
    TASK_ENDED,
    TASK_FINISHED,
    TASK_PENDING,
    TASK_RUNNING,
    columns,
    event_of,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planstore.models.idempotency import RequestKey
    from planstore.models.task import TaskDraft
    from planstore.sql.connection import Connection, Row

_OF_TASK: Final = (
    *("id", "plan_id", "name", "agent_id", "description", "task_type", "input_data"),
    *("metadata", "sequence_order", "created_at"),
)
_OF_STATE: Final = (
    *("output_data", "error", "status", "version", "updated_at", "started_at", "completed_at"),
)
_TASK: Final = f"{columns(_OF_TASK, of='t')}, {columns(_OF_STATE, of='s')}"
_TASKS: Final = """planstore.tasks t
join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id"""

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
  returning {", ".join(_OF_TASK)}
),
stated as (
  insert into planstore.task_states (plan_id, task_id, status)
  select created.plan_id, created.id, {TASK_PENDING} from created
  returning plan_id, task_id, {", ".join(_OF_STATE)}
),
answer as materialized (
  select {_TASK}
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
select coalesce(j.verdict, 'missing') as verdict, {columns((*_OF_TASK, *_OF_STATE), of="a")}
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


_FIELDS: Final = (
    ("name", "text"),
    ("agent_id", "uuid"),
    ("description", "text"),
    ("task_type", "text"),
    ("input_data", "json"),
    ("metadata", "json"),
    ("sequence_order", "integer"),
    ("status", "text"),
    ("output_data", "json"),
    ("error", "json"),
    ("started_at", "timestamptz"),
    ("completed_at", "timestamptz"),
)
"""What a client may set, with its type, in the order of the parameters from $4 on."""

_GIVEN: Final = ", ".join(
    f"${number}::{kind} as {name}" for number, (name, kind) in enumerate(_FIELDS, start=4)
)


def _new(field: str, otherwise: str = "t.{field}") -> str:
    """The field's new value: the client's where it names the field."""
    kept = otherwise.format(field=field)
    return f"case when '{field}' = any ($2) then given.{field} else {kept} end as {field}"


def _is_changed(field: str, kind: str) -> str:
    # The type json has no equality of its own; its text is what was sent.
    cast = "::text" if kind == "json" else ""
    return f"('{field}', to_json(w.{field}), w.{field}{cast} is distinct from t.{field}{cast})"


_CONCERNING_PLAN: Final = frozenset({"status", "sequence_order", "name"})
"""What a task has in common with the others of its plan. A name is: two tasks that take each
other's at once would each wait for the other, did they not wait for the plan."""

# The parameters: $1 the task, $2 the fields that are named, $3 whether the plan is concerned,
# then the fields' values, the expected version and the idempotency key.
_CHANGE: Final = f"""
with given as materialized (
  select {_GIVEN}, ${len(_FIELDS) + 4}::bigint as version
),
seen as materialized (
  select p.id, p.xmin, p.revision
  from planstore.tasks t
  join planstore.plans p on p.id = t.plan_id
  where t.id = $1
),
plan as materialized (
  select {PLAN_COUNTS}, {IS_FRESH} as is_fresh
  from planstore.plans p
  join seen on seen.id = p.id
  where $3
  for no key update of p
),
task as materialized (
  select
    {_TASK},
    s.status not in {TASK_FINISHED} as is_unfinished,
    -- Whether something can still come of it without a word from outside.
    s.status in ({TASK_RUNNING}, {TASK_BLOCKED})
      or s.status = {TASK_PENDING}
        and (not plan.is_sequential or t.sequence_order <= plan.gate_order) as is_live,
    'status' = any ($2) and s.status <> given.status as is_move,
    plan.is_closed
  from given, {_TASKS}
  left join plan on plan.id = t.plan_id
  where t.id = $1
  for no key update of t, s
),
wanted as materialized (
  select
    t.id,
    {_new("name")},
    {_new("agent_id")},
    {_new("description")},
    {_new("task_type")},
    {_new("input_data")},
    {_new("metadata")},
    {_new("sequence_order")},
    {_new("status")},
    case
      -- A result that is reported again may spell the same output in another way.
      when t.status = {TASK_COMPLETED} and given.status = {TASK_COMPLETED}
        and t.output_data::jsonb = given.output_data::jsonb then t.output_data
      when 'output_data' = any ($2) then given.output_data
      when t.is_move and t.status in {TASK_ENDED} and given.status = {TASK_PENDING} then null
      else t.output_data
    end as output_data,
    {
    _new(
        "error",
        f"case when t.is_move and given.status in ({TASK_PENDING}, {TASK_COMPLETED})"
        " then null else t.{field} end",
    )
},
    {
    _new(
        "started_at",
        f"case when not t.is_move then t.started_at"
        f" when given.status = {TASK_RUNNING} then now()"
        f" when given.status in ({TASK_PENDING}, {TASK_BLOCKED}) then null"
        " else t.{field} end",
    )
},
    {
    _new(
        "completed_at",
        f"case when not t.is_move then t.completed_at"
        f" when given.status in {TASK_ENDED} then now() else null end",
    )
}
  from task t, given
),
changes as materialized (
  select json_object_agg(c.field, c.value) as payload
  from task t, wanted w, lateral (
    values
      {", ".join(_is_changed(*each) for each in _FIELDS)}
  ) c (field, value, is_changed)
  where c.is_changed
),
-- The plan's gate is the lowest order with unfinished tasks. Where this task was the last one
-- there, it goes on to the next order that other tasks leave unfinished.
left_at_gate as materialized (
  select
    plan.id,
    plan.gate_order,
    plan.gate_unfinished
      - (t.is_unfinished and t.sequence_order = plan.gate_order)::int as unfinished,
    plan.unfinished_tasks - t.is_unfinished::int as others
  from plan, task t
),
beyond as materialized (
  select o.sequence_order, o.unfinished, o.pending
  from left_at_gate l, lateral (
    select t.sequence_order, count(*) as unfinished,
      count(*) filter (where s.status = {TASK_PENDING}) as pending
    from {_TASKS}
    where l.unfinished = 0
      and l.others > 0
      and t.plan_id = l.id
      and t.id <> $1
      and s.status not in {TASK_FINISHED}
      and t.sequence_order = (
        select t.sequence_order
        from {_TASKS}
        where t.plan_id = l.id
          and t.sequence_order > l.gate_order
          and t.id <> $1
          and s.status not in {TASK_FINISHED}
        order by t.sequence_order
        limit 1
      )
    group by t.sequence_order
  ) o
),
gated as materialized (
  select
    least(
      o.sequence_order, case when w.status not in {TASK_FINISHED} then w.sequence_order end
    ) as gate_order,
    o.sequence_order as others_order,
    o.unfinished as others_unfinished,
    o.pending as others_opened,
    w.status not in {TASK_FINISHED} as is_unfinished
  from wanted w, left_at_gate l
  left join beyond on true,
  lateral (
    select
      case when l.unfinished > 0 then l.gate_order else beyond.sequence_order end
        as sequence_order,
      case when l.unfinished > 0 then l.unfinished else beyond.unfinished end as unfinished,
      case when l.unfinished > 0 then 0 else beyond.pending end as pending
  ) o
),
shut as materialized (  -- whose turn had come, and who now wait for this task
  select count(*) as tasks
  from gated g
  join plan on plan.is_sequential and g.gate_order < plan.gate_order
  join planstore.tasks t on t.plan_id = plan.id and t.sequence_order = plan.gate_order
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  where s.status = {TASK_PENDING}
    and t.id <> $1
),
judged as materialized (
  select
    t.id,
    case
      when given.version <> t.version then 'mismatch'
      when t.is_move and e.event_type is null then 'refused'
      when t.is_move and t.is_closed and w.status not in {TASK_ENDED} then 'closed'
      when 'status' = any ($2)
        and not t.is_move
        and t.status = {TASK_COMPLETED}
        and t.output_data::text is distinct from w.output_data::text then 'conflict'
      when c.payload is null then 'same'
      when not plan.is_fresh
        and (
          l.unfinished = 0 and l.others > 0
          or plan.is_sequential and g.gate_order < plan.gate_order
        ) then 'stale'
      else 'changed'
    end as verdict,
    coalesce(e.event_type, 'task.updated') as event_type
  from given, task t
  join wanted w on w.id = t.id
  cross join changes c
  left join plan on true
  left join left_at_gate l on true
  left join gated g on true,
  lateral (select case when t.is_move then
    {event_of(TASK_LIFECYCLE, "t.status", "w.status")}
  end as event_type) e
),
weighed as materialized (
  select
    plan.id,
    g.gate_order,
    coalesce(case when g.gate_order = g.others_order then g.others_unfinished end, 0)
      + (g.is_unfinished and w.sequence_order = g.gate_order)::int as gate_unfinished,
    plan.unfinished_tasks - t.is_unfinished::int + g.is_unfinished::int as unfinished_tasks,
    plan.live_tasks - t.is_live::int
      + (
        w.status in ({TASK_RUNNING}, {TASK_BLOCKED})
        or w.status = {TASK_PENDING}
          and (not plan.is_sequential or w.sequence_order <= g.gate_order)
      )::int
      + case
        when plan.is_sequential and g.gate_order = g.others_order then g.others_opened else 0
      end
      - shut.tasks::int as live_tasks,
    plan.task_count,
    greatest(plan.last_order, w.sequence_order) as last_order,
    t.is_move,
    t.sequence_order <> w.sequence_order as is_revision,
    t.is_move and w.status not in ({TASK_PENDING}, {TASK_BLOCKED}) as is_start
  from judged j, plan, task t, wanted w, gated g, shut
  where j.verdict = 'changed'
    and (t.is_move or t.sequence_order <> w.sequence_order)
),
{FOLLOWED},
edited as (
  update planstore.tasks t
  set
    name = w.name,
    agent_id = w.agent_id,
    description = w.description,
    task_type = w.task_type,
    input_data = w.input_data,
    metadata = w.metadata,
    sequence_order = w.sequence_order
  from wanted w, judged j
  where j.verdict = 'changed'
    and $2 && '{{name,agent_id,description,task_type,input_data,metadata,sequence_order}}'
    and t.plan_id = (select seen.id from seen)
    and t.id = w.id
),
moved as (
  update planstore.task_states s
  set
    status = w.status,
    version = s.version + 1,
    updated_at = now(),
    started_at = w.started_at,
    completed_at = w.completed_at,
    output_data = w.output_data,
    error = w.error
  from wanted w, judged j
  where j.verdict = 'changed'
    and s.plan_id = (select seen.id from seen)
    and s.task_id = w.id
  returning s.version, s.updated_at
),
answer as materialized (
  select
    t.id, t.plan_id, t.created_at,
    {columns((name for name, _ in _FIELDS), of="w")},
    coalesce(m.version, t.version) as version,
    coalesce(m.updated_at, t.updated_at) as updated_at
  from judged j
  join task t on t.id = j.id
  join wanted w on w.id = j.id
  left join moved m on true
  where j.verdict in ('changed', 'same')
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select
    case when j.verdict = 'changed' then j.event_type else 'task.result_refused' end,
    'task', t.id, t.plan_id, coalesce(a.version, t.version),
    case when j.verdict = 'changed' then c.payload else '{{}}' end,
    case
      when j.verdict = 'changed'
        then json_build_object('revision', coalesce(f.revision, seen.revision))
      -- A late answer is kept, though it isn't taken.
      else json_build_object('revision', seen.revision, 'refused', c.payload)
    end
  from judged j
  cross join task t
  cross join changes c
  cross join seen
  left join answer a on true
  left join followed f on true
  where j.verdict = 'changed'
    -- A repetition under its key isn't late: it is answered as the first request was.
    or j.verdict = 'conflict' and not exists (
      select from planstore.idempotency_keys k
      where k.scope = ${len(_FIELDS) + 5}::text and k.key = ${len(_FIELDS) + 6}::text
    )
  returning seq
),
{PLAN_RECORDED},
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select
    ${len(_FIELDS) + 5}::text, ${len(_FIELDS) + 6}::text, ${len(_FIELDS) + 7}::bytea,
    row_to_json(a)
  from answer a
  where ${len(_FIELDS) + 5}::text is not null
)
select j.verdict, t.status as status_before, t.version as version_before,
  t.plan_id as plan_id_before,
  {columns((*_OF_TASK, *_OF_STATE), of="a")}
from judged j
join task t on t.id = j.id
left join answer a on true
"""


async def change(
    conn: Connection,
    task_id: UUID,
    changes: Mapping[str, Any],
    *,
    expected_version: int | None,
    key: RequestKey | None,
) -> list[Row]:
    """Set the fields of a task that ``changes`` names; answers the task with ``verdict``.

    ``changed`` and ``same``: done, or nothing to do. Refusals, by which nothing changed:
    ``mismatch`` (it is at ``version_before``), ``refused`` (``status_before`` doesn't allow it),
    ``closed`` (the plan is), ``conflict`` (it has another output; the event is kept).
    ``stale``: nothing was done; call again with the plan locked before. Nothing: no such task.
    """
    return await conn.fetch(
        _CHANGE,
        task_id,
        list(changes),
        not changes.keys().isdisjoint(_CONCERNING_PLAN),
        *(changes.get(name) for name, _ in _FIELDS),
        expected_version,
        *(key.row if key else (None, None, None)),
    )


_GET: Final = f"""
select {_TASK}
from {_TASKS}
where t.id = $1
"""


async def get(conn: Connection, task_id: UUID) -> Row | None:
    """Return the task, or None."""
    return await conn.fetchrow(_GET, task_id)


# Places that no task can have. A list always begins after a place, so that one plan of the
# statement, bounded by the index on both sides, serves every page.
BEFORE_ALL: Final = (-1, datetime.min.replace(year=2, tzinfo=UTC), UUID(int=0))
AFTER_ALL: Final = (datetime.max.replace(year=9998, tzinfo=UTC), UUID(int=2**128 - 1))

_OF_PLAN: Final = f"""
select {_TASK}
from {_TASKS}
where t.plan_id = $1
  and (t.sequence_order, t.created_at, t.id) > ($2, $3, $4)
order by t.sequence_order, t.created_at, t.id
limit $5
offset $6
"""


async def of_plan(
    conn: Connection,
    plan_id: UUID,
    *,
    after: tuple[int, datetime, UUID] = BEFORE_ALL,
    limit: int,
    offset: int,
) -> list[Row]:
    """Return a plan's tasks by ``sequence_order``, then creation, from after a task's place."""
    return await conn.fetch(_OF_PLAN, plan_id, *after, limit, offset)


_RECENT: Final = f"""
select {_TASK}
from {_TASKS}
where (t.created_at, t.id) < ($1, $2)
order by t.created_at desc, t.id desc
limit $3
offset $4
"""


async def recent(
    conn: Connection, *, before: tuple[datetime, UUID] = AFTER_ALL, limit: int, offset: int
) -> list[Row]:
    """Return the tasks of all plans, newest first, from before a task's place."""
    return await conn.fetch(_RECENT, *before, limit, offset)
