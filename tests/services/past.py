"""What was, remembered while it was so: to be compared with what the events tell of it later."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from planstore.errors import NotFound
from planstore.models import Plan, Task
from planstore.models.task import TaskFields
from tests.history import all_needs, all_rows

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.history import Need, PlanDiff, PlannedTask, WholeRevision
    from planstore.services.plan_store import PlanStore
    from tests.history import Needs, Rows

Structure = dict["UUID", dict[str, Any]]
"""What the tasks of a plan are by their plan."""


@dataclass(frozen=True, slots=True)
class Remembered:
    """All that there was at a time."""

    at: datetime
    rows: Rows
    needs: Needs

    def plan(self, plan_id: UUID) -> Plan | None:
        plan = self.rows.get(plan_id)
        assert not isinstance(plan, Task)
        return plan

    def tasks(self, plan_id: UUID) -> list[Task]:
        """The tasks of a plan in their order."""
        tasks = [
            row for row in self.rows.values() if isinstance(row, Task) and row.plan_id == plan_id
        ]
        return sorted(tasks, key=lambda task: (task.sequence_order, task.created_at, task.id))

    def structure(self, plan_id: UUID) -> Structure:
        return {
            task.id: {
                **_fields(task),
                "depends_on": self.needs.get(task.id, set()),
            }
            for task in self.tasks(plan_id)
        }


async def remember(database: Database) -> Remembered:
    """Look at all that there is, and at the clock."""
    rows, needs = await all_rows(database), await all_needs(database)
    async with database.connection() as conn:
        return Remembered(await conn.fetchval("select clock_timestamp()"), rows, needs)


async def assert_remembered(store: PlanStore, then: Remembered, plan_id: UUID) -> None:
    """Assert that the store still tells of a plan and its tasks as they were."""
    plan = then.plan(plan_id)
    if plan is None:
        with pytest.raises(NotFound):
            await store.get_plan(plan_id, at=then.at)
        with pytest.raises(NotFound):
            await store.list_tasks(plan_id=plan_id, at=then.at)
        return
    assert await store.get_plan(plan_id, at=then.at) == plan
    tasks = await store.list_tasks(plan_id=plan_id, at=then.at, limit=1_000)
    assert tasks == then.tasks(plan_id)


async def assert_revisions_remembered(
    store: PlanStore, memories: list[Remembered], plan_id: UUID
) -> None:
    """Assert that each revision is told of as it was made, and so is how one differs from another.

    ``memories``: of a time after each change, so that the first one at a revision is how it made
    the plan.
    """
    structures: dict[int, Structure] = {}
    for then in memories:
        if (plan := then.plan(plan_id)) is not None:
            structures.setdefault(plan.revision, then.structure(plan_id))
    for number, structure in structures.items():
        assert structure_of(await store.get_revision(plan_id, number)) == structure
    first = min(structures)
    for number in structures:
        for one, other in ((first, number), (number, first)):
            diff = await store.compare_revisions(plan_id, from_revision=one, to_revision=other)
            assert changed_by(diff, structures[one]) == structures[other], (one, other)
        assert (await store.get_revision(plan_id, number)).is_whole


def structure_of(revision: WholeRevision) -> Structure:
    return {task.id: _plain(task) for task in revision.tasks}


def _plain(task: PlannedTask) -> dict[str, Any]:
    return {**_fields(task), "depends_on": _edges(task.depends_on)}


def _fields(task: Task | PlannedTask) -> dict[str, Any]:
    return {name: getattr(task, name) for name in TaskFields.model_fields}


def _edges(needs: list[Need]) -> set[tuple[str, str, str]]:
    return {(str(each.task_id), each.when.value, each.type.value) for each in needs}


def changed_by(diff: PlanDiff, before: Structure) -> Structure:
    """What a difference makes of a structure, where all that it says is gone was there."""
    after = {task_id: {**fields} for task_id, fields in before.items()}
    for task in diff.removed:
        assert after.pop(task.id) == _plain(task)
    for changed in diff.changed:
        for name, value in changed.fields.items():
            assert after[changed.id][name] == value.old != value.new
            after[changed.id][name] = value.new
    for rewired in diff.rewired:
        less, more = _edges(rewired.removed), _edges(rewired.added)
        edges = after[rewired.id]["depends_on"]
        assert less <= edges
        assert not more & edges
        after[rewired.id]["depends_on"] = edges - less | more
    for task in diff.added:
        assert task.id not in after
        after[task.id] = _plain(task)
    return after
