"""Adding tasks to their plans, any number of them, to any plans.

All tasks of a plan are new in one way, so what becomes of the plan is known from its row alone, and
of each task from what was given: nothing is read back of what is written. One task has a statement
of its own, made of the same pieces.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from pydantic_core import to_json

from planstore.models.fields import MAX_ORDER
from planstore.models.plan import PLAN_LIFECYCLE
from planstore.models.task import SideEffects
from planstore.sql.following import PLAN_COUNTS, next_step
from planstore.sql.fragments import (
    IS_UNAPPROVED,
    IS_UNMET,
    PLAN_ACTIVE,
    PLAN_DRAFT,
    TASK_BLOCKED,
    TASK_PENDING,
    columns,
    event_of,
    given,
    is_dead,
    names_of,
    rows_of,
    satisfies,
)
from planstore.sql.routines import Routine, routine
from planstore.sql.tasks.columns import ALL

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from uuid import UUID

    from planstore.models.dependency import Condition, DependencyType
    from planstore.models.idempotency import RequestKey
    from planstore.models.task import TaskDraft
    from planstore.sql.connection import Connection, Row

_NEW: Final = (
    ("id", "uuid"),
    ("plan_id", "uuid"),
    ("after_last", "integer"),
    ("at_least", "integer"),
    ("name", "text"),
    ("agent_id", "uuid"),
    ("description", "text"),
    ("task_type", "text"),
    ("input_data", "text"),
    ("metadata", "text"),
    ("labels", "text"),
    ("parallel_group", "text"),
    ("priority", "smallint"),
    ("not_before", "timestamptz"),
    ("side_effects", "text"),
    ("timeout_seconds", "double precision"),
    ("retry_policy", "text"),
    ("estimated_duration", "text"),
    ("requires_approval", "boolean"),
)
"""What is given of each new task, with its type, in the order of the parameters: one array each.

What is as it is for most tasks is left out (`NewTask.row`), and an array in which nothing is left
is empty: each entry takes time.
"""

_NEW_OF_ONE: Final = tuple((name, "text[]" if name == "labels" else kind) for name, kind in _NEW)
"""The same of one task. An array can't hold lists of different lengths, so there they are JSON."""

_LABELS: Final = [name for name, _ in _NEW].index("labels")

_PLACES: Final = _NEW[:4]

_KEYS: Final = (
    ("scope", "text"),
    ("key", "text"),
    ("fingerprint", "bytea"),
)
"""The key of each task's request, where any has one, in arrays that follow those of the tasks."""

_EDGES: Final = (
    ("plan_id", "uuid"),
    ("task_id", "uuid"),
    ("needs_id", "uuid"),
    ("condition", "text"),
    ("kind", "text"),
)
"""What is given of each dependency, where there are any, in the same place."""

_LOCKED: Final = f"${len(_NEW) + 1}::boolean"
_DERIVED_AFTER: Final = f"${len(_NEW) + 2}::boolean"
_APART: Final = f"${len(_NEW) + 3}::boolean"
_NEXT: Final = len(_NEW) + 4

_PLAN_ID: Final = "coalesce(g.plan_id, ($2::uuid[])[1])"
"""The plan of a task: the first one, where they all go to that."""

# `after_last` more than its plan's last order, and `at_least` so much: that says "after the last",
# "3", and "after those before me in this batch" in one way.
_ORDER: Final = f"""least(
      greatest(p.last_order + g.after_last, g.at_least), {MAX_ORDER}
    )::int"""

_OF_PLAN: Final = (
    *("id", "status", "is_sequential", "reopened", "revision", "version", "current_step"),
    *("computed_step", "last_order", "task_count", "unfinished_tasks", "live_tasks"),
    *("offered_tasks", "gate_order", "gate_unfinished"),
)
"""What the plan's own change is made of."""

_AS_GIVEN: Final = (
    *("id", "name", "agent_id", "description", "task_type", "parallel_group", "not_before"),
    *("timeout_seconds", "estimated_duration"),
)
"""What is taken over as it was given."""

_OF_TASK: Final = (
    *("id", "plan_id", "name", "agent_id", "description", "task_type", "input_data", "metadata"),
    *("labels", "sequence_order", "parallel_group", "side_effects", "timeout_seconds"),
    *("retry_policy", "estimated_duration"),
)
"""What a new row of ``tasks`` doesn't have by itself."""

_OF_STATE: Final = (
    *("plan_id", "status", "status_reason", "agent_id", "task_type", "priority", "not_before"),
    *("requires_approval", "needs", "unmet", "due_at"),
)
"""What a new row of ``task_states`` doesn't have by itself."""

