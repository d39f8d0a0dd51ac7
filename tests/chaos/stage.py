"""Where it all happens: servers on one embedded PostgreSQL, and workers; whoever falls returns."""

from __future__ import annotations

import contextlib
import random
import socket
import subprocess
from collections import Counter
from typing import TYPE_CHECKING, Final

from tests.chaos import mortal, processes
from tests.served import environment

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

SERVERS: Final = 2
WORKERS: Final = 8

_BELOW_EPHEMERAL: Final = range(20_000, 32_000)
"""Ports that no system gives to whoever asks for any: a killed server's stays its own."""

_UP: Final = "PlanStore "
"""What a server's first line begins with, once it answers."""

_CALM_SECONDS: Final = 20.0
"""How long PostgreSQL may take to stop after the last server."""


class Stage:
    """The processes of one run. ``place``: a directory for all that they write."""

    def __init__(self, place: Path, *, seed: int) -> None:
        self.data_dir = place / "data"
        self.journals = place / "journals"
        self.journals.mkdir()
        self.deserters: list[str] = []
        """Who ended without being killed, with what it said; a server that never came up for want
        of PostgreSQL isn't one."""
        self.servers = tuple(f"server-{number}" for number in range(SERVERS))
        self.workers = tuple(f"worker-{number}" for number in range(WORKERS))
        ports = dict(zip(self.servers, _free_ports(SERVERS), strict=True))
        self.urls = [f"http://127.0.0.1:{port}" for port in ports.values()]
        self._place = place
        self._seed = seed
        self._ports = ports
        self._lives = Counter[str]()
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    @classmethod
    @contextlib.contextmanager
    def set_up(cls, place: Path, *, seed: int) -> Generator[Stage]:
        """Start everything; nothing of it runs any more after the block."""
        stage = cls(place, seed=seed)
        try:
            stage.raise_the_fallen()
            yield stage
        finally:
            stage.kill(*stage._running)
            processes.end_what_runs_in(place, seconds=_CALM_SECONDS)

    def raise_the_fallen(self) -> None:
        """Start whoever doesn't run."""
        for name in (*self.servers, *self.workers):
            process = self._running.get(name)
            if process is None:
                self._start(name)
            elif process.poll() is not None:
                self._note_desertion(name, process)
                self._start(name)

    def kill(self, *names: str) -> None:
        fallen = [(name, self._running.pop(name)) for name in names if name in self._running]
        for name, process in fallen:
            if process.poll() is not None:
                self._note_desertion(name, process)
            process.kill()
        for _, process in fallen:
            process.wait()

    def logs(self) -> dict[str, str]:
        """What each server and worker has said, by its name and the number of its life."""
        return {path.stem: path.read_text() for path in sorted(self._place.glob("*.log"))}

    def _start(self, name: str) -> None:
        self._lives[name] += 1
        with self._log(name).open("wb") as log:
            self._running[name] = subprocess.Popen(
                self._command(name),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment(),
            )

    def _command(self, name: str) -> list[str]:
        if name in self._ports:
            where = ("--port", str(self._ports[name]), "--data-dir", str(self.data_dir))
            return mortal.command("planstore", "serve", *where)
        life, seed = str(self._lives[name]), str(self._seed)
        return mortal.command(
            "tests.chaos.worker", name, life, seed, str(self.journals), *self.urls
        )

    def _log(self, name: str) -> Path:
        return self._place / f"{name}-{self._lives[name]}.log"

    def _note_desertion(self, name: str, process: subprocess.Popen[bytes]) -> None:
        said = self._log(name).read_text()
        if name in self.workers or _UP in said:
            self.deserters.append(f"{name} ended by itself with {process.returncode}: {said}")


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        ports: list[int] = []
        while len(ports) < count:
            port = random.choice(_BELOW_EPHEMERAL)
            with contextlib.suppress(OSError):
                stack.enter_context(socket.create_server(("127.0.0.1", port)))
                ports.append(port)
        return ports
