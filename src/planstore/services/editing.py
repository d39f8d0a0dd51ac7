"""Changing a task: an edit, a move, or a run's end, whichever the fields amount to."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from planstore.errors import ResultConflict, StaleClaim
from planstore.models.task import Task, TaskStatus
from planstore.services import following, refusals, wiring
from planstore.sql import derivation, structure, tasks
from planstore.sql import idempotency as keys
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from planstore.db import Database
    from planstore.errors import PlanStoreError
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
        edit = _Edit(task_id, changes, expected_version, token, key)
        ending = edit.ending()
        if ending is not None:
            done = await self._end(ending)
        elif await self._binds(task_id, changes):
            done = None
        else:
            done = await self._change(edit)
        if done is None:
            done = await self._change_with_plan(edit)
            self._wakeups.hint()
        return done

    async def _end(self, ending: Ending) -> dict[str, Any] | None:
        """End the task; None where that takes more, or changes nothing."""
        async with self._database.connection() as conn:
            (row,) = await tasks.end(conn, [ending], is_whole=True)
        if row["verdict"] == "changed":
            self._wakeups.hint()
            return row["task"]
        if row["verdict"] not in {"same", "wide", "stale"}:
            raise refusals.of_ending(row, ending, expected=ending.version)
        return None

    async def _change(self, edit: _Edit) -> Row | None:
        """Change the task; None where that takes more."""
        async with self._database.connection() as conn:
            rows = await tasks.change(
                conn,
                edit.task_id,
                edit.changes,
                expected_version=edit.expected_version,
                token=edit.token,
                key=edit.key,
            )
        if not rows:
            raise refusals.no_task(edit.task_id)
        if rows[0]["verdict"] in {"changed", "same"}:
            return rows[0]
        if rows[0]["verdict"] not in {"wide", "end"}:
            raise refusals.of_task(
                rows[0], edit.task_id, edit.changes, expected=edit.expected_version
            )
        return None

    async def _change_with_plan(self, edit: _Edit) -> Row:
        """Change the task with its plan locked, and all that follows."""
        late: PlanStoreError | None = None
        async with self._database.transaction() as conn:
            plan = await following.lock_of_task(conn, edit.task_id)
            # What the task is before where it stands, as an edit without its plan takes them.
            await structure.lock(conn, plan["id"], [edit.task_id])
            await derivation.lock(conn, plan["id"])
            try:
                await _apply(conn, plan, edit)
            except (StaleClaim, ResultConflict) as error:
                late = error  # nothing was changed, but what was sent is kept as an event
            (row,) = await tasks.many(conn, [edit.task_id])
            if edit.key is not None and late is None:
                answer = Task.model_validate(dict(row))
                await keys.keep(conn, edit.key, answer.model_dump(mode="json"))
        if late is not None:
            raise late
        return row

    async def _binds(self, task_id: UUID, changes: Mapping[str, Any]) -> bool:
        """Whether the new input names tasks, or the old one may: these are dependencies."""
        if "input_data" not in changes:
            return False
        if wiring.references(changes["input_data"]):
            return True
        async with self._database.connection() as conn:
            return await tasks.dependencies.has_data(conn, task_id)


async def _apply(conn: Connection, plan: Row, edit: _Edit) -> None:
    """Make the changes of a task one after the other: its end, then all else, then what it needs.

    Raises:
        NotFound: the task was deleted while its plan was waited for.
        PlanStoreError: the first of them was refused, and nothing was changed.
    """
    before = await following.task_of_locked(conn, edit.task_id)
    status: TaskStatus = edit.changes.get("status", before["status"])
    rest = dict(edit.changes)
    expected_version, token = edit.expected_version, edit.token
    if status in _ENDS and (before["status"] != status or token is not None):
        ending = edit.ending() or edit.end_by(_ENDS[status])
        ended = await following.end_runs(conn, [ending])
        verdict = ended.rows[0]["verdict"]
        if verdict not in {"changed", "same"}:
            raise refusals.of_ending(ended.rows[0], ending, expected=expected_version)
        if edit.ending():
            rest = {}
        elif verdict == "changed":
            expected_version = token = None
            del rest["status"]
        # Else its holder says again how the run ended, and more under a token that has to hold.
    if rest:
        rows = await following.change_task(
            conn, plan, edit.task_id, rest, expected_version=expected_version, token=token
        )
        if rows[0]["verdict"] not in {"changed", "same"}:
            raise refusals.of_task(rows[0], edit.task_id, edit.changes, expected=expected_version)
    if "input_data" in edit.changes:
        wish = await wiring.rebound(conn, plan, edit.task_id, old_input=before["input_data"])
        await following.rewire(conn, plan, wish)


@dataclass(frozen=True, slots=True)
class _Edit:
    """What is asked of a task."""

    task_id: UUID
    changes: Mapping[str, Any]
    expected_version: int | None
    token: int | None
    key: RequestKey | None

    def end_by(self, verb: End) -> Ending:
        """The run's end by hand or by the holder."""
        return Ending(
            self.task_id,
            verb,
            token=self.token,
            output_data=self.changes.get("output_data"),
            is_retryable=False,
            is_override=self.token is None,
            version=self.expected_version,
        )

    def ending(self) -> Ending | None:
        """The run's end that the changes amount to; None where they are more than that."""
        changes = self.changes
        status = changes.get("status")
        is_plain = (
            changes.keys() <= _OF_END
            and all(value is not None for value in changes.values())
            and ("error" not in changes or status == TaskStatus.FAILED)
            and ("output_data" not in changes or status == TaskStatus.COMPLETED)
        )
        if status is None or status not in _ENDS or not is_plain:
            return None
        return replace(
            self.end_by(_ENDS[status]),
            error=changes.get("error"),
            started_at=changes.get("started_at"),
            completed_at=changes.get("completed_at"),
            key=self.key,
        )
