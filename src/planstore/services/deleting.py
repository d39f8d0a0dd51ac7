"""Deleting plans and tasks, with all that follows from it."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from planstore.services import following, refusals
from planstore.services.outcomes import Outcomes
from planstore.sql import derivation, plans, tasks
from planstore.sql import idempotency as keys
from planstore.sql.tasks import NewEdge

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.errors import PlanStoreError
    from planstore.models.idempotency import RequestKey
    from planstore.sql.connection import Connection, Row


async def delete_plan(
    database: Database,
    plan_id: UUID,
    *,
    force: bool,
    expected_version: int | None,
    key: RequestKey | None,
) -> None:
    """Delete a plan with its tasks.

    Raises:
        NotFound: there is no such plan.
        VersionMismatch: it isn't at ``expected_version``.
        TasksRunning: tasks of it run, unless ``force``.
    """
    async with database.transaction() as conn:
        deleted = await delete_plans(
            conn, [plan_id], force=force, expected_version=expected_version
        )
        if plan_id in deleted.refused:
            raise deleted.refused[plan_id]
        if not deleted.changed:
            raise refusals.no_plan(plan_id)
        if key is not None:
            await keys.keep(conn, key, {})


async def delete_plans(
    conn: Connection,
    plan_ids: Sequence[UUID],
    *,
    force: bool,
    expected_version: int | None = None,
) -> Outcomes:
    """Delete plans with their tasks, in a transaction: each is deleted or kept for itself."""
    deleted = Outcomes()
    # What is locked is seen as it is only by a statement that begins after it.
    await plans.lock(conn, plan_ids)
    await tasks.deletion.lock_all(conn, plan_ids)
    for row in await plans.delete(
        conn,
        plan_ids,
        force=force,
        expected_version=expected_version,
        named=refusals.NAMED,
    ):
        if row["verdict"] == "deleted":
            deleted.changed.append(row["plan_id"])
        else:
            deleted.refused[row["plan_id"]] = refusals.of_plan_deletion(
                row, expected=expected_version
            )
    return deleted


async def delete_task(
    database: Database,
    task_id: UUID,
    *,
    force: bool,
    expected_version: int | None,
    key: RequestKey | None,
) -> None:
    """Delete a task.

    Raises:
        NotFound: there is no such task.
        VersionMismatch: it isn't at ``expected_version``.
        TasksRunning: it runs, unless ``force``.
        TaskNeeded: others need it, unless ``force``.
    """
    async with database.transaction() as conn:
        plan = await following.lock_of_task(conn, task_id)
        deleted = await delete_tasks(
            conn, plan, [task_id], force=force, expected_version=expected_version
        )
        if task_id in deleted.refused:
            raise deleted.refused[task_id]
        if not deleted.changed:
            raise refusals.no_task(task_id)
        if key is not None:
            await keys.keep(conn, key, {})


async def delete_tasks(
    conn: Connection,
    plan: Row,
    task_ids: Sequence[UUID],
    *,
    force: bool,
    expected_version: int | None = None,
) -> Outcomes:
    """Delete tasks of a plan that is locked: each is deleted or kept for itself.

    Who needs only such as go along is no obstacle. ``force``: who runs loses the claim, and who
    needs one of the tasks doesn't any more.
    """
    plan_id = plan["id"]
    there = await tasks.deletion.lock(conn, plan_id, task_ids)
    edges = await tasks.deletion.needers(conn, plan_id, [row["task_id"] for row in there])
    deleted = Outcomes()
    for row in there:
        error = refusals.of_task_deletion(row, force=force, expected=expected_version)
        if error is not None:
            deleted.refused[row["task_id"]] = error
    if not force:
        _keep_needed(deleted.refused, {row["task_id"] for row in there}, edges)
    deleted.changed = [row["task_id"] for row in there if row["task_id"] not in deleted.refused]
    if deleted.changed:
        await derivation.lock(conn, plan_id)
        await _unlink(conn, plan_id, edges, gone=set(deleted.changed))
        await tasks.delete(conn, plan_id, deleted.changed)
        await derivation.derive(conn, plan_id, is_revision=True)
    return deleted


def _keep_needed(
    kept: dict[UUID, PlanStoreError], there: Collection[UUID], edges: Sequence[Row]
) -> None:
    """Add to those that are kept what they need, and what anything else needs that stays."""
    names = {edge["task_id"]: edge["name"] for edge in edges}
    needs: defaultdict[UUID, list[UUID]] = defaultdict(list)
    for edge in edges:
        if edge["needs_id"] in there:
            needs[edge["task_id"]].append(edge["needs_id"])
    needers: defaultdict[UUID, list[tuple[UUID, str | None]]] = defaultdict(list)
    staying = [*kept, *(each for each in needs if each not in there)]
    for each in staying:  # which grows meanwhile
        for needed in needs[each]:
            if needed not in needers and needed not in kept:
                staying.append(needed)
            needers[needed].append((each, names[each]))
    for task_id, those in needers.items():
        kept.setdefault(task_id, refusals.task_needed(task_id, those))


async def _unlink(
    conn: Connection, plan_id: UUID, edges: Sequence[Row], *, gone: set[UUID]
) -> None:
    """Have those who stay need no more what is to be gone."""
    bereft = {
        edge["task_id"]
        for edge in edges
        if edge["needs_id"] in gone and edge["task_id"] not in gone
    }
    left = [
        NewEdge(plan_id, edge["task_id"], edge["needs_id"], edge["condition"], edge["kind"])
        for edge in edges
        if edge["task_id"] in bereft and edge["needs_id"] not in gone
    ]
    if bereft:
        await tasks.dependencies.replace(conn, plan_id, sorted(bereft), left)
