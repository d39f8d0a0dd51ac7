"""A server removes what is old by itself, the command does it now, and who missed it is told."""

from __future__ import annotations

import asyncio
import json
import subprocess
import time
from typing import TYPE_CHECKING, Any

import pytest

from planstore.db import Database
from tests.http.sent import listening
from tests.http.wire import done, listed, new_plan, new_task, problem_of
from tests.served import PATIENCE, command, database_of, environment, serving
from tests.services.test_pruning import pass_days

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from tests.conftest import Postgres
    from tests.http.wire import Json


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with database_of(postgres) as url:
        yield url


def _pass_days(url: str, days: int) -> None:
    async def work() -> None:
        async with Database.open(url, pool_size=1) as database:
            await pass_days(database, days)

    asyncio.run(work())


def _finished(client: httpx2.Client) -> Json:
    plan = new_plan(client, status="active")
    task = new_task(client, plan)
    done(client.patch(f"/tasks/{task['id']}", json={"status": "completed"}))
    return plan


def _prune(url: str, *arguments: str, **variables: str) -> Any:
    ran = subprocess.run(
        command("prune", "--json", *arguments),
        env=environment(PLANSTORE_DATABASE_URL=url, **variables),
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=True,
    )
    return json.loads(ran.stdout)


def test_a_server_removes_old_events_and_refuses_cursors_that_are_older(url: str) -> None:
    with serving(PLANSTORE_DATABASE_URL=url) as served, served.client() as client:
        plan = _finished(client)
        last = listed(client.get("/events/"))[-1]["seq"]
    _pass_days(url, 91)
    with serving(PLANSTORE_DATABASE_URL=url) as served, served.client() as client:
        deadline = time.monotonic() + PATIENCE
        while listed(client.get("/events/")):
            assert time.monotonic() < deadline
            time.sleep(0.01)  # between two looks; nothing is ordered by it
        for path in ("/events/", "/events/stream", f"/plans/{plan['id']}/events/stream"):
            problem = problem_of(client.get(path, params={"after": 1}), 410, "cursor_gone")
            assert "no longer kept" in problem["detail"]
        problem_of(
            client.get("/events/stream", headers={"Last-Event-ID": str(last - 1)}),
            410,
            "cursor_gone",
        )
        problem_of(client.get(f"/plans/{plan['id']}?at={plan['created_at']}"), 410, "history_gone")
        with listening(client, "/events/stream", after=last) as sent:
            assert new_plan(client)["id"] == next(sent).data["aggregate_id"]


def test_the_command_removes_what_is_old_or_says_how_much_it_would_be(url: str) -> None:
    with serving(PLANSTORE_DATABASE_URL=url) as served, served.client() as client:
        _finished(client)
        events = len(listed(client.get("/events/")))
    _pass_days(url, 91)
    plans_too = {"PLANSTORE_PLANS_KEPT_DAYS": "30"}

    kept = _prune(url, PLANSTORE_EVENTS_KEPT_DAYS="0")
    assert kept == {"plans": 0, "events": 0, "dry_run": False}
    would = {"plans": 1, "events": events, "dry_run": True}
    assert _prune(url, "--dry-run", **plans_too) == _prune(url, "--dry-run", **plans_too) == would
    # What deletes the plan is its newest event, by which the others stay for a while.
    assert _prune(url, **plans_too) == {"plans": 1, "events": 0, "dry_run": False}
    _pass_days(url, 91)
    assert _prune(url) == {"plans": 0, "events": events, "dry_run": False}
