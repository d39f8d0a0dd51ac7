"""What the events of a plan tell: how it and its tasks stood, and what its revisions made of it.

The rule by which events add up to objects stands in `Past`, and nowhere else.
"""

from __future__ import annotations

import json
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID

from planstore.models.dependency import Condition, DependencyType
from planstore.models.fields import Record
from planstore.models.plan import Plan, PlanCreate
from planstore.models.retry import RetryPolicy
from planstore.models.task import SideEffects, Task, TaskDraft, TaskFields

if TYPE_CHECKING:
    from pydantic import BaseModel

    from planstore.models.page import PlaceInPlan

STRUCTURE: Final = tuple(TaskFields.model_fields)
"""What a task is by its plan, whatever has become of it; beside it, what it needs."""

MAX_TASKS: Final = 10_000
"""How many tasks of a revision, or of a difference, are answered."""

NO_CHANGE: Final = frozenset({"task.result_refused", "task.evaluated"})
"""Events that keep what was refused or said about a task: they change nothing of it, and don't
count as a version."""


class Event(NamedTuple):
    """One change of one object, as it is kept."""

    seq: int
    event_type: str
    aggregate_type: str
    aggregate_id: UUID
    plan_id: UUID
    version: int
    """Of the object, once the change was made."""
    created_at: datetime
    payload: dict[str, Any]
    """The new values of the changed fields, whole."""
    metadata: dict[str, Any]


Fields = dict[str, Any]
"""The fields of a plan or a task as events tell them: values of JSON, and ``updated_at``."""


class Past:
    """A plan and its tasks as they stood once the events were laid on each other so far.

    These are the events of one plan in the order of ``seq``, or those of some of its tasks; at
    first there is nothing.
    """

    __slots__ = ("deleted_at", "plan", "tasks")

    def __init__(self) -> None:
        self.plan: Fields | None = None
        self.tasks: dict[UUID, Fields] = {}
        """With ``depends_on``, where a task needs others."""
        self.deleted_at: datetime | None = None
        """When the plan was deleted, if that is the last that is told of it."""

    def lay(self, event: Event) -> None:
        """Let an event have happened as well."""
        if event.event_type in NO_CHANGE:
            return
        is_of_plan = event.aggregate_type == "plan"
        match event.event_type.partition(".")[2]:
            case "created" if is_of_plan:
                self.plan, self.tasks, self.deleted_at = {**event.payload}, {}, None
            case "deleted" if is_of_plan:
                self.plan, self.tasks, self.deleted_at = None, {}, event.created_at
            case "created":
                self.tasks[event.aggregate_id] = {**event.payload}
            case "deleted":
                del self.tasks[event.aggregate_id]
            case _:
                fields = self.plan if is_of_plan else self.tasks[event.aggregate_id]
                assert fields is not None, event
                fields.update(event.payload)
                fields.update(version=event.version, updated_at=event.created_at)

    def copy(self) -> Past:
        """Return a past that goes on by itself from here."""
        other = Past()
        other.plan = None if self.plan is None else {**self.plan}
        other.tasks = {task_id: {**fields} for task_id, fields in self.tasks.items()}
        other.deleted_at = self.deleted_at
        return other


def _absent(model: type[BaseModel], draft: type[BaseModel], **kept: Any) -> Fields:
    """What fields have that are younger than an event: what a client gets that doesn't give them.

    ``kept``: those of them that a client can't give, unless they are null.
    """
    given = {
        name: field.get_default(call_default_factory=True)
        for name, field in draft.model_fields.items()
        if not field.is_required()
    }
    return {name: given.get(name, kept.get(name)) for name in model.model_fields}


_OF_PLAN: Final = _absent(Plan, PlanCreate)
_OF_TASK: Final = _absent(Task, TaskDraft, attempt=0, needs_review=False)


def plan_of(fields: Fields) -> Plan:
    """Return the plan that has these fields."""
    return Plan.model_validate(_only(_OF_PLAN, fields))


def task_of(fields: Fields) -> Task:
    """Return the task that has these fields."""
    return Task.model_validate(_only(_OF_TASK, fields))


def _only(known: Fields, fields: Fields) -> Fields:
    return {name: fields.get(name, otherwise) for name, otherwise in known.items()}


class Need(Record):
    """That a task needs another one of its plan."""

    task_id: UUID
    """The task that is needed."""
    name: str | None
    """Its name, if it had one."""
    when: Condition
    """What of it lets the other one start."""
    type: DependencyType
    """Whether its output is input of the other one."""


class PlannedTask(Record):
    """A task as its plan had it, whatever had become of it."""

    id: UUID
    name: str | None
    agent_id: UUID | None
    description: str
    task_type: str | None
    input_data: dict[str, Any] | None
    metadata: dict[str, Any]
    labels: list[str]
    sequence_order: int
    parallel_group: str | None
    priority: int
    not_before: datetime | None
    side_effects: SideEffects
    requires_approval: bool
    timeout_seconds: float | None
    retry_policy: RetryPolicy | None
    estimated_duration: str | None
    depends_on: list[Need]
    """What it needed, by the ids of the tasks."""


