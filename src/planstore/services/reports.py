"""What workers say of the runs that they had in hand."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from planstore.models.claim import EndedTask, ResultsAnswer

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from planstore.errors import PlanStoreError
    from planstore.models.claim import ClaimRequest, WorkPacket
    from planstore.models.idempotency import RequestKey
    from planstore.services.following import Ended
    from planstore.sql.connection import Connection
    from planstore.sql.tasks import Ending

T = TypeVar("T", EndedTask, ResultsAnswer)


@dataclass(frozen=True, slots=True)
class Report(Generic[T]):
    """That runs have ended, and what is to be said to that."""

    endings: Sequence[Ending]
    claim_next: ClaimRequest | None
    """What whoever reports wants to do next."""
    key: RequestKey | None
    refusal: Callable[[Ended], PlanStoreError | None]
    """Whether it is refused as a whole, given what became of it."""
    answer: Callable[[Connection, Ended, list[WorkPacket]], Awaitable[T]]
    """What is said to it otherwise, given what was handed out too."""
    replay: Callable[[Any], T]
    """What was said to it before, under the same key."""
    is_whole: bool = False
    """Whether the answer tells the task itself; it is read together with the rest if it can be."""
