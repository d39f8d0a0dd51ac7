"""A body is JSON, whatever is said about it; what can't be read as such changes nothing."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.http.wire import done, faults_of, new_plan, new_task, problem_of, some_id

if TYPE_CHECKING:
    import httpx2

    from tests.http.wire import Ledger

CONTENT_TYPES: Final = [
    "application/json",
    "application/x-www-form-urlencoded",
    "text/plain",
    "text/plain; charset=utf-16",
    "multipart/form-data; boundary=x",
    "application/octet-stream",
    "application/merge-patch+json",
    "image/png",
    "not a content type",
    "",
    None,
]


def _headers(content_type: str | None) -> dict[str, str]:
    return {} if content_type is None else {"Content-Type": content_type}


@pytest.mark.parametrize("content_type", CONTENT_TYPES)
def test_every_body_is_json_whatever_the_content_type_says(
    client: httpx2.Client, content_type: str | None
) -> None:
    headers = _headers(content_type)

    plan = done(client.post("/plans/", content=b'{"plan_type": "dag"}', headers=headers), 201)
    assert plan["plan_type"] == "dag"

    body = json.dumps({"plan_id": plan["id"], "description": "dö it"}, ensure_ascii=False)
    task = done(client.post("/tasks/", content=body.encode(), headers=headers), 201)
    assert task["description"] == "dö it"

    path = f"/tasks/{task['id']}"
    running = done(client.patch(path, content=b'{"status": "running"}', headers=headers))
    assert running["status"] == "running"

    path = f"/plans/{plan['id']}"
    changed = done(client.patch(path, content=b'{"current_step": 4}', headers=headers))
    assert changed["current_step"] == 4


MALFORMED: Final = {
    "nothing": b"",
    "blanks": b" \n ",
    "a form": b"status=active",
    "single quotes": b"{'status': 'active'}",
    "a comment": b'{"status": "active" /* now */}',
    "a comma at the end": b'{"status": "active",}',
    "two values": b"{} {}",
    "half of it": b'{"status": "act',
    "a byte order mark": b"\xef\xbb\xbf{}",
    "utf-16": '{"status": "active"}'.encode("utf-16"),
    "invalid utf-8": b'{"plan_type": "\xff\xfe"}',
    "a surrogate as utf-8": b'{"plan_type": "\xed\xa0\x80"}',
    "a raw NUL": b'{"plan_type": "a\x00b"}',
    "a raw line break": b'{"plan_type": "a\nb"}',
    "a lone surrogate": b'{"plan_type": "\\ud800"}',
    "a lone surrogate in free JSON": b'{"metadata": {"a": ["\\udc00"]}}',
    "a lone surrogate as a key": b'{"metadata": {"\\ud800": 1}}',
    "a number of 5,000 digits": b'{"metadata": {"a": %s}}' % (b"9" * 5_000),
    "lists, 100,000 deep": b'{"metadata": {"a": %s%s}}' % (b"[" * 100_000, b"]" * 100_000),
    "objects, 1,000 deep": b'{"metadata": %s1%s}' % (b'{"a":' * 1_000, b"}" * 1_000),
}


@pytest.mark.parametrize("body", MALFORMED.values(), ids=MALFORMED)
def test_what_is_not_json_is_refused_everywhere(
    client: httpx2.Client, ledger: Ledger, body: bytes
) -> None:
    plan = new_plan(client)
    task = new_task(client, plan)

    with ledger.unchanged():
        for method, path in (
            ("POST", "/plans/"),
            ("PATCH", f"/plans/{plan['id']}"),
            ("POST", "/tasks/"),
            ("POST", "/plans/tasks"),
            ("PATCH", f"/tasks/{task['id']}"),
            ("PATCH", f"/plans/tasks/{task['id']}"),
        ):
            problem_of(client.request(method, path, content=body), 400, "malformed_body")


@pytest.mark.parametrize("body", [b"null", b"[]", b"1", b'"active"', b"true", b"[{}]", b"NaN"])
def test_a_body_that_is_no_object_is_refused(
    client: httpx2.Client, ledger: Ledger, body: bytes
) -> None:
    plan = new_plan(client)

    with ledger.unchanged():
        assert faults_of(client.post("/plans/", content=body)).keys() == {""}
        assert faults_of(client.patch(f"/plans/{plan['id']}", content=body)).keys() == {""}
        assert faults_of(client.post("/tasks/", content=body)).keys() == {""}


def test_all_faults_of_a_plan_are_named_at_once(client: httpx2.Client, ledger: Ledger) -> None:
    content = {
        "id": "one",
        "goal_id": 7,
        "agent_id": [],
        "plan_type": "",
        "steps": [{"a": 1}, "two", {"b": "a\x00b", "c/d~e": {"f": "\x00"}}, None],
        "status": "completed",
        "current_step": -1,
        "metadata": [],
        "auto_complete": "yes",
        "stepz": [],
        "a/b~c": 1,
    }

    with ledger.unchanged():
        faults = faults_of(client.post("/plans/", json=content))

    assert faults.keys() == {
        *("/id", "/goal_id", "/agent_id", "/plan_type", "/steps/1", "/steps/3", "/status"),
        *("/current_step", "/metadata", "/auto_complete", "/stepz", "/a~1b~0c"),
        *("/steps/2/b", "/steps/2/c~1d~0e/f"),
    }
    assert "'steps'" in faults["/stepz"]
    assert "U+0000" in faults["/steps/2/c~1d~0e/f"]


def test_all_faults_of_a_task_are_named_at_once(client: httpx2.Client, ledger: Ledger) -> None:
    content: dict[str, Any] = {
        "name": some_id(),
        "agent_id": "nobody",
        "task_type": "x" * 201,
        "input_data": "none",
        "sequence_order": 1.5,
        "metadata": {"a": {"b": [1, float("inf")]}},
        "descripton": "do it",
    }

    with ledger.unchanged():
        faults = faults_of(client.post("/tasks/", content=json.dumps(content).encode()))

    assert faults.keys() == {
        *("/name", "/agent_id", "/task_type", "/input_data", "/sequence_order", "/metadata/a/b/1"),
        *("/descripton", "/plan_id", "/description"),
    }
    assert "'description'" in faults["/descripton"]
    assert "required" in faults["/plan_id"]
    assert "UUID" in faults["/name"]


def test_all_faults_of_a_change_are_named_at_once(client: httpx2.Client, ledger: Ledger) -> None:
    task = new_task(client, new_plan(client))
    content = {
        "description": None,
        "metadata": None,
        "status": "done",
        "sequence_order": True,
        "started_at": "yesterday",
        "completed_at": "0001-01-01T00:00:00Z",
        "error": 7,
        "output_data": [1],
        "stauts": "running",
    }

    with ledger.unchanged():
        faults = faults_of(client.patch(f"/tasks/{task['id']}", json=content))

    assert faults.keys() == {f"/{name}" for name in content}
    assert (
        "'pending', 'running', 'completed', 'failed', 'blocked' or 'skipped'" in faults["/status"]
    )
    assert "'status'" in faults["/stauts"]


def test_the_title_of_a_refusal_says_the_first_fault(client: httpx2.Client) -> None:
    problem = problem_of(client.post("/plans/", json={"stepz": [], "x": 1}), 422, "invalid_input")

    assert "2 faults" in problem["detail"]
    assert "did you mean 'steps'?" in problem["detail"]


LIMITS: Final[dict[str, dict[str, Any]]] = {
    "steps": {"steps": [{}] * 10_001},
    "depth": {"metadata": json.loads('{"a":' * 65 + "1" + "}" * 65)},
    "depth of lists": {"metadata": {"a": json.loads("[" * 64 + "]" * 64)}},
    "order": {"current_step": 1_000_000_001},
    "an integer of 400 digits": {"current_step": 10**400},
    "plan type": {"plan_type": "x" * 201},
    "a blank plan type": {"plan_type": " \t\n"},
    "a NUL": {"plan_type": "a\x00b"},
    "a NUL in a key": {"metadata": {"a\x00b": 1}},
}


@pytest.mark.parametrize("fields", LIMITS.values(), ids=LIMITS)
def test_what_is_beyond_a_limit_is_refused(
    client: httpx2.Client, ledger: Ledger, fields: dict[str, Any]
) -> None:
    plan = new_plan(client)
    (name,) = fields

    with ledger.unchanged():
        for response in (
            client.post("/plans/", json=fields),
            client.patch(f"/plans/{plan['id']}", json=fields),
        ):
            (pointer,) = faults_of(response)
            assert pointer.startswith(f"/{name}")


def test_what_is_just_within_the_limits_is_kept(client: httpx2.Client) -> None:
    fields = {
        "plan_type": "ü" * 200,
        "steps": [{"step": number} for number in range(10_000)],
        "metadata": json.loads('{"a":' * 64 + "1" + "}" * 64),
        "current_step": 1_000_000_000,
    }

    plan = new_plan(client, **fields)

    assert {name: plan[name] for name in fields} == fields
    task = new_task(client, plan, description="é" * 100_000, sequence_order=1_000_000_000)
    assert done(client.get(f"/tasks/{task['id']}"))["description"] == "é" * 100_000


def test_a_description_is_not_empty_and_not_endless(client: httpx2.Client, ledger: Ledger) -> None:
    plan = new_plan(client)
    task = new_task(client, plan)

    with ledger.unchanged():
        for description in ("", "  ", "x" * 100_001, "a\x00b"):
            content = {"plan_id": plan["id"], "description": description}
            assert faults_of(client.post("/tasks/", json=content)).keys() == {"/description"}
            del content["plan_id"]
            response = client.patch(f"/tasks/{task['id']}", json=content)
            assert faults_of(response).keys() == {"/description"}


FREE: Final[dict[str, dict[str, Any]]] = {
    "deep": {"a": [{"b": [[], {}, None, True, False]}]},
    "numbers": {"a": [0, -1, 1.5, 1e15, 10**400, -(2**63), 0.1]},
    "texts": {"": "", " ": "\u2028", "🙂": "\U0010ffff\ufffe", "quotes": "\"'\\/", "n": "\\u0000"},
    "words": {"null": None, "NaN": "NaN", "Infinity": "-Infinity"},
}


@pytest.mark.parametrize("content", FREE.values(), ids=FREE)
def test_free_json_comes_back_as_it_was_sent(
    client: httpx2.Client, content: dict[str, Any]
) -> None:
    plan = new_plan(client, steps=[content, content], metadata=content)
    task = new_task(client, plan, input_data=content, metadata=content)
    path = f"/tasks/{task['id']}"

    done(client.patch(path, json={"output_data": content, "error": content}))

    stored = done(client.get(f"/plans/{plan['id']}"))
    assert (stored["steps"], stored["metadata"]) == ([content, content], content)
    stored = done(client.get(path))
    assert [stored[name] for name in ("input_data", "metadata", "output_data", "error")] == (
        [content] * 4
    )


def test_the_last_of_two_equal_keys_counts(client: httpx2.Client) -> None:
    body = b'{"plan_type": "a", "plan_type": "b", "metadata": {"x": 1, "x": 2}}'

    plan = done(client.post("/plans/", content=body), 201)

    assert (plan["plan_type"], plan["metadata"]) == ("b", {"x": 2})
