"""Plans that are made with their tasks: all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from planstore.errors import AlreadyExists
from planstore.models import PlanCreate, TaskDraft
from planstore.models import PlanStatus as P
from planstore.models.task import MAX_BATCH
from tests.arranging import plan_of, task_of
from tests.history import all_events, all_rows, assert_counts_hold, assert_history_holds
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.db import Database
    from planstore.services.plan_store import PlanStore


@pytest.fixture(autouse=True)
async def _history_holds(database: Database) -> AsyncIterator[None]:
    yield
    await assert_history_holds(database)
    await assert_counts_hold(database)


def drafts_of(*given: dict[str, Any]) -> list[TaskDraft]:
    default: dict[str, Any] = {"description": "do it"}
    return [TaskDraft.model_validate(default | each) for each in given]


@pytest.mark.parametrize("status", [P.DRAFT, P.ACTIVE])
async def test_a_plan_is_made_with_its_tasks(
    store: PlanStore, database: Database, status: Any
) -> None:
    drafts = drafts_of(
        {"name": "boil"}, {"name": "fry", "sequence_order": 7}, {"metadata": {"n": 2}}
    )
    metadata = {"n": 1}

    plan = await store.create_plan(PlanCreate(status=status, metadata=metadata, tasks=drafts))

    assert (plan.status, plan.current_step, plan.metadata) == (status, 1, metadata)
    assert await store.get_plan(plan.id) == plan
    tasks = await store.list_tasks(plan_id=plan.id)
    assert [task.sequence_order for task in tasks] == [1, 7, 8]
    assert [task.name for task in tasks] == ["boil", "fry", None]
    assert tasks[2].metadata == {"n": 2}
    events = [event.event_type for event in await all_events(database)]
    assert events == ["plan.created", *["task.created"] * 3, "plan.revised"]


async def test_a_plan_is_made_with_ten_thousand_tasks(store: PlanStore) -> None:
    plan = await store.create_plan(PlanCreate(tasks=[TaskDraft(description="do it")] * MAX_BATCH))

    last = await task_of(store, plan)
    assert last.sequence_order == MAX_BATCH + 1


async def test_a_plan_whose_task_has_a_taken_id_is_not_made(
    store: PlanStore, database: Database
) -> None:
    taken = await task_of(store, await plan_of(store))
    plan_id = uuid4()

    async with refused(database, AlreadyExists) as error:
        await store.create_plan(PlanCreate(id=plan_id, tasks=drafts_of({}, {"id": taken.id}, {})))

    assert str(error.value) == f"there is a task {taken.id} already"
    assert plan_id not in await all_rows(database)


async def test_a_plan_whose_own_id_is_taken_is_not_given_the_tasks(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)

    async with refused(database, AlreadyExists) as error:
        await store.create_plan(PlanCreate(id=plan.id, tasks=drafts_of({}, {})))

    assert str(error.value) == f"there is a plan {plan.id} already"
