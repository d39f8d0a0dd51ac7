"""What there is to be found: plans and tasks written by bulk SQL, as `PlanStore` leaves them.

Only their events are left out, which no list reads. What a plan is follows from its number alone,
so that its tasks are made to match it, and every run finds the same. Values are skewed as they are
in real life: of so many agents, the first has far more plans than the hundredth; and what is seldom
is now spread over the whole time, now all of it long ago, which is worse for those who look from
the newest on.
"""

from __future__ import annotations

import asyncio
import json
import random
from dataclasses import dataclass
from datetime import timedelta
from itertools import accumulate, product
from typing import TYPE_CHECKING, Final
from uuid import UUID

import asyncpg

from planstore.models.plan import PlanCreate
from planstore.models.task import TaskDraft
from planstore.sql import marks, words

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime

    from planstore.services.plan_store import PlanStore
    from planstore.sql.connection import Row

TASKS_OF_A_PLAN: Final = 5

BIG_GOALS: Final = 10
AGENTS: Final = 1_000
TEMPLATES: Final = 500
TEAMS: Final = 50
AREAS: Final = 500
SPRINTS: Final = 26
CUSTOMERS: Final = 20_000
TASK_TYPES: Final = 50
NAMES: Final = 400
WORKERS: Final = 2_000
"""How many different values there are of each; those with low numbers are the common ones."""

REGIONS: Final = ("eu", "us", "asia", "africa", "oceania")
MODELS: Final = ("large", "small", "vision", "code")
STEMS: Final = ("fetch", "analyze", "draft", "review", "report")
"""What the names of a plan's tasks begin with, in their order."""

_SYLLABLES: Final = tuple(first + last for first, last in product("bdfgkmnprtvz", "aiou"))[:22]
WORDS: Final = tuple("".join(each) for each in product(_SYLLABLES, repeat=3))[:10_000]
"""The vocabulary: the n-th word is n times as rare as the first."""

_STEPS: Final = 20_000
_WORDS_OF_TITLE: Final = 4
_WORDS_OF_STEP: Final = 14
_BITE: Final = 10_000
_DUE: Final = 20
_LANES: Final = 2
_SOME_PLANS: Final = 500
_LARGE_PLANS: Final = 10
_TASKS_OF_LARGE_PLAN: Final = 1_000

PERIOD_DAYS: Final = 365
"""How far the plans go back, evenly."""


def big_goal(number: int) -> UUID:
    """One of the goals that very many plans serve."""
    return UUID(f"60{number:030x}")


def goal(plan: int) -> UUID:
    """The goal of a plan and of the two beside it, unless that serves a big one."""
    return UUID(f"61{plan // 3:030x}")


def agent(number: int) -> UUID:
    """An agent."""
    return UUID(f"a0{number:030x}")


def _part(seed: int, *, of: str = "n") -> str:
    """An expression for a number from 0 to 1 that follows from ``of``, other for each ``seed``."""
    return f"((hashint8extended({of}, {seed}) & 4294967295) / 4294967296::float8)"


def _even(seed: int, most: int, *, of: str = "n") -> str:
    """An expression for a number from 1 to ``most``, each as likely as the other."""
    return f"(1 + floor({_part(seed, of=of)} * {most})::int)"


def _skewed(seed: int, most: int, *, of: str = "n") -> str:
    """An expression for a number from 1 to ``most``, the n-th about n times as seldom as 1."""
    return f"floor(exp({_part(seed, of=of)} * ln({most + 1}::float8)))::int"


def _in_turn(values: Sequence[str], chosen: str) -> str:
    """An expression for the value of that number."""
    texts = ", ".join(f"'{value}'" for value in values)
    return f"(array[{texts}])[{chosen}]"


def _id_at(variant: str, number: str) -> str:
    """An expression for a UUIDv7 of the time ``at``."""
    return (
        "(lpad(to_hex((extract(epoch from at) * 1000)::bigint), 12, '0')"
        f" || '7{variant}8' || lpad(to_hex({number}), 15, '0'))::uuid"
    )


