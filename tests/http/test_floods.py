"""What is wrong countless times, or at great length, is refused in few words and at once."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Final

import pytest

from tests.http.wire import NOBODY, faults_of, new_plan, new_task, problem_of

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Json, Ledger

MANY: Final = 100_000
MEGABYTE: Final = "x" * 1_000_000
AT_ONCE: Final = 5.0
"""Seconds: it takes a fraction of one, on a machine that has nothing else to do."""


@pytest.fixture
def doors(client: httpx2.Client) -> list[tuple[str, str]]:
    """Every method and path that takes a body."""
    plan = new_plan(client)
    path_of_plan, path = f"/plans/{plan['id']}", f"/tasks/{new_task(client, plan)['id']}"
    return [
        *(("POST", path) for path in ("/plans/", "/tasks/", "/plans/tasks", "/tasks/batch")),
        *(("POST", f"/tasks/{verb}") for verb in ("claim", "heartbeat", "complete")),
        ("PATCH", path_of_plan),
        *(("POST", f"{path_of_plan}/{verb}") for verb in ("start", "expand")),
        ("PATCH", path),
        *(("POST", f"{path}/{verb}") for verb in ("complete", "fail", "skip", "reset")),
        *((method, f"{path}/dependencies") for method in ("PUT", "POST", "DELETE")),
    ]


def _refused(client: httpx2.Client, door: tuple[str, str], content: Json) -> dict[str, str]:
    """Assert that a body is refused at once and in few words; return its faults."""
    method, path = door
    body = json.dumps(content).encode()
    began = time.monotonic()
    response = client.request(method, path, content=body)
    assert time.monotonic() - began < AT_ONCE
    assert len(response.content) < 1_000_000
    faults = faults_of(response)
    assert 0 < len(faults) <= 1_000
    return faults


def test_countless_unknown_members_are_refused_at_once_and_the_first_are_named(
    client: httpx2.Client, ledger: Ledger, doors: list[tuple[str, str]]
) -> None:
    content = {f"member {number}": number for number in range(MANY)}

    with ledger.unchanged():
        for door in doors:
            faults = _refused(client, door, content)
            assert list(faults)[:2] == ["/member 0", "/member 1"]


def test_countless_unknown_members_of_a_task_of_a_batch_are_refused_at_once(
    client: httpx2.Client, ledger: Ledger
) -> None:
    task = {f"member {number}": number for number in range(MANY)}
    content = {"plan_id": new_plan(client)["id"], "tasks": [task]}

    with ledger.unchanged():
        _refused(client, ("POST", "/tasks/batch"), content)
        _refused(client, ("POST", "/plans/"), {"tasks": [task]})


def test_countless_faulty_entries_of_a_list_are_refused_at_once(
    client: httpx2.Client, ledger: Ledger
) -> None:
    path = f"/tasks/{new_task(client, new_plan(client))['id']}/dependencies"
    entry = {f"member {number}": number for number in range(10)}

    with ledger.unchanged():
        for content in ({"depends_on": [entry] * 10_000}, {"depends_on": ["nobody"] * 10_000}):
            _refused(client, ("PUT", path), content)
        for name, content in (("claims", entry), ("results", {"task_id": NOBODY})):
            path = "/tasks/heartbeat" if name == "claims" else "/tasks/complete"
            _refused(client, ("POST", path), {"worker_id": "w1", name: [content] * 10_000})


def test_countless_faulty_tasks_of_a_batch_are_refused_at_once(
    client: httpx2.Client, ledger: Ledger
) -> None:
    content = {"plan_id": new_plan(client)["id"], "tasks": [{"a": 1, "b": 2}] * 10_000}

    with ledger.unchanged():
        faults = _refused(client, ("POST", "/tasks/batch"), content)

    assert {"/tasks/0/a", "/tasks/0/b", "/tasks/0/description"} <= faults.keys()


def test_a_name_of_a_megabyte_is_shortened(
    client: httpx2.Client, ledger: Ledger, doors: list[tuple[str, str]]
) -> None:
    with ledger.unchanged():
        for door in doors:
            faults = _refused(client, door, {MEGABYTE: 1})
            (pointer,) = [pointer for pointer in faults if pointer.startswith("/x")]
            assert len(pointer) + len(faults[pointer]) < 1_000
        content = {"tasks": [{MEGABYTE: 1}]}
        for path in ("/tasks/batch", "/plans/"):
            _refused(client, ("POST", path), content)


def test_a_name_of_a_megabyte_in_free_json_is_shortened(
    client: httpx2.Client, ledger: Ledger, doors: list[tuple[str, str]]
) -> None:
    # Each fault within bears the name: a few of them are as many megabytes.
    named = {MEGABYTE: ["\x00"] * 9}

    with ledger.unchanged():
        for method, path in doors:
            if path != "/tasks/batch":
                _refused(client, (method, path), {"metadata": named})
        for path in ("/tasks/batch", "/plans/"):
            tasks = [{"description": "do it", "metadata": named}]
            _refused(client, ("POST", path), {"plan_id": NOBODY, "tasks": tasks})
        _refused(client, ("POST", "/plans/"), {"plan_type": named})


def test_a_value_of_a_megabyte_is_shortened(client: httpx2.Client, ledger: Ledger) -> None:
    content = {"id": MEGABYTE, "status": MEGABYTE, "plan_type": MEGABYTE, "metadata": MEGABYTE}

    with ledger.unchanged():
        faults = _refused(client, ("POST", "/plans/"), content)

    assert faults.keys() == {f"/{name}" for name in content}
    assert all(len(detail) < 1_000 for detail in faults.values())


def test_a_title_of_a_refusal_is_short_however_long_the_fault(client: httpx2.Client) -> None:
    problem = problem_of(client.post("/plans/", json={MEGABYTE: 1}), 422, "invalid_input")

    assert len(problem["detail"]) < 1_000
