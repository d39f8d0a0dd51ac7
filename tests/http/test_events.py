"""Events over the wire: the list, the single event, and the stream."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from itertools import islice
from typing import TYPE_CHECKING, Any

import httpx2

from planstore.models import Plan
from planstore.models.event import Event
from planstore.routers import events as routes
from planstore.routers.events import ABORT, StreamResponse
from tests.arranging import plan_of
from tests.http.sent import Reader, listening
from tests.http.wire import (
    NOBODY,
    Json,
    answered,
    faults_of,
    listed,
    new_plan,
    new_task,
    problem_of,
    some_id,
)

if TYPE_CHECKING:
    from collections.abc import MutableMapping

    import pytest

    from planstore.services.plan_store import PlanStore
    from tests.http.wire import Ledger

ENDED = {"status": "completed", "output_data": {"a": 1}}


def events_of(client: httpx2.Client, plan: Json, **params: Any) -> list[Json]:
    return listed(client.get("/events/", params={"plan_id": plan["id"], **params}))


def test_a_list_shows_events_whole_as_documented(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client, status="active", steps=[{"do": "ä"}])
    task = new_task(client, plan)
    client.patch(f"/tasks/{task['id']}", json=ENDED)

    events = events_of(client, plan)

    assert [event["event_type"] for event in events] == [
        "plan.created",
        "task.created",
        "plan.revised",
        "task.completed",
        "plan.completed",
    ]
    for event in events:
        assert list(event) == list(Event.model_fields)
        Event.model_validate(event)
        assert event["created_at"].endswith("Z")
        assert event["plan_id"] == plan["id"]
        assert event["payload_link"] is None
    assert Plan.model_validate(events[0]["payload"]) == Plan.model_validate(plan)
    assert events[3]["aggregate_id"] == task["id"]
    assert events[3]["payload"]["output_data"] == {"a": 1}
    rows = ledger.ask(
        "select seq from planstore.events where plan_id = $1 order by seq", plan["id"]
    )
    assert [event["seq"] for event in events] == [row["seq"] for row in rows]


def test_a_page_leads_to_the_next_one(client: httpx2.Client) -> None:
    plan = new_plan(client)
    for _ in range(3):
        new_task(client, plan)
    every = events_of(client, plan)

    response = client.get("/events/", params={"plan_id": plan["id"], "limit": 3, "offset": 1})
    found = listed(response)
    while (link := response.links.get("next")) is not None:
        assert "offset" not in httpx2.URL(link["url"]).params
        response = client.get(link["url"])
        found += listed(response)

    assert found == every[1:]
    assert events_of(client, plan, after=every[-2]["seq"]) == every[-1:]


def test_filters_may_be_repeated_and_misspelt_ones_are_refused(client: httpx2.Client) -> None:
    plan, other = new_plan(client), new_plan(client)
    task = new_task(client, plan)
    path = f"/events/?plan_id={plan['id']}&plan_id={other['id']}"
    types = "event_type=plan.created&event_type=task.created"
    assert [event["aggregate_id"] for event in listed(client.get(f"{path}&{types}"))] == [
        plan["id"],
        other["id"],
        task["id"],
    ]
    assert [
        event["event_type"] for event in listed(client.get(f"/events?aggregate_id={task['id']}"))
    ] == ["task.created"]
    faults = faults_of(
        client.get("/events/?typ=a&aggregate_type=agent&after=-1&limit=0&plan_id=x&created_after=y")
    )
    assert set(faults) == {
        "?typ",
        "?aggregate_type",
        "?after",
        "?limit",
        "?plan_id",
        "?created_after",
    }
    assert set(faults_of(client.get("/events/?limit=1001"))) == {"?limit"}


def test_an_event_is_got_by_its_id(client: httpx2.Client) -> None:
    plan = new_plan(client)
    (event,) = events_of(client, plan)

    assert answered(client.get(f"/events/{event['id']}")) == event

    problem_of(client.get(f"/events/{NOBODY}"), 404, "not_found")
    assert set(faults_of(client.get("/events/first"))) == {"{event_id}"}


def test_a_large_payload_is_told_by_a_link(client: httpx2.Client) -> None:
    plan = new_plan(client, metadata={"text": "x" * 300_000})

    (event,) = events_of(client, plan)

    assert event["payload"] is None
    whole = answered(client.get(event["payload_link"]))
    assert Plan.model_validate(whole["payload"]) == Plan.model_validate(plan)
    assert whole == {**event, "payload": whole["payload"], "payload_link": None}
    with listening(client, f"/plans/{plan['id']}/events/stream", after=0) as sent:
        assert next(sent).data == event


def test_a_stream_sends_each_event_as_the_list_shows_it(client: httpx2.Client) -> None:
    plan = new_plan(client, status="active")
    path = f"/plans/{plan['id']}/events/stream"
    reader = Reader()
    with listening(client, path, reader, after=0) as sent:
        assert next(sent).event == "plan.created"
        task = new_task(client, plan)
        client.patch(f"/tasks/{task['id']}", json=ENDED)
        rest = list(islice(sent, 4))

    assert [(each.id, each.event, each.data) for each in reader.events] == [
        (event["seq"], event["event_type"], event) for event in events_of(client, plan)
    ]
    assert rest[-1].event == "plan.completed"


def test_a_stream_goes_on_where_its_reader_was(client: httpx2.Client) -> None:
    plan = new_plan(client)
    tasks = [new_task(client, plan) for _ in range(3)]
    path = f"/plans/{plan['id']}/events/stream"
    reader = Reader()
    with listening(client, path, reader, after=0) as sent:
        list(islice(sent, 3))
    # The header goes before what the address still says.
    with listening(client, path, reader, after=0, event_type="task.created") as sent:
        assert [each.data["aggregate_id"] for each in islice(sent, 2)] == [
            task["id"] for task in tasks[1:]
        ]
    every = events_of(client, plan)
    place = every[3]["seq"]
    for query in (f"after={place}", f"last_event_id={place}&after=0"):
        with listening(client, f"{path}?{query}") as sent:
            assert next(sent).data == every[4]


def test_a_stream_without_a_cursor_begins_now_and_says_where_that_is(
    client: httpx2.Client,
) -> None:
    new_plan(client)
    reader = Reader()
    with client.stream("GET", "/events/stream") as response:
        assert response.headers["Cache-Control"] == "no-cache, no-transform"
        assert response.headers["X-Accel-Buffering"] == "no"
        lines = response.iter_lines()
        assert list(islice(lines, 3)) == ["retry: 1000", "", f"id: {_end(client)}"]
        plan = new_plan(client)
        sent = next(reader.read(lines))
    assert sent.data["aggregate_id"] == plan["id"]


def _end(client: httpx2.Client) -> int:
    return max(event["seq"] for event in _all(client))


def _all(client: httpx2.Client) -> list[Json]:
    response = client.get("/events/?limit=1000")
    found = listed(response)
    while (link := response.links.get("next")) is not None:
        response = client.get(link["url"])
        found += listed(response)
    return found


def test_a_stream_is_told_of_what_it_asks_for(client: httpx2.Client) -> None:
    plan = new_plan(client, status="active")
    path = "/events/stream?aggregate_type=task&event_type=task.started&event_type=task.completed"
    with listening(client, path) as sent:
        task = new_task(client, plan)
        client.patch(f"/tasks/{task['id']}", json={"status": "running"})
        client.patch(f"/tasks/{task['id']}", json=ENDED)
        assert [each.event for each in islice(sent, 2)] == ["task.started", "task.completed"]


def test_what_a_stream_cant_begin_with_is_refused(client: httpx2.Client) -> None:
    problem_of(client.get(f"/plans/{some_id()}/events/stream"), 404, "not_found")
    problem_of(client.get("/events/stream?after=9223372036854775807"), 410, "cursor_gone")
    problem_of(client.get("/events/?after=9223372036854775807"), 410, "cursor_gone")
    headers = {"Last-Event-ID": "9223372036854775807"}
    problem_of(client.get("/events/stream", headers=headers), 410, "cursor_gone")
    for headers in ({"Last-Event-ID": "x"}, {"Last-Event-ID": "-1"}, {"Last-Event-ID": "1" * 30}):
        assert set(faults_of(client.get("/events/stream", headers=headers))) == {"Last-Event-ID"}
    faults = faults_of(client.get("/events/stream?after=x&typ=a&aggregate_type=b"))
    assert set(faults) == {"?after", "?typ", "?aggregate_type"}


def test_the_head_of_a_stream_is_answered_at_once(client: httpx2.Client) -> None:
    response = client.head("/events/stream")
    assert response.status_code == 200
    assert response.headers["Content-Type"].startswith("text/event-stream")
    assert response.content == b""


async def test_a_reader_who_takes_nothing_for_long_is_cut_off(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_STALLED", 0.05)
    await plan_of(store)
    gone = asyncio.Event()
    stalled: list[MutableMapping[str, Any]] = []

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        stalled.append(message)
        if b"data:" in message.get("body", b""):
            await asyncio.Event().wait()

    stack = AsyncExitStack()
    stream = await stack.enter_async_context(store.stream_events(after=0))
    scope = {"type": "http", "method": "GET", ABORT: gone.set}
    async with asyncio.timeout(10):
        await StreamResponse(stream, stack)(scope, receive, send)

    assert gone.is_set()
    assert stream.is_over
    assert b"plan.created" in stalled[-1]["body"]


async def test_a_stream_gives_signs_of_life_and_says_how_far_it_is(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(routes, "_HEARTBEAT", 0.05)
    bodies: list[bytes] = []
    enough = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await enough.wait()
        return {"type": "http.disconnect"}

    async def send(message: MutableMapping[str, Any]) -> None:
        bodies.append(message.get("body", b""))
        if b":\n\n" in bodies and b"id: 1\n\n" not in bodies:
            await plan_of(store)
        if b"id: 1\n\n" in bodies:
            enough.set()

    stack = AsyncExitStack()
    stream = await stack.enter_async_context(store.stream_events(event_types=["task.created"]))
    async with asyncio.timeout(10):
        await StreamResponse(stream, stack)({"type": "http", "method": "GET"}, receive, send)

    assert bodies[1:3] == [b"retry: 1000\n\n", b"id: 0\n\n"]
    assert b"data:" not in b"".join(bodies)
