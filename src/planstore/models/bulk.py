"""Doing one thing to many plans or tasks: which, what, and how far it got."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final
from uuid import UUID

from pydantic import Field, StringConstraints

from planstore.models.fields import Record
from planstore.models.plan import Plan
from planstore.models.query import PlanFilter, TaskFilter
from planstore.models.task import Task

if TYPE_CHECKING:
    from pydantic import GetJsonSchemaHandler
    from pydantic.json_schema import JsonSchemaValue
    from pydantic_core import CoreSchema

MAX_REFUSALS: Final = 100
"""How many refusals an answer tells of."""

MAX_EXAMPLES: Final = 10
"""How many plans or tasks a dry run shows."""


class TaskAction(StrEnum):
    """What can be done to many tasks."""

    CANCEL = "cancel"
    """The same as `skip`: a task by itself has no other way of being called off."""
    SKIP = "skip"
    """Decide that it is not to be carried out; what waits for it goes on. A run ends."""
    RETRY = "retry"
    """Try it again, if it has failed."""
    RESET = "reset"
    """Do it again from the start; a run ends."""
    RELEASE = "release"
    """Take it back from whoever runs it."""
    DELETE = "delete"
    """Delete it."""


class PlanAction(StrEnum):
    """What can be done to many plans."""

    START = "start"
    """Let its tasks be carried out."""
    PAUSE = "pause"
    """Have it hand out no more tasks."""
    RESUME = "resume"
    """Have it hand out tasks again."""
    CANCEL = "cancel"
    """Close it: what has not started is skipped, and running tasks are asked to stop."""
    RETRY = "retry"
    """Try every failed task of it again."""
    DELETE = "delete"
    """Delete it with its tasks."""


class _OneOrMore:
    """Says in the schema of a filter what its reader knows: a value stands for a list of one."""

    def __get_pydantic_json_schema__(
        self, core_schema: CoreSchema, handler: GetJsonSchemaHandler
    ) -> JsonSchemaValue:
        schema = handler(core_schema)
        for each in handler.resolve_ref_schema(schema)["properties"].values():
            kinds = each.get("anyOf", [])
            alone = [kind["items"] for kind in kinds if kind.get("type") == "array"]
            each["anyOf"] = [*(kind for kind in alone if kind not in kinds), *kinds]
        return schema


class Bulk(Record):
    """How something is to be done to many."""

    all: bool = False
    """Says that every one is meant, where `filter` is empty."""
    force: bool = False
    """Of `delete`: in spite of what stands in the way."""
    dry_run: bool = False
    """Whether only to say how many are meant, with examples, and change nothing."""
    cursor: Annotated[str, StringConstraints(max_length=1_000)] | None = None
    """Where to go on: the `next_cursor` of the answer before."""


class TaskBulk(Bulk):
    """Something to be done to many tasks."""

    filter: Annotated[TaskFilter, _OneOrMore()] = Field(default_factory=TaskFilter)
    """Which: the same as for a list."""
    action: TaskAction
    """What: `cancel`, `skip`, `retry`, `reset`, `release` or `delete`."""


class PlanBulk(Bulk):
    """Something to be done to many plans."""

    filter: Annotated[PlanFilter, _OneOrMore()] = Field(default_factory=PlanFilter)
    """Which: the same as for a list."""
    action: PlanAction
    """What: `start`, `pause`, `resume`, `cancel`, `retry` or `delete`."""


class BulkRefusal(Record):
    """That it was refused for one of them."""

    id: UUID
    """Of the plan or task."""
    code: str
    """The kind of error, for programs."""
    detail: str
    """Why, and what is allowed."""


class BulkAnswer(Record):
    """How far it got."""

    matched: int
    """How many the filter has found, of which it …"""
    changed: int
    """… has changed so many,"""
    unchanged: int
    """found so many as they are to be, or gone,"""
    refused: int
    """and was refused so many."""
    refusals: list[BulkRefusal]
    """The first 100 that were refused, with the reasons."""
    next_cursor: str | None
    """What to send as `cursor` to go on; null where there is no more."""


class TaskBulkAnswer(BulkAnswer):
    """How far it got with tasks."""

    examples: list[Task]
    """Of a dry run: the first 10 that are meant."""


class PlanBulkAnswer(BulkAnswer):
    """How far it got with plans."""

    examples: list[Plan]
    """Of a dry run: the first 10 that are meant."""
