"""A million rows in seconds: plans and tasks written by bulk SQL, as `PlanStore` leaves them.

Only their events are left out, which nothing that is measured reads.
"""

from __future__ import annotations

import math
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import asyncpg

from bench.coordination.supply import TASKS_OF_A_PLAN

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator


@dataclass(frozen=True, slots=True)
class Kind:
    """Tasks that all stand at the same place."""

    prefix: str
    """What their ids begin with."""
    plan_status: str
    is_paused: bool
    is_open: bool
    """Whether they are still to be done; else they are completed."""


WORK: Final = Kind("0a", "active", is_paused=False, is_open=True)
"""The tasks that a load works off: added first, they are handed out first."""
READY: Final = Kind("0b", "active", is_paused=False, is_open=True)
PAUSED: Final = Kind("0c", "active", is_paused=True, is_open=True)
FINISHED: Final = Kind("0d", "completed", is_paused=False, is_open=False)

_PARAMETERS: Final = f"""
with kind as (
  select
    $1::int as plans, $2::text as prefix, $3::text as status, $4::boolean as is_paused,
    $5::boolean as is_open, {TASKS_OF_A_PLAN} as tasks_of_a_plan
)"""

_PLAN_ID: Final = "(k.prefix || '0' || lpad(to_hex(p), 29, '0'))::uuid"
_TASK_ID: Final = "(k.prefix || '1' || lpad(to_hex(p * k.tasks_of_a_plan + n), 29, '0'))::uuid"
_MADE_AT: Final = "now() - interval '1 hour' + p * interval '1 ms'"

_ADD_PLANS: Final = f"""
{_PARAMETERS}
insert into planstore.plans
  (id, plan_type, status, auto_complete, current_step, created_at, paused_at, last_order,
  computed_step, task_count, unfinished_tasks, live_tasks, offered_tasks, gate_order,
  gate_unfinished, steps, metadata)
select
  {_PLAN_ID}, 'parallel', k.status, true, o.step, {_MADE_AT},
  case when k.is_paused then now() end, k.tasks_of_a_plan,
  o.step, k.tasks_of_a_plan, o.tasks, o.tasks,
  case when k.is_paused then 0 else o.tasks end, case when k.is_open then 1 end,
  k.is_open::int, '[]', '{{}}'
from kind k
cross join lateral (
  select
    case when k.is_open then k.tasks_of_a_plan else 0 end as tasks,
    case when k.is_open then 1 else k.tasks_of_a_plan end as step
) o
cross join generate_series(1, k.plans) p
"""

_ADD_TASKS: Final = f"""
{_PARAMETERS}
insert into planstore.tasks
  (plan_id, id, description, sequence_order, created_at, input_data, metadata)
select {_PLAN_ID}, {_TASK_ID}, 'Do nothing', n, {_MADE_AT}, '{{}}', '{{}}'
from kind k
cross join generate_series(1, k.plans) p
cross join generate_series(1, k.tasks_of_a_plan) n
"""

_ADD_STATES: Final = f"""
{_PARAMETERS}
insert into planstore.task_states
  (plan_id, task_id, status, version, updated_at, started_at, completed_at, due_at, ready_at,
  attempt, worker_id, fencing_token, began_at, ended_at, created_at)
select
  {_PLAN_ID}, {_TASK_ID}, case when k.is_open then 'pending' else 'completed' end,
  case when k.is_open then 1 else 3 end, {_MADE_AT}, o.done_at, o.done_at,
  case when k.is_open then {_MADE_AT} end,
  case when k.is_open and not k.is_paused then {_MADE_AT} end,
  case when k.is_open then 0 else 1 end, case when not k.is_open then 'bench' end,
  case when not k.is_open then nextval('planstore.fencing_tokens') end, o.done_at, o.done_at,
  {_MADE_AT}
from kind k
cross join generate_series(1, k.plans) p
cross join generate_series(1, k.tasks_of_a_plan) n
cross join lateral (select case when not k.is_open then {_MADE_AT} end as done_at) o
"""


async def add(url: str, kind: Kind, tasks: int) -> None:
    """Add so many tasks, rounded up to plans of a thousand."""
    plans = math.ceil(tasks / TASKS_OF_A_PLAN)
    conn = await asyncpg.connect(url)
    try:
        for statement in (_ADD_PLANS, _ADD_TASKS, _ADD_STATES):
            await conn.execute(
                statement, plans, kind.prefix, kind.plan_status, kind.is_paused, kind.is_open
            )
    finally:
        await conn.close()


@asynccontextmanager
async def held_open(url: str) -> AsyncGenerator[None]:
    """Hold a transaction open that has a snapshot and an id, so that no row may be vacuumed."""
    conn = await asyncpg.connect(url)
    try:
        async with conn.transaction(isolation="repeatable_read"):
            await conn.execute("select from planstore.tasks limit 1")
            await conn.execute("select pg_current_xact_id()")
            yield
    finally:
        await conn.close()
