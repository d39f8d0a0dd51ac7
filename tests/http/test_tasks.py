"""Tasks on the wire: their fields, their defaults, their times, and what a PATCH changes."""

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
    new_plan,
    new_task,
    problem_of,
    some_id,
)

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger

DOCUMENTED: Final = [
    *("id", "plan_id", "agent_id", "description", "task_type", "input_data", "output_data"),
    *("status", "sequence_order", "created_at", "started_at", "completed_at"),
]


def test_a_task_made_of_little_has_the_documented_defaults(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client)

    task = new_task(client, plan)

    assert set(DOCUMENTED) <= task.keys()
    assert ledger.events(task) == ["task.created"]
    assert UUID(task.pop("id")).version == 7
    assert task.pop("created_at") == task.pop("updated_at")
    assert task == {
        "plan_id": plan["id"],
        "name": None,
        "agent_id": None,
        "description": "do it",
        "task_type": None,
        "input_data": {},
        "output_data": None,
        "error": None,
        "metadata": {},
        "labels": [],
        "status": "pending",
        "status_reason": None,
        "needs_review": False,
        "sequence_order": 1,
        "parallel_group": None,
        "priority": 0,
        "not_before": None,
        "side_effects": "idempotent",
        "timeout_seconds": None,
        "retry_policy": None,
        "estimated_duration": None,
        "requires_approval": False,
        "approval": None,
        "usage": None,
        "attempt": 0,
        "worker_id": None,
        "progress": None,
        "progress_note": None,
        "version": 1,
        "started_at": None,
        "completed_at": None,
    }


def test_a_task_keeps_every_field_that_is_given(client: httpx2.Client) -> None:
    plan = new_plan(client)
    fields: dict[str, Any] = {
        "id": some_id(),
        "plan_id": plan["id"],
        "name": "analysis",
        "agent_id": some_id(),
        "description": "Analyze modal requirements",
        "task_type": "analysis",
        "input_data": {"spec_path": "docs/SPEC.md", "focus_areas": ["animations"]},
        "sequence_order": 7,
        "parallel_group": "A",
        "priority": -100,
        "not_before": "2026-01-24T10:00:00Z",
        "side_effects": "once",
        "timeout_seconds": 0.5,
        "retry_policy": {
            "max_retries": 0,
            "initial_delay_sec": 0.5,
            "backoff_multiplier": 1.0,
            "max_delay_sec": 3.0,
        },
        "estimated_duration": "5m",
        "metadata": {"origin": "test"},
        "labels": ["blue", "a b"],
    }

    task = done(client.post("/tasks/", json=fields), 201)

    assert {name: task[name] for name in fields} == fields
    assert done(client.get(f"/tasks/{task['id']}")) == task


def test_an_order_that_is_left_out_comes_after_the_last_one(client: httpx2.Client) -> None:
    plan = new_plan(client)
    orders = [
        new_task(client, plan, **fields)["sequence_order"]
        for fields in ({}, {"sequence_order": 10}, {}, {"sequence_order": 3}, {})
    ]

    assert orders == [1, 10, 11, 3, 12]


def test_nulls_mean_nothing_where_a_field_may_be_left_out_and_empty(
    client: httpx2.Client,
) -> None:
    names = ["name", "agent_id", "task_type", "input_data"]

    task = new_task(client, new_plan(client), **dict.fromkeys(names))

    assert [task[name] for name in names] == [None] * 4


def test_a_task_belongs_to_a_plan_that_is_there(client: httpx2.Client, ledger: Ledger) -> None:
    with ledger.unchanged():
        response = client.post("/tasks/", json={"plan_id": NOBODY, "description": "do it"})

    assert NOBODY in problem_of(response, 404, "not_found")["detail"]


