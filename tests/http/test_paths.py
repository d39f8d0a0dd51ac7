"""Every path answers by itself: with and without its last slash, and under its alias."""

from __future__ import annotations

from typing import TYPE_CHECKING

import httpx2
import pytest

from planstore.app import create_app
from planstore.routers.context import Context
from tests.http.wire import NOBODY, done, faults_of, listed, new_plan, new_task, problem_of

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore
    from tests.http.wire import Ledger


@pytest.mark.parametrize("path", ["/plans/", "/plans"])
def test_a_plan_is_created_with_and_without_the_slash(client: httpx2.Client, path: str) -> None:
    plan = done(client.post(path, json={"steps": [{"step": 1}]}), 201)

    assert done(client.get(f"/plans/{plan['id']}")) == plan


@pytest.mark.parametrize("path", ["/tasks/", "/tasks", "/plans/tasks", "/plans/tasks/"])
def test_a_task_is_created_under_each_spelling(client: httpx2.Client, path: str) -> None:
    plan = new_plan(client)

    task = done(client.post(path, json={"plan_id": plan["id"], "description": "do it"}), 201)

    assert done(client.get(f"/tasks/{task['id']}")) == task
    assert task["plan_id"] == plan["id"]


@pytest.mark.parametrize("path", ["/plans/{}", "/plans/{}/"])
def test_a_plan_is_read_and_changed_with_and_without_the_slash(
    client: httpx2.Client, path: str
) -> None:
    plan = new_plan(client)
    path = path.format(plan["id"])

    assert done(client.get(path)) == plan
    assert done(client.patch(path, json={"current_step": 2}))["current_step"] == 2


@pytest.mark.parametrize("path", ["/tasks/{}", "/tasks/{}/", "/plans/tasks/{}", "/plans/tasks/{}/"])
def test_a_task_is_changed_under_each_spelling(client: httpx2.Client, path: str) -> None:
    task = new_task(client, new_plan(client))

    changed = done(client.patch(path.format(task["id"]), json={"description": "do that"}))

    assert changed == done(client.get(f"/tasks/{task['id']}/"))
    assert changed["description"] == "do that"


@pytest.mark.parametrize("path", ["/tasks/", "/tasks"])
def test_tasks_are_listed_with_and_without_the_slash(client: httpx2.Client, path: str) -> None:
    plan = new_plan(client)
    task = new_task(client, plan)

    assert listed(client.get(path, params={"plan_id": plan["id"]})) == [task]


def test_an_id_may_be_spelled_as_uuids_are(client: httpx2.Client) -> None:
    plan = new_plan(client)

    for spelling in (plan["id"].upper(), plan["id"].replace("-", "")):
        assert done(client.get(f"/plans/{spelling}")) == plan


def test_the_head_of_what_can_be_read_may_be_asked_for_alone(client: httpx2.Client) -> None:
    plan = new_plan(client)
    for path in (f"/plans/{plan['id']}", "/tasks/", "/health", "/livez"):
        whole = client.get(path)

        head = client.head(path)

        assert (head.status_code, head.content) == (200, b"")
        assert head.headers.get("ETag") == whole.headers.get("ETag")
        assert head.headers["Content-Type"] == whole.headers["Content-Type"]


@pytest.mark.parametrize("path", ["/", "/nothing", "/plans/tasks/a/b", "/plans//", "/TASKS/"])
def test_an_unknown_path_is_a_problem(client: httpx2.Client, path: str) -> None:
    problem = problem_of(client.get(path), 404, "not_found")

    assert path in problem["detail"]


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("PUT", "/plans/", "GET, HEAD, POST"),
        ("DELETE", "/plans", "GET, HEAD, POST"),
        ("PUT", "/plans/770e8400-e29b-41d4-a716-446655440002", "DELETE, GET, HEAD, PATCH"),
        ("DELETE", "/tasks/", "GET, HEAD, POST"),
        ("POST", "/tasks/770e8400-e29b-41d4-a716-446655440002/", "DELETE, GET, HEAD, PATCH"),
        ("GET", "/plans/bulk", "POST"),
        ("PUT", "/plans/import/", "POST"),
        ("DELETE", "/tasks/bulk/", "POST"),
        ("GET", "/plans/tasks/770e8400-e29b-41d4-a716-446655440002", "PATCH"),
        ("OPTIONS", "/tasks/", "GET, HEAD, POST"),
        ("TRACE", "/tasks/", "GET, HEAD, POST"),
        ("POST", "/health", "GET, HEAD"),
        ("GET", "/tasks/claim", "POST"),
        ("PATCH", "/tasks/complete/", "POST"),
        (
            "PATCH",
            "/tasks/770e8400-e29b-41d4-a716-446655440002/dependencies",
            "DELETE, GET, HEAD, POST, PUT",
        ),
        ("GET", "/plans/770e8400-e29b-41d4-a716-446655440002/start/", "POST"),
    ],
)
def test_an_unknown_method_is_a_problem_that_names_the_known_ones(
    client: httpx2.Client, ledger: Ledger, method: str, path: str, allowed: str
) -> None:
    with ledger.unchanged():
        response = client.request(method, path, content=b"{}")

    problem = problem_of(response, 405, "method_not_allowed")
    assert response.headers["Allow"] == allowed
    assert method in problem["detail"]
    assert allowed in problem["detail"]


