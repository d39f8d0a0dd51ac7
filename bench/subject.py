"""What a benchmark is: a subject with named lines, each of which can be chosen by itself."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from bench.postgres import Postgres
    from bench.report import Report


@dataclass(frozen=True, slots=True)
class Course:
    """How a benchmark is to run."""

    postgres: Postgres
    report: Report
    rounds: int
    seconds: float
    """How long each measurement lasts."""
    rows: int
    """How many rows there are beside those that are worked on, where that is what matters."""
    held_seconds: float
    """How long a transaction is held open, where that is what matters."""
    lines: frozenset[str]
    """Which lines of the subject were asked for."""


@dataclass(frozen=True, slots=True)
class Subject:
    """A module of benchmarks."""

    name: str
    lines: Mapping[str, str]
    """What it measures: names for ``--only``, each with what it stands for."""
    run: Callable[[Course], Awaitable[None]]
