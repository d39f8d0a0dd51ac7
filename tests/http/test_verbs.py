"""The verbs of tasks and plans on the wire: reports of holders, decisions by hand, refusals."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.models.task import Task
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

REPORTS: Final = ("complete", "fail", "release")
DECISIONS: Final = ("approve", "reject")
OF_TASKS: Final = (*REPORTS, "skip", "retry", "reset", *DECISIONS)
OF_PLANS: Final = ("start", "pause", "resume", "cancel", "retry", "expand")

NEEDED: Final[dict[str, Json]] = {"fail": {"error": "oh"}}
"""What a verb's body must have."""

PROMISED: Final = {"max_retries": 0}


def an_active_plan(client: httpx2.Client, **fields: Any) -> Json:
    return new_plan(client, **{"status": "active", "plan_type": "parallel", **fields})


def report(
    client: httpx2.Client, verb: str, task: Json, *, status: int = 200, **fields: Any
) -> Json:
    return done(client.post(f"/tasks/{task['id']}/{verb}", json=fields), status)


def stored(client: httpx2.Client, task: Json) -> Json:
    return done(client.get(f"/tasks/{task['id']}"))


def the_task(ended: Json) -> Json:
    """What of an answer is the task."""
    return {name: ended[name] for name in Task.model_fields}


def test_a_holder_completes_its_task(client: httpx2.Client, ledger: Ledger) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    token = only(claimed(client, plan))["fencing_token"]

    ended = report(client, "complete", task, fencing_token=token, output_data={"a": 1})

    assert ended.keys() == Task.model_fields.keys() | {"unblocked", "tasks"}
    assert (ended["status"], ended["output_data"]) == ("completed", {"a": 1})
    assert (ended["unblocked"], ended["tasks"]) == ([], [])
    assert stored(client, task) == the_task(ended)
    assert ledger.events(task) == ["task.created", "task.started", "task.completed"]
    assert done(client.get(f"/plans/{plan['id']}"))["status"] == "completed"


def test_a_report_says_what_it_unblocked_and_hands_out_the_next_tasks(
    client: httpx2.Client,
) -> None:
    plan = an_active_plan(client)
    first = new_task(client, plan, name="first")
    waiting = [new_task(client, plan, depends_on=["first"]) for _ in range(2)]
    token = only(claimed(client, plan, limit=9))["fencing_token"]

    claim = {"worker_id": "w1", "plan_id": plan["id"], "lease_seconds": 3_600}
    ended = report(client, "complete", first, fencing_token=token, claim_next=claim)

    assert sorted(ended["unblocked"]) == sorted(task["id"] for task in waiting)
    packet = only(ended["tasks"])
    assert packet["id"] in ended["unblocked"]
    assert (packet["status"], packet["worker_id"]) == ("running", "w1")
    assert packet["dependencies"][0]["task_id"] == first["id"]
    # The next one is reported with the token that came along.
    report(client, "complete", packet, fencing_token=packet["fencing_token"])


def test_a_failed_run_is_tried_again_or_has_failed(client: httpx2.Client, ledger: Ledger) -> None:
    plan = an_active_plan(client, auto_complete=False)
    again, lost, given_up = (
        new_task(client, plan, retry_policy=each) for each in ({}, {}, PROMISED)
    )
    tokens = {each["id"]: each["fencing_token"] for each in claimed(client, plan, limit=9)}

    later = report(
        *(client, "fail", again),
        fencing_token=tokens[again["id"]],
        error={"message": "busy", "code": 7},
        retry_in_seconds=3_600,
    )
    never = report(
        *(client, "fail", lost), fencing_token=tokens[lost["id"]], error="oh", retryable=False
    )
    last = report(client, "fail", given_up, fencing_token=tokens[given_up["id"]], error="oh")

    assert (later["status"], later["error"]) == ("pending", {"message": "busy", "code": 7})
    assert [(each["status"], each["error"]) for each in (never, last)] == [("failed", "oh")] * 2
    assert claimed(client, plan, limit=9) == []
    assert ledger.events(again)[-1] == "task.requeued"
    assert ledger.events(lost)[-1] == "task.failed"


