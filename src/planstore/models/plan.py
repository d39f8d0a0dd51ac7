"""Plans: a strategy for a goal, with its status and its lifecycle."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import MISSING, Field

from planstore.models.budget import Budget, PauseReason
from planstore.models.fields import (
    WHOLE,
    JsonObject,
    Labels,
    Order,
    Record,
    ShortText,
    Steps,
    Timestamp,
)
from planstore.models.lifecycle import Lifecycle, Transition
from planstore.models.retry import RetryPolicy
from planstore.models.task import TaskDraft, TaskDrafts
from planstore.models.usage import Usage


class PlanStatus(StrEnum):
    """Where a plan stands."""

    DRAFT = "draft"
    """Created, not started."""
    ACTIVE = "active"
    """Being carried out: its ready tasks may be started."""
    COMPLETED = "completed"
    """All tasks are finished, or it was closed as completed."""
    FAILED = "failed"
    """Nothing can become ready any more, or it was closed as failed."""
    CANCELLED = "cancelled"
    """Closed before its end, on purpose."""


class OnFailure(StrEnum):
    """What a task that failed for good does to the rest of its plan."""

    BLOCK = "block"
    """Those that need its success stay blocked, for it may be retried; the others go on."""
    SKIP = "skip"
    """Those that need its success are skipped, and those that need theirs in turn."""
    ABORT = "abort"
    """All that has not started is skipped; running tasks are asked to stop."""


SETTLED: Final = frozenset({PlanStatus.COMPLETED, PlanStatus.FAILED})
"""What an active plan becomes by itself when nothing is left to do."""

FINAL: Final = SETTLED | {PlanStatus.CANCELLED}
"""What a plan is when it was closed by hand, or settled."""

SEQUENTIAL: Final = "sequential"
"""The plan type whose tasks wait for all tasks of a lower ``sequence_order``."""

PLAN_LIFECYCLE: Final = Lifecycle(
    "plan",
    (
        Transition(
            verb="start",
            past="started",
            sources=frozenset({PlanStatus.DRAFT}),
            target=PlanStatus.ACTIVE,
            holder_only=False,
            meaning="Let its tasks be carried out; starting or ending one of them does it too.",
        ),
        Transition(
            verb="complete",
            past="completed",
            sources=frozenset(PlanStatus) - {PlanStatus.COMPLETED},
            target=PlanStatus.COMPLETED,
            holder_only=False,
            meaning="Close it as a success; an active plan does it by itself when all its tasks "
            "are finished.",
        ),
        Transition(
            verb="fail",
            past="failed",
            sources=frozenset(PlanStatus) - {PlanStatus.FAILED},
            target=PlanStatus.FAILED,
            holder_only=False,
            meaning="Close it as a failure; an active plan does it by itself when nothing can "
            "become ready any more.",
        ),
        Transition(
            verb="cancel",
            past="cancelled",
            sources=frozenset(PlanStatus) - {PlanStatus.CANCELLED},
            target=PlanStatus.CANCELLED,
            holder_only=False,
            meaning="Close it, with what it has come to.",
        ),
        Transition(
            verb="reopen",
            past="reopened",
            sources=FINAL,
            target=PlanStatus.ACTIVE,
            holder_only=False,
            meaning="Let it be carried out again; adding or resetting a task does it too, unless "
            "the plan was closed by hand.",
        ),
    ),
)

PlanTypeName = ShortText
MaxParallel = Annotated[int, Field(ge=1, le=1_000_000), WHOLE]


class Plan(Record):
    """A strategy for a goal: ordered steps, a status, a revision."""

    id: UUID
    """Unique; a UUIDv7 unless the client gave one."""
    goal_id: UUID | None
    """The goal that the plan serves."""
    agent_id: UUID | None
    """The agent that is to carry it out."""
    plan_type: str
    """`sequential`: tasks wait for those of a lower `sequence_order`. Any other value: only
    dependencies hold tasks back."""
    steps: list[dict[str, Any]]
    """The steps, in order, in any structure; the service doesn't look inside."""
    status: PlanStatus
    current_step: int
    """0 at first, then the lowest `sequence_order` with unfinished tasks; a value that a client
    gave stands until that is higher."""
    metadata: dict[str, Any]
    """Free JSON of the client's."""
    labels: list[str]
    """What the client files it under."""
    template: str | None
    """The name of the template that it was made of; null where it was made without one."""
    template_version: int | None
    """The version of that template."""
    auto_complete: bool
    """Whether the plan becomes `completed` or `failed` by itself."""
    on_failure: OnFailure
    """What a task that failed for good does to the rest of the plan."""
    max_parallel_tasks: int | None
    """How many tasks may be ready or running at a time; null: any number."""
    retry_policy: RetryPolicy | None
    """How often a task is tried again that says nothing of it itself; null: the defaults."""
    budget: Budget | None
    """What it may take before it is paused; null: as much as it likes."""
    usage: Usage | None
    """The sum of what was reported for its tasks, also for those that are deleted since; null until
    something was."""
    paused_at: datetime | None
    """Since when it hands out no tasks; null where it isn't paused."""
    pause_reason: PauseReason | None
    """What of its budget is reached, where it is paused for that; null where it is by hand."""
    revision: int
    """1 at first; grows by one with each call that changes the plan's structure."""
    version: int
    """1 at first; grows with each change of this object. It is the ETag."""
    created_at: datetime
    updated_at: datetime
    """When this object last changed."""
    closed_at: datetime | None
    """When the plan was closed by hand; null where it settled by itself, or is open."""


