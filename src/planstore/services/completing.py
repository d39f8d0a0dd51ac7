"""Completing what many callers report at once, plan by plan.

Who completes tasks has to wait for their plan's row. Nobody waits for others to come along, but
what arrives for a plan while a statement of this process is under way there goes into the next one,
so that a thousand callers wait for two commits and not for a thousand. Each gets what it unblocked
itself, after the commit; where a statement fails as a whole, each does its own part again alone, so
that no caller gets another's error.
"""

from __future__ import annotations

import asyncio
from collections import Counter, defaultdict
from contextlib import contextmanager
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Final

import asyncpg

from planstore.db import Loan
from planstore.errors import PlanStoreError
from planstore.models.claim import MAX_CLAIMS
from planstore.models.task import TaskStatus
from planstore.services import following
from planstore.services.following import Ended
from planstore.sql import tasks

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.claim import ClaimRequest
    from planstore.services.searching import Search
    from planstore.services.turns import Turns
    from planstore.sql.connection import Connection, Row, RowLike
    from planstore.sql.tasks import Ending

_TAKEN: Final[Mapping[str, Any]] = MappingProxyType(
    {"verdict": "changed", "status": TaskStatus.COMPLETED.value, "is_returned": False}
)
"""What there is to be said of a task that was completed."""

_UNHELD: Final[Mapping[str, Any]] = MappingProxyType({"verdict": "unheld"})

_FEW: Final = 4
"""For how many plans a statement for each is better than one for all."""


class Completions:
    """What callers of one process have completed, and wait to be told so."""

    def __init__(self, database: Database, turns: Turns) -> None:
        self._database = database
        self._turns = turns
        self._next: dict[UUID, _Group] = {}
        self._callers: Counter[UUID] = Counter()

    @contextmanager
    def caller(self, endings: Sequence[Ending]) -> Generator[None]:
        """Count who reports a single task among the callers of its plan."""
        plan_id = self._turns.plan_of(endings[0].task_id) if len(endings) == 1 else None
        if plan_id is None:
            yield
            return
        self._callers[plan_id] += 1
        try:
            yield
        finally:
            self._callers[plan_id] -= 1
            if not self._callers[plan_id]:
                del self._callers[plan_id]

    def is_lone(self, endings: Sequence[Ending]) -> bool:
        """Whether a holder reports a single task, and nobody else is at its plan now."""
        if len(endings) > 1 or not endings[0].is_completion or endings[0].usage:
            return False
        plan_id = self._turns.plan_of(endings[0].task_id)
        return (
            plan_id is not None
            and self._callers[plan_id] == 1
            and plan_id not in self._next
            and not self._turns.of(plan_id).locked()
        )

    async def complete_and_claim(
        self,
        loan: Loan,
        endings: Sequence[Ending],
        request: ClaimRequest,
        *,
        is_whole: bool,
        search: Search,
        hints: int,
        traceparent: str | None,
    ) -> tuple[Ended, Sequence[RowLike] | None]:
        """Complete the task of a lone caller, and claim the next one in the same transaction.

        ``search``, ``hints``: as in `Search.begin`. Answers what `complete` does, with the task if
        that is to be whole; and what was claimed, None if that is still to be looked for.
        """
        (ending,) = endings
        plan_id = self._turns.plan_of(ending.task_id)
        assert plan_id is not None
        async with self._turns.of(plan_id):
            conn = await loan.connection()
            look = search.begin(hints)
            both = await tasks.complete_and_claim(
                conn,
                ending,
                request,
                is_whole=is_whole,
                after=look.after,
                traceparent=traceparent,
            )
        row = both.first
        ended = _part(row, set[int](row["taken"] or ()), 0, 1)
        ended.task = both.task or None
        is_done = row["verdict"] == "changed" and not row["had_to_wait"]
        # Where nothing comes after a place, there may be something before it.
        if not is_done or (not both.claimed and look.after is not None):
            search.forget()
            return ended, None
        search.end(look, both.claimed)
        return ended, both.claimed

    async def complete(
        self, loan: Loan, endings: Sequence[Ending], *, is_written_later: bool
    ) -> Ended:
        """Complete tasks by their holders; answers as `tasks.end` would.

        But ``unheld`` are those that nobody holds so, and where there are many plans, all: they
        are better ended together. ``is_written_later``: as in `tasks.end`; only what is done on the
        connection of ``loan`` is, and nobody waits with that in hand.
        """
        of_plans: dict[UUID | None, list[int]] = defaultdict(list)
        for number, each in enumerate(endings):
            of_plans[self._turns.plan_of(each.task_id)].append(number)
        if len(of_plans) == 1:
            (plan_id,) = of_plans
            return await self._of_plan(plan_id, loan, endings, is_written_later=is_written_later)
        ended = Ended([_UNHELD for _ in endings])
        if len(of_plans) <= _FEW:
            for plan_id, numbers in of_plans.items():
                async with Loan(self._database) as own:
                    part = await self._of_plan(
                        plan_id, own, [endings[each] for each in numbers], is_written_later=False
                    )
                for number, row in zip(numbers, part.rows, strict=True):
                    ended.rows[number] = row
                ended.unblocked += part.unblocked
        return ended

    async def _of_plan(
        self,
        plan_id: UUID | None,
        loan: Loan,
        endings: Sequence[Ending],
        *,
        is_written_later: bool,
    ) -> Ended:
        if plan_id is None:
            return await _complete(
                await loan.connection(), endings, is_written_later=is_written_later
            )
        group = self._next.get(plan_id)
        if group is not None and group.has_room_for(endings):
            ended = await group.join(endings)
        else:
            group = self._next[plan_id] = _Group(endings)
            try:
                async with self._turns.of(plan_id):
                    self._close(plan_id, group)
                    if not group.is_shared:
                        return await _complete(
                            await loan.connection(), endings, is_written_later=is_written_later
                        )
                    ended = await self._complete_together(group)
            finally:
                # Who is cancelled before its turn leaves nobody behind.
                self._close(plan_id, group)
                group.part()
        if ended is None:
            async with self._turns.of(plan_id):
                ended = await _complete(
                    await loan.connection(), endings, is_written_later=is_written_later
                )
        return ended

    def _close(self, plan_id: UUID, group: _Group) -> None:
        """Let nobody join a group any more."""
        if self._next.get(plan_id) is group:
            del self._next[plan_id]

    async def _complete_together(self, group: _Group) -> Ended | None:
        try:
            async with self._database.connection() as conn:
                return group.share_out(await tasks.complete(conn, group.endings))
        except asyncpg.PostgresError:
            return None
        except PlanStoreError as error:
            group.fail(error)
            raise


