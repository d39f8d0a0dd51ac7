"""A request that is repeated under its key is answered as before, and done once."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from planstore.routers.gate import Admission
from tests.history import all_events
from tests.http.wire import done, faults_of, listed, new_plan, new_task, problem_of, some_id

if TYPE_CHECKING:
    import httpx2

    from planstore.db import Database
    from tests.http.conftest import OpenApp
    from tests.http.wire import Json, Ledger


def key(text: str | None = None) -> dict[str, str]:
    return {"Idempotency-Key": text or some_id()}


def test_a_plan_is_created_once(client: httpx2.Client, ledger: Ledger) -> None:
    headers = key()
    first = client.post("/plans/", json={"plan_type": "dag"}, headers=headers)

    with ledger.unchanged():
        again = client.post("/plans/", json={"plan_type": "dag"}, headers=headers)

    assert done(again, 201) == done(first, 201)
    assert again.headers["ETag"] == first.headers["ETag"]
    assert ledger.events(first.json()) == ["plan.created"]


def test_a_task_is_created_once_under_whatever_spelling(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client)
    content = {"plan_id": plan["id"], "description": "do it"}
    headers = key()
    first = done(client.post("/tasks/", json=content, headers=headers), 201)

    with ledger.unchanged():
        for path in ("/tasks", "/plans/tasks", "/plans/tasks/"):
            assert done(client.post(path, json=content, headers=headers), 201) == first

    assert listed(client.get("/tasks/", params={"plan_id": plan["id"]})) == [first]


def test_a_change_is_made_once_under_whatever_spelling(
    client: httpx2.Client, ledger: Ledger
) -> None:
    task = new_task(client, new_plan(client))
    headers = key()
    first = done(client.patch(f"/tasks/{task['id']}", json={"status": "running"}, headers=headers))

    with ledger.unchanged():
        for path in ("/tasks/{}/", "/plans/tasks/{}", "/plans/tasks/{}/"):
            again = client.patch(
                path.format(task["id"]), json={"status": "running"}, headers=headers
            )
            assert done(again) == first
        path = f"/tasks/{task['id'].upper()}"
        assert done(client.patch(path, json={"status": "running"}, headers=headers)) == first


def test_a_repetition_is_answered_as_it_was_though_the_object_went_on(
    client: httpx2.Client, ledger: Ledger
) -> None:
    task = new_task(client, new_plan(client))
    path = f"/tasks/{task['id']}"
    headers = key()
    first = client.patch(path, json={"status": "running"}, headers=headers)
    done(client.patch(path, json={"status": "completed", "output_data": {"a": 1}}))

    with ledger.unchanged():
        again = client.patch(path, json={"status": "running"}, headers=headers)

    assert done(again) == done(first)
    assert again.json()["status"] == "running"
    assert done(client.get(path))["status"] == "completed"


def test_a_condition_that_the_first_request_met_does_not_refuse_the_second(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client)
    headers = {**key(), "If-Match": '"1"'}
    first = client.patch(f"/plans/{plan['id']}", json={"current_step": 3}, headers=headers)

    with ledger.unchanged():
        again = client.patch(f"/plans/{plan['id']}", json={"current_step": 3}, headers=headers)

    assert done(again) == done(first)


def test_an_id_that_the_first_request_took_does_not_refuse_the_second(
    client: httpx2.Client, ledger: Ledger
) -> None:
    content, headers = {"id": some_id()}, key()
    first = client.post("/plans/", json=content, headers=headers)

    with ledger.unchanged():
        again = client.post("/plans/", json=content, headers=headers)

    assert done(again, 201) == done(first, 201)


def test_a_key_of_another_body_is_refused(client: httpx2.Client, ledger: Ledger) -> None:
    plan, headers = new_plan(client), key()
    task = new_task(client, plan)
    content = {"plan_id": plan["id"], "description": "do it"}
    done(client.post("/tasks/", json=content, headers=headers), 201)
    done(client.patch(f"/tasks/{task['id']}", json={"status": "running"}, headers=headers))

    with ledger.unchanged():
        for response in (
            client.post("/tasks/", json={**content, "description": "do that"}, headers=headers),
            client.post("/plans/tasks", json={**content, "name": "a"}, headers=headers),
            client.patch(f"/tasks/{task['id']}", json={"status": "completed"}, headers=headers),
        ):
            problem = problem_of(response, 422, "idempotency_mismatch")
            assert headers["Idempotency-Key"] in problem["detail"]


def test_the_same_key_elsewhere_is_another_key(client: httpx2.Client) -> None:
    headers = key()

    plan = done(client.post("/plans/", json={}, headers=headers), 201)
    tasks = [new_task(client, plan) for _ in range(2)]
    changed = [
        done(client.patch(f"/tasks/{task['id']}", json={"status": "running"}, headers=headers))
        for task in tasks
    ]
    moved = done(client.patch(f"/plans/{plan['id']}", json={"current_step": 9}, headers=headers))

    assert [task["id"] for task in changed] == [task["id"] for task in tasks]
    assert moved["current_step"] == 9


def test_a_refusal_does_not_use_up_the_key(client: httpx2.Client, ledger: Ledger) -> None:
    plan, headers = new_plan(client), key()
    path = f"/plans/{plan['id']}"
    with ledger.unchanged():
        for response in (
            client.patch(path, json={"current_step": -1}, headers=headers),
            client.patch(path, json={"version": 9}, headers=headers),
        ):
            faults_of(response)
        refused = client.patch(path, json={}, headers={**headers, "If-Match": '"9"'})
        problem_of(refused, 412, "version_mismatch")

    assert done(client.patch(path, json={"current_step": 1}, headers=headers))["version"] == 2


@pytest.mark.parametrize("text", ["", "a b", "a" * 256, "é", "a\tb"])
def test_a_key_is_visible_ascii_of_some_length(
    client: httpx2.Client, ledger: Ledger, text: str
) -> None:
    plan = new_plan(client)
    headers = {b"Idempotency-Key": text.encode("latin-1")}

    with ledger.unchanged():
        for response in (
            client.post("/plans/", json={}, headers=headers),
            client.patch(f"/plans/{plan['id']}", json={"current_step": 1}, headers=headers),
        ):
            assert faults_of(response).keys() == {"Idempotency-Key"}


@pytest.mark.parametrize("text", ["a", "a" * 255, "!~", "'; drop table planstore.plans; --"[:12]])
def test_any_other_key_is_taken(client: httpx2.Client, text: str) -> None:
    task = new_task(client, new_plan(client))
    path, headers = f"/tasks/{task['id']}", key(text.replace(" ", "_"))

    first = done(client.patch(path, json={"description": "do that"}, headers=headers))

    assert done(client.patch(path, json={"description": "do that"}, headers=headers)) == first
    assert first["version"] == 2


def test_of_many_at_once_one_does_the_work_and_all_have_its_answer(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client, metadata={"big": "x" * 10_000})
    content: dict[str, Any] = {"plan_id": plan["id"], "description": "do it"}
    headers = key()

    def create(number: int) -> Json:
        path = ("/tasks/", "/plans/tasks")[number % 2]
        return done(client.post(path, json=content, headers=headers), 201)

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(create, range(8)))

    assert all(answer == answers[0] for answer in answers)
    assert listed(client.get("/tasks/", params={"plan_id": plan["id"]})) == [answers[0]]
    assert ledger.events(answers[0]) == ["task.created"]


def test_an_answer_is_kept_whole(client: httpx2.Client) -> None:
    body = json.dumps({"steps": [{"a": 1.0, "b": "ü🙂", "c": [None, 1e300]}]}).encode()
    headers = key()

    first = client.post("/plans/", content=body, headers=headers)
    again = client.post("/plans/", content=body, headers=headers)

    assert again.content == first.content


async def test_callers_do_not_share_keys(open_app: OpenApp, database: Database) -> None:
    headers = key()
    plans: list[Json] = []
    for secret in ("one", "two"):
        async with open_app(Admission(api_key=secret)) as client:
            for _ in range(2):
                response = await client.post(
                    "/plans/", json={}, headers={**headers, "X-API-Key": secret}
                )
                plans.append(done(response, 201))

    assert [plan["id"] for plan in plans] == [plans[place]["id"] for place in (0, 0, 2, 2)]
    assert plans[0]["id"] != plans[2]["id"]
    assert len(await all_events(database)) == 2
