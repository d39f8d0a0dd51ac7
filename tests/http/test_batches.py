"""Many tasks at once: all are made, in order and whole, or none is and every fault is named."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.http.wire import (
    NOBODY,
    done,
    faults_of,
    listed,
    new_plan,
    new_task,
    problem_of,
    some_id,
)

if TYPE_CHECKING:
    import httpx2

    from tests.http.conftest import OpenApp
    from tests.http.wire import Json, Ledger


def made(response: httpx2.Response) -> list[Json]:
    """Assert that a batch was done; return its tasks."""
    assert response.status_code == 201, response.text
    assert response.headers["Content-Type"] == "application/json"
    assert "ETag" not in response.headers
    answer = response.json()
    assert list(answer) == ["tasks"]
    return answer["tasks"]


def drafts(*descriptions: str, **fields: Any) -> list[Json]:
    return [{"description": description, **fields} for description in descriptions]


def in_plan(client: httpx2.Client, plan: Json) -> list[Json]:
    return listed(client.get("/tasks/", params={"plan_id": plan["id"], "limit": 1_000}))


def test_a_batch_answers_its_tasks_whole_and_in_its_order(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client)
    given: dict[str, Any] = {
        "id": some_id(),
        "name": "analysis",
        "agent_id": some_id(),
        "task_type": "research",
        "input_data": {"a": [1]},
        "metadata": {"b": "ü"},
    }
    content = {
        "plan_id": plan["id"],
        "tasks": [
            {"description": "late", "sequence_order": 9},
            {"description": "full", "sequence_order": 3, **given},
            {"description": "last"},
        ],
    }

    tasks = made(client.post("/tasks/batch", json=content))

    assert [task["description"] for task in tasks] == ["late", "full", "last"]
    assert {name: tasks[1][name] for name in given} == given
    for task in tasks:
        assert task["plan_id"] == plan["id"]
        assert (task["status"], task["version"]) == ("pending", 1)
        assert done(client.get(f"/tasks/{task['id']}")) == task
        assert ledger.events(task) == ["task.created"]
    assert [task["description"] for task in in_plan(client, plan)] == ["full", "late", "last"]
    assert done(client.get(f"/plans/{plan['id']}"))["revision"] == plan["revision"] + 1


@pytest.mark.parametrize("path", ["/tasks/batch", "/tasks/batch/"])
@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_batch_is_json_with_and_without_a_slash_whatever_the_content_type_says(
    client: httpx2.Client, path: str, content_type: str | None
) -> None:
    plan = new_plan(client)
    body = json.dumps({"plan_id": plan["id"], "tasks": drafts("a", "b")}).encode()
    headers = {} if content_type is None else {"Content-Type": content_type}

    tasks = made(client.post(path, content=body, headers=headers))

    assert in_plan(client, plan) == tasks


def test_a_batch_is_made_once_under_its_key(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client)
    content = {"plan_id": plan["id"], "tasks": drafts("a", "b", "c")}
    headers = {"Idempotency-Key": some_id()}
    first = client.post("/tasks/batch", json=content, headers=headers)
    done(client.patch(f"/tasks/{made(first)[0]['id']}", json={"status": "completed"}))

    with ledger.unchanged():
        for path in ("/tasks/batch", "/tasks/batch/"):
            again = client.post(path, json=content, headers=headers)
            assert made(again) == made(first)
        other = {**content, "tasks": drafts("a", "b")}
        response = client.post("/tasks/batch", json=other, headers=headers)
        problem_of(response, 422, "idempotency_mismatch")


def test_a_key_of_a_task_is_another_one_for_a_batch(client: httpx2.Client) -> None:
    plan, headers = new_plan(client), {"Idempotency-Key": some_id()}
    content = {"plan_id": plan["id"], "description": "alone"}
    alone = done(client.post("/tasks/", json=content, headers=headers), 201)

    content = {"plan_id": plan["id"], "tasks": drafts("together")}
    together = made(client.post("/tasks/batch", json=content, headers=headers))

    assert in_plan(client, plan) == [alone, *together]


def test_a_refusal_does_not_use_up_the_key_of_a_batch(client: httpx2.Client) -> None:
    plan_id, headers = some_id(), {"Idempotency-Key": some_id()}
    content = {"plan_id": plan_id, "tasks": drafts("a")}
    response = client.post("/tasks/batch", json=content, headers=headers)
    problem_of(response, 404, "not_found")
    new_plan(client, id=plan_id)

    assert len(made(client.post("/tasks/batch", json=content, headers=headers))) == 1


def _faulty(plan_id: str) -> bytes:
    content: Json = {
        "plan_id": plan_id,
        "tasks": [
            {"description": "fine"},
            {"descripton": "misspelt"},
            {"description": "a", "name": some_id(), "sequence_order": -1},
            {"description": ""},
            "no object",
            {"description": "b", "metadata": {"x": [1, float("inf")], "y/z": "\x00"}},
            {"description": "c", "plan_id": plan_id, "status": "running"},
        ],
        "taks": [],
    }
    return json.dumps(content).encode()


def test_all_faults_of_all_tasks_of_a_batch_are_named_at_once(
    client: httpx2.Client, ledger: Ledger
) -> None:
    with ledger.unchanged():
        faults = faults_of(client.post("/tasks/batch", content=_faulty("no id")))

    assert faults.keys() == {
        *("/plan_id", "/taks"),
        *("/tasks/1/descripton", "/tasks/1/description"),
        *("/tasks/2/name", "/tasks/2/sequence_order"),
        *("/tasks/3/description", "/tasks/4"),
        *("/tasks/5/metadata/x/1", "/tasks/5/metadata/y~1z"),
        *("/tasks/6/plan_id", "/tasks/6/status"),
    }
    assert "did you mean 'tasks'?" in faults["/taks"]
    assert "did you mean 'description'?" in faults["/tasks/1/descripton"]
    assert "required" in faults["/tasks/1/description"]
    # What a task of a batch may have, not what the batch may.
    assert "sequence_order" in faults["/tasks/6/status"]
    assert "tasks" not in faults["/tasks/6/status"]


def test_tasks_of_a_batch_are_told_apart(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client)
    twins = ([{"name": "a"}] * 2, [{"id": some_id()}] * 2)

    with ledger.unchanged():
        for twin in twins:
            tasks = [{"description": "x", **fields} for fields in twin]
            response = client.post("/tasks/batch", json={"plan_id": plan["id"], "tasks": tasks})
            ((pointer, detail),) = faults_of(response).items()
            assert pointer == "/tasks"
            assert next(iter(twin[0].values())) in detail


@pytest.mark.parametrize("count", [0, 10_001])
def test_a_batch_has_1_to_10_000_tasks(client: httpx2.Client, ledger: Ledger, count: int) -> None:
    plan = new_plan(client)

    with ledger.unchanged():
        content = {"plan_id": plan["id"], "tasks": drafts(*["x"] * count)}
        assert faults_of(client.post("/tasks/batch", json=content)).keys() == {"/tasks"}


def test_a_batch_for_what_is_not_there_or_shut_or_taken_makes_nothing(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan, shut = new_plan(client), new_plan(client)
    taken = new_task(client, plan, name="taken")
    done(client.patch(f"/plans/{shut['id']}", json={"status": "cancelled"}))
    fine = drafts("fine")

    def post(plan_id: str, **last: Any) -> httpx2.Response:
        tasks = [*fine, {"description": "last", **last}]
        return client.post("/tasks/batch", json={"plan_id": plan_id, "tasks": tasks})

    with ledger.unchanged():
        assert NOBODY in problem_of(post(NOBODY), 404, "not_found")["detail"]
        assert shut["id"] in problem_of(post(shut["id"]), 409, "plan_closed")["detail"]
        problem = problem_of(post(plan["id"], name="taken"), 409, "already_exists")
        assert "'taken'" in problem["detail"]
        problem = problem_of(post(plan["id"], id=taken["id"]), 409, "already_exists")
        assert taken["id"] in problem["detail"]


@pytest.mark.parametrize("path", ["/tasks/batch", "/tasks/batch/"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "PATCH", "DELETE", "OPTIONS"])
def test_a_batch_is_only_posted(client: httpx2.Client, method: str, path: str) -> None:
    response = client.request(method, path, content=b"{}")

    assert (response.status_code, response.headers["Allow"]) == (405, "POST")
    if method != "HEAD":
        problem_of(response, 405, "method_not_allowed")


async def test_a_batch_may_be_larger_than_a_task(open_app: OpenApp) -> None:
    async with open_app(max_body=1_024, max_batch_body=2_048) as client:
        plan = done(await client.post("/plans/", json={}), 201)
        body = json.dumps({"plan_id": plan["id"], "tasks": drafts("a")}).encode()

        made(await client.post("/tasks/batch", content=body.ljust(2_048)))
        response = await client.post("/tasks/batch", content=body.ljust(2_049))
        assert "2048 bytes" in problem_of(response, 413, "body_too_large")["detail"]
        task = json.dumps({"plan_id": plan["id"], "description": "b"}).encode()
        for path in ("/tasks/", "/plans/"):
            response = await client.post(path, content=task.ljust(1_025))
            assert "1024 bytes" in problem_of(response, 413, "body_too_large")["detail"]

        tasks = listed(await client.get("/tasks/"))
        assert [each["description"] for each in tasks] == ["a"]


def test_a_plan_is_made_with_its_tasks(client: httpx2.Client, ledger: Ledger) -> None:
    content = {"status": "active", "tasks": drafts("a", "b"), "metadata": {"x": 1}}
    headers = {"Idempotency-Key": some_id()}

    plan = done(client.post("/plans/", json=content, headers=headers), 201)

    assert "tasks" not in plan
    assert (plan["status"], plan["metadata"]) == ("active", {"x": 1})
    assert done(client.get(f"/plans/{plan['id']}")) == plan
    tasks = in_plan(client, plan)
    assert [(task["description"], task["sequence_order"]) for task in tasks] == [
        ("a", 1),
        ("b", 2),
    ]
    with ledger.unchanged():
        assert done(client.post("/plans/", json=content, headers=headers), 201) == plan


def test_a_plan_whose_tasks_can_not_be_made_is_not_made(
    client: httpx2.Client, ledger: Ledger
) -> None:
    taken, plan_id = new_task(client, new_plan(client)), some_id()
    tasks: list[Json] = [{"description": "fine"}, {"descripton": "b"}, {"description": " "}]

    with ledger.unchanged():
        faults = faults_of(client.post("/plans/", json={"id": plan_id, "tasks": tasks}))
        content = {"id": plan_id, "tasks": [*drafts("a"), *drafts("b", id=taken["id"])]}
        problem_of(client.post("/plans/", json=content), 409, "already_exists")
        problem_of(client.get(f"/plans/{plan_id}"), 404, "not_found")

    assert faults.keys() == {
        *("/tasks/1/descripton", "/tasks/1/description", "/tasks/2/description"),
    }
    assert "did you mean 'description'?" in faults["/tasks/1/descripton"]


def test_a_plan_does_not_take_tasks_later(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client)

    with ledger.unchanged():
        response = client.patch(f"/plans/{plan['id']}", json={"tasks": drafts("a")})
        assert faults_of(response).keys() == {"/tasks"}
