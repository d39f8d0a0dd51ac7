"""Why a statement changed nothing, said as an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from planstore.errors import (
    AlreadyExists,
    Claimed,
    Fault,
    InvalidInput,
    InvalidTransition,
    NotFound,
    PlanClosed,
    ResultConflict,
    StaleClaim,
    TaskNeeded,
    TasksRunning,
    TemplateArchived,
    VersionMismatch,
)
from planstore.models.approval import Decision
from planstore.models.fields import NO_VERSION, shortened
from planstore.models.graph import nearest
from planstore.models.plan import PLAN_LIFECYCLE, PlanStatus
from planstore.models.task import (
    DERIVED_REASONS,
    TASK_LIFECYCLE,
    UNSTARTED,
    StatusReason,
    TaskStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from asyncpg import UniqueViolationError

    from planstore.errors import PlanStoreError
    from planstore.models.plan import Plan, PlanUpdate
    from planstore.models.task import Task, TaskUpdate
    from planstore.models.webhook import Webhook, WebhookUpdate
    from planstore.sql.connection import Row, RowLike
    from planstore.sql.tasks import Ending


_KEY_VALUES: Final = re.compile(r"\)=\((.*)\)", re.DOTALL)


NAMED: Final = 5
"""How many tasks a sentence names."""


class KeyTaken(Exception):
    """The idempotency key was used before."""


def budget_reached(plan_id: UUID, limit: str) -> InvalidTransition:
    return InvalidTransition(
        f"cannot resume plan {plan_id}: it has reached the {limit} of its budget; it goes on by "
        "itself once that is raised, or the budget is set to null"
    )


def no_plan(plan_id: UUID) -> NotFound:
    return NotFound(f"there is no plan {plan_id}")


def no_task(task_id: UUID) -> NotFound:
    return NotFound(f"there is no task {task_id}")


def no_template(name: str, known: Iterable[str]) -> NotFound:
    near = nearest(name, known)
    hint = f"; did you mean {near!r}?" if near else ""
    return NotFound(f"there is no template {shortened(name)!r}{hint}")


def no_version(name: str, version: int, *, latest: int) -> NotFound:
    return NotFound(f"template {name!r} has no version {version}; it has 1 to {latest}")


def template_archived(name: str, *, wish: str) -> TemplateArchived:
    return TemplateArchived(f"cannot {wish}: template {name!r} is archived; restore it first")


def template_mismatch(name: str, *, latest: int, expected: int) -> VersionMismatch:
    return mismatch("template", repr(name), latest, expected)


def no_webhook(webhook_id: UUID) -> NotFound:
    return NotFound(f"there is no webhook {webhook_id}")


def plan_closed(plan_id: UUID, *, wish: str) -> PlanClosed:
    return PlanClosed(
        f"cannot {wish}: plan {plan_id} was closed by hand; "
        f"reopen it first by setting its status to {PlanStatus.ACTIVE.value}"
    )


def of_plan(row: Row, plan_id: UUID, changes: Mapping[str, Any], *, expected: int | None) -> Any:
    """The error for a change of a plan that was refused with this verdict."""
    match row["verdict"]:
        case "mismatch":
            return mismatch("plan", plan_id, row["version_before"], expected)
        case "refused":
            status = PlanStatus(row["status_before"])
            return InvalidTransition(
                PLAN_LIFECYCLE.refusal(changes["status"], status, which=plan_id)
            )
        case verdict:
            raise AssertionError(verdict)


def of_task(row: Row, task_id: UUID, changes: Mapping[str, Any], *, expected: int | None) -> Any:
    """The error for a change of a task that was refused with this verdict."""
    status = TaskStatus(row["status_before"])
    match row["verdict"]:
        case "mismatch":
            error = mismatch("task", task_id, row["version_before"], expected)
        case "refused":
            error = InvalidTransition(
                TASK_LIFECYCLE.refusal(changes["status"], status, which=task_id, but=_but(row))
            )
        case "claimed":
            error = _claimed(task_id, row["worker_before"], wish="start")
        case "stale_claim":
            error = StaleClaim(
                f"the claim on task {task_id} that is named by its fencing token has ended; it is "
                f"{status.value} now"
            )
        case "waiting":
            error = InvalidTransition(
                f"cannot unhold task {task_id}: it is {status.value} because {_waits_for(row)}; "
                f"allowed now: {', '.join(TASK_LIFECYCLE.allowed_from(status, but=_but(row)))}"
            )
        case "closed":
            wish = f"set task {task_id} from {status.value} to {changes['status'].value}"
            error = plan_closed(row["plan_id_before"], wish=wish)
        case "conflict":
            error = _conflict(task_id, status)
        case verdict:
            raise AssertionError(verdict)
    return error


def of_decision(task: Row, decision: Decision) -> InvalidTransition:
    """The error for a task about which that can't be decided."""
    verb = "approve" if decision == Decision.APPROVED else "reject"
    status = TaskStatus(task["status"])
    if task["approval"] is not None and status in UNSTARTED:
        by = task["approval"]["by"]
        whose = f" by {shortened(repr(by))}" if by is not None else ""
        return InvalidTransition(
            f"cannot {verb} task {task['id']}: it was {task['approval']['decision']}{whose} "
            "already; allowed now: complete, skip, fail"
        )
    if not task["requires_approval"] and status in UNSTARTED:
        return InvalidTransition(
            f"cannot {verb} task {task['id']}: it requires no approval; to have it wait for one, "
            "set requires_approval"
        )
    return InvalidTransition(
        TASK_LIFECYCLE.refusal_of(verb, status, which=task["id"], but=_UNDECIDED)
    )


