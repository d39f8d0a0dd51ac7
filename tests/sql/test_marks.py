"""Of several labels, what has the rarest is gone through: how rare each is, a part of it says."""

from __future__ import annotations

from math import inf
from typing import TYPE_CHECKING, Final

import pytest

from planstore.sql import marks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from planstore.db import Database
    from planstore.sql.connection import Connection

NUMBER: Final = "select hashtextextended($1, 1)"

MARKED: Final = """
insert into planstore.plan_marks (plan_id, mark, created_at)
select gen_random_uuid(), hashtextextended($1, 1), now() - n * make_interval(secs => $3::float8)
from generate_series(1, $2) n
"""


@pytest.fixture
async def conn(database: Database) -> AsyncIterator[Connection]:
    async with database.connection() as conn:
        yield conn


async def mark(conn: Connection, label: str, *, plans: int, seconds_between: float) -> None:
    await conn.execute(MARKED, label, plans, seconds_between)


async def rarest(conn: Connection, *labels: str) -> tuple[str, float]:
    """The label whose plans are gone through, and how many there seem to be."""
    found = await marks.rarest_of_plans(conn, {"label": labels})
    assert found is not None
    numbers = {await conn.fetchval(NUMBER, label): label for label in labels}
    assert {*found.others} == {*numbers} - {found.number}
    return numbers[found.number], found.length


async def test_few_are_counted(conn: Connection) -> None:
    await mark(conn, "blue", plans=50, seconds_between=1)
    await mark(conn, "red", plans=20, seconds_between=0)

    assert await rarest(conn, "blue", "red") == ("red", 20)
    assert await rarest(conn, "blue", "green") == ("green", 0)


async def test_of_many_a_part_says_how_many_there_are(conn: Connection) -> None:
    await mark(conn, "blue", plans=9_000, seconds_between=1)
    await mark(conn, "red", plans=6_000, seconds_between=5)
    await mark(conn, "green", plans=3_000, seconds_between=2)

    assert await rarest(conn, "blue", "red") == ("red", pytest.approx(6_000, rel=0.01))
    assert await rarest(conn, "blue", "red", "green") == ("green", pytest.approx(3_000, rel=0.01))


async def test_of_many_of_one_moment_nothing_is_known(conn: Connection) -> None:
    await mark(conn, "blue", plans=5_000, seconds_between=0)
    await mark(conn, "red", plans=6_000, seconds_between=1)

    assert await rarest(conn, "blue", "red") == ("red", pytest.approx(6_000, rel=0.01))


async def test_an_only_one_is_not_counted(conn: Connection) -> None:
    await mark(conn, "blue", plans=3, seconds_between=1)

    assert await rarest(conn, "blue") == ("blue", inf)
