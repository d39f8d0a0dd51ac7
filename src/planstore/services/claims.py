"""Claims: handing out ready tasks, keeping what was handed out, and ending the runs."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_jsonable_python

from planstore.db import Loan
from planstore.models.binding import Unbound, bound
from planstore.models.claim import (
    MAX_BOUND_INPUT,
    MAX_CLAIMS,
    PACKETS,
    ClaimRequest,
    HeartbeatAnswer,
    RenewedClaim,
    WorkPacket,
)
from planstore.models.dependency import DependencyType
from planstore.models.trusted import Trusted
from planstore.services import following, refusals, spending, tracing
from planstore.services.completing import Completions
from planstore.services.metering import ClaimMeter
from planstore.services.once import KEY_LIFETIME, said
from planstore.services.searching import Leases, Searches
from planstore.services.turns import Turns
from planstore.services.waiters import Wish
from planstore.sql import idempotency as keys
from planstore.sql import tasks
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.claim import Heartbeat
    from planstore.models.idempotency import RequestKey
    from planstore.services.following import Ended
    from planstore.services.once import Writes
    from planstore.services.reports import Report, T
    from planstore.services.wakeups import Wakeups
    from planstore.sql.connection import Connection, Row, RowLike

_EXPIRED_AT_ONCE: Final = 100
"""How many ended leases are taken back by one statement."""

_LOOK_EVERY: Final = 1.0
"""Seconds after which a claim that waits looks for work by itself, whatever it is told."""

_PACKET: Final = Trusted(WorkPacket)

_NOT_IN_PACKET: Final = ("was_ready_at", "counts_attempts")
"""What a claim answers beside the work packet."""

_SWEEP_EVERY: Final = 1.0
"""Seconds between two looks at the leases by the claims of one process."""


class Claims:
    """The claims that are made through one process."""

    def __init__(self, database: Database, writes: Writes, wakeups: Wakeups) -> None:
        self._database = database
        self._writes = writes
        self._wakeups = wakeups
        self._swept_at = 0.0
        self._turns = Turns()
        self._completions = Completions(database, self._turns)
        self._searches = Searches()
        self._leases = Leases()
        self.meter = ClaimMeter()

    async def claim(self, request: ClaimRequest, *, key: RequestKey | None) -> list[WorkPacket]:
        """Hand out ready tasks; waits for some as long as the request says."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.wait_seconds
        shape = _shape(request)
        # What is kept under a key is kept by the transaction that claims.
        wish = self._wish(request) if key is None else None
        while True:
            hints = self._wakeups.hints
            packets = await self._writes.do(
                lambda: self._claim_once(request, key), key=key, replay=PACKETS.validate_python
            )
            if packets:
                if len(packets) == request.limit:
                    self._wakeups.wake_next(shape)
                return packets
            left = deadline - loop.time()
            if left <= 0 or self._wakeups.is_stopped:
                return packets
            at_most = min(left, await self._horizon())
            given = await self._wakeups.wait(shape, since=hints, at_most=at_most, wish=wish)
            if given and (packets := await said(partial(self._take_given, request, given))):
                return packets

    async def _take_given(
        self, request: ClaimRequest, given: Sequence[RowLike]
    ) -> list[WorkPacket]:
        """Make packets of what was claimed for a request; who leaves before gives it back."""
        try:
            async with self._database.connection() as conn:
                return await self._claim_on(conn, request, found=given)
        except asyncio.CancelledError:
            self._give_back(given)
            raise

    def _wish(self, request: ClaimRequest) -> Wish:
        return Wish(
            request,
            self._searches.of(_shape(request)),
            traceparent=tracing.traceparent(),
            give_back=self._give_back,
        )

    def _give_back(self, claimed: Sequence[RowLike]) -> None:
        """Release what was claimed for somebody who is gone."""
        endings = [Ending(row["id"], End.RELEASE, token=row["fencing_token"]) for row in claimed]
        self._writes.begin(self.end(endings))

    async def _horizon(self) -> float:
        """For how long nothing becomes ready unless a hint says so."""
        async with self._database.connection() as conn:
            seconds = await tasks.seconds_to_next(conn)
        return _LOOK_EVERY if seconds is None else min(_LOOK_EVERY, max(seconds, 0.001))

    async def _claim_once(self, request: ClaimRequest, key: RequestKey | None) -> list[WorkPacket]:
        await self._take_over()
        if key is None:
            async with self._database.connection() as conn:
                return await self._claim_on(conn, request)
        while True:
            async with self._database.transaction() as conn:
                handed = await self._hand_out(conn, request)
                if handed.packets:
                    await keys.keep(conn, key, PACKETS.dump_python(handed.packets, mode="json"))
                elif await keys.kept(conn, key, lifetime=KEY_LIFETIME):
                    # What the first request was given is no longer there to be found.
                    raise refusals.KeyTaken
            await self._follow_up(handed)
            if handed.packets or not handed.unbound:
                return handed.packets

    async def _claim_on(
        self, conn: Connection, request: ClaimRequest, *, found: Sequence[RowLike] | None = None
    ) -> list[WorkPacket]:
        """Claim what is there; looks further where all that was found can't be handed out.

        ``found``: what has been claimed already, if that was tried.
        """
        while True:
            handed = await self._hand_out(conn, request, found=found)
            found = None
            if handed.counted:
                await spending.lock_and_check(conn, handed.counted)
            if handed.unbound:
                await self._end_on(conn, handed.unbound)
            if handed.packets or not handed.unbound:
                return handed.packets

    async def _follow_up(self, handed: _Handed) -> None:
        """Do what a claim entails that was made in a transaction, once that is over.

        A claim holds tasks, and plans come before these.
        """
        if handed.counted:
            async with self._database.connection() as conn:
                await spending.lock_and_check(conn, handed.counted)
        if handed.unbound:
            await self.end(handed.unbound)

    async def _take_over(self) -> None:
        """Take back what others' leases have left, so that a library needs no sweeper."""
        now = asyncio.get_running_loop().time()
        if now - self._swept_at >= _SWEEP_EVERY:
            self._swept_at = now
            await self.sweep()

    async def _hand_out(
        self, conn: Connection, request: ClaimRequest, *, found: Sequence[RowLike] | None = None
    ) -> _Handed:
        """Claim tasks; those whose input can't be filled in are to fail."""
        handed = _Handed()
        rows = await self._find(conn, request) if found is None else found
        self.meter.note(len(rows))
        for row in rows:
            needed: list[dict[str, Any]] = row["dependencies"] or []
            try:
                resolved = await _resolved(conn, row, needed)
            except Unbound as error:
                handed.unbound.append(_binding_error(row, error))
            else:
                handed.packets.append(_packet(row, needed, resolved))
                self._turns.note(row["id"], row["plan_id"])
            if row["counts_attempts"]:
                handed.counted.add(row["plan_id"])
        return handed

    async def _find(self, conn: Connection, request: ClaimRequest) -> list[Row]:
        search = self._searches.of(_shape(request))
        after = search.begin(self._wakeups.hints)
        traceparent = tracing.traceparent()
        rows = await tasks.claim(conn, request, after=after, traceparent=traceparent)
        search.end(rows)
        if after is not None and len(rows) < request.limit and search.may_look_everywhere():
            rows += await tasks.claim(
                conn,
                request.model_copy(update={"limit": request.limit - len(rows)}),
                traceparent=traceparent,
            )
        return rows

    async def held(self, worker_id: str) -> list[WorkPacket]:
        """Return what a worker holds, as it was handed out to it."""
        packets: list[WorkPacket] = []
        async with self._database.connection() as conn:
            for row in await tasks.held(conn, worker_id, limit=MAX_CLAIMS):
                needed: list[dict[str, Any]] = row["dependencies"] or []
                try:
                    resolved = await _resolved(conn, row, needed)
                except Unbound:  # an output was edited since
                    resolved = row["input_data"]
                packets.append(_packet(row, needed, resolved))
        return packets

    async def renew(self, heartbeat: Heartbeat, *, key: RequestKey | None) -> HeartbeatAnswer:
        """Renew claims, and say which are lost and which are to stop."""
        worker_id, claims = heartbeat.worker_id, heartbeat.claims
        if key is None and all(each.usage is None for each in claims):
            async with self._database.connection() as conn:
                return _renewed(await tasks.renew(conn, worker_id, claims))
        async with self._database.transaction() as conn:
            answer = _renewed(await spending.renew(conn, worker_id, claims))
            if key is not None:
                await keys.keep(conn, key, answer.model_dump(mode="json"))
        return answer

    async def end(self, endings: Sequence[Ending]) -> Ended:
        """End runs: at once where what follows can be counted, else with the plan locked."""
        async with Loan(self._database) as loan:
            return await self._end(loan, endings)

    async def _end(
        self, loan: Loan, endings: Sequence[Ending], *, is_written_later: bool = False
    ) -> Ended:
        if any(each.usage or not each.is_completion for each in endings):
            async with self._turns.at(each.task_id for each in endings):
                conn = await loan.connection()
                return await self._end_on(conn, endings, is_written_later=is_written_later)
        ended = await self._completions.complete(loan, endings, is_written_later=is_written_later)
        await self._complete_rest(loan, ended, endings, is_written_later=is_written_later)
        return ended

    async def _complete_rest(
        self, loan: Loan, ended: Ended, endings: Sequence[Ending], *, is_written_later: bool = False
    ) -> None:
        """Do what there is more to than completing what is held, and tell those who wait."""
        if any(row["verdict"] != "changed" for row in ended.rows):
            conn = await loan.connection()
            counted = partial(following.end_counted, conn, is_written_later=is_written_later)
            await ended.redo({"unheld"}, endings, counted)
            await ended.redo({"stale", "wide"}, endings, partial(_end_locked, conn))
        self.announce(ended)

    async def _end_on(
        self, conn: Connection, endings: Sequence[Ending], *, is_written_later: bool = False
    ) -> Ended:
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

    async def report(self, report: Report[T]) -> T:
        """End runs and hand out the next tasks; answers what the report makes of it.

        Where it is refused that is raised, once what it is about has been kept, and nothing is
        handed out. With a key nobody waits for work: what is kept under it was there at once.
        """
        if report.key is not None:
            key = report.key
            return await self._writes.do(
                lambda: self._report_with_key(report, key), key=key, replay=report.replay
            )
        made = await self._writes.do(lambda: self._report(report), key=None, replay=report.replay)
        claim_next = report.claim_next
        if not made.tasks and claim_next is not None and claim_next.wait_seconds:
            packets = await self.claim(claim_next, key=None)
            made = made.model_copy(update={"tasks": packets})
        return made

    async def _report(self, report: Report[T]) -> T:
        """End runs, and claim what is there; a claim's commit writes the end's as well.

        Where they are two transactions, the log has an order: once the later commit is on the disk,
        so is the earlier one. So nothing is acknowledged that isn't there, at one flush for both.
        They share a connection, for a server that was killed between the two comes back without
        the first.
        """
        claim_next = report.claim_next
        if claim_next is not None:
            await self._take_over()
        async with Loan(self._database) as loan:
            with self._completions.caller(report.endings):
                ended, found = await self._end_and_find(loan, report)
                conn = await loan.connection()
                error = report.refusal(ended)
                packets: list[WorkPacket] = []
                if claim_next is not None:
                    if error is None:
                        packets = await self._claim_on(conn, claim_next, found=found)
                    if not packets and found is None:
                        await tasks.flush(conn)
            if error is not None:
                raise error
            return await report.answer(conn, ended, packets)

    async def _end_and_find(
        self, loan: Loan, report: Report[T]
    ) -> tuple[Ended, Sequence[RowLike] | None]:
        """End runs, and claim the next task in the same transaction where that is nobody's loss.

        Answers what was claimed too; None if that is still to be done.
        """
        endings, claim_next = report.endings, report.claim_next
        if claim_next is None or claim_next.limit > 1 or not self._completions.is_lone(endings):
            is_written_later = claim_next is not None
            return await self._end(loan, endings, is_written_later=is_written_later), None
        search = self._searches.of(_shape(claim_next))
        after = search.begin(self._wakeups.hints)
        ended, found = await self._completions.complete_and_claim(
            loan,
            endings,
            claim_next,
            is_whole=report.is_whole,
            after=after,
            traceparent=tracing.traceparent(),
        )
        if not found and after is not None:
            found = None  # there may be something before that place
        if found is None:
            search.forget()
        else:
            search.end(found)
        await self._complete_rest(loan, ended, endings)
        return ended, found

    async def _report_with_key(self, report: Report[T], key: RequestKey) -> T:
        async with (
            self._turns.at(each.task_id for each in report.endings),
            self._database.transaction() as conn,
        ):
            ended = await spending.end_runs(conn, report.endings)
            error = report.refusal(ended)
            handed = _Handed()
            if error is None and report.claim_next is not None:
                handed = await self._hand_out(conn, report.claim_next)
            made = await report.answer(conn, ended, handed.packets) if error is None else None
            if made is not None:
                await keys.keep(conn, key, to_jsonable_python(made))
        self.announce(ended)
        await self._follow_up(handed)
        if error is not None:
            raise error
        assert made is not None
        return made

    async def sweep(self) -> int:
        """Take back all tasks whose lease has ended, in bites; answers how many.

        Plans are paused whose deadline is over.
        """
        await spending.stop(self._database)
        total = 0
        after = self._leases.begin()
        while True:
            async with self._database.connection() as conn:
                overdue, looked_at = await tasks.overdue(conn, limit=_EXPIRED_AT_ONCE, after=after)
            if not overdue:
                self._leases.end(looked_at, taken_back=total)
                return total
            ended = await self.end(
                [Ending(row["task_id"], End.EXPIRE, token=row["fencing_token"]) for row in overdue]
            )
            count = sum(row["verdict"] == "changed" for row in ended.rows)
            self.meter.taken_back += count
            total += count
            if len(overdue) < _EXPIRED_AT_ONCE:
                self._leases.end(looked_at, taken_back=total)
                return total


