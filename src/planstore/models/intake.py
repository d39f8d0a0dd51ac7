"""Plans that come from elsewhere and go there: formats, answers, PlanStore's own JSON."""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

from pydantic import ConfigDict, Field, FiniteFloat

from planstore.models.fields import (
    Description,
    ErrorReport,
    JsonObject,
    Record,
    ShortText,
    Timestamp,
)
from planstore.models.plan import Plan, PlanDraft, PlanStatus
from planstore.models.task import ENDED, StatusReason, TaskDraft, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Mapping


class ImportFormat(StrEnum):
    """How a file tells of a plan."""

    LLM = "llm"
    """What a language model answers: `GET /schemas/plan`, alone or with text around it."""
    TASKMASTER = "taskmaster"
    """The `tasks.json` of task-master."""
    MARKDOWN = "markdown"
    """A checklist in Markdown."""
    WFFORMAT = "wfformat"
    """A scientific workflow in WfFormat 1.5."""
    PLANSTORE = "planstore"
    """What an export to JSON gives."""


class ExportFormat(StrEnum):
    """How a plan is told to others."""

    JSON = "json"
    """All that an import needs to make the same plan again."""
    MARKDOWN = "markdown"
    """A checklist for people."""
    MERMAID = "mermaid"
    """A flowchart that Mermaid draws."""
    DOT = "dot"
    """A graph that Graphviz draws."""


MEDIA_TYPES: Final = {
    ExportFormat.JSON: "application/json",
    ExportFormat.MARKDOWN: "text/markdown; charset=utf-8",
    ExportFormat.MERMAID: "text/vnd.mermaid; charset=utf-8",
    ExportFormat.DOT: "text/vnd.graphviz; charset=utf-8",
}
"""The media type of each format, as IANA has registered it."""

MAX_TASKS: Final = 1_000_000
"""How many tasks one file may have."""

MAX_EDGES: Final = 5_000_000
"""How many dependencies one file may have: what is nested needs what is around it needs."""

MAX_LEVELS: Final = 32
"""How deep tasks may be nested in a file."""


class Imported(Record):
    """What came of an import, or would come of it."""

    dry_run: bool
    """Whether nothing was made."""
    plan: Plan | None
    """The plan that was made; null after a dry run."""
    tasks: int
    """How many tasks the file has."""
    dependencies: int
    """How many dependencies they have."""
    finished: int
    """How many of them are finished already, by what the file says."""


class ImportOrder(Record):
    """What is asked of an import, for telling its repetition."""

    format: ImportFormat
    status: Literal[PlanStatus.DRAFT, PlanStatus.ACTIVE] | None
    digest: str
    """The SHA-256 of the file, in hexadecimal digits."""


class AnsweredTask(Record):
    """One task of a plan that a language model made of a goal."""

    model_config = ConfigDict(extra="allow")  # what has no place of its own is kept as metadata

    id: Annotated[ShortText | int, Field(union_mode="left_to_right")]
    """A short id that no other task of the plan has, such as `fetch`; others name it by this."""
    name: ShortText | None = None
    """A title of a few words."""
    description: Description | None = None
    """What is to be done, and when it is done, for who will do it without knowing more."""
    type: ShortText | None = None
    """What kind of work it is, in one or two words."""
    dependencies: list[Annotated[ShortText | int, Field(union_mode="left_to_right")]] | None = None
    """The ids of the tasks that must be completed before; without a cycle. Leave out what is needed
    by way of another one."""
    inputs: JsonObject | list[Any] | str | None = None
    """What the work starts from. `{{id.path}}` in a text takes what the task `id` has put out."""
    timeout_seconds: FiniteFloat | None = None
    """How long one run may take at most, in seconds."""


class AnsweredPlan(Record):
    """A plan that a language model made of a goal: tasks, and what each of them needs."""

    model_config = ConfigDict(extra="allow")

    tasks: list[AnsweredTask] = Field(min_length=1)
    """All that is to be done: each task small enough for one worker to do in one go."""


class PortedPlan(PlanDraft):
    """A plan as an export tells of it."""

    status: PlanStatus = PlanStatus.DRAFT
    """Where it stands: a final one is closed once its tasks are made, unless it settles."""
    paused: bool = False
    """Whether it hands out no tasks."""


class PortedTask(TaskDraft):
    """A task as an export tells of it: what it is, and what came of it."""

    ref: ShortText | None = None
    """What others of this file call it, where it has no name."""
    status: TaskStatus = TaskStatus.PENDING
    """`completed`, `failed` and `skipped` stand; so does `blocked` where it is held. All else
    follows from the other tasks."""
    status_reason: StatusReason | None = None
    """Why, where the status alone doesn't say it."""
    output_data: JsonObject | None = None
    """What came of it."""
    error: ErrorReport | None = None
    """What went wrong."""
    needs_review: bool = False
    """Whether a person should look."""
    started_at: Timestamp | None = None
    completed_at: Timestamp | None = None


class PortedFile(Record):
    """PlanStore's own JSON: a plan with its tasks, without ids, times of change and runs."""

    format: Literal["planstore/1"]
    """What this is, and which version of it."""
    plan: PortedPlan = PortedPlan()
    """The plan by itself."""
    tasks: list[PortedTask]
    """Its tasks, in their order."""


_STANDING: Final[Mapping[TaskStatus, frozenset[StatusReason | None]]] = {
    **dict.fromkeys(ENDED, frozenset({None})),
    TaskStatus.SKIPPED: frozenset({None, StatusReason.CLOSED}),
    TaskStatus.BLOCKED: frozenset({StatusReason.HELD}),
}


def stands(status: TaskStatus, reason: StatusReason | None) -> bool:
    """Whether where a task stands is told of it.

    All else follows from the other tasks, or is a run, which goes on nowhere else.
    """
    return reason in _STANDING.get(status, ())


OWN_FORMAT: Final = "planstore/1"
"""What PlanStore's own JSON says of itself."""
