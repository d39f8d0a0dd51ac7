"""Tasks: the executable units of a plan, with their status and lifecycle."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, Final
from uuid import UUID

from pydantic import MISSING, AfterValidator, Field, FiniteFloat, TypeAdapter
from pydantic_core import PydanticCustomError

from planstore.models.approval import Approval
from planstore.models.dependency import Condition, Dependencies, DependencyType, DependsOn
from planstore.models.duration import Duration
from planstore.models.fields import (
    WHOLE,
    Description,
    ErrorReport,
    JsonObject,
    Labels,
    Name,
    Order,
    Record,
    ShortText,
    Timestamp,
)
from planstore.models.lifecycle import Lifecycle, Transition
from planstore.models.retry import RetryPolicy
from planstore.models.usage import Usage

if TYPE_CHECKING:
    from collections.abc import Iterable


class TaskStatus(StrEnum):
    """Where a task stands."""

    PENDING = "pending"
    """Not started; it may be as soon as its turn comes."""
    RUNNING = "running"
    """Being carried out."""
    COMPLETED = "completed"
    """Carried out, with success."""
    FAILED = "failed"
    """Carried out, without success, and not to be tried again by itself."""
    BLOCKED = "blocked"
    """Held back: by a dependency, or by hand."""
    SKIPPED = "skipped"
    """Not to be carried out."""


class StatusReason(StrEnum):
    """Why a task stands where it does, where its status alone doesn't say it."""

    HELD = "held"
    """It is blocked by hand, until it is set to `pending` again."""
    UNMET = "dependencies"
    """It is blocked because a dependency isn't satisfied yet."""
    UNAPPROVED = "approval"
    """It is blocked because nobody has approved it yet; it may wait for dependencies as well."""
    DEAD = "dependency_dead"
    """It is skipped because a dependency can't be satisfied any more."""
    ABORTED = "plan_aborted"
    """It is skipped because another task failed, and the plan's `on_failure` is `abort`."""
    CLOSED = "plan_closed"
    """It is skipped because the plan was closed by hand."""


class SideEffects(StrEnum):
    """What running a task twice would do."""

    NONE = "none"
    """Nothing: it changes nothing outside."""
    IDEMPOTENT = "idempotent"
    """No harm: a second run does what the first one did."""
    ONCE = "once"
    """Harm: where its worker vanished it is not run again by itself."""


FINISHED: Final = frozenset({TaskStatus.COMPLETED, TaskStatus.SKIPPED})
"""Nothing more is to be done."""

ENDED: Final = FINISHED | {TaskStatus.FAILED}
"""Finished or failed: no run goes on and none is to come by itself."""

DERIVED_REASONS: Final = frozenset({StatusReason.DEAD, StatusReason.ABORTED})
"""What skips a task for as long as its cause lasts."""

SKIPPED_REASONS: Final = DERIVED_REASONS | {StatusReason.CLOSED}
"""What a task is skipped by other than by hand: it satisfies only who waits for any end."""

WAITING_REASONS: Final = frozenset({StatusReason.UNMET, StatusReason.UNAPPROVED})
"""What a task is blocked by other than by hand."""

PATIENT_REASONS: Final = frozenset({StatusReason.HELD, StatusReason.UNAPPROVED})
"""What a task is blocked by that keeps its plan from settling: somebody is to decide."""

UNSTARTED: Final = frozenset({TaskStatus.PENDING, TaskStatus.BLOCKED})
"""What closing the plan skips."""