_AT_FIRST: Final = {
    "created_at": "now()",
    "output_data": "null::json",
    "error": "null::json",
    "needs_review": "false",
    "approval": "null::json",
    "attempt": "0",
    "worker_id": "null::text",
    "progress": "null::double precision",
    "progress_note": "null::text",
    "usage": "null::json",
    "version": "1",
    "updated_at": "now()",
    "started_at": "null::timestamptz",
    "completed_at": "null::timestamptz",
}
"""What each task begins with."""

_WHOLE: Final = ", ".join(f"{_AT_FIRST.get(name, f'n.{name}')} as {name}" for name in ALL)
"""A new task, given ``n`` of ``standing``."""


_NEEDED: Final = f"""
edge as materialized (
  select
    e.*,
    -- A task of the same batch has no state yet.
    coalesce({satisfies("e.condition", status="s.status", reason="s.status_reason")}, false)
      as is_satisfied,
    coalesce(
      {
    is_dead("e.condition", status="s.status", reason="s.status_reason", on_failure="p.on_failure")
},
      false
    ) as is_dead
  from {rows_of(_EDGES, first=_NEXT)} as e ({names_of(_EDGES)})
  join plan p on p.id = e.plan_id
  left join planstore.task_states s on s.plan_id = e.plan_id and s.task_id = e.needs_id
),
needed as materialized (
  select
    e.plan_id, e.task_id,
    count(*)::int as needs,
    (count(*) filter (where not e.is_satisfied))::int as unmet,
    bool_or(e.is_dead) as is_dead,
    json_agg(
      json_build_object('task_id', e.needs_id, 'when', e.condition, 'type', e.kind)
      order by e.needs_id
    ) as depends_on
  from edge e
  group by e.plan_id, e.task_id
),"""
"""What the tasks need of others, and how that stands."""

_OR_DEAD: Final = "or exists (select from needed w where w.plan_id = p.id and w.is_dead)"

_BLOCKED: Final = """array(
    select n.position from standing n where n.plan_id = p.id and n.unmet > 0
  )"""

_LINKED: Final = """,
linked as (
  insert into planstore.dependencies (plan_id, task_id, needs_id, condition, kind)
  select e.plan_id, e.task_id, e.needs_id, e.condition, e.kind
  from edge e
  join judged p on p.id = e.plan_id and p.is_done
)"""


class _Parts(NamedTuple):
    """What is said of one task otherwise than of any number."""

    of_plans: str
    """Which plans are locked."""
    adding: str
    """How many ``tasks`` a plan ``p`` gets, from which order to which, as ``a``."""
    new: str
    """What is given of each task, as ``g``, with its plan ``p`` of ``judged``."""
    labels: str
    due: str
    """What the new tasks of a plan ``p`` count for together, as ``n``."""
    ids: str
    """The ids of the tasks, if any were added."""
    keys: str
    """The key of each task's request, as ``k``, with the task ``n`` of ``standing``."""


_MANY: Final = _Parts(
    of_plans="""p.id = any ($2::uuid[])
  order by p.id""",
    adding=f"""join (
    select
      p.id,
      count(*)::int as tasks,
      min({_ORDER}) as lowest_order,
      max({_ORDER}) as highest_order
    from {rows_of(_PLACES, first=1)} as g ({names_of(_PLACES)})
    join plan p on p.id = {_PLAN_ID}
    group by p.id
  ) a on a.id = p.id""",
    new=f"""{rows_of(_NEW, first=1)} with ordinality as g ({names_of(_NEW)}, position)
  join judged p on p.id = {_PLAN_ID}""",
    labels="array(select json_array_elements_text(g.labels::json))",
    due="""join (
    select
      n.plan_id,
      sum(n.due)::int as due,
      sum(n.awaiting)::int as awaiting,
      sum(n.at_gate)::int as at_gate
    from standing n
    group by n.plan_id
  ) n on n.plan_id = p.id""",
    ids="""select array_agg(n.id)
  from standing n
  having count(*) > 0""",
    keys=f"""{rows_of(_KEYS, first=_NEXT)} with ordinality as k ({names_of(_KEYS)}, position)
  join standing n on n.position = k.position""",
)

