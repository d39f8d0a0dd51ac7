"""`planstore plan`, against a real server."""

from __future__ import annotations

import io
import json
from typing import TYPE_CHECKING, Any

import pytest

from planstore.models import PlanCreate, PlanStatus, TaskDraft, TaskStatus

if TYPE_CHECKING:
    from pathlib import Path

    from planstore.client import PlanStoreClient
    from planstore.models import Plan
    from tests.commands.conftest import Run

KITCHEN: dict[str, Any] = {
    "status": "active",
    "plan_type": "dag",
    "labels": ["kitchen"],
    "tasks": [
        {"name": "boil", "description": "Boil water"},
        {"name": "chop", "description": "Chop"},
        {"name": "soup", "description": "Make soup", "depends_on": ["boil", "chop"]},
        {"name": "serve", "description": "Serve", "depends_on": ["soup"]},
    ],
}


@pytest.fixture
def plan(client: PlanStoreClient) -> Plan:
    return client.create_plan(PlanCreate.model_validate(KITCHEN, strict=False))


def test_a_plan_is_made_of_a_file(run: Run, client: PlanStoreClient, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text(json.dumps(KITCHEN))

    made = run("plan", "create", file, "--label", "more", "--json")

    assert made.status == 0, made.err
    assert made.json["labels"] == ["kitchen", "more"]
    assert len(client.list_tasks(plan_id=made.json["id"])) == 4


def test_a_plan_is_made_of_words(run: Run, client: PlanStoreClient) -> None:
    made = run("plan", "new", "-t", "Read", "-t", "Write", "--type", "parallel", "--start")

    assert made.status == 0, made.err
    words = made.out.split()
    assert (words[0], *words[2:]) == ("plan", "is", "active")
    tasks = client.list_tasks(plan_id=words[1])  # pyright: ignore[reportArgumentType] - as text
    assert [task.description for task in tasks] == ["Read", "Write"]


def test_a_plan_comes_through_a_pipe_and_its_steps_become_tasks(
    run: Run, client: PlanStoreClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps = {"steps": [{"description": "Read"}, {"description": "Write"}]}
    monkeypatch.setattr("sys.stdin", io.StringIO(json.dumps(steps)))

    made = run("plan", "create", "-", "--expand", "--json")

    assert len(client.list_tasks(plan_id=made.json["id"])) == 2


def test_all_faults_of_a_plan_are_named(run: Run, tmp_path: Path) -> None:
    file = tmp_path / "plan.json"
    file.write_text('{"colour": 1, "tasks": [{"description": ""}]}')

    refused = run("plan", "create", file)

    assert refused.status == 1
    assert "/colour: " in refused.err
    assert "/tasks/0/description: " in refused.err


@pytest.mark.parametrize("content", ["", "[1]", "{", None])
def test_what_is_no_plan_is_refused_in_a_sentence(
    run: Run, tmp_path: Path, content: str | None
) -> None:
    file = tmp_path / "plan.json"
    if content is not None:
        file.write_text(content)

    refused = run("plan", "create", file)

    assert refused.status == 1
    assert refused.err.startswith("planstore: The plan ")


def test_nothing_is_read_from_a_terminal(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setattr("sys.stdin", Terminal())

    assert "is this terminal" in run("plan", "create", "-").err


def test_plans_are_listed_as_a_table_and_as_json(
    run: Run, client: PlanStoreClient, plan: Plan
) -> None:
    client.create_plan(PlanCreate())
    shown = run("plan", "ls", "--label", "kitchen", "--status", "active", "-n", 50)
    listed = run("plan", "ls", "--label", "kitchen", "--json").json

    assert listed[0] == json.loads(plan.model_dump_json())
    assert shown.out.splitlines()[0].split() == ["id", "status", "type", "step", "labels", "age"]
    assert str(plan.id)[:13] in shown.out
    assert "There are more than 1;" in run("plan", "ls", "-n", 1).out
    assert "draft, active" in run("plan", "ls", "-s", "activ").err.replace("'", "")


def test_a_plan_is_shown_with_its_tasks(run: Run, plan: Plan) -> None:
    shown = run("plan", "show", str(plan.id)[:20])

    for what in (str(plan.id), "0 % of 4 tasks", '["kitchen"]', "boil", "serve"):
        assert what in shown.out
    assert run("plan", "get", plan.id, "--json").json["id"] == str(plan.id)


def test_a_plan_is_steered(run: Run, client: PlanStoreClient) -> None:
    plan = client.create_plan(PlanCreate(tasks=[TaskDraft(name="a", description="do")]))
    seen = [
        run("plan", verb, plan.id).out.split(" is ")[1].strip()
        for verb in ("start", "pause", "resume", "cancel")
    ]

    assert seen == ["active", "active, paused", "active", "cancelled"]
    assert client.get_plan(plan.id).status == PlanStatus.CANCELLED


def test_what_failed_is_tried_again(run: Run, client: PlanStoreClient, plan: Plan) -> None:
    assert run("task", "fail", "boil", "-p", plan.id, "-e", "burnt", "--final").status == 0
    assert run("plan", "retry", plan.id, "--json").json["status"] == "active"

    first = client.list_tasks(plan_id=plan.id)[0]
    assert first.status == TaskStatus.PENDING


def test_a_graph_is_drawn(run: Run, plan: Plan) -> None:
    drawn = run("plan", "graph", plan.id)

    assert drawn.out.splitlines() == [
        "○ boil",
        "└─ · soup  (also needs chop)",
        "   └─ · serve",
        "○ chop",
    ]
    assert run("plan", "graph", plan.id, "-f", "mermaid").out.startswith("flowchart")
    assert run("plan", "graph", plan.id, "-f", "dot").out.startswith("digraph")
    assert len(run("plan", "graph", plan.id, "--json").json["edges"]) == 3


def test_it_says_why_a_plan_is_not_going_on(run: Run, plan: Plan) -> None:
    explained = run("plan", "explain", plan.id)

    assert "are ready" in explained.out
    assert "- boil: nobody has claimed it" in explained.out
    assert run("plan", "why", plan.id, "--json").json["plan_id"] == str(plan.id)


def test_a_plan_is_watched_to_its_end(run: Run, client: PlanStoreClient) -> None:
    plan = client.create_plan(
        PlanCreate(status=PlanStatus.ACTIVE, tasks=[TaskDraft(description="a")])
    )
    (task,) = client.list_tasks(plan_id=plan.id)
    client.complete_task(task.id)

    assert run("plan", "watch", plan.id).status == 0

    client.cancel_plan(plan.id)
    assert run("plan", "watch", plan.id).status == 1


@pytest.mark.parametrize("verb", ["show", "start", "graph", "watch", "explain"])
def test_a_plan_that_is_not_there_is_said_to_be_so(run: Run, verb: str) -> None:
    for said, why in (
        ("00000000-0000-4000-8000-000000000000", "planstore: "),
        ("00000000-0000", "whose id begins with 00000000-0000"),
        ("kitchen", "'kitchen' is neither the id of a plan"),
    ):
        refused = run("plan", verb, said)
        assert refused.status == 1
        assert why in refused.err


def test_a_beginning_that_several_ids_have_names_them(run: Run, client: PlanStoreClient) -> None:
    ids = [f"abcdef12-0000-4000-8000-00000000000{n}" for n in range(2)]
    for each in ids:
        client.create_plan(PlanCreate.model_validate({"id": each}))

    refused = run("plan", "show", "abcdef12")

    assert refused.status == 1
    assert all(each in refused.err for each in ids)
    assert run("plan", "show", ids[0]).status == 0