async def test_the_router_finds_literal_paths_before_ids(store: PlanStore) -> None:
    # Under a root path, requests don't take the shortcut to their endpoint.
    transport = httpx2.ASGITransport(create_app(Context(store)), root_path="/planstore")
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost") as client:
        for verb in ("claim", "heartbeat", "complete", "batch", "bulk"):
            for path in (f"/planstore/tasks/{verb}", f"/planstore/tasks/{verb}/"):
                assert "{task_id}" not in faults_of(await client.post(path, json={}))
        response = await client.post(f"/planstore/tasks/{NOBODY}/complete")
        problem_of(response, 404, "not_found")
        response = await client.put(f"/planstore/tasks/{NOBODY}")
        problem_of(response, 405, "method_not_allowed")


def test_the_documentation_lists_the_main_paths_and_no_alias(client: httpx2.Client) -> None:
    document = client.get("/openapi.json").json()

    operations = {path: set(methods) for path, methods in document["paths"].items()}
    plan_verbs = ("expand", "start", "pause", "resume", "cancel", "retry")
    task_verbs = ("complete", "fail", "release", "skip", "retry", "reset", "approve", "reject")
    assert operations == {
        "/schemas/": {"get"},
        "/schemas/{schema_name}": {"get"},
        "/plans/": {"post", "get"},
        "/plans/bulk": {"post"},
        "/plans/import": {"post"},
        "/plans/{plan_id}/export": {"get"},
        "/plans/{plan_id}": {"get", "patch", "delete"},
        **{f"/plans/{{plan_id}}/{verb}": {"post"} for verb in plan_verbs},
        **{f"/plans/{{plan_id}}/{view}": {"get"} for view in ("progress", "graph", "explain")},
        "/plans/{plan_id}/tasks": {"put"},
        "/plans/{plan_id}/revisions": {"get", "post"},
        "/plans/{plan_id}/revisions/{revision}": {"get"},
        "/plans/{plan_id}/diff": {"get"},
        "/plans/{plan_id}/events/stream": {"get"},
        "/plans/{plan_id}/save-as-template": {"post"},
        "/templates/": {"post", "get"},
        "/templates/{name}": {"get"},
        "/templates/{name}/versions": {"get", "post"},
        "/templates/{name}/versions/{version}": {"get"},
        **{
            f"/templates/{{name}}/{verb}": {"post"}
            for verb in ("archive", "restore", "instantiate")
        },
        "/tasks/": {"post", "get"},
        "/tasks/batch": {"post"},
        "/tasks/claim": {"post"},
        "/tasks/claims": {"get"},
        "/tasks/heartbeat": {"post"},
        "/tasks/complete": {"post"},
        "/tasks/bulk": {"post"},
        "/tasks/{task_id}": {"get", "patch", "delete"},
        **{f"/tasks/{{task_id}}/{verb}": {"post"} for verb in task_verbs},
        "/tasks/{task_id}/attempts": {"get"},
        "/tasks/{task_id}/explain": {"get"},
        "/tasks/{task_id}/evaluations": {"get", "post"},
        "/tasks/{task_id}/dependencies": {"get", "put", "post", "delete"},
        "/usage/": {"get"},
        "/events/": {"get"},
        "/events/stream": {"get"},
        "/events/{event_id}": {"get"},
        "/stats": {"get"},
        "/stats/timeline": {"get"},
        "/metrics": {"get"},
        "/webhooks/": {"get", "post"},
        "/webhooks/{webhook_id}": {"get", "patch", "delete"},
        "/webhooks/{webhook_id}/rotate": {"post"},
        "/webhooks/{webhook_id}/test": {"post"},
        "/webhooks/{webhook_id}/deliveries": {"get"},
        "/webhooks/{webhook_id}/deliveries/{delivery_id}": {"get"},
        "/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver": {"post"},
        "/health": {"get"},
        "/health/live": {"get"},
        "/health/ready": {"get"},
    }
