"""``planstore task``: find tasks, take them, and say what came of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from planstore.commands.verbs import AsJson, Forgiving, InPlan, Limit, TheTask

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from rich.console import Console

    from planstore.client import PlanStoreClient
    from planstore.models import Task

app = typer.Typer(
    cls=Forgiving,
    no_args_is_help=True,
    help="Find tasks, take them, and say what came of them.",
)

Token = Annotated[
    int | None,
    typer.Option("--token", help="The claim's, where you took it.", show_default=False),
]


@app.command()
def ls(
    *,
    plan: InPlan = None,
    status: Annotated[
        list[str] | None,
        typer.Option("--status", "-s", help="Where it stands.", show_default=False),
    ] = None,
    ready: Annotated[bool, typer.Option("--ready", help="Only what may be taken now.")] = False,
    label: Annotated[
        list[str] | None, typer.Option("--label", "-l", help="Filed under.", show_default=False)
    ] = None,
    limit: Limit = 20,
    as_json: AsJson = False,
) -> None:
    """List tasks: of a plan in their order, else the newest first."""
    from planstore.commands import rendering
    from planstore.commands.naming import plan_id
    from planstore.commands.server import checked, server
    from planstore.models import TaskFilter

    asked = {"status": status or None, "ready": ready or None, "label": label or None}
    found = checked(TaskFilter, asked)
    with server() as client:
        of = None if plan is None else plan_id(client, plan)
        tasks = client.list_tasks(found, plan_id=of, limit=limit)
    if as_json:
        rendering.print_json([*tasks])
        return
    console = rendering.console()
    print_tasks(console, tasks)
    if tasks.next_cursor is not None:
        console.print(f"There are more than {limit}; -n shows more of them.", style="dim")


def print_tasks(console: Console, tasks: Sequence[Task]) -> None:
    """Print tasks as a table."""
    from planstore.commands import rendering

    ids = [task.id for task in tasks]
    rendering.print_table(
        console,
        ("id", "status", "task", "worker", "for"),
        [
            (
                rendering.shorter(task.id, ids),
                rendering.status(task.status),
                task.name or task.description,
                task.worker_id or "",
                rendering.ago(task.completed_at or task.started_at or task.created_at),
            )
            for task in tasks
        ],
        flexible=("task", "worker"),
    )


@app.command()
def show(*, task: TheTask, plan: InPlan = None, as_json: AsJson = False) -> None:
    """Show a task: its input, its output, what went wrong."""
    from planstore.commands import rendering
    from planstore.commands.naming import task_id
    from planstore.commands.server import server

    with server() as client:
        found = client.get_task(task_id(client, task, plan=plan))
    if as_json:
        rendering.print_json(found)
        return
    rest = [(name, value) for name, value in found if name not in {"id", "status", "version"}]
    identity = [("task", str(found.id)), ("status", rendering.status(found.status))]
    rendering.console().print(rendering.pairs([*identity, *rest]))


@app.command("next")
def take_next(
    *,
    plan: InPlan = None,
    worker: Annotated[
        str | None, typer.Option(help="Who takes it.", show_default="you, at this machine")
    ] = None,
    lease: Annotated[float, typer.Option(help="Seconds that the claim lasts.")] = 3_600,
    wait: Annotated[float, typer.Option(help="Seconds to wait for work, up to 60.")] = 0,
    task_type: Annotated[
        list[str] | None, typer.Option("--type", help="Only such tasks.", show_default=False)
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Take the next ready task; the exit status is 1 where there is none."""
    from planstore.commands import rendering
    from planstore.commands.naming import plan_id
    from planstore.commands.server import checked, server, worker_name
    from planstore.models import ClaimRequest

    with server() as client:
        asked = {
            "worker_id": worker or worker_name(),
            "lease_seconds": lease,
            "wait_seconds": wait,
            "task_types": task_type or None,
            "plan_id": None if plan is None else plan_id(client, plan),
        }
        request = checked(ClaimRequest, asked)
        with rendering.working("Waiting for work …"):
            packets = client.claim_tasks(request)
    if not packets:
        typer.echo("null" if as_json else "there is nothing to do now", err=not as_json)
        raise typer.Exit(1)
    (packet,) = packets
    if as_json:
        rendering.print_json(packet)
        return
    console = rendering.console()
    console.print(
        rendering.pairs(
            [
                ("task", str(packet.id)),
                ("name", packet.name),
                ("description", packet.description),
                ("plan", str(packet.plan_id)),
                ("input", packet.resolved_input),
                *(
                    (f"from {each.name or each.task_id}", each.output_data)
                    for each in packet.dependencies
                ),
                ("attempt", packet.attempt),
                ("token", packet.fencing_token),
                ("yours until", f"{packet.lease_expires_at.astimezone():%H:%M:%S}"),
            ]
        )
    )
    done = f"planstore task done {packet.id} --token {packet.fencing_token}"
    console.print(f"When it is done: {done}", style="dim", soft_wrap=True)


