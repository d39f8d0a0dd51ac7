"""Tasks: made, read and edited."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    NotFound,
    PlanClosed,
    ResultConflict,
    VersionMismatch,
)
from planstore.models import PlanStatus, TaskCreate, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.fields import MAX_ORDER
from tests.arranging import moved, plan_of, set_to, task_of
from tests.history import all_events, all_rows, assert_history_holds
from tests.refusals import refused

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.services.plan_store import PlanStore

FULL: Final[dict[str, Any]] = {
    "name": "boil",
    "agent_id": "22222222-2222-4222-8222-222222222222",
    "description": "boil the water",
    "task_type": "kitchen",
    "input_data": {"litres": 1.5, "z": None, "a": ["b"]},
    "sequence_order": 4,
    "metadata": {"tags": ["hot"]},
    "labels": ["kitchen", "hot"],
}

A_TIME: Final = datetime(2024, 2, 29, 12, 30, tzinfo=UTC)
LATER: Final = A_TIME + timedelta(minutes=5)


async def test_a_new_task_is_pending_and_stands_last(store: PlanStore) -> None:
    plan = await plan_of(store)

    task = await store.create_task(TaskCreate(plan_id=plan.id, description="boil water"))

    assert task.id.version == 7
    assert task.model_dump(exclude={"id", "created_at", "updated_at"}) == {
        "plan_id": plan.id,
        "name": None,
        "agent_id": None,
        "description": "boil water",
        "task_type": None,
        "input_data": {},
        "output_data": None,
        "error": None,
        "metadata": {},
        "labels": [],
        "status": S.PENDING,
        "status_reason": None,
        "needs_review": False,
        "sequence_order": 1,
        "parallel_group": None,
        "priority": 0,
        "not_before": None,
        "side_effects": "idempotent",
        "timeout_seconds": None,
        "retry_policy": None,
        "estimated_duration": None,
        "requires_approval": False,
        "approval": None,
        "usage": None,
        "attempt": 0,
        "worker_id": None,
        "progress": None,
        "progress_note": None,
        "version": 1,
        "started_at": None,
        "completed_at": None,
    }
    assert task.updated_at == task.created_at


async def test_a_task_is_kept_as_it_was_given(store: PlanStore) -> None:
    plan = await plan_of(store)

    task = await task_of(store, plan, **FULL)

    assert task.model_dump(mode="json", include=set(FULL)) == FULL
    assert list(task.input_data or {}) == ["litres", "z", "a"]
    assert await store.get_task(task.id) == task


async def test_a_task_without_an_order_comes_after_the_last_one(store: PlanStore) -> None:
    plan = await plan_of(store)
    orders = [
        (await task_of(store, plan, sequence_order=given)).sequence_order
        for given in (None, None, 7, None, 3, None, 0)
    ]

    assert orders == [1, 2, 7, 8, 3, 9, 0]


async def test_a_task_of_an_unknown_plan_is_refused(store: PlanStore, database: Database) -> None:
    plan_id = uuid4()

    async with refused(database, NotFound) as error:
        await store.create_task(TaskCreate(plan_id=plan_id, description="do it"))

    assert str(error.value) == f"there is no plan {plan_id}"


async def test_an_unknown_task_is_not_found(store: PlanStore, database: Database) -> None:
    task_id = uuid4()

    with pytest.raises(NotFound, match=str(task_id)):
        await store.get_task(task_id)
    for update in (TaskUpdate(status=S.RUNNING), TaskUpdate(description="do it")):
        async with refused(database, NotFound) as error:
            await store.update_task(task_id, update)
        assert str(error.value) == f"there is no task {task_id}"


async def test_an_id_is_taken_once_in_all_plans(store: PlanStore, database: Database) -> None:
    task = await task_of(store, await plan_of(store))
    other = await plan_of(store)

    for plan_id in (task.plan_id, other.id):
        async with refused(database, AlreadyExists) as error:
            await store.create_task(TaskCreate(id=task.id, plan_id=plan_id, description="again"))
        assert str(error.value) == f"there is a task {task.id} already"


async def test_a_name_is_taken_once_in_its_plan(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, name="boil")

    async with refused(database, AlreadyExists) as error:
        await task_of(store, plan, name="boil")

    assert str(error.value) == f"plan {plan.id} has a task named 'boil' already"


async def test_a_rename_to_a_taken_name_is_refused(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, name="boil")
    task = await task_of(store, plan, name="fry")

    async with refused(database, AlreadyExists) as error:
        await store.update_task(task.id, TaskUpdate(name="boil", status=S.RUNNING))

    assert str(error.value) == f"plan {plan.id} has a task named 'boil' already"


async def test_another_plan_may_use_the_same_name(store: PlanStore) -> None:
    await task_of(store, await plan_of(store), name="boil")

    task = await task_of(store, await plan_of(store), name="boil")

    assert task.name == "boil"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("name", "fry"),
        ("name", None),
        ("agent_id", None),
        ("description", "boil the water well"),
        ("task_type", None),
        ("input_data", {"litres": {"n": 2}}),
        ("input_data", None),
        ("output_data", {"degrees": 100}),
        ("error", "it spilled"),
        ("error", {"code": 7}),
        ("metadata", {}),
        ("sequence_order", 0),
        ("started_at", A_TIME),
        ("completed_at", A_TIME),
    ],
)
async def test_only_the_named_field_changes(
    store: PlanStore, database: Database, field: str, value: object
) -> None:
    task = await task_of(store, await plan_of(store), **FULL)

    changed = await store.update_task(task.id, TaskUpdate.model_validate({field: value}))

    assert getattr(changed, field) == value
    kept = {field, "version", "updated_at"}
    assert changed.model_dump(exclude=kept) == task.model_dump(exclude=kept)
    assert changed.version == 2
    assert changed.updated_at > task.updated_at
    assert await store.get_task(task.id) == changed
    assert (await all_events(database))[-1].event_type in {"task.updated", "plan.revised"}
    await assert_history_holds(database)


async def test_a_task_may_be_read_and_sent_back(store: PlanStore, database: Database) -> None:
    task = await task_of(store, await plan_of(store), **FULL)
    before = await all_events(database)

    same = await store.update_task(task.id, TaskUpdate.model_validate(task.model_dump()))

    assert same == task
    assert await all_events(database) == before


async def test_all_kept_fields_with_other_values_are_named(
    store: PlanStore, database: Database
) -> None:
    task = await task_of(store, await plan_of(store))
    update = TaskUpdate(
        id=uuid4(),
        plan_id=uuid4(),
        version=9,
        created_at=A_TIME,
        updated_at=task.updated_at,
        description="not kept",
    )

    async with refused(database, InvalidInput) as error:
        await store.update_task(task.id, update)

    pointers = [fault.pointer for fault in error.value.faults]
    assert pointers == ["/created_at", "/id", "/plan_id", "/version"]


async def test_a_change_may_expect_the_version_that_it_was_made_from(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store))

    changed = await store.update_task(task.id, TaskUpdate(status=S.RUNNING), expected_version=1)

    assert changed.version == 2


@pytest.mark.parametrize("update", [TaskUpdate(status=S.RUNNING), TaskUpdate(description="x")])
async def test_a_change_of_another_version_is_refused(
    store: PlanStore, database: Database, update: TaskUpdate
) -> None:
    task = await task_of(store, await plan_of(store))

    async with refused(database, VersionMismatch) as error:
        await store.update_task(task.id, update, expected_version=2)

    assert f"task {task.id} is at version 1, not 2" in str(error.value)


async def test_a_refused_status_takes_the_other_fields_with_it(
    store: PlanStore, database: Database
) -> None:
    task = await task_of(store, await plan_of(store), status=S.COMPLETED)

    async with refused(database, InvalidTransition) as error:
        await store.update_task(task.id, TaskUpdate(status=S.FAILED, error="late"))

    assert str(error.value) == (f"cannot fail task {task.id}: it is completed; allowed now: reset")


async def test_a_start_and_an_end_are_timed(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store))

    running = await moved(store, task, S.RUNNING)
    completed = await moved(store, task, S.COMPLETED)

    assert running.started_at == running.updated_at
    assert running.completed_at is None
    assert completed.started_at == running.started_at
    assert completed.completed_at == completed.updated_at > running.updated_at


async def test_times_that_a_client_gives_are_shown(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store))

    running = await moved(store, task, S.RUNNING, started_at=A_TIME)
    completed = await moved(store, task, S.COMPLETED, completed_at=LATER)

    assert running.started_at == A_TIME
    assert (completed.started_at, completed.completed_at) == (A_TIME, LATER)


async def test_a_task_that_is_skipped_or_failed_has_its_end_but_no_start(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="parallel")

    for status in (S.SKIPPED, S.FAILED):
        task = await task_of(store, plan, status=status)
        assert task.started_at is None
        assert task.completed_at == task.updated_at


async def test_a_reset_clears_times_output_and_error(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store), status=S.RUNNING)
    await moved(store, task, S.FAILED, output_data={"half": True}, error="it spilled")

    reset = await moved(store, task, S.PENDING)

    assert (reset.started_at, reset.completed_at) == (None, None)
    assert (reset.output_data, reset.error) == (None, None)


async def test_a_release_clears_the_start(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store), status=S.RUNNING)

    released = await moved(store, task, S.PENDING)

    assert released.started_at is None


async def test_completing_a_failed_task_clears_its_error(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store))
    await moved(store, task, S.FAILED, error={"why": "it spilled"})

    completed = await moved(store, task, S.COMPLETED, output_data={"litres": 1})

    assert completed.error is None
    assert completed.output_data == {"litres": 1}


async def test_completing_again_with_the_same_output_is_no_change(
    store: PlanStore, database: Database
) -> None:
    task = await task_of(store, await plan_of(store))
    completed = await moved(store, task, S.COMPLETED, output_data={"a": 1, "b": [2]})
    before = await all_events(database)

    for output in ({"a": 1, "b": [2]}, {"b": [2], "a": 1}):
        again = await moved(store, task, S.COMPLETED, output_data=output)
        assert again == completed
    assert await moved(store, task, S.COMPLETED) == completed

    assert await all_events(database) == before


@pytest.mark.parametrize("output", [{"litres": 2}, {}, None])
async def test_completing_again_with_another_output_is_refused_and_kept(
    store: PlanStore, database: Database, output: dict[str, Any] | None
) -> None:
    task = await task_of(store, await plan_of(store))
    await moved(store, task, S.COMPLETED, output_data={"litres": 1})
    rows, events = await all_rows(database), await all_events(database)

    with pytest.raises(ResultConflict, match=str(task.id)):
        await moved(store, task, S.COMPLETED, output_data=output, error="late")

    assert await all_rows(database) == rows
    (kept,) = (await all_events(database))[len(events) :]
    assert (kept.event_type, kept.aggregate_id) == ("task.result_refused", task.id)
    assert (kept.version, kept.payload) == (2, {})
    assert kept.metadata["refused"] == {"output_data": output, "error": "late"}


async def test_an_output_may_be_edited_without_a_status(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store))
    await moved(store, task, S.COMPLETED, output_data={"litres": 1})

    edited = await store.update_task(task.id, TaskUpdate(output_data={"litres": 2}))

    assert edited.output_data == {"litres": 2}
    assert edited.status == S.COMPLETED


async def test_a_task_of_a_closed_plan_may_be_edited(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await set_to(store, plan, PlanStatus.CANCELLED)

    edited = await store.update_task(task.id, TaskUpdate(description="it was to be done"))

    assert edited.description == "it was to be done"


async def test_nothing_opens_in_a_closed_plan(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await set_to(store, plan, PlanStatus.CANCELLED)

    async with refused(database, PlanClosed) as error:
        await moved(store, task, S.PENDING)

    assert str(error.value) == (
        f"cannot set task {task.id} from skipped to pending: plan {plan.id} was closed by hand; "
        "reopen it first by setting its status to active"
    )


async def test_after_the_highest_order_tasks_share_it(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, sequence_order=MAX_ORDER)

    assert (await task_of(store, plan)).sequence_order == MAX_ORDER
