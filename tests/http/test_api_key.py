"""Where a key is asked for, nothing is told or done without it, and it is never repeated."""

from __future__ import annotations

import json
import logging
from typing import TYPE_CHECKING, Final

import pytest

from planstore.routers.gate import Admission
from tests.history import all_events
from tests.http.wire import NOBODY, as_bytes, done, problem_of
from tests.served import serving

if TYPE_CHECKING:
    from planstore.db import Database
    from tests.http.conftest import OpenApp

KEY: Final = "k3y-of-the-house"

WRONG: Final[dict[str, dict[str, str]]] = {
    "none": {},
    "empty": {"X-API-Key": ""},
    "another": {"X-API-Key": "another"},
    "a part": {"X-API-Key": KEY[:-1]},
    "more": {"X-API-Key": KEY + "x"},
    "another case": {"X-API-Key": KEY.upper()},
    "another bearer": {"Authorization": "Bearer another"},
    "another scheme": {"Authorization": f"Basic {KEY}"},
    "no scheme": {"Authorization": KEY},
    "a scheme alone": {"Authorization": "Bearer"},
    "beyond ASCII": {"X-API-Key": "schlüssel"},
}


@pytest.mark.parametrize("headers", WRONG.values(), ids=WRONG)
async def test_without_the_key_every_route_is_shut(
    open_app: OpenApp, database: Database, headers: dict[str, str]
) -> None:
    async with open_app(Admission(api_key=KEY)) as client:
        for method, path in (
            ("POST", "/plans/"),
            ("GET", f"/plans/{NOBODY}"),
            ("PATCH", f"/plans/{NOBODY}"),
            ("POST", "/tasks/"),
            ("POST", "/plans/tasks"),
            ("GET", "/tasks/"),
            ("GET", "/openapi.json"),
            ("GET", "/docs"),
            ("GET", "/nothing"),
            ("DELETE", "/plans/"),
        ):
            response = await client.request(method, path, content=b"{}", headers=as_bytes(headers))
            problem = problem_of(response, 401, "unauthorized")
            assert response.headers["WWW-Authenticate"] == "Bearer"
            assert KEY not in response.text
            assert "X-API-Key" in problem["detail"]
    assert await all_events(database) == []


@pytest.mark.parametrize(
    "headers",
    [
        {"X-API-Key": KEY},
        {"Authorization": f"Bearer {KEY}"},
        {"Authorization": f"bearer  {KEY}"},
        {"X-API-Key": KEY, "Authorization": "Basic dXNlcjpwYXNz"},
    ],
)
async def test_the_key_opens(open_app: OpenApp, headers: dict[str, str]) -> None:
    async with open_app(Admission(api_key=KEY)) as client:
        plan = done(await client.post("/plans/", json={}, headers=headers), 201)
        assert done(await client.get(f"/plans/{plan['id']}", headers=headers)) == plan


async def test_the_health_is_told_to_everybody(open_app: OpenApp) -> None:
    async with open_app(Admission(api_key=KEY)) as client:
        for path in ("/health", "/health/", "/health/live", "/health/ready", "/livez", "/readyz"):
            assert (await client.get(path)).status_code == 200


async def test_a_key_is_not_needed_where_none_is_asked_for(open_app: OpenApp) -> None:
    async with open_app() as client:
        done(await client.post("/plans/", json={}, headers={"X-API-Key": "any"}), 201)


async def test_the_refusal_of_a_foreign_site_comes_before_the_key(open_app: OpenApp) -> None:
    async with open_app(Admission(api_key=KEY)) as client:
        headers = {"X-API-Key": KEY, "Sec-Fetch-Site": "cross-site"}
        problem_of(await client.post("/plans/", json={}, headers=headers), 403, "cross_site")


async def test_no_key_is_logged_in_this_process(
    open_app: OpenApp, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    async with open_app(Admission(api_key=KEY)) as client:
        await client.post("/plans/", json={}, headers={"X-API-Key": KEY})
        await client.post("/plans/", json={}, headers={"X-API-Key": KEY + "-wrong"})

    assert KEY not in caplog.text


def test_a_served_key_opens_for_everybody_and_is_never_written(server_database: str) -> None:
    with serving(
        "--host", "0.0.0.0", PLANSTORE_DATABASE_URL=server_database, PLANSTORE_API_KEY=KEY
    ) as served:
        with served.client() as client:
            problem_of(client.get("/tasks/"), 401, "unauthorized")
            problem_of(client.get("/tasks/", headers={"X-API-Key": "wr0ng"}), 401, "unauthorized")
            assert client.get("/tasks/", headers={"X-API-Key": KEY}).status_code == 200
            # The key keeps strangers out, so the server need not know its own names.
            headers = {"X-API-Key": KEY, "Host": "planstore.internal"}
            assert client.get("/tasks/", headers=headers).status_code == 200
        said = served.log.read_text() + json.dumps(served.announced)

    assert KEY not in said
    assert "wr0ng" not in said
    assert "password" not in served.announced["database"]


def test_a_key_that_was_read_from_a_file_with_its_newline_opens(server_database: str) -> None:
    with (
        serving(PLANSTORE_DATABASE_URL=server_database, PLANSTORE_API_KEY=f" {KEY}\n") as served,
        served.client() as client,
    ):
        problem_of(client.get("/tasks/"), 401, "unauthorized")
        for headers in ({"X-API-Key": KEY}, {"Authorization": f"Bearer {KEY}"}):
            assert client.get("/tasks/", headers=headers).status_code == 200
