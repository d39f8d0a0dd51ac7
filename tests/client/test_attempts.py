"""When something is tried again, and what a request looks like each time."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import httpx2
import pytest

from planstore.client import AsyncPlanStoreClient
from planstore.client.access import Access
from planstore.client.attempts import Retrying
from planstore.errors import ERRORS_BY_CODE, Fault, InvalidInput, Unauthorized, Unavailable
from planstore.models import ClaimRequest, Idempotency, PlanCreate
from planstore.models.problem import Problem

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

KEY: Final = "sk-very-secret"


def _busy(**headers: str) -> httpx2.Response:
    return httpx2.Response(503, headers={name.replace("_", "-"): headers[name] for name in headers})


def test_pauses_grow_and_are_spread() -> None:
    retrying = Retrying(1_000.0)
    pauses = [retrying.pause_after(httpx2.ConnectError("gone")) or 0.0 for _ in range(12)]
    for number, pause in enumerate(pauses):
        assert 0.0 <= pause <= min(5.0, 0.1 * 2**number)
    assert len(set(pauses)) == 12


def test_a_server_that_says_when_to_come_back_is_heard() -> None:
    assert 2.0 <= (Retrying(9.0).pause_after(_busy(retry_after="2")) or 0.0) <= 2.1
    soon = format_datetime(datetime.now(UTC) + timedelta(seconds=5), usegmt=True)
    assert 3.0 < (Retrying(9.0).pause_after(_busy(retry_after=soon)) or 0.0) <= 5.1
    assert (Retrying(9.0).pause_after(_busy(retry_after="soon")) or 0.0) <= 0.1


def test_who_is_to_come_back_too_late_gives_up() -> None:
    assert Retrying(9.0).pause_after(_busy(retry_after="10")) is None


def test_the_patience_begins_with_the_first_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    now = time.monotonic()
    retrying = Retrying(10.0)
    monkeypatch.setattr(time, "monotonic", lambda: now + 100.0)
    assert retrying.pause_after(_busy()) is not None
    monkeypatch.setattr(time, "monotonic", lambda: now + 111.0)
    assert retrying.pause_after(_busy()) is None


@pytest.mark.parametrize("code", ERRORS_BY_CODE)
def test_an_error_comes_back_from_a_problem_as_it_was(code: str) -> None:
    error = ERRORS_BY_CODE[code]("what and why", faults=(Fault("/a", "wrong"),))
    problem = Problem.of(error, status=400).model_dump_json()
    told = Problem.model_validate_json(problem).error
    assert (type(told), told.detail, told.faults) == (type(error), error.detail, error.faults)


@asynccontextmanager
async def _seen(
    url: str, *answers: httpx2.Response | httpx2.RequestError, retry_for: float = 0.0
) -> AsyncGenerator[tuple[AsyncPlanStoreClient, list[httpx2.Request]]]:
    """A client whose requests are looked at and answered here, from the last answer on alike."""
    requests: list[httpx2.Request] = []

    def handle(request: httpx2.Request) -> httpx2.Response:
        requests.append(request)
        answer = answers[min(len(requests), len(answers)) - 1]
        if isinstance(answer, httpx2.RequestError):
            raise answer
        return answer

    access = Access.to(url, api_key=KEY, timeout=7.0, retry_for=retry_for, pool_size=1)
    transport = httpx2.MockTransport(handle)
    async with httpx2.AsyncClient(transport=transport, **access.options) as http:
        yield AsyncPlanStoreClient(http, access), requests


async def test_a_path_of_the_url_stays_before_that_of_a_call() -> None:
    answer = httpx2.Response(200, json=[], headers={"Link": '</x/plans/?cursor=c>; rel="next"'})
    async with _seen("https://host.example/some/where/", answer) as (store, requests):
        assert (await store.list_plans()).next_cursor == "c"
    assert requests[0].url.path == "/some/where/plans/"
    assert store.where == "https://host.example/some/where"


async def test_a_claim_has_as_long_as_it_waits() -> None:
    async with _seen("http://host", httpx2.Response(200, json={"tasks": []})) as (store, requests):
        await store.claim_tasks(ClaimRequest(worker_id="w", wait_seconds=60))
        await store.claim_tasks(ClaimRequest(worker_id="w"))
    assert [each.extensions["timeout"]["read"] for each in requests] == [67.0, 7.0]


async def test_writes_bear_a_key_of_their_own_unless_they_are_given_one() -> None:
    async with _seen("http://host", httpx2.Response(500)) as (store, requests):
        for idempotency in (None, None, Idempotency("mine")):
            with pytest.raises(Exception, match="500"):
                await store.create_plan(PlanCreate(), idempotency=idempotency)
        with pytest.raises(Exception, match="500"):
            await store.get_plan(UUID(int=1))
    keys = [each.headers.get("Idempotency-Key") for each in requests]
    assert len({*keys}) == 4
    assert keys[2:] == ["mine", None]


@pytest.mark.parametrize(
    ("first", "is_unknown"),
    [
        (httpx2.ReadTimeout("no answer"), True),
        (httpx2.Response(504), True),
        (httpx2.ConnectError("refused"), False),
        (httpx2.Response(429), False),
    ],
)
async def test_who_gives_up_is_told_of_a_first_attempt_that_may_have_been_done(
    first: httpx2.Response | httpx2.RequestError, *, is_unknown: bool
) -> None:
    refused = httpx2.ConnectError("refused")
    async with _seen("http://host", first, refused, retry_for=0.3) as (store, requests):
        with pytest.raises(Unavailable) as info:
            await store.create_plan(PlanCreate())
        key = requests[0].headers["Idempotency-Key"]
        assert len(requests) > 1
        assert (f"repeat it with the idempotency key '{key}'" in str(info.value)) == is_unknown


async def test_what_a_newer_server_adds_is_passed_over() -> None:
    answer = httpx2.Response(200, json={"tasks": [], "added": {"later": 1}})
    async with _seen("http://host", answer) as (store, _):
        assert await store.claim_tasks(ClaimRequest(worker_id="w")) == []


async def test_the_api_key_is_sent_and_never_shown(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    answer = httpx2.Response(401, json={**_UNAUTHORIZED})
    async with _seen("http://host", answer) as (store, requests):
        with pytest.raises(Unauthorized) as info:
            await store.check()
    assert requests[0].headers["Authorization"] == f"Bearer {KEY}"
    shown = f"{store!r} {vars(store)!r} {requests[0].headers!r} {info.value!r} {caplog.text}"
    assert KEY not in shown


_UNAUTHORIZED: Final = {"title": "t", "status": 401, "code": "unauthorized", "detail": "d"}


@pytest.mark.parametrize("url", ["localhost:8011", "ftp://host", "http://", "", "\0"])
async def test_what_is_no_url_is_refused_by_name(url: str) -> None:
    with pytest.raises(InvalidInput) as info:
        async with AsyncPlanStoreClient.open(url):
            pass
    assert [each.pointer for each in info.value.faults] == ["url"]


async def test_secrets_are_refused_without_showing_them() -> None:
    with pytest.raises(InvalidInput) as info:
        async with AsyncPlanStoreClient.open("http://me:hidden@host", api_key=f"{KEY}\n"):
            pass
    assert [each.pointer for each in info.value.faults] == ["url", "api_key"]
    assert KEY not in repr(info.value)
    assert "hidden" not in repr(info.value)


async def test_a_server_that_is_not_there_is_unavailable() -> None:
    async with AsyncPlanStoreClient.open("http://127.0.0.1:1", retry_for=0) as store:
        with pytest.raises(Unavailable, match=r"http://127\.0\.0\.1:1 doesn't answer") as info:
            await store.create_plan(PlanCreate())
    assert "isn't known" not in info.value.detail


def test_the_client_needs_nothing_of_the_server() -> None:
    listed = "import sys, planstore.client; print(*sys.modules)"
    loaded = subprocess.check_output([sys.executable, "-c", listed], text=True).split()
    foreign = {"asyncpg", "fastapi", "starlette", "uvicorn", "redis", "typer", "rich", "structlog"}
    assert not foreign & set(loaded)
    own = {name for name in loaded if name.startswith("planstore.")}
    assert all(name.split(".")[1] in {"client", "models", "errors"} for name in own)
