"""What people and agents ask of a plan that goes on, or doesn't: how far it is, and why."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

from planstore.models.dependency import Condition
from planstore.models.fields import Record
from planstore.models.plan import PlanStatus
from planstore.models.task import TaskStatus

MAX_RUNNING: Final = 100
"""How many running tasks a plan's progress lists."""

MAX_NAMED: Final = 10
"""How many tasks an explanation names for each reason."""

MAX_WEIGHED: Final = 10_000
"""How many unfinished tasks are put into relation with each other. Of a larger plan the counts
are exact all the same."""

MAX_EDGES: Final = 100_000
"""How many dependencies are looked at for that."""


class TaskCounts(Record):
    """How many tasks stand where."""

    pending: int
    running: int
    completed: int
    failed: int
    blocked: int
    skipped: int


class RunningTask(Record):
    """A task that is being carried out."""

    task_id: UUID
    name: str | None
    worker_id: str | None
    """Who holds the claim; null where it was started by hand."""
    attempt: int
    """1 for the first run."""
    started_at: datetime | None
    """When the run began, as the client said, else as the service saw it."""
    lease_expires_at: datetime | None
    """When the claim ends unless it is renewed; null where there is none."""
    progress: float | None
    """How far the run is, in the worker's own measure."""
    progress_note: str | None
    """What the worker said last about it."""


class Basis(StrEnum):
    """What an estimate rests on."""

    MEASURED = "measured"
    """How long tasks of the plan have taken."""
    ESTIMATED = "estimated"
    """The tasks' `estimated_duration`, for none that was measured has completed yet."""
    NONE = "none"
    """There is no estimate."""


class Progress(Record):
    """How far a plan is."""

    plan_id: UUID
    status: PlanStatus
    current_step: int
    paused_at: datetime | None
    """Since when it hands out no tasks; null where it isn't paused."""
    total: int
    """How many tasks it has."""
    counts: TaskCounts
    """How many of them stand where."""
    percent: float
    """100 times the finished ones (completed or skipped) by all, to one decimal; 0 of none."""
    ready: int
    """How many may be claimed now."""
    waiting_for_time: int
    """How many wait for nothing but a time: their `not_before`, or the end of a backoff."""
    retrying: int
    """How many are pending again after a run that failed."""
    running: list[RunningTask]
    """Those that run, longest first; 100 at most. `counts.running` says how many there are."""
    estimated_end: datetime | None
    """When all that can go on by itself will have ended, by the database's clock.

    `now + max(longest path, work / parallelism)`. A task takes as long as the completed ones of
    its `task_type` did on average, else as all completed ones of the plan, else as its
    `estimated_duration` says, else as those of the others say on average; of a running one, what
    it has had already is taken off. The longest path leads along dependencies, and from order to
    order in a sequential plan; the work is the sum over all that is left, and the parallelism how
    many run now, or else `max_parallel_tasks`. What waits for a task that failed, is held or is
    still to be approved isn't counted. Null where nothing is left or nothing is known, where the
    plan hands out nothing (a draft, paused, ended), and where more than 10,000 tasks or 100,000
    dependencies are left.
    """
    basis: Basis
    """What the estimate rests on."""


