"""Changing a plan's structure while it runs: what is asked for, and what comes of it.

Either the operations are given (`RevisionDraft`), or the tasks as they are to be (`WantedTasks`),
from which the difference to what is there is worked out.
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from pydantic import MISSING, AfterValidator, BeforeValidator, ConfigDict, Field, model_validator
from pydantic_core import PydanticCustomError

from planstore.models.dependency import Dependencies, DependencyDraft, TaskReference
from planstore.models.fields import WHOLE, Record, ShortText, Text, shortened
from planstore.models.task import MAX_BATCH, TaskDraft, TaskDrafts, TaskFields, told_apart

RevisionNumber = Annotated[int, Field(ge=1, le=2**31 - 1), WHOLE]
Reason = Annotated[Text, Field(max_length=10_000)]


class TaskChanges(TaskFields):
    """What is to be set of a task: only the fields that are named change."""

    depends_on: Dependencies | MISSING = MISSING
    """What it is to need instead of what it needs."""


def _say_op(schema: dict[str, Any]) -> None:
    """Have the document say that `op` is given: in Python the class says it."""
    schema["required"] = ["op", *schema.get("required", ())]


class Op(Record):
    """One change of a plan's structure."""

    model_config = ConfigDict(json_schema_extra=_say_op)

    def model_post_init(self, _context: Any, /) -> None:
        """Count `op` among what is given, so that it is there where only that is written."""
        self.model_fields_set.add("op")


class AddTask(Op):
    """Adds a task."""

    op: Literal["add"] = "add"
    task: TaskDraft
    """The new task, after the plan's last one unless it says otherwise."""


class ChangeTask(Op):
    """Changes a task that isn't finished."""

    op: Literal["change"] = "change"
    task: TaskReference
    """The name or the id of the task."""
    set: TaskChanges
    """The fields that are to have another value."""
    restart: bool = False
    """Whether a run that goes on is ended, or one that failed is done again."""


class RemoveTask(Op):
    """Removes a task that isn't finished; who needed it needs what it needed."""

    op: Literal["remove"] = "remove"
    task: TaskReference
    """The name or the id of the task."""
    restart: bool = False
    """Whether it is removed even while it runs, which ends its claim."""


class SplitTask(Op):
    """Puts several tasks in the place of one that isn't finished.

    Those that need none of the others need what it needed, and who needed it needs those that none
    of the others needs.
    """

    op: Literal["split"] = "split"
    task: TaskReference
    """The name or the id of the task."""
    into: TaskDrafts = Field(min_length=1)
    """The tasks in its place. In a sequential plan they follow each other, in any other they run
    side by side, unless they say by `depends_on` or `sequence_order` what waits for what."""
    restart: bool = False
    """Whether it is split even while it runs, which ends its claim."""


class InsertTask(Op):
    """Adds a task between two others."""

    op: Literal["insert"] = "insert"
    task: TaskDraft
    """The new task."""
    after: TaskReference | None = None
    """The name or the id of the task after which it comes: who waited for that one waits for the
    new one."""
    before: TaskReference | None = None
    """The name or the id of the task before which it comes: it waits for what that one waited
    for."""

    @model_validator(mode="after")
    def _has_one_place(self) -> InsertTask:
        if (self.after is None) == (self.before is None):
            raise PydanticCustomError("one_place", "it needs either `after` or `before`")
        return self


class RewireTask(Op):
    """Has a task need others than it did."""

    op: Literal["rewire"] = "rewire"
    task: TaskReference
    """The name or the id of the task."""
    depends_on: Dependencies
    """All that it is to need."""
    restart: bool = False
    """Whether a run that goes on is ended, or one that failed is done again."""


def _grouped(value: Any) -> Any:
    return cast("Any", value) if isinstance(value, list) else [value]


TasksOfPlace = Annotated[
    list[TaskReference],
    Field(min_length=1),
    BeforeValidator(
        _grouped, json_schema_input_type=ShortText | Annotated[list[ShortText], Field(min_length=1)]
    ),
]
"""Tasks that share a place; one of them may be written without a list."""


class ReorderTasks(Op):
    """Has tasks follow each other in another order."""

    op: Literal["reorder"] = "reorder"
    order: Annotated[list[TasksOfPlace], Field(min_length=1, max_length=MAX_BATCH)]
    """Names or ids in their new order; those of a list within it share a place. Tasks that aren't
    named stay where they are."""