@dataclass(slots=True)
class _Handed:
    """What a claim has found."""

    packets: list[WorkPacket] = field(default_factory=list[WorkPacket])
    unbound: list[Ending] = field(default_factory=list[Ending])
    """Of tasks whose input can't be filled in: how they are to end."""
    counted: set[UUID] = field(default_factory=set["UUID"])
    """The plans whose budgets limit how many runs may begin."""


def _renewed(rows: Sequence[Row]) -> HeartbeatAnswer:
    return HeartbeatAnswer(claims=[RenewedClaim.model_validate(dict(row)) for row in rows])


def _shape(request: ClaimRequest) -> Hashable:
    """What tells apart those who ask for different tasks."""
    return request.plan_id, request.agent_id, tuple(sorted(request.task_types or ()))


async def _end_locked(conn: Connection, endings: Sequence[Ending]) -> Ended:
    async with conn.transaction():
        return await following.end_runs(conn, endings)


async def _resolved(
    conn: Connection, row: RowLike, needed: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the task's input with its bindings filled in.

    Raises:
        Unbound: they can't be.
    """
    given = row["input_data"]
    if not needed:
        return given
    sources = [
        each for each in needed if each["type"] == DependencyType.DATA.value and each["name"]
    ]
    if not sources:
        return given
    missing = [each["task_id"] for each in sources if each["output_link"] is not None]
    fetched = {str(each["id"]): each["output_data"] for each in await tasks.many(conn, missing)}
    outputs = {each["name"]: fetched.get(each["task_id"], each["output_data"]) for each in sources}
    return bound(given, outputs, max_bytes=MAX_BOUND_INPUT)


def _binding_error(row: RowLike, error: Unbound) -> Ending:
    report = {
        "code": "binding_error",
        "message": str(error),
        "faults": [{"pointer": each.pointer, "detail": each.detail} for each in error.faults],
    }
    return Ending(row["id"], End.FAIL, token=row["fencing_token"], error=report, is_retryable=False)


def _packet(
    row: RowLike, needed: Sequence[dict[str, Any]], resolved: dict[str, Any] | None
) -> WorkPacket:
    packet = dict(row)
    for name in _NOT_IN_PACKET:
        packet.pop(name, None)
    packet["resolved_input"] = resolved
    packet["dependencies"] = needed
    packet["previous_attempts"] = row["previous_attempts"] or []
    return _PACKET.of_row(packet)
