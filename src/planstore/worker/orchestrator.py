"""`Orchestrator`: carries out one plan to its end."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypedDict

from planstore.models.plan import FINAL, PlanStatus
from planstore.models.query import TaskFilter
from planstore.models.task import ENDED, Task, TaskStatus
from planstore.worker.engine import Engine
from planstore.worker.handlers import Registering
from planstore.worker.patience import Patience
from planstore.worker.store import opening
from planstore.worker.tally import Tally
from planstore.worker.terms import Terms

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from planstore.models.plan import Plan
    from planstore.worker.store import Opening, Store

_LOOK_EVERY: Final = 1.0
"""Seconds between two looks at a plan whose last tasks others carry out."""

_PAGE: Final = 1_000


class Execution(TypedDict):
    """What came of a plan."""

    status: PlanStatus
    completed_tasks: int
    failed_tasks: int
    outputs: dict[str, dict[str, Any] | None]
    """What the completed tasks have produced, by their name, or by their id without one."""


class ExecutionStats(TypedDict):
    """What an orchestrator has done since it was made."""

    plans_executed: int
    plans_completed: int
    plans_failed: int
    tasks_executed: int
    tasks_completed: int
    tasks_failed: int
    tasks_retried: int
    """Runs that failed and were followed by another one."""
    success_rate: float
    """The share of the tasks executed that have completed, 0 to 1; 0 where there are none."""


class Orchestrator(Registering):
    """Carries out plans by its handlers, each to its end."""

    def __init__(
        self,
        where: str | Opening,
        *,
        name: str | None = None,
        concurrency: int = 8,
        lease_seconds: float = 60.0,
        grace_seconds: float = 5.0,
    ) -> None:
        """Make an orchestrator, whose handlers are then registered by `task`.

        ``where``: the URL of a server (``http://…``) or of a database (``postgresql://…``), or what
        opens a store. ``grace_seconds``: how long handlers may go on when the plan was ended by
        somebody else. The others are as for a `Worker`.

        Raises:
            ValueError: a number is out of its range.
        """
        super().__init__()
        self._opening = opening(where)
        self._terms = Terms.of(
            name=name,
            concurrency=concurrency,
            lease_seconds=lease_seconds,
            grace_seconds=grace_seconds,
        )
        self._tally = Tally()
        self._ended: list[PlanStatus] = []

    async def execute_plan(
        self, plan_id: UUID, context: Mapping[str, Any] | None = None
    ) -> Execution:
        """Carry a plan out to its end; a draft is started.

        ``context``: what every handler finds as ``context.values``. A task that there is no handler
        for fails; workers may carry out tasks of the plan at the same time. It ends when the plan
        has, through whomever, or, where the plan doesn't end by itself, when all its tasks have.

        Raises:
            NotFound: there is no such plan.
            PlanStoreError: the store can't be opened, or refuses to talk to this one at all.
        """
        async with self._opening() as store:
            patience = Patience("the plan")
            plan = await patience.until_answered(lambda: store.get_plan(plan_id))
            if plan.status == PlanStatus.DRAFT:
                plan = await patience.until_answered(lambda: store.start_plan(plan_id))
            if plan.status not in FINAL:
                await self._carry_out(store, plan, context or {})
            execution = await patience.until_answered(lambda: _execution(store, plan_id))
        self._ended.append(execution["status"])
        return execution

    async def _carry_out(self, store: Store, plan: Plan, values: Mapping[str, Any]) -> None:
        terms = self._terms.asking_for(plan_id=plan.id)
        engine = Engine(store, self._opening, self._handlers, terms, self._tally, values=values)
        running = asyncio.create_task(engine.run())
        watching = asyncio.create_task(_until_ended(store, plan.id, engine.went_quiet))
        try:
            await asyncio.wait({running, watching}, return_when=asyncio.FIRST_COMPLETED)
            engine.end()
            await running
            await watching
        finally:
            for each in (running, watching):
                each.cancel()
            await asyncio.wait({running, watching})

    def get_stats(self) -> ExecutionStats:
        """Return what it has done since it was made, plans that were ended by others included."""
        completed, failed = self._tally.completed, self._tally.failed
        executed = completed + failed
        return {
            "plans_executed": len(self._ended),
            "plans_completed": self._ended.count(PlanStatus.COMPLETED),
            "plans_failed": self._ended.count(PlanStatus.FAILED),
            "tasks_executed": executed,
            "tasks_completed": completed,
            "tasks_failed": failed,
            "tasks_retried": self._tally.retried,
            "success_rate": completed / executed if executed else 0.0,
        }


async def _until_ended(store: Store, plan_id: UUID, went_quiet: asyncio.Event) -> None:
    """Look at a plan when there is nothing in hand, and once in a while, until it has ended."""
    patience = Patience("the plan's status")
    while True:
        went_quiet.clear()
        plan = await patience.until_answered(lambda: store.get_plan(plan_id))
        if plan.status in FINAL:
            return
        if not plan.auto_complete and await _have_all_ended(store, plan_id, patience):
            return
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_EVERY):
                await went_quiet.wait()


async def _execution(store: Store, plan_id: UUID) -> Execution:
    plan = await store.get_plan(plan_id)
    tasks = await _all_tasks(store, plan_id)
    completed = [each for each in tasks if each.status == TaskStatus.COMPLETED]
    return {
        "status": plan.status,
        "completed_tasks": len(completed),
        "failed_tasks": sum(each.status == TaskStatus.FAILED for each in tasks),
        "outputs": {each.name or str(each.id): each.output_data for each in completed},
    }


async def _have_all_ended(store: Store, plan_id: UUID, patience: Patience) -> bool:
    tasks = await patience.until_answered(lambda: _all_tasks(store, plan_id))
    return all(each.status in ENDED for each in tasks)


async def _all_tasks(store: Store, plan_id: UUID) -> list[Task]:
    tasks: list[Task] = []
    cursor: str | None = None
    while True:
        page = await store.list_tasks(TaskFilter(plan_id=[plan_id]), limit=_PAGE, cursor=cursor)
        tasks += page
        if (cursor := page.next_cursor) is None:
            return tasks
