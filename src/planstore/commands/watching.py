"""A plan as it goes on, on a terminal: its tasks as a tree, who runs what, what just happened.

All of it is told by events: those that there have been, laid on each other, give the plan as it is,
and each new one changes it. So looking on asks nothing of the server but its stream.
"""

from __future__ import annotations

from collections import deque
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final
from uuid import UUID

import typer
from pydantic_core import from_json
from rich.console import Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from planstore.commands import rendering
from planstore.commands.tree import Leaf, branches
from planstore.models import EventFilter, PlanStatus, TaskStatus
from planstore.models.history import Event, Past
from planstore.models.plan import FINAL
from planstore.models.task import FINISHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.console import Console, ConsoleOptions, RenderResult

    from planstore.client import PlanStoreClient
    from planstore.models import LoggedEvent
    from planstore.models.history import Fields

_HAPPENED: Final = 5
"""How many of the last events are shown."""

_FRAME: Final = 4
"""Lines beside the tree and the events: the head, the bar, and what parts them."""


def watch(client: PlanStoreClient, plan: UUID, *, as_json: bool) -> bool:
    """Show how a plan goes on until it ends; returns whether it has completed.

    On a terminal as a picture that changes, elsewhere as a line for each event from now on;
    ``as_json``: the event as JSON.

    Raises:
        NotFound: there is no such plan.
    """
    client.get_plan(plan)  # which says so if there is none
    view = View(plan)
    console = rendering.console()
    place = 0
    with rendering.working("Reading what has happened …"):
        for event in _happened(client, plan):
            view.take(_whole(client, event))
            place = event.seq
    if not console.is_terminal or as_json:
        for event in _until_the_end(client, plan, view, place):
            if as_json:
                typer.echo(event.json)
            else:
                console.print(rendering.told(event, name=view.name_of(event)))
        return view.is_completed
    with Live(view, console=console, refresh_per_second=4, vertical_overflow="crop") as live:
        for _ in _until_the_end(client, plan, view, place):
            live.update(view)
    return view.is_completed


def _happened(client: PlanStoreClient, plan: UUID) -> Iterator[LoggedEvent]:
    place: int | None = 0
    while place is not None:
        page = client.list_events(EventFilter(plan_id=[plan]), after=place)
        yield from page
        place = page.next_after


def _until_the_end(
    client: PlanStoreClient, plan: UUID, view: View, place: int
) -> Iterator[LoggedEvent]:
    if view.is_over:
        return
    with client.stream_events(plan_id=plan, after=place) as events:
        for event in events:
            view.take(_whole(client, event))
            yield event
            if view.is_over:
                return


def _whole(client: PlanStoreClient, event: LoggedEvent) -> LoggedEvent:
    return client.get_event(event.id) if event.payload is None else event


class View:
    """A plan as it stands, for showing."""

    def __init__(self, plan: UUID) -> None:
        self._id = plan
        self._past = Past()
        self._last: deque[tuple[LoggedEvent, str | None]] = deque(maxlen=_HAPPENED)

    def take(self, event: LoggedEvent) -> None:
        """Let an event have happened."""
        name = self.name_of(event)
        payload, metadata = from_json(event.payload or "{}"), from_json(event.metadata)
        self._past.lay(Event(*event[:7], payload, metadata))
        self._last.append((event, name or self.name_of(event)))

    def name_of(self, event: LoggedEvent) -> str | None:
        """Return what the plan or task of an event is called."""
        if event.aggregate_type == "plan":
            return "the plan"
        task = self._past.tasks.get(event.aggregate_id)
        return None if task is None else _label(task)

    @property
    def _plan(self) -> Fields:
        return self._past.plan or {"status": PlanStatus.CANCELLED, "plan_type": "deleted"}

    @property
    def is_over(self) -> bool:
        """Whether the plan has ended, or was deleted."""
        return self._plan["status"] in FINAL

    @property
    def is_completed(self) -> bool:
        """Whether it has ended well."""
        return self._plan["status"] == PlanStatus.COMPLETED

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        tasks = {**self._past.tasks}
        height = options.height or console.height
        happened = [rendering.told(event, name=name) for event, name in [*self._last]]
        yield self._head(tasks)
        yield _Lines(_fitted(branches(_leaves(tasks)), height - _FRAME - len(happened)))
        yield Text()
        yield _Lines(happened)

    def _head(self, tasks: dict[UUID, Fields]) -> Group:
        plan = self._plan
        finished = sum(task["status"] in FINISHED for task in tasks.values())
        standing = [
            (each, sum(task["status"] == each for task in tasks.values())) for each in TaskStatus
        ]
        line = Text.assemble(
            ("plan ", "dim"),
            rendering.shorter(self._id),
            f"  {plan['plan_type']}  ",
            rendering.status(plan["status"]),
            ", paused" if plan.get("paused_at") else "",
        )
        bar = Table.grid(padding=(0, 1, 0, 0), expand=True)
        bar.add_column(ratio=1)
        bar.add_column(no_wrap=True)
        bar.add_row(
            ProgressBar(total=max(len(tasks), 1), completed=finished),
            f"{finished}/{len(tasks)}",
        )
        counts = [
            Text(f"{count} {each}", rendering.STYLES[each]) for each, count in standing if count
        ]
        return Group(_cut(line), bar, _cut(Text("  ").join(counts)))


class _Lines:
    """Lines that are cut off at the terminal's edge."""

    def __init__(self, lines: list[Text]) -> None:
        self._lines = lines

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield from (_cut(line) for line in self._lines)


def _cut(line: Text) -> Text:
    line.no_wrap, line.overflow = True, "ellipsis"
    return line


def _fitted(lines: list[Text], height: int) -> list[Text]:
    """Return as many lines as there is room for, around where the plan stands."""
    if len(lines) <= height:
        return lines
    room = max(height - 2, 1)
    at = next((n for n, line in enumerate(lines) if "▶" in line.plain), None)
    at = at if at is not None else next((n for n, line in enumerate(lines) if "○" in line.plain), 0)
    first = max(0, min(at - room // 2, len(lines) - room))
    before, after = first, len(lines) - first - room
    return [
        *([Text(f"… {before} more", "dim")] if before else []),
        *lines[first : first + room],
        *([Text(f"… {after} more", "dim")] if after else []),
    ]


def _leaves(tasks: dict[UUID, Fields]) -> list[Leaf]:
    return [
        Leaf(
            id=task_id,
            label=_label(task),
            status=task["status"],
            order=task["sequence_order"],
            needs=frozenset(UUID(each["task_id"]) for each in task.get("depends_on", ())),
            note=_note(task),
        )
        for task_id, task in tasks.items()
    ]


def _label(task: Fields) -> str:
    return task["name"] or task["description"]


def _note(task: Fields) -> str:
    """Who runs it, for how long, and how far; or what went wrong."""
    if task["status"] == TaskStatus.FAILED and task["error"]:
        return str(task["error"])
    if task["status"] != TaskStatus.RUNNING:
        return ""
    began = task["started_at"]
    since = rendering.for_long(datetime.now(UTC) - datetime.fromisoformat(began)) if began else ""
    said = (task["worker_id"], since, task["progress"], task["progress_note"])
    return "  ".join(str(each) for each in said if each is not None)
