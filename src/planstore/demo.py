"""The documented flow, end to end, against a server of its own: what a newcomer runs first."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import httpx2
from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.table import Table

from planstore.errors import SetupError
from planstore.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

STEPS: Final = (
    ("analyze_requirements", "Parse and understand the requirements", {"requirements": 7}),
    ("design_solution", "Create the solution's architecture", {"modules": ["modal", "motion"]}),
    ("implement", "Write the code", {"files_modified": ["SteamModal.tsx", "animations.ts"]}),
    ("test", "Run the tests and verify", {"tests_added": 5, "coverage": 0.85}),
    ("review", "Review and polish", {"approved": True}),
)
"""Action, description and what its task will have produced."""

_STYLES: Final = {"completed": "green", "running": "yellow", "pending": "dim"}
_STOP_PATIENCE: Final = 10


@dataclass
class Progress:
    """What the demonstration knows of its plan, for showing."""

    plan: dict[str, Any] = field(default_factory=dict[str, Any])
    tasks: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def demo(*, as_json: bool) -> None:
    """Carry a plan out on a fresh server and print it.

    ``as_json``: print only the finished plan and its tasks, as one JSON object.

    Raises:
        SetupError: the server doesn't come up.
    """
    console = Console(stderr=as_json, quiet=as_json, highlight=False)
    console.print("Starting a PlanStore with an empty PostgreSQL of its own …")
    with temporary_server() as url, _client(url) as client:
        progress = Progress()
        console.print(f"It answers at [bold green]{url}[/]. Carrying a plan out:\n")
        with Live(console=console, auto_refresh=False) as live:

            def show() -> None:
                live.update(_view(progress), refresh=True)
                if console.is_terminal:
                    time.sleep(0.25)  # so that a person can follow

            carry_out(client, progress, show)
        if as_json:
            print(json.dumps({"plan": progress.plan, "tasks": progress.tasks}))  # noqa: T201 - its output
            return
        _print_end(console, progress)


def _client(url: str) -> httpx2.Client:
    # A proxy of the environment is no way to this machine.
    return httpx2.Client(base_url=url, timeout=30, trust_env=False)


@contextmanager
def temporary_server() -> Generator[str]:
    """Run a server with an empty database on a free port; yields its URL.

    Raises:
        SetupError: it doesn't come up.
    """
    own = {name: value for name, value in os.environ.items() if not name.startswith(PREFIX)}
    with tempfile.TemporaryDirectory(prefix="planstore-demo-") as directory:
        # PostgreSQL refuses to run as root and then runs as another user, who must get there.
        Path(directory).chmod(0o755)
        command = [sys.executable, "-m", "planstore", "serve", "--port", "0", "--json"]
        # Nobody reads its log, unless it doesn't come up.
        own["PLANSTORE_LOG_LEVEL"] = "warning"
        with subprocess.Popen(  # noqa: S603 - our own program
            [*command, "--data-dir", f"{directory}/data"],
            env=own,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                assert process.stdout is not None
                line = process.stdout.readline()
                if not line:
                    _, why = process.communicate()
                    raise SetupError(f"The demonstration's server does not come up: {why.strip()}")
                yield json.loads(line)["url"]
            finally:
                process.send_signal(signal.SIGTERM)
                process.communicate(timeout=_STOP_PATIENCE)


def carry_out(client: httpx2.Client, progress: Progress, show: Callable[[], None]) -> None:
    """Create a plan and its tasks, then start and complete each, as the documentation has it."""
    steps = [
        {"step": number, "action": action, "description": description}
        for number, (action, description, _) in enumerate(STEPS, start=1)
    ]
    progress.plan = _sent(client, "POST", "/plans/", {"plan_type": "sequential", "steps": steps})
    plan_id = progress.plan["id"]
    for step in steps:
        task = {
            "plan_id": plan_id,
            "name": step["action"],
            "description": step["description"],
            "sequence_order": step["step"],
        }
        progress.tasks.append(_sent(client, "POST", "/tasks/", task))
        show()
    progress.plan = _sent(client, "PATCH", f"/plans/{plan_id}", {"status": "active"})
    for place, (_, _, output) in enumerate(STEPS):
        path = f"/tasks/{progress.tasks[place]['id']}"
        for change in ({"status": "running"}, {"status": "completed", "output_data": output}):
            progress.tasks[place] = _sent(client, "PATCH", path, change)
            progress.plan = _sent(client, "GET", f"/plans/{plan_id}", None)
            show()


def _sent(client: httpx2.Client, method: str, path: str, body: object) -> dict[str, Any]:
    return client.request(method, path, json=body).raise_for_status().json()


def _view(progress: Progress) -> Group:
    table = Table("step", "task", "status", "output", box=None, padding=(0, 2))
    for task in progress.tasks:
        output = task["output_data"]
        table.add_row(
            str(task["sequence_order"]),
            task["name"],
            f"[{_STYLES[task['status']]}]{task['status']}[/]",
            escape(json.dumps(output)) if output else "",
        )
    done = sum(task["status"] == "completed" for task in progress.tasks)
    plan = f"  plan {progress.plan['id']}: [bold]{progress.plan['status']}[/], {done}/{len(STEPS)}"
    bar = Table.grid(padding=(0, 2))
    bar.add_row("", ProgressBar(total=len(STEPS), completed=done, width=60))
    return Group(plan, bar, table)


def _print_end(console: Console, progress: Progress) -> None:
    console.print("\nThe finished plan, as GET /plans/{id} answers it:")
    console.print_json(data=progress.plan)
    console.print(
        "\nThe plan settled by itself when its last task was completed. Now start your own: "
        "[bold]planstore serve[/]"
    )
