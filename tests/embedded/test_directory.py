"""What a data directory may be called and what may lie in it."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
from typing import TYPE_CHECKING

import pytest

from planstore.embedded import EmbeddedPostgres
from planstore.embedded.account import account_for
from planstore.embedded.binaries import find_binaries
from planstore.embedded.directory import DataDirectory, default_data_dir
from planstore.embedded.waiting import wait_until
from planstore.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from planstore.embedded.account import Account
    from tests.embedded.conftest import Ask


@pytest.mark.parametrize(
    "name",
    ["with a space", "dätä-目录", 'it\'s "odd", $HOME `x` & 50%?#', "long-" * 30, "a\\b\ttab"],
)
def test_a_data_directory_may_have_any_name(place: Path, name: str, ask: Ask) -> None:
    for _ in range(2):
        with EmbeddedPostgres.start(place / name) as postgres:
            assert ask(postgres.url(), "select current_database()") == "planstore"
            assert postgres.ensure_running() is False


def test_a_line_break_in_the_name_is_refused(place: Path) -> None:
    with pytest.raises(SetupError, match="line break"):
        EmbeddedPostgres.start(place / "two\nlines")
    assert not list(place.iterdir())


def test_missing_parents_are_made(place: Path) -> None:
    with EmbeddedPostgres.start(place / "not" / "there" / "yet") as postgres:
        assert postgres.is_alive()


def test_a_half_made_cluster_does_not_count(place: Path, ask: Ask) -> None:
    half_made = place / "data" / ".postgres-abc" / "data"
    half_made.mkdir(parents=True)
    (half_made / "PG_VERSION").write_text("18\n")

    with EmbeddedPostgres.start(place / "data") as postgres:
        assert ask(postgres.url(), "select current_database()") == "planstore"
        assert not half_made.parent.exists()


def owner_of(directory: DataDirectory) -> Account:
    return account_for(directory.home, directory.root)


def test_a_recycled_process_id_does_not_prevent_a_start(data_dir: Path, ask: Ask) -> None:
    """A server was killed, and an unrelated process of the same user has its number now."""
    directory = DataDirectory(data_dir)
    account = owner_of(directory)
    uid = account.uid if account.switched else None
    with subprocess.Popen(["tail", "-f", "/dev/null"], user=uid) as bystander:
        pgdata, run = directory.pgdata, directory.run
        recorded = f"{bystander.pid}\n{pgdata}\n1\n5432\n{run}\n"
        (pgdata / "postmaster.pid").write_text(f"{recorded}\n  1 1\nready\n")
        (run / ".s.PGSQL.5432.lock").write_text(recorded)

        with EmbeddedPostgres.start(data_dir) as postgres:
            assert ask(postgres.url(), "select answer from kept") == 42

        assert bystander.poll() is None
        bystander.kill()


@contextlib.contextmanager
def started_by_hand(data_dir: Path, *settings: str) -> Generator[int]:
    """Run a server on the data as an operator would, who may only reach it by TCP."""
    directory = DataDirectory(data_dir)
    account = owner_of(directory)
    found = find_binaries(major=None, bin_dir=None, account=account, copies=directory.binaries)
    server = subprocess.Popen(
        [found.program("postgres"), "-D", directory.pgdata, *(f"-c{each}" for each in settings)],
        user=account.uid if account.switched else None,
        stderr=subprocess.DEVNULL,
    )
    recorded = directory.pgdata / "postmaster.pid"
    assert wait_until(lambda: recorded.exists() and "ready" in recorded.read_text(), seconds=20)
    yield server.pid
    assert server.poll() is None
    server.send_signal(signal.SIGINT)
    assert server.wait(20) == 0


def test_a_server_that_was_started_by_hand_is_shared_but_not_stopped(data_dir: Path) -> None:
    with started_by_hand(data_dir):
        postgres = EmbeddedPostgres.start(data_dir)
        assert postgres.is_alive()
        postgres.stop()
        assert postgres.is_alive()


def test_a_server_that_cant_be_shared_is_not_disturbed(data_dir: Path) -> None:
    with (
        started_by_hand(data_dir, "unix_socket_directories=", *tcp()) as pid,
        pytest.raises(SetupError, match=f"did not start, process {pid}, runs on {data_dir}"),
    ):
        EmbeddedPostgres.start(data_dir)


def tcp() -> tuple[str, str]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        return "listen_addresses=127.0.0.1", f"port={free.getsockname()[1]}"


@pytest.mark.parametrize(
    ("content", "named"), [("PG_VERSION", "a PostgreSQL cluster"), ("thesis.tex", "'thesis.tex'")]
)
def test_a_directory_that_holds_other_things_is_refused(
    place: Path, content: str, named: str
) -> None:
    (place / "data").mkdir()
    (place / "data" / content).write_text("18\n")

    with pytest.raises(SetupError, match=named):
        EmbeddedPostgres.start(place / "data")
    assert [entry.name for entry in (place / "data").iterdir()] == [content]


def test_a_file_in_its_place_is_refused(place: Path) -> None:
    (place / "data").write_text("")
    with pytest.raises(SetupError, match="is not a directory"):
        EmbeddedPostgres.start(place / "data")


def test_a_fresh_volume_is_empty_enough(place: Path) -> None:
    (place / "data" / "lost+found").mkdir(parents=True)
    with EmbeddedPostgres.start(place / "data") as postgres:
        assert postgres.is_alive()


def test_data_of_another_major_version_are_refused(data_dir: Path) -> None:
    mark = data_dir / "postgres/data/PG_VERSION"
    mark.write_text("99\n")

    with pytest.raises(SetupError, match="No binaries of PostgreSQL 99, which made the data"):
        EmbeddedPostgres.start(data_dir)
    assert mark.read_text() == "99\n"


def test_a_start_that_fails_shows_the_end_of_the_log(data_dir: Path) -> None:
    with (data_dir / "postgres/data/postgresql.conf").open("a") as conf:
        conf.write("no_such_setting = 1\n")

    with pytest.raises(SetupError, match="no_such_setting"):
        EmbeddedPostgres.start(data_dir)


def test_a_full_disk_is_called_by_its_name(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, os.strerror(28), "there")

    monkeypatch.setattr("planstore.embedded.directory.DataDirectory.make", full)

    with pytest.raises(SetupError, match="the disk is full, so make room"):
        EmbeddedPostgres.start(place / "data")


def test_a_long_log_is_set_aside_while_the_server_writes_on(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as postgres:
        log = data_dir / "server.log"
        with log.open("a") as file:
            file.write("x" * 11_000_000)

        assert not postgres.ensure_running()
        assert log.stat().st_size == 0
        assert (data_dir / "server.log.1").stat().st_size > 11_000_000
    assert "database system is shut down" in log.read_text()


def test_the_default_is_in_reach_of_the_account() -> None:
    expected = "/var/lib/planstore" if os.geteuid() == 0 else "planstore"
    assert str(default_data_dir()).endswith(expected)


def test_a_directory_that_is_not_writable_is_named(place: Path) -> None:
    if os.geteuid() == 0:
        pytest.skip("root may write anywhere")
    place.chmod(0o500)
    with pytest.raises(SetupError, match=f"{place} is not writable"):
        EmbeddedPostgres.start(place / "data")
    place.chmod(0o755)
