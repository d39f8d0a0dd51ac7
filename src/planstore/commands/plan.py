"""``planstore plan``: make plans, look at them, steer them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from planstore.commands.verbs import AsJson, Forgiving, Limit, ThePlan

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from planstore.client import PlanStoreClient
    from planstore.models import Plan
    from planstore.models.insight import Reason, TaskStanding

app = typer.Typer(cls=Forgiving, no_args_is_help=True, help="Make plans, look at them, steer them.")


@app.command()
def create(
    *,
    file: Annotated[
        str | None,
        typer.Argument(metavar="[FILE]", help="A plan as JSON; - is stdin.", show_default=False),
    ] = None,
    task: Annotated[
        list[str] | None,
        typer.Option(
            "--task", "-t", help="What is to be done; may be repeated.", show_default=False
        ),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="File it under.", show_default=False)
    ] = None,
    plan_type: Annotated[
        str | None, typer.Option("--type", help="sequential, parallel …", show_default=False)
    ] = None,
    start: Annotated[bool, typer.Option("--start", help="Start it at once.")] = False,
    expand: Annotated[bool, typer.Option("--expand", help="Make its steps into tasks.")] = False,
    as_json: AsJson = False,
) -> None:
    """Make a plan: of a file, of --task, or of both."""
    from planstore.commands.server import checked, json_object, server
    from planstore.models import PlanCreate

    given: dict[str, Any] = {} if file is None else json_object(f"@{file}", what="The plan")
    if task:
        given["tasks"] = [*given.get("tasks", ()), *({"description": each} for each in task)]
    if label:
        given["labels"] = [*given.get("labels", ()), *label]
    if plan_type is not None:
        given["plan_type"] = plan_type
    if start:
        given["status"] = "active"
    if expand:
        given["expand"] = True
    with server() as client:
        tell(client.create_plan(checked(PlanCreate, given)), as_json=as_json)


def tell(plan: Plan, *, as_json: bool) -> None:
    """Print where a plan stands."""
    from planstore.commands import rendering

    if as_json:
        rendering.print_json(plan)
        return
    paused = ", paused" if plan.paused_at else ""
    rendering.console().print(f"plan {plan.id} is ", rendering.status(plan.status), paused, sep="")


@app.command()
def ls(
    *,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", "-s", help="Where it stands.", show_default=False),
    ] = None,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="Filed under.", show_default=False)
    ] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List plans, the newest first."""
    from planstore.commands import rendering
    from planstore.commands.server import checked, server
    from planstore.models import PlanFilter

    found = checked(PlanFilter, {"status": status or None, "label": label or None})
    with server() as client:
        plans = client.list_plans(found, limit=limit)
    if as_json:
        rendering.print_json([*plans])
        return
    ids = [plan.id for plan in plans]
    console = rendering.console()
    rendering.print_table(
        console,
        ("id", "status", "type", "step", "labels", "age"),
        [
            (
                rendering.shorter(plan.id, ids),
                rendering.status("paused" if plan.paused_at else plan.status),
                plan.plan_type,
                plan.current_step,
                ", ".join(plan.labels),
                rendering.ago(plan.created_at),
            )
            for plan in plans
        ],
        flexible=("type", "labels"),
    )
    if plans.next_cursor is not None:
        console.print(f"There are more than {limit}; -n shows more of them.", style="dim")


@app.command()
def show(*, plan: ThePlan, as_json: AsJson = False) -> None:
    """Show a plan, how far it is, and its tasks."""
    from planstore.commands import rendering
    from planstore.commands.naming import plan_id
    from planstore.commands.server import server
    from planstore.commands.task import print_tasks

    with server() as client:
        found = client.get_plan(plan_id(client, plan))
        if as_json:
            rendering.print_json(found)
            return
        progress = client.get_progress(found.id)
        tasks = client.list_tasks(plan_id=found.id)
    console = rendering.console()
    hidden = {"id", "status", "steps", "auto_complete", "version"}
    console.print(
        rendering.pairs(
            [
                ("plan", str(found.id)),
                ("status", rendering.status(found.status)),
                ("done", f"{progress.percent:g} % of {progress.total} tasks"),
                ("estimated end", progress.estimated_end),
                *((name, value) for name, value in found if name not in hidden),
                ("steps", len(found.steps)),
            ]
        )
    )
    if tasks:
        console.print()
        print_tasks(console, tasks)
    if tasks.next_cursor is not None:
        console.print(f"and {progress.total - len(tasks)} more", style="dim")