# Parameters of all three: $1 and $2 the first and the last plan, $3 how many there are, $4 when the
# last one was made.
_PLANS: Final = f"""
numbered as materialized (
  select
    n,
    $4::timestamptz - ($3::int - n) * (interval '{PERIOD_DAYS} days' / $3::int) as at,
    n > 0.9 * $3::int as is_recent,
    {_part(1)} as for_status,
    {_part(2)} as for_type,
    {_even(3, TASKS_OF_A_PLAN)} - 1 as for_done,
    {_part(4)} < 0.5 as is_running,
    {_part(5)} < 0.05 as is_paused
  from generate_series($1::bigint, $2::bigint) n
),
told as materialized (
  select
    *,
    case
      when is_recent then case
        when for_status < 0.40 then 'active'
        when for_status < 0.55 then 'draft'
        when for_status < 0.57 then 'failed'
        when for_status < 0.60 then 'cancelled'
        else 'completed'
      end
      when for_status < 0.02 then 'active'
      when for_status < 0.025 then 'draft'
      when for_status < 0.035 then 'failed'
      when for_status < 0.055 then 'cancelled'
      else 'completed'
    end as status,
    case
      when n <= 0.0005 * $3::int then 'legacy'
      when for_type < 0.60 then 'sequential'
      when for_type < 0.85 then 'parallel'
      when for_type < 0.999 then 'dag'
      else 'review'
    end as plan_type
  from numbered
),
plan as materialized (
  select
    {_id_at("000", "n")} as id,
    n, at, status, plan_type, is_recent,
    status = 'active' and is_running as is_running,
    status = 'active' and is_paused as is_paused,
    plan_type = 'sequential' as is_sequential,
    plan_type = 'dag' as is_graph,
    case status
      when 'completed' then {TASKS_OF_A_PLAN}
      when 'draft' then 0
      else for_done
    end as done
  from told
)"""

_ADD_PLANS: Final = f"""
with {_PLANS},
counted as (
  select
    *,
    case
      when status in ('completed', 'cancelled') then 0
      when status = 'failed' and not is_sequential and not is_graph then 1
      else {TASKS_OF_A_PLAN} - done
    end as unfinished,
    case
      when status not in ('active', 'draft') then 0
      when is_sequential or is_graph then 1
      else {TASKS_OF_A_PLAN} - done
    end as live
  from plan
)
insert into planstore.plans
  (id, goal_id, agent_id, plan_type, status, auto_complete, current_step, created_at, updated_at,
  closed_at, paused_at, last_order, computed_step, task_count, unfinished_tasks, live_tasks,
  offered_tasks, gate_order, gate_unfinished, steps, metadata, labels, template)
select
  p.id,
  case
    when {_part(11)} < 0.05 then null
    when {_part(12)} < 0.05
      then ('60' || lpad(to_hex({_even(13, BIG_GOALS)}), 30, '0'))::uuid
    else ('61' || lpad(to_hex(n / 3), 30, '0'))::uuid
  end,
  case
    when {_part(14)} >= 0.1
      then ('a0' || lpad(to_hex({_skewed(15, AGENTS)}), 30, '0'))::uuid
  end,
  p.plan_type, p.status, true, o.step, p.at,
  p.at + {_part(16)} * interval '6 hours',
  case when p.status = 'cancelled' then p.at + interval '1 day' end,
  case when p.is_paused then p.at + interval '1 hour' end,
  o.last_order, o.step, {TASKS_OF_A_PLAN}, p.unfinished, p.live,
  case
    when p.status <> 'active' then 0
    when p.is_paused then p.is_running::int
    else p.live
  end,
  case when p.unfinished > 0 then o.step end,
  case when p.is_graph then p.unfinished else least(p.unfinished, 1) end,
  ('[' || a.step || ',' || b.step || ',' || c.step || ',' || d.step || ']')::json,
  json_build_object(
    'region', {_in_turn(REGIONS, _skewed(17, len(REGIONS)))},
    'customer', 'customer-' || {_skewed(18, CUSTOMERS)},
    'source', json_build_object('kind', 'ticket', 'run', n, 'ticket', 'ticket-' || n)
  ),
  array_remove(
    array[
      case when {_part(19)} < 0.7 then 'team-' || {_skewed(20, TEAMS)} end,
      case when {_part(21)} < 0.4 then 'area-' || {_skewed(22, AREAS)} end,
      case when {_part(23)} < 0.2 then 'sprint-' || 1 + (n - 1) * {SPRINTS} / $3::int end
    ],
    null
  ),
  case when {_part(24)} < 0.3 then 'template-' || {_skewed(25, TEMPLATES)} end
from counted p
cross join lateral (
  select
    case when p.is_graph then 1 else {TASKS_OF_A_PLAN} end as last_order,
    case
      when p.is_graph then 1
      else least(p.done + 1, {TASKS_OF_A_PLAN})
    end as step
) o
join bench_steps a on a.number = {_even(31, _STEPS)}
join bench_steps b on b.number = {_even(32, _STEPS)}
join bench_steps c on c.number = {_even(33, _STEPS)}
join bench_steps d on d.number = {_even(34, _STEPS)}
order by n
"""

