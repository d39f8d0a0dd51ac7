"""Every error that PlanStore raises, each with a lasting ``code``.

    PlanStoreError
    ├── InvalidInput            the input is at fault; `faults` names every fault
    │   ├── MalformedRequest    … so much that it can't be read as HTTP
    │   ├── MalformedBody       … so much that its body can't be read as JSON
    │   ├── BodyTooLarge        … or is larger than the limit
    │   └── DependencyCycle     … tasks would wait for each other
    ├── NotFound                no such plan, task or path
    ├── HistoryGone             what is asked for was, but its events are no longer kept
    │   └── CursorGone          … and who goes on there would miss some
    ├── MethodNotAllowed        the path is known, the method isn't
    ├── Conflict                the state of things forbids it
    │   ├── InvalidTransition   … the status doesn't allow the verb
    │   ├── PlanClosed          … the plan was closed by hand
    │   ├── AlreadyExists       … the id or the name is taken
    │   ├── RevisionRefused     … the plan's structure can't be changed like that
    │   ├── ResultConflict      … the task has completed with another output
    │   ├── Claimed             … a worker holds a claim on the task
    │   ├── StaleClaim          … the claim has ended; the task may be another worker's
    │   ├── TasksRunning        … tasks run that would be deleted
    │   ├── TaskNeeded          … other tasks need the one that would be deleted
    │   └── IdempotencyInFlight … the first request with this key is still at work
    ├── VersionMismatch         the object isn't at the version that was expected
    ├── IdempotencyMismatch     the key was used for another request
    ├── Unauthorized            the API key is missing or wrong
    ├── CrossSite               a browser sent it from a foreign site
    ├── Unavailable             the database can't be reached now; try again
    └── SetupError              an operator has to do something before PlanStore can start

A message says what, which one, what it is now and what is allowed. It never holds a
destructive command, a secret, or a payload.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Final

__all__ = [
    "ERRORS_BY_CODE",
    "AlreadyExists",
    "BodyTooLarge",
    "Claimed",
    "Conflict",
    "CrossSite",
    "CursorGone",
    "DependencyCycle",
    "Fault",
    "HistoryGone",
    "IdempotencyInFlight",
    "IdempotencyMismatch",
    "InvalidInput",
    "InvalidTransition",
    "MalformedBody",
    "MalformedRequest",
    "MethodNotAllowed",
    "NotFound",
    "PlanClosed",
    "PlanStoreError",
    "ResultConflict",
    "RevisionRefused",
    "SetupError",
    "StaleClaim",
    "TaskNeeded",
    "TasksRunning",
    "Unauthorized",
    "Unavailable",
    "VersionMismatch",
]


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong with an input.

    ``pointer`` is a JSON pointer (RFC 6901) into the body, or ``"?name"`` for a query
    parameter; ``detail`` a sentence that says what is there and what is allowed.
    """

    pointer: str
    detail: str


class PlanStoreError(Exception):
    """What all errors of PlanStore have in common: a lasting ``code`` and a sentence."""

    code: ClassVar[str] = "error"
    title: ClassVar[str] = "Error"

    def __init__(self, detail: str, *, faults: tuple[Fault, ...] = ()) -> None:
        super().__init__(detail)
        self.detail = detail
        self.faults = faults


class InvalidInput(PlanStoreError):
    """The input is at fault; ``faults`` names every fault at once."""

    code = "invalid_input"
    title = "The request is not valid"


class MalformedRequest(InvalidInput):
    """The request can't be read as HTTP."""

    code = "malformed_request"
    title = "The request is not HTTP"


class MalformedBody(InvalidInput):
    """The body can't be read as JSON."""

    code = "malformed_body"
    title = "The body is not JSON"


class BodyTooLarge(InvalidInput):
    """The body is larger than the limit of its route."""

    code = "body_too_large"
    title = "The body is too large"


