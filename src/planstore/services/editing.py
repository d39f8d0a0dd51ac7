"""Changing a task: an edit, a move, or a run's end, whichever the fields amount to."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.task import Task, TaskStatus
from planstore.services import following, refusals, wiring
from planstore.sql import derivation, plans, tasks
from planstore.sql import idempotency as keys
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.idempotency import RequestKey
    from planstore.services.wakeups import Wakeups
    from planstore.sql.connection import Connection, Row

_ENDS: Final = {
    TaskStatus.COMPLETED: End.COMPLETE,
    TaskStatus.FAILED: End.FAIL,
    TaskStatus.SKIPPED: End.SKIP,
}
"""What setting a status by hand means, where it ends the task."""

_OF_END: Final = frozenset({"status", "output_data", "error", "started_at", "completed_at"})
"""The fields that a run's end sets itself."""


class TaskEdits:
    """The changes of single tasks that a process is asked for."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups

    async def change(
        self,
        task_id: UUID,
        changes: Mapping[str, Any],
        *,
        expected_version: int | None,
        token: int | None,
        key: RequestKey | None,
    ) -> Row | dict[str, Any]:
        """Change a task; answers it with ``verdict``, as `tasks.change` does.

        Raises:
            NotFound: there is no such task.
            PlanStoreError: the change was refused.
        """
        ending = _ending(task_id, changes, expected_version=expected_version, token=token, key=key)
        if ending is not None:
            async with self._database.connection() as conn:
                (row,) = await tasks.end(conn, [ending], is_whole=True)
            if row["verdict"] == "changed":
                self._wakeups.hint()
                return row["task"]
            if row["verdict"] not in {"same", "wide", "stale"}:
                raise refusals.of_ending(row, ending, expected=expected_version)
        elif not _may_bind(changes):
            async with self._database.connection() as conn:
                rows = await tasks.change(
                    conn,
                    task_id,
                    changes,
                    expected_version=expected_version,
                    token=token,
                    key=key,
                )
            if not rows:
                raise refusals.no_task(task_id)
            if rows[0]["verdict"] in {"changed", "same"}:
                return rows[0]
            if rows[0]["verdict"] not in {"wide", "end"}:
                raise refusals.of_task(rows[0], task_id, changes, expected=expected_version)
        async with self._database.transaction() as conn:
            changed = await self._change_with_plan(
                conn, task_id, changes, expected_version=expected_version, token=token
            )
            if key is not None:
                answer = Task.model_validate({name: changed[name] for name in Task.model_fields})
                await keys.keep(conn, key, answer.model_dump(mode="json"))
        self._wakeups.hint()
        return changed

    async def _change_with_plan(
        self,
        conn: Connection,
        task_id: UUID,
        changes: Mapping[str, Any],
        *,
        expected_version: int | None,
        token: int | None,
    ) -> Row:
        locked = await plans.lock_of_tasks(conn, [task_id])
        if not locked:
            raise refusals.no_task(task_id)
        (plan,) = locked
        await derivation.lock(conn, plan["id"])
        (before,) = await tasks.many(conn, [task_id])
        status: TaskStatus = changes.get("status", before["status"])
        rest = dict(changes)
        if status in _ENDS and (before["status"] != status or token is not None):
            ending = Ending(
                task_id,
                _ENDS[status],
                token=token,
                is_retryable=False,
                is_override=token is None,
                version=expected_version,
            )
            ended = await following.end_runs(conn, [ending])
            if ended.rows[0]["verdict"] not in {"changed", "same"}:
                raise refusals.of_ending(ended.rows[0], ending, expected=expected_version)
            expected_version = token = None
            del rest["status"]
        if rest:
            rows = await following.change_task(
                conn, plan, task_id, rest, expected_version=expected_version, token=token
            )
            if rows[0]["verdict"] not in {"changed", "same"}:
                raise refusals.of_task(rows[0], task_id, changes, expected=expected_version)
        if _may_bind(changes):
            await following.rewire(conn, plan, await wiring.rebound(conn, plan, task_id))
        (row,) = await tasks.many(conn, [task_id])
        return row


def _ending(
    task_id: UUID,
    changes: Mapping[str, Any],
    *,
    expected_version: int | None,
    token: int | None,
    key: RequestKey | None,
) -> Ending | None:
    """Return the run's end that the changes amount to; None where they are more than that."""
    status = changes.get("status")
    is_plain = (
        status in _ENDS
        and changes.keys() <= _OF_END
        and all(value is not None for value in changes.values())
        and ("error" not in changes or status == TaskStatus.FAILED)
        and ("output_data" not in changes or status == TaskStatus.COMPLETED)
    )
    if not is_plain or status is None:
        return None
    return Ending(
        task_id,
        _ENDS[status],
        token=token,
        output_data=changes.get("output_data"),
        error=changes.get("error"),
        is_retryable=False,
        is_override=token is None,
        started_at=changes.get("started_at"),
        completed_at=changes.get("completed_at"),
        version=expected_version,
        key=key,
    )


def _may_bind(changes: Mapping[str, Any]) -> bool:
    """Whether the new input may name tasks, which makes them dependencies."""
    return bool(wiring.references(changes.get("input_data")))