_TASKS: Final = f"""
task as (
  select
    plan.*,
    k,
    n * {TASKS_OF_A_PLAN} + k - 1 as t,
    {_id_at("001", f"n * {TASKS_OF_A_PLAN} + k - 1")} as task_id,
    {_id_at("001", f"n * {TASKS_OF_A_PLAN} + k - 2")} as task_before
  from plan
  cross join generate_series(1, {TASKS_OF_A_PLAN}) k
),
typed as materialized (
  select
    *,
    case
      when {_part(41, of="t")} >= 0.3
        then ('a0' || lpad(to_hex({_skewed(42, AGENTS, of="t")}), 30, '0'))::uuid
    end as task_agent_id,
    case
      when {_part(43, of="t")} >= 0.1 then 'type-' || {_skewed(44, TASK_TYPES, of="t")}
    end as task_type
  from task
)"""

_ADD_TASKS: Final = f"""
with {_PLANS},
{_TASKS}
insert into planstore.tasks
  (plan_id, id, agent_id, name, description, task_type, sequence_order, created_at, input_data,
  metadata, labels)
select
  t.id, t.task_id, t.task_agent_id,
  case
    when {_part(51, of="t")} >= 0.2
      then {_in_turn(STEMS, "k")} || '-' || {_skewed(52, NAMES, of="t")}
  end,
  s.text || case when k = 1 then ' for ticket-' || n else '' end,
  t.task_type,
  case when t.is_graph then 1 else k end,
  t.at,
  json_build_object('path', 'docs/' || n || '.md', 'part', k),
  json_build_object(
    'model', {_in_turn(MODELS, _skewed(53, len(MODELS), of="t"))},
    'customer', 'customer-' || {_skewed(54, CUSTOMERS, of="t")},
    'trace', json_build_object('span', t)
  ),
  array_remove(
    array[
      case when {_part(55, of="t")} < 0.4 then 'team-' || {_skewed(56, TEAMS, of="t")} end,
      case when {_part(57, of="t")} < 0.2 then 'area-' || {_skewed(58, AREAS, of="t")} end,
      case when {_part(60, of="t")} < 0.1 then 'sprint-' || 1 + (n - 1) * {SPRINTS} / $3::int end
    ],
    null
  )
from typed t
join bench_steps s on s.number = {_even(59, _STEPS, of="t")}
order by t
"""

