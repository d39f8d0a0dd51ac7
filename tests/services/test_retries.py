"""Retries: how often a task is tried again, when, and what is known of each try."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from planstore.errors import InvalidTransition, PlanClosed
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.claim import Failure, Outcome
from planstore.models.insight import ReasonCode
from tests.arranging import moved, plan_of, status_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, fail, release
from tests.refusals import refused
from tests.services.weaving import claimed, woven
from tests.time_travel import pass_time

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


AT_ONCE = {"initial_delay_sec": 0}


async def delay_of(database: Database, task_id: UUID) -> float:
    """How many seconds a task waits that has just failed."""
    async with database.connection() as conn:
        return await conn.fetchval(
            "select extract(epoch from s.due_at - s.updated_at)::float8"
            " from planstore.task_states s where s.task_id = $1 and s.ready_at = s.due_at",
            task_id,
        )


async def fail_until_it_is_final(store: PlanStore, plan: Plan) -> int:
    """Have the plan's only task fail until it isn't tried again; answers how often it ran."""
    runs = 0
    while packets := await claim(store, plan=plan):
        await fail(store, packets[0], retry_in_seconds=0)
        runs += 1
    return runs


async def test_a_failed_run_is_tried_again_after_its_backoff(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    ended = await fail(store, await claimed(store, plan), error={"message": "boom", "n": 1})

    assert (ended.status, ended.attempt, ended.needs_review) == (S.PENDING, 1, False)
    assert (ended.error, ended.started_at, ended.completed_at, ended.worker_id) == (
        {"message": "boom", "n": 1},
        None,
        None,
        None,
    )
    requeued = (await all_events(database))[-1]
    assert (requeued.event_type, requeued.metadata["outcome"]) == ("task.requeued", "failed")
    assert 0.5 <= await delay_of(database, task.id) <= 1
    assert await claim(store) == []
    assert await status_of(store, plan) == P.ACTIVE
    await pass_time(database, 1)
    packet = await claimed(store, plan)
    assert [each.error for each in packet.previous_attempts] == [{"message": "boom", "n": 1}]


async def test_each_delay_is_longer_than_the_one_before_up_to_the_longest(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    policy = {
        "max_retries": 5,
        "initial_delay_sec": 10,
        "backoff_multiplier": 3,
        "max_delay_sec": 100,
    }
    task = await task_of(store, plan, retry_policy=policy)

    for longest in (10, 30, 90, 100, 100):
        await fail(store, await claimed(store, plan))
        assert longest / 2 <= await delay_of(database, task.id) <= longest
        await pass_time(database, 100)


async def test_tasks_that_fail_together_do_not_come_back_together(
    store: PlanStore, database: Database
) -> None:
    await woven(store, {f"t{n}": [] for n in range(8)}, retry_policy={"initial_delay_sec": 30})
    packets = await claim(store)
    for packet in packets:
        await fail(store, packet)

    delays = {round(await delay_of(database, packet.id), 3) for packet in packets}

    assert len(delays) > 1


async def test_a_backoff_lasts_though_an_earlier_task_comes_in_between(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, sequence_order=5)
    await fail(store, await claimed(store, plan), retry_in_seconds=60)
    await task_of(store, plan, sequence_order=1)

    await complete(store, await claimed(store, plan))

    assert await claim(store) == []
    assert (await store.explain_task(task.id)).reasons[0].code == ReasonCode.BACKOFF
    await pass_time(database, 60)
    assert (await claimed(store, plan)).id == task.id


async def test_a_backoff_lasts_though_the_task_may_begin_earlier(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await fail(store, await claimed(store, plan), retry_in_seconds=60)
    update = TaskUpdate.model_validate({"not_before": "2020-01-01T00:00:00Z"})

    await store.update_task(task.id, update)

    assert await claim(store) == []
    await pass_time(database, 60)
    assert (await claimed(store, plan)).id == task.id


async def test_a_backoff_lasts_though_the_task_is_approved_meanwhile(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await fail(store, await claimed(store, plan), retry_in_seconds=60)
    await store.update_task(task.id, TaskUpdate(requires_approval=True))

    await store.approve_task(task.id)

    assert await claim(store) == []
    await pass_time(database, 60)
    assert (await claimed(store, plan)).id == task.id


async def test_a_backoff_lasts_though_the_task_is_held_meanwhile(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await fail(store, await claimed(store, plan), retry_in_seconds=60)
    await moved(store, task, S.BLOCKED)

    await moved(store, task, S.PENDING)

    assert await claim(store) == []
    await pass_time(database, 60)
    assert (await claimed(store, plan)).id == task.id


async def test_a_backoff_ends_with_a_start_or_a_reset_by_hand(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await fail(store, await claimed(store, plan), retry_in_seconds=60)
    await moved(store, task, S.RUNNING)

    await moved(store, task, S.PENDING)

    await fail(store, await claimed(store, plan), retry_in_seconds=60)
    await moved(store, task, S.COMPLETED)
    await store.reset_task(task.id)
    assert (await claimed(store, plan)).id == task.id


@pytest.mark.parametrize(
    ("of_plan", "of_task", "runs"),
    [
        (None, None, 4),
        ({"max_retries": 1}, None, 2),
        ({"max_retries": 1}, {"max_retries": 2}, 3),
        ({"max_retries": 1}, {}, 4),
        (None, {"max_retries": 0}, 1),
    ],
)
async def test_a_task_is_tried_as_often_as_it_or_its_plan_says(
    store: PlanStore,
    of_plan: dict[str, Any] | None,
    of_task: dict[str, Any] | None,
    runs: int,
) -> None:
    plan = await plan_of(store, retry_policy=of_plan)
    task = await task_of(store, plan, retry_policy=of_task)

    assert await fail_until_it_is_final(store, plan) == runs

    assert (await store.get_task(task.id)).status == S.FAILED
    assert await status_of(store, plan) == P.FAILED


async def test_a_policy_that_is_changed_is_what_counts(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await store.update_plan(plan.id, PlanUpdate.model_validate({"retry_policy": {}}))
    update = TaskUpdate.model_validate({"retry_policy": {"max_retries": 0}})

    await store.update_task(task.id, update)

    assert await fail_until_it_is_final(store, plan) == 1


async def test_what_can_not_be_helped_by_trying_again_is_final(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)

    ended = await fail(store, await claimed(store, plan), retryable=False)

    assert (ended.status, ended.error) == (S.FAILED, "boom")
    assert ended.completed_at is not None


async def test_the_worker_may_say_when_to_try_again(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, retry_policy={"max_delay_sec": 1})
    task = await task_of(store, plan)

    await fail(store, await claimed(store, plan), retry_in_seconds=120)

    assert await delay_of(database, task.id) == 120


async def test_a_failure_set_by_hand_is_final(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)

    failed = await moved(store, packet, S.FAILED, error="by hand")

    assert (failed.status, failed.error) == (S.FAILED, "by hand")
    (attempt,) = await store.list_attempts(packet.id)
    assert (attempt.outcome, attempt.error) == (Outcome.FAILED, "by hand")


async def test_what_was_not_started_fails_for_good(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store))

    ended = await store.fail_task(task.id, Failure(error="never began"))

    assert (ended.status, ended.attempt) == (S.FAILED, 0)


async def test_every_attempt_stays_readable(store: PlanStore) -> None:
    plan = await plan_of(store, retry_policy=AT_ONCE)
    task = await task_of(store, plan)
    assert await store.list_attempts(task.id) == []
    await fail(store, await claimed(store, plan, "w1"), error="one")
    await release(store, await claimed(store, plan, "w2"))
    last = await claimed(store, plan, "w3")

    going_on = (await store.list_attempts(task.id))[-1]
    await complete(store, last)

    assert (going_on.worker_id, going_on.ended_at, going_on.outcome) == ("w3", None, None)
    attempts = await store.list_attempts(task.id)
    told = [(each.attempt, each.worker_id, each.outcome, each.error) for each in attempts]
    assert told == [
        (1, "w1", Outcome.FAILED, "one"),
        (2, "w2", Outcome.RELEASED, None),
        (3, "w3", Outcome.COMPLETED, None),
    ]
    assert all(each.ended_at is not None and each.began_at <= each.ended_at for each in attempts)


async def test_a_run_that_is_undone_stays_readable(store: PlanStore) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await complete(store, await claimed(store, plan))
    await store.reset_task(task.id)
    await moved(store, task, S.RUNNING)

    await store.reset_task(task.id)

    told = [(each.attempt, each.outcome) for each in await store.list_attempts(task.id)]
    assert told == [(1, Outcome.COMPLETED), (2, Outcome.OVERRIDDEN)]


async def test_a_success_clears_the_error(store: PlanStore) -> None:
    plan = await plan_of(store, retry_policy=AT_ONCE)
    await task_of(store, plan)
    await fail(store, await claimed(store, plan))

    ended = await complete(store, await claimed(store, plan))

    assert (ended.status, ended.error) == (S.COMPLETED, None)


async def test_a_failed_task_is_tried_again_with_all_its_retries(store: PlanStore) -> None:
    plan = await plan_of(store, retry_policy={"max_retries": 1})
    task = await task_of(store, plan)
    assert await fail_until_it_is_final(store, plan) == 2

    retried = await store.retry_task(task.id)

    assert (retried.status, retried.error, retried.completed_at) == (S.PENDING, None, None)
    assert await status_of(store, plan) == P.ACTIVE
    assert await fail_until_it_is_final(store, plan) == 2
    assert [each.attempt for each in await store.list_attempts(task.id)] == [1, 2, 3, 4]


@pytest.mark.parametrize("status", [S.PENDING, S.RUNNING, S.BLOCKED])
async def test_retrying_what_is_open_changes_nothing(
    store: PlanStore, database: Database, status: S
) -> None:
    task = await task_of(store, await plan_of(store), status=status)
    before = await all_events(database)

    assert await store.retry_task(task.id) == task

    assert await all_events(database) == before


@pytest.mark.parametrize("status", [S.COMPLETED, S.SKIPPED])
async def test_what_is_finished_is_not_retried(
    store: PlanStore, database: Database, status: S
) -> None:
    task = await task_of(store, await plan_of(store), status=status)

    async with refused(database, InvalidTransition) as error:
        await store.retry_task(task.id)

    assert f"cannot retry task {task.id}: it is {status}" in str(error.value)


async def test_retrying_a_plan_retries_every_failed_task(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": [], "d": ["a"]})
    a, b, c = await claim(store)
    for packet in (a, b):
        await fail(store, packet, retryable=False)
    await complete(store, c)
    assert await status_of(store, plan) == P.FAILED

    retried = await store.retry_plan(plan.id)

    assert retried.status == P.ACTIVE
    assert [packet.name for packet in await claim(store)] == ["a", "b"]
    assert (await store.get_task(tasks["d"].id)).status == S.BLOCKED


async def test_retrying_a_plan_in_which_nothing_failed_changes_nothing(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    before = await store.get_plan(plan.id), await all_events(database)

    assert await store.retry_plan(plan.id) == before[0]

    assert await all_events(database) == before[1]


async def test_nothing_is_retried_in_a_closed_plan(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.FAILED)
    await store.cancel_plan(plan.id)

    async with refused(database, PlanClosed):
        await store.retry_task(task.id)
    async with refused(database, PlanClosed):
        await store.retry_plan(plan.id)
