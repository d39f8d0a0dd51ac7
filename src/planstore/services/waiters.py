"""Somebody who waits for work, and may be given a task that is just being added.

Such a task is claimed for whoever waits by the transaction that adds it: one commit, and nobody
has to be woken first to look for it.
"""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Sequence

    from planstore.models.claim import ClaimRequest
    from planstore.services.searching import Search
    from planstore.sql.connection import RowLike
    from planstore.sql.tasks import NewTask


class Wish:
    """What somebody waits for who may be given a task."""

    def __init__(
        self,
        request: ClaimRequest,
        search: Search,
        *,
        traceparent: str | None,
        give_back: Callable[[Sequence[RowLike]], None],
    ) -> None:
        """``give_back`` is called with what was claimed for somebody who doesn't wait any more."""
        self.request = request
        self.traceparent = traceparent
        self.give_back = give_back
        self._search = search

    def fits(self, new: NewTask) -> bool:
        """Whether a task is what is waited for, and no search for it holds up who adds it."""
        request, task = self.request, new.task
        return (
            request.plan_id in {None, new.plan_id}
            and (request.agent_id is None or task.agent_id in {None, request.agent_id})
            and (request.task_types is None or task.task_type in request.task_types)
            and self._search.may_look_everywhere()
        )


class Waiter:
    """Somebody who waits: until woken to look for work, or until given some."""

    def __init__(self, wish: Wish | None) -> None:
        self.wish = wish
        self._is_reserved = False
        self._woken: asyncio.Future[Sequence[RowLike]] = asyncio.get_running_loop().create_future()

    @property
    def is_woken(self) -> bool:
        return self._woken.done()

    @property
    def has_missed_it(self) -> bool:
        """Whether it has left when it was to look for work."""
        return self._woken.done() and not self._woken.cancelled()

    def wake(self) -> None:
        """Have it look for work, unless it has been given some."""
        if not self._woken.done():
            self._woken.set_result(())

    @contextmanager
    def reserved(self) -> Generator[None]:
        """Have it wait, longer than it would if need be, until it is given something or nothing."""
        self._is_reserved = True
        try:
            yield
        finally:
            self.wake()

    def give(self, claimed: Sequence[RowLike]) -> None:
        """Give it what was claimed for it; where it doesn't wait any more, that is given back."""
        if not self._woken.done():
            self._woken.set_result(claimed)
        elif self.wish is not None and claimed:
            self.wish.give_back(claimed)

    async def wait(self, *, at_most: float) -> Sequence[RowLike]:
        """Wait for so many seconds at most; answers what it was given, if anything."""
        over = asyncio.get_running_loop().call_later(at_most, self._end)
        try:
            return await self._woken
        except asyncio.CancelledError:
            # What comes from now on is given back, and so is what came at this very moment.
            if not self._woken.cancelled():
                self.give(self._woken.result())
            raise
        finally:
            over.cancel()

    def _end(self) -> None:
        if not self._is_reserved:
            self.wake()
