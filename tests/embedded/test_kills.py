"""Whatever is killed, the data stay and the next start works."""

from __future__ import annotations

import os
import signal
import threading
from typing import TYPE_CHECKING

import asyncpg

from planstore.embedded import EmbeddedPostgres
from planstore.embedded.account import account_for
from planstore.embedded.directory import DataDirectory
from planstore.embedded.lock import is_held
from planstore.embedded.waiting import wait_until

if TYPE_CHECKING:
    from pathlib import Path

    from tests.embedded.conftest import Ask, ReaperOf, Running, Spawn


def postmaster(data_dir: Path) -> int:
    return int((data_dir / "postgres/data/postmaster.pid").read_text().split()[0])


def test_a_killed_owner_takes_the_server_along(
    place: Path, bin_dir: Path | None, ask: Ask, spawn: Spawn, running: Running
) -> None:
    owner = spawn(place / "data", *filter(None, [bin_dir]))
    url = owner.url()
    ask(url, "create table kept as select 42 as answer")

    owner.kill()

    assert wait_until(lambda: not running(place), seconds=15)
    with EmbeddedPostgres.start(place / "data", bin_dir=bin_dir) as postgres:
        assert ask(postgres.url(), "select answer from kept") == 42


def test_a_killed_postgres_is_started_again(place: Path, bin_dir: Path | None, ask: Ask) -> None:
    with EmbeddedPostgres.start(place / "data", bin_dir=bin_dir) as postgres:
        ask(postgres.url(), "create table kept (id int)")
        for number in range(50):
            ask(postgres.url(), "insert into kept values ($1)", number)

        os.kill(postmaster(postgres.data_dir), signal.SIGKILL)

        assert wait_until(lambda: not postgres.is_alive(), seconds=10)
        assert postgres.ensure_running()
        assert ask(postgres.url(), "select count(*) from kept") == 50
        assert not postgres.ensure_running()


async def test_what_a_killed_postgres_left_is_waited_for(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as postgres:
        connection = await asyncpg.connect(postgres.url())
        backend = connection.get_server_pid()
        os.kill(backend, signal.SIGSTOP)
        os.kill(postmaster(data_dir), signal.SIGKILL)
        assert wait_until(lambda: not postgres.is_alive(), seconds=10)
        directory = DataDirectory(data_dir)
        assert is_held(directory.server, account_for(directory.home, directory.root))

        starting = threading.Thread(target=postgres.ensure_running)
        starting.start()
        os.kill(backend, signal.SIGCONT)
        starting.join(30)

        assert postgres.is_alive()
        connection.terminate()


def test_a_killed_reaper_is_replaced(
    data_dir: Path, spawn: Spawn, running: Running, reaper_of: ReaperOf
) -> None:
    owner = spawn(data_dir)
    owner.url()
    os.kill(reaper_of(data_dir), signal.SIGKILL)
    assert wait_until(lambda: "reaper.py" not in "".join(running(data_dir)), seconds=10)

    with EmbeddedPostgres.start(data_dir) as joined:
        assert joined.is_alive()
    owner.kill()

    assert wait_until(lambda: not running(data_dir), seconds=15)


def test_a_stop_replaces_a_killed_reaper(data_dir: Path, reaper_of: ReaperOf) -> None:
    postgres = EmbeddedPostgres.start(data_dir)
    os.kill(reaper_of(data_dir), signal.SIGKILL)

    postgres.stop()

    assert not postgres.is_alive()


def test_a_start_after_all_were_killed_at_once(
    data_dir: Path, ask: Ask, spawn: Spawn, running: Running, reaper_of: ReaperOf
) -> None:
    owner = spawn(data_dir)
    owner.url()
    killed = [owner.process.pid, reaper_of(data_dir), postmaster(data_dir)]
    for pid in killed:
        os.kill(pid, signal.SIGKILL)
    assert wait_until(lambda: not running(data_dir), seconds=15)

    with EmbeddedPostgres.start(data_dir) as postgres:
        assert ask(postgres.url(), "select answer from kept") == 42


def test_a_start_that_is_killed_halfway_leaves_no_cluster(
    place: Path, ask: Ask, spawn: Spawn
) -> None:
    starter = spawn(place / "data")
    data_dir = place / "data"
    assert wait_until(lambda: any(data_dir.glob(".postgres-*/data/*")), seconds=10)

    starter.kill()

    assert not (data_dir / "postgres").exists()
    with EmbeddedPostgres.start(data_dir) as postgres:
        assert ask(postgres.url(), "select current_database()") == "planstore"


def test_a_fork_does_not_end_its_parents_lease(data_dir: Path, ask: Ask) -> None:
    with EmbeddedPostgres.start(data_dir) as postgres:
        if (fork := os.fork()) == 0:
            try:
                postgres.stop()
            finally:
                os._exit(0)
        os.waitpid(fork, 0)

        assert ask(postgres.url(), "select 1") == 1
        assert not postgres.ensure_running()


def test_a_server_whose_socket_was_deleted_is_started_again(data_dir: Path, ask: Ask) -> None:
    with EmbeddedPostgres.start(data_dir) as postgres:
        (data_dir / "postgres/run/.s.PGSQL.5432").unlink()
        assert not postgres.is_alive()

        assert postgres.ensure_running()
        assert ask(postgres.url(), "select 1") == 1
