"""Each change writes its event, and the events add up to the rows."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.models import PlanStatus, PlanUpdate, TaskUpdate
from planstore.models import TaskStatus as S
from tests.arranging import moved, plan_of, set_to, task_of
from tests.history import all_events, assert_history_holds, fold

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.services.plan_store import PlanStore


async def test_every_change_is_written_with_what_it_does_to_the_plan(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, status="draft", steps=[{"do": "cook"}])
    first = await task_of(store, plan, name="boil")
    second = await task_of(store, plan, name="fry")
    await moved(store, first, S.RUNNING)
    await moved(store, first, S.COMPLETED, output_data={"litres": 1})
    await store.update_task(first.id, TaskUpdate(output_data=None, metadata={"n": 1}))
    await store.update_plan(plan.id, PlanUpdate(metadata={"n": 2}))
    await moved(store, second, S.FAILED, error="burnt")
    await moved(store, second, S.PENDING)
    await store.update_task(second.id, TaskUpdate(sequence_order=5))
    await set_to(store, plan, PlanStatus.CANCELLED)
    await set_to(store, plan, PlanStatus.ACTIVE)

    events = await all_events(database)

    assert [
        (event.event_type, event.version, sorted(event.payload))
        for event in events
        if not event.event_type.endswith(".created")
    ] == [
        ("plan.revised", 2, ["current_step", "revision"]),
        ("plan.revised", 3, ["revision"]),
        ("task.started", 2, ["attempt", "started_at", "status"]),
        ("plan.started", 4, ["status"]),
        ("task.completed", 3, ["completed_at", "output_data", "status"]),
        ("plan.advanced", 5, ["current_step"]),
        ("task.updated", 4, ["metadata", "output_data"]),
        ("plan.updated", 6, ["metadata"]),
        ("task.failed", 2, ["completed_at", "error", "status"]),
        ("plan.failed", 7, ["status"]),
        ("task.reset", 3, ["completed_at", "error", "status"]),
        ("plan.reopened", 8, ["status"]),
        ("task.updated", 4, ["sequence_order"]),
        ("plan.revised", 9, ["current_step", "revision"]),
        ("plan.cancelled", 10, ["closed_at", "status"]),
        ("task.skipped", 5, ["completed_at", "status", "status_reason"]),
        ("plan.reopened", 11, ["closed_at", "status"]),
    ]
    assert [event.event_type for event in events[:4:2]] == ["plan.created", "plan.revised"]
    await assert_history_holds(database)


async def test_an_event_says_of_which_plan_and_at_which_revision(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await moved(store, task, S.RUNNING)

    events = await all_events(database)

    assert {event.plan_id for event in events} == {plan.id}
    assert [(event.aggregate_type, event.aggregate_id) for event in events] == [
        ("plan", plan.id),
        ("task", task.id),
        ("plan", plan.id),
        ("task", task.id),
    ]
    assert [event.metadata["revision"] for event in events] == [1, 2, 2, 2]


async def test_an_event_holds_the_new_values_whole(store: PlanStore, database: Database) -> None:
    task = await task_of(store, await plan_of(store), input_data={"a": {"b": 1}, "c": [1, 2]})

    changed = await store.update_task(task.id, TaskUpdate(input_data={"a": {"b": 2}}, name="x"))

    event = (await all_events(database))[-1]
    assert event.payload == {"input_data": {"a": {"b": 2}}, "name": "x"}
    assert event.created_at == changed.updated_at


async def test_what_is_created_is_written_whole(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, steps=[{"é": "☃"}], metadata={"n": 1.5})
    task = await task_of(store, plan, input_data={"n": 10**20}, metadata={"☃": None})

    assert fold((await all_events(database))[:2]) == {plan.id: plan, task.id: task}
