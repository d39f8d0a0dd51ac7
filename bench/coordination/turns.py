"""Measuring several sides in turn, each time on a fresh copy of its database."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING, Any

from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence

    from bench.coordination.pace import Load, Pace
    from bench.process import Process
    from bench.subject import Course


@dataclass(frozen=True, slots=True)
class Side:
    """One of those that are measured in turn."""

    name: str
    act: Callable[[str, Load], Coroutine[Any, Any, Pace]]
    """What its process carries out, given the URL of its database."""
    load: Load
    template: str
    """The database that each measurement gets a copy of."""
    process: Process


@asynccontextmanager
async def supplied(
    course: Course, name: str, supply: Callable[[PlanStore], Awaitable[None]] | None = None
) -> AsyncGenerator[str]:
    """Make a database of PlanStore that has what ``supply`` adds, and yield its name."""
    async with course.postgres.database(name) as database:
        async with course.postgres.filling(database) as url, PlanStore.open(url) as store:
            if supply is not None:
                await supply(store)
        yield database


async def in_turn(course: Course, line: str, sides: Sequence[Side]) -> list[list[Pace]]:
    """Measure the sides in turn, in an order that changes with each round; answers by side."""
    found: dict[str, list[Pace]] = {side.name: [] for side in sides}
    for turn in range(course.rounds):
        for side in sides if turn % 2 == 0 else reversed(sides):
            pace = await _measure(course, side)
            found[side.name].append(pace)
            record(course, line, side.name, pace, turn=turn)
    return list(found.values())


async def _measure(course: Course, side: Side) -> Pace:
    name = f"{side.name}_measured"
    async with course.postgres.database(name, template=side.template) as database:
        return await side.process.run(side.act, course.postgres.url_of(database), side.load)


def record(
    course: Course,
    line: str,
    side: str,
    pace: Pace,
    *,
    turn: int = 0,
    subject: str = "coordination",
) -> None:
    """Write one measurement to the file."""
    course.report.record(
        "pace",
        line=f"{subject}.{line}",
        side=side,
        round=turn,
        tasks=pace.tasks,
        seconds=round(pace.seconds, 4),
        per_second=round(pace.rate, 1),
        memory_mb=round(pace.memory_mb, 1),
    )


def rate_of(paces: Sequence[Pace]) -> float:
    """The median of the rounds' rates."""
    return median(each.rate for each in paces)


def ratio_of(paces: Sequence[Pace], others: Sequence[Pace]) -> float:
    """The median of the rounds' ratios."""
    return median(one.rate / other.rate for one, other in zip(paces, others, strict=True))


def memory_of(paces: Sequence[Pace]) -> float:
    """The most that the process ever had."""
    return max(each.memory_mb for each in paces)
