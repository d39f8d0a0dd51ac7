"""Webhooks over the wire: their routes; and servers and receivers that are killed in the middle."""

from __future__ import annotations

import asyncio
import re
import signal
import threading
import time
from http.server import HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import pytest

from planstore.embedded.waiting import wait_until
from tests.http.wire import (
    NOBODY,
    answered,
    done,
    faults_of,
    listed,
    new_plan,
    new_task,
    problem_of,
    some_id,
)
from tests.receiver import Receiver
from tests.served import PATIENCE, database_of, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx2

    from tests.conftest import Postgres
    from tests.http.wire import Json
    from tests.served import Served

SECRET: Final = "whsec_" + "c2VjcmV0" * 4

PAGE: Final = Path(__file__).parents[2] / "docs/webhooks.md"

_LAPSE: Final = """
update planstore.deliveries
set due_at = due_at - interval '1 hour', lease_expires_at = lease_expires_at - interval '1 hour'
where status = 'pending'
"""


def new_hook(client: httpx2.Client, **fields: Any) -> Json:
    """Make a webhook that no event of other tests is for."""
    content = {"url": "https://example.invalid/hooks", "plan_ids": [some_id()], **fields}
    return done(client.post("/webhooks/", json=content), 201)


def without_secret(webhook: Json) -> Json:
    return {name: value for name, value in webhook.items() if name != "secret"}


def test_a_webhook_is_made_read_changed_and_deleted(client: httpx2.Client) -> None:
    made = new_hook(client, description="billing", event_types=["task.completed"])
    path = f"/webhooks/{made['id']}"
    assert made["secret"].startswith("whsec_")
    assert made["status"] == "active"

    assert done(client.get(path)) == without_secret(made)
    assert without_secret(made) in listed(client.get("/webhooks/"))
    assert client.get(path, headers={"If-None-Match": '"1"'}).status_code == 304

    changes = {"event_types": None, "description": None, "status": "disabled"}
    changed = done(client.patch(path, json=changes))
    assert {name: changed[name] for name in changes} == changes
    assert (changed["version"], changed["disabled_reason"]) == (2, "by_hand")
    assert done(client.patch(path, json={**changed, "status": "active"}))["version"] == 3
    assert done(client.patch(path, json={"status": "active"}))["version"] == 3

    problem_of(client.delete(path, headers={"If-Match": '"2"'}), 412, "version_mismatch")
    assert client.delete(path, headers={"If-Match": '"3"'}).status_code == 204
    for method, suffix in (
        *(("GET", ""), ("PATCH", ""), ("DELETE", ""), ("POST", "/test"), ("POST", "/rotate")),
        *(("GET", "/deliveries"), ("GET", f"/deliveries/{NOBODY}")),
        ("POST", f"/deliveries/{NOBODY}/redeliver"),
    ):
        content = b"{}" if method in {"PATCH", "POST"} else b""
        response = client.request(method, path + suffix, content=content)
        assert made["id"] in problem_of(response, 404, "not_found")["detail"]
    assert made["id"] not in {each["id"] for each in listed(client.get("/webhooks/"))}


def test_a_secret_is_given_or_made_and_shown_once(client: httpx2.Client) -> None:
    made = new_hook(client, secret=SECRET)
    assert made["secret"] == SECRET
    path = f"/webhooks/{made['id']}"

    rotated = done(client.post(f"{path}/rotate"))

    assert rotated["secret"].startswith("whsec_")
    assert rotated["secret"] != SECRET
    assert rotated["former_secret_until"] > rotated["updated_at"]
    given = done(client.post(f"{path}/rotate", json={"secret": SECRET, "grace_seconds": 0}))
    assert (given["secret"], given["former_secret_until"]) == (SECRET, None)
    for response in (client.get(path), client.get("/webhooks/"), client.patch(path, json={})):
        assert "secret" not in response.text.replace("former_secret_until", "")


def test_a_repetition_makes_no_second_webhook_and_shows_the_same_secret(
    client: httpx2.Client,
) -> None:
    headers = {"Idempotency-Key": some_id()}
    content = {"url": "https://example.invalid/once", "plan_ids": [some_id()]}
    first = done(client.post("/webhooks/", json=content, headers=headers), 201)
    assert done(client.post("/webhooks/", json=content, headers=headers), 201) == first
    response = client.post("/webhooks/", json={**content, "secret": SECRET}, headers=headers)
    problem_of(response, 422, "idempotency_mismatch")
    response = client.post("/webhooks/", json={**content, "id": first["id"]})
    problem_of(response, 409, "already_exists")


