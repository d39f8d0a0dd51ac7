"""The subject: which lines there are, and how each is measured."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from bench.coordination import kept, rates, server_memory, starts
from bench.coordination.figures import Figure, add_table
from bench.subject import Subject

if TYPE_CHECKING:
    from bench.subject import Course

_LINES: Final = {
    **{line: rate.what for line, rate in rates.RATES.items()},
    **{line: way.what for line, way in starts.WAYS.items()},
    **{line: what for line, (what, _) in kept.CROWDS.items()},
    "held": kept.HELD,
    "server-memory": server_memory.WHAT,
}


async def _run(course: Course) -> None:
    figures: list[Figure] = []
    for line, what in _LINES.items():
        if line in course.lines:
            course.report.progress(what)
            figures.extend(await _measure(course, line))
    add_table(course, figures)


async def _measure(course: Course, line: str) -> list[Figure]:
    if line in rates.RATES:
        return [await rates.measure(course, line)]
    if line in starts.WAYS:
        return await starts.measure(course, line)
    if line in kept.CROWDS:
        return [await kept.measure(course, line)]
    if line == "held":
        return [await kept.measure_held(course)]
    return [await server_memory.measure(course)]


SUBJECT: Final = Subject("coordination", _LINES, _run)
