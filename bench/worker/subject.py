"""The subject: which lines there are, and how each is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from rich.table import Table

from bench.coordination.figures import Aim
from bench.report import verdict
from bench.subject import Subject
from bench.worker import rate, starts

if TYPE_CHECKING:
    from bench.subject import Course

_LINES: Final = {"rate": rate.WHAT, "start": starts.WHAT}

_RATE: Final = Aim(8_000, 8_000)
_START: Final = Aim(2.5, 2.5, is_most=True, unit=" ms", digits=2)


async def _run(course: Course) -> None:
    table = Table(
        title="A worker process over HTTP",
        caption=f"Medians of {course.rounds} rounds of {course.seconds:g} s.",
    )
    table.add_column("what", no_wrap=True)
    for header in ("measured", "goal", "beside"):
        table.add_column(header, justify="right", no_wrap=True)

    def found(line: str, value: float, aim: Aim, beside: str) -> None:
        course.report.record("worker", line=f"worker.{line}", value=round(value, 3), beside=beside)
        met = verdict(aim.shown(aim.goal), is_met=aim.is_met(value, aim.goal))
        table.add_row(_LINES[line], aim.shown(value), met, beside)

    if "rate" in course.lines:
        course.report.progress(rate.WHAT)
        value, ratio = await rate.measure(course)
        found("rate", value, _RATE, f"{ratio:.2f} of a bare caller's rate")
    if "start" in course.lines:
        course.report.progress(starts.WHAT)
        begun = await starts.measure(course)
        beside = (
            f"a bare caller's {begun.bare:.2f} ms; from its making {begun.from_making:.2f} ms;"
            f" round trip {begun.round_trip:.2f} ms"
        )
        found("start", begun.worker, _START, beside)
    course.report.add(table)


SUBJECT: Final = Subject("worker", _LINES, _run)
