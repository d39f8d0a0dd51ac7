"""Claims and reports by each door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from planstore.models import ClaimRequest, Completion, Heartbeat, HeartbeatClaim, Result, Results
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimState, Outcome
from tests.arranging import plan_of, task_of
from tests.holder import claim, complete, fail, release

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore


async def test_a_claim_hands_over_all_that_a_worker_needs(
    store: PlanStore, library: PlanStore
) -> None:
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan, name="fetch")
    await task_of(
        store,
        plan,
        name="read",
        depends_on=["fetch"],
        input_data={"text": "${fetch.output.text}", "n": 1},
    )
    (fetch,) = await claim(store, plan=plan)
    ended = await complete(store, fetch, output_data={"text": "hello"})
    assert (ended.status, len(ended.unblocked), ended.tasks) == (S.COMPLETED, 1, [])
    (read,) = await claim(store, plan=plan)
    assert read.id == ended.unblocked[0]
    assert read.dependencies[0].output_data == {"text": "hello"}
    assert read.fencing_token > fetch.fencing_token
    assert (await library.get_task(read.id)).worker_id == "w1"


async def test_a_run_that_fails_is_tried_again_and_one_that_is_released_not_counted(
    store: PlanStore,
) -> None:
    plan = await plan_of(store, retry_policy={"max_retries": 1})
    await task_of(store, plan)
    (packet,) = await claim(store, plan=plan)
    assert (await release(store, packet)).status == S.PENDING
    (packet,) = await claim(store, plan=plan)
    assert (await fail(store, packet, retry_in_seconds=0)).status == S.PENDING
    (packet,) = await claim(store, plan=plan)
    assert packet.previous_attempts[-1].error == "boom"
    assert (await fail(store, packet)).status == S.FAILED
    attempts = await store.list_attempts(packet.id)
    assert [each.outcome for each in attempts] == [
        Outcome.RELEASED,
        Outcome.FAILED,
        Outcome.FAILED,
    ]


async def test_a_heartbeat_renews_what_is_held_and_says_what_is_lost(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    for _ in range(2):
        await task_of(store, plan)
    held, lost = await claim(store, plan=plan)
    await complete(store, lost)
    claims = [
        HeartbeatClaim(task_id=each.id, fencing_token=each.fencing_token, progress=0.5)
        for each in (held, lost)
    ]
    answer = await store.heartbeat(Heartbeat(worker_id="w1", claims=claims))
    assert [each.state for each in answer.claims] == [ClaimState.RENEWED, ClaimState.LOST]
    assert (await store.get_task(held.id)).progress == 0.5


async def test_many_are_completed_at_once_each_for_itself(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    for _ in range(3):
        await task_of(store, plan)
    first, second = await claim(store, plan=plan, limit=2)
    results = [
        Result(task_id=first.id, fencing_token=first.fencing_token, output_data={"n": 1}),
        Result(task_id=second.id, fencing_token=second.fencing_token + 1_000_000),
    ]
    next_one = ClaimRequest(worker_id="w1", plan_id=plan.id)
    answer = await store.complete_tasks(Results(results=results, claim_next=next_one))
    assert [each.ok for each in answer.results] == [True, False]
    error = answer.results[1].error
    assert error is not None
    assert error.code == "stale_claim"
    assert len(answer.tasks) == 1


async def test_who_waits_is_handed_what_becomes_ready(store: PlanStore, library: PlanStore) -> None:
    plan = await plan_of(store)
    async with asyncio.TaskGroup() as group:
        waiting = group.create_task(claim(store, plan=plan, wait_seconds=20))
        await task_of(library, plan)
    (packet,) = waiting.result()
    assert packet.plan_id == plan.id


async def test_who_reports_may_wait_for_the_next(store: PlanStore, library: PlanStore) -> None:
    plan = await plan_of(store, auto_complete=False)
    await task_of(store, plan)
    (packet,) = await claim(store, plan=plan)
    waits = ClaimRequest(worker_id="w1", plan_id=plan.id, wait_seconds=20)
    report = Completion(fencing_token=packet.fencing_token, claim_next=waits)
    async with asyncio.TaskGroup() as group:
        async with library.stream_events(plan_id=plan.id, event_types=["task.completed"]) as stream:
            reporting = group.create_task(store.complete_task(packet.id, report))
            async for _ in stream:
                break
        await task_of(library, plan, name="next")
    ended = reporting.result()
    assert (ended.id, ended.status) == (packet.id, S.COMPLETED)
    assert [each.name for each in ended.tasks] == ["next"]