Operation = Annotated[
    AddTask | ChangeTask | RemoveTask | SplitTask | InsertTask | RewireTask | ReorderTasks,
    Field(discriminator="op"),
]

MAX_OPERATIONS: Final = 1_000
"""How many operations one revision may have."""


def _few_enough(operations: list[Operation]) -> list[Operation]:
    new = placed = 0
    for each in operations:
        match each:
            case SplitTask():
                new += len(each.into)
            case AddTask() | InsertTask():
                new += 1
            case ReorderTasks():
                placed += sum(map(len, each.order))
            case _:
                pass
    for what, count in (("add", new), ("reorder", placed)):
        if count > MAX_BATCH:
            raise PydanticCustomError(
                "too_many",
                "together they {what} {count} tasks; at most {limit} are allowed",
                {"what": what, "count": count, "limit": MAX_BATCH},
            )
    return operations


class RevisionRequest(Record):
    """What all ways of changing a plan's structure have in common."""

    expected_revision: RevisionNumber | None = None
    """The revision of the plan that this was made for; any if left out."""
    reason: Reason | None = None
    """Why; up to 10,000 characters."""
    by: ShortText | None = None
    """Who; 1 to 200 characters."""
    dry_run: bool = False
    """Whether it is only to be said what would come of it."""
    pause_first: bool = False
    """Whether the plan is paused with it, and so hands out nothing until it is resumed."""


class RevisionDraft(RevisionRequest):
    """Operations on a plan's structure, one after the other: all or none."""

    operations: Annotated[
        list[Operation],
        Field(min_length=1, max_length=MAX_OPERATIONS),
        AfterValidator(_few_enough),
    ]
    """1 to 1,000 operations, that add up to 10,000 tasks and reorder as many."""

    def brief(self) -> list[dict[str, Any]]:
        """Return the operations without the contents of tasks, as the history keeps them."""
        return [
            {
                name: _brief(value)
                for name, value in each
                if value is not None and value is not False
            }
            for each in self.operations
        ]


def _brief(value: Any) -> Any:
    match value:
        case TaskDraft():
            return value.name if value.name is not None else shortened(value.description)
        case TaskChanges():
            return sorted(value.named())
        case DependencyDraft():
            return value.task
        case list():
            return [_brief(each) for each in cast("list[object]", value)]
        case _:
            return value


class WantedTask(TaskFields):
    """A task as it is to be; what isn't named of one that is there stays as it is."""

    id: UUID | MISSING = MISSING
    """Which task it is, or an id of the client's own for a new one."""
    depends_on: Dependencies | MISSING = MISSING
    """All that it is to need."""
    restart: bool = False
    """Whether it is changed even while it runs, which ends its claim, or done again where it
    failed."""

    @model_validator(mode="after")
    def _can_be_found(self) -> WantedTask:
        if self.id is MISSING and (self.name is MISSING or self.name is None):
            raise PydanticCustomError(
                "nameless", "it needs a name or an id: else it would be added again each time"
            )
        return self


def _apart(wanted: list[WantedTask]) -> list[WantedTask]:
    told_apart("id", (each.id for each in wanted if each.id is not MISSING))
    told_apart("name", (each.name for each in wanted if isinstance(each.name, str)))
    return wanted


class WantedTasks(RevisionRequest):
    """All tasks of a plan as they are to be.

    Those that aren't listed are removed, unless they have no name, run, or have ended.
    """

    tasks: Annotated[list[WantedTask], Field(max_length=MAX_BATCH), AfterValidator(_apart)]
    """Up to 10,000 tasks, each with a name or an id. In a sequential plan they follow each other
    as they are listed, unless any says its `sequence_order`."""


class TaskMention(Record):
    """A task, by what tells it apart."""

    id: UUID | None
    """Null in a dry run of a new task for which the client gave none."""
    name: str | None


class RevisionAnswer(Record):
    """What came of a change of a plan's structure, or would come of it."""

    revision: int
    """The revision of the plan with it; as it was where nothing differs."""
    applied: bool
    """Whether it was made: not in a dry run."""
    added: list[TaskMention]
    """The new tasks."""
    changed: list[TaskMention]
    """Those of which anything differs: a field, their place, what they need."""
    removed: list[TaskMention]
    """Those that are no longer there."""
    restarted: list[TaskMention]
    """Those whose run was ended, or that are done again."""
    unblocked: list[TaskMention]
    """Those whose turn has come by it."""
    stranded: list[TaskMention]
    """Those that can't be carried out any more as things are: what they need has failed, was
    skipped, or is stranded itself."""
