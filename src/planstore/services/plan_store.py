"""`PlanStore`: the one door to plans and tasks. Every face calls these methods."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from pydantic import MISSING
from uuid_utils.compat import uuid7

from planstore import migrations
from planstore.db import Database
from planstore.errors import Fault, InvalidInput
from planstore.models.page import (
    PLACE_IN_PLAN,
    PLACE_IN_TIME,
    Page,
    decode_cursor,
    encode_cursor,
)
from planstore.models.plan import PLAN_KEPT, Plan, PlanCreate, PlanUpdate
from planstore.models.task import TASK_KEPT, TASK_LIST, Task, TaskBatch, TaskCreate, TaskUpdate
from planstore.services import refusals
from planstore.services.once import Writes
from planstore.services.placing import new_tasks
from planstore.sql import idempotency as keys
from planstore.sql import plans, tasks

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Awaitable, Callable
    from uuid import UUID

    from planstore.models.idempotency import Idempotency
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

    def __init__(self, database: Database, *, max_limit: int = 1_000) -> None:
        self._database = database
        self._writes = Writes(database)
        self._max_limit = max_limit

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        pool_size: int = 16,
        is_pooled: bool = False,
        migrate: bool = True,
        max_limit: int = 1_000,
    ) -> AsyncGenerator[PlanStore]:
        """Open the store at a PostgreSQL URL; ``migrate`` brings its schema up to date.

        ``pool_size``: connections at most. ``is_pooled``: a pooler in transaction mode stands
        between. ``max_limit``: the most items that a list may be asked for.

        Raises:
            SetupError: the database can't be reached, is too old, or has a newer schema.
        """
        async with Database.open(url, pool_size=pool_size, is_pooled=is_pooled) as database:
            await (migrations.migrate if migrate else migrations.require)(database)
            store = cls(database, max_limit=max_limit)
            try:
                yield store
            finally:
                await store._finish()

    async def _finish(self) -> None:
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
        """Make a plan, and its tasks with it where it has any.

        Raises:
            AlreadyExists: the id is taken, or that of a task.
        """
        plan_id = plan.id or uuid7()
        new = new_tasks(plan_id, plan.tasks)
        key = idempotency and idempotency.of("create_plan", plan)

        async def alone() -> Plan:
            async with self._database.connection() as conn:
                return _plan(await plans.create(conn, plan, plan_id=plan_id, key=key))

        async def with_tasks() -> Plan:
            async with self._database.transaction() as conn:
                await plans.create(conn, plan, plan_id=plan_id, key=None)
                await tasks.expect_many(conn)
                await tasks.create(conn, new)
                row = await plans.get(conn, plan_id)
                assert row is not None
                made = _plan(row)
                if key is not None:
                    await keys.keep(conn, key, made.model_dump(mode="json"))
            return made

        return await self._writes.do(
            with_tasks if new else alone, key=key, replay=Plan.model_validate
        )

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
            rows = await self._with_fresh_sight(
                lambda conn: plans.change(
                    conn, plan_id, changes, expected_version=expected, key=key
                ),
                lambda conn: plans.lock(conn, plan_id),
            )
            if not rows:
                raise refusals.no_plan(plan_id)
            (row,) = rows
            if row["verdict"] == "mismatch" and expected_version is None:
                return await work()  # it changed since it was compared
            if row["verdict"] != "changed":
                raise refusals.of_plan(row, plan_id, changes, expected=expected)
            return _plan(row)

        return await self._writes.do(work, key=key, replay=Plan.model_validate)

    async def create_task(
        self, task: TaskCreate, *, idempotency: Idempotency | None = None
    ) -> Task:
        """Add a task to its plan.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            AlreadyExists: the id is taken, or the name in its plan.
        """
        key = idempotency and idempotency.of("create_task", task)
        new = new_tasks(task.plan_id, [task], key=key)

        async def work() -> Task:
            rows = await self._with_fresh_sight(
                lambda conn: tasks.create(conn, new), lambda conn: plans.lock(conn, task.plan_id)
            )
            (created,) = _created(rows, task.plan_id)
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
        """
        key = idempotency and idempotency.of("create_tasks", batch)
        new = new_tasks(batch.plan_id, batch.tasks)

        async def work() -> list[Task]:
            async with self._database.transaction() as conn:
                await plans.lock(conn, batch.plan_id)
                await tasks.expect_many(conn)
                created = _created(await tasks.create(conn, new), batch.plan_id)
                if key is not None:
                    await keys.keep(conn, key, TASK_LIST.dump_python(created, mode="json"))
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
        changes = _changes(update, TASK_KEPT)

        async def work() -> Task:
            basis = await _basis(update, TASK_KEPT, lambda: self.get_task(task_id))
            expected = basis if expected_version is None else expected_version
            rows = await self._with_fresh_sight(
                lambda conn: tasks.change(
                    conn, task_id, changes, expected_version=expected, key=key
                ),
                lambda conn: plans.lock_of_task(conn, task_id),
            )
            if not rows:
                raise refusals.no_task(task_id)
            (row,) = rows
            if row["verdict"] == "mismatch" and expected_version is None:
                return await work()  # it changed since it was compared
            if row["verdict"] not in {"changed", "same"}:
                raise refusals.of_task(row, task_id, changes, expected=expected)
            return _task(row)

        return await self._writes.do(work, key=key, replay=Task.model_validate)

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

    async def _with_fresh_sight(
        self,
        statement: Callable[[Connection], Awaitable[list[Row]]],
        lock: Callable[[Connection], Awaitable[None]],
    ) -> list[Row]:
        """Run a statement that may have to read more of a plan than what it locks.

        It is one round trip nearly always. Where it waited for the plan's lock and then needs
        rows that its snapshot is too old for, it says ``stale``, and is run again behind the lock.
        """
        async with self._database.connection() as conn:
            rows = await statement(conn)
        if any(row["verdict"] == "stale" for row in rows):
            async with self._database.transaction() as conn:
                await lock(conn)
                rows = await statement(conn)
        return rows

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


def _created(rows: list[Row], plan_id: UUID) -> list[Task]:
    match rows[0]["verdict"]:
        case "missing":
            raise refusals.no_plan(plan_id)
        case "closed":
            raise refusals.plan_closed(plan_id, wish="add a task")
        case _:
            return [_task(row) for row in rows]


def _task(row: Row) -> Task:
    return Task.model_validate({name: row[name] for name in Task.model_fields})
