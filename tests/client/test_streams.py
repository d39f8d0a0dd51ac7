"""Streams whose connections are lost: each event comes once, and in order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, cast

import pytest

from planstore.client import AsyncPlanStoreClient, PlanStoreClient
from planstore.errors import Unavailable
from planstore.models import EventFilter
from tests.arranging import plan_of, task_of
from tests.conformance.in_thread import InThread

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.services.plan_store import PlanStore
    from tests.client.proxy import Proxy


@pytest.fixture(params=[AsyncPlanStoreClient, PlanStoreClient])
async def store(request: pytest.FixtureRequest, proxy: Proxy) -> AsyncIterator[PlanStore]:
    """A client of either kind."""
    if request.param is AsyncPlanStoreClient:
        async with AsyncPlanStoreClient.open(proxy.url) as client:
            yield cast("PlanStore", client)
    else:
        with PlanStoreClient.open(proxy.url) as client:
            yield cast("PlanStore", InThread(client))


async def test_each_event_comes_once_however_often_the_connection_is_cut(
    store: PlanStore, library: PlanStore, proxy: Proxy
) -> None:
    plan = await plan_of(library)
    told: list[int] = []
    async with store.stream_events(plan_id=plan.id) as stream:
        for number in range(12):
            await task_of(library, plan)
            if number % 3 == 0:
                proxy.cut()
        async for event in stream:
            told.append(event.seq)
            if len(told) % 5 == 0:
                proxy.cut()
            if len(told) == 24:
                break
    logged = await library.list_events(EventFilter(plan_id=[plan.id]))
    assert told == [event.seq for event in logged][1:]


async def test_nothing_is_missed_that_happens_before_the_first_event_was_told(
    store: PlanStore, library: PlanStore, proxy: Proxy
) -> None:
    plan = await plan_of(library)
    async with store.stream_events(plan_id=plan.id) as stream:
        proxy.cut()
        task = await task_of(library, plan)
        async for event in stream:
            assert event.aggregate_id == task.id
            break


async def test_a_stream_whose_server_is_away_for_long_can_be_gone_on_with(
    library: PlanStore, proxy: Proxy
) -> None:
    plan = await plan_of(library)
    async with (
        AsyncPlanStoreClient.open(proxy.url, retry_for=0) as store,
        store.stream_events(plan_id=plan.id) as stream,
    ):
        proxy.cut()
        with pytest.raises(Unavailable):
            await anext(stream)
        task = await task_of(library, plan)
        assert (await anext(stream)).aggregate_id == task.id


async def test_who_stops_waiting_for_an_event_can_wait_again(
    library: PlanStore, proxy: Proxy
) -> None:
    plan = await plan_of(library)
    async with (
        AsyncPlanStoreClient.open(proxy.url) as store,
        store.stream_events(plan_id=plan.id) as stream,
    ):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.05):
                await anext(stream)
        task = await task_of(library, plan)
        assert (await anext(stream)).aggregate_id == task.id
