"""Lists of events: what is found, in which order, from where on, and where they end."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError
from pydantic_core import from_json

from planstore.errors import CursorGone, InvalidInput, NotFound
from planstore.models import TaskStatus as S
from planstore.models.event import MAX_PAYLOAD, MAX_SEQ, Event, EventFilter, event_id
from planstore.services import log
from tests.arranging import moved, plan_of, task_of
from tests.history import all_events
from tests.writers import Writer, writing

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.db import Database
    from planstore.models.event import LoggedEvent
    from planstore.services.plan_store import PlanStore


@pytest.fixture
async def writers(database_url: str, store: PlanStore) -> AsyncIterator[list[Writer]]:
    assert store
    async with writing(database_url, 2) as writers:
        yield writers


def wanted(**fields: Any) -> EventFilter:
    return EventFilter.model_validate(fields)


def numbers(events: list[LoggedEvent]) -> list[int]:
    return [event.seq for event in events]


async def found(store: PlanStore, **fields: Any) -> list[LoggedEvent]:
    return await store.list_events(wanted(**fields), limit=1_000)


async def all_pages(store: PlanStore, limit: int, **fields: Any) -> list[list[int]]:
    pages: list[list[int]] = []
    after: int | None = 0
    while after is not None:
        page = await store.list_events(wanted(**fields), after=after, limit=limit)
        pages.append(numbers(page))
        after = page.next_after
    return pages


async def test_events_come_in_the_order_of_their_numbers(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, status=S.COMPLETED)

    events = await store.list_events()

    assert [event.event_type for event in events] == [
        "plan.created",
        "task.created",
        "plan.revised",
        "task.completed",
        "plan.completed",
    ]
    told = await all_events(database)
    assert [(event.seq, event.decoded().payload, event.decoded().metadata) for event in events] == [
        (event.seq, event.payload, event.metadata) for event in told
    ]
    assert events.next_after is None


async def test_a_list_is_cut_into_pages_that_follow_each_other(store: PlanStore) -> None:
    plan = await plan_of(store)
    for _ in range(4):
        await task_of(store, plan)
    every = numbers(await found(store))

    pages = await all_pages(store, 2)

    assert [number for page in pages for number in page] == every
    assert {len(page) for page in pages[:-1]} == {2}
    assert numbers(await store.list_events(limit=3, offset=2)) == every[2:5]
    assert numbers(await store.list_events(after=every[3])) == every[4:]
    assert await store.list_events(after=every[-1]) == []


async def test_each_filter_finds_what_fits_it(store: PlanStore) -> None:
    plan, other = await plan_of(store), await plan_of(store)
    task = await task_of(store, plan, status=S.COMPLETED)
    kept = await task_of(store, other)
    every = await found(store)

    def such(**fields: Any) -> list[int]:
        return numbers(
            [
                event
                for event in every
                if all(getattr(event, name) in values for name, values in fields.items())
            ]
        )

    for fields in (
        {"plan_id": [plan.id]},
        {"plan_id": [plan.id, other.id]},
        {"aggregate_type": ["task"]},
        {"aggregate_id": [task.id]},
        {"aggregate_id": [task.id, kept.id]},
        {"aggregate_id": [plan.id]},
        {"aggregate_id": [task.id, other.id]},
        {"event_type": ["task.created"]},
        {"event_type": ["task.created", "plan.completed"], "plan_id": [plan.id]},
        {"aggregate_type": ["plan"], "plan_id": [other.id]},
    ):
        assert such(**fields)
        assert numbers(await found(store, **fields)) == such(**fields)
    for value in ({"plan_id": uuid4()}, {"aggregate_id": uuid4()}, {"event_type": "task.danced"}):
        assert await found(store, **value) == []
    with pytest.raises(ValidationError):
        wanted(aggregate_type="agent")


async def test_events_of_a_deleted_task_are_found_and_those_of_a_deleted_plan_by_its_id(
    store: PlanStore,
) -> None:
    plan, other = await plan_of(store), await plan_of(store)
    task, of_other = await task_of(store, plan), await task_of(store, other)
    await store.delete_task(task.id)
    await store.delete_plan(other.id)

    assert [event.event_type for event in await found(store, aggregate_id=task.id)] == [
        "task.created",
        "task.deleted",
    ]
    assert [event.event_type for event in await found(store, aggregate_id=other.id)] == [
        "plan.created",
        "plan.revised",
        "plan.deleted",
    ]
    assert await found(store, aggregate_id=of_other.id) == []
    (created,) = await found(store, aggregate_id=of_other.id, plan_id=other.id)
    assert created.event_type == "task.created"


async def test_events_are_found_by_the_time_at_which_they_were_made(
    store: PlanStore, database: Database, writers: list[Writer]
) -> None:
    await writers[0].write(3_000)
    await writers[0].end()
    async with database.connection() as conn:
        # One a minute, up to now.
        await conn.execute(
            "update planstore.events set created_at = now() - (3000 - seq) * interval '1 min'"
        )
    every = await all_events(database)
    since, until = every[1_000].created_at, every[1_010].created_at

    middle = await found(store, created_after=since, created_before=until)

    assert numbers(middle) == [event.seq for event in every[1_000:1_010]]
    assert numbers(await found(store, created_after=every[-2].created_at)) == [
        event.seq for event in every[-2:]
    ]
    before = await store.list_events(wanted(created_before=every[2].created_at))
    assert (numbers(before), before.next_after) == ([1, 2], None)
    assert await found(store, created_after=every[-1].created_at + timedelta(seconds=1)) == []
    assert await found(store, created_before="0002-01-01T00:00:00") == []
    assert len(await found(store, created_after="0002-01-01T00:00:00")) == 1_000


async def test_a_page_ends_after_so_many_others_and_the_next_one_goes_on(
    store: PlanStore, writers: list[Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_LOOKED_AT", 10)
    plan_id = uuid4()
    rare: list[int] = []
    for _ in range(3):
        await writers[0].write(14, plan_id=plan_id)
        rare += await writers[0].write(1, plan_id=plan_id, event_type="task.failed")
    await writers[0].end()

    for fields in ({}, {"plan_id": [plan_id]}, {"plan_id": [plan_id, uuid4()]}):
        pages = await all_pages(store, 5, event_type="task.failed", **fields)
        assert [number for page in pages for number in page] == rare
        assert [] in pages
        passed = await store.list_events(
            wanted(event_type="task.failed", **fields), limit=5, offset=2
        )
        while not passed:
            assert passed.next_after is not None
            passed = await store.list_events(
                wanted(event_type="task.failed", **fields),
                after=passed.next_after,
                offset=passed.next_offset,
            )
        assert numbers(passed) == rare[2:]
    assert len(await all_pages(store, 100)) == 1


async def test_a_page_has_only_so_many_bytes(
    store: PlanStore, writers: list[Writer], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_MOST_BYTES", 1_000)
    for _ in range(5):
        await writers[0].write(1, payload=f'"{"ä" * 300}"')
    written = await writers[0].end()

    pages = await all_pages(store, 100)

    assert [number for page in pages for number in page] == written
    assert [len(page) for page in pages if page] == [2, 2, 1]


async def test_a_list_shows_nothing_before_which_something_may_still_come(
    store: PlanStore, writers: list[Writer]
) -> None:
    slow, fast = writers
    await fast.write(2)
    first = await fast.end()
    await store.watch_log()
    await slow.write(1)
    await fast.write(1)
    await fast.end()

    assert numbers(await store.list_events()) == first

    early = await slow.end()
    assert numbers(await store.list_events(after=first[-1])) == [*early, early[0] + 1]


async def test_a_list_goes_as_far_as_nothing_is_missing_while_one_writes_for_long(
    database_url: str, elsewhere: PlanStore, writers: list[Writer]
) -> None:
    slow, fast = writers
    await slow.write(1)
    await slow.end(commit=False)
    await fast.write(2)
    known = await fast.end()
    await fast.write(2)
    more = await fast.end()
    await slow.write(1)
    await fast.write(1)
    await fast.end()

    # This store has never seen the log without a writer.
    assert numbers(await elsewhere.list_events()) == []
    assert numbers(await elsewhere.list_events(after=known[-1])) == more


async def test_an_event_is_got_by_its_id(store: PlanStore) -> None:
    await plan_of(store)
    (event,) = await store.list_events()

    assert await store.get_event(event.id) == event

    for other in (
        event_id(event.seq + 1, event.created_at),
        event_id(event.seq, event.created_at + timedelta(milliseconds=1)),
        event_id(MAX_SEQ, event.created_at),
        UUID(int=2**128 - 1),
        uuid4(),
    ):
        with pytest.raises(NotFound, match=str(other)):
            await store.get_event(other)


async def test_a_large_payload_is_told_by_a_link_and_got_by_the_id(
    store: PlanStore, writers: list[Writer]
) -> None:
    payload = f'{{"text":"{"x" * MAX_PAYLOAD}"}}'
    await writers[0].write(1, payload=payload)
    await writers[0].end()

    (event,) = await store.list_events()

    told = event.decoded()
    assert (told.payload, told.payload_link) == (None, f"/events/{event.id}")
    whole = await store.get_event(event.id)
    assert (whole.payload, whole.payload_link) == (payload, None)
    assert whole.decoded().payload == {"text": "x" * MAX_PAYLOAD}


async def test_the_json_of_an_event_is_that_of_its_model(store: PlanStore) -> None:
    plan = await plan_of(store, steps=[{"do": 'say "ä\u2028\n"'}])
    await moved(store, await task_of(store, plan), S.COMPLETED, output_data={"a": [1.5, None]})

    for event in await store.list_events():
        assert Event.model_validate_json(event.decoded().model_dump_json()) == event.decoded()
        assert from_json(event.decoded().model_dump_json()) == from_json(event.json)
        assert list(event.decoded().model_dump()) == list(Event.model_fields)


async def test_a_window_out_of_range_and_a_place_that_never_was_are_refused(
    store: PlanStore,
) -> None:
    with pytest.raises(InvalidInput):
        await store.list_events(limit=0)
    with pytest.raises(InvalidInput):
        await store.list_events(offset=-1)
    with pytest.raises(CursorGone, match="has only come to 0"):
        await store.list_events(after=1)
