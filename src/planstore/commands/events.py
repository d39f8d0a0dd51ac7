"""``planstore events``: what has happened, and what happens."""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Annotated

import typer

from planstore.commands.verbs import AsJson, Forgiving, InPlan

if TYPE_CHECKING:
    from collections.abc import Iterator
    from uuid import UUID

    from planstore.client import PlanStoreClient
    from planstore.models import LoggedEvent

app = typer.Typer(cls=Forgiving, no_args_is_help=True, help="What has happened, and what happens.")


@app.callback()
def _events() -> None:
    """Have `tail` stay a verb, though it is the only one."""


@app.command()
def tail(
    *,
    plan: InPlan = None,
    event_type: Annotated[
        list[str] | None,
        typer.Option("--type", help="Such as task.completed.", show_default=False),
    ] = None,
    after: Annotated[
        int | None,
        typer.Option(min=0, help="Begin after this seq; 0: at the beginning.", show_default="now"),
    ] = None,
    limit: Annotated[
        int | None,
        typer.Option("--limit", "-n", min=1, help="End after so many.", show_default=False),
    ] = None,
    follow: Annotated[
        bool, typer.Option("--follow/--no-follow", help="Wait for what is still to happen.")
    ] = True,
    as_json: AsJson = False,
) -> None:
    """Tell of events as they happen, until Ctrl-C."""
    from planstore.commands.naming import plan_id
    from planstore.commands.server import server

    with server() as client:
        of = None if plan is None else plan_id(client, plan)
        types = event_type or None
        if not follow:
            _print_all(islice(_listed(client, of, types, after or 0), limit), as_json=as_json)
            return
        with client.stream_events(plan_id=of, event_types=types, after=after) as events:
            _print_all(islice(events, limit), as_json=as_json)


def _listed(
    client: PlanStoreClient, plan: UUID | None, types: list[str] | None, after: int
) -> Iterator[LoggedEvent]:
    from planstore.commands.server import checked
    from planstore.models import EventFilter

    found = checked(EventFilter, {"plan_id": plan, "event_type": types})
    place: int | None = after
    while place is not None:
        page = client.list_events(found, after=place)
        yield from page
        place = page.next_after


def _print_all(events: Iterator[LoggedEvent], *, as_json: bool) -> None:
    from planstore.commands import rendering

    console = rendering.console()
    for event in events:
        if as_json:
            typer.echo(event.json)
        else:
            console.print(rendering.told(event), no_wrap=True, overflow="ellipsis")
