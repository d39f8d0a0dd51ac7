"""The command line. Each command parses, calls one thing and renders what came of it."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from planstore import __version__
from planstore.commands import events, mcp, plan, porting, stats, task, template
from planstore.commands.address import DEFAULT_URL
from planstore.commands.verbs import AsJson, Forgiving
from planstore.errors import PlanStoreError

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.retention import Pruned
    from planstore.serve import Listening
    from planstore.services.doctor import Finding

app = typer.Typer(
    name="planstore",
    cls=Forgiving,
    help="The execution plans of AI agents as data, on one ordinary PostgreSQL.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)

DataDir = Annotated[
    Path | None,
    typer.Option(help="Where the embedded PostgreSQL keeps its data.", show_default=False),
]

EXIT_FAILURE: Final = 1


def main() -> None:
    """Run the command line; an error that a person can mend is one sentence and status 1."""
    try:
        app()
    except PlanStoreError as error:
        typer.echo(f"planstore: {error.detail}", err=True)
        for fault in error.faults:
            if fault.detail not in error.detail:
                typer.echo(f"  {fault.pointer}: {fault.detail}", err=True)
        sys.exit(EXIT_FAILURE)


app.add_typer(plan.app, name="plan")
app.add_typer(task.app, name="task")
app.add_typer(template.app, name="template")
app.add_typer(events.app, name="events")
for each in (stats, porting, mcp):
    app.add_typer(each.app)


@app.command()
def serve(
    *,
    host: Annotated[
        str | None, typer.Option(help="The address to listen on.", show_default="127.0.0.1")
    ] = None,
    port: Annotated[
        int | None, typer.Option(help="The port; 0 takes any free one.", show_default="8011")
    ] = None,
    data_dir: DataDir = None,
    allow_anonymous: Annotated[
        bool, typer.Option("--allow-anonymous", help="Listen for others without an API key.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Serve the HTTP API, with an embedded PostgreSQL unless PLANSTORE_DATABASE_URL is set."""
    # Each command imports what it needs, so that help and version answer at once.
    from planstore import logs
    from planstore.serve import serve as serve_until_told
    from planstore.settings import read_settings

    settings = read_settings(
        host=host, port=port, data_dir=data_dir, allow_anonymous=allow_anonymous or None
    )
    logs.set_up(level=settings.log_level, form=settings.log_format)
    serve_until_told(settings, announce=_print_json if as_json else _print_welcome)


def _print_json(listening: Listening) -> None:
    data_dir = str(listening.data_dir) if listening.data_dir else None
    record = {"url": listening.url, "database": listening.database, "data_dir": data_dir}
    typer.echo(json.dumps(record))


def _print_welcome(listening: Listening) -> None:
    from rich.console import Console
    from rich.markup import escape

    url = listening.url
    where = f"data in {listening.data_dir}" if listening.data_dir else listening.database
    console = Console(highlight=False)
    console.print(f"[bold]PlanStore {__version__}[/] listens on [bold green]{url}[/]")
    console.print(f"  PostgreSQL: {escape(where)}", soft_wrap=True)
    console.print("  Try next, in another terminal:", style="dim")
    key = '-H "X-API-Key: $PLANSTORE_API_KEY" ' if listening.asks_for_key else ""
    body = '{"steps": [{"step": 1}]}'
    console.print(f"    curl {url}/health")
    console.print(f"    curl -X POST {url}/plans/ {key}-d '{body}'", markup=False, soft_wrap=True)
    if not listening.asks_for_key:
        console.print(f"    open {url}/docs")
    console.print("  Ctrl-C stops it.", style="dim")


