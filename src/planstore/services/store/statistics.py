"""The methods of `PlanStore` that tell what became of tasks, and how busy the store is."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.services import statistics
from planstore.services.metering import Meters
from planstore.services.store.core import Core

if TYPE_CHECKING:
    from planstore.models.statistics import (
        Standing,
        Statistics,
        StatisticsQuery,
        Timeline,
        TimelineQuery,
    )


class Figures(Core):
    """The methods of `PlanStore` that tell what became of tasks, and how busy the store is."""

    async def get_statistics(self, query: StatisticsQuery) -> Statistics:
        """Return what became of tasks over a time, and by the values of a dimension.

        Told is what was counted, see `count_events`; a server counts all the time.

        Raises:
            InvalidInput: the time is empty, too long or lies ahead.
        """
        return await statistics.get(self._database, query)

    async def get_timeline(self, query: TimelineQuery) -> Timeline:
        """Return what became of tasks over a time, span by span.

        Raises:
            InvalidInput: the time is empty, too long or lies ahead.
        """
        return await statistics.timeline(self._database, query)

    async def get_standing(self) -> Standing:
        """Return how many tasks stand where, what is ready, and what became of tasks so far."""
        return await statistics.standing(self._database)

    async def count_events(self) -> int:
        """Count some of what has happened since it was counted last, for the statistics.

        Answers how far that went on in the log; 0 where all is counted that is settled. A server
        does it every second, or less often where it takes more than a tenth of the time.
        """
        return await self._counting.count()

    @property
    def meters(self) -> Meters:
        """What this store has done since it was opened, and how busy it is."""
        return Meters.of(
            self._claims.meter, waiting=self._wakeups.waiting, connections=self._database.use
        )
