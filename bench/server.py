"""Server processes under measurement."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from bench.memory import peak_mb, resident_mb
from planstore.settings import PREFIX

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Mapping

POOL_SIZE: Final = 16
"""Connections to PostgreSQL, the same for every server that is measured."""

_START_TIMEOUT: Final = 60
_STOP_TIMEOUT: Final = 20
_TICKS: Final = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True)
class Server:
    """One server process that answers."""

    name: str
    port: int
    pid: int

    def memory_mb(self) -> float:
        """Return its resident memory in megabytes of 1,000,000 bytes."""
        return resident_mb(self.pid)

    def peak_memory_mb(self) -> float:
        """Return the most that it ever had."""
        return peak_mb(self.pid)

    def cpu_seconds(self) -> float | None:
        """Return the processor time that it has used; None where /proc doesn't say."""
        try:
            stat = Path(f"/proc/{self.pid}/stat").read_text()
        except FileNotFoundError:
            return None
        user, system = stat.rpartition(")")[2].split()[11:13]
        return (int(user) + int(system)) / _TICKS


@asynccontextmanager
async def planstore(database_url: str, **settings: str) -> AsyncGenerator[Server]:
    """Run PlanStore as its users do, but on any free port; ``settings`` without their prefix."""
    given = {
        "DATABASE_URL": database_url,
        "POOL_SIZE": str(POOL_SIZE),
        "LOG_LEVEL": "warning",  # the bare app logs no requests either
        **settings,
    }
    command = ("planstore", "serve", "--port", "0", "--json")
    variables = {f"{PREFIX}{name}": text for name, text in given.items()}
    async with _running("planstore", command, variables) as server:
        yield server


@asynccontextmanager
async def bare(database_url: str) -> AsyncGenerator[Server]:
    """Run the bare app, `bench.bare`."""
    async with _running("bare", ("bench.bare", str(POOL_SIZE)), {"BARE_URL": database_url}) as it:
        yield it


@asynccontextmanager
async def _running(
    name: str, module: tuple[str, ...], settings: Mapping[str, str]
) -> AsyncGenerator[Server]:
    """Run a module that prints ``{"url": …}`` once it answers."""
    inherited = {key: text for key, text in os.environ.items() if not key.startswith(PREFIX)}
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", *module),
        stdout=asyncio.subprocess.PIPE,
        env={**inherited, **settings},
        start_new_session=True,  # Ctrl-C is for the run, which then stops it
    )
    assert process.stdout is not None
    try:
        line = await asyncio.wait_for(process.stdout.readline(), timeout=_START_TIMEOUT)
        if not line:
            raise SystemExit(f"the server {name} did not start")
        port = urlsplit(str(json.loads(line)["url"])).port
        assert port is not None
        yield Server(name, port, process.pid)
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            await asyncio.wait_for(process.wait(), timeout=_STOP_TIMEOUT)
        except TimeoutError:
            process.kill()
            await process.wait()