@pytest.mark.parametrize(
    ("fields", "pointer"),
    [
        *(({"url": url}, "/url") for url in (
            "example.com", "ftp://example.com/", "https://", "https://user:hidden@example.com/",
            "https://example.com:0/", "https://example.com:65536/", "https://exämple.com/",
            "https://example.com/#hidden", "https://example.com/\nhidden: 1", "https:// x/",
            "https://[::::]/", "https://example.com/\x00", "https://example.com\\@hidden/",
        )),
        *(({"url": url}, "/url") for url in (
            "http://127.0.0.1/", "http://10.0.0.1:8080/", "http://[::1]/", "http://[::1]:80/a",
            "http://[::ffff:10.0.0.1]/", "http://169.254.169.254/latest", "http://[fe80::1]?x",
            "http://100.64.0.1?a=b",
        )),
        *(({"secret": secret}, "/secret") for secret in (
            "hidden", "whsec_hidden", SECRET.removeprefix("whsec_"), "whsec_" + "hidden/+" * 40,
            SECRET + "=", "",
        )),
        ({"event_types": []}, "/event_types"),
        ({"event_types": ["task.Completed"]}, "/event_types/0"),
        ({"event_types": ["task.failed", "task.failed"]}, "/event_types"),
        ({"plan_ids": ["1"]}, "/plan_ids/0"),
        ({"status": "disabled"}, "/status"),
        ({"description": ""}, "/description"),
    ],
)  # fmt: skip
def test_what_cannot_be_a_webhook_is_refused_without_showing_secrets(
    client: httpx2.Client, fields: Json, pointer: str
) -> None:
    before = listed(client.get("/webhooks/", params={"limit": 1_000}))
    content = {"url": "https://example.invalid/", "plan_ids": [some_id()], **fields}
    response = client.post("/webhooks/", json=content)
    assert [*faults_of(response)] == [pointer]
    assert "hidden" not in response.text
    assert listed(client.get("/webhooks/", params={"limit": 1_000})) == before


def test_a_url_is_checked_where_it_is_changed_too(client: httpx2.Client) -> None:
    made = new_hook(client)
    path = f"/webhooks/{made['id']}"
    assert "/url" in faults_of(client.patch(path, json={"url": "http://127.0.0.1/"}))
    assert "/id" in faults_of(client.patch(path, json={"id": NOBODY}))
    assert done(client.get(path)) == without_secret(made)


def test_webhooks_are_listed_in_pages(client: httpx2.Client) -> None:
    made = [new_hook(client)["id"] for _ in range(3)]
    first = client.get("/webhooks/", params={"limit": 2})
    rest = client.get(first.links["next"]["url"], follow_redirects=False)
    assert [each["id"] for each in [*listed(first), *listed(rest)]][:3] == made[::-1]


def test_a_test_says_why_nothing_got_through(client: httpx2.Client) -> None:
    made = new_hook(client, url="http://localhost:1/")
    headers = {"Idempotency-Key": some_id()}
    trial = answered(client.post(f"/webhooks/{made['id']}/test", headers=headers))
    assert (trial["is_delivered"], trial["response_status"]) == (False, None)
    assert "private" in trial["error"]
    assert answered(client.post(f"/webhooks/{made['id']}/test", headers=headers)) == trial


@pytest.fixture
def database(postgres: Postgres) -> Iterator[str]:
    with database_of(postgres) as url:
        yield url


@pytest.fixture
def settings(database: str) -> dict[str, str]:
    return {"PLANSTORE_DATABASE_URL": database, "PLANSTORE_WEBHOOKS_ALLOW_PRIVATE": "true"}


def lapse(url: str) -> None:
    """Let so much time have passed that every lease is over, and every delivery due."""

    async def work() -> None:
        conn = await asyncpg.connect(url)
        try:
            await conn.execute(_LAPSE)
            await conn.execute("update planstore.webhooks set rests_until = now()")
            await conn.execute("update planstore.relays set lease_expires_at = now()")
        finally:
            await conn.close()

    asyncio.run(work())


