"""`planstore task`, against a real server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from planstore.models import PlanCreate, TaskStatus
from tests.commands.test_plan import KITCHEN

if TYPE_CHECKING:
    from planstore.client import PlanStoreClient
    from planstore.models import Plan
    from tests.commands.conftest import Run


@pytest.fixture
def plan(client: PlanStoreClient) -> Plan:
    return client.create_plan(PlanCreate.model_validate(KITCHEN, strict=False))


def test_tasks_are_listed(run: Run, plan: Plan) -> None:
    shown = run("task", "ls", "--plan", plan.id)
    ready = run("task", "ls", "--plan", plan.id, "--ready", "--json").json

    assert shown.out.splitlines()[0].split() == ["id", "status", "task", "worker", "for"]
    assert [line.split()[2] for line in shown.out.splitlines()[1:]] == [
        "boil",
        "chop",
        "soup",
        "serve",
    ]
    assert [task["name"] for task in ready] == ["boil", "chop"]
    assert "There are more than 2;" in run("task", "list", "-p", plan.id, "-n", 2).out


def test_a_task_is_found_by_name_and_by_how_its_id_begins(
    run: Run, client: PlanStoreClient, plan: Plan
) -> None:
    soup = client.list_tasks(plan_id=plan.id)[2]
    for said in (soup.id, str(soup.id)[:28], f"{plan.id}/soup", f"{str(plan.id)[:23]}/soup"):
        assert run("task", "show", said, "--json").json["id"] == str(soup.id)
    shown = run("task", "show", "soup", "--plan", plan.id)
    assert str(soup.id) in shown.out
    assert "Make soup" in shown.out


def test_a_wrong_name_is_answered_with_the_nearest_one(run: Run, plan: Plan) -> None:
    refused = run("task", "show", "suop", "-p", plan.id)

    assert refused.status == 1
    assert f"there is no task suop in the plan {plan.id}; did you mean soup?" in refused.err


def test_a_name_in_several_plans_names_them(run: Run, client: PlanStoreClient, plan: Plan) -> None:
    other = client.create_plan(PlanCreate.model_validate(KITCHEN, strict=False))

    refused = run("task", "skip", "boil")

    assert refused.status == 1
    assert "several tasks may be meant by boil" in refused.err
    assert all(
        client.list_tasks(plan_id=each.id)[0].status == TaskStatus.PENDING for each in (plan, other)
    )


def test_a_task_is_taken_and_done(run: Run, plan: Plan) -> None:
    taken = run("task", "next", "-p", plan.id, "--json").json
    token = taken["fencing_token"]
    assert (taken["name"], taken["worker_id"].partition("@")[0]) == ("boil", "ada")

    refused = run("task", "done", "boil", "-p", plan.id)
    assert refused.status == 1
    assert "holds a claim on it" in refused.err

    done = run("task", "done", taken["id"], "--token", token, "-o", '{"litres": 1}', "--json").json
    assert (done["status"], done["output_data"]) == ("completed", {"litres": 1})

    shown = run("task", "next", "-p", plan.id, "--worker", "eve", "--lease", 30).out
    assert "Chop" in shown
    assert "planstore task done" in shown
    assert run("task", "next", "-p", plan.id).status == 1


def test_a_task_is_done_by_hand_and_says_what_may_start(run: Run, plan: Plan) -> None:
    run("task", "done", "boil", "-p", plan.id)

    assert (
        "task chop is completed; 1 more may start now"
        in run("task", "complete", "chop", "-p", plan.id).out
    )


def test_an_output_that_is_no_object_is_refused(run: Run, plan: Plan) -> None:
    for output in ("1", "{", "@/nowhere"):
        refused = run("task", "done", "boil", "-p", plan.id, "-o", output)
        assert refused.status == 1
        assert refused.err.startswith("planstore: The output ")


def test_a_task_fails_is_tried_again_and_skipped(run: Run, client: PlanStoreClient) -> None:
    task = {"name": "boil", "description": "Boil", "retry_policy": {"max_retries": 3}}
    plan = client.create_plan(PlanCreate.model_validate({"status": "active", "tasks": [task]}))
    of = ("-p", plan.id)

    token = run("task", "next", *of, "--json").json["fencing_token"]
    assert run("task", "next", *of, "--json").json is None
    failed = run("task", "fail", "boil", *of, "-e", "burnt", "--token", token)
    assert failed.out == "task boil is pending\n"
    assert run("task", "fail", "boil", *of, "-e", "burnt", "--final").out == "task boil is failed\n"
    assert run("task", "retry", "boil", *of).out == "task boil is pending\n"
    assert run("task", "skip", "boil", *of, "--json").json["status"] == "skipped"


def test_it_says_why_a_task_is_not_running(run: Run, plan: Plan) -> None:
    assert "It waits for 'soup'" in run("task", "explain", "serve", "-p", plan.id).out
    assert run("task", "explain", "soup", "-p", plan.id, "--json").json["would_unblock"] == 1


def test_a_table_fits_the_terminal_and_leaves_ids_whole(
    run: Run, plan: Plan, monkeypatch: pytest.MonkeyPatch
) -> None:
    run("task", "next", "-p", plan.id, "--worker", "a-worker-with-a-long-name")
    whole = run("task", "ls", "-p", plan.id).out
    monkeypatch.setenv("COLUMNS", "60")
    narrow = run("task", "ls", "-p", plan.id).out

    assert "a-worker-with-a-long-name" in whole
    assert max(map(len, narrow.splitlines())) <= 60
    for line in narrow.splitlines()[1:]:
        assert run("task", "show", line.split()[0]).status == 0
