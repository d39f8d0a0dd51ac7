"""A real server, and the command line in this process: starting Python takes longest."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from planstore import cli
from planstore.client import PlanStoreClient
from tests.served import database_of, serving

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.conftest import Postgres
    from tests.served import Served

    Run = Callable[..., "Done"]


@dataclass(frozen=True, slots=True)
class Done:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return json.loads(self.out)


@pytest.fixture(scope="package")
def server(postgres: Postgres) -> Iterator[Served]:
    with database_of(postgres) as url, serving(PLANSTORE_DATABASE_URL=url) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture(scope="package")
def client(server: Served) -> Iterator[PlanStoreClient]:
    with PlanStoreClient.open(server.url) as client:
        yield client


@pytest.fixture
def run(server: Served, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Run:
    """Run `planstore` with these arguments, against the server."""
    monkeypatch.setenv("PLANSTORE_URL", server.url)
    monkeypatch.setenv("USER", "ada")
    monkeypatch.delenv("COLUMNS", raising=False)

    def run(*arguments: object) -> Done:
        monkeypatch.setattr("sys.argv", ["planstore", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        return Done(int(ended.value.code or 0), said.out, said.err)

    return run
