"""A signal ends a server, whatever waits for a lock; a chore that fails doesn't."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing
from typing import TYPE_CHECKING, Final

import httpx2
import pytest

from planstore.db import Database
from planstore.services.doctor import examine
from tests.http.wire import Ledger, answered, done, new_plan, new_task
from tests.served import PATIENCE, database_of, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from planstore.services.doctor import Report
    from tests.conftest import Postgres
    from tests.served import Served

SIGNALS: Final = (signal.SIGTERM, signal.SIGINT)

_WAITING: Final = """
select count(*) as count from pg_stat_activity
where datname = current_database() and application_name = 'planstore'
  and wait_event_type = 'Lock'
"""

_OTHERS: Final = """
select count(*) as count from pg_stat_activity
where datname = current_database() and application_name = 'planstore'
"""


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with database_of(postgres) as url:
        yield url


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


@pytest.fixture
def holder(url: str) -> Iterator[Ledger]:
    """Another session of the same database."""
    with asyncio.Runner() as runner, closing(Ledger(runner, url)) as ledger:
        yield ledger


@pytest.fixture
def watch(url: str) -> Iterator[Ledger]:
    """A session that looks on: within a transaction, who waits is looked up only once."""
    with asyncio.Runner() as runner, closing(Ledger(runner, url)) as ledger:
        yield ledger


def _until(is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE
    while not is_so():
        assert time.monotonic() < deadline
        time.sleep(0.01)  # between two looks; nothing is ordered by it


async def _examined(url: str) -> Report:
    async with Database.open(url, pool_size=1) as database:
        return await examine(database)


def _attempt(served: Served, path: str) -> httpx2.Response | None:
    with served.client() as client:
        try:
            return client.patch(path, json={"status": "completed", "output_data": {"a": 1}})
        except httpx2.TransportError:
            return None  # the server left without an answer


def test_a_signal_ends_a_server_though_its_writes_wait_for_a_lock(
    url: str, holder: Ledger, watch: Ledger
) -> None:
    with ExitStack() as stack:
        pool = stack.enter_context(ThreadPoolExecutor(2 * len(SIGNALS)))
        servers = [stack.enter_context(serving(PLANSTORE_DATABASE_URL=url)) for _ in SIGNALS]
        with servers[0].client() as client:
            plans = [new_plan(client, status="active") for _ in range(2 * len(SIGNALS))]
            tasks = [new_task(client, plan) for plan in plans]
        holder.ask("begin")
        holder.ask("select 1 from planstore.plans for update")
        writes = [
            pool.submit(_attempt, servers[place % len(servers)], f"/tasks/{task['id']}")
            for place, task in enumerate(tasks)
        ]
        _until(lambda: watch.ask(_WAITING)[0]["count"] == len(tasks))

        told = time.monotonic()
        for served, how in zip(servers, SIGNALS, strict=True):
            served.process.send_signal(how)
        statuses = [served.process.wait(PATIENCE) for served in servers]

        assert statuses == [0, 0]
        assert time.monotonic() - told < 5
        for served in servers:
            log = served.log.read_text()
            assert re.search(r"\b2 writes are still at work", log), log
            assert "Traceback" not in log
        for write in writes:
            answer = write.result()
            assert answer is None or answer.status_code >= 500

    holder.ask("rollback")
    _until(lambda: watch.ask(_OTHERS)[0]["count"] == 0)
    # Each write took place whole or not at all.
    for plan, task in zip(plans, tasks, strict=True):
        assert (holder.events(task), holder.events(plan)[-1]) in (
            (["task.created"], "plan.created"),
            (["task.created", "task.completed"], "plan.completed"),
        )
    assert asyncio.run(_examined(url)).findings == ()


_LISTENERS: Final = """
select count(*) as count from pg_stat_activity
where datname = current_database() and application_name = 'planstore listener'
"""
"""A server listens for notifications from the first claim on that waits for work."""


@pytest.mark.parametrize("how", SIGNALS)
def test_a_signal_ends_the_waiting_of_claims_with_an_empty_answer(
    url: str, watch: Ledger, how: signal.Signals
) -> None:
    with ExitStack() as stack:
        served = stack.enter_context(serving(PLANSTORE_DATABASE_URL=url))
        client = stack.enter_context(served.client())
        pool = stack.enter_context(ThreadPoolExecutor(2))
        task = new_task(client, new_plan(client, status="active"))
        claim = {"worker_id": "w1", "wait_seconds": 60, "task_types": ["none"]}
        claiming = pool.submit(client.post, "/tasks/claim", json=claim)
        path = f"/tasks/{task['id']}/complete"
        completing = pool.submit(client.post, path, json={"claim_next": claim})
        _until(lambda: watch.ask(_LISTENERS)[0]["count"] == 1)
        _until(lambda: watch.events(task)[-1] == "task.completed")

        told = time.monotonic()
        status = served.end(how)

        assert status == 0
        assert time.monotonic() - told < 5
        assert answered(claiming.result()) == {"tasks": []}
        ended = done(completing.result())
        assert (ended["status"], ended["tasks"]) == ("completed", [])
        log = served.log.read_text()
        assert "Cancel" not in log
        assert "Traceback" not in log


def test_a_server_listens_where_it_is_told_to(
    url: str, postgres: Postgres, stack: ExitStack, runner: asyncio.Runner
) -> None:
    behind = stack.enter_context(database_of(postgres))
    watch = stack.enter_context(closing(Ledger(runner, behind)))
    variables = {"PLANSTORE_DATABASE_URL": url, "PLANSTORE_LISTEN_URL": behind}
    served = stack.enter_context(serving(**variables))
    client = stack.enter_context(served.client())

    pool = stack.enter_context(ThreadPoolExecutor(1))

    claim = {"worker_id": "w1", "wait_seconds": 60}
    claiming = pool.submit(client.post, "/tasks/claim", json=claim)

    _until(lambda: watch.ask(_LISTENERS)[0]["count"] == 1)
    assert served.end(signal.SIGTERM) == 0
    assert answered(claiming.result()) == {"tasks": []}


def _has_said(served: Served, what: str) -> bool:
    log = served.log.read_text()
    assert served.process.poll() is None, log
    return what in log


def test_a_server_lives_though_old_keys_can_not_be_looked_at(url: str, holder: Ledger) -> None:
    holder.ask("alter table planstore.idempotency_keys rename to elsewhere")
    with serving(PLANSTORE_DATABASE_URL=url) as served, served.client() as client:
        _until(lambda: _has_said(served, "idempotency keys"))
        assert client.get("/health").status_code == 200
        holder.ask("alter table planstore.elsewhere rename to idempotency_keys")

        headers = {"Idempotency-Key": "k"}
        first = done(client.post("/plans/", json={}, headers=headers), 201)
        assert done(client.post("/plans/", json={}, headers=headers), 201) == first
        assert served.end(signal.SIGTERM) == 0


def test_a_server_lives_though_old_keys_are_locked_for_longer_than_a_statement_may_take(
    url: str, holder: Ledger
) -> None:
    name = holder.ask("select current_database() as name")[0]["name"]
    holder.ask(f"alter database {name} set statement_timeout = '200ms'")
    holder.ask("begin")
    holder.ask("lock table planstore.idempotency_keys in access exclusive mode")
    with serving(PLANSTORE_DATABASE_URL=url) as served, served.client() as client:
        _until(lambda: _has_said(served, "idempotency keys"))
        assert client.get("/health").status_code == 200
        holder.ask("rollback")

        done(client.post("/plans/", json={}, headers={"Idempotency-Key": "k"}), 201)
        assert served.end(signal.SIGTERM) == 0


_WHO_WAITS: Final = """
select pid from pg_stat_activity
where datname = current_database() and application_name = 'planstore'
  and wait_event_type = 'Lock'
