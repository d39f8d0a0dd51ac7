"""The methods of `PlanStore` about what tasks need."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from planstore.models.task import DEPENDENCY_LIST, Dependency
from planstore.services import following, refusals, wiring
from planstore.services.answers import task_of
from planstore.services.store.core import Core
from planstore.sql import derivation, tasks
from planstore.sql import idempotency as keys

if TYPE_CHECKING:
    from collections.abc import Callable
    from uuid import UUID

    from planstore.models.dependency import DependenciesUpdate, DependencyDraft
    from planstore.models.idempotency import Idempotency
    from planstore.sql.connection import Connection, Row


class Dependencies(Core):
    """The methods of `PlanStore` about what tasks need."""

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
                row = await following.task_of_locked(conn, task_id)
                refusals.of_begun(task_of(row))
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


async def _dependencies(conn: Connection, task: Row) -> list[Dependency]:
    rows = await tasks.dependencies.of_task(conn, task["plan_id"], task["id"])
    return DEPENDENCY_LIST.validate_python([dict(row) for row in rows])
