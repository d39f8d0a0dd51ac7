"""What the server and its reaper inherit from us, and what others see of them."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qs, urlsplit

import pytest

from planstore.embedded import EmbeddedPostgres
from planstore.embedded.waiting import wait_until
from planstore.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.embedded.conftest import Ask, ReaperOf

    Proc = Callable[[EmbeddedPostgres], tuple[Path, Path]]

LARGEST_REAPER_KB = 15_000


@pytest.fixture
def proc(reaper_of: ReaperOf) -> Proc:
    """Return the directories in /proc of a server and of its reaper."""
    if not Path("/proc/self/cmdline").exists():
        pytest.skip("this system has no /proc to look at")

    def proc(postgres: EmbeddedPostgres) -> tuple[Path, Path]:
        recorded = (postgres.data_dir / "postgres/data/postmaster.pid").read_text()
        return Path("/proc") / recorded.split()[0], Path(f"/proc/{reaper_of(postgres.data_dir)}")

    return proc


def test_ctrl_c_reaches_neither(shared: EmbeddedPostgres, proc: Proc) -> None:
    for process in proc(shared):
        assert os.getsid(int(process.name)) != os.getsid(0)


def test_neither_inherits_the_lease(shared: EmbeddedPostgres, proc: Proc) -> None:
    lease, lock = (shared.data_dir / "locks" / name for name in ("lease", "server"))
    server, reaper = proc(shared)

    assert lease in open_files(Path("/proc/self"))
    assert lease not in open_files(server)
    assert lock in open_files(server)
    assert lock not in open_files(reaper)


def open_files(process: Path) -> set[Path]:
    return {fd.readlink() for fd in (process / "fd").iterdir() if fd.is_symlink()}


def test_the_reaper_is_small(shared: EmbeddedPostgres, proc: Proc) -> None:
    _, reaper = proc(shared)
    status = (reaper / "status").read_text()
    size = next(line for line in status.splitlines() if line.startswith("VmRSS"))
    assert int(size.split()[1]) < LARGEST_REAPER_KB


def test_no_variable_is_passed_on(
    data_dir: Path, ask: Ask, proc: Proc, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "PGDATA": "/nowhere",
        "PGHOST": "nowhere.example",
        "PGPORT": "1",
        "PGOPTIONS": "-c no_such_setting=1",
        "PLANSTORE_API_KEY": "not for PostgreSQL",
    }.items():
        monkeypatch.setenv(name, value)

    with EmbeddedPostgres.start(data_dir) as postgres:
        assert ask(postgres.url(), "select 1") == 1
        for process in proc(postgres):
            names = {pair.split(b"=")[0] for pair in environment(process)}
            assert names <= {b"PATH", b"LC_ALL", b"LC_CTYPE", b"PG_GRANDPARENT_PID"}


def environment(process: Path) -> list[bytes]:
    return [pair for pair in (process / "environ").read_bytes().split(b"\0") if pair]


def test_the_secret_is_seen_nowhere(data_dir: Path) -> None:
    with EmbeddedPostgres.start(data_dir) as postgres:
        file = postgres.data_dir / "postgres/secret"
        secret = file.read_text()
        listed = subprocess.check_output(["ps", "-eww", "-o", "args"], text=True)

        assert secret in postgres.url()
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert secret not in listed
        assert secret not in (postgres.data_dir / "server.log").read_text()
        assert secret not in repr(postgres)


def test_a_connection_without_the_secret_is_refused(shared: EmbeddedPostgres, ask: Ask) -> None:
    secret = (shared.data_dir / "postgres/secret").read_text()
    with pytest.raises(Exception, match="password authentication failed"):
        ask(shared.url().replace(secret, "guess"), "select 1")


def test_the_socket_is_private(shared: EmbeddedPostgres) -> None:
    assert stat.S_IMODE((shared.data_dir / "postgres/run").stat().st_mode) == 0o700


def test_a_stranger_may_not_prepare_the_short_directory(place: Path) -> None:
    with EmbeddedPostgres.start(place / "with space") as postgres:
        sockets = Path(parse_qs(urlsplit(postgres.url()).query)["host"][0])
        assert not sockets.is_relative_to(place)
        assert stat.S_IMODE(sockets.stat().st_mode) == 0o700
    assert wait_until(lambda: not sockets.exists(), seconds=10)
    sockets.mkdir()
    sockets.chmod(0o777)

    with pytest.raises(SetupError, match="is not a private directory"):
        EmbeddedPostgres.start(place / "with space")
    sockets.rmdir()