def _do(said: str, verb: Callable[[PlanStoreClient, UUID], Plan], *, as_json: bool) -> None:
    from planstore.commands.naming import plan_id
    from planstore.commands.server import server

    with server() as client:
        tell(verb(client, plan_id(client, said)), as_json=as_json)


@app.command()
def start(*, plan: ThePlan, as_json: AsJson = False) -> None:
    """Have a plan hand out its tasks."""
    _do(plan, lambda client, each: client.start_plan(each), as_json=as_json)


@app.command()
def pause(*, plan: ThePlan, as_json: AsJson = False) -> None:
    """Have a plan hand out no more tasks; what runs goes on."""
    _do(plan, lambda client, each: client.pause_plan(each), as_json=as_json)


@app.command()
def resume(*, plan: ThePlan, as_json: AsJson = False) -> None:
    """Have a paused plan hand out tasks again."""
    _do(plan, lambda client, each: client.resume_plan(each), as_json=as_json)


@app.command()
def cancel(*, plan: ThePlan, as_json: AsJson = False) -> None:
    """Close a plan: what has not started is skipped."""
    _do(plan, lambda client, each: client.cancel_plan(each), as_json=as_json)


@app.command()
def retry(*, plan: ThePlan, as_json: AsJson = False) -> None:
    """Try every failed task of a plan again."""
    _do(plan, lambda client, each: client.retry_plan(each), as_json=as_json)


@app.command()
def graph(
    *,
    plan: ThePlan,
    form: Annotated[
        Literal["tree", "mermaid", "dot"], typer.Option("--format", "-f", help="How it is drawn.")
    ] = "tree",
    as_json: AsJson = False,
) -> None:
    """Draw a plan's tasks and what they need."""
    from planstore.commands import rendering
    from planstore.commands.naming import plan_id
    from planstore.commands.server import server
    from planstore.commands.tree import Leaf, branches
    from planstore.models.graph import to_dot, to_mermaid

    with server() as client:
        drawn = client.get_graph(plan_id(client, plan))
    if as_json:
        rendering.print_json(drawn)
        return
    if form != "tree":
        typer.echo((to_mermaid if form == "mermaid" else to_dot)(drawn))
        return
    needs: dict[UUID, set[UUID]] = {}
    for edge in drawn.edges:
        needs.setdefault(edge.task_id, set()).add(edge.needs_id)
    leaves = [
        Leaf(
            id=node.id,
            label=node.name or node.description,
            status=node.status,
            order=node.sequence_order,
            needs=frozenset(needs.get(node.id, ())),
        )
        for node in drawn.nodes
    ]
    console = rendering.console()
    for line in branches(leaves):
        console.print(line, no_wrap=True, overflow="ellipsis")


@app.command()
def explain(*, plan: ThePlan, as_json: AsJson = False) -> None:
    """Say why a plan isn't going on, or that it is."""
    from planstore.commands import rendering
    from planstore.commands.naming import plan_id
    from planstore.commands.server import server

    with server() as client:
        explanation = client.explain_plan(plan_id(client, plan))
    if as_json:
        rendering.print_json(explanation)
    else:
        print_reasons(explanation.sentence, explanation.reasons, explanation.blockers)


def print_reasons(sentence: str, reasons: list[Reason], blockers: list[TaskStanding]) -> None:
    """Print why something stands where it does."""
    from planstore.commands import rendering

    console = rendering.console()
    console.print(rendering.one_line(sentence), style="bold")
    for reason in reasons:
        if reason.detail == sentence:
            continue
        console.print("-", rendering.one_line(reason.detail))
    if blockers:
        console.print("What it waits for in the end:", style="dim")
        for each in blockers:
            name = each.name or rendering.shorter(each.task_id)
            console.print("-", rendering.one_line(f"{name}: {each.detail}"))


@app.command()
def watch(*, plan: ThePlan, as_json: AsJson = False) -> None:
    """Watch a plan live until it ends; the exit status is 1 unless it completes."""
    from planstore.commands.naming import plan_id
    from planstore.commands.server import server
    from planstore.commands.watching import watch as look_on

    with server() as client:
        is_completed = look_on(client, plan_id(client, plan), as_json=as_json)
    if not is_completed:
        raise typer.Exit(1)
