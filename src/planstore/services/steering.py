"""The verbs by which people steer plans and tasks, inside a transaction.

A verb of plans takes the plan, locked, and answers whether it changed anything; one of tasks takes
any number of tasks of the plan, as `tasks.many` answers them, and does each that allows it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.errors import InvalidTransition
from planstore.models.plan import FINAL, PLAN_LIFECYCLE, PlanStatus
from planstore.models.task import FINISHED, TASK_LIFECYCLE, TaskStatus
from planstore.services import following, refusals, spending
from planstore.services.outcomes import Outcomes
from planstore.sql import tasks

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from planstore.sql.connection import Connection, Row


async def start(conn: Connection, plan: Row) -> bool:
    """Have a plan carried out.

    Raises:
        InvalidTransition: it has ended.
    """
    status = PlanStatus(plan["status"])
    if status in FINAL:
        raise InvalidTransition(PLAN_LIFECYCLE.refusal_of("start", status, which=plan["id"]))
    return await _set(conn, plan, {"status": PlanStatus.ACTIVE})


async def pause(conn: Connection, plan: Row) -> bool:
    """Have a plan hand out no more tasks.

    Raises:
        InvalidTransition: it has ended.
    """
    if plan["status"] in FINAL:
        raise InvalidTransition(
            f"cannot pause plan {plan['id']}: it is {plan['status']}; allowed now: reopen"
        )
    return await _set(conn, plan, paused(plan))


def paused(plan: Row) -> dict[str, Any]:
    """Return what pausing a plan by hand sets.

    Who pauses what its budget has paused already wants it to stay so when that is raised.
    """
    return {"paused_at": plan["paused_at"] or plan["locked_at"], "pause_reason": None}


async def resume(conn: Connection, plan: Row) -> bool:
    """Have a paused plan hand out tasks again.

    Raises:
        InvalidTransition: it has reached its budget.
    """
    limit = await spending.reached(conn, plan["id"]) if plan["paused_at"] is not None else None
    if limit is not None:
        raise refusals.budget_reached(plan["id"], limit)
    return await _set(conn, plan, {"paused_at": None, "pause_reason": None})


async def cancel(conn: Connection, plan: Row) -> bool:
    """Close a plan."""
    if plan["status"] == PlanStatus.CANCELLED:
        return False
    return await _set(conn, plan, {"status": PlanStatus.CANCELLED})


async def retry(conn: Connection, plan: Row) -> bool:
    """Try every failed task of a plan again.

    Raises:
        PlanClosed: the plan was closed by hand.
    """
    if plan["closed_at"] is not None:
        raise refusals.plan_closed(plan["id"], wish="retry its tasks")
    return bool(await following.reset(conn, plan, await tasks.failed(conn, plan["id"])))


async def _set(conn: Connection, plan: Row, changes: dict[str, Any]) -> bool:
    (row,) = await following.change_plan(conn, plan["id"], changes)
    if row["verdict"] != "changed":
        raise refusals.of_plan(row, plan["id"], changes, expected=None)
    return row["version"] != row["version_before"]


async def retry_tasks(conn: Connection, plan: Row, rows: Sequence[Row]) -> Outcomes:
    """Try those of the tasks again that have failed; finished ones are refused."""
    outcomes = Outcomes()
    if plan["closed_at"] is not None:
        return _all_refused(plan, rows, wish="retry a task")
    for row in rows:
        status = TaskStatus(row["status"])
        if status in FINISHED:
            outcomes.refused[row["id"]] = InvalidTransition(
                TASK_LIFECYCLE.refusal_of("retry", status, which=row["id"])
            )
    failed = [row["id"] for row in rows if row["status"] == TaskStatus.FAILED]
    if failed:
        outcomes.changed = await following.reset(conn, plan, failed)
    return outcomes


async def reset_tasks(conn: Connection, plan: Row, rows: Sequence[Row]) -> Outcomes:
    """Do all of the tasks again from the start that run or have ended."""
    if plan["closed_at"] is not None:
        return _all_refused(plan, rows, wish="reset a task")
    return Outcomes(changed=await following.reset(conn, plan, [row["id"] for row in rows]))


def _all_refused(plan: Row, rows: Sequence[Row], *, wish: str) -> Outcomes:
    error = refusals.plan_closed(plan["id"], wish=wish)
    return Outcomes(refused={row["id"]: error for row in rows})