def of_ending(row: RowLike, ending: Ending, *, expected: int | None = None) -> PlanStoreError:
    """The error for a run's end that was refused with this verdict."""
    task_id = ending.task_id
    if row["verdict"] == "missing":
        return no_task(task_id)
    status = TaskStatus(row["status_before"])
    match row["verdict"]:
        case "mismatch":
            error = mismatch("task", task_id, row["version_before"], expected)
        case "stale_claim":
            error = StaleClaim(
                f"the claim on task {task_id} with the fencing token {ending.token} has ended; it "
                f"is {status.value} now. What was sent is kept as an event."
            )
        case "claimed":
            error = _claimed(task_id, row["worker_before"], wish=ending.verb.value)
        case "conflict":
            error = _conflict(task_id, status)
        case "refused":
            error = InvalidTransition(
                TASK_LIFECYCLE.refusal_of(ending.verb.value, status, which=task_id, but=_but(row))
            )
        case verdict:
            raise AssertionError(verdict)
    return error


def of_plan_deletion(row: Row, *, expected: int | None) -> PlanStoreError:
    """The error for a plan that is kept, with this verdict."""
    plan_id = row["plan_id"]
    match row["verdict"]:
        case "mismatch":
            return mismatch("plan", plan_id, row["version_before"], expected)
        case "running":
            running = [
                f"{_label(each['id'], each['name'])}{_run_by(each['worker_id'])}"
                for each in row["running_tasks"]
            ]
            count = "a task" if row["running"] == 1 else f"{row['running']} tasks"
            return TasksRunning(
                f"cannot delete plan {plan_id}: {count} of it still running: "
                f"{_listed(running, row['running'])}; allowed once their runs have ended"
            )
        case verdict:
            raise AssertionError(verdict)


def of_task_deletion(
    row: Row, *, force: bool, expected: int | None = None
) -> PlanStoreError | None:
    """Why a task that stands so, as `tasks.deletion.lock` answers it, is kept; None if it isn't."""
    task_id = row["task_id"]
    if expected is not None and row["version"] != expected:
        return mismatch("task", task_id, row["version"], expected)
    if row["status"] == TaskStatus.RUNNING and not force:
        return TasksRunning(
            f"cannot delete task {task_id}: it is running{_run_by(row['worker_id'])}; "
            "allowed once its run has ended"
        )
    return None


def task_needed(task_id: UUID, needers: Sequence[tuple[UUID, str | None]]) -> TaskNeeded:
    """The error for a task that is kept because others need it, each an id and a name."""
    names = [_label(*each) for each in needers[:NAMED]]
    count = "a task needs" if len(needers) == 1 else f"{len(needers)} tasks need"
    return TaskNeeded(
        f"cannot delete task {task_id}: {count} it: {_listed(names, len(needers))}; allowed once "
        "nothing depends on it"
    )