TASK_LIFECYCLE: Final = Lifecycle(
    "task",
    (
        Transition(
            verb="start",
            past="started",
            sources=frozenset({TaskStatus.PENDING}),
            target=TaskStatus.RUNNING,
            holder_only=False,
            meaning="Begin a run.",
        ),
        Transition(
            verb="complete",
            past="completed",
            sources=UNSTARTED | {TaskStatus.RUNNING, TaskStatus.FAILED},
            target=TaskStatus.COMPLETED,
            holder_only=True,
            meaning="End it with success; its output stands.",
        ),
        Transition(
            verb="skip",
            past="skipped",
            sources=UNSTARTED | {TaskStatus.RUNNING, TaskStatus.FAILED},
            target=TaskStatus.SKIPPED,
            holder_only=False,
            meaning="Decide that it is not to be carried out; what waits for it goes on.",
        ),
        Transition(
            verb="fail",
            past="failed",
            sources=UNSTARTED | {TaskStatus.RUNNING},
            target=TaskStatus.FAILED,
            holder_only=True,
            meaning="End it without success.",
        ),
        Transition(
            verb="release",
            past="released",
            sources=frozenset({TaskStatus.RUNNING}),
            target=TaskStatus.PENDING,
            holder_only=True,
            meaning="Give the run up; the task may be started again.",
        ),
        Transition(
            verb="hold",
            past="held",
            sources=frozenset({TaskStatus.PENDING, TaskStatus.RUNNING}),
            target=TaskStatus.BLOCKED,
            holder_only=False,
            meaning="Keep it from starting until it is set to `pending` again.",
        ),
        Transition(
            verb="unhold",
            past="unheld",
            sources=frozenset({TaskStatus.BLOCKED}),
            target=TaskStatus.PENDING,
            holder_only=False,
            meaning="End the hold.",
        ),
        Transition(
            verb="approve",
            past="approved",
            sources=frozenset({TaskStatus.BLOCKED}),
            target=TaskStatus.PENDING,
            holder_only=False,
            meaning="Agree to its being carried out, where that is asked for; it stays `blocked` "
            "as long as it waits for anything else.",
            by_status=False,
        ),
        Transition(
            verb="reject",
            past="rejected",
            sources=frozenset({TaskStatus.BLOCKED}),
            target=TaskStatus.FAILED,
            holder_only=False,
            meaning="Refuse that, for good: `task.failed` follows at once.",
            by_status=False,
        ),
        Transition(
            verb="reset",
            past="reset",
            sources=ENDED,
            target=TaskStatus.PENDING,
            holder_only=False,
            meaning="Do it again from the start: times, output and error are cleared.",
        ),
        Transition(
            verb="requeue",
            past="requeued",
            sources=frozenset({TaskStatus.RUNNING}),
            target=TaskStatus.PENDING,
            holder_only=False,
            meaning="Its run failed or its lease ended, and it has retries left.",
            by_hand=False,
        ),
        Transition(
            verb="block",
            past="blocked",
            sources=frozenset({TaskStatus.PENDING, TaskStatus.RUNNING, TaskStatus.SKIPPED}),
            target=TaskStatus.BLOCKED,
            holder_only=False,
            meaning="A dependency isn't satisfied.",
            by_hand=False,
        ),
        Transition(
            verb="unblock",
            past="unblocked",
            sources=frozenset({TaskStatus.BLOCKED}),
            target=TaskStatus.PENDING,
            holder_only=False,
            meaning="The last of its dependencies is satisfied.",
            by_hand=False,
        ),
        Transition(
            verb="revive",
            past="revived",
            sources=frozenset({TaskStatus.SKIPPED}),
            target=TaskStatus.PENDING,
            holder_only=False,
            meaning="What it was skipped for has been undone.",
            by_hand=False,
        ),
    ),
)


class Task(Record):
    """One executable unit of a plan."""

    id: UUID
    """Unique; a UUIDv7 unless the client gave one."""
    plan_id: UUID
    """The plan that it belongs to, for good."""
    name: str | None
    """Unique in its plan; never reads as a UUID."""
    agent_id: UUID | None
    """The agent that is to carry it out."""
    description: str
    """What is to be done, for people and agents."""
    task_type: str | None
    """What kind of work it is, in the client's own words."""
    input_data: dict[str, Any] | None
    """What the work starts from, in any structure."""
    output_data: dict[str, Any] | None
    """What came of it; null until there is something."""
    error: str | dict[str, Any] | None
    """What went wrong; null while nothing has."""
    metadata: dict[str, Any]
    """Free JSON of the client's."""
    labels: list[str]
    """What the client files it under."""
    status: TaskStatus
    status_reason: StatusReason | None
    """Why it stands there, where the status alone doesn't say it."""
    needs_review: bool
    """Whether a person should look: its worker vanished, and it must not run twice."""
    sequence_order: int
    """Its place in the plan. In a sequential plan it waits for all tasks of a lower one; tasks
    of the same one run side by side."""
    parallel_group: str | None
    """A label that tasks share which are meant to run side by side."""
    priority: int
    """-100 to 100: of the tasks that are ready, those with the highest are handed out first."""
    not_before: datetime | None
    """It isn't handed out before that."""
    side_effects: SideEffects
    """What running it twice would do."""
    requires_approval: bool
    """Whether it waits until somebody has approved it."""
    approval: Approval | None
    """What was decided about that; null until it is. It stands until the task has completed by it
    and is done again; a rejection until the task is done again."""
    timeout_seconds: float | None
    """How long one run may take, whatever its heartbeats say; null: as long as it likes."""
    retry_policy: RetryPolicy | None
    """How often it is tried again; null: as its plan says."""
    estimated_duration: str | None
    """How long it is expected to take, as it was given."""
    attempt: int
    """How many runs have begun; 0 before the first."""
    worker_id: str | None
    """Who claimed the run that goes on, or the last one where the task has completed."""
    progress: float | None
    """How far the run is, in the worker's own measure."""
    progress_note: str | None
    """What the worker said last about it."""
    usage: Usage | None
    """The sum of what was reported for it; null until something was."""
    version: int
    """1 at first; grows by one with each change of this object. It is the ETag."""
    created_at: datetime
    updated_at: datetime
    """When this object last changed."""
    started_at: datetime | None
    """When its run began, as the client said, else as the service saw it."""
    completed_at: datetime | None
    """When it ended (completed, failed or skipped), as the client said, else as the service saw
    it."""


