"""What reads the log goes along its numbers, or those of plans, and no further than it must."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID, uuid4

import pytest

from planstore.models.event import MAX_SEQ
from planstore.sql import log, retention, tailing
from planstore.sql.log import Span, Wanted

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator

    from planstore.db import Database
    from planstore.sql.connection import Connection

    Statement = Callable[[Connection], Awaitable[Any]]

_FILL: Final = """
insert into planstore.events
  (event_type, aggregate_type, aggregate_id, plan_id, version, payload, metadata, created_at)
select
  case when n % 10 = 0 then 'task.failed' else 'task.completed' end, 'task', t.id, p.id, n, '{}',
  '{}', now() - (20000 - n) * interval '1 hour'
from generate_series(1, 20000) n
cross join lateral (select md5((n % 400)::text)::uuid as id) p
cross join lateral (select md5((n % 4000)::text || 't')::uuid as id) t
"""

PLANS: Final = [UUID("cfcd208495d565ef66e7dff9f98764da"), UUID("c4ca4238a0b923820dcc509a6f75849b")]
"""Those of the remainders 0 and 1."""

ALL: Final = Span(0, MAX_SEQ)
LATE: Final = Span(15_000, MAX_SEQ)
NOW: Final = datetime.now(UTC)
DAYS: Final = timedelta(days=700)


def _find(
    span: Span, *, plan_ids: list[UUID] | None = None, limit: int = 10, **wanted: Any
) -> Statement:
    return lambda conn: log.find(
        conn,
        span,
        Wanted(**wanted),
        plan_ids=plan_ids,
        limit=limit,
        offset=0,
        most_bytes=1_000_000,
    )


FAILED: Final = ["task.failed"]

STATEMENTS: Final[dict[str, tuple[Statement, int]]] = {
    "all": (_find(ALL), 10),
    "all later": (_find(LATE), 10),
    "of a type": (_find(LATE, event_types=FAILED), 110),
    "of an aggregate type": (_find(LATE, aggregate_types=["task"]), 10),
    "of a time": (_find(LATE, created_after=NOW - DAYS), 10),
    "of a type, up to a number": (_find(Span(100, 150), event_types=["none"]), 50),
    "of a plan": (_find(ALL, plan_ids=PLANS[:1]), 20),
    "of plans later": (_find(LATE, plan_ids=PLANS), 40),
    "of a type in a plan": (_find(ALL, plan_ids=PLANS, event_types=FAILED), 200),
    "of an object in its plan": (_find(ALL, plan_ids=PLANS[:1], aggregate_ids=[uuid4()]), 60),
    "count": (
        lambda conn: log.count(conn, Span(0, 100), Wanted(event_types=FAILED), plan_ids=None),
        100,
    ),
    "count of plans": (
        lambda conn: log.count(conn, LATE, Wanted(event_types=FAILED), plan_ids=PLANS),
        30,
    ),
    "first": (lambda conn: log.first(conn, after=9), 1),
    "nth of plans": (lambda conn: log.nth_of_plans(conn, PLANS, after=9, number=20), 40),
    "around": (lambda conn: log.around(conn, NOW - DAYS), 30),
    "plans of": (lambda conn: log.plans_of(conn, [uuid4(), PLANS[0]]), 2),
    "get": (lambda conn: log.get(conn, 9), 1),
    "is curtailed": (lambda conn: log.is_curtailed(conn, PLANS, after=0), 2),
    "after": (lambda conn: tailing.after(conn, 9, limit=10), 10),
    "last": (tailing.last, 1),
    "unbroken": (lambda conn: tailing.unbroken(conn, 9, limit=10), 10),
    # Each of those looked at is the last one of a plan, or isn't.
    "prune": (
        lambda conn: retention.prune(conn, timedelta(1), looked_at=10, bite=10, through=MAX_SEQ),
        40,
    ),
    "prunable": (
        lambda conn: retention.prunable(conn, timedelta(1), looked_at=10, after=0, through=MAX_SEQ),
        20,
    ),
}
"""What is sent, and how many events it may read."""


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[Connection]:
    async with database.connection() as conn:
        await conn.execute(_FILL)
        yield conn


def _literal(value: Any) -> str:
    match value:
        case None:
            return "null"
        case int():
            return str(value)
        case list():
            return f"'{{{','.join(map(str, cast('list[Any]', value)))}}}'"
        case timedelta():
            return f"'{value.total_seconds()} s'"
        case _:
            return f"'{value}'"


def _nodes(node: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield node
    for child in cast("list[dict[str, Any]]", node.get("Plans", [])):
        yield from _nodes(child)


async def _scans(conn: Connection, statement: Statement) -> list[dict[str, Any]]:
    """How the events are read by what is sent, as it is planned for whatever parameters."""
    sent: list[tuple[str, Any]] = []
    undo = conn.transaction()
    await undo.start()
    with conn.query_logger(lambda record: sent.append((record.query, record.args))):
        await statement(conn)
    await undo.rollback()
    ((query, arguments),) = [each for each in sent if "planstore." in each[0]]
    await conn.execute(f"prepare looked as {query}")
    given = ", ".join(map(_literal, arguments))
    undo = conn.transaction()
    await undo.start()
    (plan,) = await conn.fetchval(
        "explain (analyze, format json) execute looked" + (f" ({given})" if given else "")
    )
    await undo.rollback()
    await conn.execute("deallocate looked")
    return [node for node in _nodes(plan["Plan"]) if node.get("Relation Name") == "events"]


async def test_the_log_is_read_by_its_indexes_and_no_more_of_it_than_is_needed(
    conn: Connection, subtests: pytest.Subtests
) -> None:
    for is_analyzed in (False, True):
        if is_analyzed:
            await conn.execute("analyze planstore.events")
        for name, (statement, most) in STATEMENTS.items():
            with subtests.test(name=name, is_analyzed=is_analyzed):
                scans = [
                    scan
                    for scan in await _scans(conn, statement)
                    if scan["Node Type"] != "ModifyTable"
                ]
                assert scans
                assert {scan["Node Type"] for scan in scans} <= {
                    "Index Scan",
                    "Index Only Scan",
                    "Bitmap Heap Scan",
                }
                read = sum(
                    (scan["Actual Rows"] + scan.get("Rows Removed by Filter", 0))
                    * scan["Actual Loops"]
                    for scan in scans
                )
                assert read <= most, scans