def _label(task_id: object, name: str | None) -> str:
    return str(task_id) if name is None else shortened(repr(name))


def _run_by(worker_id: str | None) -> str:
    return "" if worker_id is None else f" (worker {shortened(repr(worker_id))})"


def _listed(names: Sequence[str], count: int) -> str:
    more = f" and {count - len(names)} more" if count > len(names) else ""
    return ", ".join(names) + more


_UNDECIDED: Final = frozenset({"approve", "reject"})


def _but(row: RowLike) -> frozenset[str]:
    """What the status allows, though not now.

    Only what is held by hand can be unheld, and decided is about what awaits that.
    """
    match row["reason_before"]:
        case StatusReason.UNAPPROVED:
            return frozenset({"unhold"})
        case StatusReason.UNMET:
            return _UNDECIDED | {"unhold"}
        case _:
            return _UNDECIDED


def _waits_for(row: Row) -> str:
    if row["reason_before"] == StatusReason.UNAPPROVED:
        return "nobody has approved it"
    return "its dependencies aren't satisfied"


def of_begun(task: Task) -> None:
    """Refuse to change what a task needs that need not wait for it any more.

    Raises:
        InvalidTransition: the task runs, or has ended by something that stands.
    """
    is_waiting = task.status in UNSTARTED or task.status_reason in DERIVED_REASONS
    if not is_waiting:
        raise InvalidTransition(
            f"cannot change the dependencies of task {task.id}: it is {task.status.value}; "
            "allowed are those of tasks that have not begun"
        )


def _conflict(task_id: UUID, status: TaskStatus) -> ResultConflict:
    return ResultConflict(
        f"task {task_id} is {status.value} with another output, which stands; what was "
        "sent is kept as an event. To change the output, send output_data without status."
    )


def _claimed(task_id: UUID, worker_id: str | None, *, wish: str) -> Claimed:
    return Claimed(
        f"cannot {wish} task {task_id}: worker {shortened(repr(worker_id))} holds a claim on it; "
        "give its fencing_token, or set another status by PATCH to end the claim"
    )


def mismatch(noun: str, which: UUID | str, version: int, expected: int | None) -> VersionMismatch:
    """The error for what isn't at the version that was expected."""
    other = "the one that was expected" if expected == NO_VERSION else f"{expected}"
    return VersionMismatch(
        f"{noun} {which} is at version {version}, not {other}: read it again and decide anew"
    )


_TAKEN: Final = {
    "plans_pkey": "there is a plan {} already",
    "tasks_pkey": "there is a task {} already",
    "task_states_pkey": "there is a task {} already",
    "templates_pkey": "there is a template {!r} already",
    "webhooks_pkey": "there is a webhook {} already, or was one",
}
"""What a key that is taken means; the last of its columns tells things of a kind apart."""


def of_violation(error: UniqueViolationError) -> Exception:
    """The error for a constraint that something new ran into."""
    # "Key (plan_id, name)=(01a2…, research) already exists.", in the server's language.
    found = _KEY_VALUES.search(error.detail or "")
    values = found[1] if found else "given"
    match error.constraint_name:
        case "idempotency_keys_pkey":
            return KeyTaken()
        case "tasks_name_key":
            plan, _, name = values.partition(", ")
            return AlreadyExists(f"plan {plan} has a task named {name!r} already")
        case str(name) if name in _TAKEN:
            return AlreadyExists(_TAKEN[name].format(values.rpartition(", ")[2]))
        case _:
            return error


def of_kept_fields(
    update: PlanUpdate | TaskUpdate | WebhookUpdate,
    current: Plan | Task | Webhook,
    kept: Iterable[str],
) -> None:
    """Refuse a change of what only the service changes.

    Raises:
        InvalidInput: a kept field is named with another value than the stored one.
    """
    faults = tuple(
        Fault(f"/{name}", f"it is kept by the service and is {getattr(current, name)} now")
        for name in sorted(kept)
        if getattr(update, name) != getattr(current, name)
    )
    if faults:
        names = ", ".join(fault.pointer[1:] for fault in faults)
        raise InvalidInput(f"{names} can't be changed", faults=faults)
