"""`PlanStore`: the one door to plans and tasks. Every face calls these methods."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import MISSING
from uuid_utils.compat import uuid7

from planstore import migrations
from planstore.db import Database
from planstore.errors import Fault, InvalidInput, InvalidTransition, VersionMismatch
from planstore.models.claim import (
    Attempt,
    Completion,
    EndedTask,
    ErrorSummary,
    HeartbeatAnswer,
    Release,
    Reset,
    ResultsAnswer,
    TakenResult,
    WorkPacket,
)
from planstore.models.expansion import expanded
from planstore.models.fields import DEFAULT_LIMITS
from planstore.models.idempotency import NOTHING
from planstore.models.page import (
    PLACE_IN_PLAN,
    PLACE_IN_TIME,
    Page,
    decode_cursor,
    encode_cursor,
)
from planstore.models.plan import (
    FINAL,
    PLAN_KEPT,
    PLAN_LIFECYCLE,
    Plan,
    PlanCreate,
    PlanStatus,
    PlanUpdate,
)
from planstore.models.task import (
    DEPENDENCY_LIST,
    FINISHED,
    TASK_KEPT,
    TASK_LIFECYCLE,
    TASK_LIST,
    Dependency,
    Task,
    TaskBatch,
    TaskCreate,
    TaskStatus,
    TaskUpdate,
)
from planstore.services import following, insight, refusals, wiring
from planstore.services.claims import Claims
from planstore.services.editing import TaskEdits
from planstore.services.merging import MergedCreates
from planstore.services.once import Writes
from planstore.services.placing import new_tasks
from planstore.services.wakeups import Wakeups
from planstore.sql import derivation, plans, tasks
from planstore.sql import idempotency as keys
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from uuid import UUID

    from planstore.errors import PlanStoreError
    from planstore.models.claim import ClaimRequest, Failure, Heartbeat, Results
    from planstore.models.dependency import DependenciesUpdate, DependencyDraft
    from planstore.models.fields import Limits, Record
    from planstore.models.graph import PlanGraph
    from planstore.models.idempotency import Idempotency, RequestKey
    from planstore.models.insight import PlanExplanation, Progress, TaskExplanation
    from planstore.services.following import Ended
    from planstore.sql.connection import Connection, Row

DEFAULT_LIMIT: Final = 100
"""How many items a list has where no limit is given."""


FINISH_PATIENCE: Final = timedelta(seconds=1)
"""How long writes under way are waited for when the store is closed."""

logger = logging.getLogger("planstore")


class PlanStore:
    """Execution plans and their tasks on one PostgreSQL.

    Open it with `PlanStore.open`. Its methods may be called concurrently.
    """

    def __init__(
        self, database: Database, *, max_limit: int = 1_000, limits: Limits = DEFAULT_LIMITS
    ) -> None:
        self._database = database
        self._writes = Writes(database)
        self._wakeups = Wakeups(database)
        self._claims = Claims(database, self._writes, self._wakeups)
        self._creates = MergedCreates(database)
        self._edits = TaskEdits(database, self._wakeups)
        self._max_limit = max_limit
        self._limits = limits

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        pool_size: int = 16,
        is_pooled: bool = False,
        migrate: bool = True,
        listen_url: str | None = None,
        max_limit: int = 1_000,
        limits: Limits = DEFAULT_LIMITS,
    ) -> AsyncGenerator[PlanStore]:
        """Open the store at a PostgreSQL URL; ``migrate`` brings its schema up to date.

        ``pool_size``: connections at most. ``is_pooled``: a pooler in transaction mode stands
        between. ``listen_url``: the server behind it, where notifications are to be heard; the same
        if left out. ``max_limit``: the most items that a list may be asked for. ``limits``:
        how large the parts of a task may be that is made of a step.

        Raises:
            SetupError: the database can't be reached, is too old, or has a newer schema.
        """
        async with Database.open(
            url, pool_size=pool_size, is_pooled=is_pooled, listen_url=listen_url
        ) as database:
            await (migrations.migrate if migrate else migrations.require)(database)
            store = cls(database, max_limit=max_limit, limits=limits)
            try:
                yield store
            finally:
                await store._finish()

    async def _finish(self) -> None:
        await self._wakeups.close()
        left = await self._writes.finish(within=FINISH_PATIENCE)
        if left:
            logger.warning("%d writes are still at work; the database ends them by itself", left)

    @property
    def where(self) -> str:
        """Which database it is, without any secret."""
        return self._database.where

    async def create_plan(
        self, plan: PlanCreate, *, idempotency: Idempotency | None = None
    ) -> Plan:
        """Make a plan, with its tasks where it has any, and those of its steps if it says so.

        Raises:
            AlreadyExists: the id is taken, or that of a task.
            InvalidInput: a dependency names no task of the plan, or the steps can't be expanded.
            DependencyCycle: tasks would wait for each other.
        """
        plan_id = plan.id or uuid7()
        key = idempotency and idempotency.of("create_plan", plan)

        async def alone() -> Plan:
            async with self._database.connection() as conn:
                return _plan(await plans.create(conn, plan, plan_id=plan_id, key=key))

        async def with_tasks() -> Plan:
            drafts = (
                expanded(plan.steps, plan_type=plan.plan_type, limits=self._limits)
                if plan.expand
                else []
            )
            new = new_tasks(plan_id, [*drafts, *plan.tasks])
            async with self._database.transaction() as conn:
                await plans.create(conn, plan, plan_id=plan_id, key=None)
                await tasks.expect_many(conn)
                await following.add_tasks(conn, await following.lock(conn, plan_id), new)
                made = await _as_it_is_now(conn, plan_id, key=key)
            self._wakeups.hint()
            return made

        work = with_tasks if plan.tasks or plan.expand else alone
        return await self._writes.do(work, key=key, replay=Plan.model_validate)

    async def expand_plan(
        self, plan_id: UUID, *, idempotency: Idempotency | None = None
    ) -> list[Task]:
        """Make the plan's steps into tasks: all or none, in one transaction and one revision.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            InvalidInput: the steps can't be made into tasks; all their faults are named.
            AlreadyExists: the plan has a task of the name already.
        """
        key = idempotency and idempotency.of(f"expand_plan {plan_id}", NOTHING)

        async def work() -> list[Task]:
            async with self._database.transaction() as conn:
                plan = await following.lock(conn, plan_id)
                row = await plans.get(conn, plan_id)
                assert row is not None
                new = new_tasks(
                    plan_id,
                    expanded(row["steps"], plan_type=plan["plan_type"], limits=self._limits),
                )
                await tasks.expect_many(conn)
                created = await following.add_tasks(conn, plan, new)
                if key is not None:
                    await keys.keep(conn, key, TASK_LIST.dump_python(created, mode="json"))
            self._wakeups.hint()
            return created

        return await self._writes.do(work, key=key, replay=TASK_LIST.validate_python)

    async def get_plan(self, plan_id: UUID) -> Plan:
        """Return the plan.

        Raises:
            NotFound: there is none.
        """
        async with self._database.connection() as conn:
            row = await plans.get(conn, plan_id)
        if row is None:
            raise refusals.no_plan(plan_id)
        return _plan(row)

    async def update_plan(
        self,
        plan_id: UUID,
        update: PlanUpdate,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Plan:
        """Change the fields of a plan that ``update`` names.

        Setting ``status`` starts, closes or reopens it; closing skips the tasks that have not
        started.

        Raises:
            NotFound: there is no such plan.
            InvalidInput: a field that the service keeps is given another value.
            InvalidTransition: the status doesn't allow it.
            VersionMismatch: the plan isn't at ``expected_version``.
        """
        key = idempotency and idempotency.of(f"update_plan {plan_id}", update)
        changes = _changes(update, PLAN_KEPT - {"closed_at"})

        async def work() -> Plan:
            basis = await _basis(update, PLAN_KEPT, lambda: self.get_plan(plan_id))
            expected = basis if expected_version is None else expected_version
            try:
                return await self._change_plan(plan_id, changes, expected_version=expected, key=key)
            except VersionMismatch:
                if expected_version is not None:
                    raise
                return await work()  # it changed since it was compared

        return await self._writes.do(work, key=key, replay=Plan.model_validate)

    async def _change_plan(
        self,
        plan_id: UUID,
        changes: dict[str, Any],
        *,
        expected_version: int | None = None,
        key: RequestKey | None,
    ) -> Plan:
        if not plans.concerns_tasks(changes):
            async with self._database.connection() as conn:
                rows = await plans.change(
                    conn, plan_id, changes, expected_version=expected_version, key=key
                )
            return _changed_plan(rows, plan_id, changes, expected=expected_version)
        async with self._database.transaction() as conn:
            await following.lock(conn, plan_id)
            rows = await following.change_plan(
                conn, plan_id, changes, expected_version=expected_version
            )
            _changed_plan(rows, plan_id, changes, expected=expected_version)
            changed = await _as_it_is_now(conn, plan_id, key=key)
        self._wakeups.hint()
        return changed

    async def start_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Let the plan's tasks be carried out; a plan that is active already is answered as it is.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has ended; PATCH its status to reopen it.
        """

        async def start(_conn: Connection, plan: Row) -> dict[str, Any]:
            status = PlanStatus(plan["status"])
            if status in FINAL:
                raise InvalidTransition(PLAN_LIFECYCLE.refusal_of("start", status, which=plan_id))
            return {"status": PlanStatus.ACTIVE}

        return await self._do_to_plan("start_plan", plan_id, start, idempotency)

    async def pause_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Have the plan hand out no more tasks; what runs goes on.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has ended.
        """

        async def pause(_conn: Connection, plan: Row) -> dict[str, Any]:
            if plan["status"] in FINAL:
                raise InvalidTransition(
                    f"cannot pause plan {plan_id}: it is {plan['status']}; allowed now: reopen"
                )
            return {"paused_at": plan["paused_at"] or plan["locked_at"]}

        return await self._do_to_plan("pause_plan", plan_id, pause, idempotency)

    async def resume_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Have a paused plan hand out tasks again.

        Raises:
            NotFound: there is no such plan.
        """

        async def resume(_conn: Connection, _plan: Row) -> dict[str, Any]:
            return {"paused_at": None}

        return await self._do_to_plan("resume_plan", plan_id, resume, idempotency)

    async def cancel_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Close the plan: what has not started is skipped, and running tasks are asked to stop.

        Raises:
            NotFound: there is no such plan.
        """

        async def cancel(_conn: Connection, plan: Row) -> dict[str, Any]:
            return (
                {} if plan["status"] == PlanStatus.CANCELLED else {"status": PlanStatus.CANCELLED}
            )

        return await self._do_to_plan("cancel_plan", plan_id, cancel, idempotency)

    async def retry_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Try every failed task of the plan again.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
        """

        async def retry(conn: Connection, plan: Row) -> dict[str, Any]:
            if plan["closed_at"] is not None:
                raise refusals.plan_closed(plan_id, wish="retry its tasks")
            failed = await tasks.failed(conn, plan_id)
            await following.reset(conn, plan, failed)
            return {}

        return await self._do_to_plan("retry_plan", plan_id, retry, idempotency)

    async def _do_to_plan(
        self,
        verb: str,
        plan_id: UUID,
        act: Callable[[Connection, Row], Awaitable[dict[str, Any]]],
        idempotency: Idempotency | None,
    ) -> Plan:
        """Lock the plan, do what the verb does to its tasks, and set the fields that it answers."""
        key = idempotency and idempotency.of(f"{verb} {plan_id}", NOTHING)

        async def work() -> Plan:
            async with self._database.transaction() as conn:
                changes = await act(conn, await following.lock(conn, plan_id))
                if changes:
                    rows = await following.change_plan(conn, plan_id, changes)
                    _changed_plan(rows, plan_id, changes, expected=None)
                plan = await _as_it_is_now(conn, plan_id, key=key)
            self._wakeups.hint()
            return plan

        return await self._writes.do(work, key=key, replay=Plan.model_validate)

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
        (new,) = new_tasks(task.plan_id, [task], key=key)
        needs_plan = wiring.asks_for_others([new])

        async def work() -> Task:
            if not needs_plan:
                row = await self._creates.add(new)
                if row["verdict"] == "changed":
                    self._wakeups.hint()
                    return following.made(new, row)
            async with self._database.transaction() as conn:
                plan = await following.lock(conn, task.plan_id)
                (created,) = await following.add_tasks(
                    conn, plan, [replace(new, key=None)], pointer="/depends_on"
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

        async def work() -> list[Task]:
            async with self._database.transaction() as conn:
                plan = await following.lock(conn, batch.plan_id)
                await tasks.expect_many(conn)
                created = await following.add_tasks(conn, plan, new)
                if key is not None:
                    await keys.keep(conn, key, TASK_LIST.dump_python(created, mode="json"))
            self._wakeups.hint()
            return created

        return await self._writes.do(work, key=key, replay=TASK_LIST.validate_python)

    async def get_task(self, task_id: UUID) -> Task:
        """Return the task.

        Raises:
            NotFound: there is none.
        """
        async with self._database.connection() as conn:
            row = await tasks.get(conn, task_id)
        if row is None:
            raise refusals.no_task(task_id)
        return _task(row)

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
        changes = _changes(update, TASK_KEPT - {"worker_id"})
        token = changes.pop("fencing_token", None)

        async def work() -> Task:
            basis = await _basis(update, TASK_KEPT, lambda: self.get_task(task_id))
            expected = basis if expected_version is None else expected_version
            try:
                row = await self._edits.change(
                    task_id, changes, expected_version=expected, token=token, key=key
                )
            except VersionMismatch:
                if expected_version is not None:
                    raise
                return await work()  # it changed since it was compared
            return _task(row)

        return await self._writes.do(work, key=key, replay=Task.model_validate)

    async def claim_tasks(
        self, request: ClaimRequest, *, idempotency: Idempotency | None = None
    ) -> list[WorkPacket]:
        """Hand out ready tasks: highest priority first, then longest ready.

        Waits up to ``wait_seconds`` for work where there is none, and answers an empty list then. A
        repetition under the same key answers the same tasks; an empty answer isn't kept.
        """
        key = idempotency and idempotency.of("claim_tasks", request)
        return await self._claims.claim(request, key=key)

    def stop_waiting(self) -> None:
        """Answer all claims that wait for work now, and let none wait any more: the end is near."""
        self._wakeups.stop()

    async def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Renew claims, each for as long as it was made for, and say which are lost or to stop."""

        async def work() -> HeartbeatAnswer:
            return await self._claims.renew(heartbeat)

        return await self._writes.do(work, key=None, replay=HeartbeatAnswer.model_validate)

    async def complete_task(
        self,
        task_id: UUID,
        completion: Completion | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> EndedTask:
        """End a task with success; whoever waits for it goes on, and its plan may settle.

        Raises:
            NotFound: there is no such task.
            StaleClaim: the claim has ended; what was sent is kept as an event.
            Claimed: a worker holds a claim, and no fencing token is given.
            ResultConflict: it has completed with another output.
        """
        completion = completion or Completion()
        ending = Ending(
            task_id,
            End.COMPLETE,
            token=completion.fencing_token,
            output_data=completion.output_data,
        )
        return await self._end_one(ending, completion, idempotency)

    async def fail_task(
        self, task_id: UUID, failure: Failure, *, idempotency: Idempotency | None = None
    ) -> EndedTask:
        """End a task's run without success: it is tried again, or has failed.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: the status doesn't allow it.
            StaleClaim: the claim has ended; what was sent is kept as an event.
            Claimed: a worker holds a claim, and no fencing token is given.
        """
        ending = Ending(
            task_id,
            End.FAIL,
            token=failure.fencing_token,
            error=failure.error,
            is_retryable=failure.retryable,
            retry_in=failure.retry_in_seconds,
        )
        return await self._end_one(ending, failure, idempotency)

    async def release_task(
        self,
        task_id: UUID,
        release: Release | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> EndedTask:
        """Give a task's run up; it is ready again at once, and the attempt isn't held against it.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: the status doesn't allow it.
            StaleClaim: the claim has ended.
            Claimed: a worker holds a claim, and no fencing token is given.
        """
        release = release or Release()
        ending = Ending(task_id, End.RELEASE, token=release.fencing_token)
        return await self._end_one(ending, release, idempotency)

    async def _end_one(
        self, ending: Ending, request: Release, idempotency: Idempotency | None
    ) -> EndedTask:
        key = idempotency and idempotency.of(f"{ending.verb.value} {ending.task_id}", request)

        def refusal(ended: Ended) -> PlanStoreError | None:
            is_done = ended.rows[0]["verdict"] in {"changed", "same"}
            return None if is_done else refusals.of_ending(ended.rows[0], ending)

        async def answer(conn: Connection, ended: Ended, packets: list[WorkPacket]) -> EndedTask:
            (row,) = await tasks.many(conn, [ending.task_id])
            return EndedTask.model_validate({**row, "unblocked": ended.unblocked, "tasks": packets})

        return await self._claims.report(
            [replace(ending, key=key)],
            request.claim_next,
            key=key,
            refusal=refusal,
            answer=answer,
            replay=EndedTask.model_validate,
        )

    async def complete_tasks(
        self, results: Results, *, idempotency: Idempotency | None = None
    ) -> ResultsAnswer:
        """End many tasks with success, at once; each is taken or refused for itself."""
        endings = [
            Ending(each.task_id, End.COMPLETE, each.fencing_token, each.output_data)
            for each in results.results
        ]

        async def answer(
            _conn: Connection, ended: Ended, packets: list[WorkPacket]
        ) -> ResultsAnswer:
            taken = [_taken(*each) for each in zip(ended.rows, endings, strict=True)]
            return ResultsAnswer.model_construct(
                results=taken, unblocked=ended.unblocked, tasks=packets
            )

        return await self._claims.report(
            endings,
            results.claim_next,
            key=idempotency and idempotency.of("complete_tasks", results),
            refusal=lambda _: None,
            answer=answer,
            replay=ResultsAnswer.model_validate,
        )

    async def skip_task(self, task_id: UUID, *, idempotency: Idempotency | None = None) -> Task:
        """Decide that a task is not to be carried out; whoever waits for it goes on.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it has completed.
        """
        ending = Ending(task_id, End.SKIP, is_override=True)
        return _task(dict(await self._end_one(ending, Release(), idempotency)))

    async def retry_task(self, task_id: UUID, *, idempotency: Idempotency | None = None) -> Task:
        """Try a failed task again; one that is open already is answered as it is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it is finished.
            PlanClosed: the plan was closed by hand.
        """

        async def retry(conn: Connection, plan: Row, status: TaskStatus) -> None:
            if status in FINISHED:
                raise InvalidTransition(TASK_LIFECYCLE.refusal_of("retry", status, which=task_id))
            if status == TaskStatus.FAILED:
                await following.reset(conn, plan, [task_id])

        return await self._do_to_task("retry_task", task_id, retry, NOTHING, idempotency)

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

        async def again(conn: Connection, plan: Row, _status: TaskStatus) -> None:
            followers = (
                await tasks.dependencies.followers(conn, plan["id"], task_id)
                if request.dependents
                else []
            )
            await following.reset(conn, plan, [task_id, *followers])

        return await self._do_to_task("reset_task", task_id, again, request, idempotency)

    async def _do_to_task(
        self,
        verb: str,
        task_id: UUID,
        act: Callable[[Connection, Row, TaskStatus], Awaitable[None]],
        request: Record,
        idempotency: Idempotency | None,
    ) -> Task:
        """Do something to a task that takes the whole plan into account."""
        key = idempotency and idempotency.of(f"{verb} {task_id}", request)

        async def work() -> Task:
            async with self._database.transaction() as conn:
                plan = await following.lock_of_task(conn, task_id)
                if plan["closed_at"] is not None:
                    raise refusals.plan_closed(plan["id"], wish=verb.replace("_", " a "))
                (row,) = await tasks.many(conn, [task_id])
                await act(conn, plan, TaskStatus(row["status"]))
                (row,) = await tasks.many(conn, [task_id])
                task = _task(row)
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

    async def list_dependencies(self, task_id: UUID) -> list[Dependency]:
        """Return what a task needs.

        Raises:
            NotFound: there is no such task.
        """
        async with self._database.connection() as conn:
            row = await tasks.get(conn, task_id)
            if row is None:
                raise refusals.no_task(task_id)
            return await _dependencies(conn, row)

    async def set_dependencies(
        self, task_id: UUID, wired: DependenciesUpdate, *, idempotency: Idempotency | None = None
    ) -> list[Dependency]:
        """Have a task need exactly what is given, and what its input names.

        Raises:
            NotFound: there is no such task.
            InvalidInput: an entry names no task of the plan.
            DependencyCycle: tasks would wait for each other.
            InvalidTransition: the task has begun, or has ended.
        """

        def exactly(_before: list[DependencyDraft]) -> list[DependencyDraft]:
            return wired.depends_on

        return await self._rewire("set_dependencies", task_id, wired, exactly, idempotency)

    async def add_dependencies(
        self, task_id: UUID, wired: DependenciesUpdate, *, idempotency: Idempotency | None = None
    ) -> list[Dependency]:
        """Have a task need what is given beside what it needs already.

        Raises:
            NotFound: there is no such task.
            InvalidInput: an entry names no task of the plan.
            DependencyCycle: tasks would wait for each other.
            InvalidTransition: the task has begun, or has ended.
        """

        def more(before: list[DependencyDraft]) -> list[DependencyDraft]:
            return [*before, *wired.depends_on]

        return await self._rewire("add_dependencies", task_id, wired, more, idempotency)

    async def remove_dependencies(
        self, task_id: UUID, wired: DependenciesUpdate, *, idempotency: Idempotency | None = None
    ) -> list[Dependency]:
        """Have a task no longer need what is given; all that it needs if nothing is.

        Raises:
            NotFound: there is no such task.
            InvalidInput: an entry names no task of the plan.
            InvalidTransition: the task has begun, or has ended.
        """
        return await self._rewire("remove_dependencies", task_id, wired, None, idempotency)

    async def _rewire(
        self,
        verb: str,
        task_id: UUID,
        wired: DependenciesUpdate,
        combine: Callable[[list[DependencyDraft]], list[DependencyDraft]] | None,
        idempotency: Idempotency | None,
    ) -> list[Dependency]:
        key = idempotency and idempotency.of(f"{verb} {task_id}", wired)

        async def work() -> list[Dependency]:
            async with self._database.transaction() as conn:
                plan = await following.lock_of_task(conn, task_id)
                await derivation.lock(conn, plan["id"])
                (row,) = await tasks.many(conn, [task_id])
                refusals.of_begun(_task(row))
                wish = await wiring.rebound(conn, plan, task_id)
                if combine is not None:
                    wish = replace(wish, depends_on=combine(list(wish.depends_on)))
                else:
                    wish = await wiring.without(conn, plan, wish, wired.depends_on)
                await following.rewire(conn, plan, wish)
                (row,) = await tasks.many(conn, [task_id])
                answer = await _dependencies(conn, row)
                if key is not None:
                    await keys.keep(conn, key, DEPENDENCY_LIST.dump_python(answer, mode="json"))
            self._wakeups.hint()
            return answer

        return await self._writes.do(work, key=key, replay=DEPENDENCY_LIST.validate_python)

    async def get_progress(self, plan_id: UUID) -> Progress:
        """Return how far a plan is, who runs what of it, and when it may end.

        Raises:
            NotFound: there is no such plan.
        """
        return await insight.get_progress(self._database, plan_id)

    async def get_graph(self, plan_id: UUID) -> PlanGraph:
        """Return a plan's tasks and dependencies; at most the first 10,000 and 100,000 of them.

        Raises:
            NotFound: there is no such plan.
        """
        return await insight.get_graph(self._database, plan_id)

    async def explain_task(self, task_id: UUID) -> TaskExplanation:
        """Say why a task isn't running, in a sentence and in data.

        Raises:
            NotFound: there is no such task.
        """
        return await insight.explain_task(self._database, task_id)

    async def explain_plan(self, plan_id: UUID) -> PlanExplanation:
        """Say why a plan isn't going on, in a sentence and in data, and which task unblocks most.

        Raises:
            NotFound: there is no such plan.
        """
        return await insight.explain_plan(self._database, plan_id)

    async def sweep(self) -> int:
        """Take back all tasks whose lease has ended; answers how many.

        Claims do so as well, so this is only needed where nobody asks for work.
        """
        return await self._claims.sweep()

    async def list_tasks(
        self,
        *,
        plan_id: UUID | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[Task]:
        """Return the tasks of a plan in their order, or the most recent ones of all plans.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        self._check_window(limit, offset)
        if plan_id is not None:
            after = tasks.BEFORE_ALL if cursor is None else decode_cursor(cursor, PLACE_IN_PLAN)
            async with self._database.connection() as conn:
                rows = await tasks.of_plan(
                    conn, plan_id, after=after, limit=limit + 1, offset=offset
                )
        else:
            before = tasks.AFTER_ALL if cursor is None else decode_cursor(cursor, PLACE_IN_TIME)
            async with self._database.connection() as conn:
                rows = await tasks.recent(conn, before=before, limit=limit + 1, offset=offset)
        page = Page(_task(row) for row in rows[:limit])
        if len(rows) > limit:
            last = page[-1]
            page.next_cursor = encode_cursor(
                (last.created_at, last.id)
                if plan_id is None
                else (last.sequence_order, last.created_at, last.id)
            )
        return page

    async def check(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            Unavailable: there is none.
        """
        async with self._database.connection() as conn:
            await conn.fetchval("select 1")

    async def forget_old_keys(self) -> int:
        """Remove the idempotency keys that are older than 24 hours; answers how many."""
        return await self._writes.forget_old_keys()

    def _check_window(self, limit: int, offset: int) -> None:
        faults: list[Fault] = []
        if not 1 <= limit <= self._max_limit:
            faults.append(Fault("?limit", f"it is {limit}; allowed are 1 to {self._max_limit}"))
        if not 0 <= offset <= _MAX_OFFSET:
            faults.append(Fault("?offset", f"it is {offset}; allowed are 0 to {_MAX_OFFSET}"))
        if faults:
            raise InvalidInput("The list can't be cut that way.", faults=tuple(faults))


_MAX_OFFSET: Final = 1_000_000_000


async def _basis(
    update: PlanUpdate | TaskUpdate,
    kept: frozenset[str],
    read: Callable[[], Awaitable[Plan | Task]],
) -> int | None:
    """Return the version that an update was made from, where it names fields that are kept.

    An object that is sent back as it was read is meant for what it was read of.

    Raises:
        InvalidInput: a kept field has another value than the stored one.
    """
    named = _named(update) & kept
    if not named:
        return None
    current = await read()
    refusals.of_kept_fields(update, current, named)
    return current.version


def _named(update: PlanUpdate | TaskUpdate) -> set[str]:
    return {name for name in update.model_fields_set if getattr(update, name) is not MISSING}


def _changes(update: PlanUpdate | TaskUpdate, kept: frozenset[str]) -> dict[str, Any]:
    return {name: getattr(update, name) for name in _named(update) - kept}


def _plan(row: Row) -> Plan:
    return Plan.model_validate({name: row[name] for name in Plan.model_fields})


def _task(row: Row | dict[str, Any]) -> Task:
    return Task.model_validate({name: row[name] for name in Task.model_fields})


async def _as_it_is_now(conn: Connection, plan_id: UUID, *, key: RequestKey | None) -> Plan:
    """Return a plan with all that followed from a change, and keep it under the request's key."""
    row = await plans.get(conn, plan_id)
    assert row is not None
    plan = _plan(row)
    if key is not None:
        await keys.keep(conn, key, plan.model_dump(mode="json"))
    return plan


def _changed_plan(
    rows: list[Row], plan_id: UUID, changes: dict[str, Any], *, expected: int | None
) -> Plan:
    if not rows:
        raise refusals.no_plan(plan_id)
    if rows[0]["verdict"] != "changed":
        raise refusals.of_plan(rows[0], plan_id, changes, expected=expected)
    return _plan(rows[0])


def _taken(row: Row, ending: Ending) -> TakenResult:
    if row["verdict"] in {"changed", "same"}:
        return TakenResult(task_id=ending.task_id, ok=True, status=row["status"])
    error = refusals.of_ending(row, ending)
    return TakenResult(
        task_id=ending.task_id,
        ok=False,
        status=row["status"],
        error=ErrorSummary(code=error.code, detail=error.detail),
    )


async def _dependencies(conn: Connection, task: Row) -> list[Dependency]:
    rows = await tasks.dependencies.of_task(conn, task["plan_id"], task["id"])
    return DEPENDENCY_LIST.validate_python([dict(row) for row in rows])