def test_a_task_that_is_released_is_ready_again(client: httpx2.Client, ledger: Ledger) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    packet = only(claimed(client, plan))

    ended = report(client, "release", task, fencing_token=packet["fencing_token"])

    assert (ended["status"], ended["worker_id"]) == ("pending", None)
    assert ledger.events(task) == ["task.created", "task.started", "task.released"]
    assert only(claimed(client, plan))["fencing_token"] > packet["fencing_token"]


@pytest.mark.parametrize("verb", REPORTS)
def test_the_holder_of_a_claim_that_has_ended_is_shut_out(
    client: httpx2.Client, ledger: Ledger, verb: str
) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    stale = only(claimed(client, plan))["fencing_token"]
    done(client.post(f"/tasks/{task['id']}/reset"))
    held = only(claimed(client, plan, worker_id="w2"))

    content = {"fencing_token": stale, **NEEDED.get(verb, {})}
    response = client.post(f"/tasks/{task['id']}/{verb}", json=content)

    problem = problem_of(response, 409, "stale_claim")
    assert task["id"] in problem["detail"]
    assert "running" in problem["detail"]
    # What was late is kept, and changes nothing.
    assert ledger.events(task)[-1] == "task.result_refused"
    assert stored(client, task) == the_task(held)
    report(client, "complete", task, fencing_token=held["fencing_token"])


@pytest.mark.parametrize("verb", REPORTS)
def test_without_its_token_a_claimed_task_is_left_to_its_holder(
    client: httpx2.Client, ledger: Ledger, verb: str
) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    claimed(client, plan, worker_id="the holder")

    with ledger.unchanged():
        response = client.post(f"/tasks/{task['id']}/{verb}", json=NEEDED.get(verb, {}))

    assert "'the holder'" in problem_of(response, 409, "claimed")["detail"]


