"""A real server for the tests that don't disturb each other, and apps in this process."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import httpx2
import pytest

from planstore.app import create_app
from planstore.routers.context import Context
from tests.http.wire import Ledger
from tests.served import database_of, serving

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator
    from contextlib import AbstractAsyncContextManager

    from planstore.routers.gate import Admission
    from planstore.services.plan_store import PlanStore
    from tests.conftest import Postgres
    from tests.served import Served

    OpenApp = Callable[..., AbstractAsyncContextManager[httpx2.AsyncClient]]


@pytest.fixture(scope="package")
def runner() -> Iterator[asyncio.Runner]:
    """A loop of its own for what tests that aren't async ask of the database."""
    with asyncio.Runner() as runner:
        yield runner


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


@pytest.fixture(scope="package")
def client(server: Served) -> Iterator[httpx2.Client]:
    with server.client() as client:
        yield client


@pytest.fixture(scope="package")
def ledger(server_database: str, runner: asyncio.Runner) -> Iterator[Ledger]:
    """What the database behind `server` says."""
    ledger = Ledger(runner, server_database)
    yield ledger
    ledger.close()


@pytest.fixture
def open_app(store: PlanStore) -> OpenApp:
    """Open an app in this process, with settings of its own, on a database of its own."""

    @asynccontextmanager
    async def open_app(
        admission: Admission | None = None, **context: Any
    ) -> AsyncGenerator[httpx2.AsyncClient]:
        app = create_app(Context(store, **context), admission)
        transport = httpx2.ASGITransport(app)
        async with httpx2.AsyncClient(transport=transport, base_url="http://planstore") as client:
            yield client

    return open_app
