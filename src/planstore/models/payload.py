"""What the payload of an event holds, for each type of event: the new values of changed fields.

The fields are those of `Plan` and `Task`, and which status each move leads to stands in the
lifecycles, so both are read there. `PAYLOADS` is the table of all types.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Literal
from uuid import UUID

from pydantic import MISSING, ConfigDict, Field, create_model

from planstore.models.dependency import Condition, DependencyType
from planstore.models.evaluation import Evaluation
from planstore.models.fields import Record
from planstore.models.plan import PLAN_LIFECYCLE, Plan
from planstore.models.task import TASK_LIFECYCLE, Task, TaskStatus

if TYPE_CHECKING:
    from planstore.models.lifecycle import Lifecycle


class NeededTask(Record):
    """That a task needs another one of its plan."""

    task_id: UUID
    """The task that is needed."""
    when: Condition
    """What of it lets the other one start."""
    type: DependencyType
    """Whether its output is input of the other one."""


class MadeTask(Task):
    """The task, whole, as it was made."""

    depends_on: list[NeededTask] | MISSING = MISSING
    """What it needs; left out where it needs nothing."""


class RewiredTask(Record):
    """What the task needs now."""

    depends_on: list[NeededTask]
    """All of it; empty where it needs nothing any more."""


class Nothing(Record):
    """No field at all: nothing has changed, or nothing is left."""


class _Change(Record):
    """Changed fields, of which there is at least one."""

    # Models that are made while the program runs have no source in which to look.
    model_config = ConfigDict(
        json_schema_extra={"minProperties": 1}, use_attribute_docstrings=False
    )


_NEVER_TOLD: Final = frozenset({"id", "plan_id", "version", "created_at", "updated_at"})
"""What never changes, or stands in the event itself."""


def _change(of: type[Record], meaning: str, **always: Any) -> type[Record]:
    """A payload of changed fields of ``of``.

    ``always``: those that are there in any case, each with what it may be.
    """
    names = [*always, *(set(of.model_fields) - _NEVER_TOLD - always.keys())]
    return _some(of, meaning, *sorted(names, key=[*of.model_fields].index), **always)


def _some(of: type[Record], meaning: str, *names: str, **always: Any) -> type[Record]:
    """A payload of changed fields of ``of`` that are among ``names``."""
    fields: dict[str, Any] = {}
    for name in names:
        field = of.model_fields[name]
        if name in always:
            fields[name] = (always[name], Field(description=field.description))
        else:
            kind: Any = field.annotation
            fields[name] = (kind | MISSING, Field(MISSING, description=field.description))
    return create_model(f"Changed{of.__name__}", __base__=_Change, __doc__=meaning, **fields)


def _moves(lifecycle: Lifecycle[Any], of: type[Record]) -> dict[str, type[Record]]:
    return {
        f"{lifecycle.noun}.{each.past}": _change(
            of,
            f"Its new status, and what else has changed. {each.meaning}",
            status=Literal[each.target],
        )
        for each in lifecycle.transitions
    }


PAYLOADS: Final[dict[str, type[Record]]] = {
    "plan.created": Plan,
    **_moves(PLAN_LIFECYCLE, Plan),
    "plan.paused": _change(Plan, "Since when it hands out no tasks."),
    "plan.resumed": _change(Plan, "That it hands out tasks again."),
    "plan.revised": _change(Plan, "Its new revision, and what else has changed.", revision=int),
    "plan.advanced": _some(Plan, "The step that it stands at now.", "current_step"),
    "plan.updated": _change(Plan, "What has changed."),
    "plan.usage_recorded": _some(Plan, "What its tasks have used, all together.", "usage"),
    "plan.deleted": Nothing,
    "task.created": MadeTask,
    **_moves(TASK_LIFECYCLE, Task),
    # These need not change the status: what waits for one thing may wait for another.
    "task.held": _change(Task, "That it is held, and what else has changed."),
    "task.approved": _change(Task, "Who agreed to it, and what else has changed."),
    "task.rejected": _some(Task, "Who refused it.", "approval"),
    "task.requeued": _change(
        Task,
        "That it is to be tried again: `pending`, or `blocked` where what it needs was undone.",
        status=Literal[TaskStatus.PENDING, TaskStatus.BLOCKED],
    ),
    "task.progressed": _some(Task, "How far its run is.", "progress", "progress_note"),
    "task.usage_recorded": _some(Task, "What its runs have used, all together.", "usage"),
    "task.evaluated": Evaluation,
    "task.rewired": RewiredTask,
    "task.updated": _change(Task, "What has changed."),
    "task.deleted": Nothing,
    "task.result_refused": Nothing,
}
"""By the type of an event, what its payload is."""
