"""Write the pages of ``docs/`` that are drawn from the program: ``make docs``.

A test fails where a page and the program disagree.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from planstore.errors import ERRORS_BY_CODE
from planstore.models.plan import PLAN_LIFECYCLE, PlanStatus
from planstore.models.task import TASK_LIFECYCLE, StatusReason, TaskStatus
from planstore.routers.problems import status_of
from planstore.settings import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

    from planstore.models.lifecycle import Lifecycle, Transition

S = TypeVar("S", bound="StrEnum")

DOCS: Final = Path(__file__).parent.parent / "docs"

_WRITTEN: Final = "<!-- Written by `make docs`; change the program instead. -->\n"


def lifecycle() -> str:
    """The page of both lifecycles."""
    return "\n".join(
        [
            "# Lifecycles",
            "",
            _WRITTEN,
            "Both tables are the ones that the program runs by. Setting `status` by `PATCH` does",
            "the verb that leads there; where none does, the answer is `409 invalid_transition`",
            "and says which verbs are allowed. No `PATCH` means approve or reject, which have",
            "requests of their own. Doing what has taken effect already changes nothing, and",
            "answers 200.",
            "",
            "## Tasks",
            "",
            *_statuses(TaskStatus),
            "",
            *_table(TASK_LIFECYCLE),
            "",
            "By `holder`: while a claim lasts, only who sends its fencing token may do it; an",
            "operator may by `PATCH`, which ends the claim ([Claims](claims.md)). By the service:",
            "it follows from something else, and nobody can ask for it.",
            "",
            *_rules(),
            "",
            *_reasons(),
            "",
            "## Plans",
            "",
            *_statuses(PlanStatus),
            "",
            *_table(PLAN_LIFECYCLE),
            "",
            *_plan_rules(),
            "",
        ]
    )


def _statuses(kind: type[StrEnum]) -> Iterable[str]:
    return ["Statuses: " + ", ".join(f"`{status.value}`" for status in kind) + "."]


def _table(lifecycle: Lifecycle[S]) -> Iterable[str]:
    yield "| verb | from | to | by | event | what it means |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for each in lifecycle.transitions:
        cells = (
            each.verb,
            ", ".join(
                f"`{status.value}`" for status in type(each.target) if status in each.sources
            ),
            f"`{each.target.value}`",
            _by(each),
            f"`{lifecycle.noun}.{each.past}`",
            each.meaning,
        )
        yield f"| {' | '.join(cells)} |"


def _by(transition: Transition[S]) -> str:
    if not transition.by_hand:
        return "the service"
    return "holder" if transition.holder_only else "anyone"


def _rules() -> Iterable[str]:
    return [
        "What goes with a move, unless the client gives the field itself:",
        "",
        "- start sets `started_at` and counts `attempt` up; release, requeue, hold and reset clear",
        "  `started_at` again, and `worker_id` and `progress` with it;",
        "- complete, fail and skip set `completed_at`; what opens the task clears it;",
        "- reset clears `output_data`, `error` and `needs_review`; complete clears `error`.",
        "",
        "Completing a completed task again with another `output_data` is `409 result_conflict`:",
        "the first result stands, and the late one is kept in the event `task.result_refused`.",
        "A `PATCH` that names `output_data` without `status` is an edit, and allowed.",
        "",
        "A **hold** (`PATCH` with `blocked`) keeps a task from starting until it is set to",
        "`pending` again; it may still wait for its dependencies then. A task that waits for its",
        "dependencies can't be started by hand either, but be completed, failed or skipped.",
        "One that [requires an approval](approvals.md) is `blocked` until somebody has given it.",
        "`failed` by `PATCH` is final; `POST /tasks/{id}/fail`, timeouts and ended leases requeue",
        "the task while it has retries left.",
        "",
        "A **reset** does a task again from the start: what was tried before stays readable, and",
        "isn't counted as a retry. `POST /tasks/{id}/reset` takes a running task back as well, and",
        'with `{"dependents": true}` resets all that followed: what needs it, directly or not, and',
        "in a sequential plan every task of a later order. What was skipped because of the task",
        "is revived. What had completed, or was rejected, awaits its approval again, where it",
        "requires one.",
    ]


_WHY: Final = {
    StatusReason.HELD: "blocked by hand, until it is set to `pending`",
    StatusReason.UNMET: "blocked until its dependencies are satisfied",
    StatusReason.UNAPPROVED: "blocked until somebody approves it, or rejects it",
    StatusReason.DEAD: "skipped because a dependency can't be satisfied any more",
    StatusReason.ABORTED: "skipped because a task failed, and `on_failure` is `abort`",
    StatusReason.CLOSED: "skipped because the plan was closed by hand",
}


def _reasons() -> Iterable[str]:
    yield "`status_reason` says why a task stands where it does; a skip by hand has none:"
    yield ""
    yield "| status_reason | |"
    yield "| --- | --- |"
    for reason in StatusReason:
        yield f"| `{reason.value}` | {_WHY[reason]} |"


def _plan_rules() -> Iterable[str]:
    return [
        "An active plan hands out its tasks, unless it is **paused**: then `paused_at` says since",
        "when, and `pause_reason` what of its [budget](budgets.md) it has reached, if that did it;",
        "what runs goes on, and the status stays. Starting or ending a task of a draft makes the",
        "plan `active`; approving or rejecting one doesn't.",
        "",
        "When a task has failed for good, `on_failure` decides about the rest: `block` (the",
        "default) leaves those that need its success blocked and lets the others go on, `skip`",
        "skips them, `abort` skips all that has not started and asks what runs to stop.",
        "",
        "A plan **settles** by itself, unless `auto_complete` is false: an active plan with tasks",
        "becomes `completed` when all of them are finished (completed or skipped), and `failed`",
        "when nothing can become ready any more; never while a task runs, is held, awaits an",
        "approval, or waits for nothing but a time or a claim. In a `sequential` plan tasks wait",
        "for all tasks of a lower `sequence_order`, so a failed task keeps the later ones from",
        "their turn. Adding, retrying or resetting a task of a plan that settled makes it `active`",
        "again.",
        "",
        "A plan is **closed** by hand when a client sets it to `completed`, `failed` or",
        "`cancelled`: what has not started is skipped, what still runs is asked to stop and may",
        "report, and the status stays. Adding or starting a task is then `409 plan_closed`, until",
        "the plan is reopened, which revives nothing: reset what is to be done. `closed_at` tells",
        "closed and settled plans apart.",
    ]


def settings() -> str:
    """The page of all settings."""
    lines = [
        "# Settings",
        "",
        _WRITTEN,
        "A server reads these environment variables once, when it starts. A misspelt one is an",
        "error. `planstore serve` takes some of them as options, which come first.",
        "",
    ]
    for name, field in Settings.model_fields.items():
        default = field.default
        match default:
            case None:
                shown = "not set"
            case frozenset():
                shown = "empty"
            case bool():
                shown = f"`{str(default).lower()}`"
            case _:
                shown = f"`{default}`"
        description = " ".join((field.description or "").split())
        lines += [f"## {PREFIX}{name.upper()}", "", description, "", f"Default: {shown}.", ""]
    return "\n".join(lines)


def errors() -> str:
    """The page of all errors."""
    lines = [
        "# Errors",
        "",
        _WRITTEN,
        "Over HTTP an error is `application/problem+json` (RFC 9457); in Python it is an exception",
        "of `planstore.errors`. The `code` never changes its meaning. `errors` names every fault",
        "of a request at once, each with a JSON pointer into the body (`/steps/0`), `?name` for a",
        "query parameter, `{name}` for a part of the path, or the name of a header.",
        "",
        "| code | HTTP | exception | what it means |",
        "| --- | --- | --- | --- |",
    ]
    for code, kind in ERRORS_BY_CODE.items():
        meaning = (kind.__doc__ or "").split("\n")[0].replace("``", "`")
        lines.append(f"| `{code}` | {status_of(kind)} | `{kind.__name__}` | {meaning} |")
    return "\n".join([*lines, ""])


PAGES: Final = {"lifecycle.md": lifecycle, "settings.md": settings, "errors.md": errors}


def main() -> None:
    """Write all pages."""
    for name, write in PAGES.items():
        (DOCS / name).write_text(write(), "utf-8")


if __name__ == "__main__":
    main()