@app.command()
def done(
    *,
    task: TheTask,
    plan: InPlan = None,
    output: Annotated[
        str | None,
        typer.Option("--output", "-o", help="A JSON object, @FILE or @-.", show_default=False),
    ] = None,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Complete a task."""
    from planstore.commands.server import checked, json_object
    from planstore.models import Completion

    came = None if output is None else json_object(output, what="The output")
    completion = checked(Completion, {"fencing_token": token, "output_data": came})
    _do(
        task,
        plan,
        lambda client, each: client.complete_task(each, completion),
        as_json=as_json,
    )


@app.command()
def fail(
    *,
    task: TheTask,
    error: Annotated[str, typer.Option("--error", "-e", help="What went wrong.")],
    plan: InPlan = None,
    final: Annotated[bool, typer.Option("--final", help="Don't try it again.")] = False,
    token: Token = None,
    as_json: AsJson = False,
) -> None:
    """Say that a run failed; the task is tried again while it has retries left."""
    from planstore.commands.server import checked
    from planstore.models import Failure

    failure = checked(Failure, {"fencing_token": token, "error": error, "retryable": not final})
    _do(task, plan, lambda client, each: client.fail_task(each, failure), as_json=as_json)


@app.command()
def skip(*, task: TheTask, plan: InPlan = None, as_json: AsJson = False) -> None:
    """Decide that a task is not to be carried out; what waits for it goes on."""
    _do(task, plan, lambda client, each: client.skip_task(each), as_json=as_json)


@app.command()
def retry(*, task: TheTask, plan: InPlan = None, as_json: AsJson = False) -> None:
    """Try a failed task again."""
    _do(task, plan, lambda client, each: client.retry_task(each), as_json=as_json)


def _do(
    said: str, plan: str | None, verb: Callable[[PlanStoreClient, UUID], Task], *, as_json: bool
) -> None:
    from planstore.commands import rendering
    from planstore.commands.naming import task_id
    from planstore.commands.server import server
    from planstore.models import EndedTask

    with server() as client:
        changed = verb(client, task_id(client, said, plan=plan))
    if as_json:
        rendering.print_json(changed)
        return
    name = rendering.one_line(changed.name or str(changed.id))
    unblocked = len(changed.unblocked) if isinstance(changed, EndedTask) else 0
    further = f"; {unblocked} more may start now" if unblocked else ""
    console = rendering.console()
    console.print("task ", name, " is ", rendering.status(changed.status), further, sep="")


@app.command()
def explain(*, task: TheTask, plan: InPlan = None, as_json: AsJson = False) -> None:
    """Say why a task isn't running, or that it is."""
    from planstore.commands import rendering
    from planstore.commands.naming import task_id
    from planstore.commands.plan import print_reasons
    from planstore.commands.server import server

    with server() as client:
        explanation = client.explain_task(task_id(client, task, plan=plan))
    if as_json:
        rendering.print_json(explanation)
    else:
        print_reasons(explanation.sentence, explanation.reasons, explanation.blockers)
