"""What plans use, and what stops them: usage is recorded, and budgets are held against it.

Everything here is done with the plans locked, so of two reports that reach a budget at once one
pauses the plan, and the other one finds it paused.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Final

from planstore.models.plan import FINAL
from planstore.services import completing, following
from planstore.sql import plans, spending, tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from typing import Any
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.claim import HeartbeatClaim
    from planstore.services.following import Ended
    from planstore.sql.connection import Connection, Row
    from planstore.sql.tasks import Ending

_STOPPED_AT_ONCE: Final = 100
"""How many plans are paused by their deadlines in one transaction."""


async def end_runs(conn: Connection, endings: Sequence[Ending]) -> Ended:
    """End runs, of whatever plans, and record what they took.

    Only where a run ends by it: a report that comes again isn't counted again.
    """
    ended = await completing.end_within(conn, endings)
    # That has locked the plans of all of them, so nobody is waited for who may wait for us.
    await ended.redo({"stale", "wide"}, endings, partial(following.end_runs, conn))
    given = {each.task_id for each in endings}
    ended.unblocked = [each for each in ended.unblocked if each not in given]
    await _record(
        conn,
        {
            ending.task_id: ending.usage
            for row, ending in zip(ended.rows, endings, strict=True)
            if ending.usage and row["verdict"] == "changed"
        },
    )
    return ended


async def renew(conn: Connection, worker_id: str, claims: Sequence[HeartbeatClaim]) -> list[Row]:
    """Renew claims, and record what their runs have taken; answers as `tasks.renew` does."""
    reporting = [each for each in claims if each.usage is not None and each.usage.named]
    if reporting:
        await plans.lock_of_tasks(conn, (each.task_id for each in reporting))
    rows = await tasks.renew(conn, worker_id, claims)
    lost = {row["task_id"] for row in rows if row["state"] == "lost"}
    late = [each for each in reporting if each.task_id in lost]
    if late:
        await spending.refuse(
            conn,
            [each.task_id for each in late],
            [each.fencing_token for each in late],
            [each.usage and each.usage.named for each in late],
        )
    await _record(
        conn,
        {
            each.task_id: each.usage.named
            for each in reporting
            if each.usage is not None and each.task_id not in lost
        },
    )
    return rows


async def _record(conn: Connection, reports: Mapping[UUID, Any]) -> None:
    if reports:
        await check(conn, await spending.record(conn, reports))


async def check(conn: Connection, plan_ids: Sequence[UUID]) -> None:
    """Pause those of the plans that have reached their budget, and let go on whose was raised.

    What is paused by hand stays so.
    """
    if not plan_ids:
        return
    for row in await spending.judge(conn, plan_ids):
        if row["reached"] == row["pause_reason"]:
            continue
        if row["pause_reason"] is None and (row["paused_at"] is not None or row["status"] in FINAL):
            continue
        paused_at = None if row["reached"] is None else row["paused_at"] or row["judged_at"]
        changes = {"paused_at": paused_at, "pause_reason": row["reached"]}
        await following.change_plan(conn, row["id"], changes)


async def lock_and_check(conn: Connection, plan_ids: Iterable[UUID]) -> None:
    """Do as `check` does, in a transaction of its own."""
    async with conn.transaction():
        await check(conn, [row["id"] for row in await plans.lock(conn, plan_ids)])


async def reached(conn: Connection, plan_id: UUID) -> str | None:
    """Return what a locked plan has reached of its budget; None if nothing."""
    rows = await spending.judge(conn, [plan_id])
    return rows[0]["reached"] if rows else None


async def stop(database: Database) -> None:
    """Pause plans whose deadline is over, and such as went on though their budget is used up."""
    while True:
        async with database.connection() as conn:
            found = await spending.stopping(conn, limit=_STOPPED_AT_ONCE)
            if not found:
                return
            await lock_and_check(conn, found)
        if len(found) < _STOPPED_AT_ONCE:
            return