FencingToken = Annotated[int, Field(ge=1, le=2**63 - 1), WHOLE]
Priority = Annotated[int, Field(ge=-100, le=100), WHOLE]
Timeout = Annotated[FiniteFloat, Field(gt=0, le=86_400 * 366)]


class TaskDraft(Record):
    """A task to be added to the plan that is named beside it."""

    id: UUID | None = None
    """An id of the client's own; a UUIDv7 is made if left out."""
    name: Name | None = None
    """Unique in its plan; 1 to 200 characters, never a UUID."""
    agent_id: UUID | None = None
    """The agent that is to carry it out."""
    description: Description
    """What is to be done; not empty."""
    task_type: ShortText | None = None
    """What kind of work it is; 1 to 200 characters."""
    input_data: JsonObject | None = Field(default_factory=dict[str, Any])
    """What the work starts from: an object of any structure."""
    sequence_order: Order | None = None
    """Its place in the plan, 0 to 1,000,000,000; after the plan's last task if left out."""
    depends_on: Dependencies = Field(default_factory=list[DependsOn])
    """What it needs: ids or names of tasks of the same plan (or of the same batch), or
    `{"task", "when", "type"}`."""
    parallel_group: ShortText | None = None
    """A label that tasks share which are meant to run side by side; 1 to 200 characters."""
    priority: Priority = 0
    """-100 to 100: of the tasks that are ready, those with the highest are handed out first."""
    not_before: Timestamp | None = None
    """It isn't handed out before that."""
    side_effects: SideEffects = SideEffects.IDEMPOTENT
    """What running it twice would do: `none`, `idempotent`, or `once` where it must not be."""
    requires_approval: bool = False
    """Whether it waits, `blocked`, until somebody has approved it."""
    timeout_seconds: Timeout | None = None
    """How long one run may take, whatever its heartbeats say; up to 366 days."""
    retry_policy: RetryPolicy | None = None
    """How often it is tried again; as its plan says if left out."""
    estimated_duration: Duration | None = None
    """How long it is expected to take: `90s`, `5m`, `1h30m`, `PT5M`, or a number of seconds."""
    metadata: JsonObject = Field(default_factory=dict[str, Any])
    """Free JSON."""
    labels: Labels = Field(default_factory=list[str])
    """What to file it under: up to 50 different texts of 1 to 100 characters."""


_NAMED: Final = 10
"""How many values that tasks share are named."""


def told_apart(field: str, values: Iterable[object]) -> None:
    """Refuse that tasks share a value by which they are to be told apart."""
    if twice := [str(value) for value, count in Counter(values).items() if count > 1]:
        more = f" and {len(twice) - _NAMED} more" if len(twice) > _NAMED else ""
        raise PydanticCustomError(
            "not_apart",
            "tasks share the {field} {values}",
            {"field": field, "values": ", ".join(twice[:_NAMED]) + more},
        )


def _apart(drafts: list[TaskDraft]) -> list[TaskDraft]:
    told_apart("id", (draft.id for draft in drafts if draft.id is not None))
    told_apart("name", (draft.name for draft in drafts if draft.name is not None))
    return drafts


