"""Refusals: each is a problem of its kind, with its own status, and names what is wrong."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import TYPE_CHECKING, Final

import httpx2
import pytest

from planstore.app import create_app
from planstore.errors import ERRORS_BY_CODE, Fault
from planstore.models.fields import Limits
from planstore.routers.context import Context
from planstore.routers.problems import problem_response, status_of
from planstore.services import once
from tests.http.wire import done, faults_of, new_plan, new_task, problem_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planstore.db import Database
    from planstore.services.plan_store import PlanStore
    from tests.http.conftest import OpenApp
    from tests.http.wire import Ledger
    from tests.served import Served

STATUSES: Final = {
    "error": 500,
    "invalid_input": 422,
    "malformed_request": 400,
    "malformed_body": 400,
    "body_too_large": 413,
    "dependency_cycle": 422,
    "not_found": 404,
    "method_not_allowed": 405,
    "conflict": 409,
    "invalid_transition": 409,
    "plan_closed": 409,
    "already_exists": 409,
    "template_archived": 409,
    "result_conflict": 409,
    "claimed": 409,
    "stale_claim": 409,
    "revision_refused": 409,
    "tasks_running": 409,
    "task_needed": 409,
    "webhook_disabled": 409,
    "history_gone": 410,
    "cursor_gone": 410,
    "idempotency_in_flight": 409,
    "version_mismatch": 412,
    "idempotency_mismatch": 422,
    "unauthorized": 401,
    "cross_site": 403,
    "unavailable": 503,
    "setup_error": 503,
}


def test_every_code_has_its_status_for_ever() -> None:
    assert {code: status_of(kind) for code, kind in ERRORS_BY_CODE.items()} == STATUSES


@pytest.mark.parametrize("code", ERRORS_BY_CODE)
def test_every_error_is_said_as_a_problem(code: str) -> None:
    error = ERRORS_BY_CODE[code]("something is so")
    error.faults = (Fault("/a", "it is b"),)

    made = problem_response(error)

    response = httpx2.Response(made.status_code, headers=made.raw_headers, content=bytes(made.body))
    problem = problem_of(response, STATUSES[code], code)
    assert problem["detail"] == "something is so"
    assert problem["errors"] == [{"pointer": "/a", "detail": "it is b"}]


async def test_what_nobody_foresaw_is_a_problem_that_gives_nothing_away(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def get_plan(_: PlanStore, __: object, *, at: object) -> None:
        assert at is None
        raise RuntimeError("a secret")

    monkeypatch.setattr(type(store), "get_plan", get_plan)
    app = create_app(Context(store))
    transport = httpx2.ASGITransport(app, raise_app_exceptions=False)
    async with httpx2.AsyncClient(transport=transport, base_url="http://planstore") as client:
        response = await client.get("/plans/770e8400-e29b-41d4-a716-446655440002")

    problem_of(response, 500, "error")
    assert "secret" not in response.text
    assert "a secret" in caplog.text


async def test_a_body_over_the_limit_is_refused_and_one_at_it_is_not(open_app: OpenApp) -> None:
    async with open_app(max_body=1_024) as client:
        plan = done(await client.post("/plans/", content=b"{}".ljust(1_024)), 201)
        for method, path in (
            ("POST", "/plans/"),
            ("PATCH", f"/plans/{plan['id']}"),
            ("POST", "/tasks/"),
            ("POST", "/plans/tasks"),
            ("PATCH", f"/tasks/{plan['id']}"),
        ):
            response = await client.request(method, path, content=b"{}".ljust(1_025))
            problem = problem_of(response, 413, "body_too_large")
            assert "1024 bytes" in problem["detail"]
        assert done(await client.get(f"/plans/{plan['id']}")) == plan


async def test_steps_descriptions_and_depth_have_limits_that_are_settings(
    open_app: OpenApp,
) -> None:
    async with open_app(limits=Limits(steps=2, description=5, json_depth=3)) as client:
        step = {"step": 1}
        plan = done(await client.post("/plans/", json={"steps": [step] * 2}), 201)
        response = await client.post("/plans/", json={"steps": [step] * 3})
        assert "at most 2" in faults_of(response)["/steps"]
        content = {"plan_id": plan["id"], "description": "short"}
        done(await client.post("/tasks/", json=content), 201)
        response = await client.post("/tasks/", json={**content, "description": "longer"})
        assert "at most 5" in faults_of(response)["/description"]
        response = await client.post("/plans/", json={"metadata": {"a": {"b": {"c": {}}}}})
        assert faults_of(response) == {"/metadata/a/b/c": "it is nested too deep"}


def _chunks(size: int) -> Iterator[bytes]:
    chunk = b" " * 65_536
    for _ in range(0, size, len(chunk)):
        yield chunk


def test_a_large_body_is_refused_however_it_is_sent(client: httpx2.Client, ledger: Ledger) -> None:
    size = 9 * 1024 * 1024
    plan = new_plan(client)

    with ledger.unchanged():
        for content in (b" " * size, _chunks(size)):
            response = client.post("/plans/", content=content)
            problem_of(response, 413, "body_too_large")
            # The same connection goes on to serve.
            assert done(client.get(f"/plans/{plan['id']}")) == plan


def _say(served: Served, *parts: bytes) -> httpx2.Response:
    """Send raw bytes and read the one answer that comes before the server hangs up or waits."""
    with closing(socket.create_connection(("127.0.0.1", served.port), timeout=30)) as sock:
        sock.sendall(b"".join(parts))
        with sock.makefile("rb") as answer:
            status = int(answer.readline().split()[1])
            lines = list(iter(answer.readline, b"\r\n"))
            headers = [line.strip().split(b": ", 1) for line in lines]
            length = next(int(value) for name, value in headers if name == b"content-length")
            content = answer.read(length)
    return httpx2.Response(status, headers=[(n, v) for n, v in headers], content=content)


def test_a_large_body_is_refused_before_it_is_sent(server: Served) -> None:
    head = b"POST /plans/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 99999999\r\n"

    for expectation in (b"", b"Expect: 100-continue\r\n"):
        response = _say(server, head, expectation, b"\r\n")
        problem_of(response, 413, "body_too_large")


NOT_HTTP: Final = {
    "an unknown method": b"FROB /plans/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "bytes in the path": b"GET /plans/\xff\xfe HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "an endless length": b"POST /plans/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: %s\r\n\r\n{}"
    % (b"9" * 30),
    "no number": b"POST /plans/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: two\r\n\r\n{}",
    "a negative length": b"POST /plans/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: -1\r\n\r\n",
    "two lengths": b"POST /plans/ HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
    "a length and chunks": b"POST /plans/ HTTP/1.1\r\nHost: localhost\r\n"
    b"Content-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a broken chunk": b"POST /plans/ HTTP/1.1\r\nHost: localhost\r\n"
    b"Transfer-Encoding: chunked\r\n\r\nzz\r\n",
    "TLS": b"\x16\x03\x01\x00\xa5\x01\x00\x00\xa1\x03\x03",
    "nonsense": b"hello\r\n\r\n",
}


@pytest.mark.parametrize("request_", NOT_HTTP.values(), ids=NOT_HTTP)
def test_what_is_not_http_is_a_problem_too(
    server: Served, client: httpx2.Client, ledger: Ledger, request_: bytes
) -> None:
    with ledger.unchanged():
        response = _say(server, request_)

    problem_of(response, 400, "malformed_request")
    assert response.headers["Connection"] == "close"
    assert client.get("/livez").status_code == 200


def test_a_client_that_leaves_half_way_changes_nothing_and_leaves_no_trace(
    server: Served, client: httpx2.Client, ledger: Ledger
) -> None:
    head = b"POST /plans/ HTTP/1.1\r\nHost: localhost\r\nContent-Length: 20\r\n\r\n"
    with ledger.unchanged():
        for part in (head[:30], head, head + b'{"status": '):
            with closing(socket.create_connection(("127.0.0.1", server.port))) as sock:
                sock.sendall(part)
        assert client.get("/health").status_code == 200

    assert "Traceback" not in server.log.read_text()
    assert "failed" not in server.log.read_text()


async def test_a_repetition_waits_for_the_first_request_only_so_long(
    open_app: OpenApp, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(once, "PATIENCE", once.PATIENCE / 50)
    headers = {"Idempotency-Key": "k"}
    async with open_app() as client, database.transaction() as conn:
        # A first request that doesn't come to its end: it holds the key's row uncommitted.
        await conn.execute(
            "insert into planstore.idempotency_keys (scope, key, fingerprint, response)"
            " values ('anonymous create_plan', 'k', '', '{}')"
        )
        response = await client.post("/plans/", json={}, headers=headers)
        problem = problem_of(response, 409, "idempotency_in_flight")
        assert response.headers["Retry-After"] == "1"
        assert "'k'" in problem["detail"]


def test_each_refusal_of_a_task_says_what_it_is_now(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client, status="active")
    task = new_task(client, plan)
    path = f"/tasks/{task['id']}"
    done(client.patch(f"/plans/{plan['id']}", json={"status": "cancelled"}))

    with ledger.unchanged():
        problem = problem_of(client.patch(path, json={"status": "pending"}), 409, "plan_closed")

    assert plan["id"] in problem["detail"]
    assert "reopen" in problem["detail"]


def test_no_refusal_holds_a_destructive_command(client: httpx2.Client) -> None:
    plan = new_plan(client)
    responses = [
        client.post("/plans/", content=b"x"),
        client.post("/plans/", json={"id": plan["id"]}),
        client.patch(f"/plans/{plan['id']}", json={}, headers={"If-Match": '"9"'}),
        client.get("/tasks/?limit=0"),
    ]

    for response in responses:
        assert not any(word in response.text.lower() for word in ("drop ", "rm ", "--force"))
