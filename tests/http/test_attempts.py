"""The runs of a task on the wire: who ran it, from when to when, and what came of it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.http.wire import (
    NOBODY,
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


def test_every_run_stays_readable_oldest_first(client: httpx2.Client) -> None:
    plan = new_plan(client, status="active")
    task = new_task(client, plan, retry_policy={"initial_delay_sec": 0})
    path = f"/tasks/{task['id']}"
    assert listed(client.get(f"{path}/attempts")) == []

    first = only(claimed(client, plan))
    failure = {"fencing_token": first["fencing_token"], "error": {"message": "oh"}}
    done(client.post(f"{path}/fail", json=failure))
    second = only(claimed(client, plan, worker_id="w2"))
    done(client.post(f"{path}/release", json={"fencing_token": second["fencing_token"]}))
    third = only(claimed(client, plan))
    going_on = listed(client.get(f"{path}/attempts"))[-1]
    done(client.post(f"{path}/complete", json={"fencing_token": third["fencing_token"]}))

    attempts = listed(client.get(f"{path}/attempts/"))
    assert [list(attempt) for attempt in attempts] == [
        ["attempt", "worker_id", "began_at", "ended_at", "outcome", "error"]
    ] * 3
    told = [
        tuple(attempt[name] for name in ("attempt", "worker_id", "outcome", "error"))
        for attempt in attempts
    ]
    assert told == [
        (1, "w1", "failed", {"message": "oh"}),
        (2, "w2", "released", None),
        (3, "w1", "completed", None),
    ]
    assert all(attempt["began_at"] < attempt["ended_at"] for attempt in attempts)
    assert third["previous_attempts"] == attempts[:2]
    assert going_on == {**attempts[2], "ended_at": None, "outcome": None}


def test_the_attempts_of_nothing_are_not_found(client: httpx2.Client, ledger: Ledger) -> None:
    task = new_task(client, new_plan(client))

    with ledger.unchanged():
        response = client.get(f"/tasks/{NOBODY}/attempts")
        assert NOBODY in problem_of(response, 404, "not_found")["detail"]
        assert faults_of(client.get("/tasks/mine/attempts")).keys() == {"{task_id}"}
        query = client.get(f"/tasks/{task['id']}/attempts?limit=1")
        assert faults_of(query).keys() == {"?limit"}
