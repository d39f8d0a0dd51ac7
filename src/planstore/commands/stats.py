"""``planstore stats``: how it goes, in numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import typer

from planstore.commands.verbs import AsJson

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from datetime import datetime

    from rich.console import Console

    from planstore.models.statistics import Durations, Figures, Scores, Timeline

app = typer.Typer()

# `time`, and the names of `Dimension`, whose module takes long to import.
By = Literal["time", "task_type", "agent_id", "plan_type", "template", "evaluation_type"]

_COLUMNS: Final = (
    *("completed", "failed", "skipped", "retried", "success", "rate"),
    *("wait p50/p95", "run p50/p95", "score"),
)


@app.command()
def stats(
    *,
    window: Annotated[
        str | None,
        typer.Option("--window", "-w", help="How long a time: 15m, 24h, 30d.", show_default="24h"),
    ] = None,
    since: Annotated[
        str | None, typer.Option("--from", help="From when on.", show_default=False)
    ] = None,
    until: Annotated[
        str | None, typer.Option("--to", help="Until when.", show_default="now")
    ] = None,
    by: Annotated[
        By | None, typer.Option("--by", "-b", help="Tell these apart.", show_default=False)
    ] = None,
    task_type: Annotated[
        str | None, typer.Option("--type", help="Only such tasks.", show_default=False)
    ] = None,
    agent: Annotated[
        str | None, typer.Option(help="Only tasks of this agent.", show_default=False)
    ] = None,
    plan_type: Annotated[
        str | None, typer.Option(help="Only of such plans.", show_default=False)
    ] = None,
    template: Annotated[
        str | None, typer.Option(help="Only of plans made of it.", show_default=False)
    ] = None,
    limit: Annotated[
        int, typer.Option("--limit", "-n", min=1, max=50, help="How many groups at most.")
    ] = 10,
    as_json: AsJson = False,
) -> None:
    """Tell throughput, success rate, waits and durations, over a time."""
    from planstore.commands import rendering
    from planstore.commands.server import checked, server
    from planstore.models.statistics import StatisticsQuery, TimelineQuery

    asked = {
        "from": since,
        "to": until,
        "window": window,
        "task_type": task_type,
        "agent_id": agent,
        "plan_type": plan_type,
        "template": template,
    }
    console = rendering.console()
    if by == "time":
        query = checked(TimelineQuery, asked)
        with server() as client:
            line = client.get_timeline(query)
        if as_json:
            rendering.print_json(line)
        else:
            _print_line(console, line)
        return
    query = checked(StatisticsQuery, {**asked, "group_by": by, "limit": limit})
    with server() as client:
        told = client.get_statistics(query)
    if as_json:
        rendering.print_json(told)
        return
    console.print(rendering.pairs([("time", _span(told.since, told.until)), *_pairs(told.total)]))
    if by is not None:
        console.print()
        _print_table(console, by, [(each.value or "none", each) for each in told.groups])
    if told.group_count > len(told.groups):
        more = told.group_count - len(told.groups)
        console.print(f"and {more} more; -n shows up to 50", style="dim")


def _print_line(console: Console, line: Timeline) -> None:
    console.print(f"{_span(line.since, line.until)}, by the {line.step}", style="dim")
    busy = [(_moment(each.at), each) for each in line.points if any(_cells(each))]
    if busy:
        _print_table(console, "time", busy)
    else:
        console.print("nothing has ended")


def _print_table(console: Console, by: str, rows: Sequence[tuple[str, Figures]]) -> None:
    """Print figures, without the columns in which there is nothing."""
    from planstore.commands import rendering

    lines = [(name, *_cells(figures)) for name, figures in rows]
    names = (by, *_COLUMNS)
    told = [at for at in range(len(names)) if at == 0 or any(line[at] for line in lines)]
    rendering.print_table(
        console,
        [names[at] for at in told],
        [[line[at] for at in told] for line in lines],
        flexible=[names[at] for at in told],
    )


def _cells(figures: Figures) -> Iterable[str]:
    from planstore.commands import rendering

    counts = (figures.completed, figures.failed, figures.skipped, figures.retried)
    return (
        *(str(each or "") for each in counts),
        rendering.percent(figures.success_rate),
        _rate(figures.throughput),
        *(_middle_and_slow(each) for each in (figures.queue_wait, figures.run_time)),
        _score(figures.scores),
    )


def _pairs(figures: Figures) -> Iterable[tuple[str, Any]]:
    from planstore.commands import rendering

    return (
        ("completed", figures.completed),
        ("failed", figures.failed),
        ("skipped", figures.skipped or None),
        ("retried", figures.retried or None),
        ("success rate", rendering.percent(figures.success_rate)),
        ("throughput", _rate(figures.throughput)),
        ("queue wait", _durations(figures.queue_wait)),
        ("run time", _durations(figures.run_time)),
        ("score", _score(figures.scores)),
    )


def _durations(told: Durations) -> str:
    from planstore.commands import rendering

    if not told.count:
        return ""
    named = (("p50", told.p50), ("p95", told.p95), ("p99", told.p99), ("mean", told.mean))
    return ", ".join(f"{name} {rendering.brief(each)}" for name, each in named)


def _middle_and_slow(told: Durations) -> str:
    from planstore.commands import rendering

    return f"{rendering.brief(told.p50)}/{rendering.brief(told.p95)}" if told.count else ""


def _score(scores: Scores) -> str:
    return "" if scores.mean is None else f"{scores.mean:.2f} of {scores.count}"


def _rate(per_second: float) -> str:
    """Return how often that is, in the first unit of which there is one; empty for never."""
    for seconds, unit in ((1, "s"), (60, "min"), (3_600, "h")):
        if per_second * seconds >= 1:
            return f"{per_second * seconds:,.1f}/{unit}"
    return f"{per_second * 86_400:,.1f}/d" if per_second else ""


def _span(since: datetime, until: datetime) -> str:
    return f"{_moment(since)} to {_moment(until)}"


def _moment(at: datetime) -> str:
    return f"{at.astimezone():%Y-%m-%d %H:%M}"
