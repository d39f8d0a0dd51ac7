"""Dependencies that come, go or are satisfied at once: nobody waits for ever, or starts early."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from planstore.errors import DependencyCycle, InvalidInput, InvalidTransition
from planstore.models import TaskBatch, TaskCreate, TaskDraft
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimRequest
from planstore.models.dependency import DependenciesUpdate
from planstore.models.idempotency import Idempotency
from tests.arranging import moved
from tests.history import all_events
from tests.holder import claim, complete, complete_all, fail
from tests.rivals import behind_key, behind_plan
from tests.services.weaving import claimed, woven

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.models.task import Dependency
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


async def add_needs(store: PlanStore, task: Task, *needs: Any) -> list[Dependency]:
    return await store.add_dependencies(task.id, _update(needs))


async def set_needs(store: PlanStore, task: Task, *needs: Any) -> list[Dependency]:
    return await store.set_dependencies(task.id, _update(needs))


def _update(needs: Any) -> DependenciesUpdate:
    return DependenciesUpdate.model_validate({"depends_on": needs})


async def add_task(store: PlanStore, plan: Plan, **fields: Any) -> Task:
    given = {"plan_id": plan.id, "description": "do it", **fields}
    return await store.create_task(TaskCreate.model_validate(given))


async def names_of(store: PlanStore, plan: Plan) -> list[str]:
    """What is handed out now."""
    return sorted(str(packet.name) for packet in await claim(store, plan=plan))


async def status_of(store: PlanStore, task: Task) -> S:
    return (await store.get_task(task.id)).status


async def told_of(database: Database, task_id: UUID) -> list[str]:
    return [each.event_type for each in await all_events(database) if each.aggregate_id == task_id]


@pytest.mark.parametrize("is_added_first", [True, False])
async def test_a_dependency_on_a_task_that_just_completes_is_satisfied(
    store: PlanStore, database_url: str, *, is_added_first: bool
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []}, fields={"a": {"priority": 1}})
    a = await claimed(store, plan)
    rivals: list[Any] = [add_needs(store, tasks["b"], "a"), complete(store, a)]

    async with behind_plan(database_url, plan.id) as queue:
        for rival in rivals if is_added_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    (dependency,) = await store.list_dependencies(tasks["b"].id)
    assert dependency.is_satisfied
    assert await names_of(store, plan) == ["b"]


async def test_a_dependency_on_what_just_failed_waits(store: PlanStore, database_url: str) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []}, fields={"a": {"priority": 1}})
    a = await claimed(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(fail(store, a, retryable=False))
        await queue.join(add_needs(store, tasks["b"], "a"))
        await queue.release()

    assert await status_of(store, tasks["b"]) == S.BLOCKED
    await store.retry_task(tasks["a"].id)
    assert await names_of(store, plan) == ["a"]


@pytest.mark.parametrize("is_added_first", [True, False])
async def test_a_task_that_is_added_for_one_that_just_completes_may_start(
    store: PlanStore, database_url: str, *, is_added_first: bool
) -> None:
    plan, _ = await woven(store, {"a": []})
    a = await claimed(store, plan)
    rivals: list[Any] = [add_task(store, plan, name="b", depends_on=["a"]), complete(store, a)]

    async with behind_plan(database_url, plan.id) as queue:
        for rival in rivals if is_added_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    assert await names_of(store, plan) == ["b"]


async def test_a_task_that_is_added_for_two_of_which_one_just_completes_waits_for_the_other(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []})
    a, b = sorted(await claim(store), key=lambda packet: packet.id)
    assert a.id == tasks["a"].id

    async with behind_plan(database_url, plan.id) as queue:
        added = await queue.join(add_task(store, plan, name="c", depends_on=["a", "b"]))
        await queue.join(complete(store, a))
        await queue.release()

    assert await status_of(store, await added) == S.BLOCKED
    assert (await complete(store, b)).unblocked == [(await added).id]


@pytest.mark.parametrize("is_added_first", [True, False])
async def test_a_task_that_is_added_for_one_that_just_fails_is_skipped(
    store: PlanStore, database_url: str, *, is_added_first: bool
) -> None:
    plan, _ = await woven(store, {"a": [], "z": []}, on_failure="skip")
    (a, _) = await claim(store)
    adding = add_task(store, plan, name="b", depends_on=["a"])
    rivals: list[Any] = [adding, fail(store, a, retryable=False)]

    async with behind_plan(database_url, plan.id) as queue:
        for rival in rivals if is_added_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    tasks = await store.list_tasks(plan_id=plan.id)
    assert [(task.status, task.status_reason) for task in tasks if task.name == "b"] == [
        (S.SKIPPED, "dependency_dead")
    ]


@pytest.mark.parametrize("is_reset_first", [True, False])
async def test_a_reset_dependency_is_waited_for_though_the_other_one_just_completes(
    store: PlanStore, database_url: str, *, is_reset_first: bool
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": ["a", "b"]})
    a, b = sorted(await claim(store), key=lambda packet: packet.id)
    await complete(store, a)
    rivals: list[Any] = [store.reset_task(a.id), complete(store, b)]

    async with behind_plan(database_url, plan.id) as queue:
        for rival in rivals if is_reset_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    assert await status_of(store, tasks["c"]) == S.BLOCKED
    (again,) = await claim(store)
    assert (await complete(store, again)).unblocked == [tasks["c"].id]
    assert await names_of(store, plan) == ["c"]


async def test_a_dependency_that_is_taken_away_is_not_waited_for(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": ["a", "b"]})
    a, _ = sorted(await claim(store), key=lambda packet: packet.id)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(store.remove_dependencies(tasks["c"].id, _update(["b"])))
        completed = await queue.join(complete(store, a))
        await queue.release()

    assert (await completed).unblocked == [tasks["c"].id]


async def test_a_dependency_that_is_exchanged_while_the_old_one_completes_is_waited_for(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": ["a"]})
    a, b = sorted(await claim(store), key=lambda packet: packet.id)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(set_needs(store, tasks["c"], "b"))
        completed = await queue.join(complete(store, a))
        await queue.release()

    assert (await completed).unblocked == []
    assert await status_of(store, tasks["c"]) == S.BLOCKED
    assert (await complete(store, b)).unblocked == [tasks["c"].id]


@pytest.mark.parametrize("parts", [(2,), (1, 1)])
async def test_a_task_is_unblocked_once_by_the_last_of_what_it_needs(
    store: PlanStore,
    elsewhere: PlanStore,
    database: Database,
    database_url: str,
    parts: tuple[int, ...],
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": ["a", "b"], "d": ["c"]})
    packets = iter(await claim(elsewhere))
    batches = [[next(packets) for _ in range(part)] for part in parts]

    async with behind_plan(database_url, plan.id) as queue:
        answers = [await queue.join(complete_all(store, batch)) for batch in batches]
        await queue.release()

    assert [(await each).unblocked for each in answers][-1] == [tasks["c"].id]
    assert await told_of(database, tasks["c"].id) == ["task.created", "task.unblocked"]
    assert await names_of(store, plan) == ["c"]


async def test_of_two_dependencies_that_would_form_a_circle_the_first_is_taken(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []})

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(add_needs(store, tasks["a"], "b"))
        late = await queue.join(add_needs(store, tasks["b"], "a"))
        await queue.release()

    assert [each.name for each in await first] == ["b"]
    assert isinstance(late.exception(), DependencyCycle)
    assert await store.list_dependencies(tasks["b"].id) == []


async def test_two_dependencies_that_are_added_at_once_are_both_kept(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": []})

    async with behind_plan(database_url, plan.id) as queue:
        for name in ("a", "b"):
            await queue.join(add_needs(store, tasks["c"], name))
        await queue.release()

    assert [each.name for each in await store.list_dependencies(tasks["c"].id)] == ["a", "b"]
    assert await names_of(store, plan) == ["a", "b"]


async def test_a_dependency_on_a_task_whose_name_was_just_given_away_is_refused(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []})

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(moved(store, tasks["a"], S.PENDING, name="other"))
        late = await queue.join(add_needs(store, tasks["b"], "a"))
        await queue.release()

    assert isinstance(late.exception(), InvalidInput)


async def test_a_task_that_was_just_claimed_is_given_nothing_more_to_need(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": []})
    key, request = Idempotency("claim"), ClaimRequest(worker_id="w1", limit=100)

    async with behind_key(database_url, key.of("claim_tasks", request)) as queue:
        claiming = await queue.join(store.claim_tasks(request, idempotency=key))
        batch = {"plan_id": plan.id, "description": "do it", "name": "b"}
        await store.create_task(TaskCreate.model_validate(batch))
        late = await queue.join(add_needs(store, tasks["a"], "b"))
        await queue.release()

    (packet,) = await claiming
    assert isinstance(late.exception(), InvalidTransition)
    assert await status_of(store, tasks["a"]) == S.RUNNING
    assert (await complete(store, packet)).status == S.COMPLETED
    assert await names_of(store, plan) == ["b"]


async def test_a_claim_passes_over_a_task_that_is_just_given_something_to_need(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []}, fields={"a": {"priority": 1}})
    key, update = Idempotency("wire"), _update(["a"])
    scope = key.of(f"add_dependencies {tasks['b'].id}", update)

    async with behind_key(database_url, scope) as queue:
        await queue.join(store.add_dependencies(tasks["b"].id, update, idempotency=key))
        assert await claim(store) == []
        await queue.release()

    assert await names_of(store, plan) == ["a"]


async def test_a_whole_batch_sees_what_just_completed(store: PlanStore, database_url: str) -> None:
    plan, _ = await woven(store, {"a": []})
    a = await claimed(store, plan)
    drafts = [
        TaskDraft.model_validate({"description": "do it", "name": name, "depends_on": needs})
        for name, needs in {"b": ["a"], "c": ["a", "b"]}.items()
    ]

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(complete(store, a))
        await queue.join(store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts)))
        await queue.release()

    assert await names_of(store, plan) == ["b"]


async def test_the_next_order_has_its_turn_whatever_is_wired_meanwhile(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "b": [], "c": []},
        fields={name: {"sequence_order": order} for order, name in enumerate("abc", start=1)},
        plan_type="sequential",
    )
    a = await claimed(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(add_needs(store, tasks["c"], "a"))
        await queue.join(complete(store, a))
        await queue.release()

    (b,) = await claim(store)
    assert (b.name, await status_of(store, tasks["c"])) == ("b", S.PENDING)
    assert (await complete(store, b)).unblocked == [tasks["c"].id]
