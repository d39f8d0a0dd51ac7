"""Write the pages of ``docs/`` that are drawn from the program: ``make docs``.

A test fails where a page and the program disagree.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeVar

from planstore.errors import ERRORS_BY_CODE
from planstore.models.plan import PLAN_LIFECYCLE, PlanStatus
from planstore.models.task import TASK_LIFECYCLE, TaskStatus
from planstore.routers.problems import status_of
from planstore.settings import PREFIX, Settings

if TYPE_CHECKING:
    from collections.abc import Iterable
    from enum import StrEnum

    from planstore.models.lifecycle import Lifecycle

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
            "and says which verbs are allowed. Setting the status that an object has already",
            "changes nothing and answers 200.",
            "",
            "## Tasks",
            "",
            *_statuses(TaskStatus),
            "",
            *_table(TASK_LIFECYCLE),
            "",
            "`holder`: once a task is claimed, only the holder of the claim may do it.",
            "",
            *_rules(),
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
            "holder" if each.holder_only else "anyone",
            f"`{lifecycle.noun}.{each.past}`",
            each.meaning,
        )
        yield f"| {' | '.join(cells)} |"


def _rules() -> Iterable[str]:
    return [
        "What goes with a move, unless the client gives the field itself:",
        "",
        "- `started_at` is set by start, and cleared by release, hold and reset;",
        "- `completed_at` is set by complete, fail and skip, and cleared by what opens the task;",
        "- `output_data` is cleared by reset, `error` by complete, release and reset.",
        "",
        "Completing a completed task again with another `output_data` is `409 result_conflict`:",
        "the first result stands, and the late one is kept in the event `task.result_refused`.",
        "A `PATCH` that names `output_data` without `status` is an edit, and allowed.",
    ]


def _plan_rules() -> Iterable[str]:
    return [
        "A plan **settles** by itself, unless `auto_complete` is false: an active plan with tasks",
        "becomes `completed` when all of them are finished (completed or skipped), and `failed`",
        "when nothing can become ready any more, never while a task runs or is held. In a",
        "`sequential` plan tasks wait for all tasks of a lower `sequence_order`, so a failed task",
        "keeps the later ones from their turn. Adding or resetting a task of a plan that settled",
        "makes it `active` again.",
        "",
        "A plan is **closed** by hand when a client sets it to `completed`, `failed` or",
        "`cancelled`: what has not started is skipped, what still runs may report, and the status",
        "stays. Adding or starting a task is then `409 plan_closed`, until the plan is reopened.",
        "`closed_at` tells the two apart.",
        "",
        "Starting or ending a task of a draft makes the plan `active`.",
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
