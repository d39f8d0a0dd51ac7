"""Changes of many that meet work on some of them: each task or plan is as one of both left it."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from planstore.models import TaskStatus as S
from planstore.models.bulk import PlanBulk, TaskBulk
from planstore.models.idempotency import Idempotency
from tests.arranging import plan_of, task_of
from tests.history import all_rows
from tests.holder import claim, complete, complete_all
from tests.rivals import behind_plan
from tests.services.weaving import claimed

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from planstore.db import Database
    from planstore.models.bulk import PlanBulkAnswer, TaskBulkAnswer
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


def to_tasks(
    store: PlanStore, action: str, *, idempotency: Idempotency | None = None, **fields: Any
) -> Coroutine[Any, Any, TaskBulkAnswer]:
    request = TaskBulk.model_validate({"action": action, **fields})
    return store.bulk_tasks(request, idempotency=idempotency)


def to_plans(store: PlanStore, action: str, **fields: Any) -> Coroutine[Any, Any, PlanBulkAnswer]:
    return store.bulk_plans(PlanBulk.model_validate({"action": action, **fields}))


async def test_a_task_that_completes_while_it_is_to_be_skipped_stays_completed(
    store: PlanStore, elsewhere: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store, plan_type="dag")
    for _ in range(3):
        await task_of(store, plan)
    packet = await claimed(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        completed = await queue.join(complete(elsewhere, packet))
        skipped = await queue.join(to_tasks(store, "skip", filter={"plan_id": plan.id}))
        await queue.release()

    await completed
    answer = await skipped
    assert (answer.matched, answer.changed, answer.refused) == (3, 2, 1)
    assert [each.id for each in answer.refusals] == [packet.id]
    assert (await store.get_task(packet.id)).status == S.COMPLETED


@pytest.mark.parametrize("action", ["skip", "retry", "reset", "release", "delete"])
async def test_tasks_that_went_meanwhile_are_passed_over(
    store: PlanStore, elsewhere: PlanStore, database_url: str, action: str
) -> None:
    plan = await plan_of(store, plan_type="dag")
    gone, left = await task_of(store, plan), await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(elsewhere.delete_task(gone.id))
        done = await queue.join(to_tasks(store, action, filter={"plan_id": plan.id}))
        await queue.release()

    answer = await done
    assert (answer.matched, answer.refused) == (2, 0)
    assert answer.changed == (action in {"skip", "delete"})
    assert [each.id for each in await store.list_tasks(plan_id=plan.id)] == (
        [] if action == "delete" else [left.id]
    )


@pytest.mark.parametrize("action", ["start", "pause", "cancel", "retry", "delete"])
async def test_plans_that_went_meanwhile_are_passed_over(
    store: PlanStore, elsewhere: PlanStore, database: Database, database_url: str, action: str
) -> None:
    plan = await plan_of(store)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(elsewhere.delete_plan(plan.id))
        done = await queue.join(to_plans(store, action, filter={"status": "active"}))
        await queue.release()

    answer = await done
    assert (answer.matched, answer.unchanged) == (1, 1)
    assert await all_rows(database) == {}


async def test_changes_of_the_same_tasks_and_plans_at_once_all_come_to_an_end(
    store: PlanStore, elsewhere: PlanStore
) -> None:
    plans = [await plan_of(store, plan_type="dag") for _ in range(30)]
    for plan in plans:
        for _ in range(3):
            await task_of(store, plan)
    packets = await claim(store, limit=40)
    key = Idempotency("same")

    answers = await asyncio.gather(
        to_tasks(store, "release", all=True),
        to_tasks(elsewhere, "skip", filter={"status": "running"}),
        to_tasks(store, "reset", all=True, idempotency=key),
        to_tasks(elsewhere, "reset", all=True, idempotency=key),
        to_plans(store, "pause", all=True),
        to_plans(elsewhere, "delete", filter={"status": ["active", "completed"]}),
        complete_all(store, packets),
        claim(elsewhere, limit=10),
    )

    assert answers[2] == answers[3]
