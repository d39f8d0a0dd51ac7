"""The method of `PlanStore` that has events passed on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.services.store.core import Core

if TYPE_CHECKING:
    from planstore.services.relaying import Relay


class Relays(Core):
    """The method of `PlanStore` that has events passed on."""

    def relay_to(self, redis_url: str, *, stream_length: int = 100_000) -> Relay:
        """Return a relay to a Redis: have it `begin`, and `run` beside all else.

        Any number of processes may have one; a single one of them is at work at a time.
        ``stream_length``: about how many events the stream keeps. `relay` is the same then.

        Raises:
            SetupError: the URL can't be read.
        """
        # What speaks to Redis takes a tenth of a second to load, and most processes never do.
        from planstore.services.publishing import Publisher  # noqa: PLC0415 - see above
        from planstore.services.relaying import Relay  # noqa: PLC0415 - see above

        self.relay = Relay(self._database, Publisher(redis_url, stream_length=stream_length))
        return self.relay
