"""Statistics, and what is looked at when they are told, are found by an index.

Two tables are small whatever happens: that of the place in the log, and that of the counts by type.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.models import TaskStatus as S
from planstore.models.evaluation import EvaluationCreate
from planstore.models.statistics import Dimension, Grain, Span
from planstore.sql import evaluations, statistics
from planstore.sql.tasks.leases import LONG_AGO
from tests.arranging import plan_of, task_of
from tests.sql.test_indexes import scans_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from planstore.db import Database
    from planstore.services.plan_store import PlanStore
    from planstore.sql.connection import Connection

SMALL: Final = {"statistics_place", "task_counts"}

_SPANS: Final = [Span(Grain.HOUR, datetime(2026, 1, 1, tzinfo=UTC))]
_EVALUATION: Final = EvaluationCreate(evaluation_type="quality", score=1)


STATEMENTS: Final[dict[str, Callable[[Connection], Awaitable[Any]]]] = {
    "count": lambda conn: statistics.count(conn, after=0, through=10),
    "place": statistics.place,
    "standing": lambda conn: statistics.standing(conn, most=10),
    "ever": lambda conn: statistics.ever(conn, types=10),
    "tasks": lambda conn: statistics.tasks(conn, types=10),
    "forget": lambda conn: statistics.forget(conn, Grain.MINUTE, limit=10),
    "counted": lambda conn: statistics.counted(conn, _SPANS, Dimension.AGENT, "x"),
    "groups": lambda conn: statistics.groups(conn, _SPANS, Dimension.AGENT, limit=10),
    "evaluate": lambda conn: evaluations.create(
        conn, uuid4(), _EVALUATION, evaluation_id=uuid4(), key=None
    ),
    "evaluations": lambda conn: evaluations.of_task(
        conn, uuid4(), after=(LONG_AGO, uuid4()), limit=10, offset=0
    ),
}


@pytest.mark.parametrize("plans", [0, 30])
async def test_statistics_are_found_by_an_index(
    database: Database, store: PlanStore, subtests: pytest.Subtests, plans: int
) -> None:
    if plans:
        for number in range(plans):
            plan = await plan_of(store, plan_type="dag")
            for status in (S.PENDING, S.COMPLETED, S.COMPLETED):
                task = await task_of(store, plan, task_type=f"t{number}", status=status)
            await store.create_evaluation(task.id, _EVALUATION)
        await store.count_events()
        async with database.connection() as conn:
            await conn.execute("analyze")
    async with database.connection() as conn:
        for name, statement in STATEMENTS.items():
            with subtests.test(name=name):
                scans = [each for each in await scans_of(conn, statement) if each.on not in SMALL]

                assert [scan for scan in scans if not scan.is_by_index] == []
                assert scans or name == "tasks"
