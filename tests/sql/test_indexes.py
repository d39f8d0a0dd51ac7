"""Each hot statement finds its rows by an index, whatever PostgreSQL knows of the tables.

The statements are those that the functions send: they are caught on their way and explained as the
connections of a pool plan them, which is once and for all parameters.
"""

from __future__ import annotations

import json
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from uuid import UUID, uuid4

import asyncpg
import pytest

from planstore.models import TaskDraft, TaskUpdate
from planstore.models.claim import ClaimRequest, HeartbeatClaim
from planstore.models.dependency import Condition, DependencyType
from planstore.services.placing import new_tasks
from planstore.sql import plans, tasks
from planstore.sql.tasks import End, Ending, NewEdge, Place
from tests.conftest import Postgres
from tests.holder import claim, complete_all
from tests.services.weaving import woven

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator

    from planstore.sql.connection import Connection

from datetime import UTC, datetime

from planstore.db import Database
from planstore.services.plan_store import PlanStore


@pytest.fixture(scope="module", params=["known", "unknown"])
async def filled(request: pytest.FixtureRequest, postgres: Postgres) -> AsyncIterator[str]:
    """A database with thousands of tasks in every state, whose tables PostgreSQL has analyzed."""
    async with postgres.database() as url:
        async with PlanStore.open(url, migrate=False) as store:
            await _fill(store)
        async with Database.open(url) as database, database.connection() as conn:
            await conn.execute("analyze" if request.param == "known" else _FORGET)
        yield url


_FORGET: Final = "delete from pg_statistic where starelid in (select 0)"