# For one task, a third of what PostgreSQL does is to unpack arrays, to join what comes of them and
# to add it up. A function that goes step by step gains nothing beside this: all steps are taken.
_ONE: Final = _Parts(
    of_plans="p.id = $2::uuid",
    adding=f"""cross join lateral (
    select 1 as tasks, o.sequence_order as lowest_order, o.sequence_order as highest_order
    from (
      select {_ORDER} as sequence_order
      from (select {given(_PLACES, first=1)}) g
    ) o
  ) a""",
    new=f"""(select {given(_NEW_OF_ONE, first=1)}, 1 as position) g
  cross join judged p""",
    labels="g.labels",
    due="cross join standing n",
    ids="""select array[n.id]
  from standing n""",
    keys=f"""(select {given(_KEYS, first=_NEXT)}) k
  cross join standing n""",
)


def _kept(keys: str) -> str:
    return f""",
kept as (
  insert into planstore.idempotency_keys (scope, key, fingerprint, response)
  select k.scope, k.key, k.fingerprint, row_to_json(t)
  from {keys}
  cross join lateral (select {_WHOLE}) t
  where k.scope is not null
)"""


ADDED: Final = ("plan_id", "verdict", "last_order", "created_at", "blocked")
"""What is answered for each plan."""


def _create(
    parts: _Parts,
    *,
    is_waiting: bool,
    with_edges: bool = False,
    with_keys: bool = False,
    into: str = "",
) -> str:
    """The statement; with what it takes for dependencies, and for keys, where there are some.

    ``into``: where a function puts what is answered.
    """
    if with_edges:
        needs, unmet = "coalesce(w.needs, 0)", "coalesce(w.unmet, 0) + o.requires_approval::int"
        payload = """case
      when n.needs = 0 then row_to_json(t)
      else (left(row_to_json(t)::text, -1) || ',"depends_on":' || n.depends_on || '}')::json
    end"""
    else:
        needs, unmet = "0", "o.requires_approval::int"
        payload = "row_to_json(t)"
    return f"""
with plan as materialized (
  select {PLAN_COUNTS}
  from planstore.plans p
  where {parts.of_plans}
  for no key update of p{"" if is_waiting else " skip locked"}
),{_NEEDED if with_edges else ""}
judged as materialized (
  select
    {columns(_OF_PLAN, of="p")},
    a.tasks,
    a.highest_order,
    f.new_gate_order,
    p.revision + case when {_APART} then a.tasks else 1 end as new_revision,
    not p.is_closed and p.paused_at is null and p.status <> {PLAN_DRAFT}
      and not p.is_limited and not {_DERIVED_AFTER} as is_offering,
    case
      when p.is_closed then 'closed'
      when {_DERIVED_AFTER} then 'changed'
      when f.is_wide then 'wide'
      when p.is_limited and not {_LOCKED} then 'stale'
      else 'changed'
    end as verdict,
    not p.is_closed and (
      {_DERIVED_AFTER} or not f.is_wide and ({_LOCKED} or not p.is_limited)
    ) as is_done
  from plan p
  {parts.adding}
  cross join lateral (
    select
      least(a.lowest_order, p.gate_order) as new_gate_order,
      -- Others lose their turn to the new tasks, or new ones are skipped at once.
      p.is_sequential and coalesce(a.lowest_order < p.gate_order, false)
        or p.is_aborting
        {_OR_DEAD if with_edges else ""} as is_wide
  ) f
),
standing as materialized (
  select
    g.position, p.id as plan_id, o.sequence_order, o.requires_approval,
    d.due_at, case when p.is_offering then d.due_at end as ready_at,
    (d.due_at is not null)::int as due,
    o.requires_approval::int as awaiting,
    (o.sequence_order = p.new_gate_order)::int as at_gate,
    {needs} as needs, u.unmet, {"w.depends_on," if with_edges else ""}
    case when u.unmet > 0 then {TASK_BLOCKED} else {TASK_PENDING} end as status,
    case when o.requires_approval then {IS_UNAPPROVED} when u.unmet > 0 then {IS_UNMET} end
      as status_reason,
    p.new_revision as revision,
    {columns(_AS_GIVEN, of="g")},
    coalesce(g.priority, 0::smallint) as priority,
    coalesce(g.side_effects, '{SideEffects.IDEMPOTENT.value}') as side_effects,
    case
      when g.input_data is null then '{{}}'
      when g.input_data <> 'null' then g.input_data::json
    end as input_data,
    coalesce(g.metadata, '{{}}')::json as metadata,
    case when g.labels is null then '{{}}' else {parts.labels} end as labels,
    g.retry_policy::json as retry_policy
  from {parts.new}
  {"left join needed w on w.task_id = g.id" if with_edges else ""}
  cross join lateral (
    select {_ORDER} as sequence_order, coalesce(g.requires_approval, false) as requires_approval
  ) o
  cross join lateral (select {unmet} as unmet) u
  cross join lateral (
    select
      case
        when u.unmet = 0 and (not p.is_sequential or o.sequence_order <= p.new_gate_order)
          then greatest(now(), g.not_before)
      end as due_at
  ) d
  where p.is_done
  order by g.position
),
revised as materialized (
  select
    p.*,
    -- What has just been added keeps a plan from settling, or has one that settled go on.
    case when p.status = {PLAN_DRAFT} then p.status else {PLAN_ACTIVE} end as new_status,
    {next_step("p.new_gate_order", plan="p")} as new_step,
    p.live_tasks + n.due + n.awaiting as new_live,
    p.offered_tasks + case when p.is_offering then n.due else 0 end as new_offered,
    n.at_gate + case when p.new_gate_order = p.gate_order then p.gate_unfinished else 0 end
      as new_at_gate
  from judged p
  {parts.due}
  where not {_DERIVED_AFTER}
),
planned as (
  update planstore.plans p
  set
    status = r.new_status,
    current_step = r.new_step,
    revision = r.new_revision,
    version = r.version + 1,
    updated_at = now(),
    last_order = greatest(r.last_order, r.highest_order),
    computed_step = r.new_gate_order,
    task_count = r.task_count + r.tasks,
    unfinished_tasks = r.unfinished_tasks + r.tasks,
    live_tasks = r.new_live,
    offered_tasks = r.new_offered,
    gate_order = r.new_gate_order,
    gate_unfinished = r.new_at_gate,
    -- What was added to a settled plan and can't start keeps it open until a task moves.
    reopened = r.reopened or r.new_live = 0
  from revised r
  where p.id = r.id
),
created as (
  insert into planstore.tasks ({", ".join(_OF_TASK)})
  select {columns(_OF_TASK, of="n")}
  from standing n
),
stated as (
  insert into planstore.task_states (task_id, ready_at, {", ".join(_OF_STATE)})
  select n.id, n.ready_at, {columns(_OF_STATE, of="n")}
  from standing n
),
worded as (
  insert into planstore.task_words_due (task_ids)
  {parts.ids}
),
recorded as (
  insert into planstore.events
    (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata)
  select 'task.created', 'task', n.id, n.plan_id, 1, {payload}, row_to_json(m)
  from standing n
  cross join lateral (select {_WHOLE}) t
  cross join lateral (select n.revision, n.status, n.task_type) m
  union all
  select
    coalesce({event_of(PLAN_LIFECYCLE, "r.status", "r.new_status")}, 'plan.revised'),
    'plan', r.id, r.id, r.version + 1,
    json_strip_nulls(
      json_build_object(
        'status', nullif(r.new_status, r.status),
        'current_step', nullif(r.new_step, r.current_step),
        'revision', r.new_revision
      )
    ),
    json_build_object('revision', r.new_revision)
  from revised r
){_LINKED if with_edges else ""}{_kept(parts.keys) if with_keys else ""}
select
  p.id as plan_id, p.verdict, p.last_order, now() as created_at,
  {_BLOCKED if with_edges else "null::bigint[]"} as blocked
{into}
from judged p
"""


