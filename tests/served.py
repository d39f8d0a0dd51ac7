"""A real `planstore serve`: a process of its own, its address, what it says and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import select
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import asyncpg
import httpx2

from tests.payloads import assert_payloads_fit

if TYPE_CHECKING:
    from collections.abc import Generator

    from tests.conftest import Postgres

PATIENCE: Final = 60
"""Seconds after which a server that doesn't start or end is given up."""


@dataclass(frozen=True, slots=True)
class Served:
    """A server that answers."""

    url: str
    announced: dict[str, Any]
    """What it printed when it was ready."""
    process: subprocess.Popen[str]
    log: Path
    """What it writes to stderr."""

    @property
    def port(self) -> int:
        port = httpx2.URL(self.url).port
        assert port is not None
        return port

    def client(self, **options: Any) -> httpx2.Client:
        # Patient: the machine may be busy with other tests.
        return httpx2.Client(base_url=self.url, timeout=PATIENCE, **options)

    def end(self, signal: int) -> int:
        """Send a signal and return the exit status."""
        self.process.send_signal(signal)
        return self.process.wait(PATIENCE)


def environment(**variables: str) -> dict[str, str]:
    """The environment of this process without any setting of PlanStore, and ``variables``."""
    plain = {name: value for name, value in os.environ.items() if not name.startswith("PLANSTORE_")}
    return {**plain, **variables}


def command(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "planstore", *arguments]


@contextlib.contextmanager
def serving(*arguments: str, **variables: str) -> Generator[Served]:
    """Run `planstore serve` until the end of the block, or until the test has ended it."""
    with tempfile.TemporaryDirectory() as directory:
        log = Path(directory) / "log"
        with (
            log.open("w") as stderr,
            subprocess.Popen(
                command("serve", "--json", "--port", "0", *arguments),
                stdout=subprocess.PIPE,
                stderr=stderr,
                text=True,
                env=environment(**variables),
            ) as process,
        ):
            try:
                announced = _announced(process, log)
                yield Served(announced["url"], announced, process, log)
            finally:
                _end(process)


@contextlib.contextmanager
def database_of(postgres: Postgres) -> Generator[str]:
    """Make a database, for what isn't async; it is dropped afterwards."""
    with asyncio.Runner() as runner:
        database = postgres.database()
        url = runner.run(database.__aenter__())
        yield url
        runner.run(_assert_payloads_fit(url))
        runner.run(database.__aexit__(None, None, None))


async def _assert_payloads_fit(url: str) -> None:
    conn = await asyncpg.connect(url)
    try:
        await assert_payloads_fit(conn)
    finally:
        await conn.close()


def refusal(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Run `planstore serve` where it can't start, and return how it ended."""
    return subprocess.run(
        command("serve", *arguments),
        capture_output=True,
        text=True,
        env=environment(**{"PLANSTORE_PORT": "0", **variables}),
        timeout=PATIENCE,
        check=False,
    )


def _announced(process: subprocess.Popen[str], log: Path) -> dict[str, Any]:
    assert process.stdout is not None
    ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
    line = process.stdout.readline() if ready else ""
    assert line, f"the server doesn't start: {log.read_text()}"
    return json.loads(line)


def _end(process: subprocess.Popen[str]) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            process.kill()
