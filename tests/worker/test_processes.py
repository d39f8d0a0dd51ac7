"""Workers as processes: stopped, killed, told to end, and with a server that goes away."""

from __future__ import annotations

import json
import signal
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import pytest

from tests.served import PATIENCE, command, database_of, environment, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterator

    import httpx2

    from tests.conftest import Postgres
    from tests.served import Served

ROOT: Final = Path(__file__).parents[2]
WORKER: Final = "tests.worker.handling:worker"


@dataclass(frozen=True, slots=True)
class WorkerProcess:
    process: subprocess.Popen[bytes]
    log: Path

    def end(self, how: int = signal.SIGTERM) -> int:
        self.process.send_signal(how)
        return self.process.wait(PATIENCE)

    def logged(self, event: str) -> list[dict[str, Any]]:
        lines = [json.loads(line) for line in self.log.read_text().splitlines()]
        return [line for line in lines if line["event"] == event]


@contextmanager
def working(*arguments: str, lease: float = 2.0, **variables: str) -> Generator[WorkerProcess]:
    """Run `planstore worker` until the end of the block, or until the test has ended it."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with (
            log.open("wb") as stderr,
            subprocess.Popen(
                command("worker", WORKER, "--json", *arguments),
                stderr=stderr,
                cwd=ROOT,
                env=environment(LEASE=str(lease), **variables),
            ) as process,
        ):
            try:
                yield WorkerProcess(process, log)
            finally:
                process.kill()
                process.wait(PATIENCE)


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Iterator[str]:
    with database_of(postgres) as url:
        yield url


@pytest.fixture(scope="module")
def server(database: str) -> Iterator[Served]:
    with serving(PLANSTORE_DATABASE_URL=database) as server:
        yield server


@pytest.fixture
def client(server: Served) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


def eventually(look: Callable[[], Any]) -> Any:
    """Return what there is to see as soon as there is something."""
    deadline = time.monotonic() + PATIENCE
    while not (seen := look()):
        assert time.monotonic() < deadline
        time.sleep(0.02)  # between two looks; nothing is ordered by it
    return seen


def new_task(client: httpx2.Client, task_type: str, **fields: Any) -> str:
    plan = client.post("/plans/", json={"status": "active"}).json()
    task = {"plan_id": plan["id"], "description": "do it", "task_type": task_type, **fields}
    return client.post("/tasks/", json=task).json()["id"]


def completed(client: httpx2.Client, task_id: str) -> dict[str, Any]:
    def look() -> dict[str, Any] | None:
        task = client.get(f"/tasks/{task_id}").json()
        return task if task["status"] == "completed" else None

    return eventually(look)


def test_a_worker_that_was_stopped_past_its_lease_is_refused_says_so_and_goes_on(
    server: Served, client: httpx2.Client, tmp_path: Path
) -> None:
    task_id = new_task(client, "wait", input_data={"place": str(tmp_path)})
    with working(PLANSTORE_URL=server.url) as first:
        eventually((tmp_path / "begun-1").exists)
        first.process.send_signal(signal.SIGSTOP)
        with working(PLANSTORE_URL=server.url) as second:
            eventually((tmp_path / "begun-2").exists)
            (tmp_path / "end").touch()
            task = completed(client, task_id)
            assert second.end() == 0
            assert task["output_data"] == {"pid": second.process.pid}

        first.process.send_signal(signal.SIGCONT)
        (refused,) = eventually(lambda: first.logged("report_refused"))
        assert (refused["code"], refused["task_id"]) == ("stale_claim", task_id)
        events = client.get("/events", params={"aggregate_id": task_id}).json()
        (kept,) = [each for each in events if each["event_type"] == "task.result_refused"]
        assert kept["metadata"]["refused"]["output_data"] == {"pid": first.process.pid}
        assert client.get(f"/tasks/{task_id}").json() == task

        next_one = completed(client, new_task(client, "quick"))
        assert next_one["output_data"] == {"pid": first.process.pid, "attempt": 1}
        assert first.end() == 0


def test_a_killed_worker_loses_nothing(
    server: Served, client: httpx2.Client, tmp_path: Path
) -> None:
    task_id = new_task(client, "wait", input_data={"place": str(tmp_path)})
    with working(PLANSTORE_URL=server.url) as first:
        eventually((tmp_path / "begun-1").exists)
        first.end(signal.SIGKILL)
    (tmp_path / "end").touch()
    with working(PLANSTORE_URL=server.url) as second:
        task = completed(client, task_id)
    assert task["output_data"] == {"pid": second.process.pid}
    attempts = client.get(f"/tasks/{task_id}/attempts").json()
    assert [each["outcome"] for each in attempts] == ["lease_ended", "completed"]


def test_sigterm_lets_what_runs_end_on_the_database_itself(
    database: str, client: httpx2.Client, tmp_path: Path
) -> None:
    task_id = new_task(client, "wait", input_data={"place": str(tmp_path)})
    with working("--database", PLANSTORE_DATABASE_URL=database) as worker:
        eventually((tmp_path / "begun-1").exists)
        worker.process.send_signal(signal.SIGTERM)
        eventually(lambda: worker.logged("worker_stopping"))
        left = new_task(client, "quick")
        (tmp_path / "end").touch()
        assert worker.process.wait(PATIENCE) == 0
        (stopped,) = worker.logged("worker_stopped")
    assert (stopped["completed"], stopped["released"]) == (1, 0)
    assert client.get(f"/tasks/{task_id}").json()["status"] == "completed"
    assert client.get(f"/tasks/{left}").json()["status"] == "pending"


def test_a_server_that_is_started_again_finds_its_workers_at_work(
    postgres: Postgres, tmp_path: Path
) -> None:
    with (
        database_of(postgres) as url,
        serving(PLANSTORE_DATABASE_URL=url) as server,
        server.client() as client,
    ):
        task_id = new_task(client, "wait", input_data={"place": str(tmp_path)})
        with working(PLANSTORE_URL=server.url, lease=30) as worker:
            eventually((tmp_path / "begun-1").exists)
            server.end(signal.SIGKILL)
            (tmp_path / "end").touch()
            eventually(lambda: worker.logged("store_unavailable"))
            with serving("--port", str(server.port), PLANSTORE_DATABASE_URL=url):
                first = completed(client, task_id)
                second = completed(client, new_task(client, "quick"))
                assert worker.end() == 0
    assert first["attempt"] == second["attempt"] == 1
