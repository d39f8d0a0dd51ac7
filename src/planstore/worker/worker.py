"""`Worker`: a process that carries out tasks of any plan until it is told to stop."""

from __future__ import annotations

import asyncio
import gc
import signal
from dataclasses import asdict
from typing import TYPE_CHECKING

import uvloop

from planstore.worker.engine import Engine
from planstore.worker.handlers import Registering
from planstore.worker.logs import logger
from planstore.worker.store import opening
from planstore.worker.tally import Tally
from planstore.worker.terms import Terms

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.worker.store import Opening


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
        self._terms = Terms.of(
            name=name,
            concurrency=concurrency,
            claim_ahead=claim_ahead,
            lease_seconds=lease_seconds,
            grace_seconds=grace_seconds,
            agent_id=agent_id,
        )
        self._engine: Engine | None = None
        self._is_at_work = False
        self._is_to_stop = False
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
        if self._is_at_work:
            raise RuntimeError(f"the worker {self.name} works already")
        task_types = self._handlers.task_types
        if task_types == []:
            raise RuntimeError(f"the worker {self.name} has no handler: register some by `task`")
        open_store = opening(where)
        terms = self._terms.asking_for(task_types=task_types)
        self._is_at_work, self._is_to_stop = True, False
        try:
            async with open_store() as store:
                engine = Engine(store, open_store, self._handlers, terms, self.tally, values={})
                logger.info("worker_started", worker_id=self.name, task_types=task_types)
                await self._run_engine(engine)
        finally:
            self._is_at_work = False
            logger.info("worker_stopped", worker_id=self.name, **asdict(self.tally))

    async def _run_engine(self, engine: Engine) -> None:
        if self._is_to_stop:  # that was said while the store was being opened
            return
        self._engine = engine
        try:
            await engine.run()
        finally:
            self._engine = None

    def stop(self) -> None:
        """Stop within the time of grace; asked again, at once."""
        logger.info("worker_stopping", worker_id=self.name)
        self._is_to_stop = True
        if self._engine is not None:
            self._engine.end()