MAX_BATCH: Final = 10_000
"""The most tasks that may be added at once."""

TaskDrafts = Annotated[list[TaskDraft], Field(max_length=MAX_BATCH), AfterValidator(_apart)]


class TaskCreate(TaskDraft):
    """A task to be added to a plan."""

    plan_id: UUID
    """The plan that it becomes part of."""


class TaskBatch(Record):
    """Tasks to be added to a plan together: all or none."""

    plan_id: UUID
    """The plan that they become part of."""
    tasks: TaskDrafts = Field(min_length=1)
    """1 to 10,000 tasks."""


class TaskFields(Record):
    """What a task is by itself, as far as it is named: all else stays as it is.

    An explicit null clears a field that may be empty; objects are replaced whole.
    """

    name: Name | MISSING | None = MISSING
    agent_id: UUID | MISSING | None = MISSING
    description: Description | MISSING = MISSING
    task_type: ShortText | MISSING | None = MISSING
    input_data: JsonObject | MISSING | None = MISSING
    metadata: JsonObject | MISSING = MISSING
    labels: Labels | MISSING = MISSING
    sequence_order: Order | MISSING = MISSING
    parallel_group: ShortText | MISSING | None = MISSING
    priority: Priority | MISSING = MISSING
    not_before: Timestamp | MISSING | None = MISSING
    side_effects: SideEffects | MISSING = MISSING
    requires_approval: bool | MISSING = MISSING
    timeout_seconds: Timeout | MISSING | None = MISSING
    retry_policy: RetryPolicy | MISSING | None = MISSING
    estimated_duration: Duration | MISSING | None = MISSING

    def named(self) -> dict[str, Any]:
        """Return the fields that are named, with their values."""
        return {
            name: value
            for name in self.model_fields_set
            if (value := getattr(self, name)) is not MISSING
        }


class TaskUpdate(TaskFields):
    """Changes to a task: only the fields that are named change.

    An explicit null clears a field that may be empty; `input_data`, `output_data`, `metadata` and
    `labels` are replaced whole. Setting `status` moves the task through its lifecycle. Fields that
    the service keeps are accepted when they equal what is stored.
    """

    output_data: JsonObject | MISSING | None = MISSING
    error: ErrorReport | MISSING | None = MISSING
    status: TaskStatus | MISSING = MISSING
    """Starts, ends, holds or resets the task."""
    fencing_token: FencingToken | MISSING = MISSING
    """Says that the claim's holder sends this: a `status` is taken only while the claim lasts."""
    started_at: Timestamp | MISSING | None = MISSING
    completed_at: Timestamp | MISSING | None = MISSING
    id: UUID | MISSING = MISSING
    """Kept by the service, as are those below."""
    plan_id: UUID | MISSING = MISSING
    version: int | MISSING = MISSING
    created_at: Timestamp | MISSING = MISSING
    updated_at: Timestamp | MISSING = MISSING
    status_reason: StatusReason | MISSING | None = MISSING
    needs_review: bool | MISSING = MISSING
    attempt: int | MISSING = MISSING
    worker_id: str | MISSING | None = MISSING
    progress: float | MISSING | None = MISSING
    progress_note: str | MISSING | None = MISSING
    approval: Approval | MISSING | None = MISSING
    usage: Usage | MISSING | None = MISSING


class CreatedTasks(Record):
    """Tasks that were made together, in the order in which they were given."""

    tasks: list[Task]
    """Each whole."""


class Dependency(Record):
    """That a task needs another one."""

    task_id: UUID
    """The task that is needed."""
    name: str | None
    """Its name, if it has one."""
    when: Condition
    """What of it lets the other one start."""
    type: DependencyType
    """Whether its output is input of the other one."""
    status: TaskStatus
    """Where the task that is needed stands."""
    is_satisfied: bool
    """Whether it lets the other one start."""


TASK_LIST: Final = TypeAdapter(list[Task])
DEPENDENCY_LIST: Final = TypeAdapter(list[Dependency])

TASK_KEPT: Final = frozenset(
    {"id", "plan_id", "version", "created_at", "updated_at", "status_reason", "needs_review"}
    | {"attempt", "worker_id", "progress", "progress_note", "approval", "usage"}
)
"""The fields of a task that only the service changes."""
