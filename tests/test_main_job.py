"""The main job on real input: lists of tasks become plans, are carried out, and survive a kill."""

from __future__ import annotations

import json
import os
import shutil
import signal
import tempfile
import threading
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from uuid import NAMESPACE_URL, uuid5

import httpx2
import pytest

from tests.served import PATIENCE, serving

if TYPE_CHECKING:
    from collections.abc import Iterator

    Json = dict[str, Any]

REAL: Final = Path(__file__).parents[2] / "shared" / "real" / "taskmaster-tasks.json"

WORKERS: Final = 4


def own_lists() -> dict[str, list[Json]]:
    """A small input, for where the real one isn't."""
    return {
        name: [
            {
                "id": number,
                "title": f"Step {number} of {name}",
                "description": "Größe prüfen — “quoted”, \\ and \n a second line",
                "details": "x" * 2_000,
                "dependencies": [number - 1] if number > 1 else [],
                "subtasks": [{"id": 1, "title": "first", "status": "pending"}],
            }
            for number in range(1, size + 1)
        ]
        for name, size in (("one", 3), ("two", 9), ("three", 6))
    }


def lists() -> dict[str, list[Json]]:
    """Each list of tasks by its name."""
    if not REAL.exists():
        return own_lists()
    content = json.loads(REAL.read_text("utf-8"))
    return {name: tagged["tasks"] for name, tagged in content.items()}


class Gone(Exception):
    """The server didn't answer."""


@dataclass
class Job:
    """What is to be done, how far it has come, and what the server has acknowledged."""

    lists: dict[str, list[Json]]
    url: str = ""
    acknowledged: dict[str, Json] = field(default_factory=dict[str, "Json"])
    """The newest version of each object that the server has answered, by its path."""
    count: int = 0
    progress: threading.Condition = field(default_factory=threading.Condition)

    def run(self) -> None:
        """Do all of it, from wherever it stands: what was done already is answered again."""
        with ThreadPoolExecutor(WORKERS) as pool:
            plans = dict(zip(self.lists, pool.map(self._make_plan, self.lists), strict=True))
            entries = [
                (plans[name], place, entry)
                for name, content in self.lists.items()
                for place, entry in enumerate(content, 1)
            ]
            for _ in pool.map(self._carry_out, entries):
                pass

    def run_until_gone(self) -> None:
        with suppress(Gone):
            self.run()

    def wait_for(self, share: float) -> None:
        """Wait until this share of all requests is acknowledged."""
        with self.progress:
            assert self.progress.wait_for(lambda: self.count >= share * self.total, PATIENCE)

    @property
    def total(self) -> int:
        return len(self.lists) + 3 * sum(map(len, self.lists.values()))

    def _make_plan(self, name: str) -> Json:
        content = {"steps": self.lists[name], "metadata": {"list": name}}
        return self._send("POST", "/plans/", content, key=name)

    def _carry_out(self, work: tuple[Json, int, Json]) -> None:
        plan, place, entry = work
        key = f"{plan['id']}-{place}"
        content = {
            "plan_id": plan["id"],
            "description": entry["title"],
            "input_data": entry,
            "sequence_order": place,
        }
        task = self._send("POST", "/tasks/", content, key=key)
        path = f"/tasks/{task['id']}"
        self._send("PATCH", path, {"status": "running"}, key=f"{key}-start")
        output = {"result": "done", "entry": entry["id"], "checked": entry.get("testStrategy")}
        content = {"status": "completed", "output_data": output}
        self._send("PATCH", path, content, key=f"{key}-end")

    def _send(self, method: str, path: str, content: Json, *, key: str) -> Json:
        headers = {"Idempotency-Key": str(uuid5(NAMESPACE_URL, key))}
        with httpx2.Client(base_url=self.url, timeout=PATIENCE) as client:
            while True:
                try:
                    response = client.request(method, path, json=content, headers=headers)
                except httpx2.TransportError as error:
                    raise Gone from error
                if response.status_code != 503:  # the database is away: it comes back
                    break
        assert response.status_code == (201 if method == "POST" else 200), response.text
        answer = response.json()
        self._acknowledge(answer)
        return answer

    def _acknowledge(self, answer: Json) -> None:
        path = f"/{'tasks' if 'plan_id' in answer else 'plans'}/{answer['id']}"
        with self.progress:
            known = self.acknowledged.get(path)
            if known is None or known["version"] < answer["version"]:
                self.acknowledged[path] = answer
                self.count += 1
            self.progress.notify_all()