def test_completing_again_is_answered_alike_and_another_result_is_refused(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    token = only(claimed(client, plan))["fencing_token"]
    first = report(client, "complete", task, fencing_token=token, output_data={"a": 1})

    with ledger.unchanged():
        assert report(client, "complete", task, fencing_token=token, output_data={"a": 1}) == first
    content = {"fencing_token": token, "output_data": {"a": 2}}
    response = client.post(f"/tasks/{task['id']}/complete", json=content)

    problem_of(response, 409, "result_conflict")
    assert stored(client, task) == the_task(first)
    assert ledger.events(task)[-1] == "task.result_refused"


def test_many_results_are_each_taken_or_refused(client: httpx2.Client) -> None:
    plan = an_active_plan(client)
    good = new_task(client, plan, name="good")
    bad = new_task(client, plan)
    after = new_task(client, plan, depends_on=["good"])
    tokens = {each["id"]: each["fencing_token"] for each in claimed(client, plan, limit=2)}
    unknown = some_id()
    results: list[Json] = [
        {"task_id": bad["id"], "fencing_token": tokens[bad["id"]] + 1_000_000},
        {"task_id": unknown},
        {"task_id": good["id"], "fencing_token": tokens[good["id"]], "output_data": {"a": 1}},
    ]
    claim = {"worker_id": "w1", "plan_id": plan["id"], "lease_seconds": 3_600, "limit": 9}

    answer = answered(
        client.post("/tasks/complete", json={"results": results, "claim_next": claim})
    )

    assert list(answer) == ["results", "unblocked", "tasks"]
    assert [each["task_id"] for each in answer["results"]] == [each["task_id"] for each in results]
    taken = [(each["ok"], each["status"]) for each in answer["results"]]
    assert taken == [(False, "running"), (False, None), (True, "completed")]
    refusals = [each["error"] and each["error"]["code"] for each in answer["results"]]
    assert refusals == ["stale_claim", "not_found", None]
    assert unknown in answer["results"][1]["error"]["detail"]
    assert answer["unblocked"] == [after["id"]]
    assert only(answer["tasks"])["id"] == after["id"]


def test_many_results_are_taken_once_under_their_key(client: httpx2.Client, ledger: Ledger) -> None:
    plan = an_active_plan(client)
    results = [{"task_id": new_task(client, plan)["id"]} for _ in range(3)]
    headers = {"Idempotency-Key": some_id()}
    first = answered(client.post("/tasks/complete", json={"results": results}, headers=headers))

    with ledger.unchanged():
        for path in ("/tasks/complete", "/tasks/complete/"):
            again = client.post(path, json={"results": results}, headers=headers)
            assert answered(again) == first


def test_all_faults_of_many_results_are_named_at_once(
    client: httpx2.Client, ledger: Ledger
) -> None:
    results: list[Json] = [
        {"task_id": "x"},
        {"id": some_id(), "output_data": []},
        {"task_id": some_id(), "fencing_token": 1.5},
    ]
    content = {"results": results, "claim_next": {"limit": 0}}

    with ledger.unchanged():
        faults = faults_of(client.post("/tasks/complete", json=content))
        for results in ([], [{"task_id": NOBODY}] * 2, [{"task_id": NOBODY}] * 1_001):
            response = client.post("/tasks/complete", json={"results": results})
            assert faults_of(response).keys() == {"/results"}

    assert faults.keys() == {
        "/results/0/task_id",
        *("/results/1/id", "/results/1/task_id", "/results/1/output_data"),
        "/results/2/fencing_token",
        *("/claim_next/limit", "/claim_next/worker_id"),
    }


BODIES: Final = {"left out": None, "empty": b"", "an empty object": b"{}"}


@pytest.mark.parametrize("content", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("verb", [verb for verb in OF_TASKS if verb not in NEEDED])
def test_a_verb_of_a_task_that_needs_nothing_may_have_any_empty_body(
    client: httpx2.Client, verb: str, content: bytes | None
) -> None:
    task = new_task(client, an_active_plan(client), requires_approval=verb in DECISIONS)
    path = f"/tasks/{task['id']}"
    starts = {"release": "running", "retry": "failed", "reset": "failed"}
    if verb in starts:
        done(client.patch(path, json={"status": starts[verb]}))
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    answer = done(client.post(f"{path}/{verb}", content=content, headers=headers))

    ends = {"complete": "completed", "skip": "skipped", "reject": "failed"}
    assert answer["status"] == ends.get(verb, "pending")
    assert the_task(answer) == stored(client, task)


@pytest.mark.parametrize("content", BODIES.values(), ids=BODIES)
@pytest.mark.parametrize("verb", OF_PLANS)
def test_a_verb_of_a_plan_may_have_any_empty_body(
    client: httpx2.Client, verb: str, content: bytes | None
) -> None:
    plan = new_plan(client, steps=[{"action": "lint"}])

    response = client.post(f"/plans/{plan['id']}/{verb}/", content=content)

    assert response.status_code == (201 if verb == "expand" else 200), response.text


def test_a_failure_says_what_went_wrong(client: httpx2.Client, ledger: Ledger) -> None:
    task = new_task(client, an_active_plan(client))
    path = f"/tasks/{task['id']}/fail"

    with ledger.unchanged():
        for content in (None, b""):
            problem_of(client.post(path, content=content), 400, "malformed_body")
        for body, at in (
            ({}, "/error"),
            ({"error": 7}, "/error"),
            ({"error": None}, "/error"),
            ({"error": "oh", "retry_in_seconds": -1}, "/retry_in_seconds"),
        ):
            assert faults_of(client.post(path, json=body)).keys() == {at}


def _doors(client: httpx2.Client) -> list[tuple[str, Json]]:
    """Every verb of a task and a plan, with what its body must have."""
    plan = an_active_plan(client, steps=[{"action": "lint"}])
    task = new_task(client, plan)
    return [
        *((f"/tasks/{task['id']}/{verb}", NEEDED.get(verb, {})) for verb in OF_TASKS),
        *((f"/plans/{plan['id']}/{verb}", {}) for verb in OF_PLANS),
    ]


def test_what_a_verb_does_not_know_is_refused_by_name(
    client: httpx2.Client, ledger: Ledger
) -> None:
    doors = _doors(client)

    with ledger.unchanged():
        for path, needed in doors:
            faults = faults_of(client.post(path, json={**needed, "fencing_tokn": 1}))
            assert faults.keys() == {"/fencing_tokn"}
            assert faults_of(client.post(f"{path}?force=1", json=needed)).keys() == {"?force"}
            assert faults_of(client.post(path, content=b"null")).keys() == {""}
            problem_of(client.post(path, content=b"status=active"), 400, "malformed_body")
            headers = {"Idempotency-Key": "a b"}
            keyed = client.post(path, json=needed, headers=headers)
            assert faults_of(keyed).keys() == {"Idempotency-Key"}


def test_a_misspelt_token_is_told_the_right_name(client: httpx2.Client) -> None:
    path = f"/tasks/{NOBODY}/complete"

    faults = faults_of(client.post(path, json={"fencing_tokn": 1}))

    assert "did you mean 'fencing_token'?" in faults["/fencing_tokn"]


def test_a_verb_of_what_is_not_there_is_not_found(client: httpx2.Client, ledger: Ledger) -> None:
    with ledger.unchanged():
        for noun, verbs in (("tasks", OF_TASKS), ("plans", OF_PLANS)):
            for verb in verbs:
                content = NEEDED.get(verb, {})
                response = client.post(f"/{noun}/{NOBODY}/{verb}", json=content)
                assert NOBODY in problem_of(response, 404, "not_found")["detail"]
                response = client.post(f"/{noun}/mine/{verb}", json=content)
                assert faults_of(response).keys() == {f"{{{noun[:-1]}_id}}"}


@pytest.mark.parametrize("verb", [*OF_TASKS, "skip"])
def test_a_verb_of_a_task_is_done_once_under_its_key(
    client: httpx2.Client, ledger: Ledger, verb: str
) -> None:
    plan = an_active_plan(client, auto_complete=False)
    task = new_task(client, plan, requires_approval=verb in DECISIONS)
    path = f"/tasks/{task['id']}"
    if verb not in {"complete", "skip", *DECISIONS}:
        starts = {"fail": "running", "release": "running"}
        done(client.patch(path, json={"status": starts.get(verb, "failed")}))
    headers = {"Idempotency-Key": some_id()}
    content = NEEDED.get(verb, {})
    first = done(client.post(f"{path}/{verb}", json=content, headers=headers))
    done(client.patch(path, json={"description": "go on"}))

    with ledger.unchanged():
        again = done(client.post(f"{path}/{verb}/", json=content, headers=headers))

    assert again == first
    assert stored(client, task)["description"] == "go on"


@pytest.mark.parametrize("verb", OF_PLANS)
def test_a_verb_of_a_plan_is_done_once_under_its_key(
    client: httpx2.Client, ledger: Ledger, verb: str
) -> None:
    plan = new_plan(client, steps=[{"action": "lint"}])
    path = f"/plans/{plan['id']}/{verb}"
    headers = {"Idempotency-Key": some_id()}
    first = client.post(path, headers=headers)
    assert first.is_success, first.text
    done(client.patch(f"/plans/{plan['id']}", json={"metadata": {"a": 1}}))

    with ledger.unchanged():
        again = client.post(path, content=b"{}", headers=headers)

    assert (again.status_code, again.content) == (first.status_code, first.content)


def test_a_skip_lets_others_go_on_and_a_completed_task_is_not_skipped(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = an_active_plan(client)
    skipped = new_task(client, plan, name="skipped")
    waiting = new_task(client, plan, depends_on=["skipped"])

    answer = report(client, "skip", skipped)

    assert answer == stored(client, skipped)
    assert answer["status"] == "skipped"
    assert stored(client, waiting)["status"] == "pending"
    report(client, "complete", waiting)
    with ledger.unchanged():
        response = client.post(f"/tasks/{waiting['id']}/skip")
        assert "completed" in problem_of(response, 409, "invalid_transition")["detail"]


def test_a_task_is_retried_if_it_has_failed(client: httpx2.Client, ledger: Ledger) -> None:
    plan = an_active_plan(client, auto_complete=False)
    task = new_task(client, plan, retry_policy=PROMISED)
    path = f"/tasks/{task['id']}"
    report(client, "fail", task, error="oh")

    retried = report(client, "retry", task)

    assert (retried["status"], retried["error"]) == ("pending", None)
    with ledger.unchanged():
        assert report(client, "retry", task) == retried
    report(client, "complete", task)
    with ledger.unchanged():
        problem = problem_of(client.post(f"{path}/retry"), 409, "invalid_transition")
    assert problem["detail"] == (
        f"cannot retry task {task['id']}: it is completed; allowed now: reset"
    )


def test_a_reset_does_a_task_again_and_its_dependents_where_that_is_asked(
    client: httpx2.Client,
) -> None:
    plan = an_active_plan(client)
    first = new_task(client, plan, name="first")
    second = new_task(client, plan, depends_on=["first"])
    for task in (first, second):
        report(client, "complete", task, output_data={"a": 1})

    alone = report(client, "reset", first, dependents=False)
    assert (alone["status"], alone["output_data"]) == ("pending", None)
    assert stored(client, second)["status"] == "completed"

    report(client, "complete", first)
    report(client, "reset", first, dependents=True)
    assert stored(client, second)["status"] == "blocked"
    assert done(client.get(f"/plans/{plan['id']}"))["status"] == "active"


def test_the_verbs_of_a_plan_start_pause_resume_and_cancel_it(
    client: httpx2.Client, ledger: Ledger
) -> None:
    plan = new_plan(client)
    tasks = [new_task(client, plan, sequence_order=1) for _ in range(2)]
    path = f"/plans/{plan['id']}"

    assert done(client.post(f"{path}/start"))["status"] == "active"
    paused = done(client.post(f"{path}/pause"))
    assert (paused["status"], paused["paused_at"] is None) == ("active", False)
    assert claimed(client, plan) == []
    with ledger.unchanged():
        assert done(client.post(f"{path}/pause")) == paused
    assert done(client.post(f"{path}/resume"))["paused_at"] is None
    packet = only(claimed(client, plan))
    assert packet["id"] == tasks[0]["id"]
    cancelled = done(client.post(f"{path}/cancel"))
    assert cancelled == done(client.get(path))
    assert cancelled["status"] == "cancelled"
    assert stored(client, tasks[1])["status"] == "skipped"
    with ledger.unchanged():
        for verb in ("start", "pause"):
            problem_of(client.post(f"{path}/{verb}"), 409, "invalid_transition")
        for verb in ("retry", "expand"):
            assert client.post(f"{path}/{verb}").status_code in {409, 422}
        assert done(client.post(f"{path}/cancel")) == cancelled


def test_retrying_a_plan_tries_each_of_its_failed_tasks_again(client: httpx2.Client) -> None:
    plan = an_active_plan(client)
    tasks = [new_task(client, plan) for _ in range(3)]
    for task in tasks[:2]:
        done(client.patch(f"/tasks/{task['id']}", json={"status": "failed"}))
    report(client, "complete", tasks[2])
    assert done(client.get(f"/plans/{plan['id']}"))["status"] == "failed"

    retried = done(client.post(f"/plans/{plan['id']}/retry"))

    assert retried["status"] == "active"
    statuses = [
        task["status"] for task in listed(client.get("/tasks/", params={"plan_id": plan["id"]}))
    ]
    assert statuses == ["pending", "pending", "completed"]


def test_a_closed_plan_retries_and_resets_nothing(client: httpx2.Client, ledger: Ledger) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    done(client.patch(f"/tasks/{task['id']}", json={"status": "failed"}))
    done(client.post(f"/plans/{plan['id']}/cancel"))

    with ledger.unchanged():
        for path in (
            f"/plans/{plan['id']}/retry",
            *(f"/tasks/{task['id']}/{v}" for v in ("retry", "reset")),
        ):
            assert plan["id"] in problem_of(client.post(path), 409, "plan_closed")["detail"]


def test_a_report_is_json_whatever_the_content_type_says(client: httpx2.Client) -> None:
    plan = an_active_plan(client)
    task = new_task(client, plan)
    content = json.dumps({"output_data": {"a": 1}}).encode()
    headers = {"Content-Type": "application/x-www-form-urlencoded"}

    ended = done(client.post(f"/tasks/{task['id']}/complete", content=content, headers=headers))

    assert ended["output_data"] == {"a": 1}
