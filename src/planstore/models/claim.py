"""Claims: the exclusive, time-limited right of a worker to run a task."""

from __future__ import annotations

from collections import Counter
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, Final, Protocol, TypeVar
from uuid import UUID

from pydantic import AfterValidator, Field, FiniteFloat, TypeAdapter
from pydantic_core import PydanticCustomError

from planstore.models.dependency import Condition, DependencyType
from planstore.models.fields import WHOLE, ErrorReport, JsonObject, Record, ShortText, Text
from planstore.models.task import FencingToken, Task, TaskStatus
from planstore.models.usage import UsageReport

MAX_CLAIMS: Final = 1_000
"""How many tasks one claim may ask for, and one heartbeat or report may name."""

MAX_WAIT: Final = 60
"""Seconds that a claim may wait for work."""

MAX_PACKET_OUTPUT: Final = 256 * 1024
"""Bytes of the outputs of all dependencies in one work packet; those beyond are links."""

MAX_BOUND_INPUT: Final = 8 * 1024 * 1024
"""Bytes that bindings may fill into one task's input."""

PREVIOUS_ATTEMPTS: Final = 10
"""How many earlier attempts a work packet tells of; all of them can be asked for."""

LeaseSeconds = Annotated[FiniteFloat, Field(ge=1, le=3_600)]
RetrySeconds = Annotated[FiniteFloat, Field(ge=0, le=86_400 * 366)]
Progress = Annotated[FiniteFloat, Field(ge=0)]
Note = Annotated[Text, Field(max_length=10_000)]


class ClaimRequest(Record):
    """Asks for ready tasks: highest priority first, then longest ready."""

    worker_id: ShortText
    """Who asks: any text that tells workers apart; 1 to 200 characters."""
    limit: Annotated[int, Field(ge=1, le=MAX_CLAIMS), WHOLE] = 1
    """How many tasks at most, 1 to 1,000."""
    lease_seconds: LeaseSeconds = 60.0
    """How long each claim lasts unless it is renewed, 1 to 3,600."""
    plan_id: UUID | None = None
    """Only tasks of this plan."""
    agent_id: UUID | None = None
    """Only tasks of this agent, or of nobody; of any if left out."""
    task_types: Annotated[list[ShortText], Field(min_length=1, max_length=100)] | None = None
    """Only tasks of these types; of any if left out."""
    wait_seconds: Annotated[FiniteFloat, Field(ge=0, le=MAX_WAIT)] = 0.0
    """How long to wait for work where there is none, up to 60."""


class NeededTask(Record):
    """What a task needed, with what came of it."""

    task_id: UUID
    name: str | None
    when: Condition
    type: DependencyType
    status: TaskStatus
    is_satisfied: bool
    output_data: dict[str, Any] | None
    """Its output; null also where the outputs of all dependencies exceed 256 KiB together."""
    output_link: str | None
    """Where its output is to be had, if it isn't here."""


class Outcome(StrEnum):
    """How an attempt ended."""

    COMPLETED = "completed"
    FAILED = "failed"
    SKIPPED = "skipped"
    RELEASED = "released"
    LEASE_ENDED = "lease_ended"
    TIMED_OUT = "timed_out"
    OVERRIDDEN = "overridden"
    """Somebody took the task back by hand."""


class Attempt(Record):
    """One run of a task."""

    attempt: int
    """1 for the first."""
    worker_id: str | None
    """Who ran it; null where it was started by hand."""
    began_at: datetime
    """By the database's clock, as is the end."""
    ended_at: datetime | None
    """Null while it goes on."""
    outcome: Outcome | None
    """Null while it goes on."""
    error: str | dict[str, Any] | None
    """What went wrong."""


class WorkPacket(Task):
    """A task that was handed out, with all that its worker needs."""

    fencing_token: int
    """Proves the claim: to be sent along with each report. It only ever grows."""
    lease_expires_at: datetime
    """When the claim ends unless it is renewed."""
    plan_revision: int
    """The revision of the plan as it was handed out."""
    resolved_input: dict[str, Any] | None
    """`input_data` with its bindings filled in."""
    dependencies: list[NeededTask]
    """What the tasks that it needs have produced."""
    previous_attempts: list[Attempt]
    """The last ten of its earlier attempts, oldest first."""
    traceparent: str | None = None
    """The span that handed it out, as W3C Trace Context has it, for the worker's own to go on from;
    null where the service isn't traced."""


PACKETS: Final = TypeAdapter(list[WorkPacket])


