"""Changing a plan's structure while it runs, on the wire: operations, whole lists, and refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.http.wire import (
    NOBODY,
    answered,
    claimed,
    done,
    faults_of,
    listed,
    new_plan,
    only,
    problem_of,
    some_id,
)

if TYPE_CHECKING:
    import httpx2

    from tests.http.conftest import OpenApp
    from tests.http.wire import Json, Ledger

ADD: Final[Json] = {"op": "add", "task": {"name": "x", "description": "x"}}
SAID: Final = (
    *("revision", "applied", "added", "changed", "removed", "restarted", "unblocked", "stranded"),
)


def a_plan(client: httpx2.Client, **fields: Any) -> Json:
    """An active plan in which b needs a."""
    tasks: list[Json] = [
        {"name": "a", "description": "a"},
        {"name": "b", "description": "b", "depends_on": ["a"]},
    ]
    return new_plan(client, **{"status": "active", "plan_type": "dag", "tasks": tasks, **fields})


def tasks_of(client: httpx2.Client, plan: Json) -> dict[str, Json]:
    return {task["name"]: task for task in listed(client.get(f"/tasks/?plan_id={plan['id']}"))}


def revisions(plan: Json) -> str:
    return f"/plans/{plan['id']}/revisions"


def tasks_path(plan: Json) -> str:
    return f"/plans/{plan['id']}/tasks"


def revise(client: httpx2.Client, plan: Json, *operations: Json, **fields: Any) -> httpx2.Response:
    return client.post(revisions(plan), json={"operations": list(operations), **fields})


def names(mentions: list[Json]) -> list[str]:
    return [each["name"] for each in mentions]


def test_operations_are_made_as_one_revision(client: httpx2.Client, ledger: Ledger) -> None:
    plan = a_plan(client)
    (packet,) = claimed(client, plan, limit=9)
    before = tasks_of(client, plan)

    answer = answered(
        revise(
            client,
            plan,
            {"op": "insert", "task": {"name": "check", "description": "look"}, "after": "a"},
            {"op": "change", "task": before["a"]["id"], "set": {"priority": 2}, "restart": True},
            {"op": "split", "task": "b", "into": [{"name": "b1", "description": "b1"}]},
            expected_revision=plan["revision"],
            reason="it was too coarse",
            by="planner",
        )
    )

    after = tasks_of(client, plan)
    assert answer == {
        "revision": plan["revision"] + 1,
        "applied": True,
        "added": [{"id": after[name]["id"], "name": name} for name in ("check", "b1")],
        "changed": [{"id": before["a"]["id"], "name": "a"}],
        "removed": [{"id": before["b"]["id"], "name": "b"}],
        "restarted": [{"id": before["a"]["id"], "name": "a"}],
        "unblocked": [],
        "stranded": [],
    }
    assert done(client.get(f"/plans/{plan['id']}"))["revision"] == answer["revision"]
    assert ledger.events(plan)[-1] == "plan.revised"
    late = client.post(
        f"/tasks/{packet['id']}/complete", json={"fencing_token": packet["fencing_token"]}
    )
    problem_of(late, 409, "stale_claim")


@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_the_body_is_json_whatever_its_type(
    client: httpx2.Client, content_type: str, slash: str
) -> None:
    plan = a_plan(client)
    headers = {"Content-Type": content_type}
    body = json.dumps({"operations": [ADD]}).encode()
    made = answered(client.post(revisions(plan) + slash, content=body, headers=headers))
    body = json.dumps({"tasks": [{"name": "a"}]}).encode()
    put = answered(client.put(tasks_path(plan) + slash, content=body, headers=headers))
    assert names(made["added"]) == ["x"]
    assert sorted(names(put["removed"])) == ["b", "x"]


def test_a_list_of_tasks_is_worked_out(client: httpx2.Client) -> None:
    plan = a_plan(client)
    wanted: list[Json] = [
        {"name": "a", "priority": 3},
        {"name": "c", "description": "c", "depends_on": ["a"]},
    ]
    answer = answered(client.put(tasks_path(plan), json={"tasks": wanted}))
    assert list(answer) == list(SAID)
    found = tuple(names(answer[said]) for said in ("added", "changed", "removed"))
    assert found == (["c"], ["a"], ["b"])
    again = answered(client.put(tasks_path(plan), json={"tasks": wanted}))
    assert again == {**answer, "added": [], "changed": [], "removed": []}


def test_a_dry_run_changes_nothing(client: httpx2.Client, ledger: Ledger) -> None:
    plan, own = a_plan(client), some_id()
    known = {"op": "add", "task": {"id": own, "name": "y", "description": "y"}}
    with ledger.unchanged():
        tried = answered(revise(client, plan, ADD, known, dry_run=True))
        put = answered(client.put(tasks_path(plan), json={"tasks": [], "dry_run": True}))
    assert tried["added"] == [{"id": None, "name": "x"}, {"id": own, "name": "y"}]
    assert (tried["applied"], tried["revision"]) == (False, plan["revision"] + 1)
    assert sorted(names(put["removed"])) == ["a", "b"]
    assert answered(revise(client, plan, ADD, known))["applied"]


@pytest.mark.parametrize("method", ["POST", "PUT"])
def test_another_revision_than_expected_is_412(
    client: httpx2.Client, ledger: Ledger, method: str
) -> None:
    plan = a_plan(client)
    answered(revise(client, plan, ADD))
    body: Json = {"operations": [ADD]} if method == "POST" else {"tasks": []}
    path = revisions(plan) if method == "POST" else tasks_path(plan)
    with ledger.unchanged():
        response = client.request(method, path, json={**body, "expected_revision": 1})
    problem = problem_of(response, 412, "version_mismatch")
    assert f"is at revision {plan['revision'] + 1}, not 1" in problem["detail"]


def test_what_can_not_be_done_is_409_with_all_that_stands_against_it(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = a_plan(client)
    only(claimed(client, plan))
    with ledger.unchanged():
        response = revise(
            client,
            plan,
            {"op": "remove", "task": "a"},
            {"op": "insert", "task": {"description": "y"}, "after": "bb"},
            {"op": "rewire", "task": "b", "depends_on": ["a", "c"]},
        )
    problem = problem_of(response, 409, "revision_refused")
    pointers = [fault["pointer"] for fault in problem["errors"]]
    assert pointers == [
        *("/operations/0/task", "/operations/1/after", "/operations/2/depends_on/1")
    ]
    assert "did you mean 'b'?" in problem["errors"][1]["detail"]
    assert "task 'a' is running: it is left alone" in problem["detail"]


def test_a_circle_is_named(client: httpx2.Client, ledger: Ledger) -> None:
    plan = a_plan(client)
    with ledger.unchanged():
        response = revise(client, plan, {"op": "rewire", "task": "a", "depends_on": ["b"]})
    assert "→" in problem_of(response, 409, "revision_refused")["detail"]


def test_a_closed_plan_and_one_that_is_not_there_are_refused(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = a_plan(client)
    done(client.post(f"/plans/{plan['id']}/cancel"))
    with ledger.unchanged():
        problem_of(revise(client, plan, ADD), 409, "plan_closed")
        problem_of(revise(client, {"id": NOBODY}, ADD), 404, "not_found")
        put = client.put(tasks_path({"id": NOBODY}), json={"tasks": []})
        problem_of(put, 404, "not_found")


TASK: Final[Json] = {"description": "x"}


MALFORMED: Final[list[tuple[Any, str, str]]] = [
    ({"op": "chnge", "task": "a"}, "/op", "did you mean 'change'?"),
    ({"op": 5}, "/op", "it is 5"),
    ({"op": ["add"]}, "/op", "it is a list"),
    ({"task": "a"}, "/op", "it is required, and isn't given"),
    ({"op": None}, "/op", "it is required"),
    ("remove a", "", "should be an object"),
    ({"op": "remove", "task": "a", "restrat": True}, "/restrat", "did you mean 'restart'?"),
    ({"op": "remove"}, "/task", "it is required"),
    ({"op": "remove", "task": 5}, "/task", "should be a valid string; it is 5"),
    ({"op": "remove", "task": "a", "restart": "yes"}, "/restart", "valid boolean"),
    ({"op": "add", "task": {**TASK, "nmae": "x"}}, "/task/nmae", "did you mean 'name'?"),
    ({"op": "add", "task": {"name": "x"}}, "/task/description", "it is required"),
    ({"op": "add", "task": {**TASK, "set": 1}}, "/task/set", "it is unknown"),
    (
        {"op": "change", "task": "a", "set": {"prioritty": 1}},
        "/set/prioritty",
        "did you mean 'priority'?",
    ),
    ({"op": "change", "task": "a", "set": {"status": "x"}}, "/set/status", "it is unknown"),
    ({"op": "change", "task": "a", "set": {"priority": 101}}, "/set/priority", "100"),
    ({"op": "change", "task": "a"}, "/set", "it is required"),
    ({"op": "change", "task": "a", "set": {"labels": ["a", "a"]}}, "/set/labels", "twice"),
    (
        {"op": "split", "task": "a", "into": [TASK, {**TASK, "depends_no": []}]},
        "/into/1/depends_no",
        "did you mean 'depends_on'?",
    ),
    ({"op": "split", "task": "a", "into": []}, "/into", "at least 1"),
    (
        {"op": "split", "task": "a", "into": [{**TASK, "name": "y"}] * 2},
        "/into",
        "tasks share the name y",
    ),
    ({"op": "insert", "task": TASK}, "", "either `after` or `before`"),
    ({"op": "insert", "task": TASK, "aftre": "a"}, "/aftre", "did you mean 'after'?"),
    (
        {"op": "rewire", "task": "a", "depends_on": [{"task": "b", "wenn": "ended"}]},
        "/depends_on/0/wenn",
        "did you mean 'when'?",
    ),
    (
        {"op": "rewire", "task": "a", "depends_on": [{"task": "b", "when": "late"}]},
        "/depends_on/0/when",
        "'success', 'ended' or 'failure'",
    ),
    ({"op": "reorder", "order": ["a", 5]}, "/order/1", "should be a valid string; it is 5"),
    ({"op": "reorder", "order": ["a", ["b", {}]]}, "/order/1/1", "should be a valid string"),
    ({"op": "reorder", "order": [[]]}, "/order/0", "at least 1"),
    (
        {"op": "add", "task": {**TASK, "input_data": {"a": "\0"}}},
        "/task/input_data/a",
        "U+0000",
    ),
    # An unknown field of the name of the operation itself.
    ({"op": "add", "add": 1, "task": {"name": "x"}}, "/add", "it is unknown"),
    ({"op": "add", "add": 1, "task": {"name": "x"}}, "/task/description", "it is required"),
]


@pytest.mark.parametrize(("operation", "pointer", "detail"), MALFORMED)
def test_a_malformed_operation_is_told_where_and_what_is_known(
    client: httpx2.Client, ledger: Ledger, operation: Any, pointer: str, detail: str
) -> None:
    plan = a_plan(client)
    with ledger.unchanged():
        faults = faults_of(revise(client, plan, ADD, operation))
    assert detail in faults[f"/operations/1{pointer}"], faults


@pytest.mark.parametrize(
    ("entry", "pointer", "detail"),
    [
        ({"description": "x"}, "", "it needs a name or an id"),
        ({"name": "x", "restrat": True}, "/restrat", "did you mean 'restart'?"),
        ({"name": "x", "depends_on": "a"}, "/depends_on", "valid array"),
        ({"name": "x", "priority": None}, "/priority", "valid integer"),
        ({"id": "x"}, "/id", "UUID"),
        ({"name": some_id()}, "/name", "a name can't read as a UUID"),
        (5, "", "should be an object"),
    ],
)
def test_a_malformed_entry_is_told_where(
    client: httpx2.Client, ledger: Ledger, entry: Any, pointer: str, detail: str
) -> None:
    plan = a_plan(client)
    with ledger.unchanged():
        faults = faults_of(client.put(tasks_path(plan), json={"tasks": [{"name": "a"}, entry]}))
    assert detail in faults[f"/tasks/1{pointer}"], faults


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        ({}, "/operations"),
        ({"operations": []}, "/operations"),
        ({"operations": {}}, "/operations"),
        ({"operations": [ADD] * 1_001}, "/operations"),
        (
            {"operations": [{"op": "split", "task": "a", "into": [TASK] * 6_000}] * 2},
            "/operations",
        ),
        (
            {"operations": [{"op": "reorder", "order": [["a"] * 9_000, ["b"] * 9_000]}]},
            "/operations",
        ),
        ({"operations": [ADD], "expected_revision": 0}, "/expected_revision"),
        ({"operations": [ADD], "expected_revison": 1}, "/expected_revison"),
        ({"operations": [ADD], "reason": ""}, "/reason"),
        ({"operations": [ADD], "reason": "x" * 10_001}, "/reason"),
        ({"operations": [ADD], "by": "\0"}, "/by"),
        ({"operations": [ADD], "dry_run": 1}, "/dry_run"),
        ([ADD], ""),
    ],
)
def test_a_malformed_request_is_told_where(
    client: httpx2.Client, ledger: Ledger, body: Any, pointer: str
) -> None:
    plan = a_plan(client)
    with ledger.unchanged():
        faults = faults_of(client.post(revisions(plan), json=body))
    assert list(faults) == [pointer]


def test_a_query_is_refused(client: httpx2.Client, ledger: Ledger) -> None:
    plan = a_plan(client)
    with ledger.unchanged():
        response = client.post(f"{revisions(plan)}?dry_run=true", json={"operations": [ADD]})
    assert list(faults_of(response)) == ["?dry_run"]


def test_a_repetition_is_answered_alike_and_done_once(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan, headers = a_plan(client), {"Idempotency-Key": some_id()}
    body: Json = {"operations": [ADD], "expected_revision": plan["revision"]}
    first = answered(client.post(revisions(plan), json=body, headers=headers))
    put_body: Json = {"tasks": [{"name": "a"}], "expected_revision": first["revision"]}
    put = answered(client.put(tasks_path(plan), json=put_body, headers=headers))

    with ledger.unchanged():
        assert answered(client.post(revisions(plan), json=body, headers=headers)) == first
        assert answered(client.put(tasks_path(plan), json=put_body, headers=headers)) == put
        other = client.post(revisions(plan), json={"operations": [ADD]}, headers=headers)
        problem_of(other, 422, "idempotency_mismatch")


async def test_a_body_may_be_as_large_as_a_batch(open_app: OpenApp) -> None:
    async with open_app(max_body=2_000, max_batch_body=20_000) as client:
        plan = (await client.post("/plans/", json={})).json()
        for size, status in ((5_000, 200), (30_000, 413)):
            task = {"name": f"x{size}", "description": "x" * size}
            body: Json = {"operations": [{"op": "add", "task": task}]}
            assert (await client.post(revisions(plan), json=body)).status_code == status
            put = await client.put(tasks_path(plan), json={"tasks": [task]})
            assert put.status_code == status
