"""What handlers are given, and what becomes of what they return and raise."""

from __future__ import annotations

import asyncio
import threading
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
from pydantic import BaseModel

from planstore.models import TaskStatus as S
from planstore.worker import Context, Permanent, Retry, Worker
from tests.arranging import moved, plan_of, task_of
from tests.worker import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from structlog.typing import EventDict

    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore
    from tests.worker.conftest import Working


async def test_an_async_handler_is_given_the_packet_and_returns_the_output(
    store: PlanStore, working: Working
) -> None:
    plan = await plan_of(store)
    read = await task_of(store, plan, name="read")
    task = await task_of(
        store, plan, depends_on=["read"], task_type="write", input_data={"pages": "{{read.pages}}"}
    )
    await moved(store, read, S.COMPLETED, output_data={"pages": 7})
    worker = Worker()

    @worker.task("write")
    async def write(packet: WorkPacket) -> dict[str, Any]:
        assert packet.dependencies[0].name == "read"
        return {"given": packet.resolved_input, "attempt": packet.attempt}

    async with working(worker):
        done = await until.task_is(store, task.id, S.COMPLETED)
    assert done.output_data == {"given": {"pages": 7}, "attempt": 1}
    assert done.worker_id == worker.name
    assert worker.tally.completed == 1


async def test_a_handler_that_is_not_async_runs_in_a_thread_of_its_own(
    store: PlanStore, working: Working
) -> None:
    plan = await plan_of(store, plan_type="parallel")
    tasks = [await task_of(store, plan) for _ in range(3)]
    worker = Worker(concurrency=3)
    together = threading.Barrier(3)

    @worker.task()
    def meet(packet: WorkPacket, context: Context) -> dict[str, Any]:
        together.wait(until.PATIENCE)
        return {"thread": threading.current_thread().name, "stop": context.should_stop}

    async with working(worker):
        done = [await until.task_is(store, each.id, S.COMPLETED) for each in tasks]
    outputs = [each.output_data for each in done]
    assert len({each["thread"] for each in outputs if each}) == 3
    assert not any(each["stop"] for each in outputs if each)


def returning(value: Any) -> Callable[[WorkPacket], Any]:
    """A handler that returns the same, whatever it is given."""

    def handle(packet: WorkPacket) -> Any:
        return value

    return handle


class Report(BaseModel):
    words: int
    parts: tuple[str, ...] = ("a",)


@pytest.mark.parametrize(
    ("returned", "output"),
    [
        (None, None),
        ({}, {}),
        ({"n": [1, {"x": None}]}, {"n": [1, {"x": None}]}),
        (Report(words=3), {"words": 3, "parts": ["a"]}),
    ],
)
async def test_what_a_handler_returns_is_the_output(
    store: PlanStore, working: Working, returned: Any, output: Any
) -> None:
    task = await task_of(store, await plan_of(store))
    worker = Worker()
    worker.task()(returning(returned))
    async with working(worker):
        done = await until.task_is(store, task.id, S.COMPLETED)
    assert done.output_data == output


@pytest.mark.parametrize(
    ("returned", "says"),
    [
        (3, "a task's output is an object"),
        ({"made": object()}, "can't be written as JSON"),
        ({"share": float("nan")}, "a number must be finite"),
        ({"text": "\x00"}, "U+0000"),
    ],
)
async def test_what_can_not_be_an_output_is_a_failure_that_says_so(
    store: PlanStore, working: Working, returned: Any, says: str
) -> None:
    task = await task_of(store, await plan_of(store))
    worker = Worker()
    worker.task()(returning(returned))
    async with working(worker):
        failed = await until.task_is(store, task.id, S.FAILED)
    assert isinstance(failed.error, dict)
    assert says in failed.error["message"]
    assert failed.attempt == 1


