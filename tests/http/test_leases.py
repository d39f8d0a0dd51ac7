"""Leases that end come back by themselves, though nobody asks for work."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, Final

from tests.http.wire import (
    answered,
    claimed,
    done,
    listed,
    new_plan,
    new_task,
    only,
    problem_of,
)
from tests.served import PATIENCE

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger

_TO_ITS_END: Final = "update planstore.task_states set lease_expires_at = now() where task_id = $1"


def after_its_lease(client: httpx2.Client, ledger: Ledger, task: Json) -> Json:
    """Let a lease pass, and return the task once a server has taken it back."""
    ledger.ask(_TO_ITS_END, task["id"])
    deadline = time.monotonic() + PATIENCE
    while (after := done(client.get(f"/tasks/{task['id']}")))["status"] == "running":
        assert time.monotonic() < deadline
        time.sleep(0.01)  # between two looks; nothing is ordered by it
    return after


def a_claimed_task(client: httpx2.Client, **fields: Any) -> tuple[Json, Json]:
    """A task that a worker has claimed, and its packet."""
    plan = new_plan(client, status="active", auto_complete=False)
    task = new_task(client, plan, **fields)
    return task, only(claimed(client, plan))


def test_a_task_whose_worker_vanished_is_tried_again(client: httpx2.Client, ledger: Ledger) -> None:
    task, packet = a_claimed_task(client, retry_policy={"initial_delay_sec": 0})

    after = after_its_lease(client, ledger, task)

    assert (after["status"], after["worker_id"], after["attempt"]) == ("pending", None, 1)
    assert after["error"]["code"] == "lease_ended"
    attempt = only(listed(client.get(f"/tasks/{task['id']}/attempts")))
    assert (attempt["worker_id"], attempt["outcome"]) == ("w1", "lease_ended")
    assert ledger.events(task)[-1] == "task.requeued"
    content = {"fencing_token": packet["fencing_token"]}
    late = client.post(f"/tasks/{task['id']}/complete", json=content)
    problem_of(late, 409, "stale_claim")
    beat = {"worker_id": "w1", "claims": [{"task_id": task["id"], **content}]}
    answer = answered(client.post("/tasks/heartbeat", json=beat))
    assert only(answer["claims"])["state"] == "lost"
    again = only(claimed(client, {"id": task["plan_id"]}, worker_id="w2"))
    assert (again["attempt"], again["previous_attempts"]) == (2, [attempt])


def test_what_must_not_run_twice_waits_for_a_person(client: httpx2.Client, ledger: Ledger) -> None:
    task, _ = a_claimed_task(client, side_effects="once")

    after = after_its_lease(client, ledger, task)

    assert (after["status"], after["needs_review"]) == ("failed", True)
    assert claimed(client, {"id": task["plan_id"]}) == []
