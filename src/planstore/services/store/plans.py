"""The methods of `PlanStore` about plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from uuid_utils.compat import uuid7

from planstore.errors import VersionMismatch
from planstore.models.deletion import Deletion
from planstore.models.expansion import expanded
from planstore.models.idempotency import NOTHING
from planstore.models.page import DEFAULT_LIMIT
from planstore.models.plan import PLAN_KEPT, Plan, PlanCreate, PlanUpdate
from planstore.models.query import PlanFilter
from planstore.models.task import TASK_LIST, Task
from planstore.services import (
    creating,
    deleting,
    finding,
    following,
    history,
    refusals,
    spending,
    steering,
)
from planstore.services.answers import nothing, plan_of
from planstore.services.placing import new_tasks
from planstore.services.store.core import Core
from planstore.services.store.updates import basis_of, changes_of
from planstore.sql import idempotency as keys
from planstore.sql import plans

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from datetime import datetime
    from uuid import UUID

    from planstore.models.bulk import PlanBulk, PlanBulkAnswer
    from planstore.models.idempotency import Idempotency, RequestKey
    from planstore.models.page import Page
    from planstore.models.query import PlanSort
    from planstore.sql.connection import Connection, Row


class Plans(Core):
    """The methods of `PlanStore` about plans."""

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

        async def work() -> Plan:
            return await creating.create_plan(
                self._database, self._wakeups, plan, plan_id=plan_id, key=key, limits=self._limits
            )

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
                created = await following.add_tasks(conn, plan, new)
                if key is not None:
                    await keys.keep(conn, key, TASK_LIST.dump_python(created, mode="json"))
            self._wakeups.hint()
            return created

        return await self._writes.do(work, key=key, replay=TASK_LIST.validate_python)

    async def get_plan(self, plan_id: UUID, *, at: datetime | None = None) -> Plan:
        """Return the plan, as it is or as it stood ``at`` a time.

        Of what was deleted since there still is a past.

        Raises:
            NotFound: there is none, or was none then.
            HistoryGone: the events of that time are no longer kept.
            InvalidInput: the time is still to come.
        """
        if at is not None:
            return await history.get_plan(self._database, plan_id, at)
        async with self._database.connection() as conn:
            row = await plans.get(conn, plan_id)
        if row is None:
            raise refusals.no_plan(plan_id)
        return plan_of(row)

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
        started. A plan that its budget has paused goes on where ``budget`` allows more.

        Raises:
            NotFound: there is no such plan.
            InvalidInput: a field that the service keeps is given another value.
            InvalidTransition: the status doesn't allow it.
            VersionMismatch: the plan isn't at ``expected_version``.
        """
        key = idempotency and idempotency.of(f"update_plan {plan_id}", update)
        changes = changes_of(update, PLAN_KEPT - {"closed_at"})

        async def work() -> Plan:
            basis = await basis_of(update, PLAN_KEPT, lambda: self.get_plan(plan_id))
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
            if "budget" in changes:
                await spending.check(conn, [plan_id])
            changed = await creating.as_it_is_now(conn, plan_id, key=key)
        self._wakeups.hint()
        return changed

    async def start_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Let the plan's tasks be carried out; a plan that is active already is answered as it is.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has ended; PATCH its status to reopen it.
        """
        return await self._do_to_plan("start_plan", plan_id, steering.start, idempotency)

    async def pause_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Have the plan hand out no more tasks; what runs goes on.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has ended.
        """
        return await self._do_to_plan("pause_plan", plan_id, steering.pause, idempotency)

    async def resume_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Have a paused plan hand out tasks again.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has reached its budget.
        """
        return await self._do_to_plan("resume_plan", plan_id, steering.resume, idempotency)

    async def cancel_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Close the plan: what has not started is skipped, and running tasks are asked to stop.

        Raises:
            NotFound: there is no such plan.
        """
        return await self._do_to_plan("cancel_plan", plan_id, steering.cancel, idempotency)

    async def retry_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Try every failed task of the plan again.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
        """
        return await self._do_to_plan("retry_plan", plan_id, steering.retry, idempotency)

    async def delete_plan(
        self,
        plan_id: UUID,
        *,
        force: bool = False,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> None:
        """Delete a plan with its tasks; their events are kept.

        ``force``: also where tasks run, whose claims end by it.

        Raises:
            NotFound: there is no such plan, or no more.
            TasksRunning: tasks of it run, unless ``force``.
            VersionMismatch: the plan isn't at ``expected_version``.
        """
        key = idempotency and idempotency.of(f"delete_plan {plan_id}", Deletion(force=force))

        async def work() -> None:
            await deleting.delete_plan(
                self._database, plan_id, force=force, expected_version=expected_version, key=key
            )

        await self._writes.do(work, key=key, replay=nothing)

    async def bulk_plans(
        self, bulk: PlanBulk, *, idempotency: Idempotency | None = None
    ) -> PlanBulkAnswer:
        """Do one thing to all plans that a filter finds, each for itself.

        One call works for about two seconds; where ``next_cursor`` isn't None, another one with
        it as ``cursor`` goes on. What is refused for one doesn't stop the others.

        Raises:
            InvalidInput: the filter is empty, and ``all`` doesn't say so.
        """
        key = idempotency and idempotency.of("bulk_plans", bulk)
        return await self._bulk.of_plans(bulk, key=key)

    async def _do_to_plan(
        self,
        verb: str,
        plan_id: UUID,
        act: Callable[[Connection, Row], Awaitable[bool]],
        idempotency: Idempotency | None,
    ) -> Plan:
        """Lock the plan, and do what the verb does."""
        key = idempotency and idempotency.of(f"{verb} {plan_id}", NOTHING)

        async def work() -> Plan:
            async with self._database.transaction() as conn:
                await act(conn, await following.lock(conn, plan_id))
                plan = await creating.as_it_is_now(conn, plan_id, key=key)
            self._wakeups.hint()
            return plan

        return await self._writes.do(work, key=key, replay=Plan.model_validate)

    async def list_plans(
        self,
        found: PlanFilter | None = None,
        *,
        sort: PlanSort | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[Plan]:
        """Return the plans that a filter finds, newest first or as ``sort`` says.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        self._check_window(limit, offset)
        return await finding.list_plans(
            self._database,
            found or PlanFilter(),
            sort=sort,
            limit=limit,
            offset=offset,
            cursor=cursor,
        )


def _changed_plan(
    rows: list[Row], plan_id: UUID, changes: dict[str, Any], *, expected: int | None
) -> Plan:
    if not rows:
        raise refusals.no_plan(plan_id)
    if rows[0]["verdict"] != "changed":
        raise refusals.of_plan(rows[0], plan_id, changes, expected=expected)
    return plan_of(rows[0])
