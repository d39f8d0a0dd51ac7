"""A worker that is told to stop ends in order, and leaves no task in the air."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

from planstore.models import TaskStatus as S
from planstore.worker import Context, StopReason, Worker
from tests.arranging import plan_of, task_of
from tests.worker import until

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from structlog.typing import EventDict

    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore
    from tests.worker.conftest import Working


async def test_what_runs_is_finished_and_what_has_not_begun_is_given_back(
    store: PlanStore, working: Working
) -> None:
    plan = await plan_of(store, plan_type="parallel")
    first, *others = [await task_of(store, plan) for _ in range(4)]
    worker = Worker(concurrency=1, claim_ahead=2)
    begun, may_end = asyncio.Event(), asyncio.Event()

    @worker.task()
    async def wait(packet: WorkPacket) -> None:
        begun.set()
        await may_end.wait()

    async with working(worker):
        await begun.wait()
        worker.stop()
        for each in others:
            await until.task_is(store, each.id, S.PENDING)
        may_end.set()
    assert (await store.get_task(first.id)).status == S.COMPLETED
    assert [(await store.get_task(each.id)).status for each in others] == [S.PENDING] * 3
    outcomes = [each.outcome for task in others for each in await store.list_attempts(task.id)]
    assert set(outcomes) <= {"released"}
    assert worker.tally.completed == 1


@pytest.mark.parametrize("side_effects", ["idempotent", "once"])
async def test_what_takes_longer_than_the_grace_is_stopped_and_given_back(
    store: PlanStore, working: Working, side_effects: str
) -> None:
    task = await task_of(store, await plan_of(store), side_effects=side_effects)
    worker = Worker(grace_seconds=0.5)
    begun, reasons = asyncio.Event(), list[StopReason | None]()

    @worker.task()
    async def wait(packet: WorkPacket, context: Context) -> None:
        begun.set()
        try:
            await asyncio.Event().wait()
        finally:
            reasons.append(context.stop_reason)

    async with working(worker):
        await begun.wait()
    assert reasons == [StopReason.SHUTDOWN]
    after = await store.get_task(task.id)
    if side_effects == "idempotent":
        assert after.status == S.PENDING
        assert [each.outcome for each in await store.list_attempts(task.id)] == ["released"]
    else:  # it may have done by then what must not be done twice
        assert after.status == S.FAILED
        assert isinstance(after.error, dict)
        assert after.error["type"] == "Interrupted"


async def test_a_second_stop_does_not_wait(store: PlanStore, working: Working) -> None:
    task = await task_of(store, await plan_of(store))
    worker = Worker(grace_seconds=10 * until.PATIENCE)
    begun = asyncio.Event()

    @worker.task()
    async def wait(packet: WorkPacket) -> None:
        begun.set()
        await asyncio.Event().wait()

    async with working(worker) as ends:
        await begun.wait()
        worker.stop()
        worker.stop()
        await asyncio.wait_for(ends, until.PATIENCE)
    assert (await store.get_task(task.id)).status == S.PENDING


async def test_cancelling_the_work_gives_the_tasks_back(
    store: PlanStore, database_url: str
) -> None:
    task = await task_of(store, await plan_of(store))
    worker = Worker(grace_seconds=10)
    begun = asyncio.Event()

    @worker.task()
    async def wait(packet: WorkPacket) -> None:
        begun.set()
        await asyncio.Event().wait()

    work = asyncio.create_task(worker.work(database_url))
    await begun.wait()
    work.cancel()
    with pytest.raises(asyncio.CancelledError):
        await work
    assert (await store.get_task(task.id)).status == S.PENDING


async def test_a_thread_that_does_not_stop_holds_nobody_up(
    store: PlanStore, working: Working, logged: list[EventDict]
) -> None:
    task = await task_of(store, await plan_of(store))
    worker = Worker(grace_seconds=0.5)
    begun, may_end = threading.Event(), threading.Event()

    @worker.task()
    def wait(packet: WorkPacket) -> dict[str, Any]:
        begun.set()
        may_end.wait(until.PATIENCE)
        return {"too": "late"}

    async with working(worker):
        await asyncio.to_thread(begun.wait, until.PATIENCE)
    may_end.set()
    assert "handler_does_not_stop" in {each["event"] for each in logged}
    after = await store.get_task(task.id)
    assert (after.status, after.output_data) == (S.PENDING, None)


async def test_a_stop_while_the_store_is_being_opened_is_heeded(
    store: PlanStore,
) -> None:
    task = await task_of(store, await plan_of(store))
    worker = Worker()
    begun, may_end = asyncio.Event(), asyncio.Event()

    @asynccontextmanager
    async def opening() -> AsyncGenerator[PlanStore]:
        begun.set()
        await may_end.wait()
        yield store

    @worker.task()
    async def carry_out(packet: WorkPacket) -> None: ...

    work = asyncio.create_task(worker.work(opening))
    await begun.wait()
    worker.stop()
    may_end.set()
    await asyncio.wait_for(work, until.PATIENCE)
    assert (await store.get_task(task.id)).status == S.PENDING