def test_ids_and_names_are_given_once(client: httpx2.Client, ledger: Ledger) -> None:
    plan, other = new_plan(client), new_plan(client)
    task = new_task(client, plan, name="analysis")
    new_task(client, other, name="analysis")

    with ledger.unchanged():
        for fields in ({"name": "analysis"}, {"id": task["id"]}):
            content = {"plan_id": plan["id"], "description": "do it", **fields}
            problem_of(client.post("/tasks/", json=content), 409, "already_exists")
        content = {"plan_id": other["id"], "description": "do it", "id": task["id"]}
        problem_of(client.post("/tasks/", json=content), 409, "already_exists")
        second = f"/tasks/{task['id']}"
    named = new_task(client, plan, name="design")
    with ledger.unchanged():
        response = client.patch(second, json={"name": named["name"]})
    assert "'design'" in problem_of(response, 409, "already_exists")["detail"]


def test_what_is_not_there_is_not_found(client: httpx2.Client, ledger: Ledger) -> None:
    with ledger.unchanged():
        for response in (
            client.get(f"/tasks/{NOBODY}"),
            client.patch(f"/tasks/{NOBODY}", json={"status": "running"}),
            client.patch(f"/plans/tasks/{NOBODY}", json={}),
        ):
            assert NOBODY in problem_of(response, 404, "not_found")["detail"]


def test_the_other_kind_is_not_found(client: httpx2.Client) -> None:
    plan = new_plan(client)
    task = new_task(client, plan)

    problem_of(client.get(f"/plans/{task['id']}"), 404, "not_found")
    problem_of(client.get(f"/tasks/{plan['id']}"), 404, "not_found")


def test_a_patch_changes_only_what_it_names(client: httpx2.Client, ledger: Ledger) -> None:
    task = new_task(client, new_plan(client), name="a", input_data={"a": 1}, agent_id=some_id())

    changed = done(client.patch(f"/tasks/{task['id']}", json={"description": "do that"}))

    assert changed["updated_at"] > task["updated_at"]
    assert changed == {
        **task,
        "description": "do that",
        "version": 2,
        "updated_at": changed["updated_at"],
    }
    assert done(client.get(f"/tasks/{task['id']}")) == changed
    assert ledger.events(task) == ["task.created", "task.updated"]


def test_a_null_clears_what_may_be_empty_and_is_refused_elsewhere(
    client: httpx2.Client, ledger: Ledger
) -> None:
    task = new_task(client, new_plan(client), name="a", task_type="b", agent_id=some_id())
    path = f"/tasks/{task['id']}"
    clearable = ["name", "agent_id", "task_type", "input_data", "output_data", "error"]
    times = ["started_at", "completed_at"]
    full = {"output_data": {"a": 1}, "error": "oh", "started_at": "2026-01-24T10:00:00Z"}
    done(client.patch(path, json={**full, "completed_at": "2026-01-24T10:30:00Z"}))

    cleared = done(client.patch(path, json=dict.fromkeys([*clearable, *times])))

    assert [cleared[name] for name in (*clearable, *times)] == [None] * 8
    needed = ["description", "metadata", "status", "sequence_order"]
    with ledger.unchanged():
        faults = faults_of(client.patch(path, json=dict.fromkeys(needed)))
    assert faults.keys() == {f"/{name}" for name in needed}


def test_data_are_replaced_whole(client: httpx2.Client) -> None:
    task = new_task(client, new_plan(client), input_data={"a": {"b": 1}}, metadata={"a": 1})
    path = f"/tasks/{task['id']}"
    done(client.patch(path, json={"output_data": {"x": {"y": 1}, "z": 1}}))
    content: Json = {"input_data": {"a": {}}, "metadata": {"b": 2}, "output_data": {"x": {"w": 2}}}

    changed = done(client.patch(path, json=content))

    assert {name: changed[name] for name in content} == content


