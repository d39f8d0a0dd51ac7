"""The methods of `PlanStore` about tasks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.errors import VersionMismatch
from planstore.models.approval import Review
from planstore.models.claim import Attempt, Release, Reset
from planstore.models.deletion import Deletion
from planstore.models.idempotency import NOTHING
from planstore.models.page import DEFAULT_LIMIT
from planstore.models.query import TaskFilter
from planstore.models.task import TASK_KEPT, TASK_LIST, Task, TaskBatch, TaskCreate, TaskUpdate
from planstore.services import (
    approving,
    deleting,
    finding,
    following,
    history,
    refusals,
    steering,
    wiring,
)
from planstore.services.answers import nothing, task_of, tasks_of_new
from planstore.services.once import said
from planstore.services.placing import new_task, new_tasks
from planstore.services.store.runs import Runs
from planstore.services.store.updates import basis_of, changes_of
from planstore.sql import idempotency as keys
from planstore.sql import tasks
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from datetime import datetime
    from uuid import UUID

    from planstore.models.bulk import TaskBulk, TaskBulkAnswer
    from planstore.models.fields import Record
    from planstore.models.idempotency import Idempotency
    from planstore.models.page import Page
    from planstore.models.query import TaskSort
    from planstore.sql.connection import Connection, Row
    from planstore.sql.tasks import NewTask


class Tasks(Runs):
    """The methods of `PlanStore` about tasks."""

    async def create_task(
        self, task: TaskCreate, *, idempotency: Idempotency | None = None
    ) -> Task:
        """Add a task to its plan.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            AlreadyExists: the id is taken, or the name in its plan.
            InvalidInput: a dependency names no task of the plan.
            DependencyCycle: tasks would wait for each other.
        """
        key = idempotency and idempotency.of("create_task", task)
        new = new_task(task, key=key)
        needs_plan = wiring.asks_for_others([new])
        if not needs_plan and key is None:
            # What is merged comes to its end whether its caller stays or not.
            made = await said(lambda: self._creates.add(new))
            if made is not None:
                return made
            needs_plan = True

        async def work() -> Task:
            if not needs_plan and (made := await self._creates.add(new)) is not None:
                return made
            async with self._database.transaction() as conn:
                plan = await following.lock(conn, task.plan_id)
                (created,) = await following.add_tasks(
                    conn, plan, [new._replace(key=None)], pointer="/depends_on"
                )
                if key is not None:
                    await keys.keep(conn, key, created.model_dump(mode="json"))
            self._wakeups.hint()
            return created

        return await self._writes.do(work, key=key, replay=Task.model_validate)

    async def create_tasks(
        self, batch: TaskBatch, *, idempotency: Idempotency | None = None
    ) -> list[Task]:
        """Add many tasks to a plan: all or none, in one transaction and one revision.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            AlreadyExists: an id is taken, or a name in the plan.
            InvalidInput: a dependency names no task of the plan or the batch.
            DependencyCycle: tasks would wait for each other.
        """
        key = idempotency and idempotency.of("create_tasks", batch)
        new = new_tasks(batch.plan_id, batch.tasks)
        needs_plan = key is not None or wiring.asks_for_others(new)

        async def work() -> list[Task]:
            if not needs_plan and (made := await self._added_at_once(new)) is not None:
                self._wakeups.hint()
                return made
            async with self._database.transaction() as conn:
                plan = await following.lock(conn, batch.plan_id)
                created = await following.add_tasks(conn, plan, new)
                if key is not None:
                    await keys.keep(conn, key, TASK_LIST.dump_python(created, mode="json"))
            self._wakeups.hint()
            return created

        return await self._writes.do(work, key=key, replay=TASK_LIST.validate_python)

    async def _added_at_once(self, new: Sequence[NewTask]) -> list[Task] | None:
        """Add tasks to their plan; answers None where that takes more than one statement."""
        async with self._database.connection() as conn:
            row = (await tasks.create(conn, new)).get(new[0].plan_id)
        return tasks_of_new(new, row) if row and row["verdict"] == "changed" else None

    async def get_task(self, task_id: UUID, *, at: datetime | None = None) -> Task:
        """Return the task, as it is or as it stood ``at`` a time.

        Of what was deleted since there still is a past; of a task whose plan was deleted only by
        `list_tasks`.

        Raises:
            NotFound: there is none, or was none then.
            HistoryGone: the events of that time are no longer kept.
            InvalidInput: the time is still to come.
        """
        if at is not None:
            return await history.get_task(self._database, task_id, at)
        async with self._database.connection() as conn:
            row = await tasks.get(conn, task_id)
        if row is None:
            raise refusals.no_task(task_id)
        return task_of(row)

    async def update_task(
        self,
        task_id: UUID,
        update: TaskUpdate,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Task:
        """Change the fields of a task that ``update`` names; ``status`` moves it.

        What the move does to its plan (start, settle, current step) happens with it.

        Raises:
            NotFound: there is no such task.
            InvalidInput: a field that the service keeps is given another value.
            InvalidTransition: the status doesn't allow it.
            PlanClosed: the plan was closed by hand, and the task would be open.
            ResultConflict: it has completed with another output.
            AlreadyExists: another task of the plan has the name.
            VersionMismatch: the task isn't at ``expected_version``.
        """
        key = idempotency and idempotency.of(f"update_task {task_id}", update)
        changes = changes_of(update, TASK_KEPT - {"worker_id"})
        token = changes.pop("fencing_token", None)

        async def work() -> Task:
            basis = await basis_of(update, TASK_KEPT, lambda: self.get_task(task_id))
            expected = basis if expected_version is None else expected_version
            try:
                row = await self._edits.change(
                    task_id, changes, expected_version=expected, token=token, key=key
                )
            except VersionMismatch:
                if expected_version is not None:
                    raise
                return await work()  # it changed since it was compared
            return task_of(row)

        return await self._writes.do(work, key=key, replay=Task.model_validate)

    async def skip_task(self, task_id: UUID, *, idempotency: Idempotency | None = None) -> Task:
        """Decide that a task is not to be carried out; whoever waits for it goes on.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it has completed.
        """
        ending = Ending(task_id, End.SKIP, is_override=True)
        return task_of(dict(await self._end_one(ending, Release(), idempotency)))

    async def retry_task(self, task_id: UUID, *, idempotency: Idempotency | None = None) -> Task:
        """Try a failed task again; one that is open already is answered as it is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it is finished.
            PlanClosed: the plan was closed by hand.
        """

        async def retry(conn: Connection, plan: Row, row: Row) -> None:
            outcomes = await steering.retry_tasks(conn, plan, [row])
            if task_id in outcomes.refused:
                raise outcomes.refused[task_id]

        return await self._do_to_task("retry_task", task_id, retry, NOTHING, idempotency)

    async def approve_task(
        self,
        task_id: UUID,
        review: Review | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> Task:
        """Agree to a task's being carried out, before its turn or when it has come.

        One that is approved already is answered as it is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it requires no approval, was rejected, or has begun or ended.
        """
        request = review or Review()

        async def approve(conn: Connection, plan: Row, row: Row) -> None:
            await approving.approve(conn, plan, row, request)

        return await self._do_to_task("approve_task", task_id, approve, request, idempotency)

    async def reject_task(
        self,
        task_id: UUID,
        review: Review | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> Task:
        """Refuse that a task is carried out: it fails, and isn't retried by itself.

        One that is rejected already is answered as it is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it requires no approval, was approved, or has begun or ended.
        """
        request = review or Review()

        async def reject(conn: Connection, _plan: Row, row: Row) -> None:
            await approving.reject(conn, row, request)

        return await self._do_to_task("reject_task", task_id, reject, request, idempotency)

    async def reset_task(
        self,
        task_id: UUID,
        reset: Reset | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> Task:
        """Do a task again from the start, and all that followed from it where that is asked.

        A run that goes on is ended: its claim is lost.

        Raises:
            NotFound: there is no such task.
            PlanClosed: the plan was closed by hand.
        """
        request = reset or Reset()

        async def again(conn: Connection, plan: Row, row: Row) -> None:
            followers = (
                await tasks.dependencies.followers(conn, plan["id"], task_id)
                if request.dependents
                else []
            )
            rows = [row, *await tasks.many(conn, followers)]
            outcomes = await steering.reset_tasks(conn, plan, rows)
            if task_id in outcomes.refused:
                raise outcomes.refused[task_id]

        return await self._do_to_task("reset_task", task_id, again, request, idempotency)

    async def delete_task(
        self,
        task_id: UUID,
        *,
        force: bool = False,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> None:
        """Delete a task; its events are kept.

        ``force``: also where it runs, whose claim ends by it, or where others need it: these need
        it no more and go on.

        Raises:
            NotFound: there is no such task, or no more.
            TasksRunning: it runs, unless ``force``.
            TaskNeeded: others need it, unless ``force``.
            VersionMismatch: the task isn't at ``expected_version``.
        """
        key = idempotency and idempotency.of(f"delete_task {task_id}", Deletion(force=force))

        async def work() -> None:
            await deleting.delete_task(
                self._database, task_id, force=force, expected_version=expected_version, key=key
            )
            self._wakeups.hint()

        await self._writes.do(work, key=key, replay=nothing)

    async def bulk_tasks(
        self, bulk: TaskBulk, *, idempotency: Idempotency | None = None
    ) -> TaskBulkAnswer:
        """Do one thing to all tasks that a filter finds, each for itself.

        One call works for about two seconds; where ``next_cursor`` isn't None, another one with
        it as ``cursor`` goes on. What is refused for one doesn't stop the others.

        Raises:
            InvalidInput: the filter is empty, and ``all`` doesn't say so.
        """
        key = idempotency and idempotency.of("bulk_tasks", bulk)
        return await self._bulk.of_tasks(bulk, key=key)

    async def _do_to_task(
        self,
        verb: str,
        task_id: UUID,
        act: Callable[[Connection, Row, Row], Awaitable[None]],
        request: Record,
        idempotency: Idempotency | None,
    ) -> Task:
        """Do something to a task that takes the whole plan into account."""
        key = idempotency and idempotency.of(f"{verb} {task_id}", request)

        async def work() -> Task:
            async with self._database.transaction() as conn:
                plan = await following.lock_of_task(conn, task_id)
                await act(conn, plan, await following.task_of_locked(conn, task_id))
                (row,) = await tasks.many(conn, [task_id])
                task = task_of(row)
                if key is not None:
                    await keys.keep(conn, key, task.model_dump(mode="json"))
            self._wakeups.hint()
            return task

        return await self._writes.do(work, key=key, replay=Task.model_validate)

    async def list_attempts(self, task_id: UUID) -> list[Attempt]:
        """Return the runs of a task, oldest first.

        Raises:
            NotFound: there is no such task.
        """
        async with self._database.connection() as conn:
            rows = await tasks.attempts(conn, task_id)
            if not rows and await tasks.get(conn, task_id) is None:
                raise refusals.no_task(task_id)
        return [Attempt.model_validate(dict(row)) for row in rows]

    async def list_tasks(
        self,
        found: TaskFilter | None = None,
        *,
        plan_id: UUID | None = None,
        sort: TaskSort | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
        at: datetime | None = None,
    ) -> Page[Task]:
        """Return the tasks that a filter finds.

        Those of one plan come in their order, those that are ``ready`` as they are handed out, any
        others newest first; or all as ``sort`` says. ``plan_id``: of this plan, whatever plans the
        filter names. ``cursor``: the ``next_cursor`` of the page before. ``at``: the tasks of the
        plan as they stood then.

        Raises:
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range; ``at`` is still to
                come, or there is no ``plan_id`` beside it, or a filter too.
            NotFound: there was no such plan ``at`` that time.
            HistoryGone: the events of that time are no longer kept.
        """
        self._check_window(limit, offset)
        found = found or TaskFilter()
        if plan_id is not None:
            found = found.model_copy(update={"plan_id": [plan_id]})
        if at is not None:
            of_plan = finding.only_plan(found)
            if of_plan is None or sort is not None:
                raise history.needs_plan()
            return await history.list_tasks(
                self._database, of_plan, at, limit=limit, offset=offset, cursor=cursor
            )
        return await finding.list_tasks(
            self._database, found, sort=sort, limit=limit, offset=offset, cursor=cursor
        )
