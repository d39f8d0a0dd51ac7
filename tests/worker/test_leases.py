"""Claims are kept while handlers run, and runs that are no longer wanted end."""

from __future__ import annotations

import asyncio
import threading
import time
from typing import TYPE_CHECKING

from planstore.errors import Unavailable
from planstore.models import EventFilter
from planstore.models import TaskStatus as S
from planstore.services.plan_store import PlanStore
from planstore.worker import Context, StopReason, Worker
from tests.arranging import moved, plan_of, task_of
from tests.worker import until

if TYPE_CHECKING:
    import pytest
    from structlog.typing import EventDict

    from planstore.models.claim import Heartbeat, HeartbeatAnswer, WorkPacket
    from tests.worker.conftest import Working

LEASE = 1.0


async def test_a_handler_that_blocks_the_loop_longer_than_the_lease_keeps_its_claim(
    store: PlanStore, working: Working
) -> None:
    task = await task_of(store, await plan_of(store))
    worker = Worker(lease_seconds=LEASE)

    @worker.task()
    async def block(packet: WorkPacket) -> None:
        time.sleep(2.5 * LEASE)  # noqa: ASYNC251 - no other thread's doing may depend on this loop

    async with working(worker):
        done = await until.task_is(store, task.id, S.COMPLETED)
    assert done.attempt == 1
    assert worker.tally.completed == 1


async def test_a_claim_that_is_lost_cancels_the_handler_and_nothing_is_reported(
    store: PlanStore, working: Working, logged: list[EventDict]
) -> None:
    task = await task_of(store, await plan_of(store))
    worker = Worker(lease_seconds=LEASE)
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
        await moved(store, task, S.BLOCKED)

        async def is_lost() -> bool:
            return worker.tally.lost == 1

        await until.so(is_lost)
    assert reasons == [StopReason.LOST]
    assert [each["task_id"] for each in logged if each["event"] == "claim_lost"] == [str(task.id)]
    assert (await store.get_task(task.id)).status == S.BLOCKED
    assert (worker.tally.refused, worker.tally.released) == (0, 0)


async def test_a_late_result_is_refused_and_kept_and_the_worker_goes_on(
    store: PlanStore, working: Working, logged: list[EventDict]
) -> None:
    plan = await plan_of(store, plan_type="parallel")
    task = await task_of(store, plan)
    worker = Worker(lease_seconds=60)
    begun, may_end = asyncio.Event(), asyncio.Event()

    @worker.task()
    async def wait(packet: WorkPacket) -> dict[str, int]:
        begun.set()
        await may_end.wait()
        return {"attempt": packet.attempt}

    async with working(worker):
        await begun.wait()
        await moved(store, task, S.COMPLETED, output_data={"by": "hand"})
        may_end.set()
        another = await task_of(store, plan)
        await until.task_is(store, another.id, S.COMPLETED)
    assert (await store.get_task(task.id)).output_data == {"by": "hand"}
    (refused,) = [each for each in logged if each["event"] == "report_refused"]
    assert (refused["code"], refused["task_id"]) == ("stale_claim", str(task.id))
    (kept,) = await store.list_events(EventFilter(event_type=["task.result_refused"]))
    assert kept.aggregate_id == task.id
    assert worker.tally.refused == 1


async def test_handlers_of_a_closed_plan_are_stopped_and_what_they_still_return_is_taken(
    store: PlanStore, working: Working
) -> None:
    plan = await plan_of(store, plan_type="parallel")
    heeding, cancelled, returning = [
        await task_of(store, plan, task_type=each) for each in ("heeding", "cancelled", "returning")
    ]
    worker = Worker(lease_seconds=LEASE)
    begun = threading.Barrier(4)

    @worker.task("heeding")
    def heed(packet: WorkPacket, context: Context) -> None:
        begun.wait(until.PATIENCE)
        deadline = time.monotonic() + until.PATIENCE
        while time.monotonic() < deadline:
            context.raise_if_stopped()
            time.sleep(0.01)

    @worker.task("cancelled")
    async def wait(packet: WorkPacket, context: Context) -> None:
        await asyncio.to_thread(begun.wait, until.PATIENCE)
        await asyncio.Event().wait()

    @worker.task("returning")
    async def give_what_there_is(packet: WorkPacket, context: Context) -> dict[str, str | None]:
        await asyncio.to_thread(begun.wait, until.PATIENCE)
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            assert context.stop_reason == StopReason.PLAN
        return {"so": "far"}

    async with working(worker):
        await asyncio.to_thread(begun.wait, until.PATIENCE)
        await store.cancel_plan(plan.id)
        kept = await until.task_is(store, returning.id, S.COMPLETED)
        for each in (heeding, cancelled):
            await until.task_is(store, each.id, S.SKIPPED)
    assert kept.output_data == {"so": "far"}
    assert (worker.tally.released, worker.tally.failed) == (2, 0)


async def test_progress_is_shown_while_the_handler_runs(store: PlanStore, working: Working) -> None:
    task = await task_of(store, await plan_of(store))
    worker = Worker(lease_seconds=LEASE)
    may_end = threading.Event()

    @worker.task()
    def report(packet: WorkPacket, context: Context) -> None:
        context.report_progress(1)
        context.report_progress(40, "40 of 100 pages")
        may_end.wait(until.PATIENCE)

    async with working(worker):

        async def is_shown() -> bool:
            return (await store.get_task(task.id)).progress == 40

        await until.so(is_shown)
        may_end.set()
    assert (await store.get_task(task.id)).progress_note == "40 of 100 pages"


async def test_a_lease_that_can_not_be_renewed_stops_the_run_when_it_is_over(
    store: PlanStore, working: Working, monkeypatch: pytest.MonkeyPatch
) -> None:
    await task_of(store, await plan_of(store))
    worker = Worker(lease_seconds=LEASE)
    stopped: asyncio.Queue[StopReason | None] = asyncio.Queue()

    @worker.task()
    async def wait(packet: WorkPacket, context: Context) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            await stopped.put(context.stop_reason)

    async def fail(_store: PlanStore, _heartbeat: Heartbeat) -> HeartbeatAnswer:
        raise Unavailable("the network is down")

    monkeypatch.setattr(PlanStore, "heartbeat", fail)
    async with working(worker):
        async with asyncio.timeout(until.PATIENCE):
            assert await stopped.get() == StopReason.LOST
        worker.stop()
    assert worker.tally.completed == 0