@pytest.fixture
def data_dir() -> Iterator[Path]:
    """A place for the data of an embedded PostgreSQL, which as root runs as somebody else."""
    home = Path(tempfile.mkdtemp(prefix="planstore-tests-"))
    home.chmod(0o755)
    yield home / "data"
    shutil.rmtree(home)


def assert_nothing_is_missing(job: Job, client: httpx2.Client) -> None:
    """What was acknowledged is there as it was answered, or a request in flight went further."""
    for path, answer in job.acknowledged.items():
        stored = client.get(path).json()
        if stored["version"] == answer["version"]:
            assert stored == answer
        else:
            assert stored["version"] > answer["version"]
            assert stored["created_at"] == answer["created_at"]
            _assert_went_on(answer, stored)


def _assert_went_on(answer: Json, stored: Json) -> None:
    moving = {"status", "version", "updated_at", "started_at", "completed_at", "output_data"}
    moving.add("attempt")
    moving |= {"current_step", "revision"}  # of a plan, by its tasks
    assert {name for name in stored if stored[name] != answer[name]} <= moving


def assert_all_is_done(job: Job, client: httpx2.Client) -> None:
    """Each list is a completed plan with a completed task per entry, once."""
    plans = [answer for path, answer in job.acknowledged.items() if path.startswith("/plans/")]
    assert sorted(plan["metadata"]["list"] for plan in plans) == sorted(job.lists)
    for plan in plans:
        entries = job.lists[plan["metadata"]["list"]]
        stored = client.get(f"/plans/{plan['id']}").json()
        assert stored["steps"] == entries
        assert (stored["status"], stored["closed_at"]) == ("completed", None)
        tasks = client.get("/tasks/", params={"plan_id": plan["id"], "limit": 1_000}).json()
        assert [task["sequence_order"] for task in tasks] == list(range(1, len(entries) + 1))
        for task, entry in zip(tasks, entries, strict=True):
            assert task["description"] == entry["title"]
            assert task["input_data"] == entry
            assert task["status"] == "completed"
            assert task["output_data"]["entry"] == entry["id"]
            assert task["started_at"] <= task["completed_at"]


def test_lists_become_plans_that_are_carried_out_though_the_server_is_killed(
    data_dir: Path,
) -> None:
    job = Job(lists())
    with serving("--data-dir", str(data_dir)) as served:
        job.url = served.url
        worker = threading.Thread(target=job.run_until_gone)
        worker.start()
        job.wait_for(0.5)

        served.process.kill()  # while requests are in flight

        worker.join(PATIENCE)
        assert not worker.is_alive()
    assert 0.5 * job.total <= job.count < job.total

    with serving("--data-dir", str(data_dir)) as served, served.client() as client:
        assert_nothing_is_missing(job, client)
        job.url = served.url
        job.run()
        assert job.count == job.total
        assert_nothing_is_missing(job, client)
        assert_all_is_done(job, client)
        plans = [path for path in job.acknowledged if path.startswith("/plans/")]
        assert served.end(signal.SIGTERM) == 0

    with serving("--data-dir", str(data_dir)) as served, served.client() as client:
        assert [client.get(path).json()["status"] for path in plans] == ["completed"] * len(plans)


def test_the_work_goes_on_though_its_postgres_is_killed(data_dir: Path) -> None:
    job = Job(own_lists())
    with serving("--data-dir", str(data_dir)) as served, served.client() as client:
        job.url = served.url
        worker = threading.Thread(target=job.run)
        worker.start()
        job.wait_for(0.5)

        os.kill(_postmaster(data_dir), signal.SIGKILL)

        worker.join(PATIENCE)
        assert not worker.is_alive()
        assert_nothing_is_missing(job, client)
        assert_all_is_done(job, client)


def _postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres/data/postmaster.pid").read_text().split()[0])
