"""Lists, cursors and doing things to many, by each door."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

from planstore.models import PlanFilter, PlanStatus, TaskFilter, TaskStatus
from planstore.models.bulk import PlanAction, PlanBulk, TaskAction, TaskBulk
from tests.arranging import plan_of, task_of

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore


async def test_the_pages_of_a_list_follow_each_other(store: PlanStore) -> None:
    plan = await plan_of(store)
    made = [await task_of(store, plan) for _ in range(5)]
    found: list[object] = []
    page = await store.list_tasks(plan_id=plan.id, limit=2)
    while page.next_cursor is not None:
        found += page
        page = await store.list_tasks(plan_id=plan.id, limit=2, cursor=page.next_cursor)
    assert [*found, *page] == made
    assert await store.list_tasks(plan_id=plan.id, offset=3) == made[3:]


async def test_every_filter_goes_through(store: PlanStore, library: PlanStore) -> None:
    goal = uuid4()
    plan = await plan_of(
        store,
        goal_id=goal,
        plan_type="a & b+c",
        labels=["x,y", "ü"],
        metadata={"deep": {"list": [1, "two"]}},
        steps=[{"description": "unheard-of words"}],
    )
    await plan_of(store, goal_id=goal)
    since = plan.created_at - timedelta(hours=1)
    found = PlanFilter(
        goal_id=[goal],
        status=[PlanStatus.ACTIVE, PlanStatus.DRAFT],
        plan_type=["a & b+c", "other"],
        label=["x,y", "ü"],
        metadata=[{"deep": {"list": ["two"]}}],
        words="unheard-of",
        created_after=since,
        created_before=since + timedelta(days=1),
    )
    assert await store.list_plans(found, sort="-updated_at") == [plan]
    assert await library.list_plans(found) == [plan]

    task = await task_of(store, plan, name="a name", priority=3)
    await task_of(store, plan)
    found = TaskFilter(plan_id=[uuid4()], name=["a name"], ready=True, status=[TaskStatus.PENDING])
    assert await store.list_tasks(found, plan_id=plan.id) == [task]
    assert await store.list_tasks(found) == []
    ordered = await store.list_tasks(plan_id=plan.id, sort="-priority")
    assert ordered[0] == task


async def test_one_thing_is_done_to_many(store: PlanStore) -> None:
    plans = [await plan_of(store, labels=[label := f"l-{uuid4()}"])]
    plans.append(await plan_of(store, labels=[label]))
    for plan in plans:
        await task_of(store, plan, labels=[label])
    of_tasks = TaskBulk(filter=TaskFilter(label=[label]), action=TaskAction.SKIP, dry_run=True)
    answer = await store.bulk_tasks(of_tasks)
    assert (answer.matched, answer.changed, len(answer.examples)) == (2, 0, 2)
    of_plans = PlanBulk(filter=PlanFilter(label=[label]), action=PlanAction.CANCEL)
    assert (await store.bulk_plans(of_plans)).changed == 2
