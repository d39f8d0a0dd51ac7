"""`Worker`: a process that carries out tasks of any plan until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import os
import secrets
import signal
import socket
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import uvloop

from planstore.models.claim import ClaimRequest
from planstore.worker.engine import Engine, Terms
from planstore.worker.handlers import Registering
from planstore.worker.logs import logger
from planstore.worker.store import opening
from planstore.worker.tally import Tally

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.worker.store import Opening

LONGEST_WAIT: Final = 20.0
"""Seconds that one claim waits for work at most; the next one follows at once."""


def terms_of(
    *,
    name: str | None,
    concurrency: int,
    claim_ahead: int,
    lease_seconds: float,
    grace_seconds: float,
    agent_id: UUID | None = None,
) -> Terms:
    """Return how an engine is to work.

    Raises:
        ValueError: a number is out of its range.
    """
    if concurrency < 1 or claim_ahead < 0 or grace_seconds < 0:
        raise ValueError(
            "concurrency is at least 1, claim_ahead and grace_seconds are at least 0; given are "
            f"{concurrency}, {claim_ahead} and {grace_seconds}"
        )
    request = ClaimRequest(
        worker_id=name or f"{socket.gethostname()[:100]}-{os.getpid()}-{secrets.token_hex(3)}",
        lease_seconds=lease_seconds,
        # When the lease began is known the better the shorter the wait was.
        wait_seconds=min(LONGEST_WAIT, lease_seconds / 2),
        agent_id=agent_id,
    )
    return Terms(request, concurrency, claim_ahead, grace_seconds)


class Worker(Registering):
    """Claims tasks, has them carried out by its handlers, and reports what came of them."""

    def __init__(
        self,
        *,
        name: str | None = None,
        concurrency: int = 8,
        claim_ahead: int = 0,
        lease_seconds: float = 60.0,
        grace_seconds: float = 25.0,
        agent_id: UUID | None = None,
    ) -> None:
        """Make a worker, whose handlers are then registered by `task`.

        ``name``: its ``worker_id``; made of host and process if left out, so that workers are told
        apart. ``concurrency``: how many handlers run at a time. ``claim_ahead``: how many tasks may
        be in hand beyond those, so that none has to be waited for; they are kept from other
        workers, so it is for tasks that take no time. ``lease_seconds``: after how long the tasks
        of a worker that has vanished are others', 1 to 3,600. ``grace_seconds``: how long handlers
        may go on once it is told to stop. ``agent_id``: only tasks of this agent or of nobody.

        Raises:
            ValueError: a number is out of its range.
        """
        super().__init__()
        self._terms = terms_of(
            name=name,
            concurrency=concurrency,
            claim_ahead=claim_ahead,
            lease_seconds=lease_seconds,
            grace_seconds=grace_seconds,
            agent_id=agent_id,
        )
        self._engine: Engine | None = None
        self.tally = Tally()
        """What has come of its runs."""

    @property
    def name(self) -> str:
        """Its ``worker_id``."""
        return self._terms.request.worker_id

    def run(self, where: str | Opening) -> None:
        """Work until SIGTERM or SIGINT.

        ``where``: the URL of a server (``http://…``) or of a database (``postgresql://…``), or what
        opens a store. On the signal nothing more is claimed, what has not begun is given back, and
        handlers may end within the time of grace; on a second one they are asked to stop at once.

        Raises:
            PlanStoreError: the store can't be opened, or refuses to talk to this worker at all.
        """
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._run(where))

    async def _run(self, where: str | Opening) -> None:
        # What was imported stays for good: garbage collection need not walk it again and again.
        gc.collect()
        gc.freeze()
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self.stop)
        await self.work(where)

    async def work(self, where: str | Opening) -> None:
        """Work until `stop`, on the loop that is running; cancelling it stops it in a hurry.

        Raises:
            PlanStoreError: the store can't be opened, or refuses to talk to this worker at all.
            RuntimeError: it works already, or no handler is registered.
        """
        if self._engine is not None:
            raise RuntimeError(f"the worker {self.name} works already")
        task_types = self._handlers.task_types
        if task_types == []:
            raise RuntimeError(f"the worker {self.name} has no handler: register some by `task`")
        open_store = opening(where)
        terms = self._terms.asking_for(task_types=task_types)
        async with open_store() as store:
            self._engine = Engine(store, open_store, self._handlers, terms, self.tally, values={})
            logger.info("worker_started", worker_id=self.name, task_types=task_types)
            try:
                await self._engine.run()
            finally:
                self._engine = None
                logger.info("worker_stopped", worker_id=self.name, **asdict(self.tally))

    def stop(self) -> None:
        """Stop within the time of grace; asked again, at once."""
        if self._engine is not None:
            logger.info("worker_stopping", worker_id=self.name)
            self._engine.end()
