"""Claims: handing out ready tasks, keeping what was handed out, and hearing how it ended."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar

from pydantic_core import to_jsonable_python

from planstore.db import Loan
from planstore.models.binding import Unbound
from planstore.models.claim import (
    MAX_CLAIMS,
    PACKETS,
    ClaimRequest,
    HeartbeatAnswer,
    RenewedClaim,
    WorkPacket,
)
from planstore.services import refusals, spending, tracing
from planstore.services.ending import Endings
from planstore.services.expiry import Expiry
from planstore.services.metering import ClaimMeter
from planstore.services.once import KEY_LIFETIME, said
from planstore.services.packets import binding_error, packet_of, resolved_input
from planstore.services.searching import Searches
from planstore.services.turns import Turns
from planstore.services.waiters import Wish
from planstore.sql import idempotency as keys
from planstore.sql import tasks
from planstore.sql.tasks import Ending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Hashable, Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.claim import Heartbeat
    from planstore.models.idempotency import RequestKey
    from planstore.services.following import Ended
    from planstore.services.once import Writes
    from planstore.services.reports import Report, T
    from planstore.services.wakeups import Wakeups
    from planstore.sql.connection import Connection, Row, RowLike

U = TypeVar("U")

_LOOK_EVERY: Final = 1.0
"""Seconds after which a claim that waits looks for work by itself, whatever it is told."""


class Claims:
    """The claims that are made through one process."""

    def __init__(self, database: Database, writes: Writes, wakeups: Wakeups) -> None:
        self._database = database
        self._writes = writes
        self._wakeups = wakeups
        self._turns = Turns()
        self._endings = Endings(database, writes, wakeups, turns=self._turns)
        self._searches = Searches()
        self.meter = ClaimMeter()
        self._expiry = Expiry(database, writes, self._endings, meter=self.meter)

    async def claim(self, request: ClaimRequest, *, key: RequestKey | None) -> list[WorkPacket]:
        """Hand out ready tasks; waits for some as long as the request says."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + request.wait_seconds
        shape = _shape(request)
        # What is kept under a key is kept by the transaction that claims.
        wish = self._wish(request) if key is None else None
        while True:
            hints = self._wakeups.look(shape)
            packets = await self._look(request, key)
            if packets:
                if len(packets) == request.limit:
                    self._wakeups.wake_next(shape)
                return packets
            left = deadline - loop.time()
            if left <= 0 or self._wakeups.is_stopped:
                return packets
            at_most = min(left, await self._horizon())
            given = await self._wakeups.wait(shape, since=hints, at_most=at_most, wish=wish)
            if given and (packets := await self._take_given(request, given)):
                return packets

    async def _look(self, request: ClaimRequest, key: RequestKey | None) -> list[WorkPacket]:
        """Claim what is there."""
        await self._expiry.take_over()
        if key is not None:
            return await self._writes.do(
                lambda: self._claim_with_key(request, key), key=key, replay=PACKETS.validate_python
            )

        async def claim() -> list[WorkPacket]:
            async with Loan(self._database) as loan:
                return await self._claim_on(loan, request)

        return await self._for_caller(claim, tasks_of=list)

    async def _take_given(
        self, request: ClaimRequest, given: Sequence[RowLike]
    ) -> list[WorkPacket]:
        """Make packets of what was claimed for a request."""
        first = [given]

        async def take() -> list[WorkPacket]:
            # Where it has to be done again, what was given has been given back.
            found = first.pop() if first else None
            async with Loan(self._database) as loan:
                return await self._claim_on(loan, request, found=found)

        return await self._for_caller(take, tasks_of=list)

    async def _for_caller(
        self, work: Callable[[], Awaitable[U]], *, tasks_of: Callable[[U], Sequence[WorkPacket]]
    ) -> U:
        """Do what hands out tasks; where the caller leaves before it has them, they go back."""
        task = self._writes.begin(said(work))
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            task.add_done_callback(partial(self._unwanted, tasks_of=tasks_of))
            raise

    def _unwanted(
        self, task: asyncio.Task[U], *, tasks_of: Callable[[U], Sequence[WorkPacket]]
    ) -> None:
        if not task.cancelled() and task.exception() is None:
            self._endings.release((each.id, each.fencing_token) for each in tasks_of(task.result()))

    def _wish(self, request: ClaimRequest) -> Wish:
        return Wish(
            request,
            self._searches.of(_shape(request)),
            traceparent=tracing.traceparent(),
            give_back=self._give_back,
        )

    def _give_back(self, claimed: Sequence[RowLike]) -> None:
        """Release what was claimed, of which nothing else has been made yet."""
        self._endings.release(
            ((row["id"], row["fencing_token"]) for row in claimed),
            counted={row["plan_id"] for row in claimed if row["counts_attempts"]},
        )

    async def _horizon(self) -> float:
        """For how long nothing becomes ready unless a hint says so."""
        async with self._database.connection() as conn:
            seconds = await tasks.seconds_to_next(conn)
        return _LOOK_EVERY if seconds is None else min(_LOOK_EVERY, max(seconds, 0.001))

    async def _claim_with_key(self, request: ClaimRequest, key: RequestKey) -> list[WorkPacket]:
        while True:
            async with self._database.transaction() as conn:
                handed = await self._hand_out(conn, await self._find(conn, request))
                if handed.packets:
                    await keys.keep(conn, key, PACKETS.dump_python(handed.packets, mode="json"))
                elif await keys.kept(conn, key, lifetime=KEY_LIFETIME):
                    # What the first request was given is no longer there to be found.
                    raise refusals.KeyTaken
            await self._follow_up(handed)
            if handed.packets or not handed.unbound:
                return handed.packets

    async def _claim_on(
        self, loan: Loan, request: ClaimRequest, *, found: Sequence[RowLike] | None = None
    ) -> list[WorkPacket]:
        """Claim what is there; looks further where all that was found can't be handed out.

        ``found``: what has been claimed already, if that was tried. Where it fails, what was
        claimed is given back.
        """
        while True:
            rows = [*(found or ())]
            try:
                conn = await loan.connection()
                if found is None:
                    await self._find(conn, request, rows)
                handed = await self._hand_out(conn, rows)
                if handed.counted:
                    await spending.lock_and_check(conn, handed.counted)
                if handed.unbound:
                    await self._endings.end_on(conn, handed.unbound)
            except BaseException:
                self._give_back(rows)
                raise
            if handed.packets or not handed.unbound:
                return handed.packets
            found = None

    async def _follow_up(self, handed: _Handed) -> None:
        """Do what a claim entails that was made in a transaction, once that is over.

        A claim holds tasks, and plans come before these.
        """
        if handed.counted:
            async with self._database.connection() as conn:
                await spending.lock_and_check(conn, handed.counted)
        if handed.unbound:
            await self._endings.end(handed.unbound)

    async def _hand_out(self, conn: Connection, rows: Sequence[RowLike]) -> _Handed:
        """Make packets of what was claimed; that whose input can't be filled in is to fail."""
        handed = _Handed()
        self.meter.note(len(rows))
        for row in rows:
            needed: list[dict[str, Any]] = row["dependencies"] or []
            try:
                resolved = await resolved_input(conn, row, needed)
            except Unbound as error:
                handed.unbound.append(binding_error(row, error))
            else:
                handed.packets.append(packet_of(row, needed, resolved))
                self._turns.note(row["id"], row["plan_id"])
            if row["counts_attempts"]:
                handed.counted.add(row["plan_id"])
        return handed

    async def _find(
        self, conn: Connection, request: ClaimRequest, rows: list[RowLike] | None = None
    ) -> list[RowLike]:
        """Claim what is there, and add it to ``rows`` as it comes."""
        rows = [] if rows is None else rows
        search = self._searches.of(_shape(request))
        look = search.begin(self._wakeups.hints)
        traceparent = tracing.traceparent()
        rows += await tasks.claim(conn, request, after=look.after, traceparent=traceparent)
        search.end(look, rows)
        if look.after is not None and len(rows) < request.limit and search.may_look_everywhere():
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
                    resolved = await resolved_input(conn, row, needed)
                except Unbound:  # an output was edited since
                    resolved = row["input_data"]
                packets.append(packet_of(row, needed, resolved))
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
        if report.claim_next is not None:
            await self._expiry.take_over()
        made = await self._for_caller(
            partial(self._report, report), tasks_of=lambda made: made.tasks
        )
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
        async with Loan(self._database) as loan:
            with self._endings.caller(report.endings):
                ended, found = await self._end(loan, report)
                conn = await loan.connection()
                error = report.refusal(ended)
                packets: list[WorkPacket] = []
                if claim_next is not None:
                    if error is None:
                        packets = await self._claim_on(loan, claim_next, found=found)
                    if not packets and found is None:
                        await tasks.flush(conn)
            if error is not None:
                raise error
            try:
                return await report.answer(conn, ended, packets)
            except BaseException:
                self._endings.release((each.id, each.fencing_token) for each in packets)
                raise

    async def _end(self, loan: Loan, report: Report[T]) -> tuple[Ended, Sequence[RowLike] | None]:
        """End runs; answers what was claimed too, None if that is still to be done."""
        if report.claim_next is None:
            return await self._endings.end_by(loan, report.endings), None
        return await self._endings.end_and_claim(
            loan,
            report.endings,
            report.claim_next,
            is_whole=report.is_whole,
            search=self._searches.of(_shape(report.claim_next)),
        )

    async def _report_with_key(self, report: Report[T], key: RequestKey) -> T:
        async with (
            self._turns.at(each.task_id for each in report.endings),
            self._database.transaction() as conn,
        ):
            ended = await spending.end_runs(conn, report.endings)
            error = report.refusal(ended)
            handed = _Handed()
            if error is None and report.claim_next is not None:
                handed = await self._hand_out(conn, await self._find(conn, report.claim_next))
            made = await report.answer(conn, ended, handed.packets) if error is None else None
            if made is not None:
                await keys.keep(conn, key, to_jsonable_python(made))
        self._endings.announce(ended)
        await self._follow_up(handed)
        if error is not None:
            raise error
        assert made is not None
        return made

    async def sweep(self) -> int:
        return await self._expiry.sweep()


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
