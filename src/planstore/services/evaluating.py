"""Evaluations: how what came of a task was judged, kept beside it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final
from uuid import UUID

from uuid_utils.compat import uuid7

from planstore.errors import InvalidTransition
from planstore.models.evaluation import Evaluation
from planstore.models.page import PLACE_IN_TIME, Page, decode_cursor, encode_cursor
from planstore.services import refusals
from planstore.sql import evaluations
from planstore.sql.tasks.leases import LONG_AGO

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.evaluation import EvaluationCreate
    from planstore.models.idempotency import RequestKey
    from planstore.sql.connection import Row

_BEFORE_ALL: Final = (LONG_AGO, UUID(int=0))


async def create(
    database: Database, task_id: UUID, evaluation: EvaluationCreate, *, key: RequestKey | None
) -> Evaluation:
    """Keep how a task was judged."""
    async with database.connection() as conn:
        row = await evaluations.create(conn, task_id, evaluation, evaluation_id=uuid7(), key=key)
    if row is None:
        raise refusals.no_task(task_id)
    if not row["has_ended"]:
        raise InvalidTransition(
            f"cannot evaluate task {task_id}: it is {row['status']}; what came of a task is "
            "evaluated once it is completed or failed"
        )
    return _evaluation(row)


async def list_of_task(
    database: Database, task_id: UUID, *, limit: int, offset: int, cursor: str | None
) -> Page[Evaluation]:
    """Return evaluations of a task, the oldest first."""
    after = _BEFORE_ALL if cursor is None else decode_cursor(cursor, PLACE_IN_TIME)
    async with database.connection() as conn:
        rows = await evaluations.of_task(conn, task_id, after=after, limit=limit + 1, offset=offset)
    if rows is None:
        raise refusals.no_task(task_id)
    page = Page(_evaluation(row) for row in rows[:limit])
    if len(rows) > limit:
        page.next_cursor = encode_cursor((page[-1].created_at, page[-1].id))
    return page


def _evaluation(row: Row) -> Evaluation:
    return Evaluation.model_validate({name: row[name] for name in Evaluation.model_fields})
