"""Removing old events, and plans that ended long ago, in bites that hold nobody up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from planstore.models.event import MAX_SEQ
from planstore.models.plan import FINAL
from planstore.models.retention import Pruned
from planstore.services import deleting
from planstore.sql import plans, relays, retention

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import timedelta
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.retention import Kept

_LOOKED_AT: Final = 10_000
"""How many events a bite looks at."""

_BITE: Final = 2_000
"""How many events, or tasks as far as a plan alone hasn't more, a bite removes."""

_PLANS: Final = 500
"""How many plans are looked at in a bite."""

_APART: Final = 0.05
"""Seconds between two bites."""


async def prune(database: Database, kept: Kept) -> Pruned:
    """Delete plans that ended long ago, and remove old events of plans that have ended.

    The events of a plan go together. What a relay has still to pass on is kept.
    """
    deleted = removed = 0
    if kept.plans is not None:
        async for bite in _old_plans(database, kept.plans):
            deleted += await _delete(database, kept.plans, bite)
            await asyncio.sleep(_APART)
    if kept.events is not None:
        while True:
            async with database.connection() as conn:
                lowest = await relays.lowest_place(conn)
                row = await retention.prune(
                    conn,
                    kept.events,
                    looked_at=_LOOKED_AT,
                    bite=_BITE,
                    through=MAX_SEQ if lowest is None else lowest,
                )
            removed += row["events"] if row else 0
            if row is None or not row["has_more"]:
                break
            await asyncio.sleep(_APART)
    return Pruned(plans=deleted, events=removed)


async def _delete(database: Database, kept: timedelta, plan_ids: list[UUID]) -> int:
    async with database.transaction() as conn:
        # What is locked is seen as it is only by a statement that begins after it.
        await plans.lock(conn, plan_ids)
        old = await retention.still_old(conn, kept, plan_ids)
        # One in which a task runs, though it is closed, is kept until that has ended.
        deleted = await deleting.delete_plans(conn, old, force=False)
    return len(deleted.changed)


async def _old_plans(database: Database, kept: timedelta) -> AsyncIterator[list[UUID]]:
    """Yield plans that ended long ago, of not too many tasks together."""
    for status in sorted(FINAL):
        place = retention.FIRST
        is_more = True
        while is_more:
            async with database.connection() as conn:
                found = await retention.finished(
                    conn, kept, status=status, after=place, limit=_PLANS
                )
            bite: list[UUID] = []
            tasks = 0
            for plan in found:
                if plan["is_old"]:
                    if bite and tasks + plan["task_count"] > _BITE:
                        yield bite
                        bite, tasks = [], 0
                    bite.append(plan["id"])
                    tasks += plan["task_count"]
            if bite:
                yield bite
            is_more = len(found) == _PLANS
            if is_more:
                place = retention.AmongPlans(found[-1]["created_at"], found[-1]["id"])


async def preview(database: Database, kept: Kept) -> Pruned:
    """Count what `prune` would remove now; nothing is changed.

    The events of plans that it would delete are not counted: these go later.
    """
    deleted = removed = 0
    if kept.plans is not None:
        async for bite in _old_plans(database, kept.plans):
            deleted += len(bite)
    if kept.events is not None:
        async with database.connection() as conn:
            place = await retention.examined(conn)
            lowest = await relays.lowest_place(conn)
        while True:
            async with database.connection() as conn:
                row = await retention.prunable(
                    conn,
                    kept.events,
                    looked_at=_LOOKED_AT,
                    after=place,
                    through=MAX_SEQ if lowest is None else lowest,
                )
            removed += row["events"]
            if row["looked_at"] < _LOOKED_AT:
                break
            place = row["examined_to"]
    return Pruned(plans=deleted, events=removed)
