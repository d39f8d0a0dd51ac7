"""Making what many callers ask for at once by one statement and one commit.

Nobody waits for others to come along: what arrives while a statement is under way goes into the
next one. Each caller gets a verdict of its own, after the commit of its own; where a statement
fails as a whole, each of its tasks is made again alone, so that no caller gets another's error.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final

import asyncpg

from planstore.errors import PlanStoreError
from planstore.services.answers import tasks_of_new
from planstore.services.placing import in_turn
from planstore.services.wakeups import give_way
from planstore.sql import tasks

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.task import Task
    from planstore.services.once import Writes
    from planstore.services.wakeups import Wakeups
    from planstore.sql.connection import Connection, RowLike
    from planstore.sql.tasks import NewTask

    Asked = tuple[NewTask, asyncio.Future[Task | None]]

_AT_ONCE: Final = 200
_LANES: Final = 2
"""PostgreSQL works on one statement while the next one is put together."""


class MergedCreates:
    """The single tasks that a process is asked to add."""

    def __init__(self, database: Database, writes: Writes, wakeups: Wakeups) -> None:
        self._database = database
        self._writes = writes
        self._wakeups = wakeups
        self._waiting: list[Asked] = []
        self._lanes = 0
        self._held: dict[UUID, list[Asked]] = {}

    async def add(self, new: NewTask) -> Task | None:
        """Add a task; answers None where it takes a lock on its plan, or can't be done at all."""
        answer: asyncio.Future[Task | None] = asyncio.get_running_loop().create_future()
        if self._held and new.plan_id in self._held:
            self._held[new.plan_id].append((new, answer))
            return await answer
        self._waiting.append((new, answer))
        if self._lanes < _LANES:
            self._lanes += 1
            self._writes.begin(self._drain())
        return await answer

    async def _drain(self) -> None:
        try:
            while self._waiting:
                taken, self._waiting = self._waiting[:_AT_ONCE], self._waiting[_AT_ONCE:]
                await self._create(taken)
        except BaseException as error:
            if self._lanes == 1:
                left, self._waiting = self._waiting, []
                _fail(left, error)
            raise
        finally:
            self._lanes -= 1

    async def _create(self, taken: list[Asked], *, is_waiting: bool = False) -> None:
        try:
            async with self._database.connection() as conn:
                new = in_turn([each for each, _ in taken])
                rows, is_handed_out = await self._add(conn, new, is_waiting=is_waiting)
        except asyncpg.PostgresError as error:
            if len(taken) == 1:
                _fail(taken, error)
            else:
                await self._create_apart(taken, is_waiting=is_waiting)
        except PlanStoreError as error:
            if len(taken) == 1 or not isinstance(error.__cause__, asyncpg.LockNotAvailableError):
                _fail(taken, error)
                return
            # It may be an id or a key of one of them that somebody else is just taking.
            for each in taken:
                self._writes.begin(self._create([each], is_waiting=is_waiting))
        except BaseException as error:
            _fail(taken, error)
            raise
        else:
            try:
                # Who waits for work goes first.
                await (give_way() if is_handed_out else self._wakeups.hint_before())
            finally:
                self._answer(taken, new, rows, is_waiting=is_waiting)

    async def _create_apart(self, taken: list[Asked], *, is_waiting: bool) -> None:
        """Add tasks one by one, so that no caller gets another's error."""
        left = deque(taken)
        try:
            while left:
                await self._create([left.popleft()], is_waiting=is_waiting)
        except BaseException as error:
            _fail(left, error)
            raise

    def _answer(
        self,
        taken: Sequence[Asked],
        new: Sequence[NewTask],
        rows: Mapping[UUID, RowLike],
        *,
        is_waiting: bool,
    ) -> None:
        """Tell each caller what has become of its task; those whose plan is held wait on."""
        for asked, placed in zip(taken, new, strict=True):
            row = rows.get(placed.plan_id)
            if row is None and not is_waiting:
                self._hold(asked)
            elif not asked[1].done():
                asked[1].set_result(_added(placed, row))

    async def _add(
        self, conn: Connection, new: Sequence[NewTask], *, is_waiting: bool
    ) -> tuple[Mapping[UUID, RowLike], bool]:
        """Add tasks; one by itself is claimed at once for somebody who waits for such, if any.

        Answers whether that was handed out, too.
        """
        taken = self._wakeups.take(new[0]) if len(new) == 1 and not is_waiting else None
        if taken is None:
            return await tasks.create(conn, new, is_waiting=is_waiting, are_apart=True), False
        (waiter, wish), (one,) = taken, new
        with waiter.reserved():
            added, claimed, _ = await tasks.create_and_claim(
                conn, one, wish.request, traceparent=wish.traceparent
            )
            if claimed:
                waiter.give(claimed)
        rows = {one.plan_id: added} if added["plan_id"] is not None else {}
        return rows, any(each["id"] == one.id for each in claimed)

    def _hold(self, each: Asked) -> None:
        """Have a task wait for its plan, which another transaction holds, and for that alone."""
        plan_id = each[0].plan_id
        if plan_id in self._held:
            self._held[plan_id].append(each)
            return
        self._held[plan_id] = [each]
        self._writes.begin(self._wait_for(plan_id))

    async def _wait_for(self, plan_id: UUID) -> None:
        try:
            while held := self._held[plan_id]:
                taken, self._held[plan_id] = held[:_AT_ONCE], held[_AT_ONCE:]
                await self._create(taken, is_waiting=True)
        except BaseException as error:
            _fail(self._held[plan_id], error)
            raise
        finally:
            del self._held[plan_id]


def _added(placed: NewTask, row: RowLike | None) -> Task | None:
    if row is None or row["verdict"] != "changed":
        return None
    (task,) = tasks_of_new([placed], row)
    return task


def _fail(taken: Iterable[Asked], error: BaseException) -> None:
    for _, answer in taken:
        if not answer.done():
            answer.set_exception(error)
