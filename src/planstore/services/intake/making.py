"""Making a plan of what was found in a file: all of it, in one transaction, or nothing."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from itertools import islice
from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from planstore.models.intake import stands
from planstore.models.plan import FINAL, PlanCreate, PlanDraft, PlanStatus
from planstore.models.task import ENDED, MAX_BATCH
from planstore.services import following, steering
from planstore.sql import derivation, plans, tasks
from planstore.sql.tasks import NewEdge, NewTask, Restored

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from typing import Literal
    from uuid import UUID

    from planstore.models.intake import PortedTask
    from planstore.services.intake.gathering import Gathered
    from planstore.sql.connection import Connection


async def make(
    conn: Connection,
    gathered: Gathered,
    *,
    status: Literal[PlanStatus.DRAFT, PlanStatus.ACTIVE] | None,
) -> UUID:
    """Make the plan with its tasks; answers its id.

    ``status``: what it is to be, whatever the file says. What follows from the tasks is derived
    once, after the last of them; until then nobody else sees the plan.
    """
    wanted = status or gathered.plan.status
    plan_id = gathered.plan.id or uuid7()
    await plans.create(conn, _plan(gathered.plan, wanted), plan_id=plan_id, key=None)
    await following.lock(conn, plan_id)
    await tasks.expect_many(conn)
    has_moved = False
    async with aclosing(_ahead(_batches(gathered, plan_id))) as batches:
        async for new, edges, restored in batches:
            await tasks.create(conn, new, edges, is_locked=True, is_derived_after=True)
            if restored:
                await tasks.restore(conn, plan_id, restored)
                has_moved = True
    await derivation.derive(
        conn,
        plan_id,
        is_move=has_moved,
        is_revision=bool(gathered.ids),
        keeps_step=gathered.has_step,
    )
    await _end_as_it_was(conn, gathered, plan_id, wanted)
    return plan_id


def _plan(given: PlanDraft, wanted: PlanStatus) -> PlanCreate:
    fields = {name: getattr(given, name) for name in PlanDraft.model_fields}
    is_draft = wanted == PlanStatus.DRAFT
    return PlanCreate.model_construct(
        **fields, status=PlanStatus.DRAFT if is_draft else PlanStatus.ACTIVE
    )


async def _end_as_it_was(
    conn: Connection, gathered: Gathered, plan_id: UUID, wanted: PlanStatus
) -> None:
    """Pause or close the plan where that doesn't follow from its tasks."""
    if gathered.plan.paused and wanted not in FINAL:
        await steering.pause(conn, await following.lock(conn, plan_id))
    if wanted in FINAL:
        plan = await following.lock(conn, plan_id)
        if plan["status"] != wanted:
            step = {"current_step": gathered.plan.current_step} if gathered.has_step else {}
            await following.change_plan(conn, plan_id, {"status": wanted, **step})


async def _ahead(batches: Iterator[_Batch]) -> AsyncGenerator[_Batch]:
    """Yield the batches, while the next one is made ready beside the loop."""
    upcoming = asyncio.create_task(asyncio.to_thread(next, batches, None))
    try:
        while (batch := await upcoming) is not None:
            upcoming = asyncio.create_task(asyncio.to_thread(next, batches, None))
            yield batch
    finally:
        await asyncio.wait({upcoming})


_Batch = tuple[list[NewTask], list[NewEdge], list[Restored]]


def _batches(gathered: Gathered, plan_id: UUID) -> Iterator[_Batch]:
    """Yield the tasks as they are to be written, so many at a time."""
    ids = [given or uuid7() for given in gathered.ids]
    numbered = zip(range(len(ids)), gathered.tasks(), gathered.places(), strict=True)
    while part := list(islice(numbered, MAX_BATCH)):
        yield (
            [NewTask(ids[number], plan_id, task, *place) for number, task, place in part],
            [
                NewEdge(plan_id, ids[number], ids[needed], when, kind)
                for number, _, _ in part
                for needed, (when, kind) in gathered.needs[number].items()
            ],
            [
                restored
                for number, task, _ in part
                if (restored := _restored(ids[number], task)) is not None
            ],
        )


def _restored(task_id: UUID, task: PortedTask) -> Restored | None:
    """Return what came of a task; None where it is as new ones are."""
    is_told = stands(task.status, task.status_reason)
    if not is_told and task.output_data is task.error is None and not task.needs_review:
        return None
    return Restored(
        task_id,
        status=task.status if is_told else None,
        status_reason=task.status_reason if is_told else None,
        output_data=task.output_data,
        error=task.error,
        needs_review=task.needs_review,
        started_at=task.started_at if is_told else None,
        completed_at=task.completed_at if is_told and task.status in ENDED else None,
    )
