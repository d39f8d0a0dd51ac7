"""How commands show things: JSON for programs, tables that fit the terminal for people."""

from __future__ import annotations

import os
import sys
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

import typer
from pydantic_core import to_json
from rich.console import Console
from rich.table import Table
from rich.text import Text

from planstore.models import PlanStatus, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Sequence
    from uuid import UUID

    from planstore.models import LoggedEvent

_WIDE: Final = 500
"""Columns where nobody looks: what reads a pipe wants what there is."""

_BRIEF: Final = 13
"""Characters of an id that say when it was made, to the millisecond."""

_GAP: Final = "  "
"""What parts the columns of a table."""

_LEAST: Final = 5
"""Columns of the terminal that are left to a column which gives way."""

STYLES: Final[dict[str, str]] = {
    PlanStatus.DRAFT: "dim",
    PlanStatus.ACTIVE: "cyan",
    PlanStatus.CANCELLED: "magenta",
    TaskStatus.PENDING: "",
    TaskStatus.RUNNING: "bold yellow",
    TaskStatus.COMPLETED: "green",
    TaskStatus.FAILED: "bold red",
    TaskStatus.BLOCKED: "dim",
    TaskStatus.SKIPPED: "dim",
}


def console() -> Console:
    """Return where people look."""
    is_seen = sys.stdout.isatty() or "COLUMNS" in os.environ
    return Console(highlight=False, width=None if is_seen else _WIDE)


def print_json(answer: Any) -> None:
    """Print models as the HTTP API would answer them."""
    typer.echo(to_json(answer).decode())


@contextmanager
def working(what: str) -> Generator[None]:
    """Show that something takes a while, where somebody sits at a terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield
        return
    with console.status(what):
        yield


def status(value: str) -> Text:
    """Return a status in its colour."""
    return Text(value, STYLES.get(value, ""))


def shorter(identifier: UUID, among: Iterable[UUID] = ()) -> str:
    """Return how an id begins, as far as tells it from those ``among`` which it is."""
    text = str(identifier)
    others = [str(each) for each in among if each != identifier]
    return next(
        (
            text[:length]
            for length in range(_BRIEF, len(text))
            if not any(other.startswith(text[:length]) for other in others)
        ),
        text,
    )


def ago(time: datetime | None) -> str:
    """Return how long ago that is, such as `3m`; empty where there is no time."""
    return "" if time is None else for_long(datetime.now(UTC) - time)


def for_long(span: timedelta) -> str:
    """Return a span in its largest unit, such as `3m`."""
    seconds = max(0, int(span.total_seconds()))
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "m")):
        if seconds >= length:
            return f"{seconds // length}{unit}"
    return f"{seconds}s"


def brief(seconds: float | None) -> str:
    """Return how long something took, such as `12ms` or `1.5m`; empty where that isn't known."""
    if seconds is None:
        return ""
    for length, unit in ((86_400, "d"), (3_600, "h"), (60, "m"), (1, "s")):
        if seconds >= length:
            return f"{seconds / length:.3g}{unit}"
    return f"{seconds * 1_000:.0f}ms"


def percent(share: float | None) -> str:
    """Return a share, such as `99.5 %`; empty where there is none."""
    return "" if share is None else f"{share * 100:.4g} %"


def one_line(text: str) -> Text:
    """Return a text that a client gave, on one line and without anything that moves the cursor."""
    return Text(" ".join("".join(c if c.isprintable() else " " for c in text).split()))


def print_table(
    console: Console,
    names: Sequence[str],
    rows: Iterable[Sequence[Any]],
    *,
    flexible: Collection[str],
) -> None:
    """Print a table whose columns ``flexible`` give way where the terminal is narrow."""
    lines = [
        [each if isinstance(each, Text) else one_line(str(each)) for each in row] for row in rows
    ]
    widths = {
        name: max(len(name), *(line[at].cell_len for line in lines), 0)
        for at, name in enumerate(names)
    }
    room = console.width - len(_GAP) * len(names)
    for name in sorted(flexible, key=widths.__getitem__, reverse=True):
        excess = sum(widths.values()) - room
        widths[name] -= max(0, min(excess, widths[name] - _LEAST))
    made = Table(box=None, padding=(0, len(_GAP), 0, 0), pad_edge=False, header_style="dim")
    for name, width in widths.items():
        made.add_column(name, width=width, no_wrap=True, overflow="ellipsis")
    for line in lines:
        made.add_row(*line)
    console.print(made)


def pairs(rows: Iterable[tuple[str, Any]]) -> Table:
    """Return names and values, without those that there is nothing to say of."""
    made = Table.grid(padding=(0, 2, 0, 0))
    made.add_column(style="dim", no_wrap=True)
    made.add_column(overflow="fold")
    for name, value in rows:
        if value not in (None, "", [], {}):
            made.add_row(name, _shown(value))
    return made


def _shown(value: Any) -> Text:
    match value:
        case Text():
            return value
        case dict() | list():
            return one_line(to_json(value).decode())
        case datetime():
            return Text(f"{value.astimezone():%Y-%m-%d %H:%M:%S} ({ago(value)} ago)")
        case _:
            return one_line(str(value))


def told(event: LoggedEvent, *, name: str | None = None) -> Text:
    """Return an event on one line: when, what, to what, and what is new.

    ``name``: what the plan or task is called, if that is known.
    """
    line = Text.assemble(
        (f"{event.created_at.astimezone():%H:%M:%S}", "dim"),
        f"  {event.event_type:<16}  ",
        one_line(name or str(event.aggregate_id)),
    )
    if event.payload and not event.event_type.endswith(".created"):
        line.append(f"  {one_line(event.payload).plain}", "dim")
    return line
