"""Dependencies: what a task waits for, what lets it start, and when it never will."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from planstore.errors import DependencyCycle, InvalidInput, InvalidTransition, NotFound
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, TaskBatch, TaskCreate, TaskDraft, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.dependency import DependenciesUpdate
from planstore.models.idempotency import Idempotency
from tests.arranging import moved, plan_of, set_to, status_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, fail, release
from tests.refusals import refused
from tests.services.weaving import claimed, woven

if TYPE_CHECKING:
    from collections.abc import Callable

    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.services.plan_store import PlanStore
    from tests.services.weaving import Woven

pytestmark = pytest.mark.usefixtures("stays_healthy")


def needing(*needs: Any) -> DependenciesUpdate:
    return DependenciesUpdate.model_validate({"depends_on": needs})


async def standing_of(store: PlanStore, tasks: Woven) -> dict[str, tuple[S, str | None]]:
    """Where each of the tasks stands, and why."""
    read = {name: await store.get_task(task.id) for name, task in tasks.items()}
    return {name: (task.status, task.status_reason) for name, task in read.items()}


async def ready_of(store: PlanStore, plan: Plan) -> list[str]:
    return [str(packet.name) for packet in await claim(store, plan=plan)]


async def test_a_task_waits_until_all_that_it_needs_is_done(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": ["a", "b"]})
    assert (await standing_of(store, tasks))["c"] == (S.BLOCKED, "dependencies")
    a, b = await claim(store)
    before = await store.get_task(tasks["c"].id)

    assert (await complete(store, a)).unblocked == []
    assert await store.get_task(tasks["c"].id) == before
    assert (await complete(store, b)).unblocked == [tasks["c"].id]

    after = await store.get_task(tasks["c"].id)
    assert (after.status, after.status_reason, after.version) == (S.PENDING, None, 2)
    unblocked = [e for e in await all_events(database) if e.event_type == "task.unblocked"]
    assert [(e.aggregate_id, e.payload) for e in unblocked] == [
        (after.id, {"status": "pending", "status_reason": None})
    ]
    assert await ready_of(store, plan) == ["c"]


WAITS = (S.BLOCKED, "dependencies")
DEAD = (S.SKIPPED, "dependency_dead")
READY = (S.PENDING, None)


@pytest.mark.parametrize(
    ("end", "on_failure", "success", "failure", "ended"),
    [
        (S.COMPLETED, "block", READY, DEAD, READY),
        (S.SKIPPED, "block", READY, DEAD, READY),
        (S.FAILED, "block", WAITS, READY, READY),
        (S.FAILED, "skip", DEAD, READY, READY),
        (S.RUNNING, "skip", WAITS, WAITS, WAITS),
        (S.BLOCKED, "skip", WAITS, WAITS, WAITS),
    ],
)
async def test_what_satisfies_a_dependency_and_what_makes_it_dead(  # noqa: PLR0917 - a table
    store: PlanStore, end: S, on_failure: str, success: Any, failure: Any, ended: Any
) -> None:
    whens = {"success": success, "failure": failure, "ended": ended}
    for is_wired_before in (True, False):
        plan, tasks = await woven(
            store, {"a": [], "z": []}, on_failure=on_failure, auto_complete=False
        )
        if not is_wired_before:
            await moved(store, tasks["a"], end)
        for when in whens:
            tasks[when] = await task_of(
                store, plan, name=when, depends_on=[{"task": "a", "when": when}]
            )
        if is_wired_before:
            await moved(store, tasks["a"], end)

        standing = await standing_of(store, tasks)

        assert {when: standing[when] for when in whens} == whens


async def test_what_can_not_start_any_more_is_skipped_with_all_that_needs_it(
    store: PlanStore,
) -> None:
    plan, tasks = await woven(
        store,
        {
            "a": [],
            "if it fails": [{"task": "a", "when": "failure"}],
            "then": ["if it fails"],
            "anyway": [{"task": "if it fails", "when": "ended"}],
            "after": ["anyway"],
        },
    )

    await complete(store, await claimed(store, plan))

    assert await standing_of(store, tasks) == {
        "a": (S.COMPLETED, None),
        "if it fails": DEAD,
        "then": DEAD,
        "anyway": READY,
        "after": WAITS,
    }
    await complete(store, await claimed(store, plan))
    await complete(store, await claimed(store, plan))
    assert await status_of(store, plan) == P.COMPLETED


async def test_a_failed_task_is_waited_for_as_long_as_it_may_be_retried(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]})
    await fail(store, await claimed(store, plan), retryable=False)
    assert (await standing_of(store, tasks))["b"] == WAITS
    assert await status_of(store, plan) == P.FAILED

    await store.retry_task(tasks["a"].id)
    await complete(store, await claimed(store, plan))

    assert await ready_of(store, plan) == ["b"]
    assert await status_of(store, plan) == P.ACTIVE


async def test_what_was_skipped_for_a_dead_dependency_comes_back_with_it(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["b"]}, on_failure="skip")
    await fail(store, await claimed(store, plan), retryable=False)
    assert await standing_of(store, tasks) == {"a": (S.FAILED, None), "b": DEAD, "c": DEAD}

    await store.retry_task(tasks["a"].id)

    assert await standing_of(store, tasks) == {"a": READY, "b": WAITS, "c": WAITS}
    assert [e.event_type for e in await all_events(database)][-3:].count("task.blocked") == 2
    await complete(store, await claimed(store, plan))
    assert await ready_of(store, plan) == ["b"]


async def test_a_task_that_begins_anew_is_waited_for_again(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["a"]})
    await complete(store, await claimed(store, plan))
    b = await claimed(store, plan)

    await store.reset_task(tasks["a"].id)

    assert await standing_of(store, tasks) == {"a": READY, "b": (S.RUNNING, None), "c": WAITS}
    assert (await complete(store, b)).status == S.COMPLETED  # it had begun
    assert await ready_of(store, plan) == ["a"]


async def test_no_task_is_started_by_hand_before_what_it_needs(
    store: PlanStore, database: Database
) -> None:
    _, tasks = await woven(store, {"a": [], "b": ["a"]})

    async with refused(database, InvalidTransition):
        await moved(store, tasks["b"], S.RUNNING)
    async with refused(database, InvalidTransition) as error:
        await moved(store, tasks["b"], S.PENDING)

    assert "its dependencies aren't satisfied" in str(error.value)


async def test_a_blocked_task_may_be_ended_by_hand(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["b"]})

    await moved(store, tasks["b"], S.COMPLETED)

    assert (await standing_of(store, tasks))["c"] == READY
    assert await ready_of(store, plan) == ["a", "c"]


async def test_a_held_task_waits_for_its_release_and_for_what_it_needs(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []})
    await moved(store, tasks["b"], S.BLOCKED)
    await store.set_dependencies(tasks["b"].id, needing("a"))
    assert (await standing_of(store, tasks))["b"] == (S.BLOCKED, "held")

    await moved(store, tasks["b"], S.PENDING)

    assert (await standing_of(store, tasks))["b"] == WAITS
    await complete(store, await claimed(store, plan))
    assert await ready_of(store, plan) == ["b"]


async def test_entries_are_ids_or_names_and_say_when_and_of_what_type(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    a, b, c = [await task_of(store, plan, name=name) for name in "abc"]
    needs = [
        str(a.id),
        {"task": "b", "when": "ended"},
        {"task": str(c.id), "when": "failure", "type": "data"},
    ]

    task = await task_of(store, plan, depends_on=needs)

    told = await store.list_dependencies(task.id)
    assert [(each.task_id, each.name, each.when, each.type) for each in told] == [
        (a.id, "a", "success", "blocking"),
        (b.id, "b", "ended", "blocking"),
        (c.id, "c", "failure", "data"),
    ]
    assert [(each.status, each.is_satisfied) for each in told] == [(S.PENDING, False)] * 3


async def test_a_dependency_that_is_named_twice_is_one(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    a = await task_of(store, plan, name="a")

    task = await task_of(store, plan, depends_on=["a", {"task": str(a.id), "when": "ended"}])

    assert [each.task_id for each in await store.list_dependencies(task.id)] == [a.id]
    await complete(store, await claimed(store, plan))
    assert (await store.get_task(task.id)).status == S.PENDING


async def test_dependencies_are_set_added_and_removed(store: PlanStore, database: Database) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": [], "d": []})
    d = tasks["d"].id
    revision = (await store.get_plan(plan.id)).revision

    steps = [
        await store.set_dependencies(d, needing("a", "b")),
        await store.add_dependencies(d, needing("c")),
        await store.remove_dependencies(d, needing("a", str(tasks["b"].id))),
        await store.set_dependencies(d, needing("b")),
        await store.remove_dependencies(d, needing()),
    ]

    assert [[each.name for each in step] for step in steps] == [
        ["a", "b"],
        ["a", "b", "c"],
        ["c"],
        ["b"],
        [],
    ]
    assert (await store.get_plan(plan.id)).revision == revision + 5
    rewired = [e for e in await all_events(database) if e.event_type == "task.rewired"]
    assert [len(e.payload["depends_on"]) for e in rewired] == [2, 3, 1, 1, 0]
    assert await ready_of(store, plan) == ["a", "b", "c", "d"]


async def test_wiring_what_is_wired_already_changes_nothing(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]})
    before = await store.get_plan(plan.id), await all_events(database)

    await store.set_dependencies(tasks["b"].id, needing(str(tasks["a"].id)))
    await store.add_dependencies(tasks["b"].id, needing("a"))

    assert (await store.get_plan(plan.id), await all_events(database)) == before


async def test_wiring_under_a_key_is_done_once(store: PlanStore) -> None:
    _, tasks = await woven(store, {"a": [], "b": [], "c": []})
    key = Idempotency("k")

    first = await store.add_dependencies(tasks["c"].id, needing("a"), idempotency=key)
    await store.set_dependencies(tasks["c"].id, needing("b"))
    again = await store.add_dependencies(tasks["c"].id, needing("a"), idempotency=key)

    assert again == first
    assert [each.name for each in await store.list_dependencies(tasks["c"].id)] == ["b"]


async def test_what_is_unwired_may_start(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["a", "b"]})

    await store.remove_dependencies(tasks["b"].id, needing("a"))

    assert await standing_of(store, tasks) == {"a": READY, "b": READY, "c": WAITS}
    assert await ready_of(store, plan) == ["a", "b"]


async def test_what_was_ready_waits_for_what_it_is_given_to_need(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []})

    await store.add_dependencies(tasks["a"].id, needing("b"))

    assert await ready_of(store, plan) == ["b"]


@pytest.mark.parametrize("status", [S.RUNNING, S.COMPLETED, S.FAILED, S.SKIPPED])
async def test_what_has_begun_needs_nothing_more(
    store: PlanStore, database: Database, status: S
) -> None:
    _, tasks = await woven(store, {"a": [], "b": []}, auto_complete=False)
    await moved(store, tasks["b"], status)

    async with refused(database, InvalidTransition):
        await store.add_dependencies(tasks["b"].id, needing("a"))


@pytest.mark.parametrize(
    ("task", "needs", "path"),
    [
        ("a", ["a"], "a → a"),
        ("a", ["b"], "a → b → a"),
        ("a", ["z", "d"], "a → d → c → b → a"),
    ],
)
async def test_a_circle_is_refused_and_its_path_named(
    store: PlanStore, database: Database, task: str, needs: list[str], path: str
) -> None:
    _, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "z": []})

    async with refused(database, DependencyCycle) as error:
        await store.set_dependencies(tasks[task].id, needing(*needs))

    assert path in str(error.value)


async def test_a_batch_that_goes_in_circles_is_refused_whole(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    needs = {"a": ["c"], "b": ["a"], "c": ["b"], "d": []}
    drafts = [
        TaskDraft.model_validate({"description": "do it", "name": name, "depends_on": each})
        for name, each in needs.items()
    ]

    async with refused(database, DependencyCycle) as error:
        await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts))

    assert "→" in str(error.value)


async def test_a_task_can_not_need_what_waits_for_it_by_its_order(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "b": []},
        fields={"a": {"sequence_order": 1}, "b": {"sequence_order": 2}},
        plan_type="sequential",
    )

    async with refused(database, DependencyCycle) as error:
        await store.add_dependencies(tasks["a"].id, needing("b"))
    assert "sequence_order 2" in str(error.value)

    await store.update_plan(plan.id, PlanUpdate(plan_type="dag"))
    await store.add_dependencies(tasks["a"].id, needing("b"))
    async with refused(database, DependencyCycle):
        await store.update_plan(plan.id, PlanUpdate(plan_type="sequential"))
    await store.update_task(tasks["b"].id, TaskUpdate(sequence_order=1))
    await store.update_plan(plan.id, PlanUpdate(plan_type="sequential"))
    async with refused(database, DependencyCycle):
        await store.update_task(tasks["b"].id, TaskUpdate(sequence_order=2))


async def test_what_leads_nowhere_is_refused_with_the_nearest_name(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"fetch": [], "parse": []})
    elsewhere = await task_of(store, await plan_of(store))

    async with refused(database, InvalidInput) as error:
        await store.set_dependencies(
            tasks["parse"].id, needing("fetsh", "fetch", str(elsewhere.id), str(uuid4()))
        )

    assert [fault.pointer for fault in error.value.faults] == [
        "/depends_on/0",
        "/depends_on/2",
        "/depends_on/3",
    ]
    assert "did you mean 'fetch'?" in error.value.faults[0].detail
    assert str(elsewhere.id) in error.value.faults[1].detail
    async with refused(database, InvalidInput):
        await task_of(store, plan, depends_on=["fetsh"])


async def test_dependencies_of_nothing_are_not_found(store: PlanStore, database: Database) -> None:
    async with refused(database, NotFound):
        await store.list_dependencies(uuid4())
    async with refused(database, NotFound):
        await store.set_dependencies(uuid4(), needing())


async def test_a_batch_needs_its_own_tasks_and_those_that_are_there(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []})
    await complete(store, await claimed(store, plan))
    needs = {"c": ["a"], "d": ["c", "b"], "e": [str(tasks["b"].id)]}
    drafts = [
        TaskDraft.model_validate({"description": "do it", "name": name, "depends_on": each})
        for name, each in needs.items()
    ]

    made = await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts))

    assert [(task.status, task.status_reason) for task in made] == [READY, WAITS, WAITS]
    assert {task.sequence_order for task in made} == {3}
    assert await ready_of(store, plan) == ["b", "c"]


async def test_a_long_chain_goes_on_link_by_link(store: PlanStore) -> None:
    names = [f"t{n:02}" for n in range(30)]
    needs = {name: [before] for before, name in pairwise(names)}
    plan, _ = await woven(store, {names[0]: [], **needs})

    ran: list[str] = []
    while packets := await claim(store):
        for packet in packets:
            ran.append(str(packet.name))
            await complete(store, packet)

    assert ran == names
    assert await status_of(store, plan) == P.COMPLETED


async def test_reopening_does_not_bring_back_what_the_close_had_skipped(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]})
    await store.cancel_plan(plan.id)
    closed = (S.SKIPPED, "plan_closed")
    assert await standing_of(store, tasks) == {"a": closed, "b": closed}

    await set_to(store, plan, P.ACTIVE)
    assert await standing_of(store, tasks) == {"a": closed, "b": closed}
    await store.reset_task(tasks["b"].id)

    # What its plan's close had skipped was not skipped by hand, so it satisfies nobody.
    assert (await standing_of(store, tasks))["b"] == DEAD
    await store.reset_task(tasks["a"].id)
    assert await standing_of(store, tasks) == {"a": READY, "b": WAITS}


async def test_a_task_is_made_and_wired_by_one_event(store: PlanStore, database: Database) -> None:
    plan, tasks = await woven(store, {"a": []})

    create = {"plan_id": plan.id, "description": "do it", "depends_on": ["a"]}
    made: Task = await store.create_task(TaskCreate.model_validate(create))

    (created,) = [e for e in await all_events(database) if e.aggregate_id == made.id]
    assert created.payload["depends_on"] == [
        {"task_id": str(tasks["a"].id), "when": "success", "type": "blocking"}
    ]


@pytest.mark.parametrize("on_failure", ["block", "skip"])
@pytest.mark.parametrize("report", [release, fail])
async def test_what_is_given_back_is_skipped_where_what_it_needs_can_not_come_any_more(
    store: PlanStore, report: Callable[..., Any], on_failure: str
) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "undo": [{"task": "a", "when": "failure"}], "b": []},
        on_failure=on_failure,
        fields={"a": {"priority": 1}, "undo": {"priority": 1}},
    )
    await fail(store, await claimed(store, plan), retryable=False)
    undo = await claimed(store, plan)
    await moved(store, tasks["a"], S.SKIPPED)

    await report(store, undo)

    after = await store.get_task(tasks["undo"].id)
    assert (after.status, after.status_reason) == (S.SKIPPED, "dependency_dead")