_ADD_STATES: Final = f"""
with {_PLANS},
{_TASKS},
judged as materialized (
  select
    *,
    case
      when status = 'completed' and {_part(61, of="t")} < 0.03 then 'skipped'
      when k <= done then 'completed'
      when status = 'cancelled' then 'skipped'
      when status = 'failed' and k = done + 1 then 'failed'
      when k = done + 1 then case when is_running then 'running' else 'pending' end
      when is_graph then 'blocked'
      when status = 'failed' and not is_sequential then 'completed'
      else 'pending'
    end as task_status
  from typed
),
timed as materialized (
  select
    *,
    task_status in ('completed', 'failed') as has_run,
    at + k * interval '10 minutes' as ended_at,
    case
      when task_status = 'pending' and (not is_sequential or k = done + 1) then at
    end as due_at
  from judged
)
insert into planstore.task_states
  (plan_id, task_id, status, version, updated_at, started_at, completed_at, output_data, error,
  agent_id, task_type, priority, created_at, status_reason, needs, unmet, due_at, ready_at,
  attempt, worker_id, fencing_token, lease_seconds, lease_expires_at, began_at, ended_at)
select
  t.id, t.task_id, t.task_status,
  case when t.has_run then 3 when t.task_status = 'running' then 2 else 1 end,
  case when t.has_run then t.ended_at else t.at end,
  case when t.has_run or t.task_status = 'running' then t.ended_at - interval '9 minutes' end,
  case when t.has_run or t.task_status = 'skipped' then t.ended_at end,
  case when t.task_status = 'completed' then json_build_object('files', k, 'coverage', 0.85) end,
  case when t.task_status = 'failed' then json_build_object('message', 'it went wrong') end,
  t.task_agent_id, t.task_type,
  case when {_part(62, of="t")} < 0.1 then 10 else 0 end,
  t.at,
  case
    when t.task_status = 'blocked' then 'dependencies'
    when t.status = 'cancelled' and k > done + 1 and is_graph then 'dependency_dead'
    when t.status = 'cancelled' and k > done then 'plan_closed'
  end,
  (is_graph and k > 1)::int,
  (is_graph and k > done + 1)::int,
  t.due_at,
  case when t.status = 'active' and not t.is_paused then t.due_at end,
  (t.has_run or t.task_status = 'running')::int,
  case
    when t.has_run or t.task_status = 'running' then 'worker-' || {_skewed(63, WORKERS, of="t")}
  end,
  case
    when t.has_run or t.task_status = 'running' then nextval('planstore.fencing_tokens')
  end,
  case when t.task_status = 'running' then 3600 end,
  case when t.task_status = 'running' then $4::timestamptz + interval '7 days' end,
  case when t.has_run or t.task_status = 'running' then t.ended_at - interval '9 minutes' end,
  case when t.has_run then t.ended_at end
from timed t
order by t
"""

_ADD_DEPENDENCIES: Final = f"""
with {_PLANS},
{_TASKS}
insert into planstore.dependencies (plan_id, task_id, needs_id, condition, kind)
select t.id, t.task_id, t.task_before, 'success', 'blocking'
from typed t
where t.is_graph
  and t.k > 1
order by t.t
"""

_ADD_PLAN_WORDS: Final = f"""
with {_PLANS}
insert into planstore.plan_words (plan_id, created_at, words)
select p.id, p.created_at, {words.of_plan("p")}
from plan
join planstore.plans p on p.id = plan.id
order by p.id
"""

_ADD_PLAN_MARKS: Final = f"""
with recursive {_PLANS},
made as materialized (
  select p.id, p.created_at, p.labels, p.metadata
  from plan
  join planstore.plans p on p.id = plan.id
),
{marks.marked("made")}
insert into planstore.plan_marks (plan_id, mark, created_at)
select m.id, m.mark, p.created_at
from marked m
join made p on p.id = m.id
order by m.id
"""

_ADD_TASK_WORDS: Final = f"""
with {_PLANS},
{_TASKS}
insert into planstore.task_words_due (task_ids)
select array_agg(t.task_id order by t.task_id)
from typed t
group by t.t / 1000
"""

_STATEMENTS: Final = (
    _ADD_PLANS,
    _ADD_PLAN_WORDS,
    _ADD_PLAN_MARKS,
    _ADD_TASKS,
    _ADD_STATES,
    _ADD_DEPENDENCIES,
    _ADD_TASK_WORDS,
)

_SECONDARY: Final = """
select
  format('%I.%I', n.nspname, c.relname) as name,
  pg_get_indexdef(i.indexrelid) as definition,
  c.relname in ('task_words_found', 'task_marks_listed') as is_taken_later
from pg_index i
join pg_class c on c.oid = i.indexrelid
join pg_namespace n on n.oid = c.relnamespace
where n.nspname = 'planstore'
  and not exists (select from pg_constraint o where o.conindid = i.indexrelid)
order by c.relname
"""

_SOME: Final = """
select p.id
from planstore.plans p
where (p.metadata -> 'source' ->> 'run')::int % $1 = 0
"""