"""


def test_a_signal_ends_a_server_whose_chores_wait_for_what_does_not_answer(
    url: str, holder: Ledger, watch: Ledger
) -> None:
    with serving(PLANSTORE_DATABASE_URL=url) as served:
        holder.ask("begin")
        holder.ask("lock table planstore.task_states in access exclusive mode")
        _until(lambda: bool(watch.ask(_WHO_WAITS)))
        sessions = [row["pid"] for row in watch.ask(_WHO_WAITS)]
        for session in sessions:
            os.kill(session, signal.SIGSTOP)
        try:
            told = time.monotonic()
            status = served.end(signal.SIGTERM)

            assert status == 0
            assert time.monotonic() - told < 5
            assert "Traceback" not in served.log.read_text()
        finally:
            for session in sessions:
                os.kill(session, signal.SIGCONT)


def test_a_server_lives_though_leases_can_not_be_looked_at(url: str, holder: Ledger) -> None:
    with serving(PLANSTORE_DATABASE_URL=url) as served, served.client() as client:
        holder.ask("alter table planstore.task_states rename to elsewhere")
        _until(lambda: _has_said(served, "whose lease has ended"))
        holder.ask("alter table planstore.elsewhere rename to task_states")

        task = new_task(client, new_plan(client, status="active"))
        assert done(client.get(f"/tasks/{task['id']}"))["status"] == "pending"
        assert served.end(signal.SIGTERM) == 0
