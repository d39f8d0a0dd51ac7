"""``planstore template``: keep plans under a name, and make plans of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, cast

import typer

from planstore.commands.verbs import AsJson, Forgiving, Limit, ThePlan

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from planstore.models import Page, Template, TemplateSummary
    from planstore.models.template import TemplateRecord

app = typer.Typer(
    cls=Forgiving,
    no_args_is_help=True,
    help="Keep plans under a name, and make plans of them.",
)

TheTemplate = Annotated[str, typer.Argument(metavar="TEMPLATE", help="Its name.")]
Version = Annotated[
    int | None,
    typer.Option("--version", min=1, help="Which version of it.", show_default="the latest"),
]


@app.command()
def ls(
    *,
    archived: Annotated[bool, typer.Option("--archived", help="Archived ones too.")] = False,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List templates by name."""
    from planstore.commands.server import server

    with server() as client:
        found = client.list_templates(archived=archived, limit=limit)
    _print_all(found, limit, as_json=as_json)


@app.command()
def versions(*, template: TheTemplate, limit: Limit = 20, as_json: AsJson = False) -> None:
    """List the versions of a template, the newest first."""
    from planstore.commands.server import server

    with server() as client:
        found = client.list_template_versions(template, limit=limit)
    _print_all(found, limit, as_json=as_json)


def _print_all(found: Page[TemplateSummary], limit: int, *, as_json: bool) -> None:
    from planstore.commands import rendering

    if as_json:
        rendering.print_json([*found])
        return
    console = rendering.console()
    rendering.print_table(
        console,
        ("template", "version", "parameters", "description", "age"),
        [
            (
                each.name,
                each.version,
                ", ".join(each.parameters.get("properties", ())),
                "archived" if each.archived_at else each.description or "",
                rendering.ago(each.created_at),
            )
            for each in found
        ],
        flexible=("parameters", "description"),
    )
    if found.next_cursor is not None:
        console.print(f"There are more than {limit}; -n shows more of them.", style="dim")


@app.command()
def show(*, template: TheTemplate, version: Version = None, as_json: AsJson = False) -> None:
    """Show a template: what it takes, what it makes, how its plans did."""
    from planstore.commands import rendering
    from planstore.commands.server import server

    with server() as client:
        found = client.get_template(template, version=version)
    if as_json:
        rendering.print_json(found)
        return
    # Where they are no list, a parameter takes their place.
    tasks = found.plan.get("tasks")
    hidden = {"tasks"} if isinstance(tasks, list) else set[str]()
    console = rendering.console()
    console.print(
        rendering.pairs(
            [
                ("template", found.name),
                ("version", found.version),
                ("description", found.description),
                ("made", found.created_at),
                ("archived", found.archived_at),
                *((f"--param {name}", what) for name, what in _parameters(found.parameters)),
                *((name, value) for name, value in found.plan.items() if name not in hidden),
                *_told(found.record),
            ]
        )
    )
    if isinstance(tasks, list):
        console.print()
        rows = [_task_in_brief(each) for each in cast("list[Any]", tasks)]
        rendering.print_table(console, ("task", "description"), rows, flexible=("description",))


def _task_in_brief(task: Any) -> tuple[str, str]:
    given = _members(task)
    return given.get("name") or "", given.get("description") or str(task)