class ReasonCode(StrEnum):
    """Why a task or a plan stands where it does; each is lasting."""

    RUNNING = "running"
    """It runs; of a plan: tasks of it do."""
    COMPLETED = "completed"
    """It is completed."""
    FAILED = "failed"
    """It failed, and isn't tried again by itself; of a plan: tasks of it did."""
    SKIPPED = "skipped"
    """It was skipped by hand."""
    DEPENDENCY_DEAD = "dependency_dead"
    """It was skipped because what it needs can't come any more."""
    PLAN_ABORTED = "plan_aborted"
    """A task failed, and the plan's `on_failure` is `abort`."""
    PLAN_CLOSED = "plan_closed"
    """The plan was closed by hand."""
    PLAN_SETTLED = "plan_settled"
    """The plan ended by itself: all is finished, or nothing could become ready any more."""
    PLAN_DRAFT = "plan_draft"
    """The plan hasn't been started."""
    PLAN_PAUSED = "plan_paused"
    """The plan is paused, since `since`."""
    NO_TASKS = "no_tasks"
    """The plan has none."""
    ALL_FINISHED = "all_finished"
    """All tasks are finished; the plan stays open because its `auto_complete` is false."""
    HELD = "held"
    """It is held by hand, until it is set to `pending`; of a plan: tasks of it are."""
    APPROVAL = "approval"
    """It waits until somebody approves it, or rejects it; of a plan: tasks of it do."""
    DEPENDENCIES = "dependencies"
    """It waits for `tasks`, which it needs; of a plan: tasks of it wait so."""
    SEQUENCE = "sequence"
    """Its turn hasn't come: `tasks` of a lower `sequence_order` aren't finished."""
    NOT_BEFORE = "not_before"
    """It isn't to start before `until`."""
    BACKOFF = "backoff"
    """Its last run failed, and it is tried again from `until` on."""
    PLAN_LIMIT = "plan_limit"
    """The plan's `max_parallel_tasks` is `limit`, and `tasks` take all these places."""
    READY = "ready"
    """It may be claimed, since `since`; nobody has."""


class TaskStanding(Record):
    """A task that an explanation names, and what it is at."""

    task_id: UUID
    name: str | None
    status: TaskStatus
    when: Condition | None
    """What of it is needed; null where that isn't the point."""
    worker_id: str | None
    """Who runs it, or ran it last."""
    attempt: int
    """How many runs have begun."""
    since: datetime | None
    """Since when it runs, may be claimed, or has ended."""
    until: datetime | None
    """Until when its lease lasts, or when it may start."""
    holds_back: int | None
    """How many unfinished tasks wait for it, directly or through others; null where that wasn't
    counted."""
    detail: str
    """The same as a clause: `worker w1 has been running it since 10:04:11Z (attempt 2)`."""


class Reason(Record):
    """One reason, in words and in data."""

    code: ReasonCode
    detail: str
    """A sentence."""
    tasks: list[TaskStanding]
    """The tasks concerned, ten at most."""
    count: int
    """How many tasks are concerned."""
    since: datetime | None
    """Since when it is so."""
    until: datetime | None
    """When it ends by itself."""
    limit: int | None
    """How many are allowed."""


class TaskExplanation(Record):
    """Why a task isn't running, or that it is."""

    task_id: UUID
    plan_id: UUID
    name: str | None
    status: TaskStatus
    sentence: str
    """The first reason, with what is behind it."""
    reasons: list[Reason]
    """All of them, the most important first."""
    blockers: list[TaskStanding]
    """What it waits for in the end: tasks that wait for no other one, and which others that it
    waits for wait for in turn; what needs somebody's hand first, ten at most."""
    would_unblock: int
    """How many tasks wait for this one, directly or through others; 10,000 at most are counted."""


class FailedTask(Record):
    """A task that failed."""

    task_id: UUID
    name: str | None
    attempt: int
    """How many runs it had."""
    failed_at: datetime | None
    needs_review: bool
    """Whether a person should look: its worker vanished, and it must not run twice."""
    error: str | None
    """The beginning of what went wrong, 200 characters at most."""


class PlanExplanation(Record):
    """Why a plan isn't going on, or that it is."""

    plan_id: UUID
    status: PlanStatus
    sentence: str
    """The first reason, with what is behind it."""
    reasons: list[Reason]
    """All of them, the most important first."""
    blockers: list[TaskStanding]
    """The unfinished tasks that wait for no other one, those that hold back the most first; ten at
    most."""
    unblocks_most: TaskStanding | None
    """The first of them; null where none holds anything back, and where more than 10,000 tasks or
    100,000 dependencies are left, so that this isn't counted."""
    failed: list[FailedTask]
    """The tasks that failed, the last ones first; ten at most."""
