"""What is seen of a plan while it goes on."""

from __future__ import annotations

import io
import threading
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from rich.console import Console

from planstore.commands.tree import Leaf, branches
from planstore.commands.watching import View, watch
from planstore.models import ClaimRequest, Completion, EventFilter, PlanCreate

if TYPE_CHECKING:
    from planstore.client import PlanStoreClient
    from planstore.models import Plan


@pytest.fixture
def plan(client: PlanStoreClient) -> Plan:
    tasks = [
        {"name": "boil", "description": "Boil water"},
        {"name": "soup", "description": "Make soup", "depends_on": ["boil"]},
    ]
    return client.create_plan(PlanCreate.model_validate({"status": "active", "tasks": tasks}))


def seen(client: PlanStoreClient, plan: Plan, *, width: int = 60, height: int = 20) -> list[str]:
    """What a terminal of that size shows of the plan."""
    view = View(plan.id)
    for event in client.list_events(EventFilter(plan_id=[plan.id])):
        view.take(event)
    console = Console(file=io.StringIO(), width=width, height=height)
    with console.capture() as captured:
        console.print(view)
    return captured.get().splitlines()


def test_the_tree_the_bar_who_runs_what_and_what_happened_are_seen(
    client: PlanStoreClient, plan: Plan
) -> None:
    client.claim_tasks(ClaimRequest(worker_id="ada", plan_id=plan.id))

    head, bar, counts, first, second, _, *happened = seen(client, plan)

    assert head.split() == ["plan", str(plan.id)[:13], "sequential", "active"]
    assert bar.endswith(" 0/2")
    assert counts == "1 running  1 blocked"
    assert first.startswith("▶ boil  ada ")
    assert second == "└─ · soup"
    assert [line.split()[1:3] for line in happened][-1] == ["task.started", "boil"]
    assert len(happened) == 5


@pytest.mark.parametrize(("width", "height"), [(30, 12), (60, 20), (200, 50)])
def test_it_fits_the_terminal(client: PlanStoreClient, width: int, height: int) -> None:
    tasks = [{"name": f"task-{n:02}", "description": "do"} for n in range(40)]
    plan = client.create_plan(PlanCreate.model_validate({"tasks": tasks}))

    lines = seen(client, plan, width=width, height=height)

    assert len(lines) <= height
    assert max(map(len, lines)) <= width
    assert any("more" in line for line in lines) == (height < 50)


def test_it_follows_the_stream_to_the_end(
    client: PlanStoreClient, plan: Plan, capsys: pytest.CaptureFixture[str]
) -> None:
    ended: list[bool] = []
    looking = threading.Thread(
        target=lambda: ended.append(watch(client, plan.id, as_json=False)), daemon=True
    )
    looking.start()
    for _ in range(2):
        (packet,) = client.claim_tasks(ClaimRequest(worker_id="ada", plan_id=plan.id))
        client.complete_task(packet.id, Completion(fencing_token=packet.fencing_token))
    looking.join(30)

    assert ended == [True]


def test_a_task_has_one_line_below_what_it_waits_for_last() -> None:
    a, b, c, d = (uuid4() for _ in range(4))
    leaves = [
        Leaf(a, "a", "completed", 1, frozenset()),
        Leaf(b, "b", "completed", 2, frozenset({a})),
        Leaf(c, "c", "failed", 3, frozenset({a})),
        Leaf(d, "d", "skipped", 4, frozenset({a, b, c})),
    ]

    assert [line.plain for line in branches(leaves)] == [
        "✔ a",
        "├─ ✔ b",
        "│  └─ ⊘ d  (also needs a, c)",
        "└─ ✘ c",
    ]


def test_a_chain_may_be_long() -> None:
    ids = [uuid4() for _ in range(3_000)]
    chain = [
        Leaf(each, str(n), "pending", n, frozenset(ids[n - 1 : n])) for n, each in enumerate(ids)
    ]

    assert len(branches(chain)) == 3_000
