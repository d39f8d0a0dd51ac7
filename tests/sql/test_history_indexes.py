"""What looks back goes along the events of one plan, in order, and reads no other's."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, TypeAlias, cast
from uuid import uuid4

from planstore.db import Database
from planstore.sql import events
from tests.sql.test_indexes import url

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    import pytest

__all__ = ["url"]

_PLAN: Final = uuid4()
_NOW: Final = datetime.now(UTC)
_MADE: Final = {"seq": 3, "seq_before": 1, "created_at": _NOW}

Statement: TypeAlias = "Callable[[Any], AsyncIterator[Any] | Awaitable[Any]]"
"""Any: what is sent is caught by a stand-in for a connection, and rows are stood in for too."""

STREAMS: Final[dict[str, Statement]] = {
    "of objects": lambda conn: events.of_objects(conn, _PLAN, [_PLAN], before=9),
    "placing": lambda conn: events.placing(conn, _PLAN, before=9),
    "structural": lambda conn: events.structural(conn, _PLAN, [_PLAN], through=9),
}
"""What is fetched in bites: sorting it first would have all of it read before."""

STATEMENTS: Final[dict[str, Statement]] = {
    **STREAMS,
    "beginning": lambda conn: events.beginning(conn, _PLAN),
    "first after": lambda conn: events.first_after(conn, _PLAN, _NOW),
    "plan of deleted": lambda conn: events.plan_of_deleted(conn, _PLAN),
    "touched": lambda conn: events.touched(conn, _PLAN, after=1, through=9, limit=9),
    "revisions": lambda conn: events.revisions(conn, _PLAN, lowest=1, highest=9),
    "operations": lambda conn: events.operations(conn, _PLAN, 9),
    "tallies": lambda conn: events.tallies(conn, _PLAN, cast("Any", [_MADE])),
    "nth added": lambda conn: events.nth_added(conn, _PLAN, cast("Any", _MADE), 1),
}

WITHIN: Final = {"structural", "touched", "tallies", "nth added"}
"""What reads a part of the plan's events."""


class Catcher:
    """Stands in for a connection, and keeps what it is sent."""

    sent: str

    async def fetch(self, query: str, *_: object) -> list[object]:
        self.sent = query
        return []

    async def fetchrow(self, query: str, *_: object) -> None:
        self.sent = query

    async def fetchval(self, query: str, *_: object) -> int:
        self.sent = query
        return 1

    async def cursor(self, query: str, *_: object, **__: object) -> AsyncIterator[object]:
        self.sent = query
        for each in ():
            yield each


async def sent_by(statement: Statement) -> str:
    """Return the SQL that a function sends."""
    catcher = Catcher()
    answer = statement(catcher)
    if isinstance(answer, AsyncIterator):
        assert [each async for each in answer] == []
    else:
        await answer
    return catcher.sent


def nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in cast("list[dict[str, Any]]", node.get("Plans", [])):
        yield from nodes(child)


async def test_what_looks_back_goes_along_the_events_of_one_plan(
    url: str, subtests: pytest.Subtests
) -> None:
    async with Database.open(url, pool_size=1) as database, database.connection() as conn:
        for name, statement in STATEMENTS.items():
            with subtests.test(name=name):
                await conn.execute(f"prepare back as {await sent_by(statement)}")
                count = await conn.fetchval(
                    "select cardinality(parameter_types) from pg_prepared_statements"
                    " where name = 'back'"
                )
                given = ", ".join(["null"] * count)
                (plan,) = await conn.fetchval(f"explain (format json) execute back ({given})")
                await conn.execute("deallocate back")
                found = list(nodes(plan["Plan"]))
                scans = [node for node in found if node.get("Relation Name") == "events"]

                assert scans
                index = "events_of_deleted" if name == "plan of deleted" else "events_of_plan"
                assert {scan.get("Index Name") for scan in scans} == {index}
                key = "aggregate_id = " if name == "plan of deleted" else "plan_id = "
                assert all(key in scan["Index Cond"] for scan in scans)
                if name in WITHIN:
                    assert all("seq > " in scan["Index Cond"] for scan in scans)
                if name in STREAMS:
                    assert "Sort" not in {node["Node Type"] for node in found}
