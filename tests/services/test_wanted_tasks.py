"""Giving all tasks of a plan as they are to be: the difference is what is made."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from planstore.errors import RevisionRefused, VersionMismatch
from planstore.models import TaskStatus as S
from planstore.models import TaskUpdate
from planstore.models.revision import WantedTasks
from tests.arranging import moved, task_of
from tests.history import all_events
from tests.holder import claim, complete
from tests.refusals import refused
from tests.services.test_replanning import (
    dag_of,
    names,
    needs_of,
    new,
    orders_of,
    row_of,
    runs_of,
    tasks_of,
)

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Plan
    from planstore.models.revision import RevisionAnswer
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


async def set_tasks(
    store: PlanStore, plan: Plan, *tasks: dict[str, Any], **fields: Any
) -> RevisionAnswer:
    wanted = WantedTasks.model_validate({"tasks": list(tasks), **fields})
    return await store.set_tasks(plan.id, wanted)


async def test_the_difference_is_worked_out(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "b"))
    answer = await set_tasks(
        store,
        plan,
        {"name": "a"},
        {"name": "c", "depends_on": ["a"], "priority": 5},
        new("d", "c"),
    )
    assert names(answer.added) == ["d"]
    assert names(answer.changed) == ["c"]
    assert names(answer.removed) == ["b"]
    assert await runs_of(store, plan) == [["a"], ["c"], ["d"]]


async def test_the_same_list_again_changes_nothing(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store)
    wanted = [new("a"), new("b", "a"), new("c", "b", input_data={"x": "{{a.n}}"})]
    first = await set_tasks(store, plan, *wanted)
    before = await all_events(database)
    again = await set_tasks(store, plan, *wanted, expected_revision=first.revision)
    assert again.revision == first.revision
    assert (again.added, again.changed, again.removed) == ([], [], [])
    assert await all_events(database) == before


async def test_what_an_entry_does_not_name_stays(store: PlanStore) -> None:
    plan = await dag_of(store, new("a", priority=3, input_data={"x": 1}), new("b", "a"))
    await set_tasks(store, plan, {"name": "a", "description": "otherwise"}, {"name": "b"})
    after = await tasks_of(store, plan)
    assert (after["a"].description, after["a"].priority) == ("otherwise", 3)
    assert after["a"].input_data == {"x": 1}
    assert await needs_of(store, after["b"]) == {"a"}


async def test_what_runs_or_has_ended_or_has_no_name_is_kept(store: PlanStore) -> None:
    plan = await dag_of(store, *(new(name) for name in ("done", "lost", "out", "busy", "gone")))
    await task_of(store, plan)
    before = await tasks_of(store, plan)
    await moved(store, before["done"], S.COMPLETED)
    await moved(store, before["lost"], S.FAILED)
    await moved(store, before["out"], S.SKIPPED)
    await moved(store, before["busy"], S.RUNNING)
    answer = await set_tasks(store, plan, new("fresh"))
    assert names(answer.removed) == ["gone"]
    assert set(await tasks_of(store, plan)) == {"done", "lost", "out", "busy", "fresh", ""}


async def test_what_runs_or_is_finished_is_left_as_it_is(
    store: PlanStore, database: Database
) -> None:
    plan = await dag_of(store, new("done"), new("busy"))
    before = await tasks_of(store, plan)
    await moved(store, before["done"], S.COMPLETED)
    await moved(store, before["busy"], S.RUNNING)
    events = await all_events(database)
    answer = await set_tasks(
        store, plan, new("done", priority=9), new("busy", "done", priority=9), dry_run=False
    )
    assert answer.changed == []
    assert await all_events(database) == events


async def test_what_runs_is_changed_if_it_is_restarted(store: PlanStore) -> None:
    plan = await dag_of(store, new("busy"))
    await claim(store, plan=plan)
    answer = await set_tasks(store, plan, {"name": "busy", "priority": 9, "restart": True})
    assert (names(answer.changed), names(answer.restarted)) == (["busy"], ["busy"])
    (packet,) = await claim(store, plan=plan)
    assert (packet.priority, packet.attempt) == (9, 2)


async def test_tasks_are_found_by_their_ids_as_well(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"))
    task = await task_of(store, plan, description="nameless")
    before = await tasks_of(store, plan)
    answer = await set_tasks(
        store,
        plan,
        {"id": str(before["a"].id), "name": "alpha"},
        {"name": "b"},
        {"id": str(task.id), "name": "named"},
    )
    assert names(answer.changed) == ["alpha", "named"]
    assert answer.removed == []
    assert await needs_of(store, before["b"]) == {"alpha"}


async def test_in_a_sequence_they_follow_each_other_as_listed(store: PlanStore) -> None:
    plan = await row_of(store, "a", "b", "c")
    await set_tasks(store, plan, new("first"), {"name": "a"}, new("x"), new("y"), {"name": "b"})
    assert await runs_of(store, plan) == [["first"], ["a"], ["x"], ["y"], ["b"]]


async def test_in_a_sequence_another_order_is_another_order(store: PlanStore) -> None:
    plan = await row_of(store, "a", "b", "c", "d")
    (packet,) = await claim(store, plan=plan)
    await complete(store, packet)
    answer = await set_tasks(
        store, plan, {"name": "a"}, {"name": "d"}, {"name": "c"}, new("x"), {"name": "b"}
    )
    assert names(answer.removed) == []
    assert await runs_of(store, plan) == [["d"], ["c"], ["x"], ["b"]]


async def test_a_list_in_its_order_moves_nothing(store: PlanStore) -> None:
    plan = await row_of(store, "a", "b", "c")
    before = await orders_of(store, plan)
    answer = await set_tasks(store, plan, {"name": "a"}, {"name": "b"}, {"name": "c"}, new("d"))
    assert (names(answer.added), names(answer.changed)) == (["d"], [])
    assert await orders_of(store, plan) == {**before, "d": 4}


async def test_a_new_entry_says_what_is_to_be_done(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"))
    async with refused(database, RevisionRefused) as error:
        await set_tasks(store, plan, {"name": "a"}, {"name": "b"}, {"name": "c"})
    assert [each.pointer for each in error.value.faults] == [
        "/tasks/1/description",
        "/tasks/2/description",
    ]


async def test_an_entry_can_be_found_again() -> None:
    for tasks in ([{"description": "x"}], [{"name": "a"}, {"name": "a"}]):
        with pytest.raises(ValueError, match=r"needs a name or an id|share the name"):
            WantedTasks.model_validate({"tasks": tasks})


async def test_an_empty_list_removes_all_that_waits(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"))
    tried = await set_tasks(store, plan, dry_run=True)
    assert names(tried.removed) == ["a", "b"]
    await set_tasks(store, plan)
    assert await tasks_of(store, plan) == {}


async def test_a_list_for_another_revision_is_refused(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"))
    await task_of(store, plan)
    async with refused(database, VersionMismatch):
        await set_tasks(store, plan, new("b"), expected_revision=plan.revision)


async def test_what_needed_the_removed_may_need_what_is_new(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", depends_on=[{"task": "a", "when": "failure"}]))
    answer = await set_tasks(store, plan, new("x"), {"name": "b", "depends_on": ["x"]})
    assert names(answer.removed) == ["a"]
    assert await runs_of(store, plan) == [["x"], ["b"]]


async def test_listed_tasks_exchange_their_names(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b"))
    before = await tasks_of(store, plan)
    await set_tasks(
        store,
        plan,
        {"id": str(before["a"].id), "name": "b"},
        {"id": str(before["b"].id), "name": "a"},
    )
    after = await tasks_of(store, plan)
    assert (after["a"].id, after["b"].id) == (before["b"].id, before["a"].id)
    assert await runs_of(store, plan) == [["a", "b"]]


async def test_a_run_is_not_ended_where_nothing_differs(
    store: PlanStore, database: Database
) -> None:
    plan = await dag_of(store, new("a"))
    (packet,) = await claim(store, plan=plan)
    before = await all_events(database)
    answer = await set_tasks(store, plan, {**new("a"), "restart": True})
    assert (answer.restarted, answer.revision) == ([], plan.revision)
    assert await all_events(database) == before
    await complete(store, packet)


async def test_in_a_sequence_a_list_is_settled_by_itself(store: PlanStore) -> None:
    plan = await row_of(store, "a", "b")
    for task in (await tasks_of(store, plan)).values():
        await store.update_task(task.id, TaskUpdate(sequence_order=1))
    wanted = [{"name": "a"}, new("x"), {"name": "b"}, new("y")]
    first = await set_tasks(store, plan, *wanted)
    assert (await set_tasks(store, plan, *wanted)).revision == first.revision
    assert await runs_of(store, plan) == [["a"], ["x"], ["b"], ["y"]]