async def test_a_handler_that_raises_is_tried_again_and_the_error_is_told(
    store: PlanStore, working: Working
) -> None:
    policy = {"max_retries": 1, "initial_delay_sec": 0}
    task = await task_of(store, await plan_of(store), retry_policy=policy)
    worker = Worker()
    told: list[Any] = []

    @worker.task()
    async def stumble(packet: WorkPacket) -> None:
        told.extend(each.error for each in packet.previous_attempts)
        raise ValueError(f"at run {packet.attempt}")

    async with working(worker):
        failed = await until.task_is(store, task.id, S.FAILED)
    assert told == [{"type": "ValueError", "message": "at run 1"}]
    assert failed.error == {"type": "ValueError", "message": "at run 2"}
    assert (worker.tally.retried, worker.tally.failed) == (1, 1)


async def test_the_log_says_where_a_handler_failed_but_not_what_it_was_given(
    store: PlanStore, working: Working, logged: list[EventDict]
) -> None:
    policy = {"max_retries": 0}
    secret = {"password": "hunter2"}
    task = await task_of(store, await plan_of(store), retry_policy=policy, input_data=secret)
    worker = Worker()

    @worker.task()
    async def stumble(packet: WorkPacket) -> None:
        raise ValueError(f"at run {packet.attempt}")

    async with working(worker):
        await until.task_is(store, task.id, S.FAILED)
    (line,) = [each for each in logged if each["event"] == "run_failed"]
    # An error itself would have been written with the values of all variables, as structlog comes.
    assert "in stumble" in line["exception"]
    assert line["exception"].endswith("ValueError: at run 1")
    assert "exc_info" not in line
    assert "hunter2" not in str(line)


@pytest.mark.parametrize("error", [SystemExit(3), StopIteration(), Permanent("\x00\ud800")])
async def test_whatever_a_handler_raises_the_worker_goes_on(
    store: PlanStore, working: Working, error: BaseException
) -> None:
    plan = await plan_of(store, plan_type="parallel")
    bad, good = [
        await task_of(store, plan, name=each, priority=p) for each, p in (("bad", 1), ("good", 0))
    ]
    worker = Worker(concurrency=1)

    @worker.task()
    def carry_out(packet: WorkPacket) -> None:
        if packet.name == "bad" and packet.attempt == 1:
            raise error

    async with working(worker):
        await until.task_is(store, good.id, S.COMPLETED)
    assert (await store.list_attempts(bad.id))[0].error is not None


async def test_permanent_is_not_tried_again_and_retry_sets_the_delay(
    store: PlanStore, working: Working
) -> None:
    plan = await plan_of(store, plan_type="parallel")
    hopeless, early = [await task_of(store, plan, name=each) for each in ("hopeless", "early")]
    worker = Worker()

    @worker.task()
    async def carry_out(packet: WorkPacket) -> None:
        if packet.name == "hopeless":
            raise Permanent("there is no such file")
        if packet.attempt == 1:
            raise Retry("not there yet", after=0)

    async with working(worker):
        failed = await until.task_is(store, hopeless.id, S.FAILED)
        await until.task_is(store, early.id, S.COMPLETED)
    assert failed.error == {"type": "Permanent", "message": "there is no such file"}
    first, _ = await store.list_attempts(early.id)
    assert first.error == {"type": "Retry", "message": "not there yet"}


async def test_a_worker_takes_the_tasks_that_it_has_handlers_for(
    store: PlanStore, working: Working
) -> None:
    plan = await plan_of(store, plan_type="parallel")
    other = await task_of(store, plan, task_type="other", priority=1)
    mine = await task_of(store, plan, task_type="mine")
    worker = Worker()
    worker.task("mine")(returning(None))
    async with working(worker):
        await until.task_is(store, mine.id, S.COMPLETED)
    assert (await store.get_task(other.id)).status == S.PENDING


def test_a_handler_is_looked_at_when_it_is_registered() -> None:
    worker = Worker()
    handle = returning(None)
    worker.task("a")(handle)
    with pytest.raises(ValueError, match="type 'a' already"):
        worker.task("a")(handle)
    worker.task()(partial(handle))
    with pytest.raises(ValueError, match="any type already"):
        worker.task()(handle)
    with pytest.raises(TypeError, match="the work packet"):
        worker.task("b")(lambda: None)


async def test_a_worker_without_a_handler_does_not_begin(database_url: str) -> None:
    with pytest.raises(RuntimeError, match="no handler"):
        await asyncio.wait_for(Worker().work(database_url), until.PATIENCE)
