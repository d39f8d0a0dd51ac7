"""An orchestrator carries one plan out to its end, and says what came of it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from planstore.errors import NotFound
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.worker import Context, Orchestrator, Permanent
from tests.arranging import plan_of, set_to, status_of, task_of
from tests.worker import until

if TYPE_CHECKING:
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore


@pytest.fixture
def orchestrator(database_url: str) -> Orchestrator:
    orchestrator = Orchestrator(database_url, name="o1", lease_seconds=2)

    @orchestrator.task()
    async def carry_out(packet: WorkPacket, context: Context) -> dict[str, Any]:
        if packet.name == "hopeless":
            raise Permanent("it can't be done")
        if packet.name == "unlucky" and packet.attempt == 1:
            raise ValueError("once")
        return {"input": packet.resolved_input, "for": context.values.get("user")}

    return orchestrator


async def test_a_draft_is_started_and_carried_out_to_its_end(
    store: PlanStore, orchestrator: Orchestrator
) -> None:
    plan = await plan_of(store, status=P.DRAFT)
    await task_of(store, plan, name="read", input_data={"n": 1})
    await task_of(
        store,
        plan,
        name="unlucky",
        input_data={"of": "{{read.input.n}}"},
        retry_policy={"initial_delay_sec": 0},
    )
    unnamed = await task_of(store, plan)

    done = await orchestrator.execute_plan(plan.id, context={"user": "ada"})

    assert done == {
        "status": "completed",
        "completed_tasks": 3,
        "failed_tasks": 0,
        "outputs": {
            "read": {"input": {"n": 1}, "for": "ada"},
            "unlucky": {"input": {"of": 1}, "for": "ada"},
            str(unnamed.id): {"input": {}, "for": "ada"},
        },
    }
    assert orchestrator.get_stats() == {
        "plans_executed": 1,
        "plans_completed": 1,
        "plans_failed": 0,
        "tasks_executed": 3,
        "tasks_completed": 3,
        "tasks_failed": 0,
        "tasks_retried": 1,
        "success_rate": 1.0,
    }
    assert await orchestrator.execute_plan(plan.id) == done


async def test_a_plan_that_fails_is_told_of_with_what_it_has_come_to(
    store: PlanStore, orchestrator: Orchestrator
) -> None:
    plan = await plan_of(store, plan_type="parallel")
    for name in ("fine", "hopeless"):
        await task_of(store, plan, name=name)
    await task_of(store, plan, name="never", depends_on=["hopeless"])

    done = await orchestrator.execute_plan(plan.id)

    assert (done["status"], done["completed_tasks"], done["failed_tasks"]) == ("failed", 1, 1)
    assert set(done["outputs"]) == {"fine"}
    stats = orchestrator.get_stats()
    assert (stats["plans_failed"], stats["success_rate"]) == (1, 0.5)


async def test_a_task_without_a_handler_fails_and_names_the_nearest(
    store: PlanStore, database_url: str
) -> None:
    orchestrator = Orchestrator(database_url)

    @orchestrator.task("analysis")
    async def analyse(packet: WorkPacket) -> None: ...

    plan = await plan_of(store)
    task = await task_of(store, plan, task_type="analisys")
    assert (await orchestrator.execute_plan(plan.id))["status"] == "failed"
    error = (await store.get_task(task.id)).error
    assert isinstance(error, dict)
    assert "did you mean 'analysis'?" in error["message"]


async def test_a_plan_that_is_cancelled_meanwhile_ends_the_execution(
    store: PlanStore, database_url: str
) -> None:
    orchestrator = Orchestrator(database_url, lease_seconds=1)
    begun = asyncio.Event()

    @orchestrator.task()
    async def wait(packet: WorkPacket) -> None:
        begun.set()
        await asyncio.Event().wait()

    plan = await plan_of(store)
    await task_of(store, plan)
    executing = asyncio.create_task(orchestrator.execute_plan(plan.id))
    await begun.wait()
    await set_to(store, plan, P.CANCELLED)
    done = await asyncio.wait_for(executing, until.PATIENCE)
    assert done == {"status": "cancelled", "completed_tasks": 0, "failed_tasks": 0, "outputs": {}}


async def test_a_plan_that_does_not_settle_ends_when_all_its_tasks_have(
    store: PlanStore, orchestrator: Orchestrator
) -> None:
    plan = await plan_of(store, auto_complete=False)
    task = await task_of(store, plan)
    done = await asyncio.wait_for(orchestrator.execute_plan(plan.id), until.PATIENCE)
    assert (done["status"], done["completed_tasks"]) == ("active", 1)
    assert (await store.get_task(task.id)).status == S.COMPLETED
    assert await status_of(store, plan) == P.ACTIVE


async def test_a_plan_that_is_not_there_is_not_found(orchestrator: Orchestrator) -> None:
    with pytest.raises(NotFound):
        await orchestrator.execute_plan(uuid4())
    assert orchestrator.get_stats()["plans_executed"] == 0