def test_a_task_that_is_read_and_sent_back_is_unchanged(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client, status="active")
    full = new_task(
        client,
        plan,
        name="a",
        agent_id=some_id(),
        task_type="b",
        input_data={"z": 1.50, "a": [1e3]},
        metadata={"z": 1, "a": [1.0]},
    )
    ended = new_task(client, plan)
    times = {"started_at": "2026-01-24T10:00:00", "completed_at": "2026-01-24T10:30:00.123456Z"}
    content: Json = {"status": "completed", "output_data": {"coverage": 0.85}, **times}
    done(client.patch(f"/tasks/{ended['id']}", json=content))
    failed = new_task(client, plan)
    content = {"status": "failed", "error": {"code": 7}}
    done(client.patch(f"/tasks/{failed['id']}", json=content))

    for task in (full, ended, failed):
        path = f"/tasks/{task['id']}"
        response = client.get(path)

        with ledger.unchanged():
            again = client.patch(path, content=response.content)

        assert done(again) == response.json()
        assert again.content == response.content
        assert again.headers["ETag"] == response.headers["ETag"]


def test_what_the_service_keeps_is_accepted_only_as_it_is(
    client: httpx2.Client, ledger: Ledger
) -> None:
    task = new_task(client, new_plan(client))
    kept = {
        "id": some_id(),
        "plan_id": some_id(),
        "version": 7,
        "created_at": "2026-01-24T10:00:00Z",
        "updated_at": "2026-01-24T10:00:00Z",
    }

    with ledger.unchanged():
        response = client.patch(f"/tasks/{task['id']}", json={**kept, "description": "other"})

    assert faults_of(response).keys() == {f"/{name}" for name in kept}


def test_a_task_is_not_created_with_what_only_comes_later(
    client: httpx2.Client, ledger: Ledger
) -> None:
    later: Json = {"output_data": {}, "version": 1, "created_at": "2026-01-24T10:00:00Z"}
    content = {"plan_id": new_plan(client)["id"], "description": "do it", **later}

    with ledger.unchanged():
        faults = faults_of(client.post("/tasks/", json=content))

    assert faults.keys() == {f"/{name}" for name in later}


TIMES: Final = {
    "2026-01-24T10:00:00Z": "2026-01-24T10:00:00Z",
    "2026-01-24T10:00:00": "2026-01-24T10:00:00Z",
    "2026-01-24T10:00:00.123456": "2026-01-24T10:00:00.123456Z",
    "2026-01-24 10:00:00": "2026-01-24T10:00:00Z",
    "2026-01-24T10:00:00+02:00": "2026-01-24T08:00:00Z",
    "2026-01-24T23:00:00-08:30": "2026-01-25T07:30:00Z",
    "2026-01-24T10:00Z": "2026-01-24T10:00:00Z",
    "1969-12-31T23:59:59.999999Z": "1969-12-31T23:59:59.999999Z",
    "0002-01-01T00:00:00Z": "0002-01-01T00:00:00Z",
    "9998-12-31T23:59:59.999999Z": "9998-12-31T23:59:59.999999Z",
}


@pytest.mark.parametrize(("given", "kept"), TIMES.items())
def test_a_time_without_a_zone_is_utc_and_all_times_are_answered_so(
    client: httpx2.Client, given: str, kept: str
) -> None:
    path = f"/tasks/{new_task(client, new_plan(client))['id']}"

    task = done(client.patch(path, json={"started_at": given, "completed_at": given}))

    assert (task["started_at"], task["completed_at"]) == (kept, kept)
    assert done(client.get(path)) == task


@pytest.mark.parametrize(
    "given",
    [
        *("", "yesterday", "2026-13-01T00:00:00Z", "2026-02-30T00:00:00Z", "2026-01-24T25:00:00Z"),
        *("0000-01-01T00:00:00Z", "0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z"),
        *("10000-01-01T00:00:00Z", "2026-01-24T10:00:00+25:00", "infinity", "-infinity", "now"),
        *(0, 1_769_248_800, 1e999, True, [], {}),
    ],
)
def test_what_is_no_time_is_refused(client: httpx2.Client, ledger: Ledger, given: object) -> None:
    path = f"/tasks/{new_task(client, new_plan(client))['id']}"

    with ledger.unchanged():
        body = json.dumps({"started_at": given}).encode()
        assert faults_of(client.patch(path, content=body)).keys() == {"/started_at"}


