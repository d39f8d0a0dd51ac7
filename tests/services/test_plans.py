"""Plans: made, read and edited."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from planstore.errors import (
    AlreadyExists,
    InvalidInput,
    InvalidTransition,
    NotFound,
    VersionMismatch,
)
from planstore.models import PlanCreate, PlanStatus, PlanUpdate, TaskStatus, TaskUpdate
from tests.arranging import moved, plan_of, task_of
from tests.history import all_events, assert_history_holds
from tests.refusals import refused

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.services.plan_store import PlanStore

FULL: dict[str, Any] = {
    "goal_id": "11111111-1111-4111-8111-111111111111",
    "agent_id": "22222222-2222-4222-8222-222222222222",
    "plan_type": "dag",
    "steps": [{"do": "boil", "with": ["water", 1.5, None]}, {}],
    "status": "active",
    "current_step": 3,
    "metadata": {"owner": "kitchen", "tags": []},
    "auto_complete": False,
}


async def test_a_new_plan_is_a_sequential_draft_at_its_first_version(store: PlanStore) -> None:
    plan = await store.create_plan(PlanCreate())

    assert plan.id.version == 7
    assert plan.model_dump(exclude={"id", "created_at", "updated_at"}) == {
        "goal_id": None,
        "agent_id": None,
        "plan_type": "sequential",
        "steps": [],
        "status": PlanStatus.DRAFT,
        "current_step": 0,
        "metadata": {},
        "labels": [],
        "template": None,
        "template_version": None,
        "auto_complete": True,
        "on_failure": "block",
        "max_parallel_tasks": None,
        "retry_policy": None,
        "budget": None,
        "usage": None,
        "paused_at": None,
        "pause_reason": None,
        "revision": 1,
        "version": 1,
        "closed_at": None,
    }
    assert plan.updated_at == plan.created_at
    assert abs(datetime.now(UTC) - plan.created_at).total_seconds() < 60


async def test_a_plan_is_kept_as_it_was_given(store: PlanStore) -> None:
    plan = await store.create_plan(PlanCreate.model_validate(FULL))

    assert plan.model_dump(mode="json", include=set(FULL)) == FULL
    assert await store.get_plan(plan.id) == plan


async def test_a_plan_may_bring_its_own_id(store: PlanStore) -> None:
    plan_id = uuid4()

    plan = await store.create_plan(PlanCreate(id=plan_id))

    assert plan.id == plan_id


async def test_an_id_is_taken_once(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)

    async with refused(database, AlreadyExists) as error:
        await store.create_plan(PlanCreate(id=plan.id, goal_id=uuid4()))

    assert str(error.value) == f"there is a plan {plan.id} already"


async def test_an_unknown_plan_is_not_found(store: PlanStore, database: Database) -> None:
    plan_id = uuid4()

    with pytest.raises(NotFound, match=str(plan_id)):
        await store.get_plan(plan_id)
    async with refused(database, NotFound) as error:
        await store.update_plan(plan_id, PlanUpdate(current_step=1))

    assert str(error.value) == f"there is no plan {plan_id}"


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("goal_id", uuid4()),
        ("agent_id", None),
        ("plan_type", "parallel"),
        ("steps", [{"do": "wait"}]),
        ("current_step", 7),
        ("metadata", {"owner": {"nobody": None}}),
        ("auto_complete", True),
        ("status", PlanStatus.COMPLETED),
    ],
)
async def test_only_the_named_field_changes(
    store: PlanStore, database: Database, field: str, value: object
) -> None:
    plan = await store.create_plan(PlanCreate.model_validate(FULL))

    changed = await store.update_plan(plan.id, PlanUpdate.model_validate({field: value}))

    assert getattr(changed, field) == value
    kept = {field, "version", "updated_at", *(["closed_at"] if field == "status" else [])}
    assert changed.model_dump(exclude=kept) == plan.model_dump(exclude=kept)
    assert changed.version == 2
    assert changed.updated_at > plan.updated_at
    assert await store.get_plan(plan.id) == changed
    await assert_history_holds(database)


async def test_steps_and_metadata_are_replaced_whole(store: PlanStore) -> None:
    plan = await plan_of(store, steps=[{"a": 1}, {"b": 2}], metadata={"a": {"b": 1}, "c": 2})

    changed = await store.update_plan(
        plan.id, PlanUpdate(steps=[{"c": 3}], metadata={"a": {"d": 1}})
    )

    assert changed.steps == [{"c": 3}]
    assert changed.metadata == {"a": {"d": 1}}


async def test_null_clears_what_may_be_empty(store: PlanStore) -> None:
    plan = await plan_of(store, goal_id=uuid4(), agent_id=uuid4())

    changed = await store.update_plan(plan.id, PlanUpdate(goal_id=None, agent_id=None))

    assert (changed.goal_id, changed.agent_id) == (None, None)


async def test_what_equals_the_stored_is_no_change(store: PlanStore, database: Database) -> None:
    plan = await store.create_plan(PlanCreate.model_validate(FULL))
    before = await all_events(database)

    same = await store.update_plan(plan.id, PlanUpdate.model_validate(plan.model_dump()))

    assert same == plan
    assert await all_events(database) == before


async def test_a_plan_may_be_read_edited_and_sent_back(store: PlanStore) -> None:
    plan = await plan_of(store, metadata={"n": 1})
    edited = {**plan.model_dump(mode="json"), "metadata": {"n": 2}}

    changed = await store.update_plan(plan.id, PlanUpdate.model_validate(edited))

    assert changed.metadata == {"n": 2}
    assert changed.version == 2


async def test_all_kept_fields_with_other_values_are_named(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    update = PlanUpdate(
        id=uuid4(),
        revision=2,
        version=1,
        created_at=datetime(2020, 1, 1, tzinfo=UTC),
        updated_at=plan.updated_at,
        closed_at=plan.created_at,
        metadata={"not": "kept"},
    )

    async with refused(database, InvalidInput) as error:
        await store.update_plan(plan.id, update)

    pointers = [fault.pointer for fault in error.value.faults]
    assert pointers == ["/closed_at", "/created_at", "/id", "/revision"]


async def test_a_change_may_expect_the_version_that_it_was_made_from(store: PlanStore) -> None:
    plan = await plan_of(store)

    changed = await store.update_plan(plan.id, PlanUpdate(current_step=1), expected_version=1)

    assert changed.version == 2


async def test_a_change_of_another_version_is_refused(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    await store.update_plan(plan.id, PlanUpdate(current_step=1))

    async with refused(database, VersionMismatch) as error:
        await store.update_plan(plan.id, PlanUpdate(current_step=2), expected_version=1)

    assert f"plan {plan.id} is at version 2, not 1" in str(error.value)


async def test_a_refused_status_takes_the_other_fields_with_it(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)

    async with refused(database, InvalidTransition) as error:
        await store.update_plan(plan.id, PlanUpdate(status=PlanStatus.DRAFT, current_step=9))

    assert str(error.value) == (
        f"cannot set to draft plan {plan.id}: it is active; allowed now: complete, fail, cancel"
    )


async def test_the_step_follows_the_lowest_unfinished_order(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, sequence_order=4)
    assert (await store.get_plan(plan.id)).current_step == 4

    await task_of(store, plan, sequence_order=2)

    assert (await store.get_plan(plan.id)).current_step == 2


async def test_a_clients_step_stands_until_a_higher_one_is_computed(store: PlanStore) -> None:
    plan = await plan_of(store)
    first = await task_of(store, plan, sequence_order=1)
    second = await task_of(store, plan, sequence_order=2)
    await task_of(store, plan, sequence_order=9)
    await store.update_plan(plan.id, PlanUpdate(current_step=5))
    steps = [(await store.get_plan(plan.id)).current_step]

    for task in (first, second):
        await moved(store, task, TaskStatus.COMPLETED)
        steps.append((await store.get_plan(plan.id)).current_step)

    assert steps == [5, 5, 9]


async def test_a_step_set_back_stands_while_nothing_new_is_computed(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, sequence_order=3)
    await store.update_plan(plan.id, PlanUpdate(current_step=1))

    changed = await store.update_plan(plan.id, PlanUpdate(metadata={"seen": True}))

    assert changed.current_step == 1


async def test_the_revision_grows_with_each_change_of_structure(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    await store.update_task(task.id, TaskUpdate(sequence_order=7))
    await store.update_task(task.id, TaskUpdate(description="do it well"))
    await moved(store, task, TaskStatus.COMPLETED)

    assert (await store.get_plan(plan.id)).revision == 3
