"""Claims on the wire: what is handed out, to whom, for how long, and how it is waited for."""

from __future__ import annotations

import asyncio
import json
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from socket import create_connection
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.app import create_app
from planstore.models.task import Task
from planstore.routers.context import Context
from tests.http.wire import (
    answered,
    claimed,
    done,
    faults_of,
    new_plan,
    new_task,
    only,
    problem_of,
    some_id,
)
from tests.served import PATIENCE, serving

if TYPE_CHECKING:
    import httpx2

    from planstore.services.plan_store import PlanStore
    from tests.http.conftest import OpenApp
    from tests.http.wire import Json, Ledger
    from tests.served import Served

OF_A_PACKET: Final = {
    *("fencing_token", "lease_expires_at", "plan_revision", "resolved_input", "dependencies"),
    *("previous_attempts", "traceparent"),
}


def an_active_plan(client: httpx2.Client, **fields: Any) -> Json:
    return new_plan(client, **{"status": "active", "plan_type": "parallel", **fields})


def test_a_claim_hands_out_a_ready_task_as_a_work_packet(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan, input_data={"path": "docs"})

    packet = only(claimed(client, plan))

    assert packet.keys() == Task.model_fields.keys() | OF_A_PACKET
    added = {name: packet.pop(name) for name in OF_A_PACKET}
    assert added == {
        "fencing_token": added["fencing_token"],
        "lease_expires_at": added["lease_expires_at"],
        "plan_revision": 2,
        "resolved_input": {"path": "docs"},
        "dependencies": [],
        "previous_attempts": [],
        "traceparent": None,
    }
    assert added["lease_expires_at"] > packet["started_at"] == packet["updated_at"]
    assert packet == {
        **task,
        "status": "running",
        "worker_id": "w1",
        "attempt": 1,
        "version": 2,
        "started_at": packet["started_at"],
        "updated_at": packet["updated_at"],
    }
    assert done(client.get(f"/tasks/{task['id']}")) == packet
    assert ledger.events(task) == ["task.created", "task.started"]


def test_a_fencing_token_is_a_number_that_grows(client: httpx2.Client) -> None:
    plan = an_active_plan(client)
    for _ in range(2):
        new_task(client, plan)

    first, second = (only(claimed(client, plan))["fencing_token"] for _ in range(2))

    assert 0 < first < second


@pytest.mark.parametrize("path", ["/tasks/claim", "/tasks/claim/"])
@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_claim_is_json_with_and_without_a_slash_whatever_the_content_type_says(
    client: httpx2.Client, path: str, content_type: str | None
) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    claim = {"worker_id": "w1", "plan_id": plan["id"], "lease_seconds": 3_600}
    headers = {} if content_type is None else {"Content-Type": content_type}

    answer = answered(client.post(path, content=json.dumps(claim).encode(), headers=headers))

    assert list(answer) == ["tasks"]
    assert only(answer["tasks"])["id"] == task["id"]


def test_where_nothing_is_ready_the_answer_is_empty_and_nothing_changes(
    client: httpx2.Client, ledger: Ledger
) -> None:
    draft, paused = new_plan(client), an_active_plan(client)
    held, later = an_active_plan(client), an_active_plan(client)
    new_task(client, draft)
    new_task(client, paused)
    done(client.post(f"/plans/{paused['id']}/pause"))
    done(client.patch(f"/tasks/{new_task(client, held)['id']}", json={"status": "blocked"}))
    new_task(client, later, not_before="9998-01-01T00:00:00Z")

    with ledger.unchanged():
        for plan in (draft, paused, held, later, {"id": some_id()}):
            assert claimed(client, plan, limit=10) == []


