"""Pieces of SQL that are written from the models, so that no status is listed twice.

Every piece is a constant of this program: what a client sends is only ever a parameter.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.dependency import Condition
from planstore.models.plan import FINAL, SEQUENTIAL, SETTLED, OnFailure, PlanStatus
from planstore.models.task import (
    DERIVED_REASONS,
    ENDED,
    FINISHED,
    PATIENT_REASONS,
    UNSTARTED,
    WAITING_REASONS,
    SideEffects,
    StatusReason,
    TaskStatus,
)

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

    from planstore.models.lifecycle import Lifecycle


def one_of(statuses: Iterable[StrEnum]) -> str:
    """``('completed', 'skipped')``, for use after ``in``."""
    return "(" + ", ".join(f"'{status.value}'" for status in sorted(statuses)) + ")"


def event_of(
    lifecycle: Lifecycle[Any], source: str, target: str, *, by_service: bool = False
) -> str:
    """An expression for the event that going from ``source`` to ``target`` writes.

    Null where the lifecycle has no such transition. Both arguments are SQL expressions.
    ``by_service``: as a consequence of something else, for which some moves have another name.
    """
    events = {
        f"{each.value} {transition.target.value}": f"{lifecycle.noun}.{transition.past}"
        for transition in lifecycle.transitions
        if (by_service or transition.by_hand) and transition.by_status
        for each in sorted(transition.sources)
    }
    rows = "\n".join(f"      when '{move}' then '{event}'" for move, event in events.items())
    return f"case {source} || ' ' || {target}\n{rows}\n    end"


def columns(names: Iterable[str], *, of: str) -> str:
    """``t.id, t.name``: the columns, each with the alias of its table."""
    return ", ".join(f"{of}.{name}" for name in names)


Fields = tuple[tuple[str, str], ...]
"""Columns that a client may set, each with its type."""


def given(fields: Fields, *, first: int) -> str:
    """``$4::text as name, …``: the parameters from ``first`` on, by the names of the fields."""
    return ", ".join(
        f"${number}::{kind} as {name}" for number, (name, kind) in enumerate(fields, start=first)
    )


def rows_of(fields: Fields, *, first: int) -> str:
    """``unnest($1::uuid[], …)``: rows of the arrays that are the parameters from ``first`` on."""
    arrays = (f"${number}::{kind}[]" for number, (_, kind) in enumerate(fields, start=first))
    return f"unnest({', '.join(arrays)})"


def names_of(fields: Fields) -> str:
    """``id, name``: the names of the fields."""
    return ", ".join(name for name, _ in fields)


def new_value(field: str, *, of: str, otherwise: str | None = None) -> str:
    """The field's new value: the client's where $2 names the field, else what it was."""
    kept = otherwise or f"{of}.{field}"
    return f"case when '{field}' = any ($2) then given.{field} else {kept} end as {field}"


def compared(fields: Fields, *, new: str, old: str) -> str:
    """Rows of field, new value, and whether it differs from the old one.

    ``new`` and ``old``: what stands before the field's name in either, such as ``w.``.

    The type json has no equality of its own; its text is what was sent.
    """
    casts = {name: "::text" if kind == "json" else "" for name, kind in fields}
    return ",\n      ".join(
        f"('{name}', to_json({new}{name}), {new}{name}{cast} is distinct from {old}{name}{cast})"
        for name, cast in casts.items()
    )


def run_of(task: str, *, plan: str) -> str:
    """What the event of a run's end says of the run, beside what has changed: columns.

    ``task`` and ``plan``: rows with the columns of both. The times are the database's own; they are
    null where the task ended without having run. `row_to_json` makes JSON of them in half the time
    of `json_build_object`.
    """
    return (
        f"{task}.task_type, {task}.agent_id, {plan}.plan_type, {plan}.template, "
        f"{task}.worker_id, {task}.attempt, "
        f"case when {task}.began_at is not null then {task}.was_ready_at end as ready_at, "
        f"{task}.began_at"
    )


TASK_FINISHED: Final = one_of(FINISHED)
TASK_ENDED: Final = one_of(ENDED)
TASK_UNSTARTED: Final = one_of(UNSTARTED)
TASK_PENDING: Final = f"'{TaskStatus.PENDING.value}'"
TASK_RUNNING: Final = f"'{TaskStatus.RUNNING.value}'"
TASK_BLOCKED: Final = f"'{TaskStatus.BLOCKED.value}'"
TASK_COMPLETED: Final = f"'{TaskStatus.COMPLETED.value}'"
TASK_SKIPPED: Final = f"'{TaskStatus.SKIPPED.value}'"
TASK_FAILED: Final = f"'{TaskStatus.FAILED.value}'"

IS_HELD: Final = f"'{StatusReason.HELD.value}'"
IS_UNMET: Final = f"'{StatusReason.UNMET.value}'"
IS_UNAPPROVED: Final = f"'{StatusReason.UNAPPROVED.value}'"
IS_WAITING: Final = one_of(WAITING_REASONS)
IS_PATIENT: Final = one_of(PATIENT_REASONS)
IS_DEAD: Final = f"'{StatusReason.DEAD.value}'"
IS_ABORTED: Final = f"'{StatusReason.ABORTED.value}'"
IS_CLOSED: Final = f"'{StatusReason.CLOSED.value}'"
ONCE: Final = f"'{SideEffects.ONCE.value}'"

PLAN_DRAFT: Final = f"'{PlanStatus.DRAFT.value}'"
PLAN_ACTIVE: Final = f"'{PlanStatus.ACTIVE.value}'"
PLAN_COMPLETED: Final = f"'{PlanStatus.COMPLETED.value}'"
PLAN_FAILED: Final = f"'{PlanStatus.FAILED.value}'"
PLAN_FINAL: Final = one_of(FINAL)
PLAN_SETTLED: Final = one_of(SETTLED)
ON_FAILURE_BLOCK: Final = f"'{OnFailure.BLOCK.value}'"
ON_FAILURE_ABORT: Final = f"'{OnFailure.ABORT.value}'"
PLAN_SEQUENTIAL: Final = f"'{SEQUENTIAL}'"


def is_idle(state: str) -> str:
    """Whether a task neither runs, nor is held, nor has ended by something that stands."""
    return f"""({state}.status = {TASK_PENDING}
      or {state}.status = {TASK_BLOCKED} and {state}.status_reason in {IS_WAITING}
      or {state}.status = {TASK_SKIPPED} and not {state}.keeps_hold
        and coalesce({state}.status_reason in {one_of(DERIVED_REASONS)}, false))"""


def is_held(state: str) -> str:
    """Whether a task is kept from starting by hand, though an abort may have skipped it since."""
    return f"({state}.keeps_hold or coalesce({state}.status_reason = {IS_HELD}, false))"


def awaits_approval(state: str) -> str:
    """Whether a task waits, or would, until somebody has approved it."""
    return f"({state}.requires_approval and {state}.approval is null)"


def satisfies(condition: str, *, status: str, reason: str) -> str:
    """Whether a task that stands so satisfies who needs it under ``condition``."""
    return f"""case {condition}
        when '{Condition.SUCCESS.value}'
          then {status} = {TASK_COMPLETED} or {status} = {TASK_SKIPPED} and {reason} is null
        when '{Condition.FAILURE.value}' then {status} = {TASK_FAILED}
        else {status} in {TASK_ENDED}
      end"""


def is_dead(condition: str, *, status: str, reason: str, on_failure: str) -> str:
    """Whether a task that stands so can never satisfy who needs it under ``condition``."""
    return f"""case {condition}
        when '{Condition.SUCCESS.value}'
          then {status} = {TASK_SKIPPED} and {reason} is not null
            or {status} = {TASK_FAILED} and {on_failure} <> {ON_FAILURE_BLOCK}
        when '{Condition.FAILURE.value}' then {status} in {TASK_FINISHED}
        else false
      end"""


WHEN_ENDED: Final = f"'{Condition.ENDED.value}'"
WHEN_FAILED: Final = f"'{Condition.FAILURE.value}'"
