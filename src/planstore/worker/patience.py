"""Asking again while the store can't be reached."""

from __future__ import annotations

import asyncio
import random
from typing import TYPE_CHECKING, Final, TypeVar

from planstore.errors import IdempotencyInFlight, Unavailable
from planstore.worker.logs import logger

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

T = TypeVar("T")

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 2.0


class Patience:
    """The pauses of one who goes on asking; says once that it has to, and once that it is over."""

    def __init__(self, what: str) -> None:
        self._what = what

    async def until_answered(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask until the store answers; any other error than that it can't now is the answer."""
        pause = _FIRST_PAUSE
        while True:
            try:
                answer = await ask()
            except (Unavailable, IdempotencyInFlight) as error:
                if pause == _FIRST_PAUSE:
                    logger.warning("store_unavailable", what=self._what, why=error.detail)
            else:
                if pause > _FIRST_PAUSE:
                    logger.info("store_answers_again", what=self._what)
                return answer
            # Workers that lost the same server are not to come back all at once.
            await asyncio.sleep(pause * random.uniform(0.5, 1))  # noqa: S311 - no secret
            pause = min(2 * pause, _LONGEST_PAUSE)
