"""The examples do what they say: each is run as its reader would run it, against a real server."""

from __future__ import annotations

import re
import subprocess
import sys
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Timer
from typing import TYPE_CHECKING, Final

import pytest

from planstore.client import PlanStoreClient
from planstore.models import PlanStatus, TaskStatus
from tests import redis as servers
from tests.served import PATIENCE, database_of, environment, serving

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    from planstore.models import Task
    from tests.conftest import Postgres
    from tests.served import Served

ROOT: Final = Path(__file__).parents[2]
EXAMPLES: Final = ROOT / "examples"
KEY: Final = "examples-0123456789"


@pytest.fixture(scope="module")
def server(postgres: Postgres) -> Iterator[Served]:
    """A server that asks for a key."""
    settings = {"PLANSTORE_API_KEY": KEY}
    with database_of(postgres) as url, serving(PLANSTORE_DATABASE_URL=url, **settings) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


def run(program: str, *arguments: str, at: Served) -> list[str]:
    """Run an example to its end; answers the lines that it has printed."""
    done = subprocess.run(
        [sys.executable, str(EXAMPLES / program), *arguments],
        capture_output=True,
        text=True,
        env=environment(PLANSTORE_URL=at.url, PLANSTORE_API_KEY=KEY),
        timeout=PATIENCE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


@contextmanager
def started(program: str, **variables: str) -> Generator[subprocess.Popen[str]]:
    """Run an example that goes on until it is told to end; it is given up if nobody tells it."""
    with subprocess.Popen(
        [sys.executable, str(EXAMPLES / program)],
        stdout=subprocess.PIPE,
        text=True,
        env=environment(PYTHONUNBUFFERED="1", PLANSTORE_API_KEY=KEY, **variables),
    ) as process:
        giving_up = Timer(PATIENCE, process.kill)
        giving_up.start()
        try:
            yield process
        finally:
            giving_up.cancel()
            process.kill()


def ended(process: subprocess.Popen[str]) -> list[str]:
    """Tell a worker to end; answers the lines that it has printed."""
    process.terminate()
    printed, _ = process.communicate()
    assert process.returncode == 0
    return printed.splitlines()


def tasks_of_newest_plan(server: Served) -> dict[str | None, Task]:
    with PlanStoreClient.open(server.url, api_key=KEY) as store:
        (plan,) = store.list_plans(limit=1)
        assert plan.status == PlanStatus.COMPLETED
        return {each.name: each for each in store.list_tasks(plan_id=plan.id)}


def test_a_team_of_four_processes_carries_a_plan_out(server: Served) -> None:
    with (
        started("team/researcher.py", PLANSTORE_URL=server.url) as researcher,
        started("team/writer.py", PLANSTORE_URL=server.url) as writer,
    ):
        (plan,) = run("team/planner.py", at=server)
        watched = run("team/watcher.py", plan, at=server)
        looked_up, written = ended(researcher), ended(writer)

    *of_tasks, last = watched
    assert last == "the plan is completed"
    begun = dict(each.split(" is begun by ") for each in of_tasks if " is begun by " in each)
    subjects = {"whales", "owls", "bees"}
    assert begun.keys() == {*subjects, "letter"}
    (one,) = {begun[each] for each in subjects}
    assert begun["letter"] != one
    assert of_tasks[-2:] == [f"letter is begun by {begun['letter']}", "letter is completed"]
    assert {f"{each} is completed" for each in subjects} < set(of_tasks)
    assert len(of_tasks) == 2 * len(begun)
    assert sorted(looked_up) == [f"looking up {each}" for each in sorted(subjects)]
    letter = tasks_of_newest_plan(server)["letter"]
    assert letter.output_data == {"text": "\n".join(written)}
    assert written[0] == "Dear Ida,"
    assert len(written) == 4


def test_an_answer_of_a_language_model_is_carried_out(server: Served) -> None:
    printed = run("from_a_model/run.py", at=server)

    tasks = tasks_of_newest_plan(server)
    words = {
        name: len((ROOT / f"docs/{name}.md").read_text("utf-8").split())
        for name in ("claims", "plans", "redis")
    }
    shortest = min(words, key=words.__getitem__)
    assert printed == [
        "taken in: 4 tasks, 3 dependencies",
        "completed: 4 tasks",
        f"advise: {{'page': '{shortest}.md'}}",
        *(f"{name}: {{'words': {count}}}" for name, count in words.items()),
    ]
    assert tasks["advise"].output_data == {"page": f"{shortest}.md"}


def test_a_plan_is_changed_by_what_its_first_task_finds(server: Served) -> None:
    first, *chapters, bound, book, status, revision = run("replanning/run.py", at=server)

    assert first == "survey: the book has 3 chapters"
    assert sorted(chapters) == [
        "chapter 1: 'A whale went out'",
        "chapter 2: 'It met a storm'",
        "chapter 3: 'It came home'",
    ]
    assert bound == "bind: 3 chapters"
    assert book == "print: tuo tnew elahw A / mrots a tem tI / emoh emac tI"
    assert status == "completed: 6 tasks"
    assert re.fullmatch(r"revision \d+, by survey: the book has 3 chapters", revision)
    names = {"survey", "chapter 1", "chapter 2", "chapter 3", "bind", "print"}
    assert tasks_of_newest_plan(server).keys() == names


def test_a_neighbour_on_redis_hears_what_is_completed(postgres: Postgres) -> None:
    with ExitStack() as stack:
        redis = stack.enter_context(servers.running()).url
        database = stack.enter_context(database_of(postgres))
        settings = {"PLANSTORE_DATABASE_URL": database, "PLANSTORE_REDIS_URL": redis}
        server = stack.enter_context(serving(**settings))
        neighbour = stack.enter_context(
            started("redis_neighbour/neighbour.py", PLANSTORE_REDIS_URL=redis)
        )
        heard = neighbour.stdout
        assert heard is not None
        assert heard.readline() == "listening to l01:events\n"

        run("replanning/run.py", at=server)

        told = [heard.readline() for _ in range(7)]
        assert told[0] == "a task is completed, with the output {'chapters': 3}\n"
        assert told[-1] == "plan.completed: 6 tasks were completed\n"


def test_an_agent_goes_from_a_goal_to_a_finished_plan_by_its_tools(server: Served) -> None:
    printed = run("mcp_agent/agent.py", at=server)

    known, made, claimed, changed, explained, *ends, last = printed
    assert known == "context: I hold 0 tasks"
    assert (made, claimed) == ("create: mix, bake, serve", "claim: mix")
    assert changed == "replan: cool is new"
    assert explained.startswith("explain: It waits for 'cool', which in the end waits for 'mix'")
    assert ends == [
        "complete: mix; next is ['bake']",
        "complete: bake; next is ['cool']",
        "complete: cool; next is ['serve']",
        "complete: serve; next is []",
    ]
    assert last == "get: the plan is completed"
    for task in tasks_of_newest_plan(server).values():
        assert (task.status, task.output_data) == (
            TaskStatus.COMPLETED,
            {"done_by": "ada the agent"},
        )


def test_each_program_says_how_it_is_run_and_is_listed() -> None:
    listed = (EXAMPLES / "README.md").read_text("utf-8")
    for program in EXAMPLES.glob("*/*.py"):
        assert f"python {program.relative_to(ROOT)}" in program.read_text("utf-8")
        assert f"]({program.relative_to(EXAMPLES)})" in listed
