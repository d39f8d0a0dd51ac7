"""Whatever is done to a plan and in whatever order: what was is told as it was.

Verbs are woven at random; what is refused is as good as what is taken, for it has to leave no trace
either. After each the whole database is remembered, and in the end all memories are compared with
what the events tell.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any, Final

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uuid_utils.compat import uuid7

from planstore.db import Database
from planstore.errors import PlanStoreError
from planstore.models import (
    DependenciesUpdate,
    PlanStatus,
    PlanUpdate,
    Reset,
    TaskStatus,
    TaskUpdate,
)
from planstore.models.revision import RevisionDraft
from planstore.services.plan_store import PlanStore
from tests.arranging import plan_of, task_of
from tests.emptying import empty
from tests.history import assert_history_holds
from tests.holder import claim, complete, fail, release, renew
from tests.services.past import assert_remembered, assert_revisions_remembered, remember
from tests.time_travel import end_leases

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from planstore.models import Plan, Task
    from planstore.models.claim import WorkPacket
    from tests.conftest import Postgres
    from tests.services.past import Remembered

NUMBERS: Final = st.integers(0, 11)
STEP: Final = st.tuples(st.integers(0, 99), NUMBERS, NUMBERS)
"""Which verb, and two numbers that say of what and how; all counted round and round."""


class Weaver:
    """Does to a plan what numbers say."""

    def __init__(self, store: PlanStore, database: Database) -> None:
        self.store = store
        self.database = database
        self.memories: list[Remembered] = []
        self.packets: list[WorkPacket] = []
        self.verbs: tuple[Callable[[Task, int], Awaitable[object]], ...] = (
            *(self.add, self.add_some, self.claim, self.claim, self.complete, self.complete),
            *(self.fail, self.release, self.renew, self.sweep, self.edit, self.reorder, self.move),
            *(self.rewire, self.reset, self.remove, self.revise, self.steer, self.close),
            self.revise_much,
        )

    async def weave(self, plan: Plan, steps: list[tuple[int, int, int]]) -> None:
        self.plan = plan
        for verb, which, how in steps:
            tasks = await self.store.list_tasks(plan_id=plan.id)
            with suppress(PlanStoreError):
                if not tasks:
                    await task_of(self.store, plan)
                else:
                    await self.verbs[verb % len(self.verbs)](tasks[which % len(tasks)], how)
            self.memories.append(await remember(self.database))

    async def add(self, one: Task, how: int) -> None:
        needs = [str(one.id)] if how % 2 else []
        await task_of(self.store, self.plan, depends_on=needs, name=f"n{how}" if how % 3 else None)

    async def add_some(self, _: Task, how: int) -> None:
        await asyncio.gather(*(task_of(self.store, self.plan) for _ in range(how % 4)))

    async def claim(self, _: Task, how: int) -> None:
        self.packets += await claim(self.store, plan=self.plan, limit=how % 3 + 1)

    async def complete(self, _: Task, how: int) -> None:
        if self.packets:
            packet = self.packets[how % len(self.packets)]
            await complete(self.store, packet, output_data={"n": how} if how % 2 else None)

    async def fail(self, _: Task, how: int) -> None:
        if self.packets:
            await fail(self.store, self.packets[-1], retryable=how % 3 > 0, retry_in_seconds=0)

    async def release(self, _: Task, how: int) -> None:
        if self.packets:
            await release(self.store, self.packets[how % len(self.packets)])

    async def renew(self, _: Task, how: int) -> None:
        if self.packets:
            await renew(self.store, self.packets[-1], progress=how)

    async def sweep(self, one: Task, _: int) -> None:
        if one.status == TaskStatus.RUNNING and one.worker_id is not None:
            await end_leases(self.database)
        await self.store.sweep()

    async def edit(self, one: Task, how: int) -> None:
        update = TaskUpdate(metadata={"n": how % 2}, priority=how, description=f"d{how % 3}")
        await self.store.update_task(one.id, update)

    async def reorder(self, one: Task, how: int) -> None:
        status = {"status": TaskStatus.RUNNING} if how > 5 else {}
        update = {"sequence_order": how % 4, "name": f"m{how}", **status}
        await self.store.update_task(one.id, TaskUpdate.model_validate(update))

    async def move(self, one: Task, how: int) -> None:
        status = list(TaskStatus)[how % len(TaskStatus)]
        await self.store.update_task(one.id, TaskUpdate(status=status))

    async def rewire(self, one: Task, how: int) -> None:
        tasks = await self.store.list_tasks(plan_id=self.plan.id)
        entry = {
            "task": str(tasks[how % len(tasks)].id),
            "when": ("success", "ended", "failure")[how % 3],
        }
        needs = DependenciesUpdate.model_validate({"depends_on": [entry] if how < 10 else []})
        await (self.store.set_dependencies if how % 2 else self.store.add_dependencies)(
            one.id, needs
        )

    async def reset(self, one: Task, how: int) -> None:
        await self.store.reset_task(one.id, Reset(dependents=how % 2 == 0))

    async def remove(self, one: Task, how: int) -> None:
        await self.store.delete_task(one.id, force=how % 2 == 0)

    async def revise(self, one: Task, how: int) -> None:
        operation = (
            {"op": "remove", "task": str(one.id), "restart": True},
            {"op": "split", "task": str(one.id), "into": [{"description": f"s{n}"} for n in "ab"]},
            {"op": "insert", "task": {"description": "between"}, "after": str(one.id)},
            {"op": "change", "task": str(one.id), "set": {"name": f"r{how}", "input_data": None}},
        )[how % 4]
        await self._revise(operation)

    async def revise_much(self, one: Task, how: int) -> None:
        tasks = await self.store.list_tasks(plan_id=self.plan.id)
        other = tasks[how % len(tasks)]
        # Both take each other's name, where they have any.
        await self._revise(
            {"op": "change", "task": str(one.id), "set": {"name": other.name}},
            {"op": "change", "task": str(other.id), "set": {"name": one.name}},
            {"op": "rewire", "task": str(one.id), "depends_on": []},
            {"op": "reorder", "order": [str(other.id), str(one.id)]},
        )

    async def _revise(self, *operations: dict[str, Any]) -> None:
        draft = RevisionDraft.model_validate({"operations": list(operations), "reason": "why not"})
        await self.store.revise_plan(self.plan.id, draft)

    async def steer(self, _: Task, how: int) -> None:
        store = self.store
        verbs = (store.pause_plan, store.resume_plan, store.retry_plan, store.start_plan)
        await verbs[how % len(verbs)](self.plan.id)

    async def close(self, _: Task, how: int) -> None:
        if how % 4 == 0:
            await self.store.update_plan(self.plan.id, PlanUpdate(status=PlanStatus.CANCELLED))
        update = PlanUpdate(status=PlanStatus.ACTIVE, plan_type=("dag", "sequential")[how % 2])
        await self.store.update_plan(self.plan.id, update)


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_what_was_is_told_as_it_was(postgres: Postgres, runner: asyncio.Runner) -> None:
    stack = AsyncExitStack()

    async def open_store() -> tuple[PlanStore, Database]:
        url = await stack.enter_async_context(postgres.database())
        store = await stack.enter_async_context(PlanStore.open(url, migrate=False))
        return store, await stack.enter_async_context(Database.open(url))

    store, database = runner.run(open_store())

    @settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
    @given(st.lists(STEP, min_size=1, max_size=30), st.sampled_from([False, True]))
    def lives(steps: list[tuple[int, int, int]], is_deleted: bool) -> None:  # noqa: FBT001 - drawn
        runner.run(live(store, database, steps, is_deleted=is_deleted))

    try:
        lives()
    finally:
        runner.run(stack.aclose())


async def live(
    store: PlanStore, database: Database, steps: list[tuple[int, int, int]], *, is_deleted: bool
) -> None:
    """Have a plan live, and compare what was with what is told."""
    await empty(database)
    plan = await plan_of(store, id=uuid7(), plan_type="dag")
    weaver = Weaver(store, database)
    await weaver.weave(plan, steps)
    await assert_revisions_remembered(store, weaver.memories, plan.id)
    last = [task.id for task in await store.list_tasks(plan_id=plan.id)][-1:]
    if is_deleted:
        await store.delete_plan(plan.id, force=True)
        weaver.memories.append(await remember(database))
    for then in weaver.memories:
        await assert_remembered(store, then, plan.id)
        for task in then.tasks(plan.id) if not is_deleted else ():
            if task.id in last:
                assert await store.get_task(task.id, at=then.at) == task
    await assert_history_holds(database)
