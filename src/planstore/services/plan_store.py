"""`PlanStore`: the one door to plans and tasks. Every face calls these methods."""

from __future__ import annotations

import logging
from contextlib import asynccontextmanager
from datetime import timedelta
from typing import TYPE_CHECKING, Final

from planstore import migrations
from planstore.db import Database
from planstore.models.fields import DEFAULT_LIMITS
from planstore.services import finding, tracing
from planstore.services.store.dependencies import Dependencies
from planstore.services.store.evaluations import Evaluations
from planstore.services.store.events import Events
from planstore.services.store.insight import Insight
from planstore.services.store.plans import Plans
from planstore.services.store.porting import Porting
from planstore.services.store.relays import Relays
from planstore.services.store.revisions import Revisions
from planstore.services.store.statistics import Figures
from planstore.services.store.tasks import Tasks
from planstore.services.store.templates import Templates
from planstore.services.store.webhooks import Webhooks
from planstore.sql import estimates

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from planstore.models.fields import Limits


FINISH_PATIENCE: Final = timedelta(seconds=1)
"""How long writes under way are waited for when the store is closed."""

logger = logging.getLogger("planstore")


class PlanStore(
    Plans,
    Tasks,
    Dependencies,
    Revisions,
    Insight,
    Events,
    Relays,
    Evaluations,
    Figures,
    Templates,
    Webhooks,
    Porting,
):
    """Execution plans and their tasks on one PostgreSQL.

    Open it with `PlanStore.open`. Its methods may be called concurrently.
    """

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        pool_size: int = 16,
        is_pooled: bool = False,
        migrate: bool = True,
        listen_url: str | None = None,
        max_limit: int = 1_000,
        limits: Limits = DEFAULT_LIMITS,
        private_webhooks: bool = False,
    ) -> AsyncGenerator[PlanStore]:
        """Open the store at a PostgreSQL URL; ``migrate`` brings its schema up to date.

        ``pool_size``: connections at most. ``is_pooled``: a pooler in transaction mode stands
        between. ``listen_url``: the server behind it, where notifications are to be heard; the same
        if left out. ``max_limit``: the most items that a list may be asked for. ``limits``:
        how large the parts of a task may be that is made of a step. ``private_webhooks``: events
        may be sent to addresses that aren't on the internet.

        Raises:
            SetupError: the database can't be reached, is too old, or has a newer schema.
        """
        async with Database.open(
            url, pool_size=pool_size, is_pooled=is_pooled, listen_url=listen_url
        ) as database:
            await (migrations.migrate if migrate else migrations.require)(database)
            store = cls(
                database, max_limit=max_limit, limits=limits, private_webhooks=private_webhooks
            )
            if tracing.is_configured():
                tracing.trace_calls(store)
            try:
                yield store
            finally:
                await store._finish()

    async def _finish(self) -> None:
        await self._feed.close()
        await self._sender.close()
        left = await self._writes.finish(within=FINISH_PATIENCE)
        if left:
            logger.warning("%d writes are still at work; the database ends them by itself", left)
        # The last writes may have something to tell others.
        await self._wakeups.close()

    @property
    def where(self) -> str:
        """Which database it is, without any secret."""
        return self._database.where

    async def index_words(self) -> int:
        """Have tasks that were added or edited found by the indexes of words, labels and metadata.

        They are found before, but where many have come together it takes longer. Answers how many
        such writes there were. A server does it all the time.
        """
        return await finding.take_words(self._database)

    async def refresh_estimates(self) -> int:
        """Have PostgreSQL look again at tables that grew since it last did; answers how many.

        It does so by itself, but a minute may go by in which it reads whole tables that it takes to
        be small. A server does it all the time.
        """
        async with self._database.connection() as conn:
            outgrown = await estimates.outgrown(conn)
            for table in outgrown:
                await estimates.refresh(conn, table)
        return len(outgrown)

    async def check(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            Unavailable: there is none.
        """
        async with self._database.connection() as conn:
            await conn.fetchval("select 1")

    async def forget_old_keys(self) -> int:
        """Remove the idempotency keys that are older than 24 hours; answers how many."""
        return await self._writes.forget_old_keys()
