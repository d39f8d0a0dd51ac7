"""`planstore events`, against a real server."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from planstore.models import PlanCreate, TaskDraft

if TYPE_CHECKING:
    from planstore.client import PlanStoreClient
    from tests.commands.conftest import Run


def test_events_are_told_from_a_place_on(run: Run, client: PlanStoreClient) -> None:
    plan = client.create_plan(PlanCreate(tasks=[TaskDraft(name="a", description="do")]))
    client.start_plan(plan.id)

    told = run("events", "tail", "--plan", plan.id, "--after", 0, "--no-follow")
    typed = run("events", "tail", "-p", plan.id, "--no-follow", "--type", "plan.started", "--json")
    first = run("events", "tail", "-p", plan.id, "--after", 0, "-n", 1, "--json")

    types = [line.split()[1] for line in told.out.splitlines()]
    assert types == ["plan.created", "task.created", "plan.revised", "plan.started"]
    assert json.loads(typed.out)["payload"] == {"status": "active"}
    assert json.loads(first.out)["event_type"] == "plan.created"