class _Group:
    """What goes into one statement: of who began it, and of who joined."""

    def __init__(self, endings: Sequence[Ending]) -> None:
        self.endings = [*endings]
        self._task_ids = {each.task_id for each in endings}
        self._first = len(endings)
        self._joined: list[tuple[int, int, asyncio.Future[Ended | None]]] = []

    @property
    def is_shared(self) -> bool:
        return bool(self._joined)

    def has_room_for(self, endings: Sequence[Ending]) -> bool:
        return len(self.endings) + len(endings) <= MAX_CLAIMS and self._task_ids.isdisjoint(
            each.task_id for each in endings
        )

    def join(self, endings: Sequence[Ending]) -> asyncio.Future[Ended | None]:
        """Add what another caller reports; its part comes to nothing where the group is parted."""
        answer: asyncio.Future[Ended | None] = asyncio.get_running_loop().create_future()
        self._joined.append((len(self.endings), len(endings), answer))
        self.endings += endings
        self._task_ids.update(each.task_id for each in endings)
        return answer

    def share_out(self, row: Row) -> Ended:
        """Tell those who joined what became of theirs; answers that of who began."""
        taken = set[int](row["taken"] or ())
        for start, count, answer in self._joined:
            if not answer.done():
                answer.set_result(_part(row, taken, start, count))
        return _part(row, taken, 0, self._first)

    def part(self) -> None:
        """Have each who was told nothing do it alone."""
        for _, _, answer in self._joined:
            if not answer.done():
                answer.set_result(None)

    def fail(self, error: PlanStoreError) -> None:
        for _, _, answer in self._joined:
            if not answer.done():
                answer.set_exception(error)


async def end_within(conn: Connection, endings: Sequence[Ending]) -> Ended:
    """End runs within a transaction, as far as what follows can be counted.

    It locks the plans of all of them in their order.
    """
    if len(endings) > 1 or not endings[0].is_completion:
        return await following.end_counted(conn, endings)
    ended = await _complete(conn, endings, is_written_later=False)
    await ended.redo({"unheld"}, endings, partial(following.end_counted, conn))
    return ended


async def _complete(
    conn: Connection, endings: Sequence[Ending], *, is_written_later: bool
) -> Ended:
    row = await tasks.complete(conn, endings, is_written_later=is_written_later)
    return _part(row, set[int](row["taken"] or ()), 0, len(endings))


def _part(row: RowLike, taken: set[int], start: int, count: int) -> Ended:
    """What became of ``count`` tasks from ``start`` on."""
    verdict = row["verdict"]
    left = _UNHELD if verdict == "changed" else {"verdict": verdict}
    places = range(start + 1, start + count + 1)
    return Ended(
        rows=[_TAKEN if place in taken else left for place in places],
        unblocked=[
            task_id
            for task_id, place in zip(row["unblocked"], row["unblocked_by"], strict=True)
            if place in places
        ],
    )