def _parameters(schema: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Tell what may be given for each parameter that a template's JSON Schema names."""
    from pydantic_core import to_json

    required = schema.get("required", ())
    for name, kind in schema.get("properties", {}).items():
        rest = {key: value for key, value in _members(kind).items() if key != "default"}
        told = ["required"] if name in required else []
        if "default" in _members(kind):
            told.append(f"{to_json(kind['default']).decode()} if left out")
        if rest:
            told.append(to_json(rest).decode())
        yield name, ", ".join(told) or "anything"


def _members(value: Any) -> dict[str, Any]:
    """Return what an object holds: a JSON Schema may also be a boolean, a task a placeholder."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def _told(record: TemplateRecord) -> Iterator[tuple[str, Any]]:
    from planstore.commands import rendering

    yield "plans", record.runs if record.is_whole else f"the newest {record.runs}"
    for name in ("completed", "failed", "cancelled", "retries"):
        yield name, getattr(record, name) or None
    yield "success rate", rendering.percent(record.success_rate)
    yield "duration p50", rendering.brief(record.duration_p50_seconds)
    yield "duration p95", rendering.brief(record.duration_p95_seconds)
    if (slowest := record.slowest_task) is not None:
        yield "slowest task", f"{slowest.task}, {rendering.brief(slowest.duration_p50_seconds)}"


@app.command()
def create(
    *,
    file: Annotated[str, typer.Argument(help="A template as JSON; - is stdin.")],
    as_json: AsJson = False,
) -> None:
    """Make a template of a file: its `name`, `parameters` and `plan`."""
    from planstore.commands.server import checked, json_object, server
    from planstore.models import TemplateCreate

    template = checked(TemplateCreate, json_object(f"@{file}", what="The template"))
    with server() as client:
        _tell(client.create_template(template), as_json=as_json)


@app.command()
def revise(
    *,
    template: TheTemplate,
    file: Annotated[str, typer.Argument(help="What changes of it as JSON; - is stdin.")],
    as_json: AsJson = False,
) -> None:
    """Make a new version of a template; what the file leaves out is as it was."""
    from planstore.commands.server import checked, json_object, server
    from planstore.models import TemplateVersionCreate

    given = json_object(f"@{file}", what="The version")
    if given.get("name") == template:  # as in the file that the template was made of
        del given["name"]
    version = checked(TemplateVersionCreate, given)
    with server() as client:
        _tell(client.add_template_version(template, version), as_json=as_json)


@app.command()
def save(
    *,
    plan: ThePlan,
    template: TheTemplate,
    description: Annotated[
        str | None, typer.Option("--description", "-d", help="What it is for.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Keep the structure of a plan as a template."""
    from planstore.commands.naming import plan_id
    from planstore.commands.server import checked, server
    from planstore.models import SaveAsTemplate

    request = checked(SaveAsTemplate, {"name": template, "description": description})
    with server() as client:
        saved = client.save_plan_as_template(plan_id(client, plan), request)
    _tell(saved, as_json=as_json)


@app.command()
def archive(*, template: TheTemplate, as_json: AsJson = False) -> None:
    """Have no more plans be made of a template."""
    from planstore.commands.server import server

    with server() as client:
        _tell(client.archive_template(template), as_json=as_json)


@app.command()
def restore(*, template: TheTemplate, as_json: AsJson = False) -> None:
    """Have plans be made of an archived template again."""
    from planstore.commands.server import server

    with server() as client:
        _tell(client.restore_template(template), as_json=as_json)


def _tell(template: Template, *, as_json: bool) -> None:
    from planstore.commands import rendering

    if as_json:
        rendering.print_json(template)
        return
    archived = ", archived" if template.archived_at else ""
    typer.echo(f"template {template.name} is at version {template.version}{archived}")


@app.command()
def use(
    *,
    template: TheTemplate,
    param: Annotated[
        list[str] | None,
        typer.Option(
            "--param",
            "-p",
            metavar="NAME=VALUE",
            help="A parameter; may be repeated.",
            show_default=False,
        ),
    ] = None,
    params: Annotated[
        str | None,
        typer.Option("--params", help="A JSON object, @FILE or @-.", show_default=False),
    ] = None,
    version: Version = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="File it under.", show_default=False)
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it at once.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a plan of a template."""
    from planstore.commands.plan import tell
    from planstore.commands.server import checked, json_object, server
    from planstore.models import Instantiation

    given = {} if params is None else json_object(params, what="What --params gives")
    with server() as client:
        if param:
            schema = client.get_template(template, version=version).parameters
            given |= (_parameter(each, schema) for each in param)
        asked = {
            "params": given,
            "version": version,
            "labels": label or None,
            "status": "active" if start else None,
        }
        plan = client.instantiate_template(template, checked(Instantiation, asked))
    tell(plan, as_json=as_json)


def _parameter(said: str, schema: Mapping[str, Any]) -> tuple[str, Any]:
    """Read `NAME=VALUE`: a text, unless the template's JSON Schema names another type.

    Raises:
        InvalidInput: it has no name.
    """
    from pydantic_core import from_json

    from planstore.errors import InvalidInput

    name, equals, value = said.partition("=")
    if not name or not equals:
        raise InvalidInput(f"--param takes NAME=VALUE, which {said!r} isn't")
    if _members(schema.get("properties", {}).get(name)).get("type", "string") == "string":
        return name, value
    try:
        return name, from_json(value)
    except ValueError:
        return name, value  # the server says what it has to be
