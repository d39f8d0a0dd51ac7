"""Spans: where OpenTelemetry's SDK is configured, and nothing at all where it isn't."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import uuid4

import httpx2
import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import StatusCode

from planstore.app import create_app
from planstore.errors import NotFound
from planstore.models.claim import ClaimRequest
from planstore.routers.context import Context
from planstore.services.plan_store import PlanStore
from tests.arranging import plan_of, task_of
from tests.history import all_events

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planstore.db import Database

PARENT: Final = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"


@pytest.fixture
def spans(monkeypatch: pytest.MonkeyPatch) -> Iterator[InMemorySpanExporter]:
    """What is exported by a program that has configured the SDK."""
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(trace, "get_tracer_provider", lambda: provider)
    yield exporter
    provider.shutdown()


async def test_without_an_sdk_nothing_is_traced(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan)
    (packet,) = await store.claim_tasks(ClaimRequest(worker_id="w1"))

    assert "claim_tasks" not in vars(store)
    assert packet.traceparent is None
    assert "traceparent" not in (await all_events(database))[-1].metadata


async def test_calls_are_spans_that_say_what_they_are_about(
    database_url: str, spans: InMemorySpanExporter
) -> None:
    async with PlanStore.open(database_url, migrate=False) as store:
        plan = await plan_of(store)
        await store.get_plan(plan.id)
        with pytest.raises(NotFound):
            await store.get_task(uuid4())

    created, got, missed = spans.get_finished_spans()
    assert created.name == "PlanStore.create_plan"
    assert (got.name, got.attributes) == (
        "PlanStore.get_plan",
        {"planstore.plan_id": str(plan.id)},
    )
    assert missed.attributes is not None
    assert missed.attributes["error.type"] == "not_found"
    assert missed.status.status_code == StatusCode.ERROR
    assert not missed.events


async def test_what_is_handed_out_carries_the_span_that_did_it(
    database_url: str, database: Database, spans: InMemorySpanExporter
) -> None:
    async with PlanStore.open(database_url, migrate=False) as store:
        plan = await plan_of(store, plan_type="dag")
        await task_of(store, plan)
        (packet,) = await store.claim_tasks(ClaimRequest(worker_id="w1"))

    span = spans.get_finished_spans()[-1]
    context = span.get_span_context()
    assert context is not None
    assert span.name == "PlanStore.claim_tasks"
    assert packet.traceparent == (
        f"00-{context.trace_id:032x}-{context.span_id:016x}-{context.trace_flags:02x}"
    )
    assert (await all_events(database))[-1].metadata["traceparent"] == packet.traceparent


async def test_a_request_goes_on_from_the_trace_of_its_caller(
    database_url: str, spans: InMemorySpanExporter
) -> None:
    async with PlanStore.open(database_url, migrate=False) as store:
        plan = await plan_of(store)
        transport = httpx2.ASGITransport(create_app(Context(store)))
        async with httpx2.AsyncClient(transport=transport, base_url="http://planstore") as client:
            answer = await client.get(f"/plans/{plan.id}", headers={"traceparent": PARENT})
            assert answer.status_code == 200

    _, call, request = spans.get_finished_spans()[-3:]
    if call.name != "PlanStore.get_plan":
        call = next(s for s in spans.get_finished_spans() if s.name == "PlanStore.get_plan")
    assert request.attributes is not None
    assert request.attributes["http.route"] == "/plans/{plan_id}"
    assert request.parent is not None
    assert f"{request.parent.trace_id:032x}" in PARENT
    assert f"{request.parent.span_id:016x}" in PARENT
    assert call.parent is not None
    assert call.parent.trace_id == request.parent.trace_id
