"""What was planned when there was next to nothing is planned anew once there is more."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import pytest

from planstore.db import Database
from planstore.services.plan_store import PlanStore
from tests.services.weaving import woven
from tests.sql.test_indexes import HOT, OF_ONE_PLAN, prepared, scans_of_prepared

if TYPE_CHECKING:
    from planstore.sql.connection import Connection


async def know_all_there_is(conn: Connection) -> None:
    """Have PostgreSQL look at all tables, and never again by itself."""
    for table in await conn.fetch(
        "select c.oid::regclass::text as name from pg_class c"
        " where c.relnamespace = 'planstore'::regnamespace and c.relkind = 'r'"
    ):
        await conn.execute(f"alter table {table['name']} set (autovacuum_enabled = off)")
    await conn.execute("analyze")


@pytest.mark.parametrize("tasks", [0, 30])
async def test_what_was_planned_for_small_tables_is_planned_anew_for_large_ones(
    database_url: str, tasks: int, subtests: pytest.Subtests
) -> None:
    async with (
        PlanStore.open(database_url, migrate=False) as store,
        Database.open(database_url, pool_size=1) as database,
        database.connection() as conn,
    ):
        if tasks:
            await woven(store, {f"t{n}": [f"t{n - 1}"] if n % 3 else [] for n in range(tasks)})
        await know_all_there_is(conn)
        early = {name: await prepared(conn, statement) for name, statement in HOT.items()}
        for name in early.values():
            await scans_of_prepared(conn, name)
        needs = {f"t{n}": [f"t{n - 1}"] if n % 3 else [] for n in range(20)}
        await asyncio.gather(*(woven(store, needs) for _ in range(100)))

        assert await store.refresh_estimates() >= 4

        assert await store.refresh_estimates() == 0
        for name, statement in early.items():
            with subtests.test(name=name):
                scans = await scans_of_prepared(conn, statement)
                assert [scan for scan in scans if not scan.is_by_index] == []
                if name not in OF_ONE_PLAN:
                    assert [scan for scan in scans if scan.is_of_whole_plan] == []
