"""The subject: which lines there are, and how each is measured."""

from __future__ import annotations

from statistics import median
from typing import TYPE_CHECKING, Final

from rich.table import Table

from bench.coordination.figures import Aim
from bench.relay import beside, delay, drain
from bench.report import verdict
from bench.subject import Subject
from tests import redis

if TYPE_CHECKING:
    from bench.subject import Course
    from tests.redis import Valkey

_LINES: Final = {
    "drain": drain.WHAT,
    "beside": beside.WHAT,
    **{
        f"delay-{per_second}": f"commit to subscriber, {per_second:,} events/s"
        for per_second in delay.RATES
    },
}

_RATE: Final = Aim(15_000, 15_000)
_SHARE: Final = Aim(0.9, 0.9, unit="", digits=2)
_DELAYS: Final = {
    0.5: Aim(15, 15, is_most=True, unit=" ms", digits=1),
    0.99: Aim(60, 60, is_most=True, unit=" ms", digits=1),
}


async def _run(course: Course) -> None:
    table = Table(
        title="The relay to Redis, in one server process",
        caption=f"Medians of {course.rounds} rounds of {course.seconds:g} s.",
    )
    table.add_column("what", no_wrap=True)
    for header in ("measured", "goal"):
        table.add_column(header, justify="right", no_wrap=True)

    def found(line: str, what: str, value: float, aim: Aim) -> None:
        course.report.record("relay", line=f"relay.{line}", what=what, value=round(value, 3))
        met = verdict(aim.shown(aim.goal), is_met=aim.is_met(value, aim.goal))
        table.add_row(what, aim.shown(value), met)

    for line, what in _LINES.items():
        if line in course.lines:
            course.report.progress(what)
            with redis.running("--appendonly", "no") as valkey:
                for name, value, aim in await _measure(course, line, valkey):
                    found(line, f"{what}{name}", value, aim)
    course.report.add(table)


async def _measure(course: Course, line: str, valkey: Valkey) -> list[tuple[str, float, Aim]]:
    if line == "drain":
        rates = [await drain.measure(course, valkey) for _ in range(course.rounds)]
        return [("", median(rates), _RATE)]
    if line == "beside":
        return [("", await beside.measure(course, valkey), _SHARE)]
    per_second = int(line.rpartition("-")[2])
    delays = delay.shares(await delay.measure(course, valkey, per_second))
    return [(f", p{share:.0%}".rstrip("%"), delays[share], aim) for share, aim in _DELAYS.items()]


SUBJECT: Final = Subject("relay", _LINES, _run)
