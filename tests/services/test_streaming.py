"""Streams of events: each once and in order, for as many readers as there are."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planstore.errors import CursorGone, NotFound
from planstore.models import TaskStatus as S
from planstore.services import log, streaming
from tests.arranging import plan_of, task_of
from tests.history import all_events
from tests.rivals import DEADLINE
from tests.writers import Writer, writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.db import Database
    from planstore.models.event import LoggedEvent
    from planstore.services.plan_store import PlanStore
    from planstore.services.streaming import EventStream

_WRITERS: Final = 3


@pytest.fixture
async def writers(database_url: str, store: PlanStore) -> AsyncIterator[list[Writer]]:
    assert store
    async with writing(database_url, _WRITERS) as writers:
        yield writers


async def told(stream: EventStream, count: int) -> list[int]:
    """The numbers of the next events."""
    numbers: list[int] = []
    async with asyncio.timeout(DEADLINE):
        while len(numbers) < count:
            more = await stream.next()
            assert more is not None
            numbers += [event.seq for event in more.events]
    assert len(numbers) == count
    return numbers


async def nothing_more(stream: EventStream, *, beyond: int) -> None:
    """Assert that a stream goes on over all up to ``beyond`` without telling anything."""
    async with asyncio.timeout(DEADLINE):
        while stream.place < beyond:
            more = await stream.next(within=0.05)
            assert more is not None
            assert not more.events


async def joined(*streams: EventStream) -> None:
    """Have streams come as far as what the store reads for all of them."""
    async with asyncio.timeout(DEADLINE):
        for stream in streams:
            while not stream.is_joined:
                await stream.next(within=0.01)


async def last_of(database: Database) -> int:
    return (await all_events(database))[-1].seq


async def test_a_stream_begins_now_and_tells_all_that_is_committed_after_it(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    async with store.stream_events() as stream:
        task = await task_of(store, plan, status=S.COMPLETED)
        events: list[LoggedEvent] = []
        async with asyncio.timeout(DEADLINE):
            async for event in stream:
                events.append(event)
                if event.event_type == "plan.completed":
                    break

    assert [event.event_type for event in events] == [
        "task.created",
        "plan.revised",
        "task.completed",
        "plan.completed",
    ]
    assert events[0].aggregate_id == task.id
    assert stream.place == events[-1].seq


async def test_a_stream_goes_on_after_its_cursor_then_with_what_comes(
    store: PlanStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_BITE", 2)
    plan = await plan_of(store)
    for _ in range(5):
        await task_of(store, plan)
    every = [event.seq for event in await all_events(database)]
    for after in (0, every[0], every[4], every[-1]):
        async with store.stream_events(after=after) as stream:
            left = [number for number in every if number > after]
            assert await told(stream, len(left)) == left
            await task_of(store, plan)
            assert await told(stream, 2) == [every[-1] + 1, every[-1] + 2]
        every += [every[-1] + 1, every[-1] + 2]


async def test_a_stream_tells_of_its_subject_alone_and_its_place_goes_on_even_so(
    store: PlanStore, database: Database
) -> None:
    plan, other = await plan_of(store), await plan_of(store)
    async with AsyncExitStack() as stack:

        async def open_stream(**subject: Any) -> EventStream:
            return await stack.enter_async_context(store.stream_events(after=0, **subject))

        streams = {
            name: await open_stream(**subject)
            for name, subject in {
                "plan": {"plan_id": plan.id},
                "same plan": {"plan_id": plan.id},
                "type": {"event_types": ["task.completed", "plan.created"]},
                "plans": {"aggregate_types": ["plan"]},
                "both": {"plan_id": other.id, "event_types": ["task.completed"]},
            }.items()
        }
        tasks = [await task_of(store, each, status=S.COMPLETED) for each in (plan, other, plan)]
        events = await all_events(database)

        def such(name: str) -> list[int]:
            return [
                event.seq
                for event in events
                if {
                    "plan": event.plan_id == plan.id,
                    "same plan": event.plan_id == plan.id,
                    "type": event.event_type in {"task.completed", "plan.created"},
                    "plans": event.aggregate_type == "plan",
                    "both": event.aggregate_id == tasks[1].id
                    and event.event_type == "task.completed",
                }[name]
            ]

        for name, stream in streams.items():
            assert await told(stream, len(such(name))) == such(name)
            await nothing_more(stream, beyond=events[-1].seq)


async def test_a_stream_of_no_plan_is_refused_and_one_of_a_deleted_plan_is_told_to_its_end(
    store: PlanStore,
) -> None:
    with pytest.raises(NotFound):
        async with store.stream_events(plan_id=uuid4()):
            pass
    plan = await plan_of(store)
    await store.delete_plan(plan.id)
    async with store.stream_events(plan_id=plan.id, after=0) as stream:
        assert len(await told(stream, 2)) == 2


async def test_a_cursor_from_elsewhere_is_refused(store: PlanStore, database: Database) -> None:
    await plan_of(store)
    beyond = await last_of(database) + 1
    with pytest.raises(CursorGone, match=f"has only come to {beyond - 1}"):
        async with store.stream_events(after=beyond):
            pass


async def test_what_another_store_has_told_is_not_told_again(
    store: PlanStore, elsewhere: PlanStore, writers: list[Writer]
) -> None:
    await writers[0].write(5)
    every = await writers[0].end()
    async with store.stream_events(after=0) as stream:
        assert await told(stream, 5) == every
        place = stream.place
    await writers[0].write(2)
    more = await writers[0].end()
    async with elsewhere.stream_events(after=place) as stream:
        assert await told(stream, 2) == more


async def test_a_stream_waits_for_who_writes_for_long(
    store: PlanStore, writers: list[Writer]
) -> None:
    slow, fast, _ = writers
    async with store.stream_events() as stream:
        await slow.write(1)
        await fast.write(1)
        (late,) = await fast.end()
        more = await stream.next(within=0.1)
        assert more is not None
        assert not more.events
        (early,) = await slow.end()
        assert await told(stream, 2) == [early, late]


async def test_streams_open_while_one_writes_that_began_before_the_store_was_there(
    database_url: str, store: PlanStore, writers: list[Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "PATIENCE", 0.01)
    slow, fast, _ = writers
    await slow.write(1)
    async with store.stream_events(after=0) as stream:
        await fast.write(1)
        (late,) = await fast.end()
        more = await stream.next(within=0.05)
        assert more is not None
        assert not more.events
        (early,) = await slow.end()
        assert await told(stream, 2) == [early, late]


async def test_a_reader_who_is_outrun_leaves_the_others_and_misses_nothing(
    store: PlanStore, writers: list[Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MAX_QUEUED", 50)
    async with store.stream_events() as slow, store.stream_events() as quick:
        await joined(slow, quick)
        every: list[int] = []
        for _ in range(10):
            await writers[0].write(20)
            every += await writers[0].end()
            assert await told(quick, 20) == every[-20:]
        assert slow.is_outrun
        assert not quick.is_outrun
        assert not slow.is_joined
        assert await told(slow, 200) == every
        await writers[0].write(1)
        more = await writers[0].end()
        assert await told(slow, 1) == more


async def test_a_queue_has_only_so_many_bytes(
    store: PlanStore, writers: list[Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "MAX_QUEUED_BYTES", 300_000)
    payload = f'"{"x" * 100_000}"'
    async with store.stream_events() as slow, store.stream_events() as quick:
        await joined(slow, quick)
        for _ in range(4):
            await writers[0].write(1, payload=payload)
            await writers[0].end()
            await told(quick, 1)
        assert slow.is_outrun
        assert len(await told(slow, 4)) == 4


async def test_the_end_of_a_store_ends_its_streams(store: PlanStore) -> None:
    async with store.stream_events() as stream, store.stream_events() as other:
        await joined(stream, other)
        waiting = asyncio.create_task(stream.next())
        await other.next(within=0.01)
        store.stop_waiting()
        async with asyncio.timeout(DEADLINE):
            assert await waiting is None
            assert await other.next() is None
        async with store.stream_events(after=0) as late:
            assert await late.next() is None


async def test_a_store_is_listened_to_again_after_nobody_did(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    for _ in range(3):
        async with store.stream_events(after=await last_of(database)) as stream:
            task = await task_of(store, plan)
            assert len(await told(stream, 2)) == 2
        await store.delete_task(task.id)


_STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, _WRITERS - 1), st.integers(1, 30)),
        st.tuples(st.just("commit"), st.integers(0, _WRITERS - 1), st.just(0)),
        st.tuples(st.just("rollback"), st.integers(0, _WRITERS - 1), st.just(0)),
        st.tuples(st.just("read"), st.integers(0, 1), st.just(0)),
        st.tuples(st.just("move"), st.integers(0, 1), st.just(0)),
    ),
    max_size=30,
)


@settings(
    deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=_STEPS)
async def test_however_writers_interleave_and_readers_move_each_event_comes_once_in_order(
    store: PlanStore,
    elsewhere: PlanStore,
    writers: list[Writer],
    steps: list[tuple[str, int, int]],
) -> None:
    """Two readers, who leave and go on after their places, at either store."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(streaming, "MAX_QUEUED", 40)
        patch.setattr(streaming, "_BITE", 10)
        patch.setattr(log, "PATIENCE", 0.0)
        stores = [store, elsewhere]
        at = [0, 1]
        await store.watch_log()
        await elsewhere.watch_log()
        async with AsyncExitStack() as stack:
            streams = [await stack.enter_async_context(each.stream_events()) for each in stores]
            committed: list[int] = []
            read: list[list[int]] = [[], []]
            for what, who, count in steps:
                match what:
                    case "write":
                        await writers[who].write(count)
                    case "read":
                        more = await streams[who].next(within=0.005)
                        assert more is not None
                        read[who] += [event.seq for event in more.events]
                    case "move":
                        streams[who].end()
                        at[who] = 1 - at[who]
                        streams[who] = await stack.enter_async_context(
                            stores[at[who]].stream_events(after=streams[who].place)
                        )
                    case _:
                        committed += await writers[who].end(commit=what == "commit")
            for writer in writers:
                committed += await writer.end()
            for stream, before in zip(streams, read, strict=True):
                left = await told(stream, len(committed) - len(before))
                assert before + left == sorted(committed)
