"""Every status against every status that it may be set to, by hand."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Final, TypeVar

import pytest

from planstore.errors import InvalidTransition
from planstore.models import PlanStatus, TaskStatus
from planstore.models.plan import PLAN_LIFECYCLE
from planstore.models.task import TASK_LIFECYCLE
from tests.arranging import moved, plan_of, set_to, task_of
from tests.history import all_events
from tests.refusals import refused

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.lifecycle import Lifecycle
    from planstore.services.plan_store import PlanStore

S = TypeVar("S", bound=StrEnum)

TASK_EVENTS: Final = {
    "pending": {
        "running": "task.started",
        "completed": "task.completed",
        "failed": "task.failed",
        "blocked": "task.held",
        "skipped": "task.skipped",
    },
    "running": {
        "pending": "task.released",
        "completed": "task.completed",
        "failed": "task.failed",
        "blocked": "task.held",
        "skipped": "task.skipped",
    },
    "completed": {"pending": "task.reset"},
    "failed": {
        "pending": "task.reset",
        "completed": "task.completed",
        "skipped": "task.skipped",
    },
    "blocked": {
        "pending": "task.unheld",
        "completed": "task.completed",
        "failed": "task.failed",
        "skipped": "task.skipped",
    },
    "skipped": {"pending": "task.reset"},
}
"""What is written when a task goes from one status to another; what isn't here is refused."""

PLAN_EVENTS: Final = {
    "draft": {
        "active": "plan.started",
        "completed": "plan.completed",
        "failed": "plan.failed",
        "cancelled": "plan.cancelled",
    },
    "active": {
        "completed": "plan.completed",
        "failed": "plan.failed",
        "cancelled": "plan.cancelled",
    },
    "completed": {
        "active": "plan.reopened",
        "failed": "plan.failed",
        "cancelled": "plan.cancelled",
    },
    "failed": {
        "active": "plan.reopened",
        "completed": "plan.completed",
        "cancelled": "plan.cancelled",
    },
    "cancelled": {
        "active": "plan.reopened",
        "completed": "plan.completed",
        "failed": "plan.failed",
    },
}
"""The same of plans."""


def _events(lifecycle: Lifecycle[S], statuses: type[S]) -> dict[str, dict[str, str]]:
    return {
        source.value: {
            target.value: f"{lifecycle.noun}.{lifecycle.towards(target)[source].past}"
            for target in statuses
            if source in lifecycle.towards(target)
        }
        for source in statuses
    }


def test_the_lifecycle_of_tasks_is_what_is_written_here() -> None:
    assert _events(TASK_LIFECYCLE, TaskStatus) == TASK_EVENTS


def test_the_lifecycle_of_plans_is_what_is_written_here() -> None:
    assert _events(PLAN_LIFECYCLE, PlanStatus) == PLAN_EVENTS


@pytest.mark.parametrize("source", TaskStatus)
async def test_a_task_goes_where_its_lifecycle_leads(
    store: PlanStore, database: Database, source: TaskStatus, subtests: pytest.Subtests
) -> None:
    plan = await plan_of(store, plan_type="parallel", auto_complete=False)
    for target in TaskStatus:
        with subtests.test(target=target):
            task = await task_of(store, plan, status=source)
            before = await all_events(database)

            if target == source:
                assert await moved(store, task, target) == task
                assert await all_events(database) == before
            elif event := TASK_EVENTS[source].get(target):
                after = await moved(store, task, target)

                assert (after.status, after.version) == (target, task.version + 1)
                (written,) = (await all_events(database))[len(before) :]
                assert (written.event_type, written.aggregate_id) == (event, task.id)
                assert written.payload["status"] == target
            else:
                async with refused(database, InvalidTransition) as error:
                    await moved(store, task, target)
                assert f"{task.id}: it is {source}; allowed now: " in str(error.value)


@pytest.mark.parametrize("source", PlanStatus)
async def test_a_plan_goes_where_its_lifecycle_leads(
    store: PlanStore, database: Database, source: PlanStatus, subtests: pytest.Subtests
) -> None:
    for target in PlanStatus:
        with subtests.test(target=target):
            plan = await plan_of(store, status="draft")
            if source != plan.status:
                plan = await set_to(store, plan, source)
            before = await all_events(database)

            if target == source:
                assert await set_to(store, plan, target) == plan
                assert await all_events(database) == before
            elif event := PLAN_EVENTS[source].get(target):
                after = await set_to(store, plan, target)

                assert (after.status, after.version) == (target, plan.version + 1)
                (written,) = (await all_events(database))[len(before) :]
                assert (written.event_type, written.aggregate_id) == (event, plan.id)
                assert written.payload["status"] == target
            else:
                async with refused(database, InvalidTransition) as error:
                    await set_to(store, plan, target)
                assert f"{plan.id}: it is {source}; allowed now: " in str(error.value)