def test_a_claim_is_served_by_priority_then_by_how_long_a_task_is_ready(
    client: httpx2.Client,
) -> None:
    plan = an_active_plan(client)
    tasks = [new_task(client, plan, priority=priority) for priority in (0, -5, 100, 0)]

    packets = claimed(client, plan, limit=3)

    assert [packet["id"] for packet in packets] == [tasks[place]["id"] for place in (2, 0, 3)]
    assert only(claimed(client, plan, limit=3))["id"] == tasks[1]["id"]


def test_a_claim_asks_for_types_and_for_the_tasks_of_an_agent_or_of_nobody(
    client: httpx2.Client,
) -> None:
    plan, agent = an_active_plan(client), some_id()
    theirs = new_task(client, plan, agent_id=some_id(), task_type="review")
    mine = new_task(client, plan, agent_id=agent, task_type="review")
    nobodys = new_task(client, plan, task_type="build")

    assert claimed(client, plan, task_types=["test"]) == []
    assert only(claimed(client, plan, task_types=["build", "test"]))["id"] == nobodys["id"]
    assert only(claimed(client, plan, agent_id=agent, limit=9))["id"] == mine["id"]
    assert only(claimed(client, plan, limit=9))["id"] == theirs["id"]


def test_a_packet_holds_what_the_task_needed_and_its_input_filled_in(
    client: httpx2.Client,
) -> None:
    plan = an_active_plan(client)
    source = new_task(client, plan, name="source")
    text = "{{source.n}} of {{source.n}}, {{taskId}}"
    new_task(client, plan, input_data={"n": "{{source.n}}", "text": text})
    (first,) = claimed(client, plan, limit=9)
    done(
        client.post(
            f"/tasks/{source['id']}/complete",
            json={"fencing_token": first["fencing_token"], "output_data": {"n": 7}},
        )
    )

    packet = only(claimed(client, plan))

    assert packet["resolved_input"] == {"n": 7, "text": "7 of 7, {{taskId}}"}
    assert packet["dependencies"] == [
        {
            "task_id": source["id"],
            "name": "source",
            "when": "success",
            "type": "data",
            "status": "completed",
            "is_satisfied": True,
            "output_data": {"n": 7},
            "output_link": None,
        }
    ]


def test_all_faults_of_a_claim_are_named_at_once(client: httpx2.Client, ledger: Ledger) -> None:
    claim: Json = {
        "worker": "w1",
        "limit": 1_001,
        "lease_seconds": 0.5,
        "wait_seconds": 61,
        "plan_id": "mine",
        "agent_id": 1,
        "task_types": [],
    }

    with ledger.unchanged():
        faults = faults_of(client.post("/tasks/claim", json=claim))
        query = client.post("/tasks/claim?limit=1", json={"worker_id": "w1"})
        assert faults_of(query).keys() == {"?limit"}

    assert faults.keys() == {f"/{name}" for name in (*claim, "worker_id")}
    assert "did you mean 'worker_id'?" in faults["/worker"]
    assert "required" in faults["/worker_id"]


@pytest.mark.parametrize("path", ["claim", "heartbeat", "complete"])
def test_what_needs_a_body_refuses_an_empty_one(
    client: httpx2.Client, ledger: Ledger, path: str
) -> None:
    with ledger.unchanged():
        problem_of(client.post(f"/tasks/{path}"), 400, "malformed_body")
        assert faults_of(client.post(f"/tasks/{path}", json={}))


