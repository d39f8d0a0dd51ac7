"""Ending runs: at once where what follows can be counted, else with the plan locked."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from planstore.db import Loan
from planstore.services import following, spending, tracing
from planstore.services.completing import Completions
from planstore.services.once import said
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from collections.abc import Set as AbstractSet
    from contextlib import AbstractContextManager
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.claim import ClaimRequest
    from planstore.services.following import Ended
    from planstore.services.once import Writes
    from planstore.services.searching import Search
    from planstore.services.turns import Turns
    from planstore.services.wakeups import Wakeups
    from planstore.sql.connection import Connection, RowLike


class Endings:
    """The ends of runs that are reported through one process."""

    def __init__(
        self, database: Database, writes: Writes, wakeups: Wakeups, *, turns: Turns
    ) -> None:
        self._database = database
        self._writes = writes
        self._wakeups = wakeups
        self._turns = turns
        self._completions = Completions(database, turns)

    def caller(self, endings: Sequence[Ending]) -> AbstractContextManager[None]:
        """Count somebody among those who are at the plans of what ends."""
        return self._completions.caller(endings)

    async def end(self, endings: Sequence[Ending]) -> Ended:
        async with Loan(self._database) as loan:
            return await self.end_by(loan, endings)

    async def end_by(
        self, loan: Loan, endings: Sequence[Ending], *, is_written_later: bool = False
    ) -> Ended:
        """End runs; ``is_written_later``: the commit of something else flushes the log."""
        if any(each.usage or not each.is_completion for each in endings):
            async with self._turns.at(each.task_id for each in endings):
                conn = await loan.connection()
                return await self.end_on(conn, endings, is_written_later=is_written_later)
        ended = await self._completions.complete(loan, endings, is_written_later=is_written_later)
        await self._end_rest(loan, ended, endings, is_written_later=is_written_later)
        return ended

    async def end_and_claim(
        self,
        loan: Loan,
        endings: Sequence[Ending],
        request: ClaimRequest,
        *,
        is_whole: bool,
        search: Search,
    ) -> tuple[Ended, Sequence[RowLike] | None]:
        """End runs, and claim the next task in the same transaction where that is nobody's loss.

        ``is_whole``: the task that ended is wanted as a whole. Answers what was claimed too; None
        if that is still to be done.
        """
        if request.limit > 1 or not self._completions.is_lone(endings):
            return await self.end_by(loan, endings, is_written_later=True), None
        ended, found = await self._completions.complete_and_claim(
            loan,
            endings,
            request,
            is_whole=is_whole,
            search=search,
            hints=self._wakeups.hints,
            traceparent=tracing.traceparent(),
        )
        await self._end_rest(loan, ended, endings)
        return ended, found

    async def _end_rest(
        self, loan: Loan, ended: Ended, endings: Sequence[Ending], *, is_written_later: bool = False
    ) -> None:
        """Do what there is more to than completing what is held, and tell those who wait."""
        if any(row["verdict"] != "changed" for row in ended.rows):
            conn = await loan.connection()
            counted = partial(following.end_counted, conn, is_written_later=is_written_later)
            await ended.redo({"unheld"}, endings, counted)
            await ended.redo({"stale", "wide"}, endings, partial(_end_locked, conn))
        self.announce(ended)

    async def end_on(
        self, conn: Connection, endings: Sequence[Ending], *, is_written_later: bool = False
    ) -> Ended:
        """End runs on a connection, beside whoever else is at their plans."""
        if any(each.usage for each in endings):
            async with conn.transaction():
                ended = await spending.end_runs(conn, endings)
        else:
            ended = await following.end_counted(conn, endings, is_written_later=is_written_later)
        await ended.redo({"stale", "wide"}, endings, partial(_end_locked, conn))
        self.announce(ended)
        return ended

    def announce(self, ended: Ended) -> None:
        """Tell those who wait that there may be work, once it is committed."""
        if ended.unblocked or any(row["is_returned"] for row in ended.rows):
            self._wakeups.hint()

    def release(
        self, claims: Iterable[tuple[UUID, int]], *, counted: AbstractSet[UUID] = frozenset()
    ) -> None:
        """Begin to release tasks that nobody gets, each given with the token of its claim.

        ``counted``: plans whose budgets are yet to be looked at. That comes first, lest their tasks
        be handed out again meanwhile.
        """
        endings = [Ending(task_id, End.RELEASE, token=token) for task_id, token in claims]

        async def release() -> None:
            if counted:
                async with self._database.connection() as conn:
                    await spending.lock_and_check(conn, counted)
            await self.end(endings)

        if endings:
            self._writes.begin(said(release))


async def _end_locked(conn: Connection, endings: Sequence[Ending]) -> Ended:
    async with conn.transaction():
        return await following.end_runs(conn, endings)
