"""Every request has an id, and a line in the log."""

from __future__ import annotations

import json
import logging
import socket
from time import monotonic
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from planstore import logs
from planstore.errors import Unavailable
from planstore.services.plan_store import PlanStore
from tests.http.wire import done, new_plan, problem_of
from tests.served import PATIENCE, serving

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from tests.conftest import Postgres
    from tests.http.conftest import OpenApp
    from tests.served import Served

SECRET = "s3cr3t"


@pytest.fixture(scope="module")
def talkative(server_database: str) -> Iterator[Served]:
    with serving(
        PLANSTORE_DATABASE_URL=server_database,
        PLANSTORE_LOG_LEVEL="debug",
        PLANSTORE_API_KEY=SECRET,
    ) as served:
        yield served


def lines_of(served: Served, request_id: str) -> list[dict[str, Any]]:
    """What the log says of a request, once it says anything: that comes after the answer."""
    deadline = monotonic() + PATIENCE
    while monotonic() < deadline:
        lines = [
            json.loads(line)
            for line in served.log.read_text().splitlines(keepends=True)
            if line.endswith("\n")
        ]
        if found := [line for line in lines if line.get("request_id") == request_id]:
            return found
    return []


def test_an_id_that_is_well_formed_is_answered_and_logged(talkative: Served) -> None:
    given = "3f0e-a.b:c/D=1"
    with talkative.client(headers={"X-API-Key": SECRET}) as client:
        response = client.get(
            f"/tasks/?label={SECRET}", headers={"X-Request-ID": given, "Cookie": SECRET}
        )
        client.get("/livez")

    assert response.headers["X-Request-ID"] == given
    (line,) = lines_of(talkative, given)
    assert 0 < line.pop("duration_seconds") < 60
    del line["timestamp"]
    assert line == {
        "level": "info",
        "logger": "planstore.requests",
        "event": "request",
        "method": "GET",
        "route": "/tasks",
        "status": 200,
        "request_id": given,
    }


def test_calls_of_tools_are_told_by_their_route_too(talkative: Served) -> None:
    with talkative.client(headers={"X-API-Key": SECRET}) as client:
        client.post("/mcp", json={}, headers={"X-Request-ID": "a-tool"})
        metrics = client.get("/metrics").text

    (line,) = lines_of(talkative, "a-tool")
    assert line["route"] == "/mcp"
    assert 'planstore_http_requests_total{method="POST",route="/mcp",status="4xx"}' in metrics


@pytest.mark.parametrize("given", ["", "a b", "x" * 129, '"quoted"', "ü", "a\tb", "a,b"])
def test_any_other_request_gets_an_id_of_its_own(talkative: Served, given: str) -> None:
    with talkative.client() as client:
        headers = [(b"X-Request-ID", given.encode())]
        ids = {client.get("/livez", headers=headers).headers["X-Request-ID"] for _ in range(3)}

    assert len(ids) == 3
    assert all(len(lines_of(talkative, each)) == 1 for each in ids)


def test_probes_are_heard_of_at_debug_and_refusals_as_any_request(talkative: Served) -> None:
    with talkative.client() as client:
        probe = client.get("/health/ready")
        refusal = client.post("/plans/", content=b"{", headers={"X-API-Key": f"{SECRET}-not"})
        nothing = client.get(f"/nothing/{SECRET}", headers={"X-API-Key": SECRET})
        wrong = client.put("/plans/", headers={"X-API-Key": SECRET})

    seen = {
        response.headers["X-Request-ID"]: (line["level"], line["route"], line["status"])
        for response in (probe, refusal, nothing, wrong)
        for (line,) in [lines_of(talkative, response.headers["X-Request-ID"])]
    }
    assert list(seen.values()) == [
        ("debug", "/health/ready", 200),
        ("info", None, 401),
        ("info", None, 404),
        ("info", None, 405),
    ]
    assert SECRET not in talkative.log.read_text()


def test_a_client_that_leaves_while_it_is_answered_is_no_error(talkative: Served) -> None:
    stream, following = (
        f"GET {path} HTTP/1.1\r\nHost: localhost:{talkative.port}\r\nX-API-Key: {SECRET}\r\n"
        f"X-Request-ID: {name}\r\n\r\n".encode()
        for path, name in (("/events/stream", "a-stream"), ("/plans/", "never-answered"))
    )
    with socket.create_connection(("localhost", talkative.port), PATIENCE) as connection:
        # The second request waits for the end of the first one.
        connection.sendall(stream + following)
        answer = b""
        while b"retry:" not in answer:
            answer += connection.recv(1_000)

    (line,) = lines_of(talkative, "a-stream")
    assert (line["level"], line["event"], line["status"]) == ("info", "request", 200)
    assert line["duration_seconds"] < 5  # it didn't wait for something to tell
    assert "Traceback" not in talkative.log.read_text()


def test_neither_payloads_nor_queries_are_logged(talkative: Served) -> None:
    with talkative.client(headers={"X-API-Key": SECRET}) as client:
        body = {"metadata": {SECRET: SECRET}, "labels": [SECRET]}
        plan = new_plan(client, **body)
        done(client.patch(f"/plans/{plan['id']}", json={"steps": [{"x": SECRET}]}))
        problem_of(client.get(f"/plans/?nothing={SECRET}"), 422, "invalid_input")
        problem_of(client.post("/plans/", json={**body, SECRET: 1}), 422, "invalid_input")

    assert SECRET not in talkative.log.read_text()


async def test_an_answer_that_blames_the_service_says_by_what_its_log_is_searched(
    open_app: OpenApp, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    path = "/plans/770e8400-e29b-41d4-a716-446655440002"
    failures = iter((Unavailable("The database is away."), RuntimeError(SECRET)))

    async def get_plan(_: PlanStore, __: UUID, **_kept: object) -> None:
        raise next(failures)

    async with open_app() as client:
        missing = problem_of(await client.get(path), 404, "not_found")
        monkeypatch.setattr(PlanStore, "get_plan", get_plan)
        away = await client.get(path, headers={"X-Request-ID": "a"})
        failed = await client.get(path, headers={"X-Request-ID": "b"})

    assert "request_id" not in missing
    assert problem_of(away, 503, "unavailable")["request_id"] == "a"
    assert problem_of(failed, 500, "error")["request_id"] == "b"
    assert [each.headers["X-Request-ID"] for each in (away, failed)] == ["a", "b"]
    told = [(each.levelno, each.getMessage()) for each in caplog.records if each.name != "asyncio"]
    assert told == [
        (logging.WARNING, "request"),
        (logging.ERROR, "GET /plans/{plan_id} failed"),
        (logging.WARNING, "request"),
    ]
    assert [getattr(each, logs.FIELDS)["status"] for each in caplog.records[::2]] == [503, 500]


def test_without_a_terminal_each_line_is_json_and_level_and_form_are_settings(
    postgres: Postgres, server_database: str
) -> None:
    with (
        serving(
            PLANSTORE_DATABASE_URL=server_database,
            PLANSTORE_LOG_LEVEL="WARNING",
            PLANSTORE_LOG_FORMAT="human",
        ) as served,
        httpx2.Client(base_url=served.url) as client,
    ):
        assert client.get("/tasks/").headers["X-Request-ID"]
        assert served.log.read_text() == ""