_OF_MANY: Final = {
    (with_edges, with_keys, is_waiting): _create(
        _MANY, with_edges=with_edges, with_keys=with_keys, is_waiting=is_waiting
    )
    for with_edges, with_keys in ((False, False), (True, False), (False, True))
    for is_waiting in (True, False)
}
_OF_ONE: Final = {
    (with_key, is_waiting): _create(_ONE, with_keys=with_key, is_waiting=is_waiting)
    for with_key, is_waiting in product((False, True), repeat=2)
}


class _CreateOne(NamedTuple):
    """The statement for one task as a function, for what goes on in the same transaction."""

    routine: Routine
    parameters: int
    """How many it has."""

    @property
    def name(self) -> str:
        return self.routine.name


def _create_one(*, with_key: bool) -> _CreateOne:
    terms = ("boolean",) * 3
    types = [kind for _, kind in (*_NEW_OF_ONE, *(("", kind) for kind in terms))]
    if with_key:
        types += (kind for _, kind in _KEYS)
    answer = (
        "out plan_id uuid, out verdict text, out last_order integer, out created_at timestamptz,"
        " out blocked bigint[]"
    )
    statement = _create(_ONE, with_keys=with_key, is_waiting=False, into=f"into {', '.join(ADDED)}")
    made = routine(
        "create_one",
        f"{', '.join(types)}, {answer}",
        f"#variable_conflict use_column\nbegin {statement}; end",
    )
    return _CreateOne(made, len(types))


