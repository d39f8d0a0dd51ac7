"""Claims that wait for work: they are answered once there is some, wherever it comes from.

Looking by itself once in a while is taken from them here, so that it must be the word of another
process, or the clock, that wakes them. No test measures time: who isn't woken is caught by the
deadline.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import asyncpg
import pytest

from planstore.models import PlanUpdate, TaskBatch, TaskDraft, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.dependency import DependenciesUpdate
from tests.arranging import moved, plan_of, task_of
from tests.holder import claim, complete, fail, release
from tests.services.weaving import claimed, woven
from tests.time_travel import end_leases

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("nobody_looks_by_itself", "stays_healthy")

DEADLINE: Final = 10.0


async def until(is_so: Callable[[], Awaitable[bool]]) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            if await is_so():
                return
            await asyncio.sleep(0.002)  # between two looks; nothing is ordered by it


async def waiting(
    store: PlanStore, database: Database, worker: str = "w1", **fields: Any
) -> asyncio.Task[list[WorkPacket]]:
    """Have a worker wait for work; returns once it does, and would hear of it."""
    queues = store._wakeups._waiting  # pyright: ignore[reportPrivateUsage] - unseen elsewhere
    before = sum(map(len, queues.values()))
    task = asyncio.create_task(claim(store, worker, wait_seconds=60, **fields))

    async def waits() -> bool:
        async with database.connection() as conn:
            listeners = await conn.fetchval(
                "select count(*) from pg_stat_activity where datname = current_database()"
                " and application_name = 'planstore listener' and state = 'idle'"
            )
        return listeners > 0 and sum(map(len, queues.values())) > before

    await until(waits)
    return task


async def answer_of(task: asyncio.Task[list[WorkPacket]]) -> list[str]:
    async with asyncio.timeout(DEADLINE):
        return [str(packet.name) for packet in await task]


async def test_a_claim_is_answered_when_another_process_adds_a_task(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan = await plan_of(elsewhere)
    waiter = await waiting(store, database)

    await task_of(elsewhere, plan, name="a")

    assert await answer_of(waiter) == ["a"]


async def test_a_claim_is_answered_when_the_same_process_adds_a_task(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    waiter = await waiting(store, database)

    await task_of(store, plan, name="a")

    assert await answer_of(waiter) == ["a"]


class Scene(NamedTuple):
    """A plan with a task that runs and one that needs it, in another process."""

    store: PlanStore
    database: Database
    plan: Plan
    running: WorkPacket
    blocked: Task


async def nothing(_: Scene) -> None:
    """There is nothing to be done before."""


async def add_batch(scene: Scene) -> None:
    batch = TaskBatch(plan_id=scene.plan.id, tasks=[TaskDraft(description="do it")])
    await scene.store.create_tasks(batch)


async def sweep(scene: Scene) -> None:
    await end_leases(scene.database)
    await scene.store.sweep()


async def release_and_pause(scene: Scene) -> None:
    await release(scene.store, scene.running)
    await scene.store.pause_plan(scene.plan.id)


async def limit(scene: Scene) -> None:
    await scene.store.update_plan(scene.plan.id, PlanUpdate(max_parallel_tasks=1))
    await task_of(scene.store, scene.plan)


Act = Callable[[Scene], Awaitable[Any]]

WAYS: Final[dict[str, tuple[Act, Act]]] = {
    "completed": (nothing, lambda at: complete(at.store, at.running)),
    "skipped": (nothing, lambda at: at.store.skip_task(at.running.id)),
    "released": (nothing, lambda at: release(at.store, at.running)),
    "failed": (nothing, lambda at: fail(at.store, at.running, retry_in_seconds=0)),
    "overridden": (nothing, lambda at: moved(at.store, at.running, S.PENDING)),
    "reset": (nothing, lambda at: at.store.reset_task(at.running.id)),
    "swept": (nothing, sweep),
    "unwired": (
        nothing,
        lambda at: at.store.set_dependencies(at.blocked.id, DependenciesUpdate()),
    ),
    "batch": (nothing, add_batch),
    "expanded": (nothing, lambda at: at.store.expand_plan(at.plan.id)),
    "resumed": (release_and_pause, lambda at: at.store.resume_plan(at.plan.id)),
    "retried": (
        lambda at: fail(at.store, at.running, retryable=False),
        lambda at: at.store.retry_task(at.running.id),
    ),
    "unheld": (
        lambda at: moved(at.store, at.running, S.BLOCKED),
        lambda at: moved(at.store, at.running, S.PENDING),
    ),
    "limit raised": (
        limit,
        lambda at: at.store.update_plan(at.plan.id, PlanUpdate(max_parallel_tasks=2)),
    ),
}


async def test_a_claim_is_answered_however_a_task_becomes_ready_elsewhere(
    store: PlanStore, elsewhere: PlanStore, database: Database, subtests: pytest.Subtests
) -> None:
    for way, (before, act) in WAYS.items():
        with subtests.test(way=way):
            plan, tasks = await woven(elsewhere, {"a": [], "b": ["a"]}, steps=[{"action": "x"}])
            running = await claimed(elsewhere, plan)
            scene = Scene(elsewhere, database, plan, running, tasks["b"])
            await before(scene)
            waiter = await waiting(store, database, plan=plan)

            await act(scene)

            assert len(await answer_of(waiter)) == 1


async def test_a_claim_is_answered_when_the_backoff_of_a_retry_is_over(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan, _ = await woven(elsewhere, {"a": []})
    packet = await claimed(elsewhere, plan)
    waiter = await waiting(store, database)

    await fail(elsewhere, packet, retry_in_seconds=0.2)

    assert await answer_of(waiter) == ["a"]


async def test_a_claim_is_answered_when_the_time_of_a_task_has_come(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan = await plan_of(elsewhere)
    waiter = await waiting(store, database)

    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    await task_of(elsewhere, plan, name="a", not_before=soon)

    assert await answer_of(waiter) == ["a"]


async def test_a_time_that_is_known_before_the_wait_is_waited_for(store: PlanStore) -> None:
    plan = await plan_of(store)
    soon = datetime.now(UTC) + timedelta(seconds=0.3)
    await task_of(store, plan, name="a", not_before=soon)
    assert await claim(store) == []

    async with asyncio.timeout(DEADLINE):
        (packet,) = await claim(store, wait_seconds=60)

    assert packet.name == "a"


async def test_of_those_who_wait_each_gets_a_task_of_its_own(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan = await plan_of(elsewhere, plan_type="dag")
    waiters = [
        await waiting(each, database, f"w{number}", limit=1)
        for number, each in enumerate((store, elsewhere) * 3)
    ]

    drafts = [TaskDraft(description="do it", name=name) for name in "abcdef"]
    await elsewhere.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts))

    answers = [name for waiter in waiters for name in await answer_of(waiter)]
    assert sorted(answers) == list("abcdef")


async def test_those_who_ask_for_other_work_go_on_waiting(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan, other = await plan_of(elsewhere), await plan_of(elsewhere)
    of_other = await waiting(store, database, "w1", plan=other)
    of_type = await waiting(store, database, "w2", task_types=["read"])
    of_any = await waiting(store, database, "w3")

    await task_of(elsewhere, plan, name="a")
    assert await answer_of(of_any) == ["a"]
    assert not of_other.done()
    assert not of_type.done()

    await task_of(elsewhere, other, name="b")
    await task_of(elsewhere, await plan_of(elsewhere), name="c", task_type="read")
    assert await answer_of(of_other) == ["b"]
    assert await answer_of(of_type) == ["c"]


async def test_a_claim_that_waited_in_vain_is_answered_with_nothing(store: PlanStore) -> None:
    await plan_of(store)

    assert await claim(store, wait_seconds=0.05) == []


async def test_a_claim_with_work_at_hand_does_not_wait(store: PlanStore) -> None:
    await task_of(store, await plan_of(store))

    async with asyncio.timeout(DEADLINE):
        assert len(await claim(store, wait_seconds=60)) == 1


async def test_whoever_waits_is_answered_when_the_process_ends(
    store: PlanStore, database: Database
) -> None:
    waiter = await waiting(store, database)

    store.stop_waiting()

    assert await answer_of(waiter) == []
    assert await claim(store, wait_seconds=60) == []


async def test_who_leaves_while_waiting_takes_no_task_along(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan = await plan_of(elsewhere)
    leaving = await waiting(store, database, "w1")
    staying = await waiting(store, database, "w2")

    leaving.cancel()
    await asyncio.gather(leaving, return_exceptions=True)
    await task_of(elsewhere, plan, name="a")

    assert await answer_of(staying) == ["a"]


async def test_a_report_may_wait_for_the_next_task(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan, _ = await woven(elsewhere, {"a": []})
    packet = await claimed(elsewhere, plan)
    queues = store._wakeups._waiting  # pyright: ignore[reportPrivateUsage] - unseen elsewhere
    report = asyncio.create_task(
        complete(store, packet, claim_next={"worker_id": "w1", "wait_seconds": 60})
    )

    async def waits() -> bool:
        return bool(queues)

    await until(waits)
    await task_of(elsewhere, plan, name="b")

    async with asyncio.timeout(DEADLINE):
        assert [each.name for each in (await report).tasks] == ["b"]


async def test_hints_are_heard_again_after_the_connection_was_lost(
    store: PlanStore, elsewhere: PlanStore, database: Database, database_url: str
) -> None:
    plan = await plan_of(elsewhere)
    waiter = await waiting(store, database)
    conn = await asyncpg.connect(database_url)
    killed = (
        "select pg_terminate_backend(pid) from pg_stat_activity"
        " where datname = current_database() and application_name = 'planstore listener'"
    )
    assert await conn.fetch(killed)

    await task_of(elsewhere, plan, name="a")

    assert await answer_of(waiter) == ["a"]
    await conn.close()


async def test_the_priority_that_a_task_has_when_it_is_handed_out_counts(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan = await plan_of(elsewhere, plan_type="dag", status="draft")
    low = await task_of(elsewhere, plan, name="low", priority=1)
    await task_of(elsewhere, plan, name="high", priority=2)
    await elsewhere.update_task(low.id, TaskUpdate(priority=3))
    waiter = await waiting(store, database, limit=1)

    await elsewhere.start_plan(plan.id)

    assert await answer_of(waiter) == ["low"]
