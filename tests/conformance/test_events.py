"""The log of events by each door, as a list and as a stream."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.models import EventFilter, PlanStatus
from tests.arranging import plan_of, set_to, task_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from planstore.models import LoggedEvent
    from planstore.services.plan_store import PlanStore


async def _first(count: int, stream: AsyncIterable[LoggedEvent]) -> list[LoggedEvent]:
    told: list[LoggedEvent] = []
    async for event in stream:
        told.append(event)
        if len(told) == count:
            break
    return told


async def test_the_log_is_read_on_from_page_to_page(store: PlanStore, library: PlanStore) -> None:
    plan = await plan_of(store, metadata={"text": 'é "\n\u2028 end', "n": [1.5, None, 10**30]})
    for _ in range(4):
        await task_of(store, plan)
    found = EventFilter(plan_id=[plan.id])
    page = await store.list_events(found, limit=2)
    events = [*page]
    while page.next_after is not None:
        page = await store.list_events(found, after=page.next_after, limit=2)
        events += page
    assert (events[0].event_type, len(events)) == ("plan.created", 9)
    whole = await library.list_events(found)
    assert [each.decoded() for each in events] == [each.decoded() for each in whole]
    assert [each.id for each in events] == [each.id for each in whole]
    event = await store.get_event(events[0].id)
    assert event.decoded() == whole[0].decoded()


async def test_a_stream_tells_what_happens_from_now_on(store: PlanStore) -> None:
    plan = await plan_of(store)
    async with store.stream_events(plan_id=plan.id) as stream:
        await task_of(store, plan)
        await set_to(store, plan, PlanStatus.CANCELLED)
        told = await _first(4, stream)
        assert stream.place >= told[-1].seq
    assert {each.event_type for each in told} == {
        "task.created",
        "plan.revised",
        "task.skipped",
        "plan.cancelled",
    }
    assert [each.seq for each in told] == sorted(each.seq for each in told)


async def test_a_stream_goes_on_at_its_place(store: PlanStore) -> None:
    plan = await plan_of(store)
    tasks = [await task_of(store, plan) for _ in range(3)]
    page = await store.list_events(EventFilter(plan_id=[plan.id]), limit=1)
    after = page[0].seq
    told: list[LoggedEvent] = []
    for _ in tasks:
        async with store.stream_events(
            after=after, plan_id=plan.id, event_types=["task.created"], aggregate_types=["task"]
        ) as stream:
            told += await _first(1, stream)
        after = told[-1].seq
    assert [each.aggregate_id for each in told] == [each.id for each in tasks]
