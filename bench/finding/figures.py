"""How long calls took, beside how long they may."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rich.table import Table

from bench.report import verdict

if TYPE_CHECKING:
    from collections.abc import Sequence

    from bench.finding.calls import Calls
    from bench.subject import Course


@dataclass(frozen=True, slots=True)
class Figure:
    """What was found for calls of one kind."""

    line: str
    case: str
    most_ms: float
    """What 99 of 100 calls may take at most."""
    calls: Calls
    pages: float
    """Of 8 kB, that PostgreSQL looked at for each call."""

    @property
    def is_met(self) -> bool:
        return self.calls.p99_ms <= self.most_ms


def record(course: Course, figure: Figure) -> None:
    """Write what was found to the file."""
    course.report.record(
        "calls",
        line=f"finding.{figure.line}",
        case=figure.case,
        calls=len(figure.calls.ordered),
        p50_ms=round(figure.calls.p50_ms, 3),
        p99_ms=round(figure.calls.p99_ms, 3),
        most_ms=figure.most_ms,
        pages=round(figure.pages, 1),
    )


def add_table(course: Course, figures: Sequence[Figure], *, store: str) -> None:
    """Show what was found; ``store``: what there was to be found."""
    table = Table(
        title="Finding and replanning through PlanStore, one call at a time",
        caption=f"{store}. Each line for {course.rounds * course.seconds:g} s; pages are those of "
        "8 kB that PostgreSQL looked at for one call.",
    )
    for header in ("line", "case"):
        table.add_column(header, no_wrap=True)
    for header in ("calls", "p50 ms", "p99 ms", "at most", "pages"):
        table.add_column(header, justify="right", no_wrap=True)
    before = None
    for each in figures:
        table.add_row(
            each.line if each.line != before else "",
            each.case,
            f"{len(each.calls.ordered):,}",
            f"{each.calls.p50_ms:,.1f}",
            f"{each.calls.p99_ms:,.1f}",
            verdict(f"{each.most_ms:g}", is_met=each.is_met),
            f"{each.pages:,.0f}",
        )
        before = each.line
    course.report.add(table)
