"""What a database says of itself: its rows, its events, and what the events add up to."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from planstore.models import Plan, Task
from planstore.sql.derivation import derive
from planstore.sql.tasks.columns import TASK, TASKS

if TYPE_CHECKING:
    from collections.abc import Iterable
    from datetime import datetime
    from uuid import UUID

    from planstore.db import Database

NO_CHANGE: Final = {"task.result_refused"}
"""Events that keep what was refused: they change nothing and don't count as a version."""


@dataclass(frozen=True, slots=True)
class Event:
    seq: int
    event_type: str
    aggregate_type: str
    aggregate_id: UUID
    plan_id: UUID
    version: int
    created_at: datetime
    payload: dict[str, Any]
    metadata: dict[str, Any]


Rows = dict["UUID", "Plan | Task"]
"""Every plan and task, by its id."""


async def all_events(database: Database) -> list[Event]:
    """Return every event, in order."""
    names = ", ".join(Event.__slots__)
    async with database.connection() as conn:
        rows = await conn.fetch(f"select {names} from planstore.events order by seq")
    return [Event(**row) for row in rows]


async def all_rows(database: Database) -> Rows:
    """Return every plan and task, as a client would see it."""
    plan = ", ".join(Plan.model_fields)
    async with database.connection() as conn:
        plans = await conn.fetch(f"select {plan} from planstore.plans")
        tasks = await conn.fetch(f"select {TASK} from {TASKS}")
    every = [
        *(Plan.model_validate(dict(row)) for row in plans),
        *(Task.model_validate(dict(row)) for row in tasks),
    ]
    return {each.id: each for each in every}


def fold(events: Iterable[Event]) -> Rows:
    """Return the plans and tasks that the events add up to."""
    rows: Rows = {}
    for event in events:
        if event.event_type in NO_CHANGE:
            continue
        kind = Plan if event.aggregate_type == "plan" else Task
        if event.event_type.endswith(".created"):
            assert event.aggregate_id not in rows
            rows[event.aggregate_id] = kind.model_validate(_without_edges(event.payload))
            assert rows[event.aggregate_id].version == event.version == 1
            continue
        before = rows[event.aggregate_id]
        assert event.version == before.version + 1, event
        assert event.payload, event
        fields = _without_edges(event.payload)
        after = {"version": event.version, "updated_at": event.created_at, **fields}
        told = kind.model_validate({**before.model_dump(), **after})
        assert all(getattr(told, name) != getattr(before, name) for name in fields), event
        rows[event.aggregate_id] = told
    return rows


def _without_edges(payload: dict[str, Any]) -> dict[str, Any]:
    """What a task depends on stands in a table of its own."""
    return {name: value for name, value in payload.items() if name != "depends_on"}


async def assert_history_holds(database: Database) -> None:
    """Assert that the events, folded, give exactly the rows."""
    assert fold(await all_events(database)) == await all_rows(database)


_RECOUNT: Final = """
select
  p.id,
  row(
    p.task_count, p.unfinished_tasks, p.live_tasks, p.offered_tasks, p.gate_order,
    p.gate_unfinished
  )::text as kept,
  row(
    count(s.task_id),
    count(s.task_id) filter (where s.status not in ('completed', 'skipped')),
    count(s.task_id) filter (
      where s.status = 'running' or s.status_reason = 'held' or s.due_at is not null
    ),
    count(s.task_id) filter (where s.status = 'running' or s.ready_at is not null),
    g.gate_order,
    count(s.task_id) filter (
      where s.status not in ('completed', 'skipped') and t.sequence_order = g.gate_order
    )
  )::text as counted,
  p.last_order >= coalesce(max(t.sequence_order), 0) as is_last_order_kept
from planstore.plans p
left join planstore.tasks t on t.plan_id = p.id
left join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
cross join lateral (
  select min(t.sequence_order) as gate_order
  from planstore.tasks t
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  where t.plan_id = p.id and s.status not in ('completed', 'skipped')
) g
group by p.id, g.gate_order
order by p.id
"""

_OF_STATES: Final = """
select s.task_id, s.status, s.status_reason, s.needs, s.unmet, s.due_at, s.ready_at
from planstore.task_states s
order by s.task_id
"""


async def assert_counts_hold(database: Database) -> None:
    """Assert that what each plan's row counts equals a recount of its tasks."""
    async with database.connection() as conn:
        for row in await conn.fetch(_RECOUNT):
            assert row["kept"] == row["counted"], row["id"]
            assert row["is_last_order_kept"], row["id"]


async def assert_nothing_is_left_to_derive(database: Database) -> None:
    """Assert that computing everything anew would change nothing."""
    async with database.connection() as conn:
        plans = [row["id"] for row in await conn.fetch("select id from planstore.plans")]
        before = await conn.fetch(_OF_STATES), await conn.fetch(_RECOUNT)
        undo = conn.transaction()
        await undo.start()
        for plan_id in plans:
            await derive(conn, plan_id)
        after = await conn.fetch(_OF_STATES), await conn.fetch(_RECOUNT)
        await undo.rollback()
    assert after == before
