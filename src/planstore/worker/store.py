"""What a worker needs of a store, and how it opens one: over HTTP or on the database itself."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Protocol, TypeAlias, runtime_checkable

from planstore.client import AsyncPlanStoreClient, calls
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.claim import (
        ClaimRequest,
        EndedTask,
        Failure,
        Heartbeat,
        HeartbeatAnswer,
        Release,
        Results,
        ResultsAnswer,
        WorkPacket,
    )
    from planstore.models.idempotency import Idempotency
    from planstore.models.page import Page
    from planstore.models.plan import Plan
    from planstore.models.query import TaskFilter
    from planstore.models.task import Task


class Store(Protocol):
    """The methods of `PlanStore` that carrying out tasks takes; the HTTP client has them too."""

    async def claim_tasks(self, request: ClaimRequest, /) -> list[WorkPacket]:
        """Hand out ready tasks."""
        ...

    async def heartbeat(self, heartbeat: Heartbeat, /) -> HeartbeatAnswer:
        """Renew claims."""
        ...

    async def complete_tasks(self, results: Results, /) -> ResultsAnswer:
        """End many runs with success."""
        ...

    async def fail_task(
        self, task_id: UUID, failure: Failure, /, *, idempotency: Idempotency | None = None
    ) -> EndedTask:
        """End a run without success."""
        ...

    async def release_task(
        self, task_id: UUID, release: Release, /, *, idempotency: Idempotency | None = None
    ) -> EndedTask:
        """Give a run up."""
        ...

    async def get_plan(self, plan_id: UUID, /) -> Plan:
        """Return a plan."""
        ...

    async def start_plan(self, plan_id: UUID, /) -> Plan:
        """Let a plan's tasks be carried out."""
        ...

    async def list_tasks(
        self, tasks: TaskFilter, /, *, limit: int, cursor: str | None = None
    ) -> Page[Task]:
        """Return tasks, page by page."""
        ...


@runtime_checkable
class Answering(Protocol):
    """A store that can be told to let nobody wait for work any more."""

    def stop_waiting(self) -> None:
        """Answer all claims that wait."""
        ...


Opening: TypeAlias = Callable[[], AbstractAsyncContextManager[Store]]
"""Opens a store. It is called twice: heartbeats have a store of their own, on their own thread."""


class _Client(AsyncPlanStoreClient):
    """A client that has the server keep no answers about thousands of tasks.

    Results may be sent twice without harm. A claim whose answer is lost ends with its lease.
    """

    async def claim_tasks(
        self, request: ClaimRequest, *, idempotency: Idempotency | None = None
    ) -> list[WorkPacket]:
        call = replace(calls.claim_tasks(request), is_keyed=False)
        return await self._do(call, idempotency=idempotency)

    async def complete_tasks(
        self, results: Results, *, idempotency: Idempotency | None = None
    ) -> ResultsAnswer:
        call = replace(calls.complete_tasks(results), is_keyed=False)
        return await self._do(call, idempotency=idempotency)


def on_database(url: str, *, is_pooled: bool = False, migrate: bool = True) -> Opening:
    """Return how to open the store on a PostgreSQL itself, without a server between.

    The arguments are those of `PlanStore.open`.
    """
    return lambda: PlanStore.open(url, is_pooled=is_pooled, migrate=migrate)


def over_http(url: str, *, api_key: str | None = None) -> Opening:
    """Return how to open the store of a server; ``api_key`` is the one that it asks for."""
    # Whoever waits asks again by itself, for as long as it is worth it and no longer.
    return lambda: _Client.open(url, api_key=api_key, retry_for=0)


def opening(where: str | Opening) -> Opening:
    """Return how to open the store at the URL of a server or a database, or as it is said."""
    if not isinstance(where, str):
        return where
    return over_http(where) if where.startswith("http") else on_database(where)
