"""The two ways to PlanStore that an idle worker and who gives it work may take."""

from __future__ import annotations

from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol
from uuid import UUID

from bench.caller import Caller
from bench.coordination.work import NO_OP, opened
from planstore.models.claim import ClaimRequest, Completion
from planstore.models.plan import PlanCreate, PlanStatus
from planstore.models.task import TaskCreate, TaskStatus

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator

    from planstore.services.plan_store import PlanStore

_WAIT: Final = ClaimRequest(worker_id="idle", wait_seconds=10)


class Door(Protocol):
    """What is asked for, whichever way."""

    async def create_plan(self) -> str:
        """Make a plan whose tasks may be carried out; answers its id."""
        ...

    async def create_task(self, plan_id: str) -> str:
        """Add a task; answers its id."""
        ...

    async def is_completed(self, task_id: str) -> bool:
        """Whether a task is completed."""
        ...

    async def claim(self) -> tuple[str, int] | None:
        """Wait for a task; answers its id and the claim's token."""
        ...

    async def complete(self, task_id: str, token: int) -> None:
        """End a task's run."""
        ...


@asynccontextmanager
async def in_python(where: str) -> AsyncGenerator[Door]:
    """Go through `PlanStore`, given the URL of its database."""
    async with opened(where) as store:
        yield _InPython(store)


@asynccontextmanager
async def over_http(where: str) -> AsyncGenerator[Door]:
    """Go through a server process, given its port."""
    async with Caller.to(int(where)) as caller:
        yield _OverHttp(caller)


@dataclass(frozen=True, slots=True)
class _InPython:
    _store: PlanStore

    async def create_plan(self) -> str:
        plan = PlanCreate(plan_type="parallel", status=PlanStatus.ACTIVE)
        return str((await self._store.create_plan(plan)).id)

    async def create_task(self, plan_id: str) -> str:
        task = TaskCreate(plan_id=UUID(plan_id), description=NO_OP.description)
        return str((await self._store.create_task(task)).id)

    async def is_completed(self, task_id: str) -> bool:
        return (await self._store.get_task(UUID(task_id))).status == TaskStatus.COMPLETED

    async def claim(self) -> tuple[str, int] | None:
        packets = await self._store.claim_tasks(_WAIT)
        return (str(packets[0].id), packets[0].fencing_token) if packets else None

    async def complete(self, task_id: str, token: int) -> None:
        await self._store.complete_task(UUID(task_id), Completion(fencing_token=token))


@dataclass(frozen=True, slots=True)
class _OverHttp:
    _caller: Caller

    async def create_plan(self) -> str:
        body = {"plan_type": "parallel", "status": "active"}
        return (await self._caller.call("POST", "/plans/", body))["id"]

    async def create_task(self, plan_id: str) -> str:
        body = {"plan_id": plan_id, "description": NO_OP.description}
        return (await self._caller.call("POST", "/tasks/", body))["id"]

    async def is_completed(self, task_id: str) -> bool:
        return (await self._caller.call("GET", f"/tasks/{task_id}"))["status"] == "completed"

    async def claim(self) -> tuple[str, int] | None:
        body = {"worker_id": _WAIT.worker_id, "wait_seconds": _WAIT.wait_seconds}
        packets = (await self._caller.call("POST", "/tasks/claim", body))["tasks"]
        return (packets[0]["id"], packets[0]["fencing_token"]) if packets else None

    async def complete(self, task_id: str, token: int) -> None:
        await self._caller.call("POST", f"/tasks/{task_id}/complete", {"fencing_token": token})
