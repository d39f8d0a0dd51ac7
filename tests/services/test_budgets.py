"""Budgets: a plan that has reached one hands out nothing until it is raised."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest

from planstore.errors import InvalidTransition
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate
from planstore.models import TaskStatus as S
from planstore.models.budget import Budget, PauseReason
from planstore.models.bulk import PlanAction, PlanBulk
from planstore.models.claim import ClaimRequest
from planstore.models.idempotency import Idempotency
from planstore.models.query import PlanFilter
from tests.arranging import plan_of, status_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, fail, release, renew
from tests.refusals import refused

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")

PAST = datetime(2020, 1, 1, tzinfo=UTC)


async def budgeted(store: PlanStore, *, tasks: int = 3, **budget: Any) -> Plan:
    plan = await plan_of(store, plan_type="dag", budget=budget)
    for _ in range(tasks):
        await task_of(store, plan)
    return plan


async def set_budget(store: PlanStore, plan: Plan, **budget: Any) -> Plan:
    return await store.update_plan(plan.id, PlanUpdate(budget=Budget.model_validate(budget)))


async def pause_of(store: PlanStore, plan: Plan) -> PauseReason | None:
    plan = await store.get_plan(plan.id)
    assert plan.pause_reason is None or plan.paused_at is not None
    return plan.pause_reason


@pytest.mark.parametrize(
    ("budget", "usage", "reason"),
    [
        ({"max_cost_usd": 0.3}, {"cost_usd": 0.1}, PauseReason.MAX_COST),
        ({"max_tokens": 30}, {"input_tokens": 9, "output_tokens": 1}, PauseReason.MAX_TOKENS),
        ({"max_tokens": 30, "max_cost_usd": 9}, {"output_tokens": 10}, PauseReason.MAX_TOKENS),
    ],
)
async def test_a_plan_is_paused_once_what_is_reported_reaches_its_budget(
    store: PlanStore, budget: dict[str, Any], usage: dict[str, Any], reason: PauseReason
) -> None:
    plan = await budgeted(store, tasks=4, **budget)
    first, second, third = await claim(store, plan=plan, limit=3)

    await renew(store, first, usage=usage)
    await fail(store, second, retry_in_seconds=0, usage=usage)
    assert await pause_of(store, plan) is None

    done = await complete(
        store, third, usage=usage, claim_next={"worker_id": "w1", "plan_id": plan.id}
    )

    assert done.tasks == []
    assert await pause_of(store, plan) == reason
    assert await claim(store, plan=plan) == []


async def test_what_runs_goes_on_and_is_taken(store: PlanStore, database: Database) -> None:
    plan = await budgeted(store, tasks=2, max_cost_usd=1)
    first, second = await claim(store, plan=plan)
    await renew(store, first, usage={"cost_usd": 2})

    assert (await renew(store, second)).state == "renewed"
    await complete(store, second, usage={"cost_usd": 2})
    await complete(store, first)

    plan = await store.get_plan(plan.id)
    assert plan.status == P.COMPLETED
    assert plan.usage is not None
    assert plan.usage.cost_usd == 4
    written = [each.event_type for each in await all_events(database)]
    assert written.count("plan.paused") == 1


async def test_a_plan_that_ends_with_its_last_report_is_not_paused_until_it_goes_on(
    store: PlanStore,
) -> None:
    plan = await budgeted(store, tasks=1, max_cost_usd=1)
    (packet,) = await claim(store, plan=plan)
    await complete(store, packet, usage={"cost_usd": 1})
    assert (await store.get_plan(plan.id)).paused_at is None

    await task_of(store, plan)
    await store.sweep()

    assert await pause_of(store, plan) == PauseReason.MAX_COST
    assert await claim(store, plan=plan) == []


async def test_raising_the_budget_lets_the_plan_go_on(store: PlanStore, database: Database) -> None:
    plan = await budgeted(store, max_cost_usd=1)
    (packet,) = await claim(store, plan=plan, limit=1)
    await complete(store, packet, usage={"cost_usd": 1})

    assert (await set_budget(store, plan, max_cost_usd=1)).paused_at is not None
    raised = await set_budget(store, plan, max_cost_usd=1.5)

    assert (raised.paused_at, raised.pause_reason) == (None, None)
    assert len(await claim(store, plan=plan)) == 2
    written = [each.event_type for each in await all_events(database)]
    assert written.count("plan.resumed") == 1


async def test_without_a_budget_it_goes_on_too(store: PlanStore) -> None:
    plan = await budgeted(store, max_attempts=1)
    await claim(store, plan=plan, limit=1)
    assert await pause_of(store, plan) == PauseReason.MAX_ATTEMPTS

    await store.update_plan(plan.id, PlanUpdate(budget=None))

    assert len(await claim(store, plan=plan)) == 2


async def test_a_budget_that_is_reached_already_pauses_at_once(store: PlanStore) -> None:
    plan = await budgeted(store, max_cost_usd=5)
    (packet,) = await claim(store, plan=plan, limit=1)
    await complete(store, packet, usage={"cost_usd": 2})

    lowered = await set_budget(store, plan, max_cost_usd=2, max_tokens=10)

    assert lowered.pause_reason == PauseReason.MAX_COST


async def test_who_pauses_by_hand_is_not_overruled_by_raising_the_budget(
    store: PlanStore,
) -> None:
    plan = await budgeted(store, max_attempts=1)
    await claim(store, plan=plan, limit=1)
    paused = await store.get_plan(plan.id)

    by_hand = await store.pause_plan(plan.id)
    raised = await set_budget(store, plan, max_attempts=5)

    assert (by_hand.paused_at, by_hand.pause_reason) == (paused.paused_at, None)
    assert raised.paused_at == paused.paused_at
    assert (await store.resume_plan(plan.id)).paused_at is None


async def test_a_plan_that_was_paused_by_hand_stays_so_without_another_reason(
    store: PlanStore,
) -> None:
    plan = await budgeted(store, max_cost_usd=1)
    (packet,) = await claim(store, plan=plan, limit=1)
    await store.pause_plan(plan.id)

    await complete(store, packet, usage={"cost_usd": 1})

    assert await pause_of(store, plan) is None


async def test_resuming_is_refused_while_the_budget_is_reached(
    store: PlanStore, database: Database
) -> None:
    plan = await budgeted(store, max_attempts=1)
    await claim(store, plan=plan, limit=1)

    async with refused(database, InvalidTransition) as info:
        await store.resume_plan(plan.id)
    bulk = PlanBulk(filter=PlanFilter(plan_type=["dag"]), action=PlanAction.RESUME)
    answer = await store.bulk_plans(bulk)

    assert "it has reached the max_attempts of its budget" in info.value.detail
    assert (answer.refused, answer.refusals[0].id) == (1, plan.id)


@pytest.mark.parametrize("is_keyed", [True, False])
async def test_a_plan_is_paused_when_as_many_runs_have_begun_as_may(
    store: PlanStore, *, is_keyed: bool
) -> None:
    plan = await budgeted(store, max_attempts=2)
    key = Idempotency("claim") if is_keyed else None
    (packet,) = await claim(store, plan=plan, limit=1)
    await release(store, packet)

    assert await pause_of(store, plan) is None
    (packet,) = await claim(store, plan=plan, limit=1, idempotency=key)

    assert await pause_of(store, plan) == PauseReason.MAX_ATTEMPTS
    assert await claim(store, plan=plan) == []
    await complete(store, packet)
    assert await status_of(store, plan) == P.ACTIVE


async def test_going_on_in_one_request_counts_attempts_too(store: PlanStore) -> None:
    plan = await budgeted(store, max_attempts=2)
    (packet,) = await claim(store, plan=plan, limit=1)

    ask = ClaimRequest(worker_id="w1", plan_id=plan.id)
    done = await complete(store, packet, claim_next=ask)

    assert len(done.tasks) == 1
    assert await pause_of(store, plan) == PauseReason.MAX_ATTEMPTS


async def test_a_plan_is_paused_by_its_deadline(store: PlanStore) -> None:
    plan = await budgeted(store, deadline=PAST)
    running = await task_of(store, plan, status=S.RUNNING)

    assert await store.sweep() == 0

    assert await pause_of(store, plan) == PauseReason.DEADLINE
    assert await claim(store, plan=plan) == []
    await store.complete_task(running.id)
    later = datetime.now(UTC) + timedelta(hours=1)
    assert (await set_budget(store, plan, deadline=later)).paused_at is None
    await store.sweep()
    assert len(await claim(store, plan=plan)) == 3


async def test_with_one_limit_raised_it_says_what_else_is_reached(store: PlanStore) -> None:
    plan = await budgeted(store, max_attempts=1)
    await claim(store, plan=plan, limit=1)

    still = await set_budget(store, plan, max_attempts=9, deadline=PAST)

    assert still.pause_reason == PauseReason.DEADLINE


async def test_explanations_say_what_was_reached(store: PlanStore) -> None:
    plan = await budgeted(store, tasks=1, max_cost_usd=1)
    (packet,) = await claim(store, plan=plan)
    await fail(store, packet, usage={"cost_usd": 1})

    assert ", for it has reached the max_cost_usd of its budget" in (
        (await store.explain_plan(plan.id)).sentence
    )
    assert ", for it has reached the max_cost_usd of its budget" in (
        (await store.explain_task(packet.id)).sentence
    )


async def test_a_draft_may_be_given_a_budget_before_it_starts(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag", status="draft", budget={"max_attempts": 1})
    for _ in range(2):
        await task_of(store, plan)

    await store.start_plan(plan.id)

    assert len(await claim(store, plan=plan, limit=1)) == 1
    assert await claim(store, plan=plan) == []
