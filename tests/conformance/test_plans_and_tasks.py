"""Plans and tasks by each door: what is answered is what the store in this process answers."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from planstore.errors import IdempotencyMismatch, NotFound
from planstore.models import Idempotency, PlanStatus, PlanUpdate, Reset, TaskStatus, TaskUpdate
from planstore.models.task import TaskBatch
from tests.arranging import plan_of, task_of

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore


async def test_a_plan_is_made_with_its_tasks(store: PlanStore, library: PlanStore) -> None:
    tasks = [
        {"name": "fetch", "description": "fetch it", "input_data": {"url": "https://x.example"}},
        {"name": "read", "description": "read it", "depends_on": ["fetch"], "labels": ["a", "ö"]},
    ]
    plan = await plan_of(
        store, plan_type="dag", goal_id=uuid4(), metadata={"big": 2**80, "no": None}, tasks=tasks
    )
    assert plan == await library.get_plan(plan.id)
    assert plan.metadata == {"big": 2**80, "no": None}
    fetch, read = await store.list_tasks(plan_id=plan.id)
    assert [fetch, read] == await library.list_tasks(plan_id=plan.id)
    assert (fetch.status, read.status) == (TaskStatus.PENDING, TaskStatus.BLOCKED)


async def test_an_update_changes_what_it_names_and_clears_what_is_null(store: PlanStore) -> None:
    plan = await plan_of(store, agent_id=uuid4(), metadata={"a": 1})
    changed = await store.update_plan(plan.id, PlanUpdate(agent_id=None))
    assert changed.agent_id is None
    assert changed.metadata == {"a": 1}
    task = await task_of(store, plan, task_type="write", input_data={"n": 1})
    task = await store.update_task(task.id, TaskUpdate(task_type=None), expected_version=1)
    assert (task.task_type, task.input_data, task.version) == (None, {"n": 1}, 2)
    assert await store.update_task(task.id, TaskUpdate()) == task


async def test_an_object_may_be_read_edited_and_sent_back(store: PlanStore) -> None:
    plan = await plan_of(store)
    edited = PlanUpdate.model_validate({**plan.model_dump(), "metadata": {"seen": True}})
    assert (await store.update_plan(plan.id, edited)).metadata == {"seen": True}


async def test_steps_become_tasks(store: PlanStore) -> None:
    plan = await plan_of(store, steps=[{"description": "one"}, {"description": "two"}])
    made = await store.expand_plan(plan.id)
    assert [each.description for each in made] == ["one", "two"]
    assert await store.list_tasks(plan_id=plan.id) == made


async def test_the_verbs_of_plans(store: PlanStore) -> None:
    plan = await plan_of(store, status=PlanStatus.DRAFT)
    task = await task_of(store, plan)
    assert (await store.start_plan(plan.id)).status == PlanStatus.ACTIVE
    assert (await store.pause_plan(plan.id)).paused_at is not None
    assert (await store.resume_plan(plan.id)).paused_at is None
    await store.update_task(task.id, TaskUpdate(status=TaskStatus.FAILED))
    assert (await store.retry_plan(plan.id)).status == PlanStatus.ACTIVE
    assert (await store.get_task(task.id)).status == TaskStatus.PENDING
    assert (await store.cancel_plan(plan.id)).status == PlanStatus.CANCELLED


async def test_the_verbs_of_tasks(store: PlanStore) -> None:
    plan = await plan_of(store, auto_complete=False)
    task = await task_of(store, plan)
    assert (await store.skip_task(task.id)).status == TaskStatus.SKIPPED
    assert (await store.reset_task(task.id)).status == TaskStatus.PENDING
    again = await store.reset_task(task.id, Reset(dependents=True))
    assert again.status == TaskStatus.PENDING
    await store.update_task(task.id, TaskUpdate(status=TaskStatus.FAILED))
    assert (await store.retry_task(task.id)).status == TaskStatus.PENDING


async def test_what_is_deleted_is_gone_but_has_a_past(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    then = task.created_at
    await store.delete_task(task.id, expected_version=task.version)
    with pytest.raises(NotFound):
        await store.get_task(task.id)
    assert (await store.get_task(task.id, at=then)).description == "do it"
    assert len(await store.list_tasks(plan_id=plan.id, at=then)) == 1
    await store.delete_plan(plan.id, force=True)
    assert (await store.get_plan(plan.id, at=then)).id == plan.id


async def test_a_key_of_the_callers_is_good_for_one_request(store: PlanStore) -> None:
    plan = await plan_of(store)
    key = Idempotency(f"batch-{plan.id}")
    batch = TaskBatch.model_validate({"plan_id": plan.id, "tasks": [{"description": "one"}] * 2})
    made = await store.create_tasks(batch, idempotency=key)
    assert await store.create_tasks(batch, idempotency=key) == made
    assert await store.list_tasks(plan_id=plan.id) == made
    other = TaskBatch.model_validate({"plan_id": plan.id, "tasks": [{"description": "other"}]})
    with pytest.raises(IdempotencyMismatch):
        await store.create_tasks(other, idempotency=key)
