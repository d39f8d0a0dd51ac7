"""Dependencies, revisions and what explains them, by each door."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.models import Condition, DependenciesUpdate
from planstore.models.revision import (
    AddTask,
    ChangeTask,
    Operation,
    RemoveTask,
    ReorderTasks,
    RevisionDraft,
    WantedTasks,
)
from planstore.models.task import TaskBatch
from tests.arranging import plan_of, task_of

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore


async def test_what_a_task_needs_is_set_added_and_taken_away(
    store: PlanStore, library: PlanStore
) -> None:
    plan = await plan_of(store, plan_type="dag")
    a, b, c = [await task_of(store, plan, name=name) for name in "abc"]
    wired = DependenciesUpdate.model_validate({"depends_on": [{"task": "a", "when": "ended"}]})
    (need,) = await store.set_dependencies(c.id, wired)
    assert (need.task_id, need.when) == (a.id, Condition.ENDED)
    wired = DependenciesUpdate.model_validate({"depends_on": [b.id]})
    assert len(await store.add_dependencies(c.id, wired)) == 2
    assert await store.list_dependencies(c.id) == await library.list_dependencies(c.id)
    (need,) = await store.remove_dependencies(c.id, wired)
    assert need.name == "a"
    assert await store.remove_dependencies(c.id, DependenciesUpdate(depends_on=[])) == []
    await store.set_dependencies(c.id, wired)
    assert await store.set_dependencies(c.id, DependenciesUpdate()) == []


async def test_a_plan_is_changed_while_it_runs_and_tells_what_differs(
    store: PlanStore, library: PlanStore
) -> None:
    plan = await plan_of(store)
    batch = {"plan_id": plan.id, "tasks": [{"name": name, "description": name} for name in "abc"]}
    await store.create_tasks(TaskBatch.model_validate(batch))
    operations: list[Operation] = [
        AddTask.model_validate({"task": {"name": "d", "description": "d"}}),
        ChangeTask.model_validate({"task": "a", "set": {"priority": 3}}),
        RemoveTask(task="b"),
        ReorderTasks.model_validate({"order": ["d", ["c"]]}),
    ]
    draft = RevisionDraft(operations=operations, expected_revision=2, by="me", reason="why not")
    planned = await store.revise_plan(plan.id, draft.model_copy(update={"dry_run": True}))
    assert not planned.applied
    answer = await store.revise_plan(plan.id, draft)
    assert ([each.name for each in answer.added], answer.revision) == (["d"], 3)

    wanted = WantedTasks.model_validate({"tasks": [{"name": "c"}, {"name": "a", "priority": 1}]})
    assert [each.name for each in (await store.set_tasks(plan.id, wanted)).removed] == ["d"]

    page = await store.list_revisions(plan.id, limit=2)
    assert [each.revision for each in page] == [4, 3]
    page = await store.list_revisions(plan.id, limit=2, cursor=page.next_cursor)
    assert [each.revision for each in page] == [2, 1]
    third = await store.get_revision(plan.id, 3)
    assert (third.by, third.reason) == ("me", "why not")
    assert third == await library.get_revision(plan.id, 3)
    there = await store.compare_revisions(plan.id, from_revision=2, to_revision=4)
    assert there == await library.compare_revisions(plan.id, from_revision=2, to_revision=4)
    assert there != await store.compare_revisions(plan.id, from_revision=4, to_revision=2)


async def test_a_plan_says_how_it_gets_on(store: PlanStore, library: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    first = await task_of(store, plan, name="first")
    then = await task_of(store, plan, name="then", depends_on=["first"])
    assert (await store.get_progress(plan.id)).total == 2
    assert await store.get_graph(plan.id) == await library.get_graph(plan.id)
    assert await store.explain_task(then.id) == await library.explain_task(then.id)
    explained = await store.explain_plan(plan.id)
    assert explained == await library.explain_plan(plan.id)
    assert str(first.id) in explained.model_dump_json()