@app.command()
def migrate(
    *,
    sql: Annotated[
        bool, typer.Option("--sql", help="Print the SQL of all migrations; change nothing.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Bring the database's schema up to date."""
    from planstore import migrations

    if sql:
        typer.echo(migrations.script(), nl=False)
        return
    import asyncio

    applied = asyncio.run(_with_database(migrations.migrate, data_dir))
    if as_json:
        typer.echo(json.dumps([{"version": each.version, "name": each.name} for each in applied]))
    elif applied:
        for each in applied:
            typer.echo(f"applied {each.version:04} {each.name}")
    else:
        typer.echo("the schema is up to date")


async def _with_database(work: Any, data_dir: Path | None, *, is_there: bool = False) -> Any:
    """Do ``work`` with the database that the settings name.

    ``is_there``: an embedded PostgreSQL that isn't there is an error, and isn't made.
    """
    from planstore.db import Database
    from planstore.serve import database_url
    from planstore.settings import read_settings

    settings = read_settings(data_dir=data_dir)
    with database_url(settings, is_there=is_there) as (url, _):
        is_pooled = settings.pooler == "transaction"
        async with Database.open(url, pool_size=2, is_pooled=is_pooled) as database:
            return await work(database)


@app.command()
def doctor(*, data_dir: DataDir = None, as_json: AsJson = False) -> None:
    """Check the database, its schema and what must always hold; changes nothing."""
    import asyncio

    report = asyncio.run(_with_database(_examine, data_dir, is_there=True))
    if as_json:
        typer.echo(json.dumps(report))
    else:
        _print_report(report)
    if report["findings"]:
        raise typer.Exit(EXIT_FAILURE)


async def _examine(database: Database) -> dict[str, Any]:
    from planstore.services import doctor as looking

    report = await looking.examine(database)
    return {**asdict(report), "findings": [_plain(each) for each in report.findings]}


def _plain(finding: Finding) -> dict[str, Any]:
    return {**asdict(finding), "examples": [str(each) for each in finding.examples]}


def _print_report(report: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("check", "result", "what was found", box=None, padding=(0, 2, 0, 0))
    table.add_row("database", "[green]ok[/]", f"PostgreSQL {report['postgresql']}")
    found = {finding["rule"]: finding for finding in report["findings"]}
    for rule in report["rules"]:
        if (finding := found.get(rule)) is None:
            table.add_row(rule, "[green]ok[/]", "")
        else:
            examples = f", such as {', '.join(finding['examples'])}" if finding["examples"] else ""
            what = f"{finding['sentence']}: {finding['count']}{examples}"
            table.add_row(rule, "[bold red]broken[/]", what)
    Console(highlight=False).print(table)


@app.command()
def prune(
    *,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; change nothing.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Remove old events, and plans that ended long ago, as the settings have it."""
    import asyncio

    pruned = asyncio.run(_with_database(partial(_prune, is_dry=dry_run), data_dir, is_there=True))
    if as_json:
        typer.echo(json.dumps({**asdict(pruned), "dry_run": dry_run}))
    else:
        would = "would be " if dry_run else ""
        typer.echo(f"{pruned.plans} plans {would}deleted, {pruned.events} events {would}removed")


async def _prune(database: Database, *, is_dry: bool) -> Pruned:
    from planstore import migrations
    from planstore.services import pruning
    from planstore.settings import read_settings

    await migrations.require(database)
    return await (pruning.preview if is_dry else pruning.prune)(database, read_settings().kept)


@app.command()
def worker(
    *,
    name: Annotated[
        str, typer.Argument(metavar="MODULE:NAME", help="The worker, such as tasks:worker.")
    ],
    url: Annotated[str, typer.Option(envvar="PLANSTORE_URL", help="The server.")] = DEFAULT_URL,
    database: Annotated[
        bool, typer.Option("--database", help="Use the database itself, as `serve` would.")
    ] = False,
    data_dir: DataDir = None,
    as_json: AsJson = False,
) -> None:
    """Carry tasks out by a worker's handlers until SIGTERM or SIGINT; logs go to stderr."""
    from planstore.settings import read_settings
    from planstore.worker.loading import load_worker
    from planstore.worker.logs import write_logs
    from planstore.worker.store import on_database, over_http

    write_logs(as_json=as_json)
    settings = read_settings(data_dir=data_dir)
    loaded = load_worker(name)
    if database:
        from planstore.serve import database_url

        with database_url(settings) as (where, _):
            loaded.run(on_database(where, is_pooled=settings.pooler == "transaction"))
    else:
        api_key = settings.api_key.get_secret_value() if settings.api_key else None
        loaded.run(over_http(url, api_key=api_key))


@app.command()
def openapi() -> None:
    """Print the OpenAPI document."""
    from planstore.app import create_app

    typer.echo(json.dumps(create_app(None).openapi(), indent=2))


@app.command()
def version(*, as_json: AsJson = False) -> None:
    """Print the version."""
    typer.echo(json.dumps({"version": __version__}) if as_json else f"planstore {__version__}")


@app.command()
def demo(*, as_json: AsJson = False) -> None:
    """Carry a plan out on a temporary server of its own, to see it work."""
    from planstore.demo import demo as run_demo

    run_demo(as_json=as_json)
