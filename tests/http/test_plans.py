"""Plans on the wire: their fields, their defaults, and what a PATCH changes."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

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

    from tests.http.wire import Ledger

DOCUMENTED: Final = [
    *("id", "goal_id", "agent_id", "plan_type", "steps", "status", "current_step"),
    *("created_at", "updated_at"),
]


def test_a_plan_made_of_nothing_has_the_documented_defaults(
    client: httpx2.Client, ledger: Ledger
) -> None:
    before = datetime.now(UTC)

    plan = new_plan(client)

    assert set(DOCUMENTED) <= plan.keys()
    kept = {plan.pop(name) for name in ("created_at", "updated_at")}
    assert UUID(plan.pop("id")).version == 7
    assert plan == {
        "goal_id": None,
        "agent_id": None,
        "plan_type": "sequential",
        "steps": [],
        "status": "draft",
        "current_step": 0,
        "metadata": {},
        "labels": [],
        "template": None,
        "template_version": None,
        "auto_complete": True,
        "on_failure": "block",
        "max_parallel_tasks": None,
        "retry_policy": None,
        "budget": None,
        "usage": None,
        "paused_at": None,
        "pause_reason": None,
        "revision": 1,
        "version": 1,
        "closed_at": None,
    }
    (created_at,) = kept
    assert created_at.endswith("Z")
    assert abs(datetime.fromisoformat(created_at) - before).total_seconds() < 60


def test_a_plan_keeps_every_field_that_is_given(client: httpx2.Client, ledger: Ledger) -> None:
    fields: dict[str, Any] = {
        "id": some_id(),
        "goal_id": some_id(),
        "agent_id": some_id(),
        "plan_type": "parallel",
        "steps": [{"step": 1, "actions": [{"action": "lint"}]}, {"step": 2, "depends_on": 1}],
        "status": "active",
        "current_step": 3,
        "metadata": {"origin": "test"},
        "auto_complete": False,
    }

    plan = new_plan(client, **fields)

    assert {name: plan[name] for name in fields} == fields
    assert done(client.get(f"/plans/{plan['id']}")) == plan
    assert ledger.events(plan) == ["plan.created"]


@pytest.mark.parametrize("status", ["completed", "failed", "cancelled"])
def test_a_plan_is_not_created_as_closed(
    client: httpx2.Client, ledger: Ledger, status: str
) -> None:
    with ledger.unchanged():
        faults = faults_of(client.post("/plans/", json={"status": status}))

    assert "'draft' or 'active'" in faults["/status"]


def test_nulls_mean_nothing_where_a_field_may_be_left_out_and_empty(
    client: httpx2.Client,
) -> None:
    plan = new_plan(client, goal_id=None, agent_id=None)

    assert (plan["goal_id"], plan["agent_id"]) == (None, None)


def test_an_id_is_given_once(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client)

    with ledger.unchanged():
        problem_of(client.post("/plans/", json={"id": plan["id"]}), 409, "already_exists")


def test_what_is_not_there_is_not_found(client: httpx2.Client, ledger: Ledger) -> None:
    with ledger.unchanged():
        for problem in (
            problem_of(client.get(f"/plans/{NOBODY}"), 404, "not_found"),
            problem_of(client.patch(f"/plans/{NOBODY}", json={}), 404, "not_found"),
            problem_of(client.patch(f"/plans/{NOBODY}", json={"id": NOBODY}), 404, "not_found"),
        ):
            assert NOBODY in problem["detail"]


@pytest.mark.parametrize("method", ["GET", "PATCH"])
@pytest.mark.parametrize("name", ["x", "770e8400", "%00", "..%2F", "1" * 5_000, "%F0%9F%99%82"])
def test_an_id_in_the_path_is_a_uuid(client: httpx2.Client, method: str, name: str) -> None:
    response = client.request(method, f"/plans/{name}", content=b"{}")

    if response.status_code != 404:  # %2F reads as a part of another path
        assert faults_of(response).keys() == {"{plan_id}"}


def test_a_patch_changes_only_what_it_names(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client, goal_id=some_id(), agent_id=some_id(), steps=[{"step": 1}])

    changed = done(client.patch(f"/plans/{plan['id']}", json={"current_step": 2}))

    assert changed["updated_at"] > plan["updated_at"]
    assert changed == {
        **plan,
        "current_step": 2,
        "version": 2,
        "updated_at": changed["updated_at"],
    }
    assert done(client.get(f"/plans/{plan['id']}")) == changed
    assert ledger.events(plan) == ["plan.created", "plan.updated"]


def test_a_null_clears_what_may_be_empty_and_is_refused_elsewhere(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client, goal_id=some_id(), agent_id=some_id())
    path = f"/plans/{plan['id']}"

    cleared = done(client.patch(path, json={"goal_id": None, "agent_id": None}))

    assert (cleared["goal_id"], cleared["agent_id"]) == (None, None)
    needed = ["plan_type", "steps", "status", "current_step", "metadata", "auto_complete"]
    with ledger.unchanged():
        faults = faults_of(client.patch(path, json=dict.fromkeys(needed)))
    assert faults.keys() == {f"/{name}" for name in needed}


def test_steps_and_metadata_are_replaced_whole(client: httpx2.Client) -> None:
    plan = new_plan(client, steps=[{"step": 1, "a": 1}, {"step": 2}], metadata={"a": {"b": 1}})
    path = f"/plans/{plan['id']}"

    changed = done(client.patch(path, json={"steps": [{"step": 1}], "metadata": {"a": {"c": 2}}}))

    assert (changed["steps"], changed["metadata"]) == ([{"step": 1}], {"a": {"c": 2}})
    emptied = done(client.patch(path, json={"steps": [], "metadata": {}}))
    assert (emptied["steps"], emptied["metadata"]) == ([], {})


def test_a_plan_that_is_read_and_sent_back_is_unchanged(
    client: httpx2.Client, ledger: Ledger
) -> None:
    for plan in (
        new_plan(client),
        new_plan(
            client,
            goal_id=some_id(),
            steps=[{"b": 1.50, "a": [1e3]}],
            metadata={"z": 1, "a": [1.0]},
            status="active",
        ),
        _closed(client),
    ):
        path = f"/plans/{plan['id']}"
        response = client.get(path)

        with ledger.unchanged():
            again = client.patch(path, content=response.content)

        assert done(again) == plan
        assert again.content == response.content
        assert again.headers["ETag"] == response.headers["ETag"]


def _closed(client: httpx2.Client) -> dict[str, Any]:
    plan = new_plan(client, status="active")
    return done(client.patch(f"/plans/{plan['id']}", json={"status": "completed"}))


def test_a_plan_is_read_edited_and_sent_back(client: httpx2.Client) -> None:
    plan = new_plan(client, steps=[{"step": 1}])

    edited = done(client.patch(f"/plans/{plan['id']}", json={**plan, "steps": [{"step": 2}]}))

    assert edited["steps"] == [{"step": 2}]
    assert edited["version"] == 2


def test_what_the_service_keeps_is_accepted_only_as_it_is(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client)
    path = f"/plans/{plan['id']}"
    kept = {
        "id": some_id(),
        "revision": 2,
        "version": 7,
        "created_at": "2026-01-24T10:00:00Z",
        "updated_at": "2026-01-24T10:00:00Z",
        "closed_at": "2026-01-24T10:00:00Z",
    }

    with ledger.unchanged():
        faults = faults_of(client.patch(path, json={**kept, "current_step": 5}))

    assert faults.keys() == {f"/{name}" for name in kept}
    assert plan["id"] in faults["/id"]


def test_a_kept_time_may_be_spelled_otherwise(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client)
    moment = datetime.fromisoformat(plan["created_at"])

    with ledger.unchanged():
        for spelling in (
            moment.isoformat(),
            moment.replace(tzinfo=None).isoformat(),
            plan["created_at"].replace("Z", "+00:00"),
        ):
            done(client.patch(f"/plans/{plan['id']}", json={"created_at": spelling}))


def test_an_empty_patch_changes_nothing(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client)

    with ledger.unchanged():
        assert done(client.patch(f"/plans/{plan['id']}", content=b"{}")) == plan


def test_a_plan_goes_from_draft_to_its_end(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client)
    path = f"/plans/{plan['id']}"

    assert done(client.patch(path, json={"status": "active"}))["status"] == "active"
    assert done(client.patch(path, json={"current_step": 2}))["current_step"] == 2
    closed = done(client.patch(path, json={"status": "completed"}))

    assert closed["status"] == "completed"
    assert closed["closed_at"] == closed["updated_at"]
    assert ledger.events(plan) == [
        *("plan.created", "plan.started", "plan.updated", "plan.completed"),
    ]


def test_a_verb_that_the_status_does_not_allow_is_refused_with_those_that_it_does(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = _closed(client)

    with ledger.unchanged():
        response = client.patch(f"/plans/{plan['id']}", json={"status": "draft"})

    problem = problem_of(response, 409, "invalid_transition")
    assert problem["detail"] == (
        f"cannot set to draft plan {plan['id']}: it is completed; allowed now: fail, cancel, reopen"
    )


def test_a_status_that_is_there_already_is_set_again_for_nothing(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = _closed(client)

    with ledger.unchanged():
        assert done(client.patch(f"/plans/{plan['id']}", json={"status": "completed"})) == plan


def test_closing_a_plan_skips_what_has_not_started(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client, status="active")
    waiting = new_task(client, plan)
    running = new_task(client, plan)
    done(client.patch(f"/tasks/{running['id']}", json={"status": "running"}))

    done(client.patch(f"/plans/{plan['id']}", json={"status": "cancelled"}))

    tasks = listed(client.get("/tasks/", params={"plan_id": plan["id"]}))
    assert [task["status"] for task in tasks] == ["skipped", "running"]
    assert ledger.events(waiting) == ["task.created", "task.skipped"]
    with ledger.unchanged():
        content = {"plan_id": plan["id"], "description": "too late"}
        problem_of(client.post("/tasks/", json=content), 409, "plan_closed")


def test_numbers_keep_their_spelling_in_steps(client: httpx2.Client) -> None:
    body = b'{"steps": [{"a": 1.0, "b": 1, "c": 1e308, "d": 0.1}]}'

    plan = done(client.post("/plans/", content=body), 201)

    stored = client.get(f"/plans/{plan['id']}")
    assert json.dumps(stored.json()["steps"]) == '[{"a": 1.0, "b": 1, "c": 1e+308, "d": 0.1}]'