class Revision(Record):
    """One change of a plan's structure, in brief."""

    revision: int
    """1 is the plan as it was made."""
    created_at: datetime
    """When the change began."""
    by: str | None
    """Who made it, where that was told."""
    reason: str | None
    """Why, where that was told."""
    added: int
    """How many tasks came with it."""
    changed: int
    """How many others got another place, or another value of a field."""
    removed: int
    """How many were deleted."""
    rewired: int
    """How many others need something else than before."""


class WholeRevision(Revision):
    """One change of a plan's structure, and the structure as it made it."""

    operations: list[dict[str, Any]] | None
    """What was asked for; null where the change came by another door than the revisions'."""
    tasks: list[PlannedTask]
    """The plan's tasks as they were then, in their order."""
    is_whole: bool
    """Whether these are all; of a larger plan it is the first 10,000."""


class FieldChange(Record):
    """How a field differs."""

    old: Any
    new: Any


class ChangedTask(Record):
    """How a task differs by itself."""

    id: UUID
    name: str | None
    """As it is after the change."""
    fields: dict[str, FieldChange]
    """By the names of the fields."""


class RewiredTask(Record):
    """How a task differs in what it needs."""

    id: UUID
    name: str | None
    """As it is after the change."""
    added: list[Need]
    """What it needs, and didn't need in this way before."""
    removed: list[Need]
    """What it no longer needs in this way."""


class PlanDiff(Record):
    """How a plan's structure differs between two revisions."""

    plan_id: UUID
    from_revision: int
    to_revision: int
    added: list[PlannedTask]
    """Tasks that are new, in their order."""
    removed: list[PlannedTask]
    """Tasks that are gone, as they were."""
    changed: list[ChangedTask]
    """Tasks with another place, or another value of a field."""
    rewired: list[RewiredTask]
    """Tasks that need something else."""
    is_whole: bool
    """Whether this is all: no more than 10,000 tasks are compared."""


Names = dict[UUID, "str | None"]
"""The names of tasks, by their ids."""


class Side(NamedTuple):
    """One of two things that are compared: tasks as they were at a revision."""

    revision: int
    past: Past
    names: Names
    """Of the tasks, and of those that they needed."""


def in_order(past: Past) -> list[PlaceInPlan]:
    """Return the places of the tasks, each ending in its id, as a plan's list has them."""
    return sorted(
        (fields["sequence_order"], datetime.fromisoformat(fields["created_at"]), task_id)
        for task_id, fields in past.tasks.items()
    )


def names_in(past: Past) -> Names:
    """Return what the tasks are called."""
    return {task_id: fields.get("name") for task_id, fields in past.tasks.items()}


def needed_in(past: Past) -> set[UUID]:
    """Return the tasks that others need."""
    return {
        UUID(each["task_id"])
        for fields in past.tasks.values()
        for each in fields.get("depends_on", ())
    }


def planned(task_id: UUID, fields: Fields, names: Names) -> PlannedTask:
    """Return a task as its plan had it; ``names``: those of the tasks that it needs."""
    structure = {name: fields.get(name, _OF_TASK[name]) for name in STRUCTURE}
    needs = [
        {**each, "name": names.get(UUID(each["task_id"]))} for each in fields.get("depends_on", ())
    ]
    return PlannedTask.model_validate({"id": task_id, **structure, "depends_on": needs})


def difference(plan_id: UUID, before: Side, after: Side, *, is_whole: bool) -> PlanDiff:
    """Return what has to be done to the one to get the other."""
    old, new = _planned(before), _planned(after)
    stayed = [(old[task.id], task) for task in new.values() if task.id in old]
    return PlanDiff(
        plan_id=plan_id,
        from_revision=before.revision,
        to_revision=after.revision,
        added=[task for task in new.values() if task.id not in old],
        removed=[task for task in old.values() if task.id not in new],
        changed=[
            ChangedTask(id=task.id, name=task.name, fields=fields)
            for was, task in stayed
            if (fields := _changed(was, task))
        ],
        rewired=[
            RewiredTask(id=task.id, name=task.name, added=more, removed=less)
            for was, task in stayed
            for more in [_not_among(was.depends_on, task.depends_on)]
            for less in [_not_among(task.depends_on, was.depends_on)]
            if more or less
        ],
        is_whole=is_whole,
    )


def _planned(side: Side) -> dict[UUID, PlannedTask]:
    tasks = side.past.tasks
    return {
        task_id: planned(task_id, tasks[task_id], side.names) for *_, task_id in in_order(side.past)
    }


def _changed(was: PlannedTask, task: PlannedTask) -> dict[str, FieldChange]:
    before, after = was.model_dump(mode="json"), task.model_dump(mode="json")
    return {
        name: FieldChange(old=getattr(was, name), new=getattr(task, name))
        for name in STRUCTURE
        if _text(before[name]) != _text(after[name])
    }


def _text(value: Any) -> str:
    """A value as JSON, where ``true`` isn't ``1``; the order of an object's members is nothing."""
    return json.dumps(value, sort_keys=True)


def _not_among(others: list[Need], needs: list[Need]) -> list[Need]:
    """Those of ``needs`` that aren't there in the same way; another name is no other way."""
    there = {(each.task_id, each.when, each.type) for each in others}
    return [each for each in needs if (each.task_id, each.when, each.type) not in there]
