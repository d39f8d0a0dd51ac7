"""Every documented call, letter by letter, as a shell command against a running server.

`documented_calls.md` holds the document's calls and bodies verbatim: they are the contract with
clients that exist. Only the port and the ids are set to those of the server and of objects just
made.
"""

from __future__ import annotations

import json
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.served import database_of, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx2

    from tests.conftest import Postgres
    from tests.served import Served

    Json = dict[str, Any]

OURS: Final = Path(__file__).parent / "documented_calls.md"
ORIGINAL: Final = Path(__file__).parents[2] / "shared" / "planstore-service.md"

GOAL: Final = "660e8400-e29b-41d4-a716-446655440001"
AGENT: Final = "550e8400-e29b-41d4-a716-446655440000"
PLAN: Final = "770e8400-e29b-41d4-a716-446655440002"
TASK: Final = "880e8400-e29b-41d4-a716-446655440003"


def blocks_of(text: str, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def calls_of(text: str) -> dict[str, str]:
    """Every curl command by its place: `1.2` is the second one of the first block."""
    with_calls = [block for block in blocks_of(text, "bash") if "curl" in block]
    return {
        f"{place}.{number}": call.strip()
        for place, block in enumerate(with_calls, 1)
        for number, call in enumerate(
            re.findall(r"^curl .*?(?=^#|\Z)", block, re.MULTILINE | re.DOTALL), 1
        )
    }


CALLS: Final = calls_of(OURS.read_text("utf-8"))
BODIES: Final = blocks_of(OURS.read_text("utf-8"), "json")


@pytest.mark.skipif(not ORIGINAL.exists(), reason="the document isn't beside the checkout")
def test_our_copy_is_the_document() -> None:
    original = ORIGINAL.read_text("utf-8")

    assert calls_of(original) == CALLS
    assert blocks_of(original, "json") == BODIES


@dataclass(frozen=True)
class Answer:
    """What a call came to, and what there was before."""

    status: int
    content_type: str
    body: Any
    sent: Json
    plan: Json
    task: Json
    client: httpx2.Client

    def stored(self, path: str) -> Any:
        response = self.client.get(path)
        assert response.status_code == 200
        return response.json()


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Iterator[Served]:
    with database_of(postgres) as url, serving(PLANSTORE_DATABASE_URL=url) as server:
        yield server


@pytest.fixture(scope="module")
def client(server: Served) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


def call(command: str, served: Served, client: httpx2.Client) -> Answer:
    """Run a documented command with the ids of a plan and a task that were just made."""
    plan = client.post("/plans/", json={"steps": [{"step": 1}]}).json()
    task = client.post("/tasks/", json={"plan_id": plan["id"], "description": "do it"}).json()
    for documented, real in (
        ("http://localhost:8011/", f"http://localhost:{served.port}/"),
        (PLAN, plan["id"]),
        (TASK, task["id"]),
    ):
        command = command.replace(documented, real)
    data = re.search(r"-d '(.*)'", command, re.DOTALL)
    said = subprocess.run(
        ["bash", "-c", command + r" --silent --show-error -w '\n%{http_code} %{content_type}'"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (said.returncode, said.stderr) == (0, "")
    body, _, last = said.stdout.rpartition("\n")
    status, _, content_type = last.partition(" ")
    sent: Json = json.loads(data[1]) if data else {}
    return Answer(int(status), content_type, json.loads(body), sent, plan, task, client)


def creates_a_plan(answer: Answer) -> None:
    assert answer.status == 201
    plan = answer.body
    assert {name: plan[name] for name in answer.sent} == answer.sent
    assert (plan["goal_id"], plan["agent_id"], plan["plan_type"]) == (GOAL, AGENT, "sequential")
    assert (plan["status"], plan["current_step"]) == ("draft", 0)
    assert answer.stored(f"/plans/{plan['id']}") == plan


def creates_a_task(answer: Answer) -> None:
    assert answer.status == 201
    task = answer.body
    assert {name: task[name] for name in answer.sent} == answer.sent
    assert (task["plan_id"], task["agent_id"]) == (answer.plan["id"], AGENT)
    assert (task["status"], task["output_data"]) == ("pending", None)
    assert (task["started_at"], task["completed_at"]) == (None, None)
    assert answer.stored(f"/tasks/{task['id']}") == task
    assert task in answer.stored(f"/tasks/?plan_id={answer.plan['id']}")


def changes_the_task(answer: Answer) -> None:
    assert answer.status == 200
    kept = {"updated_at", "version", "started_at", "completed_at", "attempt"} | answer.sent.keys()
    assert {name: answer.body[name] for name in answer.sent} == answer.sent
    assert _without(answer.body, kept) == _without(answer.task, kept)
    assert answer.stored(f"/tasks/{answer.task['id']}") == answer.body


def starts_the_task(answer: Answer) -> None:
    changes_the_task(answer)
    assert answer.body["status"] == "running"
    assert answer.body["started_at"]
    assert answer.body["completed_at"] is None


def completes_the_task(answer: Answer) -> None:
    changes_the_task(answer)
    assert answer.body["status"] == "completed"
    assert answer.body["completed_at"] == "2026-01-24T10:30:00Z"
    assert answer.body["output_data"]["coverage"] == 0.85
    assert answer.stored(f"/plans/{answer.plan['id']}")["status"] == "completed"


def gets_the_plan(answer: Answer) -> None:
    assert answer.status == 200
    assert answer.body == answer.stored(f"/plans/{answer.plan['id']}")
    assert answer.body["current_step"] == 1
    assert _without(answer.body, {"current_step", "revision", "version", "updated_at"}) == (
        _without(answer.plan, {"current_step", "revision", "version", "updated_at"})
    )


def gets_the_task(answer: Answer) -> None:
    assert (answer.status, answer.body) == (200, answer.task)


def changes_the_plan(answer: Answer) -> None:
    assert answer.status == 200
    kept = {"current_step", "revision", "version", "updated_at", "closed_at"} | answer.sent.keys()
    assert {name: answer.body[name] for name in answer.sent} == answer.sent
    assert _without(answer.body, kept) == _without(answer.plan, kept)
    assert answer.stored(f"/plans/{answer.plan['id']}") == answer.body


def lists_the_tasks_of_the_plan(answer: Answer) -> None:
    assert (answer.status, answer.body) == (200, [answer.task])
    for order in (7, 0):
        content = {"plan_id": answer.plan["id"], "description": "x", "sequence_order": order}
        answer.client.post("/tasks/", json=content)
    tasks = answer.stored(f"/tasks/?plan_id={answer.plan['id']}")
    assert [task["sequence_order"] for task in tasks] == [0, 1, 7]


def lists_the_recent_tasks(answer: Answer) -> None:
    assert answer.status == 200
    assert answer.body[0] == answer.task
    assert len(answer.body) <= 20
    times = [task["created_at"] for task in answer.body]
    assert times == sorted(times, reverse=True)


def _without(content: Json, names: set[str]) -> Json:
    return {name: value for name, value in content.items() if name not in names}


CHECKS: Final[dict[str, Callable[[Answer], None]]] = {
    "1.1": creates_a_plan,
    "2.1": creates_a_task,
    "2.2": creates_a_task,
    "3.1": starts_the_task,
    "3.2": completes_the_task,
    "4.1": gets_the_plan,
    "4.2": changes_the_plan,
    "4.3": changes_the_plan,
    "5.1": lists_the_tasks_of_the_plan,
    "5.2": lists_the_recent_tasks,
    "6.1": creates_a_plan,
    "6.2": gets_the_plan,
    "6.3": changes_the_plan,
    "6.4": creates_a_task,
    "6.5": gets_the_task,
    "6.6": starts_the_task,
    "6.7": lists_the_tasks_of_the_plan,
}


def test_every_documented_call_is_tried() -> None:
    assert CHECKS.keys() == CALLS.keys()
    assert len(CALLS) == OURS.read_text("utf-8").count("\ncurl ")


@pytest.mark.parametrize("place", CALLS)
def test_a_documented_call_does_what_the_document_says(
    place: str, server: Served, client: httpx2.Client
) -> None:
    answer = call(CALLS[place], server, client)

    assert answer.content_type == "application/json"
    CHECKS[place](answer)


def test_the_documented_calls_run_one_after_the_other(
    server: Served, client: httpx2.Client
) -> None:
    """As a client would: each goes on with the ids that the ones before were answered."""
    ids: dict[str, str] = {}
    statuses: list[int] = []
    for command in CALLS.values():
        for documented, real in (("http://localhost:8011", server.url), *ids.items()):
            command = command.replace(documented, real)  # noqa: PLW2901 - the same one, with ids
        said = subprocess.run(
            ["bash", "-c", command + r" -s -w '\n%{http_code}'"],
            capture_output=True,
            text=True,
            timeout=60,
            check=True,
        )
        body, _, status = said.stdout.rpartition("\n")
        statuses.append(int(status))
        if int(status) == 201:
            made = json.loads(body)
            ids[TASK if "plan_id" in made else PLAN] = made["id"]

    assert statuses == [
        *(201, 201, 201, 200, 200, 200, 200, 200, 200, 200),
        *(201, 200, 200, 201, 200, 200, 200),
    ]
    assert client.get(f"/tasks/{ids[TASK]}").json()["status"] == "running"
    assert client.get(f"/plans/{ids[PLAN]}").json()["status"] == "active"


@pytest.mark.parametrize("body", BODIES, ids=["sequential", "parallel", "data"])
def test_a_documented_body_is_kept_as_it_is(client: httpx2.Client, body: str) -> None:
    content = json.loads(body)
    if "steps" in content:
        made = client.post("/plans/", content=body.encode())
        stored = client.get(f"/plans/{made.json()['id']}").json()
    else:
        plan = client.post("/plans/", json={}).json()
        task = client.post("/tasks/", json={"plan_id": plan["id"], "description": "x"}).json()
        made = client.patch(f"/tasks/{task['id']}", content=body.encode())
        stored = client.get(f"/tasks/{task['id']}").json()

    assert made.is_success
    assert {name: stored[name] for name in content} == content
