"""Following the log while others write: nothing skipped, nothing twice, in order."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planstore.models.event import MAX_PAYLOAD
from planstore.services.tailing import Follower, Horizon
from tests.writers import Writer, writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.db import Database
    from planstore.models.event import LoggedEvent

_WRITERS: Final = 4


@pytest.fixture
async def writers(database_url: str, database: Database) -> AsyncIterator[list[Writer]]:
    assert database
    async with writing(database_url, _WRITERS) as writers:
        yield writers


def numbers(events: list[LoggedEvent]) -> list[int]:
    return [event.seq for event in events]


async def all_told(follower: Follower, *, limit: int = 1_000) -> list[int]:
    """All that is told until nothing more comes."""
    told: list[int] = []
    while more := await follower.next(limit=limit):
        told += numbers(more)
    return told


async def test_what_is_committed_later_with_a_lower_number_is_waited_for(
    database: Database, writers: list[Writer]
) -> None:
    slow, fast, *_ = writers
    follower = Follower(database, place=0)
    await slow.write(1)
    await fast.write(1)
    (late,) = await fast.end(commit=True)
    assert await all_told(follower) == []
    (early,) = await slow.end(commit=True)
    assert early < late
    assert await all_told(follower) == [early, late]


async def test_what_was_given_up_is_passed(database: Database, writers: list[Writer]) -> None:
    slow, fast, *_ = writers
    follower = Follower(database, place=0)
    await slow.write(3)
    await fast.write(1)
    kept = await fast.end(commit=True)
    assert await all_told(follower) == []
    await slow.end(commit=False)
    assert await all_told(follower) == kept


async def test_who_begins_to_write_later_holds_nobody_up(
    database: Database, writers: list[Writer]
) -> None:
    slow, fast, later, *_ = writers
    follower = Follower(database, place=0)
    await slow.write(1)
    await fast.write(1)
    kept = await fast.end(commit=True)
    assert await all_told(follower) == []
    await later.write(1)
    await slow.end(commit=False)
    assert await all_told(follower) == kept
    assert await all_told(follower) == []
    assert await later.end(commit=True) == await all_told(follower)


async def test_who_only_reads_or_writes_elsewhere_holds_nobody_up(
    database: Database, writers: list[Writer]
) -> None:
    slow, fast, reader, *_ = writers
    async with reader.conn.transaction():
        await reader.conn.execute("select count(*) from planstore.events")
        await reader.conn.execute("create temporary table other (n int)")
        follower = Follower(database, place=0)
        await slow.write(1)
        await slow.end(commit=False)
        await fast.write(1)
        assert await fast.end(commit=True) == await all_told(follower)


async def test_the_end_is_after_all_who_wrote_before(
    database: Database, writers: list[Writer]
) -> None:
    first, second, *_ = writers
    await first.write(1)
    await first.end(commit=True)
    follower = await Follower.at_end(database)
    assert await all_told(follower) == []
    await second.write(2)
    assert await second.end(commit=True) == await all_told(follower)


async def test_as_little_is_read_at_a_time_as_large_events_allow(
    database: Database, writers: list[Writer]
) -> None:
    writer, *_ = writers
    large = f'{{"text": "{"x" * 200_000}"}}'
    for _ in range(50):
        await writer.write(1, payload=large)
    written = await writer.end()
    follower = Follower(database, place=0)
    first = await follower.next()
    assert 4 * 1024 * 1024 // len(large) <= len(first) < len(written)
    assert numbers(first) + await all_told(follower) == written


async def test_what_is_too_large_is_told_without_its_payload(
    database: Database, writers: list[Writer]
) -> None:
    writer, *_ = writers
    for length in (MAX_PAYLOAD, MAX_PAYLOAD + 1, 10 * MAX_PAYLOAD):
        await writer.write(1, payload=f'"{"x" * (length - 2)}"')
    await writer.end()
    events = await Follower(database, place=0).next()
    assert [event.payload is None for event in events] == [False, True, True]
    assert [event.payload_link for event in events] == [
        None,
        f"/events/{events[1].id}",
        f"/events/{events[2].id}",
    ]


async def test_the_horizon_is_the_last_number_once_all_who_wrote_have_ended(
    database: Database, writers: list[Writer]
) -> None:
    slow, fast, *_ = writers
    horizon = Horizon(database)
    assert await horizon.reach(patience=0)
    assert horizon.place == horizon.drawn == 0
    await slow.write(1)
    await fast.write(2)
    (_, last) = await fast.end()
    assert not await horizon.reach(patience=0)
    assert (horizon.place, horizon.drawn) == (0, last)
    await slow.end(commit=False)
    assert await horizon.reach(patience=0)
    assert horizon.place == last


async def test_nothing_is_known_of_the_horizon_while_somebody_writes_from_the_beginning(
    database: Database, writers: list[Writer]
) -> None:
    slow, fast, *_ = writers
    await fast.write(3)
    *_, last = await fast.end()
    await slow.write(1)
    await fast.write(1)
    await fast.end()
    horizon = Horizon(database)
    assert not await horizon.reach(patience=0.01)
    assert horizon.place is None
    assert await horizon.unbroken(1) == last
    assert horizon.place is None


_STEPS: Final = st.lists(
    st.one_of(
        st.tuples(st.just("write"), st.integers(0, _WRITERS - 1), st.integers(1, 3)),
        st.tuples(st.just("commit"), st.integers(0, _WRITERS - 1), st.just(0)),
        st.tuples(st.just("rollback"), st.integers(0, _WRITERS - 1), st.just(0)),
        st.tuples(st.just("read"), st.just(0), st.integers(1, 4)),
    ),
    max_size=40,
)


# The log goes on from one example to the next, and each follows it from where it begins.
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=_STEPS)
async def test_however_writers_interleave_each_event_is_told_once_in_order(
    database: Database, writers: list[Writer], steps: list[tuple[str, int, int]]
) -> None:
    follower = await Follower.at_end(database)
    committed: list[int] = []
    told: list[int] = []
    for what, who, count in steps:
        match what:
            case "write":
                await writers[who].write(count)
            case "read":
                told += numbers(await follower.next(limit=count))
            case _:
                committed += await writers[who].end(commit=what == "commit")
        assert told == sorted(told)
        assert set(told) <= set(committed)
    for writer in writers:
        committed += await writer.end(commit=True)
    told += await all_told(follower, limit=2)
    assert told == sorted(committed)
