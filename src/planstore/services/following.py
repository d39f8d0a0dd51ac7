"""Changes together with all that follows from them, inside a transaction.

Each verb here comes with its plan locked. It is counted in place where that is possible, and
derived anew where it isn't; either way the plan is as it should be when the transaction ends.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from planstore.models.task import Task, TaskStatus
from planstore.services import refusals, wiring
from planstore.services.answers import tasks_of_new
from planstore.sql import derivation, plans, tasks

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Container, Iterable, Mapping, Sequence
    from uuid import UUID

    from planstore.services.wiring import Wish
    from planstore.sql.connection import Connection, Row, RowLike
    from planstore.sql.tasks import Ending, NewTask

_A_HANDFUL: Final = 20
"""How many dependencies are added by the plan that is kept for any number of them."""


@dataclass(slots=True)
class Ended:
    """What became of runs that were to end."""

    rows: list[RowLike]
    """In the order that was asked, as `tasks.end` answers them; what was completed by its holder
    has ``verdict``, ``status`` and ``is_returned`` alone."""
    unblocked: list[UUID] = field(default_factory=list["UUID"])
    """The tasks whose turn has come by it."""
    task: dict[str, Any] | None = None
    """The fields of the only task, where they were read together with it."""

    async def redo(
        self,
        verdicts: Container[str],
        endings: Sequence[Ending],
        end: Callable[[list[Ending]], Awaitable[Ended]],
    ) -> None:
        """Have ``end`` do those of ``endings`` again that have one of these verdicts."""
        left = [number for number, row in enumerate(self.rows) if row["verdict"] in verdicts]
        if left:
            again = await end([endings[number] for number in left])
            for number, row in zip(left, again.rows, strict=True):
                self.rows[number] = row
            self.unblocked += again.unblocked


async def lock(conn: Connection, plan_id: UUID) -> Row:
    """Lock a plan until the transaction ends.

    Raises:
        NotFound: there is no such plan.
    """
    locked = await plans.lock(conn, [plan_id])
    if not locked:
        raise refusals.no_plan(plan_id)
    return locked[0]


async def lock_of_task(conn: Connection, task_id: UUID) -> Row:
    """Lock the plan of a task until the transaction ends.

    Raises:
        NotFound: there is no such task.
    """
    locked = await plans.lock_of_tasks(conn, [task_id])
    if not locked:
        raise refusals.no_task(task_id)
    return locked[0]


async def task_of_locked(conn: Connection, task_id: UUID) -> Row:
    """Return a task whose plan is locked.

    Raises:
        NotFound: it was deleted while its plan was waited for.
    """
    row = await tasks.get(conn, task_id)
    if row is None:
        raise refusals.no_task(task_id)
    return row


async def add_tasks(
    conn: Connection, plan: Row, new: Sequence[NewTask], *, pointer: str = "/tasks/{}/depends_on"
) -> list[Task]:
    """Add tasks to a plan that is locked, with what they need; answers them as they are then.

    Raises:
        PlanClosed: the plan was closed by hand.
        InvalidInput: a dependency names no task of the plan, or forms a cycle.
    """
    if plan["closed_at"] is not None:
        raise refusals.plan_closed(plan["id"], wish="add a task")
    edges = (
        await wiring.wire(
            conn, plan, wiring.wishes_of(new, last_order=plan["last_order"], pointer=pointer)
        )
        if wiring.asks_for_others(new)
        else []
    )
    if len(edges) > _A_HANDFUL:
        await tasks.expect_many(conn)
    row = (await tasks.create(conn, new, edges, is_locked=True))[plan["id"]]
    if row["verdict"] == "wide":
        await derivation.lock(conn, plan["id"])
        await tasks.create(conn, new, edges, is_locked=True, is_derived_after=True)
        await derivation.derive(conn, plan["id"], is_revision=True)
        added = await tasks.many(conn, [each.id for each in new])
        return [Task.model_validate(dict(row)) for row in added]
    if plan["max_parallel_tasks"] is not None:
        await tasks.offer(conn, plan["id"])
    return tasks_of_new(new, row)


async def end_counted(
    conn: Connection, endings: Sequence[Ending], *, is_written_later: bool = False
) -> Ended:
    """End runs, of whatever plans, as far as what follows can be counted; see `tasks.end`."""
    rows = await tasks.end(conn, endings, is_written_later=is_written_later)
    return Ended([*rows], rows[0]["unblocked"])


async def end_runs(conn: Connection, endings: Sequence[Ending], *, is_start: bool = True) -> Ended:
    """End runs, of whatever plans; these are locked first.

    ``is_start``: that makes a draft active.
    """
    await plans.lock_of_tasks(conn, (each.task_id for each in endings))
    rows = await tasks.end(conn, endings, is_locked=True)
    ended = Ended([*rows], rows[0]["unblocked"])
    wide = [number for number, row in enumerate(ended.rows) if row["verdict"] == "wide"]
    if wide:
        plan_ids = sorted({ended.rows[number]["plan_id"] for number in wide})
        for plan_id in plan_ids:
            await derivation.lock(conn, plan_id)
        again = await tasks.end(
            conn, [endings[number] for number in wide], is_locked=True, is_derived_after=True
        )
        for number, row in zip(wide, again, strict=True):
            ended.rows[number] = row
        for plan_id in plan_ids:
            ended.unblocked += await derivation.derive(
                conn, plan_id, is_move=True, is_start=is_start
            )
    await _offer(conn, ended.rows)
    moved = {each.task_id for each in endings}
    ended.unblocked = [each for each in ended.unblocked if each not in moved]
    return ended


async def _offer(conn: Connection, rows: Iterable[RowLike]) -> None:
    limited = {row["plan_id"] for row in rows if row["is_limited"] and row["verdict"] == "changed"}
    for plan_id in sorted(limited):
        await tasks.offer(conn, plan_id)


async def change_task(
    conn: Connection,
    plan: Row,
    task_id: UUID,
    changes: Mapping[str, Any],
    *,
    expected_version: int | None = None,
    token: int | None = None,
) -> list[Row]:
    """Change a task whose plan is locked, with its ready tasks, and derive what follows."""
    rows = await tasks.change(
        conn,
        task_id,
        changes,
        expected_version=expected_version,
        token=token,
        key=None,
        is_derived_after=True,
    )
    if rows and rows[0]["verdict"] == "changed":
        if rows[0]["is_reordered"]:
            await wiring.refuse_circles_of_order(conn, plan["id"])
        await derivation.derive(
            conn,
            plan["id"],
            is_move=rows[0]["status"] != rows[0]["status_before"],
            is_revision=rows[0]["is_reordered"],
            is_start=changes.get("status") == TaskStatus.RUNNING,
        )
    return rows


async def rewire(conn: Connection, plan: Row, wish: Wish) -> bool:
    """Have a task need what is wished, its plan being locked, with its ready tasks.

    Answers whether that changed anything.

    Raises:
        InvalidInput: a dependency names no task of the plan, or forms a cycle.
    """
    edges = await wiring.wire(conn, plan, [wish])
    is_changed = bool(await tasks.dependencies.replace(conn, plan["id"], [wish.id], edges))
    if is_changed:
        await derivation.derive(conn, plan["id"], is_revision=True)
    return is_changed


async def reset(conn: Connection, plan: Row, task_ids: Sequence[UUID]) -> list[UUID]:
    """Have tasks of a locked plan begin anew; those that have not begun stay as they are.

    Answers which did.
    """
    await derivation.lock(conn, plan["id"])
    begun = await tasks.reset(conn, plan["id"], task_ids)
    if begun:
        await derivation.derive(conn, plan["id"], is_move=True)
    return begun


async def change_plan(
    conn: Connection,
    plan_id: UUID,
    changes: Mapping[str, Any],
    *,
    expected_version: int | None = None,
) -> list[Row]:
    """Change a plan that is locked in a way that concerns its tasks, and derive what follows."""
    await derivation.lock(conn, plan_id)
    rows = await plans.change(conn, plan_id, changes, expected_version=expected_version, key=None)
    if rows and rows[0]["verdict"] == "changed":
        if "plan_type" in changes:
            await wiring.refuse_circles_of_order(conn, plan_id)
        await derivation.derive(conn, plan_id, keeps_step="current_step" in changes)
    return rows
