"""What all methods of `PlanStore` work with."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.errors import Fault, InvalidInput
from planstore.models.fields import DEFAULT_LIMITS
from planstore.services.bulk import BulkChanges
from planstore.services.claims import Claims
from planstore.services.delivering import Delivering
from planstore.services.editing import TaskEdits
from planstore.services.merging import MergedCreates
from planstore.services.once import Writes
from planstore.services.replanning import Replanning
from planstore.services.sending import Sender
from planstore.services.statistics import Counting
from planstore.services.streaming import Feed
from planstore.services.tailing import Horizon
from planstore.services.templates import Templating
from planstore.services.wakeups import Wakeups

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.fields import Limits
    from planstore.services.relaying import Relay


_MAX_OFFSET: Final = 1_000_000_000


class Core:
    """What all methods of `PlanStore` work with."""

    def __init__(
        self,
        database: Database,
        *,
        max_limit: int = 1_000,
        limits: Limits = DEFAULT_LIMITS,
        private_webhooks: bool = False,
    ) -> None:
        self._database = database
        self._writes = Writes(database)
        self._wakeups = Wakeups(database)
        self._claims = Claims(database, self._writes, self._wakeups)
        self._creates = MergedCreates(database, self._writes, self._wakeups)
        self._edits = TaskEdits(database, self._wakeups)
        self._bulk = BulkChanges(database, self._writes, self._wakeups)
        self._replanning = Replanning(database, self._wakeups)
        self._templating = Templating(database, self._wakeups, limits)
        self._horizon = Horizon(database)
        self._feed = Feed(database, self._horizon)
        self._counting = Counting(database)
        self._sender = Sender(allow_private=private_webhooks)
        self._delivering = Delivering(database, self._horizon, self._sender)
        self._max_limit = max_limit
        self._limits = limits
        self.relay: Relay | None = None
        """What passes events on from this process, where `relay_to` was asked for it."""

    def _check_window(self, limit: int, offset: int) -> None:
        faults: list[Fault] = []
        if not 1 <= limit <= self._max_limit:
            faults.append(Fault("?limit", f"it is {limit}; allowed are 1 to {self._max_limit}"))
        if not 0 <= offset <= _MAX_OFFSET:
            faults.append(Fault("?offset", f"it is {offset}; allowed are 0 to {_MAX_OFFSET}"))
        if faults:
            raise InvalidInput("The list can't be cut that way.", faults=tuple(faults))
