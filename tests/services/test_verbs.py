"""The verbs of plans and tasks: start, pause, resume, cancel; skip and reset."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from planstore.errors import InvalidTransition, NotFound, PlanClosed
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimState, Outcome, Reset
from planstore.models.idempotency import Idempotency
from tests.arranging import moved, plan_of, set_to, status_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, fail, release, renew
from tests.refusals import refused
from tests.services.weaving import claimed, woven

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.services.plan_store import PlanStore
    from tests.services.weaving import Woven

pytestmark = pytest.mark.usefixtures("stays_healthy")


async def statuses_of(store: PlanStore, tasks: Woven) -> dict[str, str]:
    return {name: (await store.get_task(task.id)).status.value for name, task in tasks.items()}


async def last_events(database: Database, count: int) -> list[str]:
    return [event.event_type for event in await all_events(database)][-count:]


async def test_a_started_plan_hands_out_its_tasks(store: PlanStore, database: Database) -> None:
    plan, _ = await woven(store, {"a": [], "b": ["a"], "c": []}, status="draft")
    assert await claim(store) == []

    started = await store.start_plan(plan.id)

    assert (started.status, started.version) == (P.ACTIVE, plan.version + 1)
    assert await last_events(database, 1) == ["plan.started"]
    assert [packet.name for packet in await claim(store)] == ["a", "c"]


async def test_a_plan_without_anything_left_to_do_settles_as_it_starts(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []}, status="draft", auto_complete=False)
    for task in tasks.values():
        await store.skip_task(task.id)
    assert await status_of(store, plan) == P.ACTIVE

    settled = await store.update_plan(plan.id, PlanUpdate(auto_complete=True))

    assert settled.status == P.COMPLETED


async def test_a_paused_plan_hands_out_nothing_and_what_runs_goes_on(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": []})
    a = await claimed(store, plan)

    paused = await store.pause_plan(plan.id)

    assert (paused.status, paused.paused_at is not None) == (P.ACTIVE, True)
    assert await last_events(database, 1) == ["plan.paused"]
    assert await claim(store) == []
    assert (await renew(store, a)).state == ClaimState.RENEWED
    assert (await complete(store, a)).unblocked == [tasks["b"].id]
    assert await claim(store) == []

    resumed = await store.resume_plan(plan.id)

    assert resumed.paused_at is None
    assert [packet.name for packet in await claim(store)] == ["c", "b"]  # as long as they wait


async def test_what_is_added_to_a_paused_plan_waits_until_it_goes_on(store: PlanStore) -> None:
    plan = await plan_of(store)
    await store.pause_plan(plan.id)
    await task_of(store, plan)
    assert await claim(store) == []

    await store.resume_plan(plan.id)

    assert len(await claim(store)) == 1


async def test_a_paused_plan_settles_and_is_closed_like_any_other(store: PlanStore) -> None:
    settling, closing = await plan_of(store), await plan_of(store)
    await task_of(store, settling)
    await task_of(store, closing)
    packet = await claimed(store, settling)
    for plan in (settling, closing):
        await store.pause_plan(plan.id)

    await complete(store, packet)
    await store.cancel_plan(closing.id)

    assert await status_of(store, settling) == P.COMPLETED
    assert await status_of(store, closing) == P.CANCELLED


async def test_a_draft_may_be_paused_before_it_starts(store: PlanStore) -> None:
    plan = await plan_of(store, status="draft")
    await task_of(store, plan)
    await store.pause_plan(plan.id)

    started = await store.start_plan(plan.id)

    assert (started.status, started.paused_at is not None) == (P.ACTIVE, True)
    assert await claim(store) == []
    await store.resume_plan(plan.id)
    assert len(await claim(store)) == 1


async def test_a_verb_that_has_taken_effect_already_changes_nothing(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)

    for verb in (store.start_plan, store.pause_plan, store.resume_plan, store.cancel_plan):
        first = await verb(plan.id)
        before = await all_events(database)

        assert await verb(plan.id) == first

        assert await all_events(database) == before


@pytest.mark.parametrize("status", [P.COMPLETED, P.FAILED, P.CANCELLED])
async def test_a_plan_that_has_ended_is_neither_started_nor_paused(
    store: PlanStore, database: Database, status: P
) -> None:
    plan = await set_to(store, await plan_of(store), status)

    for verb, act in {"start": store.start_plan, "pause": store.pause_plan}.items():
        async with refused(database, InvalidTransition) as error:
            await act(plan.id)
        assert f"cannot {verb} plan {plan.id}: it is {status}" in str(error.value)


async def test_a_cancelled_plan_keeps_what_has_run_and_asks_the_rest_to_stop(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": ["a"], "d": []})
    a, b = await claim(store, limit=2)
    await complete(store, a)
    await moved(store, tasks["d"], S.BLOCKED)

    cancelled = await store.cancel_plan(plan.id)

    assert cancelled.status == P.CANCELLED
    assert cancelled.closed_at is not None
    assert await statuses_of(store, tasks) == {
        "a": "completed",
        "b": "running",
        "c": "skipped",
        "d": "skipped",
    }
    assert (await renew(store, b)).state == ClaimState.STOP
    assert (await complete(store, b, output_data={"n": 1})).output_data == {"n": 1}
    assert await status_of(store, plan) == P.CANCELLED


async def test_what_is_given_up_in_a_closed_plan_is_skipped(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)
    await store.cancel_plan(plan.id)

    released = await release(store, packet)

    assert (released.status, released.status_reason) == (S.SKIPPED, "plan_closed")
    assert released.worker_id is None


async def test_a_verb_is_done_once_under_its_key(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    key = Idempotency("k")

    first = await store.pause_plan(plan.id, idempotency=key)
    await store.resume_plan(plan.id)
    again = await store.pause_plan(plan.id, idempotency=key)

    assert again == first
    assert (await store.get_plan(plan.id)).paused_at is None


async def test_a_skipped_task_lets_those_go_on_who_wait_for_it(
    store: PlanStore, database: Database
) -> None:
    _, tasks = await woven(store, {"a": [], "b": ["a"]})
    packet = (await claim(store))[0]

    skipped = await store.skip_task(packet.id)

    assert (skipped.status, skipped.status_reason, skipped.worker_id) == (S.SKIPPED, None, "w1")
    assert await last_events(database, 2) == ["task.skipped", "task.unblocked"]
    assert (await renew(store, packet)).state == ClaimState.LOST
    assert [each.outcome for each in await store.list_attempts(packet.id)] == [Outcome.SKIPPED]
    assert await statuses_of(store, tasks) == {"a": "skipped", "b": "pending"}


async def test_what_has_completed_is_not_skipped(store: PlanStore, database: Database) -> None:
    task = await task_of(store, await plan_of(store), status=S.COMPLETED)

    async with refused(database, InvalidTransition):
        await store.skip_task(task.id)


async def test_skipping_again_changes_nothing(store: PlanStore, database: Database) -> None:
    task = await task_of(store, await plan_of(store), status=S.SKIPPED)
    before = await all_events(database)

    assert await store.skip_task(task.id) == task

    assert await all_events(database) == before


@pytest.mark.parametrize("status", [S.COMPLETED, S.FAILED, S.SKIPPED])
async def test_a_reset_task_begins_anew(store: PlanStore, database: Database, status: S) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    ended = await moved(
        store, task, status, **({"output_data": {"n": 1}} if status == S.COMPLETED else {})
    )
    assert ended.completed_at is not None

    reset = await store.reset_task(task.id)

    assert (reset.status, reset.started_at, reset.completed_at) == (S.PENDING, None, None)
    assert (reset.output_data, reset.error) == (None, None)
    assert await status_of(store, plan) == P.ACTIVE
    assert await last_events(database, 2) == ["task.reset", "plan.reopened"]
    assert (await claimed(store, plan)).id == task.id


@pytest.mark.parametrize("status", [S.PENDING, S.BLOCKED])
async def test_what_has_not_begun_is_not_changed_by_a_reset(
    store: PlanStore, database: Database, status: S
) -> None:
    task = await task_of(store, await plan_of(store), status=status)
    before = await all_events(database)

    assert await store.reset_task(task.id) == task

    assert await all_events(database) == before


async def test_a_reset_alone_leaves_alone_what_followed(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["b"]})
    for _ in range(2):
        await complete(store, await claimed(store, plan))

    await store.reset_task(tasks["a"].id)

    assert await statuses_of(store, tasks) == {"a": "pending", "b": "completed", "c": "pending"}


async def test_a_reset_with_dependents_runs_all_that_followed_again(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["b"], "d": ["b", "x"], "x": []})
    for _ in range(4):
        packet = (await claim(store, limit=1))[0]
        await complete(store, packet, output_data={"by": packet.name})
    running = await claimed(store, plan)

    reset = await store.reset_task(tasks["a"].id, Reset(dependents=True))

    assert reset.status == S.PENDING
    assert await statuses_of(store, tasks) == {
        "a": "pending",
        "b": "blocked",
        "c": "blocked",
        "d": "blocked",
        "x": "completed",
    }
    assert (await renew(store, running)).state == ClaimState.LOST
    assert (await store.get_task(tasks["b"].id)).output_data is None
    names = [packet.name for packet in await claim(store)]
    assert names == ["a"]


@pytest.mark.parametrize(
    ("plan_type", "followed"),
    [("sequential", ["with b", "c", "d"]), ("dag", ["with b"])],
)
async def test_in_a_sequential_plan_later_orders_have_followed_as_well(
    store: PlanStore, plan_type: str, followed: list[str]
) -> None:
    orders = {"a": 1, "b": 2, "beside b": 2, "with b": 2, "c": 3, "d": 4, "e": 5}
    needs = {name: ["b"] if name == "with b" else [] for name in orders}
    fields = {name: {"sequence_order": order} for name, order in orders.items()}
    _, tasks = await woven(store, needs, fields=fields, plan_type=plan_type)
    for name in orders:
        if name != "e":
            await moved(store, tasks[name], S.COMPLETED)

    await store.reset_task(tasks["b"].id, Reset(dependents=True))

    stand = await statuses_of(store, tasks)
    begun = [name for name in orders if stand[name] == "completed"]
    assert begun == [name for name in orders if name not in {"b", "e", *followed}]
    assert (stand["b"], stand["with b"], stand["e"]) == ("pending", "blocked", "pending")


async def test_retries_count_anew_after_a_reset(store: PlanStore) -> None:
    plan = await plan_of(store, retry_policy={"max_retries": 1, "initial_delay_sec": 0})
    task = await task_of(store, plan)
    for _ in range(2):
        await fail(store, await claimed(store, plan))

    await store.reset_task(task.id)

    assert (await fail(store, await claimed(store, plan))).status == S.PENDING
    assert (await fail(store, await claimed(store, plan))).status == S.FAILED
    assert len(await store.list_attempts(task.id)) == 4


async def test_nothing_begins_anew_in_a_closed_plan(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.COMPLETED)
    await store.cancel_plan(plan.id)

    async with refused(database, PlanClosed):
        await store.reset_task(task.id)


async def test_a_verb_on_what_is_not_there_is_not_found(
    store: PlanStore, database: Database
) -> None:
    of_plans = [store.start_plan, store.pause_plan, store.resume_plan, store.cancel_plan]
    of_tasks = [store.retry_task, store.skip_task, store.reset_task]
    for verb in (*of_plans, store.retry_plan, *of_tasks):
        async with refused(database, NotFound):
            await verb(uuid4())
