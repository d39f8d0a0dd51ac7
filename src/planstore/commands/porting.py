"""``planstore import`` and ``planstore export``: plans come from files, and become files."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from planstore.commands.verbs import AsJson, ThePlan

app = typer.Typer()

# The names of `ImportFormat` and `ExportFormat`, whose module takes long to import.
ImportName = Literal["llm", "taskmaster", "markdown", "wfformat", "planstore"]
ExportName = Literal["json", "markdown", "mermaid", "dot"]


@app.command("import")
def import_plan(
    file: Annotated[
        Path, typer.Argument(exists=True, dir_okay=False, readable=True, help="What to read.")
    ],
    *,
    kind: Annotated[
        ImportName | None,
        typer.Option(
            "--format",
            "-f",
            help="How the file tells of the plan.",
            show_default="markdown for *.md, else planstore",
        ),
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would come of it; make nothing.")
    ] = False,
    active: Annotated[
        bool, typer.Option("--active", help="Have the plan carried out at once.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Make a plan of a file."""
    from planstore.commands import rendering
    from planstore.commands.transfer import send
    from planstore.models import PlanStatus

    if kind is None:
        is_markdown = file.suffix.lower() in {".md", ".markdown"}
        kind = "markdown" if is_markdown else "planstore"
    made = send(file, kind, dry_run=dry_run, status=PlanStatus.ACTIVE if active else None)
    if as_json:
        rendering.print_json(made)
        return
    what = f"{made.tasks} tasks, {made.dependencies} dependencies, {made.finished} finished"
    typer.echo(f"would make: {what}" if made.plan is None else f"made {made.plan.id}: {what}")


@app.command("export")
def export_plan(
    plan: ThePlan,
    *,
    kind: Annotated[ExportName, typer.Option("--format", "-f", help="How to tell of it.")] = "json",
    output: Annotated[
        Path | None,
        typer.Option(
            "--output",
            "-o",
            dir_okay=False,
            writable=True,
            help="The file to write.",
            show_default="standard output",
        ),
    ] = None,
) -> None:
    """Write a plan as one file."""
    from planstore.commands.naming import plan_id
    from planstore.commands.server import server
    from planstore.commands.transfer import fetched

    with server() as client:
        which = plan_id(client, plan)
    # What is refused leaves a file that is there as it was.
    with (
        fetched(which, kind) as chunks,
        nullcontext(sys.stdout.buffer) if output is None else output.open("wb") as file,
    ):
        for chunk in chunks:
            file.write(chunk)