@dataclass(frozen=True, slots=True)
class Stock:
    """What was made."""

    plans: int
    ends_at: datetime
    """When the last plan was made."""
    some_plans: list[UUID]
    """A few hundred of them, of all times."""
    large_plans: list[UUID]
    """Plans of very many tasks each."""

    def made_at(self, share: float) -> datetime:
        """When there was that share of them."""
        return self.ends_at - (1 - share) * timedelta(days=PERIOD_DAYS)


async def add_large_plans(store: PlanStore) -> list[UUID]:
    """Add plans of a thousand tasks that nobody carries out, and that are like all the others."""
    own = random.Random(5)
    text = _writer(own)

    def task() -> TaskDraft:
        return TaskDraft(
            description=text(_WORDS_OF_STEP),
            agent_id=agent(own.randint(1, AGENTS)),
            task_type=f"type-{own.randint(1, TASK_TYPES)}",
            labels=[f"team-{own.randint(1, TEAMS)}"],
            metadata={"model": own.choice(MODELS), "customer": f"customer-{own.randint(1, 100)}"},
        )

    plans = [
        await store.create_plan(PlanCreate(tasks=[task() for _ in range(_TASKS_OF_LARGE_PLAN)]))
        for _ in range(_LARGE_PLANS)
    ]
    return [each.id for each in plans]


async def add(url: str, plans: int, large_plans: list[UUID]) -> Stock:
    """Fill a new store; the indexes are made anew once the rows are there: that is quicker."""
    conn = await asyncpg.connect(url)
    try:
        await _add_steps(conn)
        indexes: list[Row] = await conn.fetch(_SECONDARY)
        for index in indexes:
            await conn.execute(f"drop index {index['name']}")
        ends_at: datetime = await conn.fetchval("select now()")
        for statement in _STATEMENTS:
            await _fill(url, statement, plans, ends_at)
        await conn.execute("set maintenance_work_mem = '1GB'")
        for index in indexes:
            if not index["is_taken_later"]:
                await conn.execute(index["definition"])
        await _take_words(url)
        for index in indexes:
            if index["is_taken_later"]:
                await conn.execute(index["definition"])
        await conn.execute("drop table public.bench_steps")
        some: list[Row] = await conn.fetch(_SOME, plans // _SOME_PLANS)
    finally:
        await conn.close()
    return Stock(plans, ends_at, [each["id"] for each in some], large_plans)


def _writer(own: random.Random) -> Callable[[int], str]:
    """Return what writes texts of so many words."""
    weights = list(accumulate(1 / rank for rank in range(1, len(WORDS) + 1)))
    return lambda words: " ".join(own.choices(WORDS, cum_weights=weights, k=words))


async def _add_steps(conn: asyncpg.Connection[Row]) -> None:
    text = _writer(random.Random(4))
    await conn.execute(
        "create unlogged table public.bench_steps (number int primary key, step text, text text)"
    )
    records: list[tuple[int, str, str]] = []
    for number in range(1, _STEPS + 1):
        step = {"title": text(_WORDS_OF_TITLE), "description": text(_WORDS_OF_STEP)}
        records.append((number, json.dumps(step), text(_WORDS_OF_STEP)))
    await conn.copy_records_to_table("bench_steps", schema_name="public", records=records)
    await conn.execute("analyze public.bench_steps")


async def _fill(url: str, statement: str, plans: int, ends_at: datetime) -> None:
    """Run a statement for all plans, in bites that need no room on disk for what lies between."""
    bites = iter(range(1, plans + 1, _BITE))

    async def fill(conn: asyncpg.Connection[Row]) -> None:
        for first in bites:
            last = min(first + _BITE - 1, plans)
            await conn.execute(statement, first, last, plans, ends_at)

    await _in_lanes(url, fill)


async def _take_words(url: str) -> None:
    """Take the words and marks of the tasks, as a server does a moment after they are added."""

    async def take(conn: asyncpg.Connection[Row]) -> None:
        while await words.take(conn, limit=_DUE) == _DUE:
            pass

    await _in_lanes(url, take)


async def _in_lanes(url: str, act: Callable[[asyncpg.Connection[Row]], Awaitable[None]]) -> None:
    async def carry_out() -> None:
        conn = await asyncpg.connect(url)
        try:
            await act(conn)
        finally:
            await conn.close()

    async with asyncio.TaskGroup() as group:
        for _ in range(_LANES):
            group.create_task(carry_out())
