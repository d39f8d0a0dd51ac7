"""Doing one thing to many plans or tasks over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from planstore.models.bulk import PlanAction, TaskAction
from tests.http.wire import (
    answered,
    claimed,
    done,
    faults_of,
    listed,
    new_plan,
    new_task,
    only,
    problem_of,
    some_id,
)

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger

ANSWER = [
    *("matched", "changed", "unchanged", "refused", "refusals", "next_cursor", "examples"),
]


@pytest.fixture
def plan(client: httpx2.Client) -> Json:
    """A plan of a goal of its own, with a task that failed and two that are ready."""
    plan = new_plan(client, status="active", plan_type="dag", goal_id=some_id())
    for status in ("failed", "pending", "pending"):
        task = new_task(client, plan)
        if status == "failed":
            done(client.patch(f"/tasks/{task['id']}", json={"status": status}))
    return plan


@pytest.mark.parametrize("slash", ["", "/"])
def test_tasks_are_found_by_the_filter_and_changed(
    client: httpx2.Client, plan: Json, slash: str
) -> None:
    content = {"filter": {"plan_id": plan["id"], "status": ["failed"]}, "action": "retry"}

    answer = answered(client.post(f"/tasks/bulk{slash}", json=content))

    assert sorted(answer) == sorted(ANSWER)
    assert (answer["matched"], answer["changed"], answer["refusals"]) == (1, 1, [])
    assert answer["next_cursor"] is None
    assert len(claimed(client, plan, limit=9)) == 3


@pytest.mark.parametrize(
    ("found", "matched"),
    [
        ({"status": "pending"}, 2),
        ({"status": ["pending", "failed"]}, 3),
        ({"created_after": "2020-01-01T00:00:00Z"}, 3),
        ({"created_before": "2020-01-01T00:00:00"}, 0),
        ({"ready": True}, 2),
        ({"task_type": ["nothing"]}, 0),
    ],
)
def test_a_filter_is_written_as_a_value_or_a_list(
    client: httpx2.Client, plan: Json, found: Json, matched: int
) -> None:
    content = {"filter": {"plan_id": plan["id"], **found}, "action": "skip", "dry_run": True}

    answer = answered(client.post("/tasks/bulk", json=content))

    assert answer["matched"] == matched


def test_plans_are_found_by_the_filter_and_changed(client: httpx2.Client, plan: Json) -> None:
    content = {"filter": {"goal_id": plan["goal_id"]}, "action": "cancel"}

    answer = answered(client.post("/plans/bulk", json=content))

    assert sorted(answer) == sorted(ANSWER)
    assert (answer["matched"], answer["changed"]) == (1, 1)
    assert done(client.get(f"/plans/{plan['id']}"))["status"] == "cancelled"


def test_a_dry_run_shows_what_is_meant(client: httpx2.Client, ledger: Ledger, plan: Json) -> None:
    content = {"filter": {"plan_id": plan["id"]}, "action": "delete", "dry_run": True}

    with ledger.unchanged():
        answer = answered(client.post("/tasks/bulk", json=content))
        of_plans = {"filter": {"goal_id": plan["goal_id"]}, "action": "delete", "dry_run": True}
        shown = answered(client.post("/plans/bulk", json=of_plans))

    assert (answer["matched"], answer["changed"]) == (3, 0)
    there = listed(client.get("/tasks/", params={"plan_id": plan["id"]}))
    assert answer["examples"] == there[::-1]
    assert only(shown["examples"]) == done(client.get(f"/plans/{plan['id']}"))


def test_what_is_refused_is_told_and_stops_nothing_else(client: httpx2.Client, plan: Json) -> None:
    packet = only(claimed(client, plan, worker_id="the holder", limit=1))
    content: Json = {"filter": {"plan_id": plan["id"]}, "action": "delete"}

    answer = answered(client.post("/tasks/bulk", json=content))

    assert (answer["matched"], answer["changed"], answer["refused"]) == (3, 2, 1)
    refusal = only(answer["refusals"])
    assert list(refusal) == ["id", "code", "detail"]
    assert (refusal["id"], refusal["code"]) == (packet["id"], "tasks_running")
    assert "'the holder'" in refusal["detail"]
    forced = answered(client.post("/tasks/bulk", json={**content, "force": True}))
    assert (forced["matched"], forced["changed"]) == (1, 1)


def test_a_repetition_under_its_key_is_answered_alike(
    client: httpx2.Client, ledger: Ledger, plan: Json
) -> None:
    content = {"filter": {"plan_id": plan["id"]}, "action": "skip"}
    headers = {"Idempotency-Key": some_id()}
    first = answered(client.post("/tasks/bulk", json=content, headers=headers))
    assert first["changed"] == 3

    with ledger.unchanged():
        again = client.post("/tasks/bulk", json=content, headers=headers)
        assert answered(again) == first
        other = {**content, "action": "reset"}
        response = client.post("/tasks/bulk", json=other, headers=headers)
        problem_of(response, 422, "idempotency_mismatch")


def test_what_may_not_be_meant_is_refused_by_name(
    client: httpx2.Client, ledger: Ledger, plan: Json
) -> None:
    found = {"plan_id": plan["id"]}

    with ledger.unchanged():
        asked: list[tuple[Json, set[str]]] = [
            ({"action": "skip"}, {"/filter"}),
            ({"action": "skip", "filter": {}}, {"/filter"}),
            ({"action": "skip", "filter": {"plan": plan["id"]}}, {"/filter/plan"}),
            ({"action": "skip", "filter": found, "all": True}, {"/all"}),
            ({"action": "skip", "filter": found, "force": True}, {"/force"}),
            ({"action": "skip", "filter": found, "cursor": "x"}, {"/cursor"}),
            ({"action": "skip", "filter": found, "dryrun": True}, {"/dryrun"}),
            ({"action": "skip", "filter": {"status": "done"}}, {"/filter/status"}),
            ({"filter": found}, {"/action"}),
            ({}, {"/action"}),
        ]
        for content, at in asked:
            faults = faults_of(client.post("/tasks/bulk", json=content))
            assert faults.keys() == at, content
        assert faults_of(client.post("/tasks/bulk?dry_run=1", json={})).keys() == {"?dry_run"}


@pytest.mark.parametrize(
    ("noun", "action", "allowed"),
    [("plans", "skip", PlanAction), ("plans", "release", PlanAction), ("tasks", "go", TaskAction)],
)
def test_an_action_that_there_is_not_is_told_those_that_there_are(
    client: httpx2.Client, noun: str, action: str, allowed: type[PlanAction | TaskAction]
) -> None:
    content = {"action": action, "all": True}

    faults = faults_of(client.post(f"/{noun}/bulk", json=content))

    assert faults.keys() == {"/action"}
    assert all(f"'{each.value}'" in faults["/action"] for each in allowed)
