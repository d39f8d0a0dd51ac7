"""Approving and rejecting tasks, inside a transaction in which their plan is locked."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.approval import Decision
from planstore.services import following, refusals
from planstore.sql import tasks
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from planstore.models.approval import Review
    from planstore.sql.connection import Connection, Row

REJECTED: Final = "rejected"
"""The ``code`` of the error of a task that was rejected."""


async def approve(conn: Connection, plan: Row, task: Row, review: Review) -> None:
    """Agree to a task's being carried out; who was first to agree stays named.

    Raises:
        InvalidTransition: it requires no approval, was rejected, or isn't blocked.
    """
    is_decided = await _decide(conn, task, Decision.APPROVED, review)
    if is_decided and plan["max_parallel_tasks"] is not None:
        await tasks.offer(conn, plan["id"])


async def reject(conn: Connection, task: Row, review: Review) -> None:
    """Refuse that a task is carried out: it has failed, and isn't retried by itself.

    Raises:
        InvalidTransition: it requires no approval, was approved, or isn't blocked.
    """
    if await _decide(conn, task, Decision.REJECTED, review):
        rejection = Ending(task["id"], End.FAIL, error=_error(review), is_retryable=False)
        # A draft may be gone through before it is started.
        ended = await following.end_runs(conn, [rejection], is_start=False)
        assert ended.rows[0]["verdict"] == "changed", ended.rows[0]


async def _decide(conn: Connection, task: Row, decision: Decision, review: Review) -> bool:
    """Keep what was decided; False where it was so already."""
    if task["approval"] is not None and task["approval"]["decision"] == decision:
        return False
    if not await tasks.decide(conn, task["id"], decision, review):
        raise refusals.of_decision(task, decision)
    return True


def _error(review: Review) -> dict[str, Any]:
    by = f" by {review.by}" if review.by is not None else ""
    why = f": {review.comment}" if review.comment is not None else ""
    return {"code": REJECTED, "message": f"rejected{by}{why}"}
