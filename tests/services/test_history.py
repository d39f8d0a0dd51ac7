"""Looking back: how a plan and its tasks stood, and what its revisions made of it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from uuid_utils.compat import uuid7

from planstore.errors import HistoryGone, InvalidInput, NotFound, StaleClaim
from planstore.models import (
    DependenciesUpdate,
    OnFailure,
    PlanStatus,
    PlanUpdate,
    Reset,
    TaskBatch,
    TaskCreate,
    TaskDraft,
    TaskUpdate,
)
from planstore.models import TaskStatus as S
from planstore.models.query import TaskFilter
from planstore.models.revision import RevisionDraft
from tests.arranging import moved, plan_of, set_to, task_of
from tests.emptying import empty
from tests.holder import claim, complete, fail, release, renew
from tests.refusals import refused
from tests.services.past import (
    Remembered,
    assert_remembered,
    assert_revisions_remembered,
    remember,
)
from tests.services.weaving import woven
from tests.time_travel import end_leases

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.services.plan_store import PlanStore


@dataclass
class Life:
    """What is done to a plan, with a memory of all that there was after each step."""

    database: Database
    memories: list[Remembered] = field(default_factory=list[Remembered])

    async def go_on(self, step: Awaitable[Any]) -> Any:
        answer = await step
        self.memories.append(await remember(self.database))
        return answer


def revision_of(*operations: dict[str, Any], **fields: Any) -> RevisionDraft:
    return RevisionDraft.model_validate({"operations": list(operations), **fields})


@pytest.fixture
async def life(database: Database) -> Life:
    return Life(database, [await remember(database)])


async def live(store: PlanStore, life: Life) -> Plan:
    """Have a plan go through all that can happen to one, but its end."""
    step = life.go_on
    steps = [{"action": "boil", "input": {"litres": 2}}, {"action": "fry", "depends_on": "boil"}]
    plan = await step(plan_of(store, status="draft", steps=steps, metadata={"n": 1}, labels=["a"]))
    boil, fry = await step(store.expand_plan(plan.id))
    await step(store.start_plan(plan.id))
    (packet,) = await step(claim(store, plan=plan))
    await step(renew(store, packet, progress=0.5, note="it simmers"))
    await step(fail(store, packet, retry_in_seconds=0))
    (packet,) = await step(claim(store, "w2", plan=plan))
    await step(complete(store, packet, output_data={"litres": 1.5}))
    with pytest.raises(StaleClaim):
        await complete(store, packet.model_copy(update={"fencing_token": 10**9}))
    (packet,) = await step(claim(store, plan=plan))
    await step(release(store, packet))
    (packet,) = await step(claim(store, plan=plan))
    await step(end_leases(life.database))
    await step(store.sweep())
    await step(moved(store, fry, S.BLOCKED))
    await step(store.update_task(fry.id, TaskUpdate(name="braise", priority=3, labels=["b"])))
    await step(store.update_task(fry.id, TaskUpdate(input_data={"of": "{{boil.litres}}"})))
    await step(moved(store, fry, S.PENDING))
    await step(store.skip_task(fry.id))  # and with it the plan completes
    drafts = [
        {"name": "serve", "description": "serve", "depends_on": ["braise", "boil"]},
        {"name": "wash", "description": "wash", "depends_on": [{"task": "serve", "when": "ended"}]},
        {"name": "throw away", "description": "throw away",
         "depends_on": [{"task": "serve", "when": "failure"}]},
    ]  # fmt: skip
    batch = TaskBatch.model_validate({"plan_id": plan.id, "tasks": drafts})
    serve, wash, _ = await step(store.create_tasks(batch))  # and opens again
    await step(store.update_plan(plan.id, PlanUpdate(plan_type="dag", max_parallel_tasks=1)))
    needs = DependenciesUpdate.model_validate({"depends_on": ["boil"]})
    await step(store.add_dependencies(wash.id, needs))
    await step(store.remove_dependencies(wash.id, needs))
    await step(store.update_task(wash.id, TaskUpdate(sequence_order=1)))
    await step(store.pause_plan(plan.id))
    await step(store.resume_plan(plan.id))
    await step(moved(store, serve, S.FAILED, error={"why": "dropped"}))
    await step(store.retry_plan(plan.id))
    await step(store.update_plan(plan.id, PlanUpdate(on_failure=OnFailure.SKIP, steps=[])))
    await step(moved(store, serve, S.FAILED, error="dropped again"))
    await step(store.reset_task(boil.id, Reset(dependents=True)))
    await step(
        store.revise_plan(
            plan.id,
            revision_of(
                {"op": "insert", "task": {"name": "plate", "description": "p"}, "before": "serve"},
                {"op": "change", "task": "wash", "set": {"name": "rinse", "metadata": {"a": True}}},
                {"op": "remove", "task": "throw away"},
                reason="no waste",
                by="the chef",
            ),
        )
    )
    await step(asyncio.gather(*(task_of(store, plan) for _ in range(5))))
    await step(store.delete_task(serve.id, force=True))
    await step(set_to(store, plan, PlanStatus.FAILED))
    await step(set_to(store, plan, PlanStatus.ACTIVE))
    return plan


async def test_each_moment_of_a_plans_life_is_told_as_it_was(store: PlanStore, life: Life) -> None:
    other = await life.go_on(plan_of(store))
    plan = await live(store, life)
    await life.go_on(store.delete_plan(plan.id, force=True))
    await life.go_on(task_of(store, other))

    for then in life.memories:
        await assert_remembered(store, then, plan.id)
        await assert_remembered(store, then, other.id)


async def test_each_revision_is_told_as_it_was_made(store: PlanStore, life: Life) -> None:
    plan = await live(store, life)

    await assert_revisions_remembered(store, life.memories, plan.id)


async def test_a_task_is_told_as_it_was_before_and_after_it_was_deleted(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    before = await remember(database)
    task = await task_of(store, plan, name="a")
    then = await remember(database)
    renamed = await store.update_task(task.id, TaskUpdate(name="b"))
    later = await remember(database)
    await store.delete_task(task.id)
    after = await remember(database)

    assert await store.get_task(task.id, at=then.at) == task
    assert await store.get_task(task.id, at=later.at) == renamed
    for at in (before.at, after.at):
        with pytest.raises(NotFound) as info:
            await store.get_task(task.id, at=at)
        assert f"there was no task {task.id} at " in info.value.detail


async def test_a_task_of_a_deleted_plan_is_told_by_the_plan(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    then = await remember(database)
    await store.delete_plan(plan.id)

    assert await store.list_tasks(plan_id=plan.id, at=then.at) == [task]
    with pytest.raises(NotFound) as info:
        await store.get_task(task.id, at=then.at)
    assert "list the tasks of the plan" in info.value.detail


async def test_before_a_plan_was_made_there_is_none_and_it_says_since_when(
    store: PlanStore, database: Database
) -> None:
    before = await remember(database)
    plan = await plan_of(store)
    task = await task_of(store, plan)

    since = plan.created_at.isoformat().replace("+00:00", "Z")
    for asked in (
        store.get_plan(plan.id, at=before.at),
        store.get_task(task.id, at=before.at),
        store.list_tasks(plan_id=plan.id, at=before.at),
    ):
        with pytest.raises(NotFound) as info:
            await asked
        assert info.value.detail.endswith(f"it exists since {since}")
    assert (await store.get_plan(plan.id, at=plan.created_at)) == plan


async def test_what_never_was_has_no_past(store: PlanStore) -> None:
    plan = await plan_of(store)
    nobody = uuid7()

    for asked in (
        store.get_plan(nobody, at=plan.created_at),
        store.get_task(nobody, at=plan.created_at),
        store.list_tasks(plan_id=nobody, at=plan.created_at),
        store.list_revisions(nobody),
        store.get_revision(nobody, 1),
        store.compare_revisions(nobody),
    ):
        with pytest.raises(NotFound):
            await asked


async def test_an_id_that_is_given_again_has_both_pasts(
    store: PlanStore, database: Database
) -> None:
    life = Life(database)
    plan_id, task_id = uuid7(), uuid7()
    for name in ("first", "second"):
        plan = await life.go_on(plan_of(store, id=plan_id, metadata={"life": name}))
        await life.go_on(task_of(store, plan, id=task_id, name=name))
        await life.go_on(store.delete_plan(plan_id))
    await life.go_on(plan_of(store, id=plan_id))

    for then in life.memories:
        await assert_remembered(store, then, plan_id)
    assert [each.revision for each in await store.list_revisions(plan_id)] == [1]
    assert (await store.get_revision(plan_id, 1)).tasks == []


async def test_what_was_written_after_a_moment_is_no_part_of_it_whenever_it_began(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    then = await remember(database)
    await store.update_plan(plan.id, PlanUpdate(metadata={"n": 1}))
    await store.update_plan(plan.id, PlanUpdate(metadata={"n": 2}))
    async with database.connection() as conn:
        # As if the second change had waited from the very beginning.
        await conn.execute(
            "update planstore.events set created_at = $1"
            " where seq = (select max(seq) from planstore.events)",
            plan.created_at,
        )

    assert (await store.get_plan(plan.id, at=then.at)).metadata == {}


async def test_what_is_to_come_is_not_known(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    now = (await remember(database)).at

    async with refused(database, InvalidInput) as info:
        await store.get_plan(plan.id, at=now + timedelta(minutes=2))
    (fault,) = info.value.faults
    assert fault.pointer == "?at"
    assert "by the database's clock it is " in fault.detail
    # But a client's clock may be a little ahead.
    assert await store.get_plan(plan.id, at=now + timedelta(seconds=30)) == plan


async def test_of_the_past_only_the_tasks_of_one_plan_are_listed(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    now = (await remember(database)).at

    for found in (
        TaskFilter(),
        TaskFilter(plan_id=[plan.id, uuid7()]),
        TaskFilter(plan_id=[plan.id], status=[S.PENDING]),
    ):
        async with refused(database, InvalidInput) as info:
            await store.list_tasks(found, at=now)
        assert [fault.pointer for fault in info.value.faults] == ["?at"]
    async with refused(database, InvalidInput):
        await store.list_tasks(plan_id=plan.id, sort="priority", at=now)
    assert await store.list_tasks(TaskFilter(plan_id=[plan.id]), at=now) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7])
async def test_the_pages_of_the_past_have_no_gap_and_no_twin(
    store: PlanStore, database: Database, limit: int
) -> None:
    plan = await plan_of(store)
    made = [await task_of(store, plan, sequence_order=order) for order in (3, 1, 2, 1, 3, 2)]
    then = await remember(database)
    await store.update_task(made[0].id, TaskUpdate(sequence_order=0))
    await store.delete_task(made[1].id)
    await task_of(store, plan)

    whole = await store.list_tasks(plan_id=plan.id, at=then.at)
    found: list[Task] = []
    cursor = None
    while True:
        page = await store.list_tasks(plan_id=plan.id, at=then.at, limit=limit, cursor=cursor)
        found += page
        if (cursor := page.next_cursor) is None:
            break

    assert whole == then.tasks(plan.id) == found
    offset = await store.list_tasks(plan_id=plan.id, at=then.at, limit=2, offset=3)
    assert offset == whole[3:5]


async def test_what_is_no_longer_kept_is_said_to_be_gone(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await task_of(store, plan)
    now = (await remember(database)).at
    async with database.connection() as conn:
        await conn.execute(
            "delete from planstore.events where seq < (select max(seq) from planstore.events) - 1"
        )

    for asked in (
        store.get_plan(plan.id, at=now),
        store.get_task(task.id, at=now),
        store.list_tasks(plan_id=plan.id, at=now),
        store.get_revision(plan.id, 1),
        store.get_revision(plan.id, 3),
        store.compare_revisions(plan.id),
    ):
        with pytest.raises(HistoryGone) as info:
            await asked
        assert str(plan.id) in info.value.detail
    assert [each.revision for each in await store.list_revisions(plan.id)] == [3]

    async with database.connection() as conn:
        await conn.execute("delete from planstore.events")
    with pytest.raises(HistoryGone):
        await store.get_plan(plan.id, at=now)
    assert await store.list_revisions(plan.id) == []


async def test_events_of_before_a_field_was_there_tell_what_it_would_be(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": []})
    now = (await remember(database)).at
    async with database.connection() as conn:
        await conn.execute(
            "update planstore.events set payload = (payload::jsonb - array["
            "'labels', 'template', 'template_version', 'on_failure', 'priority', 'attempt',"
            " 'needs_review', 'side_effects', 'not_before'])::json"
        )

    assert await store.get_plan(plan.id, at=plan.created_at) is not None
    assert await store.list_tasks(plan_id=plan.id, at=now) == [tasks["a"]]
    (planned,) = (await store.get_revision(plan.id, 2)).tasks
    assert (planned.side_effects, planned.priority, planned.labels) == ("idempotent", 0, [])
    await empty(database)  # these events fit the schemas of an earlier version


async def test_revisions_say_who_why_when_and_how_much(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["b"]})
    await store.update_task(tasks["c"].id, TaskUpdate(description="an edit is no revision"))
    draft = revision_of(
        {"op": "add", "task": {"name": "d", "description": "d"}},
        {"op": "change", "task": "a", "set": {"priority": 5}},
        {"op": "rewire", "task": "c", "depends_on": ["a"]},
        {"op": "remove", "task": "b"},
        reason="it is shorter",
        by="planner-7",
    )
    await store.revise_plan(plan.id, draft)
    revised = await store.get_plan(plan.id)

    newest, *older = await store.list_revisions(plan.id)

    assert newest.model_dump() == {
        "revision": 3,
        "created_at": revised.updated_at,
        "by": "planner-7",
        "reason": "it is shorter",
        "added": 1,
        "changed": 1,
        "removed": 1,
        "rewired": 1,
    }
    assert [(each.revision, each.added, each.changed, each.by) for each in older] == [
        (2, 3, 0, None),
        (1, 0, 0, None),
    ]
    whole = await store.get_revision(plan.id, 3)
    assert newest.model_dump().items() <= whole.model_dump().items()
    assert whole.operations is not None
    assert [each["op"] for each in whole.operations] == ["add", "change", "rewire", "remove"]
    names = {task.name: [need.name for need in task.depends_on] for task in whole.tasks}
    assert names == {"a": [], "c": ["a"], "d": []}
    assert (await store.get_revision(plan.id, 2)).operations is None


@pytest.mark.parametrize("limit", [1, 2, 4, 9])
async def test_the_pages_of_revisions_lead_back_to_the_first(store: PlanStore, limit: int) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    await asyncio.gather(*(task_of(store, plan) for _ in range(6)))

    numbers: list[int] = []
    cursor = None
    while True:
        page = await store.list_revisions(plan.id, limit=limit, cursor=cursor)
        assert len(page) <= limit
        numbers += [each.revision for each in page]
        if (cursor := page.next_cursor) is None:
            break

    assert numbers == [8, 7, 6, 5, 4, 3, 2, 1]
    assert [each.revision for each in await store.list_revisions(plan.id, limit=2, offset=3)] == [
        5,
        4,
    ]
    assert await store.list_revisions(plan.id, offset=8) == []


async def test_tasks_that_were_added_at_once_by_many_are_a_revision_each(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    creates = [TaskCreate(plan_id=plan.id, name=f"t{n}", description="do it") for n in range(20)]
    made = await asyncio.gather(*(store.create_task(create) for create in creates))
    async with database.connection() as conn:
        bumps = await conn.fetchval(
            "select count(*) from planstore.events where event_type = 'plan.revised'"
        )
    assert bumps < 20, "they weren't merged"

    for number in range(1, 22):
        revision = await store.get_revision(plan.id, number)
        assert len(revision.tasks) == number - 1
        assert revision.added == (number > 1)
    (added,) = (await store.compare_revisions(plan.id, from_revision=7, to_revision=8)).added
    assert added.id in {task.id for task in made}
    assert [each.added for each in await store.list_revisions(plan.id)] == [1] * 20 + [0]


async def test_a_revision_that_isnt_there_is_refused_with_those_that_are(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)

    for asked in (
        store.get_revision(plan.id, 3),
        store.get_revision(plan.id, 0),
        store.compare_revisions(plan.id, from_revision=3),
        store.compare_revisions(plan.id, to_revision=17),
    ):
        with pytest.raises(NotFound) as info:
            await asked
        assert info.value.detail.endswith("it has 1 to 2")


async def test_two_revisions_are_compared_by_field_and_in_both_directions(
    store: PlanStore,
) -> None:
    fields = {"a": {"metadata": {"b": 1, "c": 2}, "input_data": {"is": True}}}
    plan, tasks = await woven(store, {"a": [], "b": ["a"]}, fields=fields)
    update = TaskUpdate(metadata={"c": 2, "b": 1}, input_data={"is": 1}, description="new")
    await store.update_task(tasks["a"].id, update)
    needs = DependenciesUpdate.model_validate({"depends_on": [{"task": "a", "when": "ended"}]})
    await store.set_dependencies(tasks["b"].id, needs)
    c = await task_of(store, plan, name="c", depends_on=["b"])

    there = await store.compare_revisions(plan.id, from_revision=2, to_revision=4)
    back = await store.compare_revisions(plan.id, from_revision=4, to_revision=2)

    (changed,), (rewired,), (added,) = there.changed, there.rewired, there.added
    assert (changed.id, changed.name) == (tasks["a"].id, "a")
    # In another order the metadata are the same; but true isn't 1.
    assert {name: (each.old, each.new) for name, each in changed.fields.items()} == {
        "description": ("a", "new"),
        "input_data": ({"is": True}, {"is": 1}),
    }
    assert rewired.name == "b"
    assert [(need.name, need.when) for need in rewired.removed] == [("a", "success")]
    assert [(need.name, need.when) for need in rewired.added] == [("a", "ended")]
    assert (added.id, [need.name for need in added.depends_on]) == (c.id, ["b"])
    assert (there.removed, there.from_revision, there.to_revision) == ([], 2, 4)
    assert back.removed == there.added
    assert back.changed[0].fields["description"].old == "new"
    assert back.rewired[0].added == rewired.removed


async def test_left_out_a_revision_is_the_present_or_the_one_before(store: PlanStore) -> None:
    plan = await plan_of(store)
    first, second = [await task_of(store, plan) for _ in range(2)]
    await store.update_task(first.id, TaskUpdate(description="edited since"))

    since_last = await store.compare_revisions(plan.id)
    of_first = await store.compare_revisions(plan.id, to_revision=2)
    since_first = await store.compare_revisions(plan.id, from_revision=1)

    assert (since_last.from_revision, since_last.to_revision) == (2, 3)
    assert [task.id for task in since_last.added] == [second.id]
    assert [task.id for task in since_last.changed] == [first.id]
    assert (of_first.from_revision, of_first.to_revision) == (1, 2)
    assert [task.id for task in of_first.added] == [first.id]
    assert [task.description for task in since_first.added] == ["edited since", "do it"]
    assert (await store.compare_revisions(plan.id, from_revision=1, to_revision=1)).added == []


async def test_a_plan_of_one_revision_is_compared_with_itself(store: PlanStore) -> None:
    plan = await plan_of(store)

    diff = await store.compare_revisions(plan.id)

    assert (diff.from_revision, diff.to_revision) == (1, 1)
    assert diff.added == diff.removed == diff.changed == diff.rewired == []


async def test_what_became_of_a_task_is_no_part_of_the_structure(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]})
    await moved(store, tasks["a"], S.RUNNING)
    await moved(store, tasks["a"], S.COMPLETED, output_data={"n": 1})

    diff = await store.compare_revisions(plan.id, from_revision=2)

    assert diff.added == diff.removed == diff.changed == diff.rewired == []
    assert [task.name for task in (await store.get_revision(plan.id, 2)).tasks] == ["a", "b"]


async def test_drafts_are_a_part_of_the_structure(store: PlanStore) -> None:
    plan = await plan_of(store)
    draft = TaskDraft.model_validate(
        {
            "name": "a",
            "description": "all of it",
            "task_type": "t",
            "agent_id": str(uuid7()),
            "input_data": {"n": 1},
            "metadata": {"m": 1},
            "labels": ["x"],
            "sequence_order": 4,
            "parallel_group": "g",
            "priority": 7,
            "not_before": "2020-01-01T00:00:00Z",
            "side_effects": "once",
            "timeout_seconds": 60,
            "retry_policy": {"max_retries": 1},
            "estimated_duration": "5m",
        }
    )
    (task,) = await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=[draft]))

    (planned,) = (await store.get_revision(plan.id, 2)).tasks

    assert planned.model_dump(exclude={"depends_on"}).items() <= task.model_dump().items()