def test_a_claim_that_is_repeated_under_its_key_hands_out_the_same_tasks(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = an_active_plan(client)
    for _ in range(3):
        new_task(client, plan)
    claim = {"worker_id": "w1", "plan_id": plan["id"], "limit": 2, "lease_seconds": 3_600}
    headers = {"Idempotency-Key": some_id()}
    first = answered(client.post("/tasks/claim", json=claim, headers=headers))

    with ledger.unchanged():
        for path in ("/tasks/claim", "/tasks/claim/"):
            assert answered(client.post(path, json=claim, headers=headers)) == first
        other = client.post("/tasks/claim", json={**claim, "limit": 1}, headers=headers)
        problem_of(other, 422, "idempotency_mismatch")

    assert len(first["tasks"]) == 2


def test_an_empty_claim_does_not_use_up_its_key(client: httpx2.Client) -> None:
    plan = an_active_plan(client)
    claim = {"worker_id": "w1", "plan_id": plan["id"], "lease_seconds": 3_600}
    headers = {"Idempotency-Key": some_id()}
    assert answered(client.post("/tasks/claim", json=claim, headers=headers)) == {"tasks": []}
    task = new_task(client, plan)

    answer = answered(client.post("/tasks/claim", json=claim, headers=headers))

    assert only(answer["tasks"])["id"] == task["id"]


def test_a_heartbeat_renews_what_is_held_and_says_what_is_lost_and_what_should_stop(
    client: httpx2.Client, ledger: Ledger
) -> None:
    going, closed = an_active_plan(client), an_active_plan(client)
    for plan in (going, going, closed):
        new_task(client, plan)
    held, reset, stopping = (only(claimed(client, plan)) for plan in (going, going, closed))
    done(client.post(f"/tasks/{reset['id']}/reset"))
    done(client.post(f"/plans/{closed['id']}/cancel"))

    claims: list[Json] = [
        *(
            {"task_id": packet["id"], "fencing_token": packet["fencing_token"]}
            for packet in (stopping, reset, held)
        ),
        {"task_id": some_id(), "fencing_token": 1},
    ]
    beat: Json = {"worker_id": "w1", "claims": claims}
    answer = answered(client.post("/tasks/heartbeat", json=beat))

    assert list(answer) == ["claims"]
    states = ["stop", "lost", "renewed", "lost"]
    assert [claim["state"] for claim in answer["claims"]] == states
    assert [each["task_id"] for each in answer["claims"]] == [each["task_id"] for each in claims]
    assert [claim["lease_expires_at"] is None for claim in answer["claims"]] == [
        state == "lost" for state in states
    ]
    assert answer["claims"][2]["lease_expires_at"] > held["lease_expires_at"]
    # Renewing a lease is no change.
    assert done(client.get(f"/tasks/{held['id']}"))["version"] == held["version"]
    assert ledger.events(held) == ["task.created", "task.started"]


def test_a_heartbeat_may_tell_how_far_the_run_is(client: httpx2.Client, ledger: Ledger) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    token = only(claimed(client, plan))["fencing_token"]
    claim = {"task_id": task["id"], "fencing_token": token, "progress": 40, "note": "page 4"}

    answered(client.post("/tasks/heartbeat/", json={"worker_id": "w1", "claims": [claim]}))

    running = done(client.get(f"/tasks/{task['id']}"))
    assert (running["progress"], running["progress_note"]) == (40, "page 4")
    assert ledger.events(task) == ["task.created", "task.started", "task.progressed"]


def test_the_heartbeat_of_another_worker_renews_nothing(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    claim = {
        "task_id": task["id"],
        "fencing_token": only(claimed(client, plan))["fencing_token"],
        "progress": 1,
    }

    with ledger.unchanged():
        beat = {"worker_id": "w2", "claims": [claim]}
        answer = answered(client.post("/tasks/heartbeat", json=beat))

    assert only(answer["claims"])["state"] == "lost"


def test_all_faults_of_a_heartbeat_are_named_at_once(client: httpx2.Client) -> None:
    one = {"task_id": some_id(), "fencing_token": 1}
    claims: list[Json] = [
        {"task": some_id(), "fencing_token": 0},
        {**one, "progress": -1, "note": ""},
    ]

    faults = faults_of(client.post("/tasks/heartbeat", json={"worker_id": " ", "claims": claims}))
    assert faults.keys() == {
        "/worker_id",
        *("/claims/0/task", "/claims/0/task_id", "/claims/0/fencing_token"),
        *("/claims/1/progress", "/claims/1/note"),
    }
    assert "did you mean 'task_id'?" in faults["/claims/0/task"]
    for claims in ([], [one] * 2, [one] * 1_001):
        beat = {"worker_id": "w1", "claims": claims}
        assert faults_of(client.post("/tasks/heartbeat", json=beat)).keys() == {"/claims"}


async def _until_there_wait(store: PlanStore, count: int) -> None:
    async with asyncio.timeout(PATIENCE):
        while True:
            waiting = store._wakeups._waiting  # pyright: ignore[reportPrivateUsage] - unseen elsewhere
            if len(waiting) == count:
                return
            await asyncio.sleep(0.001)  # between two looks; nothing is ordered by it


WAITING: Final = {"worker_id": "patient", "wait_seconds": 60, "lease_seconds": 3_600}


async def test_a_claim_that_waits_is_answered_when_a_task_becomes_ready(
    open_app: OpenApp, store: PlanStore
) -> None:
    async with open_app(max_body=100_000) as client, asyncio.TaskGroup() as group:
        claiming = group.create_task(client.post("/tasks/claim", json=WAITING, timeout=PATIENCE))
        await _until_there_wait(store, 1)
        plan = done(await client.post("/plans/", json={"status": "active"}), 201)
        content = {"plan_id": plan["id"], "description": "do it"}
        task = done(await client.post("/tasks/", json=content), 201)

        packet = only(answered(await claiming)["tasks"])

    assert packet["id"] == task["id"]


async def test_a_claim_that_waits_for_nothing_ends_with_an_empty_answer(open_app: OpenApp) -> None:
    async with open_app() as client:
        claim = {**WAITING, "wait_seconds": 0.01}
        assert answered(await client.post("/tasks/claim", json=claim)) == {"tasks": []}


def test_a_claim_that_waits_hears_of_a_task_that_another_server_makes(
    client: httpx2.Client, server_database: str
) -> None:
    plan = an_active_plan(client)
    with (
        serving(PLANSTORE_DATABASE_URL=server_database) as other,
        other.client() as patient,
        ThreadPoolExecutor(1) as pool,
    ):
        claiming = pool.submit(claimed, patient, plan, wait_seconds=60)
        task = new_task(client, plan)

        assert only(claiming.result(PATIENCE))["id"] == task["id"]


async def test_a_claim_stops_waiting_when_its_client_leaves(store: PlanStore) -> None:
    app = create_app(Context(store))
    leaves = asyncio.Event()
    parts = iter([json.dumps(WAITING).encode()])

    async def receive() -> Json:
        for part in parts:
            return {"type": "http.request", "body": part, "more_body": False}
        await leaves.wait()
        return {"type": "http.disconnect"}

    async def send(_: object) -> None:
        pass

    scope: Json = {
        "type": "http",
        "http_version": "1.1",
        "method": "POST",
        "scheme": "http",
        "path": "/tasks/claim",
        "query_string": b"",
        "headers": [],
    }
    async with asyncio.TaskGroup() as group:
        serving = group.create_task(app(scope, receive, send))  # pyright: ignore[reportArgumentType] - messages are dicts
        await _until_there_wait(store, 1)
        leaves.set()
        await _until_there_wait(store, 0)
        await serving


def test_a_client_that_left_is_given_nothing(
    server: Served, client: httpx2.Client, ledger: Ledger
) -> None:
    plan = an_active_plan(client)
    body = json.dumps({**WAITING, "plan_id": plan["id"]})
    head = f"POST /tasks/claim HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(body)}\r\n\r\n"
    with closing(create_connection(("127.0.0.1", server.port))) as sock:
        sock.sendall((head + body).encode())
        assert client.get("/health").status_code == 200
    assert client.get("/health").status_code == 200
    task = new_task(client, plan)

    packet = only(claimed(client, plan, worker_id="w2"))

    assert (packet["id"], packet["attempt"]) == (task["id"], 1)
    assert ledger.events(task) == ["task.created", "task.started"]
