"""Taking tasks back whose lease has ended, and stopping plans whose deadline is over."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from planstore.errors import Unavailable
from planstore.services import spending
from planstore.services.once import said
from planstore.services.searching import Leases
from planstore.sql import plans, tasks
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.services.ending import Endings
    from planstore.services.metering import ClaimMeter
    from planstore.services.once import Writes
    from planstore.sql.connection import Row

_AT_ONCE: Final = 100
"""How many ended leases are taken back by one statement."""

_EVERY: Final = 1.0
"""Seconds between two looks at the leases by the claims of one process …"""
_PATIENCE: Final = 1.0
"""… and for how many a claim waits for what is taken back by that."""


class Expiry:
    """What one process does about leases and deadlines that are over."""

    def __init__(
        self, database: Database, writes: Writes, endings: Endings, *, meter: ClaimMeter
    ) -> None:
        self._database = database
        self._writes = writes
        self._endings = endings
        self._meter = meter
        self._leases = Leases()
        self._swept_at = 0.0
        self._sweep: asyncio.Task[int] | None = None

    async def take_over(self) -> None:
        """Take back what others' leases have left, so that a library needs no sweeper.

        Nobody waits for long where somebody else holds one of their plans.
        """
        now = asyncio.get_running_loop().time()
        if now - self._swept_at >= _EVERY and (self._sweep is None or self._sweep.done()):
            self._swept_at = now
            self._sweep = self._writes.begin(said(self.sweep))
            await asyncio.wait({self._sweep}, timeout=_PATIENCE)

    async def sweep(self) -> int:
        """Take back all tasks whose lease has ended, in bites; answers how many.

        Plans are paused whose deadline is over.
        """
        try:
            await spending.stop(self._database)
        except Unavailable:
            await self._take_all_back()
            raise
        return await self._take_all_back()

    async def _take_all_back(self) -> int:
        total = 0
        look = self._leases.begin()
        while True:
            async with self._database.connection() as conn:
                overdue, looked_at = await tasks.overdue(conn, limit=_AT_ONCE, after=look.after)
            total += await self._take_back(overdue)
            if len(overdue) < _AT_ONCE:
                self._leases.end(look, looked_at, taken_back=total)
                return total

    async def _take_back(self, overdue: Sequence[Row]) -> int:
        """Take tasks back, all at once but those of plans that somebody holds: each of these alone.

        So nobody waits for what is none of its business, and those who wait don't hold up others.
        """
        of_plans: dict[UUID, list[Ending]] = {}
        for row in overdue:
            ending = Ending(row["task_id"], End.EXPIRE, token=row["fencing_token"])
            of_plans.setdefault(row["plan_id"], []).append(ending)
        held: set[UUID] = set()
        if len(of_plans) > 1:
            async with self._database.connection() as conn:
                held = of_plans.keys() - await plans.free(conn, of_plans)
        free = [each for plan_id in of_plans.keys() - held for each in of_plans[plan_id]]
        total = 0
        failure: Unavailable | None = None
        for endings in filter(None, (free, *(of_plans[each] for each in held))):
            try:
                ended = await self._endings.end(endings)
            except Unavailable as error:
                failure = error
            else:
                total += sum(row["verdict"] == "changed" for row in ended.rows)
        self._meter.taken_back += total
        if failure is not None:
            raise failure
        return total
