"""Why a statement changed nothing, said as an error."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from planstore.errors import (
    AlreadyExists,
    Fault,
    InvalidInput,
    InvalidTransition,
    NotFound,
    PlanClosed,
    ResultConflict,
    VersionMismatch,
)
from planstore.models.fields import NO_VERSION
from planstore.models.plan import PLAN_LIFECYCLE, PlanStatus
from planstore.models.task import TASK_LIFECYCLE, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from uuid import UUID

    from asyncpg import UniqueViolationError

    from planstore.models.plan import Plan, PlanUpdate
    from planstore.models.task import Task, TaskUpdate
    from planstore.sql.connection import Row


_KEY_VALUES: Final = re.compile(r"\)=\((.*)\)", re.DOTALL)


class KeyTaken(Exception):
    """The idempotency key was used before."""


def no_plan(plan_id: UUID) -> NotFound:
    return NotFound(f"there is no plan {plan_id}")


def no_task(task_id: UUID) -> NotFound:
    return NotFound(f"there is no task {task_id}")


def plan_closed(plan_id: UUID, *, wish: str) -> PlanClosed:
    return PlanClosed(
        f"cannot {wish}: plan {plan_id} was closed by hand; "
        f"reopen it first by setting its status to {PlanStatus.ACTIVE.value}"
    )


def of_plan(row: Row, plan_id: UUID, changes: Mapping[str, Any], *, expected: int | None) -> Any:
    """The error for a change of a plan that was refused with this verdict."""
    match row["verdict"]:
        case "mismatch":
            return _mismatch("plan", plan_id, row["version_before"], expected)
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
            return _mismatch("task", task_id, row["version_before"], expected)
        case "refused":
            return InvalidTransition(
                TASK_LIFECYCLE.refusal(changes["status"], status, which=task_id)
            )
        case "closed":
            wish = f"set task {task_id} from {status.value} to {changes['status'].value}"
            return plan_closed(row["plan_id_before"], wish=wish)
        case "conflict":
            return ResultConflict(
                f"task {task_id} is {status.value} with another output, which stands; what was "
                "sent is kept as an event. To change the output, send output_data without status."
            )
        case verdict:
            raise AssertionError(verdict)


def _mismatch(noun: str, which: UUID, version: int, expected: int | None) -> VersionMismatch:
    other = "the one that was expected" if expected == NO_VERSION else f"{expected}"
    return VersionMismatch(
        f"{noun} {which} is at version {version}, not {other}: read it again and decide anew"
    )


def of_violation(error: UniqueViolationError) -> Exception:
    """The error for a constraint that a new plan or task ran into."""
    # "Key (plan_id, name)=(01a2…, research) already exists.", in the server's language.
    found = _KEY_VALUES.search(error.detail or "")
    values = found[1] if found else "given"
    match error.constraint_name:
        case "idempotency_keys_pkey":
            return KeyTaken()
        case "plans_pkey":
            return AlreadyExists(f"there is a plan {values} already")
        case "tasks_pkey" | "tasks_id_key":
            return AlreadyExists(f"there is a task {values.rpartition(', ')[2]} already")
        case "tasks_name_key":
            plan, _, name = values.partition(", ")
            return AlreadyExists(f"plan {plan} has a task named {name!r} already")
        case _:
            return error


def of_kept_fields(
    update: PlanUpdate | TaskUpdate, current: Plan | Task, kept: Iterable[str]
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
