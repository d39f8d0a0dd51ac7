"""Rivals for one plan, in an order that locks give: each sees what the one before it did."""

from __future__ import annotations

import asyncio
from itertools import chain
from typing import TYPE_CHECKING

import pytest

from planstore.db import Database
from planstore.errors import PlanClosed, ResultConflict, VersionMismatch
from planstore.migrations import known, migrate
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, TaskUpdate
from planstore.models import TaskStatus as S
from tests.arranging import moved, plan_of, set_to, status_of, task_of
from tests.history import all_events, assert_counts_hold, assert_history_holds
from tests.rivals import behind_plan

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.services.plan_store import PlanStore
    from tests.conftest import Postgres


@pytest.fixture(autouse=True)
async def _nothing_is_miscounted(database: Database) -> AsyncIterator[None]:
    yield
    await assert_counts_hold(database)
    await assert_history_holds(database)


@pytest.mark.parametrize("plan_type", ["sequential", "parallel"])
async def test_a_plan_whose_last_tasks_end_at_once_settles_once(
    store: PlanStore, database: Database, database_url: str, plan_type: str
) -> None:
    plan = await plan_of(store, plan_type=plan_type)
    tasks = [await task_of(store, plan, sequence_order=1) for _ in range(2)]

    async with behind_plan(database_url, plan.id) as queue:
        for task in tasks:
            await queue.join(moved(store, task, S.COMPLETED))
        await queue.release()

    assert await status_of(store, plan) == P.COMPLETED
    events = [event.event_type for event in await all_events(database)]
    assert events.count("plan.completed") == 1
    assert events[-1] == "plan.completed"