CREATES_OF_ONE: Final = {with_key: _create_one(with_key=with_key) for with_key in (False, True)}
"""By whether its request has a key."""


class NewTask(NamedTuple):
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
        """What is given of it, in the order of the parameters; None for what most tasks have."""
        task = self.task
        return (
            *(self.id, self.plan_id, self.after_last, self.at_least),
            *(task.name, task.agent_id, task.description, task.task_type),
            _json(task.input_data) if task.input_data != {} else None,
            _json(task.metadata) if task.metadata else None,
            task.labels or None,
            task.parallel_group,
            task.priority or None,
            task.not_before,
            task.side_effects if task.side_effects != SideEffects.IDEMPOTENT else None,
            task.timeout_seconds,
            _json(task.retry_policy) if task.retry_policy else None,
            task.estimated_duration,
            task.requires_approval or None,
        )

    @property
    def parameters(self) -> tuple[Any, ...]:
        """What a function that adds it by itself is given."""
        return *self.row, *_TERMS_APART, *(self.key.row if self.key else ())


_TERMS_APART: Final = False, False, True
"""Of a task that was asked for by itself, and whose plan isn't locked before; see `create`."""


def _json(value: Any) -> str:
    return to_json(value).decode()


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


_NO_KEY: Final = (None,) * len(_KEYS)


def _arrays(rows: Iterable[tuple[Any, ...]]) -> list[tuple[Any, ...]]:
    """The columns of rows; one in which nothing is given is empty."""
    return [
        () if column[0] is None and column.count(None) == len(column) else column
        for column in zip(*rows, strict=True)
    ]


def _arrays_of(new: Sequence[NewTask]) -> list[tuple[Any, ...]]:
    arrays = _arrays(each.row for each in new)
    arrays[_LABELS] = tuple(labels and _json(labels) for labels in arrays[_LABELS])
    if arrays[1].count(new[0].plan_id) == len(new):
        arrays[1] = (new[0].plan_id,)
    return arrays


def _optional(new: Sequence[NewTask], edges: Sequence[NewEdge]) -> list[tuple[Any, ...]]:
    """What the statement takes for dependencies, or for keys, if there are any."""
    if edges:
        return _arrays(each.row for each in edges)
    if any(each.key for each in new):
        return _arrays(each.key.row if each.key else _NO_KEY for each in new)
    return []


async def create(
    conn: Connection,
    new: Sequence[NewTask],
    edges: Sequence[NewEdge] = (),
    *,
    is_locked: bool = False,
    is_derived_after: bool = False,
    is_waiting: bool = True,
    are_apart: bool = False,
) -> dict[UUID, Row]:
    """Add tasks to their plans; answers for each plan that is there a ``verdict``.

    With it come its ``last_order`` as it was, by which each task has its place, ``created_at``, and
    the numbers, from 1, of those that are ``blocked`` by others.

    ``edges``: their dependencies, known to be without a cycle; with any, the plans must be locked
    before, in the same transaction (``is_locked``), and no task has a key. ``is_derived_after``: so
    they are, and all that follows for them is derived after it.

    ``is_waiting``: for plans that another transaction holds; else they are left out of the answer.
    ``are_apart``: each was asked for by itself, so each is a revision of its plan.

    ``changed``: done. ``closed``: the plan takes no task. ``stale``: nothing was done for the plan;
    call again with it locked before. ``wide``: nothing was done for it, since what follows takes
    more than counting.
    """
    terms = is_locked, is_derived_after, are_apart
    if len(new) == 1 and not edges:
        (one,) = new
        rows = await conn.fetch(
            _OF_ONE[one.key is not None, is_waiting],
            *one.row,
            *terms,
            *(one.key.row if one.key else ()),
        )
    else:
        optional = _optional(new, edges)
        rows = await conn.fetch(
            _OF_MANY[bool(edges), bool(optional and not edges), is_waiting],
            *_arrays_of(new),
            *terms,
            *optional,
        )
    return {row["plan_id"]: row for row in rows}


async def expect_many(conn: Connection) -> None:
    """Have `create` planned for as many dependencies as are given, until the transaction ends.

    The plan that is kept for it is right for a handful, and quadratic for thousands.
    """
    await conn.execute("set local plan_cache_mode = force_custom_plan")
