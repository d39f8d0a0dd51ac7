"""What a task needs, on the wire: read, set, added, removed, and refused."""

from __future__ import annotations

import json
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
    some_id,
)

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger


def a_plan(client: httpx2.Client, *names: str, **fields: Any) -> tuple[Json, list[Json]]:
    """An active plan with tasks of these names."""
    plan = new_plan(client, **{"status": "active", "plan_type": "parallel", **fields})
    return plan, [new_task(client, plan, name=name) for name in names]


def path_of(task: Json) -> str:
    return f"/tasks/{task['id']}/dependencies"


def stored(client: httpx2.Client, task: Json) -> Json:
    return done(client.get(f"/tasks/{task['id']}"))


def needed(client: httpx2.Client, task: Json) -> list[str]:
    """The names of what a task needs."""
    return [each["name"] for each in listed(client.get(path_of(task)))]


def test_a_task_is_made_with_what_it_needs_by_name_or_by_id(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan, (a, b, c) = a_plan(client, "a", "b", "c")
    entries: list[Any] = [
        "a",
        {"task": b["id"], "when": "ended"},
        {"task": "c", "when": "failure", "type": "data"},
    ]

    task = new_task(client, plan, depends_on=entries)

    assert (task["status"], task["status_reason"]) == ("blocked", "dependencies")
    assert "depends_on" not in task
    expected = [
        (a, "success", "blocking"),
        (b, "ended", "blocking"),
        (c, "failure", "data"),
    ]
    for path in (path_of(task), f"{path_of(task)}/"):
        assert sorted(listed(client.get(path)), key=lambda each: each["name"]) == [
            {
                "task_id": each["id"],
                "name": each["name"],
                "when": when,
                "type": kind,
                "status": "pending",
                "is_satisfied": False,
            }
            for each, when, kind in expected
        ]
    done(client.post(f"/tasks/{b['id']}/skip"))
    second = next(each for each in listed(client.get(path_of(task))) if each["name"] == "b")
    assert (second["status"], second["is_satisfied"]) == ("skipped", True)
    assert ledger.events(task) == ["task.created"]


def test_tasks_of_a_batch_and_of_a_new_plan_need_each_other_by_name(
    client: httpx2.Client,
) -> None:
    tasks: list[Json] = [
        {"description": "last", "name": "last", "depends_on": ["first"]},
        {"description": "first", "name": "first"},
    ]
    plan, _ = a_plan(client)
    made = new_plan(client, status="active", plan_type="dag", tasks=tasks)

    content = {"plan_id": plan["id"], "tasks": tasks}
    answered(client.post("/tasks/batch", json=content), 201)

    for each in (plan, made):
        assert only(claimed(client, each, limit=9))["name"] == "first"


@pytest.mark.parametrize("shape", ["object", "array"])
@pytest.mark.parametrize("content_type", ["application/json", "application/x-www-form-urlencoded"])
def test_dependencies_are_set_added_and_removed_by_an_object_or_an_array(
    client: httpx2.Client, ledger: Ledger, shape: str, content_type: str
) -> None:
    plan, (a, *_, task) = a_plan(client, "a", "b", "c", "task")

    def send(method: str, *entries: Any) -> list[str]:
        body = list(entries) if shape == "array" else {"depends_on": list(entries)}
        response = client.request(
            method,
            path_of(task),
            content=f" {json.dumps(body)}".encode(),
            headers={"Content-Type": content_type},
        )
        assert listed(response) == listed(client.get(path_of(task)))
        return sorted(each["name"] for each in response.json())

    assert send("PUT", "a", {"task": "b"}) == ["a", "b"]
    assert stored(client, task)["status"] == "blocked"
    assert send("POST", "c", "a") == ["a", "b", "c"]
    assert send("DELETE", a["id"], "c") == ["b"]
    assert send("PUT") == []
    assert stored(client, task)["status"] == "pending"
    revision = done(client.get(f"/plans/{plan['id']}"))["revision"]
    assert revision == plan["revision"] + 4 + 4
    assert ledger.events(task)[:3] == ["task.created", "task.rewired", "task.blocked"]


def test_one_dependency_is_removed_by_the_query(client: httpx2.Client) -> None:
    plan, (a, _, _) = a_plan(client, "a", "b", "c")
    task = new_task(client, plan, depends_on=["a", "b", "c"])

    for name in ("b", a["id"]):
        listed(client.delete(path_of(task), params={"task": name}))

    assert needed(client, task) == ["c"]


@pytest.mark.parametrize("content", [None, b"", b"{}"])
def test_all_are_removed_where_none_is_named(client: httpx2.Client, content: bytes | None) -> None:
    plan, _ = a_plan(client, "a", "b")
    task = new_task(client, plan, depends_on=["a", "b"])

    assert listed(client.request("DELETE", path_of(task), content=content)) == []

    assert stored(client, task)["status"] == "pending"


@pytest.mark.parametrize("body", [{"depends_on": []}, []])
def test_a_list_of_nothing_does_not_mean_all(
    client: httpx2.Client, ledger: Ledger, body: Json | list[Json]
) -> None:
    plan, _ = a_plan(client, "a")
    task = new_task(client, plan, depends_on=["a"])

    with ledger.unchanged():
        faults = faults_of(client.request("DELETE", path_of(task), json=body))

    assert faults.keys() == ({"/depends_on"} if body else {""})


def test_what_the_input_names_is_needed_for_as_long_as_it_does(client: httpx2.Client) -> None:
    plan, _ = a_plan(client, "a", "b")
    task = new_task(client, plan, depends_on=["b"], input_data={"x": "{{a.y}}"})

    assert only(listed(client.put(path_of(task), json=[])))["name"] == "a"
    assert only(listed(client.delete(path_of(task))))["type"] == "data"
    done(client.patch(f"/tasks/{task['id']}", json={"input_data": {}}))

    assert listed(client.delete(path_of(task))) == []


def test_a_cycle_is_refused_and_its_path_named(client: httpx2.Client, ledger: Ledger) -> None:
    plan, (first,) = a_plan(client, "first")
    second = new_task(client, plan, name="second", depends_on=["first"])
    third = new_task(client, plan, name="third", depends_on=["second"])

    with ledger.unchanged():
        for method in ("PUT", "POST"):
            for body in ({"depends_on": ["third"]}, [third["id"]]):
                response = client.request(method, path_of(first), json=body)
                problem = problem_of(response, 422, "dependency_cycle")
                assert "first → third → second → first" in problem["detail"]
        itself = client.put(path_of(second), json=["second"])
        assert "second → second" in problem_of(itself, 422, "dependency_cycle")["detail"]
        tasks = [{"description": "x", "name": n, "depends_on": [o]} for n, o in ("xy", "yx")]
        response = client.post("/tasks/batch", json={"plan_id": plan["id"], "tasks": tasks})
        assert "x → y → x" in problem_of(response, 422, "dependency_cycle")["detail"]


def test_in_a_sequential_plan_a_later_task_is_not_needed(
    client: httpx2.Client, ledger: Ledger
) -> None:
    _, (first, _) = a_plan(client, "first", "second", plan_type="sequential")

    with ledger.unchanged():
        response = client.put(path_of(first), json=["second"])

    problem = problem_of(response, 422, "dependency_cycle")
    assert "first → second → first" in problem["detail"]
    assert "sequence_order 2" in problem["detail"]


def test_what_leads_nowhere_is_refused_with_the_nearest_name(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan, (research,) = a_plan(client, "research")
    _, (foreign,) = a_plan(client, "foreign")
    wrong: list[Any] = ["reserch", "research", {"task": foreign["id"]}, NOBODY]

    def faults(method: str, path: str, body: Any) -> dict[str, str]:
        return faults_of(client.request(method, path, json=body))

    with ledger.unchanged():
        in_object = faults("PUT", path_of(research), {"depends_on": wrong})
        in_array = faults("POST", path_of(research), wrong)
        removed = faults("DELETE", path_of(research), wrong)
        (in_query,) = faults_of(client.delete(f"{path_of(research)}?task=reserch")).items()
        content = {"plan_id": plan["id"], "description": "x", "depends_on": wrong}
        of_new = faults("POST", "/tasks/", content)
        batch = {"plan_id": plan["id"], "tasks": [{"description": "x", "depends_on": wrong}]}
        of_batch = faults("POST", "/tasks/batch", batch)

    places = (0, 2, 3)
    assert list(in_array) == list(removed) == [f"/{place}" for place in places]
    for prefix, named in (("", in_object), ("", of_new), ("/tasks/0", of_batch)):
        assert list(named) == [f"{prefix}/depends_on/{place}" for place in places]
    expected = "the plan has no task 'reserch'; did you mean 'research'?"
    assert in_query == ("?task", expected)
    for named in (in_object, in_array, removed, of_new, of_batch):
        detail, of_foreign, of_nobody = named.values()
        assert detail == expected
        assert foreign["id"] in of_foreign
        assert NOBODY in of_nobody


def test_all_faults_of_what_is_needed_are_named_at_once(
    client: httpx2.Client, ledger: Ledger
) -> None:
    _, (task, _) = a_plan(client, "task", "a")
    wrong: list[Any] = ["", 7, {"tsak": "a"}, {"task": "a", "when": "late"}, "a"]

    with ledger.unchanged():
        in_object = faults_of(client.put(path_of(task), json={"depends_on": wrong, "task": "a"}))
        in_array = faults_of(client.post(path_of(task), json=wrong))
        removed = faults_of(client.request("DELETE", path_of(task), json=wrong))

    expected = ["/0", "/1", "/2/task", "/2/tsak", "/3/when"]
    assert sorted(in_array) == sorted(removed) == expected
    assert sorted(in_object) == [*(f"/depends_on{place}" for place in expected), "/task"]
    for faults in (in_array["/2/tsak"], in_object["/depends_on/2/tsak"]):
        assert "did you mean 'task'?" in faults


def test_what_can_not_be_meant_is_refused(client: httpx2.Client, ledger: Ledger) -> None:
    _, (task, _) = a_plan(client, "task", "a")
    path = path_of(task)

    with ledger.unchanged():
        for method in ("PUT", "POST"):
            problem_of(client.request(method, path), 400, "malformed_body")
            assert faults_of(client.request(method, path, json={})).keys() == {"/depends_on"}
        for method in ("PUT", "POST", "DELETE"):
            assert faults_of(client.request(method, path, content=b'"a"')).keys() == {""}
            # It would be an object if it were put between braces.
            body = b'["a"], "depends_on": []'
            problem_of(client.request(method, path, content=body), 400, "malformed_body")
            assert faults_of(client.request(method, f"{path}?limit=1", json=["a"])) != {}
        both = client.request("DELETE", f"{path}?task=a", json=["a"])
        assert faults_of(both).keys() == {"?task"}
        assert faults_of(client.delete(f"{path}?task=")).keys() == {"?task"}
        assert faults_of(client.delete(f"{path}?task=a&task=b")).keys() == {"?task"}


@pytest.mark.parametrize("method", ["GET", "PUT", "POST", "DELETE"])
def test_what_is_not_there_needs_nothing(
    client: httpx2.Client, ledger: Ledger, method: str
) -> None:
    body = None if method == "GET" else b'["a"]'

    with ledger.unchanged():
        response = client.request(method, f"/tasks/{NOBODY}/dependencies", content=body)
        assert NOBODY in problem_of(response, 404, "not_found")["detail"]
        response = client.request(method, "/tasks/mine/dependencies", content=body)
        assert faults_of(response).keys() == {"{task_id}"}


def test_what_has_begun_needs_nothing_more(client: httpx2.Client, ledger: Ledger) -> None:
    _, (running, ended, _) = a_plan(client, "running", "ended", "a")
    done(client.patch(f"/tasks/{running['id']}", json={"status": "running"}))
    done(client.patch(f"/tasks/{ended['id']}", json={"status": "completed"}))

    with ledger.unchanged():
        for task in (running, ended):
            for method in ("PUT", "POST"):
                response = client.request(method, path_of(task), json=["a"])
                assert task["id"] in problem_of(response, 409, "invalid_transition")["detail"]


@pytest.mark.parametrize("method", ["PUT", "POST", "DELETE"])
def test_a_change_of_what_is_needed_is_made_once_under_its_key(
    client: httpx2.Client, ledger: Ledger, method: str
) -> None:
    plan, _ = a_plan(client, "a", "b")
    task = new_task(client, plan, depends_on=["b"])
    headers = {"Idempotency-Key": some_id()}
    first = listed(client.request(method, path_of(task), json=["a"], headers=headers))
    listed(client.delete(path_of(task)))

    with ledger.unchanged():
        for body in (["a"], {"depends_on": ["a"]}, {"depends_on": [{"task": "a"}]}):
            again = client.request(method, f"{path_of(task)}/", json=body, headers=headers)
            assert listed(again) == first
        other = client.request(method, path_of(task), json=["b"], headers=headers)
        problem_of(other, 422, "idempotency_mismatch")

    assert needed(client, task) == []
