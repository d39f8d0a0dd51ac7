"""Answers that never came: what was done isn't done again, and is answered all the same."""

from __future__ import annotations

import asyncio
import re
from typing import TYPE_CHECKING, cast
from uuid import uuid4

import pytest

from planstore.client import AsyncPlanStoreClient, PlanStoreClient
from planstore.errors import NotFound, PlanStoreError, Unavailable
from planstore.models import (
    ClaimRequest,
    Idempotency,
    PlanCreate,
    PlanFilter,
    PlanUpdate,
    TaskFilter,
    TaskStatus,
)
from tests.arranging import plan_of, task_of
from tests.conformance.in_thread import InThread
from tests.holder import claim, complete, fail

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.models import Plan, Task
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


async def _running(library: PlanStore, plan: Plan) -> list[Task]:
    return await library.list_tasks(TaskFilter(status=[TaskStatus.RUNNING]), plan_id=plan.id)


async def test_a_create_makes_one(store: PlanStore, library: PlanStore, proxy: Proxy) -> None:
    label = f"l-{uuid4()}"
    proxy.lost_answers = 2
    plan = await plan_of(store, labels=[label])
    assert await library.list_plans(PlanFilter(label=[label])) == [plan]
    assert (proxy.requests, len(proxy.keys), len(set(proxy.keys))) == (3, 3, 1)
    proxy.lost_answers = 1
    task = await task_of(store, plan)
    assert await library.list_tasks(plan_id=plan.id) == [task]
    assert len(set(proxy.keys)) == 2


async def test_a_claim_hands_out_what_it_handed_out(
    store: PlanStore, library: PlanStore, proxy: Proxy
) -> None:
    plan = await plan_of(library, plan_type="dag")
    for _ in range(5):
        await task_of(library, plan)
    proxy.lost_answers = 1
    packets = await claim(store, plan=plan, limit=2)
    assert [each.attempt for each in packets] == [1, 1]
    assert {each.id for each in await _running(library, plan)} == {each.id for each in packets}


async def test_a_report_is_taken_once_and_hands_out_once(
    store: PlanStore, library: PlanStore, proxy: Proxy
) -> None:
    plan = await plan_of(library, plan_type="dag", retry_policy={"max_retries": 3})
    for _ in range(4):
        await task_of(library, plan)
    first, second = await claim(store, plan=plan, limit=2)
    proxy.lost_answers = 1
    waits = ClaimRequest(worker_id="w1", plan_id=plan.id, wait_seconds=5)
    ended = await complete(store, first, output_data={"n": 1}, claim_next=waits)
    assert len(ended.tasks) == 1
    assert {each.id for each in await _running(library, plan)} == {second.id, ended.tasks[0].id}
    proxy.lost_answers = 1
    await fail(store, second)
    assert len(await library.list_attempts(second.id)) == 1


async def test_a_change_is_not_refused_because_it_was_made(
    store: PlanStore, library: PlanStore, proxy: Proxy
) -> None:
    plan = await plan_of(library)
    proxy.lost_answers = 1
    update = PlanUpdate(metadata={"n": 1})
    plan = await store.update_plan(plan.id, update, expected_version=plan.version)
    assert plan == await library.get_plan(plan.id)
    proxy.lost_answers = 1
    await store.delete_plan(plan.id)
    with pytest.raises(NotFound):
        await library.get_plan(plan.id)


async def test_nothing_doubles_however_often_answers_are_lost(
    library: PlanStore, proxy: Proxy
) -> None:
    label = f"l-{uuid4()}"
    proxy.lost_answers = 20
    async with AsyncPlanStoreClient.open(proxy.url) as store:
        plans = await asyncio.gather(
            *(store.create_plan(PlanCreate(labels=[label])) for _ in range(20))
        )
    found = await library.list_plans(PlanFilter(label=[label]))
    assert {each.id for each in found} == {each.id for each in plans}
    assert len(found) == 20


async def test_who_gives_up_is_told_the_key_to_go_on_with(library: PlanStore, proxy: Proxy) -> None:
    label = f"l-{uuid4()}"
    plan = PlanCreate(labels=[label])
    proxy.lost_answers = 1
    async with AsyncPlanStoreClient.open(proxy.url, retry_for=0) as store:
        with pytest.raises(Unavailable, match="isn't known") as info:
            await store.create_plan(plan)
        key = re.search(r"idempotency key '(\S+)'", info.value.detail)
        assert key is not None
        made = await store.create_plan(plan, idempotency=Idempotency(key[1]))
    assert await library.list_plans(PlanFilter(label=[label])) == [made]


@pytest.mark.parametrize(
    "status", ["429 Too Many Requests", "502 Bad Gateway", "503 Unavailable", "504 Timeout"]
)
async def test_what_passes_is_tried_again(status: str, proxy: Proxy) -> None:
    proxy.answer(status, "Content-Type: text/html", body="<h1>later</h1>")
    async with AsyncPlanStoreClient.open(proxy.url) as store:
        await store.create_plan(PlanCreate())
        assert proxy.requests == 2
    proxy.answer(status, "Retry-After: 60")
    async with AsyncPlanStoreClient.open(proxy.url, retry_for=5) as store:
        with pytest.raises(Unavailable, match=status[:3]):
            await store.create_plan(PlanCreate())
        assert proxy.requests == 3


_IN_FLIGHT = (
    '{"title": "t", "status": 409, "code": "idempotency_in_flight", "detail": "d", "errors": []}'
)


async def test_a_first_attempt_that_is_still_at_work_is_waited_for(proxy: Proxy) -> None:
    proxy.answer("409 Conflict", body=_IN_FLIGHT)
    async with AsyncPlanStoreClient.open(proxy.url) as store:
        await store.create_plan(PlanCreate())
    assert (proxy.requests, len(set(proxy.keys))) == (2, 1)


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("500 Internal Server Error", "<h1>no</h1>"),
        ("404 Not Found", "{}"),
        ("308 Permanent Redirect", ""),
        ("200 OK", "<h1>Welcome</h1>"),
        ("418 Teapot", _IN_FLIGHT.replace("idempotency_in_flight", "of_the_future")),
    ],
)
async def test_what_is_answered_is_not_tried_again(status: str, body: str, proxy: Proxy) -> None:
    proxy.answer(status, body=body)
    async with AsyncPlanStoreClient.open(proxy.url) as store:
        with pytest.raises(PlanStoreError) as info:
            await store.create_plan(PlanCreate())
    assert type(info.value) is PlanStoreError
    assert proxy.requests == 1


async def test_the_sign_of_life_is_asked_for_once(proxy: Proxy) -> None:
    async with AsyncPlanStoreClient.open(proxy.url) as store:
        await store.check()
        proxy.lost_answers = 1
        with pytest.raises(Unavailable):
            await store.check()
    assert proxy.requests == 2