class DependencyCycle(InvalidInput):
    """Tasks would wait for each other; the sentence names the path."""

    code = "dependency_cycle"
    title = "The dependencies form a cycle"


class NotFound(PlanStoreError):
    """There is no such plan, task or path."""

    code = "not_found"
    title = "Not found"


class HistoryGone(PlanStoreError):
    """How it was then can't be told: the events from which it would be are no longer kept."""

    code = "history_gone"
    title = "No longer known"


class CursorGone(HistoryGone):
    """Events after the cursor are no longer kept, so who went on there would miss some."""

    code = "cursor_gone"
    title = "The cursor is older than the log"


class MethodNotAllowed(PlanStoreError):
    """The path is known, but not with this method; ``allowed`` lists those it takes."""

    code = "method_not_allowed"
    title = "Method not allowed"

    def __init__(self, detail: str, *, faults: tuple[Fault, ...] = (), allowed: str = "") -> None:
        super().__init__(detail, faults=faults)
        self.allowed = allowed


class Conflict(PlanStoreError):
    """The state of things forbids what was asked."""

    code = "conflict"
    title = "Conflict"


class InvalidTransition(Conflict):
    """The status doesn't allow the verb."""

    code = "invalid_transition"
    title = "The status does not allow this"


class PlanClosed(Conflict):
    """The plan was closed by hand; nothing starts in it until it is reopened."""

    code = "plan_closed"
    title = "The plan is closed"


class AlreadyExists(Conflict):
    """The id, or the name within the plan, is taken."""

    code = "already_exists"
    title = "It exists already"


class RevisionRefused(Conflict):
    """The plan's structure can't be changed like that; ``faults`` names all that stands against it.

    Nothing was changed.
    """

    code = "revision_refused"
    title = "The plan can't be changed like that"


class ResultConflict(Conflict):
    """The task has completed with another output, which stands."""

    code = "result_conflict"
    title = "The task has another result"


class Claimed(Conflict):
    """A worker holds a claim on the task; without its fencing token nobody else may do this."""

    code = "claimed"
    title = "The task is claimed"


class StaleClaim(Conflict):
    """The claim has ended, so what its holder sends isn't taken; it is kept as an event."""

    code = "stale_claim"
    title = "The claim has ended"


class TasksRunning(Conflict):
    """Tasks run that would be deleted; the sentence names them and their workers."""

    code = "tasks_running"
    title = "Tasks are running"


class TaskNeeded(Conflict):
    """Other tasks need the one that would be deleted; the sentence names them."""

    code = "task_needed"
    title = "Other tasks need it"


class IdempotencyInFlight(Conflict):
    """The first request with this idempotency key has not been answered yet."""

    code = "idempotency_in_flight"
    title = "The first request is still at work"


class VersionMismatch(PlanStoreError):
    """The object is no longer at the version that ``If-Match`` names."""

    code = "version_mismatch"
    title = "The object has changed"


class IdempotencyMismatch(PlanStoreError):
    """The idempotency key was used for another request."""

    code = "idempotency_mismatch"
    title = "The key belongs to another request"


class Unauthorized(PlanStoreError):
    """The API key is missing or wrong."""

    code = "unauthorized"
    title = "An API key is needed"


class CrossSite(PlanStoreError):
    """A browser sent the request from a site that isn't allowed."""

    code = "cross_site"
    title = "Cross-site requests are refused"


class Unavailable(PlanStoreError):
    """The database can't be reached or is too busy now; the request may be repeated."""

    code = "unavailable"
    title = "Not available now"


class SetupError(PlanStoreError):
    """An operator has to do something before PlanStore can start; the sentence says what."""

    code = "setup_error"
    title = "PlanStore can't start"


def _family(of: type[PlanStoreError]) -> list[type[PlanStoreError]]:
    return [of, *(kind for child in of.__subclasses__() for kind in _family(child))]


ERRORS_BY_CODE: Final = {kind.code: kind for kind in _family(PlanStoreError)}
"""The catalogue that all faces share: code → class."""
