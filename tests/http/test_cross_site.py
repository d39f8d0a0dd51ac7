"""A page of a foreign site can't have a browser work here: bodies need no Content-Type."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import pytest

from planstore.routers.gate import Admission
from tests.http.wire import as_bytes, done, new_plan, new_task, problem_of

if TYPE_CHECKING:
    import httpx2

    from tests.http.conftest import OpenApp
    from tests.http.wire import Ledger
    from tests.served import Served

FOREIGN: Final = {
    "a form of a foreign site": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors"},
    "a form that leads here": {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate"},
    "an old browser": {"Origin": "https://evil.example"},
    "both": {"Sec-Fetch-Site": "cross-site", "Origin": "https://evil.example"},
    "a sandboxed frame": {"Origin": "null"},
    "another port": {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
    "our address as a user": {"Origin": "http://127.0.0.1@evil.example"},
    "no host": {"Origin": "evil.example"},
    "no URL": {"Origin": "http://[bad"},
    "bytes": {"Origin": "http://\xff\xfe"},
}


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_a_request_of_a_foreign_site_is_refused_and_changes_nothing(
    client: httpx2.Client, ledger: Ledger, headers: dict[str, str]
) -> None:
    plan = new_plan(client)
    task = new_task(client, plan)

    with ledger.unchanged():
        for method, path, body in (
            ("POST", "/plans/", b"{}"),
            ("PATCH", f"/plans/{plan['id']}", b'{"status": "active"}'),
            ("POST", "/plans/tasks", b'{"plan_id": "%s", "description": "x"}'),
            ("PATCH", f"/tasks/{task['id']}", b'{"status": "running"}'),
        ):
            response = client.request(method, path, content=body, headers=as_bytes(headers))
            problem = problem_of(response, 403, "cross_site")
            assert "PLANSTORE_ALLOWED_ORIGINS" in problem["detail"]
            assert "Access-Control-Allow-Origin" not in response.headers


@pytest.mark.parametrize("headers", FOREIGN.values(), ids=FOREIGN)
def test_a_foreign_site_reads_nothing_either(
    client: httpx2.Client, headers: dict[str, str]
) -> None:
    response = client.get("/tasks/", headers=as_bytes(headers))

    if headers.get("Sec-Fetch-Mode") == "navigate":  # a link; the page it leads to is ours
        assert response.status_code == 200
    else:
        problem_of(response, 403, "cross_site")


def test_a_preflight_of_a_foreign_site_is_refused(client: httpx2.Client) -> None:
    response = client.options("/plans/", headers={"Origin": "https://evil.example", **_PREFLIGHT})

    problem_of(response, 403, "cross_site")
    assert "Access-Control-Allow-Origin" not in response.headers


_PREFLIGHT: Final = {
    "Access-Control-Request-Method": "POST",
    "Access-Control-Request-Headers": "content-type,x-api-key,idempotency-key,if-match",
}


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Sec-Fetch-Site": "same-origin", "Sec-Fetch-Mode": "cors"},
        {"Sec-Fetch-Site": "none", "Sec-Fetch-Mode": "navigate"},
    ],
)
def test_what_is_not_foreign_passes(client: httpx2.Client, headers: dict[str, str]) -> None:
    done(client.post("/plans/", content=b"{}", headers=headers), 201)


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost", "LOCALHOST"])
def test_the_own_origin_passes(server: Served, client: httpx2.Client, name: str) -> None:
    host = f"{name}:{server.port}"
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}

    done(client.post("/plans/", content=b"{}", headers=headers), 201)


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:8011", "127.0.0.1.evil.example", ""]
)
def test_a_server_of_this_machine_only_knows_its_own_names(
    client: httpx2.Client, ledger: Ledger, host: str
) -> None:
    # What a page does whose host name was made to resolve to 127.0.0.1.
    headers = {"Host": host, "Origin": f"http://{host}", "Sec-Fetch-Site": "same-origin"}

    with ledger.unchanged():
        problem = problem_of(
            client.post("/plans/", content=b"{}", headers=headers), 403, "cross_site"
        )
        problem_of(client.get("/tasks/", headers={"Host": host}), 403, "cross_site")

    assert "PLANSTORE_ALLOWED_HOSTS" in problem["detail"]


@pytest.mark.parametrize("host", ["localhost", "localhost:1", "127.0.0.1", "[::1]:8011"])
def test_the_names_of_this_machine_pass_with_any_port(client: httpx2.Client, host: str) -> None:
    done(client.post("/plans/", content=b"{}", headers={"Host": host}), 201)


BOARD: Final = "https://board.example"


async def test_an_allowed_origin_passes_with_what_its_browser_asks_for(open_app: OpenApp) -> None:
    async with open_app(Admission(allowed_origins=frozenset({BOARD}))) as client:
        headers = {"Origin": BOARD, "Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "cors"}

        preflight = await client.options("/plans/", headers={**headers, **_PREFLIGHT})
        assert preflight.status_code == 200
        assert preflight.headers["Access-Control-Allow-Origin"] == BOARD
        assert "POST" in preflight.headers["Access-Control-Allow-Methods"]
        for name in ("x-api-key", "idempotency-key", "if-match", "content-type"):
            assert name in preflight.headers["Access-Control-Allow-Headers"].lower()

        response = await client.post("/plans/", json={}, headers=headers)
        done(response, 201)
        assert response.headers["Access-Control-Allow-Origin"] == BOARD
        exposed = response.headers["Access-Control-Expose-Headers"]
        assert {"ETag", "Link"} <= set(exposed.split(", "))
        assert "Origin" in response.headers["Vary"]

        refused = await client.post("/plans/", json={"x": 1}, headers=headers)
        problem_of(refused, 422, "invalid_input")
        assert refused.headers["Access-Control-Allow-Origin"] == BOARD


async def test_other_origins_stay_foreign_beside_an_allowed_one(open_app: OpenApp) -> None:
    async with open_app(Admission(allowed_origins=frozenset({BOARD}))) as client:
        for origin in ("https://board.example.evil", "http://board.example", "null"):
            response = await client.post("/plans/", json={}, headers={"Origin": origin})
            problem_of(response, 403, "cross_site")
            assert "Access-Control-Allow-Origin" not in response.headers
            response = await client.options("/plans/", headers={"Origin": origin, **_PREFLIGHT})
            assert response.status_code in {400, 403}
            assert "Access-Control-Allow-Origin" not in response.headers


async def test_an_allowed_origin_may_ask_with_a_key(open_app: OpenApp) -> None:
    admission = Admission(api_key="s3cret", allowed_origins=frozenset({BOARD}))
    async with open_app(admission) as client:
        headers = {"Origin": BOARD, "Sec-Fetch-Site": "cross-site"}

        # A browser asks first, and without the key.
        preflight = await client.options("/plans/", headers={**headers, **_PREFLIGHT})
        assert preflight.status_code == 200
        keyless = await client.post("/plans/", json={}, headers=headers)
        problem_of(keyless, 401, "unauthorized")
        assert keyless.headers["Access-Control-Allow-Origin"] == BOARD
        response = await client.post("/plans/", json={}, headers={**headers, "X-API-Key": "s3cret"})
        done(response, 201)
