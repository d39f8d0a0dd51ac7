"""Approvals, usage and budgets as they look on the wire."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

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

    from tests.http.wire import Json, Ledger


def gated(client: httpx2.Client, **fields: Any) -> Json:
    """A task of an active plan that requires an approval."""
    plan = new_plan(client, status="active", plan_type="dag")
    return new_task(client, plan, requires_approval=True, **fields)


def test_a_task_is_approved_with_a_name_and_a_comment(client: httpx2.Client) -> None:
    task = gated(client)
    assert (task["status"], task["status_reason"]) == ("blocked", "approval")

    review = {"by": "ada", "comment": "Go ahead"}
    approved = done(client.post(f"/tasks/{task['id']}/approve", json=review))

    assert approved["status"] == "pending"
    at = approved["approval"].pop("at")
    assert at == approved["updated_at"]
    assert approved["approval"] == {"decision": "approved", **review}


def test_a_decision_needs_no_body_and_is_repeated_under_its_key(client: httpx2.Client) -> None:
    task = gated(client)
    key = {"Idempotency-Key": f"reject-{task['id']}"}

    first = client.post(f"/tasks/{task['id']}/reject", headers=key)
    again = client.post(f"/tasks/{task['id']}/reject", headers=key)

    assert done(first)["status"] == "failed"
    assert again.content == first.content


def test_what_cannot_be_decided_is_a_conflict(client: httpx2.Client, ledger: Ledger) -> None:
    task = gated(client)
    done(client.post(f"/tasks/{task['id']}/approve", json={"by": "ada"}))

    with ledger.unchanged():
        problem_of(client.post(f"/tasks/{task['id']}/reject"), 409, "invalid_transition")
        problem_of(client.post(f"/tasks/{NOBODY}/approve"), 404, "not_found")
        faults = faults_of(client.post(f"/tasks/{task['id']}/approve", json={"who": 1, "by": ""}))

    assert set(faults) == {"/who", "/by"}


def test_what_waits_for_people_is_listed(client: httpx2.Client) -> None:
    task = gated(client)

    found = listed(client.get("/tasks/", params={"awaits_approval": "true", "limit": 1}))

    assert only(found)["id"] == task["id"]
    assert set(faults_of(client.get("/tasks/?awaits_approval=false"))) == {"?awaits_approval"}


def test_usage_is_summed_and_a_budget_pauses_and_lets_go_on(client: httpx2.Client) -> None:
    budget = {"max_cost_usd": 0.3, "deadline": "2999-01-01T00:00:00"}
    plan = new_plan(client, status="active", plan_type="dag", budget=budget)
    for _ in range(2):
        new_task(client, plan, task_type="write")
    packet = only(claimed(client, plan))
    token = {"fencing_token": packet["fencing_token"]}

    beat = {
        "worker_id": "w1",
        "claims": [{"task_id": packet["id"], **token, "usage": {"cost_usd": 0.1, "calls": 2}}],
    }
    for _ in range(2):
        key = {"Idempotency-Key": f"beat-{packet['id']}"}
        answered(client.post("/tasks/heartbeat", json=beat, headers=key))
    usage = {"cost_usd": 0.2, "output_tokens": 5}
    ended = done(client.post(f"/tasks/{packet['id']}/complete", json={**token, "usage": usage}))

    whole = {"input_tokens": 0, "output_tokens": 5, "cost_usd": 0.3, "calls": 2}
    assert ended["usage"] == whole
    paused = done(client.get(f"/plans/{plan['id']}"))
    assert (paused["usage"], paused["pause_reason"]) == (whole, "max_cost_usd")
    assert paused["budget"] == {
        "max_cost_usd": 0.3,
        "max_tokens": None,
        "max_attempts": None,
        "deadline": "2999-01-01T00:00:00Z",
    }
    assert claimed(client, plan) == []
    problem_of(client.post(f"/plans/{plan['id']}/resume"), 409, "invalid_transition")
    sums = listed(client.get("/usage/", params={"plan_id": plan["id"], "by": "task_type"}))
    assert only(sums) == {"plan_id": None, "agent_id": None, "task_type": "write", "usage": whole}

    raised = done(client.patch(f"/plans/{plan['id']}", json={"budget": {"max_cost_usd": 1}}))

    assert raised["paused_at"] is None
    assert len(claimed(client, plan)) == 1


@pytest.mark.parametrize(
    ("budget", "pointers"),
    [
        ({"max_cost_usd": 0, "max_tokens": 1.5}, {"/budget/max_cost_usd", "/budget/max_tokens"}),
        ({"max_attempts": 0, "deadline": "soon"}, {"/budget/max_attempts", "/budget/deadline"}),
        ({"max_cost": 1}, {"/budget/max_cost"}),
        ([], {"/budget"}),
    ],
)
def test_every_fault_of_a_budget_is_named(
    client: httpx2.Client, ledger: Ledger, budget: Any, pointers: set[str]
) -> None:
    with ledger.unchanged():
        assert set(faults_of(client.post("/plans/", json={"budget": budget}))) == pointers


@pytest.mark.parametrize("usage", [{"cost_usd": -1}, {"calls": "many"}, {"calls": 1e300}, {"": 1}])
def test_usage_that_is_no_number_changes_nothing(
    client: httpx2.Client, ledger: Ledger, usage: Json
) -> None:
    plan = new_plan(client, status="active")
    task = new_task(client, plan)

    with ledger.unchanged():
        faults = faults_of(client.post(f"/tasks/{task['id']}/complete", json={"usage": usage}))

    assert all(pointer.startswith("/usage") for pointer in faults)


def test_unknown_parts_of_a_query_for_usage_are_refused(client: httpx2.Client) -> None:
    assert set(faults_of(client.get("/usage?by=month&worker=w1"))) == {"?by", "?worker"}
    assert set(faults_of(client.get("/usage/?limit=0"))) == {"?limit"}