def work(served: Served, *, tasks: int) -> None:
    with served.client() as client:
        plan = new_plan(client, status="active")
        for _ in range(tasks):
            task = new_task(client, plan)
            done(client.patch(f"/tasks/{task['id']}", json={"status": "completed"}))


def deliveries_of(served: Served, webhook: Json, **query: str) -> list[Json]:
    with served.client() as client:
        path = f"/webhooks/{webhook['id']}/deliveries"
        return listed(client.get(path, params={"limit": "1000", **query}))


def has_all(served: Served, webhook: Json, receiver: Receiver) -> bool:
    """Whether every event was delivered, and the receiver has got it."""
    with served.client() as client:
        events = {each["id"] for each in listed(client.get("/events/", params={"limit": "1000"}))}
    delivered = {each["id"] for each in deliveries_of(served, webhook, status="delivered")}
    return events == delivered == set(receiver.ids)


def test_when_a_server_is_killed_in_the_middle_another_sends_what_it_was_sending(
    settings: dict[str, str], database: str
) -> None:
    with Receiver().running() as receiver, serving(**settings) as first:
        with first.client() as client:
            webhook = done(client.post("/webhooks/", json={"url": receiver.url}), 201)
        receiver.goes_on.clear()
        work(first, tasks=3)
        assert wait_until(lambda: len(receiver.received) >= 4, seconds=PATIENCE)
        with serving(**settings) as second:
            first.end(signal.SIGKILL)
            receiver.goes_on.set()
            work(second, tasks=1)
            lapse(database)
            assert wait_until(lambda: has_all(second, webhook, receiver), seconds=PATIENCE)
            assert "Traceback" not in second.log.read_text()
    assert max(receiver.ids.values()) == 2
    for received in receiver.received:
        received.verified(webhook["secret"])


def test_when_a_receiver_is_killed_it_is_told_of_everything_once_it_is_back(
    settings: dict[str, str], database: str
) -> None:
    receiver = Receiver()
    with serving(**settings) as served:
        with receiver.running():
            with served.client() as client:
                webhook = done(client.post("/webhooks/", json={"url": receiver.url}), 201)
            work(served, tasks=1)
            assert wait_until(lambda: has_all(served, webhook, receiver), seconds=PATIENCE)
        work(served, tasks=1)
        assert wait_until(
            lambda: any(each["error"] for each in deliveries_of(served, webhook)),
            seconds=PATIENCE,
        )
        with receiver.running():
            lapse(database)
            assert wait_until(lambda: has_all(served, webhook, receiver), seconds=PATIENCE)
        log = served.log.read_text()
    assert "Traceback" not in log
    assert webhook["secret"] not in log


def test_the_receiver_that_the_page_shows_takes_what_is_signed(settings: dict[str, str]) -> None:
    page = PAGE.read_text("utf-8")
    (program,) = re.findall(r"^```python receiver\n(.*?)^```$", page, re.MULTILINE | re.DOTALL)
    names: dict[str, Any] = {}
    exec(compile(program, PAGE.name, "exec"), names)
    shown = names["Receiver"]
    with HTTPServer(("127.0.0.1", 0), shown) as receiver, serving(**settings) as served:
        threading.Thread(target=receiver.serve_forever, args=(0.01,)).start()
        with served.client() as client:
            content = {"url": f"http://127.0.0.1:{receiver.server_port}/"}
            webhook = done(client.post("/webhooks/", json=content), 201)
            refused = answered(client.post(f"/webhooks/{webhook['id']}/test"))
            shown.secret = webhook["secret"]
            taken = answered(client.post(f"/webhooks/{webhook['id']}/test"))
        receiver.shutdown()
    assert (refused["response_status"], taken["response_status"]) == (401, 204)
    assert list(shown.events) == [taken["message_id"]]


def test_a_server_stops_in_good_time_though_a_receiver_hangs(settings: dict[str, str]) -> None:
    with Receiver().running() as receiver, serving(**settings) as served:
        with served.client() as client:
            done(client.post("/webhooks/", json={"url": receiver.url}), 201)
        receiver.goes_on.clear()
        work(served, tasks=1)
        assert wait_until(lambda: bool(receiver.received), seconds=PATIENCE)
        begun = time.monotonic()
        assert served.end(signal.SIGTERM) == 0
        assert time.monotonic() - begun < 5
        assert "Traceback" not in served.log.read_text()
