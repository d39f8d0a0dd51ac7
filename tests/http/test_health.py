"""The health endpoints tell whether the process lives, and whether it can work."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg
import pytest

import planstore
from planstore.embedded import EmbeddedPostgres
from tests.http.wire import done, new_plan, problem_of
from tests.served import PATIENCE, serving

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator

    import httpx2


@pytest.mark.parametrize(
    "path", ["/health", "/health/", "/health/live", "/health/ready", "/livez", "/readyz"]
)
def test_a_server_that_can_work_says_so(client: httpx2.Client, path: str) -> None:
    response = client.get(path)

    assert response.status_code == 200
    assert response.headers["Content-Type"] == "application/json"
    assert response.json() == {"status": "ok", "version": planstore.__version__}


@pytest.fixture
def own_postgres() -> Iterator[EmbeddedPostgres]:
    """A PostgreSQL that a test may stop."""
    home = Path(tempfile.mkdtemp(prefix="planstore-tests-"))
    home.chmod(0o755)
    try:
        with EmbeddedPostgres.start(home / "data") as postgres:
            yield postgres
    finally:
        shutil.rmtree(home)


def test_a_server_without_its_database_lives_and_is_not_ready_until_it_is_back(
    own_postgres: EmbeddedPostgres,
) -> None:
    with (
        serving(PLANSTORE_DATABASE_URL=own_postgres.url()) as served,
        served.client() as client,
    ):
        plan = new_plan(client)
        path = f"/plans/{plan['id']}"

        os.kill(_postmaster(own_postgres), signal.SIGKILL)

        with ThreadPoolExecutor(6) as pool:  # each waits a while for the database to come back
            alive = [pool.submit(client.get, probe) for probe in ("/health/live", "/livez")]
            ready = [
                pool.submit(client.get, probe) for probe in ("/health/ready", "/readyz", "/health")
            ]
            work = [
                pool.submit(client.get, path),
                pool.submit(client.patch, path, json={"current_step": 2}),
            ]
        for answer in alive:
            assert answer.result().json()["status"] == "ok"
        for answer in (*ready, *work):
            problem = problem_of(answer.result(), 503, "unavailable")
            assert answer.result().headers["Retry-After"] == "1"
            assert own_postgres.url() not in problem["detail"]

        own_postgres.ensure_running()

        _wait_until_ready(client)
        assert done(client.get(path)) == plan
        done(client.patch(path, json={"current_step": 2}))
        assert "Traceback" not in served.log.read_text()


def test_a_server_whose_database_is_silent_says_so_in_time_until_it_answers_again(
    own_postgres: EmbeddedPostgres,
) -> None:
    def asked(path: str) -> tuple[httpx2.Response, float]:
        began = time.monotonic()
        with served.client() as client:
            return client.get(path), time.monotonic() - began

    with (
        serving(PLANSTORE_DATABASE_URL=own_postgres.url()) as served,
        served.client() as client,
        ThreadPoolExecutor(4) as pool,
    ):
        plan = new_plan(client)

        with _silent(own_postgres):
            alive = pool.submit(asked, "/livez")
            probes = [pool.submit(asked, path) for path in ("/health", "/health/ready", "/readyz")]
            assert alive.result()[0].status_code == 200
            for probe in probes:
                answer, seconds = probe.result()
                problem_of(answer, 503, "unavailable")
                assert seconds < 3

        _wait_until_ready(client)
        assert done(client.get(f"/plans/{plan['id']}")) == plan
        assert "Traceback" not in served.log.read_text()


@contextmanager
def _silent(postgres: EmbeddedPostgres) -> Generator[None]:
    """Freeze a PostgreSQL and all that serves a connection: it takes requests and never answers."""

    async def backends() -> list[int]:
        conn = await asyncpg.connect(postgres.url())
        try:
            rows = await conn.fetch(
                "select pid from pg_stat_activity"
                " where backend_type = 'client backend' and pid <> pg_backend_pid()"
            )
        finally:
            await conn.close()
        return [row["pid"] for row in rows]

    pids = [_postmaster(postgres), *asyncio.run(backends())]
    try:
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        yield
    finally:
        for pid in pids:
            os.kill(pid, signal.SIGCONT)


def _postmaster(postgres: EmbeddedPostgres) -> int:
    return int((postgres.data_dir / "postgres/data/postmaster.pid").read_text().split()[0])


def _wait_until_ready(client: httpx2.Client) -> None:
    deadline = time.monotonic() + PATIENCE
    while client.get("/health/ready").status_code != 200:
        assert time.monotonic() < deadline
