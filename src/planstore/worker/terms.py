"""How a worker or an orchestrator works."""

from __future__ import annotations

import os
import secrets
import socket
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Self

from planstore.models.claim import ClaimRequest

if TYPE_CHECKING:
    from uuid import UUID

_LONGEST_WAIT: Final = 20.0
"""Seconds that one claim waits for work at most; the next one follows at once."""


@dataclass(frozen=True, slots=True)
class Terms:
    """How a worker or an orchestrator works."""

    request: ClaimRequest
    """What it asks for, with its name and lease; the limit follows from the room there is."""
    concurrency: int
    """How many handlers run at a time."""
    claim_ahead: int
    """How many tasks may be in hand beyond those."""
    grace_seconds: float
    """How long handlers may go on once it is told to end."""

    @classmethod
    def of(
        cls,
        *,
        name: str | None,
        concurrency: int,
        lease_seconds: float,
        grace_seconds: float,
        claim_ahead: int = 0,
        agent_id: UUID | None = None,
    ) -> Self:
        """Return terms; where no ``name`` is given it is one that nobody else has.

        Raises:
            ValueError: a number is out of its range.
        """
        if concurrency < 1 or claim_ahead < 0 or grace_seconds < 0:
            raise ValueError(
                "concurrency is at least 1, claim_ahead and grace_seconds are at least 0; given "
                f"are {concurrency}, {claim_ahead} and {grace_seconds}"
            )
        request = ClaimRequest(
            worker_id=name or f"{socket.gethostname()[:100]}-{os.getpid()}-{secrets.token_hex(3)}",
            lease_seconds=lease_seconds,
            # The lease began at some time of the wait; a short one leaves little doubt when.
            wait_seconds=min(_LONGEST_WAIT, lease_seconds / 2),
            agent_id=agent_id,
        )
        return cls(request, concurrency, claim_ahead, grace_seconds)

    def asking_for(self, **fields: Any) -> Self:
        """The same, but asking for tasks of a plan (``plan_id``) or of some ``task_types``."""
        return replace(self, request=self.request.model_copy(update=fields))
