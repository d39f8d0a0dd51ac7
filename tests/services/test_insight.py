"""The statements that look at a plan as a whole keep to that plan, and only read."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.sql import insight
from tests.services.weaving import claimed, woven

if TYPE_CHECKING:
    from collections.abc import Iterator

    from planstore.db import Database
    from planstore.services.plan_store import PlanStore

STATEMENTS: Final = {
    name: value
    for name, value in vars(insight).items()
    if isinstance(value, str) and value.lstrip().startswith(("select", "with")) and "$1" in value
}


def scans(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    if "Relation Name" in node or node["Node Type"] == "Bitmap Index Scan":
        yield node
    for child in node.get("Plans", ()):
        yield from scans(child)


@pytest.mark.parametrize("name", STATEMENTS)
async def test_every_statement_goes_by_an_index(database: Database, name: str) -> None:
    statement = STATEMENTS[name]
    parameters = max(int(number) for number in re.findall(r"\$(\d+)", statement))
    nulls = ", ".join(["null"] * parameters)
    async with database.connection() as conn:
        # The tables are empty: what is looked for is whether there is an index at all.
        await conn.execute("set enable_seqscan = off; set plan_cache_mode = force_generic_plan")
        await conn.execute(f"prepare looked as {statement}")
        plan: list[dict[str, Any]] = await conn.fetchval(
            f"explain (format json) execute looked({nulls})"
        )
        await conn.execute("deallocate looked")

    for scan in scans(plan[0]["Plan"]):
        assert "Seq Scan" not in scan["Node Type"], scan
        if scan["Node Type"] != "Bitmap Heap Scan":
            assert "Index Cond" in scan, scan


async def test_looking_changes_nothing(store: PlanStore, database: Database) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]})
    await claimed(store, plan)

    async def writes() -> int:
        async with database.connection() as conn:
            return await conn.fetchval("select count(*) from planstore.events")

    before = await writes(), await store.get_plan(plan.id), await store.get_task(tasks["b"].id)
    await store.get_progress(plan.id)
    await store.get_graph(plan.id)
    await store.explain_plan(plan.id)
    await store.explain_task(tasks["b"].id)

    after = await writes(), await store.get_plan(plan.id), await store.get_task(tasks["b"].id)
    assert after == before
