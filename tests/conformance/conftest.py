"""The store by each of its three doors, on one database: in this process, and over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import pytest

from planstore.client import AsyncPlanStoreClient, PlanStoreClient
from planstore.services.plan_store import PlanStore
from tests.conformance.in_thread import InThread
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
    settings = {"PLANSTORE_WEBHOOKS_ALLOW_PRIVATE": "true"}
    with serving(PLANSTORE_DATABASE_URL=server_database, **settings) as server:
        yield server
        assert "Traceback" not in server.log.read_text()


@pytest.fixture
async def library(server_database: str) -> AsyncIterator[PlanStore]:
    """The store in this process, beside whatever door is being tested."""
    async with PlanStore.open(
        server_database, migrate=False, pool_size=4, private_webhooks=True
    ) as store:
        yield store


@pytest.fixture(params=[PlanStore, AsyncPlanStoreClient, PlanStoreClient])
async def store(
    request: pytest.FixtureRequest, library: PlanStore, server: Served
) -> AsyncIterator[PlanStore]:
    """The store by each door in turn; `tests.client.test_methods` holds them to one signature."""
    if request.param is PlanStore:
        yield library
    elif request.param is AsyncPlanStoreClient:
        async with AsyncPlanStoreClient.open(server.url) as client:
            yield cast("PlanStore", client)
    else:
        with PlanStoreClient.open(server.url) as client:
            yield cast("PlanStore", InThread(client))
