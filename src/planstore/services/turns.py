"""Taking turns at a plan within one process.

What ends runs of one plan has to wait for the plan's row anyway. Whoever waits in PostgreSQL has
its sight of the plan's other tasks from before the wait, and where the plan's gate moves on has to
do it all over again; whoever waits here, doesn't. Between processes it is left to PostgreSQL.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Final
from weakref import WeakValueDictionary

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterable
    from uuid import UUID

_REMEMBERED: Final = 100_000
"""Of how many tasks that were handed out the plan is remembered."""


class Turns:
    """Whose turn it is at each plan."""

    def __init__(self) -> None:
        self._plans: OrderedDict[UUID, UUID] = OrderedDict()
        self._locks: WeakValueDictionary[UUID, asyncio.Lock] = WeakValueDictionary()

    def note(self, task_id: UUID, plan_id: UUID) -> None:
        """Remember the plan of a task, whose run is to end here probably."""
        self._plans[task_id] = plan_id
        if len(self._plans) > _REMEMBERED:
            self._plans.popitem(last=False)

    def plan_of(self, task_id: UUID) -> UUID | None:
        """Return the plan of a task, if it was handed out here not long ago."""
        return self._plans.get(task_id)

    def of(self, plan_id: UUID) -> asyncio.Lock:
        """Return what whoever has the turn at a plan holds."""
        # It is there for as long as somebody has it or waits for it.
        return self._locks.setdefault(plan_id, asyncio.Lock())

    @asynccontextmanager
    async def at(self, task_ids: Iterable[UUID]) -> AsyncGenerator[None]:
        """Wait for the turn at the plans of these tasks, as far as they are known."""
        known = {self._plans[each] for each in task_ids if each in self._plans}
        async with AsyncExitStack() as stack:
            # All take them in one order, so that nobody waits in a circle.
            for plan_id in sorted(known):
                await stack.enter_async_context(self.of(plan_id))
            yield