async def test_a_task_that_ends_the_gate_sees_what_was_just_added_beyond(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    last_at_gate = await task_of(store, plan, sequence_order=1)
    await task_of(store, plan, sequence_order=3)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(task_of(store, plan, sequence_order=2))
        await queue.join(moved(store, last_at_gate, S.COMPLETED))
        await queue.release()

    assert (await store.get_plan(plan.id)).current_step == 2


async def test_a_task_that_ends_the_gate_sees_what_just_ended_beyond(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    last_at_gate = await task_of(store, plan, sequence_order=1)
    beyond = await task_of(store, plan, sequence_order=2)
    await task_of(store, plan, sequence_order=3)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(moved(store, beyond, S.SKIPPED))
        await queue.join(moved(store, last_at_gate, S.COMPLETED))
        await queue.release()

    assert (await store.get_plan(plan.id)).current_step == 3


async def test_a_task_added_after_the_gate_moved_has_its_turn(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    last_at_gate = await task_of(store, plan, sequence_order=1)
    await task_of(store, plan, sequence_order=2)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(moved(store, last_at_gate, S.COMPLETED))
        added = await queue.join(task_of(store, plan, sequence_order=2))
        await queue.release()

    assert (await added).sequence_order == 2
    assert (await store.get_plan(plan.id)).current_step == 2


async def test_a_task_added_before_the_gate_sees_what_just_started_there(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    at_gate = [await task_of(store, plan, sequence_order=2) for _ in range(2)]

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(moved(store, at_gate[0], S.RUNNING))
        await queue.join(task_of(store, plan, sequence_order=1))
        await queue.release()

    assert (await store.get_plan(plan.id)).current_step == 1


async def test_a_reset_before_the_gate_sees_what_just_started_there(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    first = await task_of(store, plan, sequence_order=1, status=S.COMPLETED)
    at_gate = [await task_of(store, plan, sequence_order=2) for _ in range(2)]

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(moved(store, at_gate[0], S.RUNNING))
        await queue.join(moved(store, first, S.PENDING))
        await queue.release()

    assert (await store.get_plan(plan.id)).current_step == 1


async def test_a_completion_before_the_close_is_kept(store: PlanStore, database_url: str) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    other = await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(moved(store, task, S.COMPLETED))
        await queue.join(set_to(store, plan, P.CANCELLED))
        await queue.release()

    assert (await store.get_task(task.id)).status == S.COMPLETED
    assert (await store.get_task(other.id)).status == S.SKIPPED
    assert await status_of(store, plan) == P.CANCELLED


async def test_a_completion_after_the_close_finds_its_task_skipped(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(set_to(store, plan, P.CANCELLED))
        late = await queue.join(moved(store, task, S.COMPLETED))
        await queue.release()

    assert "it is skipped; allowed now: reset" in str(late.exception())
    assert (await store.get_task(task.id)).status == S.SKIPPED


async def test_a_start_before_the_close_goes_on(store: PlanStore, database_url: str) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(moved(store, task, S.RUNNING))
        await queue.join(set_to(store, plan, P.FAILED))
        await queue.release()

    assert (await store.get_task(task.id)).status == S.RUNNING
    assert await status_of(store, plan) == P.FAILED


async def test_a_close_skips_what_was_just_added(store: PlanStore, database_url: str) -> None:
    plan = await plan_of(store)

    async with behind_plan(database_url, plan.id) as queue:
        added = await queue.join(task_of(store, plan))
        await queue.join(set_to(store, plan, P.CANCELLED))
        await queue.release()

    assert (await store.get_task((await added).id)).status == S.SKIPPED


async def test_nothing_is_added_behind_a_close(store: PlanStore, database_url: str) -> None:
    plan = await plan_of(store)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(set_to(store, plan, P.COMPLETED))
        late = await queue.join(task_of(store, plan))
        await queue.release()

    assert isinstance(late.exception(), PlanClosed)
    assert await store.list_tasks(plan_id=plan.id) == []


async def test_another_plan_type_sees_what_just_ended(store: PlanStore, database_url: str) -> None:
    plan = await plan_of(store, plan_type="parallel")
    task = await task_of(store, plan)
    await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(moved(store, task, S.FAILED))
        await queue.join(store.update_plan(plan.id, PlanUpdate(plan_type="sequential")))
        await queue.release()

    assert await status_of(store, plan) == P.FAILED


@pytest.mark.parametrize("first", ["status", "order"])
async def test_a_move_and_a_change_of_order_both_take_effect(
    store: PlanStore, database_url: str, first: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, sequence_order=1)
    await task_of(store, plan, sequence_order=2)
    rivals = {
        "status": moved(store, task, S.RUNNING),
        "order": store.update_task(task.id, TaskUpdate(sequence_order=3)),
    }

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(rivals.pop(first))
        await queue.join(rivals.popitem()[1])
        await queue.release()

    after = await store.get_task(task.id)
    assert (after.status, after.sequence_order, after.version) == (S.RUNNING, 3, 3)
    assert (await store.get_plan(plan.id)).current_step == 2


async def test_of_two_results_the_first_stands(
    store: PlanStore, database: Database, database_url: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.RUNNING)

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(moved(store, task, S.COMPLETED, output_data={"by": "first"}))
        late = await queue.join(moved(store, task, S.COMPLETED, output_data={"by": "second"}))
        await queue.release()

    assert isinstance(late.exception(), ResultConflict)
    assert await store.get_task(task.id) == await first
    (kept,) = [e for e in await all_events(database) if e.event_type == "task.result_refused"]
    assert kept.metadata["refused"] == {"verb": "complete", "output_data": {"by": "second"}}


async def test_of_two_changes_of_one_version_the_first_is_taken(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store)
    step = [PlanUpdate(current_step=number) for number in (1, 2)]

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(store.update_plan(plan.id, step[0], expected_version=1))
        late = await queue.join(store.update_plan(plan.id, step[1], expected_version=1))
        await queue.release()

    assert isinstance(late.exception(), VersionMismatch)
    assert await store.get_plan(plan.id) == await first


async def test_many_at_once_miscount_nothing(store: PlanStore) -> None:
    plan = await plan_of(store)
    tasks = [await task_of(store, plan, sequence_order=n % 4) for n in range(12)]

    await asyncio.gather(
        *(moved(store, task, S.COMPLETED) for task in tasks),
        *(task_of(store, plan, sequence_order=n % 6) for n in range(12)),
        *(store.update_task(task.id, TaskUpdate(sequence_order=5)) for task in tasks[::2]),
        *(store.update_plan(plan.id, PlanUpdate(plan_type=kind)) for kind in ("dag", "sequential")),
    )

    assert (await store.get_plan(plan.id)).status == P.ACTIVE
    assert len(await store.list_tasks(plan_id=plan.id)) == 24


async def test_twenty_migrators_apply_each_migration_once(postgres: Postgres) -> None:
    async with postgres.database(template="template0") as url:

        async def one() -> list[int]:
            async with Database.open(url, pool_size=1) as database:
                return [migration.version for migration in await migrate(database)]

        applied = await asyncio.gather(*(one() for _ in range(20)))

    assert sorted(chain.from_iterable(applied)) == [migration.version for migration in known()]
