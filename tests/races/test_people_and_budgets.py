"""People who decide, and reports that use up a budget, at the same moment as others."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from planstore.errors import InvalidTransition
from planstore.models import TaskStatus as S
from planstore.models.approval import Decision, Review
from planstore.models.budget import PauseReason
from planstore.models.claim import Heartbeat, HeartbeatClaim, Result, Results
from planstore.models.usage import UsageReport
from tests.arranging import plan_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, fail, renew
from tests.rivals import behind_plan

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


@pytest.mark.parametrize("is_approved_first", [True, False])
async def test_an_approval_and_the_last_dependency_open_the_task_whichever_comes_first(
    store: PlanStore, elsewhere: PlanStore, database_url: str, *, is_approved_first: bool
) -> None:
    plan = await plan_of(store, plan_type="dag")
    first = await task_of(store, plan)
    then = await task_of(store, plan, depends_on=[first.id], requires_approval=True)
    (packet,) = await claim(store, plan=plan)

    async with behind_plan(database_url, plan.id) as queue:
        if is_approved_first:
            await queue.join(elsewhere.approve_task(then.id))
        ended = await queue.join(complete(store, packet))
        if not is_approved_first:
            await queue.join(elsewhere.approve_task(then.id))
        await queue.release()

    assert (await store.get_task(then.id)).status == S.PENDING
    assert ended.result().unblocked == ([then.id] if is_approved_first else [])
    assert [each.id for each in await claim(store, plan=plan)] == [then.id]


@pytest.mark.parametrize("first", Decision)
async def test_of_who_approves_and_who_rejects_at_once_the_first_one_decides(
    store: PlanStore, elsewhere: PlanStore, database_url: str, first: Decision
) -> None:
    plan = await plan_of(store, plan_type="dag")
    task = await task_of(store, plan, requires_approval=True)
    approve, reject = (
        (store.approve_task, Review(by="ada")),
        (elsewhere.reject_task, Review(by="bo")),
    )
    rivals = [approve, reject] if first == Decision.APPROVED else [reject, approve]

    async with behind_plan(database_url, plan.id) as queue:
        won, lost = [await queue.join(decide(task.id, review)) for decide, review in rivals]
        await queue.release()

    assert won.exception() is None
    assert isinstance(lost.exception(), InvalidTransition)
    decided = await store.get_task(task.id)
    assert decided.approval is not None
    assert decided.approval.decision == first
    assert decided.status == (S.PENDING if first == Decision.APPROVED else S.FAILED)


async def test_of_two_reports_that_reach_the_budget_at_once_one_pauses_the_plan(
    store: PlanStore, elsewhere: PlanStore, database: Database, database_url: str
) -> None:
    plan = await plan_of(store, plan_type="dag", budget={"max_cost_usd": 1})
    for _ in range(3):
        await task_of(store, plan)
    first, second = await claim(store, plan=plan, limit=2)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(complete(store, first, usage={"cost_usd": 1}))
        await queue.join(renew(elsewhere, second, usage={"cost_usd": 1}))
        await queue.release()

    plan = await store.get_plan(plan.id)
    assert plan.pause_reason == PauseReason.MAX_COST
    assert plan.usage is not None
    assert plan.usage.cost_usd == 2
    written = [each.event_type for each in await all_events(database)]
    assert written.count("plan.paused") == 1


async def test_whatever_reports_at_once_is_counted_whole_and_nobody_waits_in_a_circle(
    store: PlanStore, elsewhere: PlanStore
) -> None:
    plans = [
        await plan_of(store, plan_type="dag", budget={"max_attempts": 12, "max_tokens": 900})
        for _ in range(2)
    ]
    for plan in plans:
        for number in range(8):
            await task_of(store, plan, requires_approval=number >= 6)
    packets = await claim(store)
    usage = UsageReport(input_tokens=1, cost_usd=0.1)

    async def beat(through: PlanStore, held: list[WorkPacket]) -> None:
        claims = [
            HeartbeatClaim(task_id=each.id, fencing_token=each.fencing_token, usage=usage)
            for each in held
        ]
        await through.heartbeat(Heartbeat(worker_id="w1", claims=claims))

    async def report(through: PlanStore, held: list[WorkPacket]) -> None:
        results = [
            Result(task_id=each.id, fencing_token=each.fencing_token, usage=usage) for each in held
        ]
        await through.complete_tasks(Results(results=results))

    async def decide(number: int) -> None:
        waiting = await store.list_tasks(plan_id=plans[number].id)
        verbs = (store.approve_task, elsewhere.reject_task)
        for verb, task in zip(verbs, waiting[-2:], strict=True):
            await verb(task.id)

    await asyncio.gather(beat(store, packets), beat(elsewhere, packets[::-1]))
    await asyncio.gather(
        report(store, packets[:3]),
        report(elsewhere, [*packets[6:9], *packets[3:5]][::-1]),
        beat(elsewhere, [packets[5], packets[11]]),
        fail(store, packets[9], usage=usage, retry_in_seconds=0),
        claim(elsewhere, "w2"),
        decide(0),
        decide(1),
    )

    sums = [(await store.get_plan(plan.id)).usage for plan in plans]
    assert sum(each.input_tokens for each in sums if each) == 24 + 8 + 2 + 1
    assert sum(each.cost_usd for each in sums if each) == pytest.approx(3.5)
