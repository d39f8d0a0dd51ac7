"""Deleting plans and tasks over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.http.wire import (
    NOBODY,
    answered,
    claimed,
    done,
    faults_of,
    listed,
    new_plan,
    new_task,
    only,
    problem_of,
)

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Ledger


def gone(response: httpx2.Response) -> None:
    """Assert that what was there has been deleted."""
    assert (response.status_code, response.content) == (204, b""), response.text
    assert "Content-Type" not in response.headers


@pytest.fixture(params=["plans", "tasks"])
def path(request: pytest.FixtureRequest, client: httpx2.Client) -> str:
    """The path of a plan, or of a task."""
    plan = new_plan(client)
    return (
        f"/{request.param}/{(plan if request.param == 'plans' else new_task(client, plan))['id']}"
    )


@pytest.mark.parametrize("slash", ["", "/"])
def test_what_is_deleted_is_gone_and_can_not_be_deleted_again(
    client: httpx2.Client, ledger: Ledger, path: str, slash: str
) -> None:
    gone(client.delete(path + slash))

    with ledger.unchanged():
        for response in (client.get(path), client.delete(path), client.delete(f"{path}?force=1")):
            problem_of(response, 404, "not_found")


def test_a_plan_takes_its_tasks_along(client: httpx2.Client) -> None:
    plan = new_plan(client)
    task = new_task(client, plan)

    gone(client.delete(f"/plans/{plan['id']}"))

    problem_of(client.get(f"/tasks/{task['id']}"), 404, "not_found")
    assert listed(client.get("/tasks/", params={"plan_id": plan["id"]})) == []


def test_what_runs_is_deleted_by_force_only_and_its_worker_is_told(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client, status="active")
    for _ in range(2):
        new_task(client, plan, sequence_order=1)
    first, second = claimed(client, plan, worker_id="the holder", limit=2)

    with ledger.unchanged():
        for target in (f"/plans/{plan['id']}", f"/tasks/{first['id']}"):
            for query in ("", "?force=false"):
                response = client.delete(target + query)
                assert "'the holder'" in problem_of(response, 409, "tasks_running")["detail"]

    gone(client.delete(f"/tasks/{first['id']}?force=true"))
    gone(client.delete(f"/plans/{plan['id']}?force=true"))
    claims = [
        {"task_id": each["id"], "fencing_token": each["fencing_token"]} for each in (first, second)
    ]
    beat = {"worker_id": "the holder", "claims": claims}
    answer = answered(client.post("/tasks/heartbeat", json=beat))
    assert [each["state"] for each in answer["claims"]] == ["lost", "lost"]
    token = {"fencing_token": second["fencing_token"]}
    problem_of(client.post(f"/tasks/{second['id']}/complete", json=token), 404, "not_found")


def test_what_others_need_is_deleted_by_force_only_and_they_go_on(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client, status="active", plan_type="dag")
    task = new_task(client, plan, name="a")
    other = new_task(client, plan, name="b", depends_on=["a"])

    with ledger.unchanged():
        response = client.delete(f"/tasks/{task['id']}")
        assert "'b'" in problem_of(response, 409, "task_needed")["detail"]

    gone(client.delete(f"/tasks/{task['id']}?force=true"))
    assert only(claimed(client, plan))["id"] == other["id"]
    assert listed(client.get(f"/tasks/{other['id']}/dependencies")) == []


def test_what_has_changed_is_not_deleted(client: httpx2.Client, ledger: Ledger, path: str) -> None:
    etag = client.get(path).headers["ETag"]
    done(client.patch(path, json={"metadata": {"a": 1}}))

    with ledger.unchanged():
        for tag in (etag, '"foreign"'):
            problem_of(client.delete(path, headers={"If-Match": tag}), 412, "version_mismatch")
        assert faults_of(client.delete(path, headers={"If-Match": "3"})).keys() == {"If-Match"}

    gone(client.delete(path, headers={"If-Match": client.get(path).headers["ETag"]}))


def test_what_can_not_be_meant_is_refused_by_name(
    client: httpx2.Client, ledger: Ledger, path: str
) -> None:
    with ledger.unchanged():
        assert faults_of(client.delete(f"{path}?forc=true")).keys() == {"?forc"}
        assert faults_of(client.delete(f"{path}?force=perhaps")).keys() == {"?force"}
        assert faults_of(client.delete(f"{path}?force=1&force=0")).keys() == {"?force"}
        noun = path.split("/")[1]
        assert faults_of(client.delete(f"/{noun}/mine")).keys() == {f"{{{noun[:-1]}_id}}"}
        problem_of(client.delete(f"/{noun}/{NOBODY}"), 404, "not_found")
