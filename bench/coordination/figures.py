"""What was found, beside what is to be reached."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from rich.table import Table

from bench.report import verdict

if TYPE_CHECKING:
    from bench.subject import Course

LEAST_RATIO: Final = 0.5
"""Of what PostgreSQL gives on the day."""


@dataclass(frozen=True, slots=True)
class Aim:
    """What is to be reached."""

    floor: float
    goal: float
    is_most: bool = False
    """Whether a figure is to be at most that; else it is to be at least that."""
    unit: str = "/s"
    digits: int = 0

    def is_met(self, value: float, limit: float) -> bool:
        """Whether a figure keeps a limit."""
        return value <= limit if self.is_most else value >= limit

    def shown(self, value: float) -> str:
        """A figure with its unit."""
        return f"{value:,.{self.digits}f}{self.unit}"


MEMORY: Final = Aim(floor=250, goal=150, is_most=True, unit=" MB")


@dataclass(frozen=True, slots=True)
class Figure:
    """One line of the table."""

    what: str
    aim: Aim
    value: float
    memory_mb: float
    bare: float | None = None
    ratio: float | None = None
    """To what is bare, where there is the like."""


def add_table(course: Course, figures: list[Figure]) -> None:
    """Show the figures, and the most memory that any process took for one of them."""
    table = Table(
        title="Coordination: PlanStore beside bare SQL, default durability",
        caption=f"Medians of {course.rounds} interleaved rounds of {course.seconds:g} s; "
        f"the ratio is the median of each round's, and is to be at least {LEAST_RATIO}. "
        "Memory is the most that the process ever had.",
    )
    table.add_column("what", no_wrap=True)
    for header in ("measured", "floor", "goal", "bare SQL", "ratio", "memory MB"):
        table.add_column(header, justify="right", no_wrap=True)
    for figure in (*figures, _memory(figures)):
        table.add_row(*_cells(figure))
    course.report.add(table)


def _memory(figures: list[Figure]) -> Figure:
    most = max(each.memory_mb for each in figures)
    return Figure("memory of a process, the most of all these", MEMORY, most, most)


def _cells(figure: Figure) -> tuple[str, ...]:
    aim = figure.aim
    return (
        figure.what,
        aim.shown(figure.value),
        *(
            verdict(aim.shown(limit), is_met=aim.is_met(figure.value, limit))
            for limit in (aim.floor, aim.goal)
        ),
        "" if figure.bare is None else aim.shown(figure.bare),
        ""
        if figure.ratio is None
        else verdict(f"{figure.ratio:.2f}", is_met=figure.ratio >= LEAST_RATIO),
        verdict(f"{figure.memory_mb:.0f}", is_met=MEMORY.is_met(figure.memory_mb, MEMORY.floor)),
    )
