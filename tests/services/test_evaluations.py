"""Evaluations: how what came of a task was judged."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.errors import IdempotencyMismatch, InvalidInput, InvalidTransition, NotFound
from planstore.models import Idempotency
from planstore.models import TaskStatus as S
from planstore.models.evaluation import EvaluationCreate
from tests.arranging import moved, plan_of, task_of
from tests.history import all_events, assert_history_holds
from tests.holder import claim, complete, fail
from tests.refusals import refused

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Task
    from planstore.models.evaluation import Evaluation
    from planstore.services.plan_store import PlanStore

GOOD: Final = EvaluationCreate(
    evaluation_type="quality",
    score=0.75,
    metrics={"accuracy": 0.8, "parts": [1, 2]},
    feedback="Well done.",
    agent_id=uuid4(),
)


async def judged(store: PlanStore, task: Task, score: float, **fields: Any) -> Evaluation:
    given = {"evaluation_type": "quality", "score": score, **fields}
    return await store.create_evaluation(task.id, EvaluationCreate.model_validate(given))


async def test_what_came_of_a_task_is_judged(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    (packet,) = await _claimed(store, plan)
    await complete(store, packet)
    task = await store.get_task(packet.id)

    made = await store.create_evaluation(task.id, GOOD)

    assert made.model_dump(include=set(GOOD.model_fields_set)) == GOOD.model_dump()
    assert (made.task_id, made.plan_id, made.attempt) == (task.id, plan.id, 1)
    assert await store.list_evaluations(task.id) == [made]
    assert await store.get_task(task.id) == task
    await assert_history_holds(database)


async def _claimed(store: PlanStore, plan: Any, **fields: Any) -> list[Any]:
    await task_of(store, plan, **fields)
    return await claim(store, plan=plan)


async def test_its_event_tells_it_and_is_no_version_of_the_task(
    store: PlanStore, database: Database
) -> None:
    task = await task_of(store, await plan_of(store), status=S.COMPLETED, task_type="draft")

    made = await store.create_evaluation(task.id, GOOD)

    event = (await all_events(database))[-1]
    assert (event.event_type, event.aggregate_id) == ("task.evaluated", task.id)
    assert event.version == (await store.get_task(task.id)).version
    assert type(made).model_validate(event.payload) == made
    assert event.metadata == {
        "revision": 2,
        "task_type": "draft",
        "agent_id": None,
        "plan_type": "sequential",
        "template": None,
        "evaluation_type": "quality",
        "score": 0.75,
    }


async def test_a_completed_task_tells_what_is_needed_to_judge_it(
    store: PlanStore, database: Database
) -> None:
    agent = uuid4()
    plan = await plan_of(store, plan_type="dag")
    (packet,) = await _claimed(store, plan, task_type="write", agent_id=agent)
    await complete(store, packet, output_data={"text": "…"})

    (event,) = [e for e in await all_events(database) if e.event_type == "task.completed"]
    assert event.payload["output_data"] == {"text": "…"}
    ready_at, began_at = event.metadata.pop("ready_at"), event.metadata.pop("began_at")
    assert ready_at < began_at < event.payload["completed_at"]
    assert event.metadata == {
        "revision": 2,
        "task_type": "write",
        "agent_id": str(agent),
        "plan_type": "dag",
        "template": None,
        "worker_id": "w1",
        "attempt": 1,
    }


async def test_a_failed_task_is_judged_too(store: PlanStore) -> None:
    plan = await plan_of(store, retry_policy={"max_retries": 0})
    (packet,) = await _claimed(store, plan)
    await fail(store, packet)

    made = await judged(store, packet, 0)

    assert (made.score, made.metrics, made.feedback, made.agent_id) == (0.0, {}, None, None)


@pytest.mark.parametrize("status", [S.PENDING, S.RUNNING, S.BLOCKED, S.SKIPPED])
async def test_what_nothing_came_of_is_not_judged(
    store: PlanStore, database: Database, status: S
) -> None:
    task = await task_of(store, await plan_of(store), status=status)

    async with refused(database, InvalidTransition) as info:
        await store.create_evaluation(task.id, GOOD)

    assert status.value in str(info.value)
    assert await store.list_evaluations(task.id) == []


async def test_what_is_not_there_is_neither_judged_nor_listed(
    store: PlanStore, database: Database
) -> None:
    async with refused(database, NotFound):
        await store.create_evaluation(uuid4(), GOOD)
    with pytest.raises(NotFound):
        await store.list_evaluations(uuid4())


@pytest.mark.parametrize("score", [-0.01, 1.01, float("nan"), float("inf")])
async def test_a_score_lies_between_0_and_1(score: float) -> None:
    with pytest.raises(ValueError, match="score"):
        EvaluationCreate(evaluation_type="quality", score=score)


async def test_judging_again_under_the_same_key_is_the_same(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store), status=S.COMPLETED)
    key = Idempotency("once")

    first = await store.create_evaluation(task.id, GOOD, idempotency=key)
    again = await store.create_evaluation(task.id, GOOD, idempotency=key)

    assert again == first
    assert await store.list_evaluations(task.id) == [first]
    with pytest.raises(IdempotencyMismatch):
        await store.create_evaluation(
            task.id, EvaluationCreate(evaluation_type="quality", score=0.1), idempotency=key
        )


async def test_they_are_listed_in_their_order_and_in_pages(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store), status=S.COMPLETED)
    made = [await judged(store, task, number / 10) for number in range(5)]

    first = await store.list_evaluations(task.id, limit=2)
    assert list(first) == made[:2]
    rest = await store.list_evaluations(task.id, limit=3, cursor=first.next_cursor)
    assert list(rest) == made[2:]
    assert rest.next_cursor is None
    assert await store.list_evaluations(task.id, limit=2, offset=4) == made[4:]
    with pytest.raises(InvalidInput):
        await store.list_evaluations(task.id, limit=0)
    with pytest.raises(InvalidInput):
        await store.list_evaluations(task.id, cursor="nowhere")


async def test_they_stay_when_the_task_begins_anew_and_tell_which_run_it_was(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    (packet,) = await _claimed(store, plan)
    await complete(store, packet)
    first = await judged(store, packet, 0.2)
    await store.reset_task(packet.id)
    (packet,) = await claim(store, plan=plan)
    await complete(store, packet)
    second = await judged(store, packet, 0.9)

    assert await store.list_evaluations(packet.id) == [first, second]
    assert (first.attempt, second.attempt) == (1, 2)


async def test_they_go_with_their_task_and_with_its_plan(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    one, other, kept = [await task_of(store, plan) for _ in range(3)]
    elsewhere = await task_of(store, await plan_of(store), status=S.COMPLETED)
    for task in (one, other, kept):
        await moved(store, task, S.COMPLETED)
    for task in (one, other, kept, elsewhere):
        await judged(store, task, 0.5)

    await store.delete_task(one.id)
    assert await _judged_tasks(database) == {other.id, kept.id, elsewhere.id}
    await store.delete_plan(plan.id)
    assert await _judged_tasks(database) == {elsewhere.id}


async def _judged_tasks(database: Database) -> set[Any]:
    async with database.connection() as conn:
        rows = await conn.fetch("select e.task_id from planstore.evaluations e")
    return {row["task_id"] for row in rows}
