"""A server behind a proxy that loses what it is told to lose, and the store behind the server."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from planstore.services.plan_store import PlanStore
from tests.client.proxy import Proxy
from tests.served import database_of, serving

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterator

    from tests.conftest import Postgres
    from tests.served import Served


@pytest.fixture(scope="package")
def server_database(postgres: Postgres) -> Iterator[str]:
    with database_of(postgres) as url:
        yield url


@pytest.fixture(scope="package")
def server(server_database: str) -> Iterator[Served]:
    """One server, for tests that look at their own plans and tasks only."""
    with serving(PLANSTORE_DATABASE_URL=server_database) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
async def library(server_database: str) -> AsyncIterator[PlanStore]:
    """The store behind the server."""
    async with PlanStore.open(server_database, migrate=False, pool_size=4) as store:
        yield store


@pytest.fixture
async def proxy(server: Served) -> AsyncIterator[Proxy]:
    """What the clients of these tests take for the server."""
    async with Proxy.before(server.port) as proxy:
        yield proxy