class ClaimAnswer(Record):
    """What was handed out."""

    tasks: list[WorkPacket]
    """Empty where there was nothing."""


class _OfTask(Protocol):
    @property
    def task_id(self) -> UUID: ...


E = TypeVar("E", bound=_OfTask)


def _told_apart(entries: list[E]) -> list[E]:
    counts = Counter(each.task_id for each in entries)
    for task_id, count in counts.items():
        if count > 1:
            raise PydanticCustomError(
                "not_apart",
                "task {task_id} is named {count} times",
                {"task_id": str(task_id), "count": count},
            )
    return entries


class HeartbeatClaim(Record):
    """A claim that goes on."""

    task_id: UUID
    fencing_token: FencingToken
    progress: Progress | None = None
    """How far the run is, in the worker's own measure: percent, a fraction, pages."""
    note: Note | None = None
    """What to say about it; up to 10,000 characters."""
    usage: UsageReport | None = None
    """What the run has taken since the last report."""


class Heartbeat(Record):
    """Renews claims, each for as long as it was made for."""

    worker_id: ShortText
    """Who holds them."""
    claims: Annotated[
        list[HeartbeatClaim],
        Field(min_length=1, max_length=MAX_CLAIMS),
        AfterValidator(_told_apart),
    ]
    """1 to 1,000 claims, of different tasks."""


class ClaimState(StrEnum):
    """What became of a claim that a heartbeat named."""

    RENEWED = "renewed"
    LOST = "lost"
    """It has ended: what the run still does is no longer wanted."""
    STOP = "stop"
    """It is renewed, but its plan was closed or aborted: the run should end soon."""


class RenewedClaim(Record):
    """A claim after a heartbeat."""

    task_id: UUID
    state: ClaimState
    lease_expires_at: datetime | None
    """When it ends now; null where it is lost."""


class HeartbeatAnswer(Record):
    """The claims of a heartbeat, in its order."""

    claims: list[RenewedClaim]


class Release(Record):
    """Gives a run up; the task is ready again at once."""

    fencing_token: FencingToken | None = None
    """That of the claim; left out where there is none."""
    usage: UsageReport | None = None
    """What the run has taken since the last report."""
    claim_next: ClaimRequest | None = None
    """Asks for the next tasks in the same request; under an Idempotency-Key it doesn't wait."""


class Completion(Release):
    """Ends a run with success."""

    output_data: JsonObject | None = None
    """What came of it; what the task has already stands if left out."""


class Failure(Release):
    """Ends a run without success."""

    error: ErrorReport
    """What went wrong: a text, or an object with `message`."""
    retryable: bool = True
    """Whether trying again may help; retries are used only then."""
    retry_in_seconds: RetrySeconds | None = None
    """How long to wait before that; by the retry policy if left out."""


class Reset(Record):
    """Does a task again from the start."""

    dependents: bool = False
    """Whether all that followed begins anew as well: what needs it, directly or not, and in a
    sequential plan every task of a later order."""


class Result(Record):
    """That one task of many has completed."""

    task_id: UUID
    fencing_token: FencingToken | None = None
    output_data: JsonObject | None = None
    usage: UsageReport | None = None
    """What the run has taken since the last report."""


class Results(Record):
    """Ends many runs with success."""

    results: Annotated[
        list[Result], Field(min_length=1, max_length=MAX_CLAIMS), AfterValidator(_told_apart)
    ]
    """1 to 1,000 results, of different tasks."""
    claim_next: ClaimRequest | None = None
    """Asks for the next tasks in the same request; under an Idempotency-Key it doesn't wait."""


class ErrorSummary(Record):
    """Why something was refused."""

    code: str
    """Lasting; see the list of errors."""
    detail: str


class TakenResult(Record):
    """What became of one result."""

    task_id: UUID
    ok: bool
    status: TaskStatus | None = None
    """Where the task stands now; null where there is no such task."""
    error: ErrorSummary | None = None
    """Why the result wasn't taken."""


class ResultsAnswer(Record):
    """What became of many results, in their order."""

    results: list[TakenResult]
    unblocked: list[UUID]
    """The tasks whose turn has come by it."""
    tasks: list[WorkPacket]
    """What `claim_next` handed out."""


class EndedTask(Task):
    """A task whose run has ended, with what followed."""

    unblocked: list[UUID]
    """The tasks whose turn has come by it."""
    tasks: list[WorkPacket]
    """What `claim_next` handed out."""