def test_the_service_keeps_the_times_that_a_client_leaves_out(
    client: httpx2.Client, ledger: Ledger
) -> None:
    before = datetime.now(UTC)
    task = new_task(client, new_plan(client))
    path = f"/tasks/{task['id']}"

    running = done(client.patch(path, json={"status": "running"}))

    assert running["started_at"] == running["updated_at"] > task["updated_at"]
    assert running["completed_at"] is None
    assert abs(datetime.fromisoformat(running["started_at"]) - before).total_seconds() < 60

    completed = done(client.patch(path, json={"status": "completed", "output_data": {"a": 1}}))

    assert completed["started_at"] == running["started_at"]
    assert completed["completed_at"] == completed["updated_at"] > running["updated_at"]
    assert completed["output_data"] == {"a": 1}
    assert ledger.events(task) == ["task.created", "task.started", "task.completed"]


def test_the_times_that_a_client_gives_stand(client: httpx2.Client) -> None:
    path = f"/tasks/{new_task(client, new_plan(client))['id']}"
    started, ended = "2026-01-24T10:00:00Z", "2026-01-24T10:30:00Z"

    running = done(client.patch(path, json={"status": "running", "started_at": started}))
    completed = done(client.patch(path, json={"status": "completed", "completed_at": ended}))

    assert running["started_at"] == started
    assert (completed["started_at"], completed["completed_at"]) == (started, ended)


def test_a_task_that_starts_activates_its_draft_and_the_last_one_settles_it(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client)
    first, second = new_task(client, plan), new_task(client, plan)
    path = f"/plans/{plan['id']}"

    done(client.patch(f"/tasks/{first['id']}", json={"status": "running"}))
    assert (done(client.get(path))["status"], done(client.get(path))["current_step"]) == (
        "active",
        1,
    )
    done(client.patch(f"/tasks/{first['id']}", json={"status": "completed"}))
    assert done(client.get(path))["current_step"] == 2
    done(client.patch(f"/tasks/{second['id']}", json={"status": "completed"}))

    settled = done(client.get(path))
    assert (settled["status"], settled["closed_at"]) == ("completed", None)
    assert ledger.events(plan)[-1] == "plan.completed"


def test_a_verb_that_the_status_does_not_allow_is_refused_with_those_that_it_does(
    client: httpx2.Client, ledger: Ledger
) -> None:
    task = new_task(client, new_plan(client))
    path = f"/tasks/{task['id']}"
    done(client.patch(path, json={"status": "completed"}))

    with ledger.unchanged():
        response = client.patch(path, json={"status": "running", "description": "again"})

    assert problem_of(response, 409, "invalid_transition")["detail"] == (
        f"cannot start task {task['id']}: it is completed; allowed now: reset"
    )


def test_a_second_result_is_refused_and_kept_as_an_event(
    client: httpx2.Client, ledger: Ledger
) -> None:
    task = new_task(client, new_plan(client))
    path = f"/tasks/{task['id']}"
    first = done(client.patch(path, json={"status": "completed", "output_data": {"a": 1}}))

    with ledger.unchanged():
        again = client.patch(path, json={"status": "completed", "output_data": {"a": 1}})
        assert done(again) == first
    response = client.patch(path, json={"status": "completed", "output_data": {"a": 2}})

    problem_of(response, 409, "result_conflict")
    assert done(client.get(path)) == first
    assert ledger.events(task) == ["task.created", "task.completed", "task.result_refused"]
    edited = done(client.patch(path, json={"output_data": {"a": 2}}))
    assert (edited["status"], edited["output_data"]) == ("completed", {"a": 2})
