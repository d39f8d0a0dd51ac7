"""`python -m bench`: run the benchmarks, write JSON lines, print tables."""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import time
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Final

import typer

from bench import over_http
from bench.coordination import subject as coordination
from bench.finding import subject as finding
from bench.postgres import postgres_at
from bench.relay import subject as relay
from bench.report import Report
from bench.statistics import subject as statistics
from bench.subject import Course
from bench.worker import subject as worker
from planstore import __version__
from planstore.errors import PlanStoreError

SUBJECTS: Final = (
    over_http.SUBJECT,
    coordination.SUBJECT,
    finding.SUBJECT,
    relay.SUBJECT,
    statistics.SUBJECT,
    worker.SUBJECT,
)

_NAMES: Final = {
    f"{subject.name}.{line}": what for subject in SUBJECTS for line, what in subject.lines.items()
}
_RESULTS: Final = Path(__file__).parent / "results"


def _chosen(only: list[str] | None) -> frozenset[str]:
    """Return the full names of the lines that ``only`` asks for: all, if it is left out."""
    if not only:
        return frozenset(_NAMES)
    chosen: set[str] = set()
    for word in only:
        matches = {name for name in _NAMES if name == word or name.startswith(f"{word}.")}
        if not matches:
            known = ", ".join((*(subject.name for subject in SUBJECTS), *_NAMES))
            raise typer.BadParameter(f"{word!r} is unknown; known are: {known}")
        chosen |= matches
    return frozenset(chosen)


app = typer.Typer(add_completion=False, pretty_exceptions_enable=False)


@app.command()
def main(
    *,
    rounds: Annotated[int, typer.Option(min=1, max=1_000, help="Rounds of each line.")] = 5,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=600, help="Length of each measurement.")
    ] = 2.0,
    rows: Annotated[
        int,
        typer.Option(
            min=1_000,
            max=10_000_000,
            help="Rows waiting, kept and paused, plans to be found or counted; in full 1000000.",
        ),
    ] = 100_000,
    hold: Annotated[
        float,
        typer.Option(
            min=1, max=3_600, help="Seconds that a transaction is held open; in full 120."
        ),
    ] = 10.0,
    only: Annotated[
        list[str] | None,
        typer.Option(
            help="A subject or a line; may be repeated. " + ", ".join(_NAMES),
            show_default="everything",
        ),
    ] = None,
    json: Annotated[
        Path | None,
        typer.Option(
            help="The file for the JSON lines.",
            dir_okay=False,
            show_default="bench/results/<timestamp>.jsonl",
        ),
    ] = None,
    database_url: Annotated[
        str | None,
        typer.Option(
            help="A PostgreSQL to make the benchmark's databases on.",
            show_default="an embedded one",
        ),
    ] = None,
) -> None:
    """Run the benchmarks, write JSON lines, and print tables."""
    lines = _chosen(only)
    path = json or _RESULTS / time.strftime("%Y%m%dT%H%M%SZ.jsonl", time.gmtime())
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w") as file, postgres_at(database_url) as postgres:
        report = Report(file)
        course = Course(postgres, report, rounds, seconds, rows, hold, lines)
        asyncio.run(_run(course))
        report.print_tables()
    typer.echo(f"JSON lines: {path}")


async def _run(course: Course) -> None:
    course.report.record(
        "run",
        planstore=__version__,
        python=platform.python_version(),
        postgres=await course.postgres.version(),
        processors=os.cpu_count(),
        platform=platform.platform(),
        rounds=course.rounds,
        seconds=course.seconds,
        rows=course.rows,
        held_seconds=course.held_seconds,
        time=time.time(),
    )
    for subject in SUBJECTS:
        wanted = frozenset(
            line for line in subject.lines if f"{subject.name}.{line}" in course.lines
        )
        if wanted:
            await subject.run(replace(course, lines=wanted))


if __name__ == "__main__":
    # What ends a run, a CI's time limit say, leaves no server behind, just as Ctrl-C.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        app()
    except PlanStoreError as error:
        raise SystemExit(f"bench: {error.detail}") from error
