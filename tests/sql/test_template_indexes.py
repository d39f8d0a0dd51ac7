"""The record of a version is read off the end of its plans, however many there are of others."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from planstore.db import Database
from planstore.sql import templates
from tests.sql.test_history_indexes import Catcher, nodes
from tests.sql.test_indexes import url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    import pytest

__all__ = ["url"]

Statement: TypeAlias = "Callable[[Any], Awaitable[Any]]"
"""Any: what is sent is caught by a stand-in for a connection."""

STATEMENTS: Final[dict[str, tuple[Statement, set[str]]]] = {
    "record": (
        lambda conn: templates.record(conn, "release", 1, plans=1_000, tasks=20_000),
        {"plans_of_template_version", "task_states_pkey", "tasks_pkey"},
    ),
    "get": (
        lambda conn: templates.get(conn, "release", None),
        {"templates_pkey", "template_versions_pkey"},
    ),
    "latest": (
        lambda conn: templates.latest(conn, after="", archived=False, limit=9, offset=0),
        {"templates_pkey", "template_versions_pkey"},
    ),
    "versions": (
        lambda conn: templates.versions(conn, "release", before=9, limit=9, offset=0),
        {"templates_pkey", "template_versions_pkey"},
    ),
}
"""What reads templates, with the indexes that it goes along."""


class NoRow(Catcher):
    """Has no row to answer."""

    async def fetchrow(self, query: str, *_: object) -> None:
        self.sent = query
        raise LookupError


async def sent_by(statement: Statement) -> str:
    catcher = NoRow()
    with suppress(LookupError):
        await statement(catcher)
    return catcher.sent


async def test_templates_and_their_records_are_read_along_indexes(
    url: str, subtests: pytest.Subtests
) -> None:
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        for name, (statement, indexes) in STATEMENTS.items():
            with subtests.test(name=name):
                await conn.execute(f"prepare it as {await sent_by(statement)}")
                count = await conn.fetchval(
                    "select cardinality(parameter_types) from pg_prepared_statements"
                    " where name = 'it'"
                )
                given = ", ".join(["null"] * count)
                (plan,) = await conn.fetchval(f"explain (format json) execute it ({given})")
                await conn.execute("deallocate it")
                scans = [node for node in nodes(plan["Plan"]) if "Relation Name" in node]

                assert {scan.get("Index Name") for scan in scans} == indexes
                if name == "record":
                    (newest,) = [each for each in scans if each["Relation Name"] == "plans"]
                    assert newest["Scan Direction"] == "Backward"
                    assert "template_version = " in newest["Index Cond"]
                    states = [each for each in scans if each["Relation Name"] == "task_states"]
                    assert all("plan_id = " in each["Index Cond"] for each in states)