class PlanDraft(Record):
    """What a plan is by itself, before anything has become of it."""

    id: UUID | None = None
    """An id of the client's own; a UUIDv7 is made if left out."""
    goal_id: UUID | None = None
    """The goal that the plan serves."""
    agent_id: UUID | None = None
    """The agent that is to carry it out."""
    plan_type: PlanTypeName = SEQUENTIAL
    """`sequential`, or free text such as `parallel` or `dag`; 1 to 200 characters."""
    steps: Steps = Field(default_factory=list[dict[str, Any]])
    """A list of objects of any structure."""
    current_step: Order = 0
    """The step that the plan stands at."""
    metadata: JsonObject = Field(default_factory=dict[str, Any])
    """Free JSON."""
    labels: Labels = Field(default_factory=list[str])
    """What to file it under: up to 50 different texts of 1 to 100 characters."""
    auto_complete: bool = True
    """Whether the plan becomes `completed` or `failed` by itself."""
    on_failure: OnFailure = OnFailure.BLOCK
    """What a task that failed for good does to the rest of the plan: `block`, `skip`, `abort`."""
    max_parallel_tasks: MaxParallel | None = None
    """How many tasks may be ready or running at a time, 1 to 1,000,000; any number if left out."""
    retry_policy: RetryPolicy | None = None
    """How often a task is tried again that says nothing of it itself."""
    budget: Budget | None = None
    """What it may take before it is paused; as much as it likes if left out."""


class PlanCreate(PlanDraft):
    """A plan to be made."""

    status: Literal[PlanStatus.DRAFT, PlanStatus.ACTIVE] = PlanStatus.DRAFT
    """`draft`, or `active` to start at once."""
    tasks: TaskDrafts = Field(default_factory=list[TaskDraft])
    """Tasks to be made with it, 10,000 at most: all or nothing."""
    expand: bool = False
    """Whether `steps` are made into tasks too."""


class PlanUpdate(Record):
    """Changes to a plan: only the fields that are named change.

    An explicit null clears `goal_id` or `agent_id`; `steps`, `metadata` and `labels` are replaced
    whole.
    Fields that the service keeps are accepted when they equal what is stored.
    """

    goal_id: UUID | MISSING | None = MISSING
    agent_id: UUID | MISSING | None = MISSING
    plan_type: PlanTypeName | MISSING = MISSING
    steps: Steps | MISSING = MISSING
    status: PlanStatus | MISSING = MISSING
    """Starts, closes or reopens the plan."""
    current_step: Order | MISSING = MISSING
    metadata: JsonObject | MISSING = MISSING
    labels: Labels | MISSING = MISSING
    auto_complete: bool | MISSING = MISSING
    on_failure: OnFailure | MISSING = MISSING
    max_parallel_tasks: MaxParallel | MISSING | None = MISSING
    retry_policy: RetryPolicy | MISSING | None = MISSING
    budget: Budget | MISSING | None = MISSING
    """Replaced whole. A plan that its budget has paused goes on once it has more than that."""
    id: UUID | MISSING = MISSING
    """Kept by the service, as are those below."""
    revision: int | MISSING = MISSING
    version: int | MISSING = MISSING
    created_at: Timestamp | MISSING = MISSING
    updated_at: Timestamp | MISSING = MISSING
    closed_at: Timestamp | MISSING | None = MISSING
    paused_at: Timestamp | MISSING | None = MISSING
    pause_reason: PauseReason | MISSING | None = MISSING
    usage: Usage | MISSING | None = MISSING
    template: str | MISSING | None = MISSING
    template_version: int | MISSING | None = MISSING


PLAN_KEPT: Final = frozenset(
    {"id", "revision", "version", "created_at", "updated_at", "closed_at", "paused_at"}
    | {"template", "template_version", "pause_reason", "usage"},
)
"""The fields of a plan that only the service changes."""
