"""Steps that become tasks: what is made, and that it is all or nothing."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.errors import AlreadyExists, InvalidInput, NotFound, PlanClosed
from planstore.models import PlanCreate
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models.idempotency import Idempotency
from tests.arranging import plan_of, status_of, task_of
from tests.history import all_events
from tests.holder import claim, complete_all
from tests.refusals import refused

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


SEQUENTIAL: Final[list[dict[str, Any]]] = [
    {"step": 1, "action": "analyze", "description": "Parse the requirements"},
    {"step": 2, "action": "design", "description": "Create the architecture"},
    {"step": 3, "action": "implement", "description": "Write the code", "estimated_duration": "5m"},
]
PARALLEL: Final[list[dict[str, Any]]] = [
    {"step": 1, "parallel_group": "A", "actions": ["lint", {"action": "typecheck"}]},
    {"step": 2, "parallel_group": "B", "depends_on": [1], "actions": ["build", "docs"]},
    {"step": 3, "action": "ship", "depends_on": [{"step": 2, "when": "ended"}], "agent": "bot"},
]


async def runs_of(store: PlanStore, plan: Plan) -> list[list[str]]:
    """What is handed out together, one time after the other."""
    runs: list[list[str]] = []
    while packets := await claim(store, plan=plan):
        runs.append(sorted(str(packet.name) for packet in packets))
        await complete_all(store, packets)
    return runs


async def test_sequential_steps_become_tasks_one_after_the_other(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, steps=SEQUENTIAL)

    made = await store.expand_plan(plan.id)

    assert [(task.name, task.description, task.sequence_order) for task in made] == [
        ("analyze", "Parse the requirements", 1),
        ("design", "Create the architecture", 2),
        ("implement", "Write the code", 3),
    ]
    assert made[2].estimated_duration == "5m"
    assert await store.list_tasks(plan_id=plan.id) == made
    after = await store.get_plan(plan.id)
    assert (after.revision, after.steps) == (plan.revision + 1, SEQUENTIAL)
    told = [event.event_type for event in await all_events(database)]
    assert told == ["plan.created", *["task.created"] * 3, "plan.revised"]
    assert await runs_of(store, plan) == [["analyze"], ["design"], ["implement"]]
    assert await status_of(store, plan) == P.COMPLETED


@pytest.mark.parametrize("plan_type", ["parallel", "sequential"])
async def test_actions_of_a_step_become_tasks_side_by_side(
    store: PlanStore, plan_type: str
) -> None:
    plan = await plan_of(store, plan_type=plan_type, steps=PARALLEL)

    made = await store.expand_plan(plan.id)

    assert [(task.name, task.parallel_group, task.status) for task in made] == [
        ("lint", "A", S.PENDING),
        ("typecheck", "A", S.PENDING),
        ("build", "B", S.BLOCKED),
        ("docs", "B", S.BLOCKED),
        ("ship", None, S.BLOCKED),
    ]
    assert made[4].metadata["agent"] == "bot"
    needs = await store.list_dependencies(made[4].id)
    assert [(each.name, each.when) for each in needs] == [("build", "ended"), ("docs", "ended")]
    assert await runs_of(store, plan) == [["lint", "typecheck"], ["build", "docs"], ["ship"]]


async def test_a_plan_is_made_and_expanded_at_once(store: PlanStore) -> None:
    create = {"status": "active", "steps": SEQUENTIAL, "expand": True}

    plan = await store.create_plan(PlanCreate.model_validate(create))

    assert (plan.revision, plan.current_step) == (2, 1)
    assert await runs_of(store, plan) == [["analyze"], ["design"], ["implement"]]


async def test_a_draft_that_is_expanded_waits_for_its_start(store: PlanStore) -> None:
    plan = await plan_of(store, status="draft", plan_type="parallel", steps=PARALLEL)
    await store.expand_plan(plan.id)
    assert await claim(store) == []

    await store.start_plan(plan.id)

    assert len(await claim(store)) == 2


async def test_what_a_step_says_of_its_work_is_what_its_task_has(store: PlanStore) -> None:
    agent = uuid4()
    step = {
        "action": "write",
        "agent_id": str(agent),
        "type": "prose",
        "input": {"n": 1},
        "priority": 5,
        "timeout_seconds": 9,
        "retry_policy": {"max_retries": 0},
        "side_effects": "once",
        "mood": "good",
    }
    plan = await plan_of(store, steps=[step])

    (task,) = await store.expand_plan(plan.id)

    assert (task.agent_id, task.task_type, task.input_data) == (agent, "prose", {"n": 1})
    assert (task.priority, task.timeout_seconds, task.side_effects) == (5, 9, "once")
    assert task.retry_policy is not None
    assert task.retry_policy.max_retries == 0
    assert task.metadata == {"step": {"mood": "good"}}


async def test_inputs_of_steps_take_from_the_outputs_of_others(store: PlanStore) -> None:
    steps = [
        {"step": 1, "action": "fetch"},
        {"step": 2, "action": "use", "input": {"n": "{{fetch.n}}"}},
    ]
    plan = await plan_of(store, plan_type="dag", steps=steps)

    _, use = await store.expand_plan(plan.id)

    (needed,) = await store.list_dependencies(use.id)
    assert (needed.name, needed.type) == ("fetch", "data")


FAULTY: Final[list[dict[str, Any]]] = [
    {"step": 1, "action": "a", "priority": 1_000},
    {"step": 2, "depends_on": ["nowhere"], "action": "b"},
    {"step": 3},
    {"step": 4, "actions": 7},
]


async def test_all_faults_of_all_steps_are_named_and_nothing_is_made(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, steps=FAULTY)

    async with refused(database, InvalidInput) as error:
        await store.expand_plan(plan.id)

    assert {fault.pointer for fault in error.value.faults} == {
        "/steps/0/priority",
        "/steps/1/depends_on/0",
        "/steps/2",
        "/steps/3/actions",
    }
    async with refused(database, InvalidInput):
        await store.create_plan(PlanCreate(steps=FAULTY, expand=True))


async def test_steps_that_need_each_other_are_refused(store: PlanStore, database: Database) -> None:
    steps = [
        {"step": 1, "action": "a", "depends_on": 2},
        {"step": 2, "action": "b", "depends_on": 1},
    ]
    plan = await plan_of(store, plan_type="dag", steps=steps)

    async with refused(database, InvalidInput) as error:
        await store.expand_plan(plan.id)

    assert "need each other" in str(error.value)


async def test_a_plan_without_steps_has_nothing_to_expand(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)

    async with refused(database, InvalidInput):
        await store.expand_plan(plan.id)


async def test_a_plan_is_expanded_once(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, steps=SEQUENTIAL)
    await store.expand_plan(plan.id)

    async with refused(database, AlreadyExists) as error:
        await store.expand_plan(plan.id)

    assert "a task named 'analyze' already" in str(error.value)


async def test_a_name_that_is_taken_makes_none_of_the_tasks(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, steps=SEQUENTIAL)
    await task_of(store, plan, name="implement")

    async with refused(database, AlreadyExists):
        await store.expand_plan(plan.id)


async def test_expanding_under_a_key_is_done_once(store: PlanStore) -> None:
    plan = await plan_of(store, steps=SEQUENTIAL)

    first = await store.expand_plan(plan.id, idempotency=Idempotency("k"))
    again = await store.expand_plan(plan.id, idempotency=Idempotency("k"))

    assert again == first
    assert len(await store.list_tasks(plan_id=plan.id)) == 3


async def test_a_closed_plan_is_not_expanded(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, steps=SEQUENTIAL)
    await store.cancel_plan(plan.id)

    async with refused(database, PlanClosed):
        await store.expand_plan(plan.id)
    async with refused(database, NotFound):
        await store.expand_plan(uuid4())


async def test_a_plan_that_settled_goes_on_with_its_steps(store: PlanStore) -> None:
    plan = await plan_of(store, steps=[{"action": "a"}])
    await task_of(store, plan, status=S.COMPLETED)
    assert await status_of(store, plan) == P.COMPLETED

    await store.expand_plan(plan.id)

    assert await status_of(store, plan) == P.ACTIVE
    assert await runs_of(store, plan) == [["a"]]
