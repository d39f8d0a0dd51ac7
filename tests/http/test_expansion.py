"""Steps become tasks, on the wire: at once or on request, all or none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from tests.http.wire import (
    answered,
    claimed,
    done,
    faults_of,
    listed,
    new_plan,
    problem_of,
    some_id,
)

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger

STEPS: Final[list[Json]] = [
    {"step": 1, "parallel_group": "A", "actions": [{"action": "lint"}, {"action": "typecheck"}]},
    {"step": 2, "action": "build", "depends_on": [1], "estimated_duration": "5m"},
]


def in_plan(client: httpx2.Client, plan: Json) -> list[Json]:
    return listed(client.get("/tasks/", params={"plan_id": plan["id"]}))


def test_the_steps_of_a_plan_become_tasks_when_asked(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client, status="active", plan_type="parallel", steps=STEPS)

    answer = answered(client.post(f"/plans/{plan['id']}/expand"), 201)

    assert list(answer) == ["tasks"]
    tasks = answer["tasks"]
    assert in_plan(client, plan) == tasks
    shown = [
        tuple(task[name] for name in ("name", "sequence_order", "parallel_group", "status"))
        for task in tasks
    ]
    assert shown == [
        ("lint", 1, "A", "pending"),
        ("typecheck", 1, "A", "pending"),
        ("build", 2, None, "blocked"),
    ]
    assert tasks[2]["estimated_duration"] == "5m"
    assert all(ledger.events(task) == ["task.created"] for task in tasks)
    assert done(client.get(f"/plans/{plan['id']}"))["revision"] == plan["revision"] + 1
    assert {each["name"] for each in claimed(client, plan, limit=9)} == {"lint", "typecheck"}


def test_a_plan_may_be_made_with_the_tasks_of_its_steps(client: httpx2.Client) -> None:
    plan = new_plan(client, steps=STEPS, expand=True, tasks=[{"description": "and this"}])

    assert "expand" not in plan
    assert plan["steps"] == STEPS
    assert [task["description"] for task in in_plan(client, plan)] == [
        *("lint", "typecheck", "build", "and this"),
    ]


def test_all_faults_of_all_steps_are_named_at_once_and_nothing_is_made(
    client: httpx2.Client, ledger: Ledger
) -> None:
    steps: list[Json] = [
        {"step": 1, "action": "build", "depends_on": ["tset"]},
        {"step": 2, "name": "test", "action": "", "estimated_duration": "soon"},
    ]
    plan = new_plan(client, steps=steps)

    with ledger.unchanged():
        later = faults_of(client.post(f"/plans/{plan['id']}/expand"))
        at_once = faults_of(client.post("/plans/", json={"steps": steps, "expand": True}))

    assert later == at_once
    assert later.keys() >= {"/steps/0/depends_on/0", "/steps/1/estimated_duration"}
    assert "did you mean 'test'?" in later["/steps/0/depends_on/0"]


def test_a_plan_without_steps_is_not_expanded(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client)

    with ledger.unchanged():
        assert faults_of(client.post(f"/plans/{plan['id']}/expand")).keys() == {"/steps"}


def test_steps_do_not_become_tasks_twice(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client, steps=STEPS)
    headers = {"Idempotency-Key": some_id()}
    first = answered(client.post(f"/plans/{plan['id']}/expand", headers=headers), 201)

    with ledger.unchanged():
        again = client.post(f"/plans/{plan['id']}/expand", headers=headers)
        assert answered(again, 201) == first
        other = client.post(f"/plans/{plan['id']}/expand")
        assert "'lint'" in problem_of(other, 409, "already_exists")["detail"]


def test_a_closed_plan_is_not_expanded(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client, steps=STEPS)
    done(client.post(f"/plans/{plan['id']}/cancel"))

    with ledger.unchanged():
        response = client.post(f"/plans/{plan['id']}/expand")
        assert plan["id"] in problem_of(response, 409, "plan_closed")["detail"]
