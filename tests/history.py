"""What a database says of itself: its rows, its events, and what the events add up to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models import Plan, Task
from planstore.models.history import NO_CHANGE, Event, Past, plan_of, task_of
from planstore.sql.derivation import derive
from planstore.sql.tasks.columns import TASK, TASKS
from tests.payloads import assert_payload_fits

if TYPE_CHECKING:
    from collections.abc import Iterable
    from uuid import UUID

    from planstore.db import Database

Rows = dict["UUID", "Plan | Task"]
"""Every plan and task, by its id."""


async def all_events(database: Database) -> list[Event]:
    """Return every event, in order."""
    names = ", ".join(Event._fields)
    async with database.connection() as conn:
        rows = await conn.fetch(f"select {names} from planstore.events order by seq")
    return [Event(*row) for row in rows]


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


Needs = dict["UUID", "set[tuple[str, str, str]]"]
"""Of each task that needs others: their ids, the conditions and the kinds."""


async def all_needs(database: Database) -> Needs:
    """Return what every task needs."""
    needs: Needs = {}
    async with database.connection() as conn:
        for row in await conn.fetch(
            "select task_id, needs_id, condition, kind from planstore.dependencies"
        ):
            needed = str(row["needs_id"]), row["condition"], row["kind"]
            needs.setdefault(row["task_id"], set()).add(needed)
    return needs


def told(events: Iterable[Event]) -> list[Past]:
    """Return the plans that the events add up to, each of which has to be a change."""
    pasts: dict[UUID, Past] = {}
    for event in events:
        assert_payload_fits(event.event_type, event.payload)
        past = pasts.setdefault(event.plan_id, Past())
        before = _told_of(past, event)
        past.lay(event)
        after = _told_of(past, event)
        match event.event_type.partition(".")[2]:
            case _ if event.event_type in NO_CHANGE:
                assert after == before, event
            case "created":
                assert before is None, event
                assert after is not None, event
                assert after.version == event.version == 1
            case "deleted":
                assert before is not None, event
                assert event.version == before.version + 1, event
                assert not event.payload, event
            case _:
                assert before is not None, event
                assert after is not None, event
                assert event.version == before.version + 1, event
                assert event.payload, event
                fields = event.payload.keys() - {"depends_on"}
                assert all(getattr(after, name) != getattr(before, name) for name in fields), event
    return [*pasts.values()]


def _told_of(past: Past, event: Event) -> Plan | Task | None:
    if event.aggregate_type == "plan":
        return None if past.plan is None else plan_of(past.plan)
    fields = past.tasks.get(event.aggregate_id)
    return None if fields is None else task_of(fields)


def fold(events: Iterable[Event]) -> Rows:
    """Return the plans and tasks that the events add up to."""
    return _rows(told(events))


def _rows(pasts: Iterable[Past]) -> Rows:
    every = [
        each
        for past in pasts
        for each in (
            *(plan_of(fields) for fields in (past.plan,) if fields is not None),
            *(task_of(fields) for fields in past.tasks.values()),
        )
    ]
    return {each.id: each for each in every}


def _needs(pasts: Iterable[Past]) -> Needs:
    return {
        task_id: {(each["task_id"], each["when"], each["type"]) for each in needed}
        for past in pasts
        for task_id, fields in past.tasks.items()
        if (needed := fields.get("depends_on"))
    }


async def assert_history_holds(database: Database) -> None:
    """Assert that the events, folded, give exactly the rows, and what needs what."""
    pasts = told(await all_events(database))
    assert _rows(pasts) == await all_rows(database)
    assert _needs(pasts) == await all_needs(database)


_RECOUNT: Final = """
with gate as materialized (
  select t.plan_id, min(t.sequence_order) as gate_order
  from planstore.tasks t
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
  where s.status not in ('completed', 'skipped')
  group by t.plan_id
)
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
      where s.status = 'running' or s.status_reason in ('held', 'approval') or s.due_at is not null
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
left join gate g on g.plan_id = p.id
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
