"""What the holder of a claim says of it, with its fencing token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planstore.models.claim import (
    ClaimRequest,
    Completion,
    Failure,
    Heartbeat,
    HeartbeatClaim,
    Release,
    Result,
    Results,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.models import Plan
    from planstore.models.claim import EndedTask, RenewedClaim, ResultsAnswer, WorkPacket
    from planstore.models.idempotency import Idempotency
    from planstore.services.plan_store import PlanStore


async def claim(
    store: PlanStore,
    worker: str = "w1",
    *,
    plan: Plan | None = None,
    idempotency: Idempotency | None = None,
    **fields: Any,
) -> list[WorkPacket]:
    """Ask for ready tasks, for a hundred unless told otherwise."""
    given = {"worker_id": worker, "limit": 100, "plan_id": plan and plan.id, **fields}
    return await store.claim_tasks(ClaimRequest.model_validate(given), idempotency=idempotency)


async def complete(
    store: PlanStore,
    packet: WorkPacket,
    *,
    idempotency: Idempotency | None = None,
    **fields: Any,
) -> EndedTask:
    """End the run with success."""
    given = Completion.model_validate({"fencing_token": packet.fencing_token, **fields})
    return await store.complete_task(packet.id, given, idempotency=idempotency)


async def complete_all(
    store: PlanStore, packets: Sequence[WorkPacket], **fields: Any
) -> ResultsAnswer:
    """End all the runs with success, at once."""
    results = [Result(task_id=each.id, fencing_token=each.fencing_token) for each in packets]
    return await store.complete_tasks(Results.model_validate({"results": results, **fields}))


async def fail(
    store: PlanStore,
    packet: WorkPacket,
    *,
    idempotency: Idempotency | None = None,
    **fields: Any,
) -> EndedTask:
    """End the run without success."""
    given = {"fencing_token": packet.fencing_token, "error": "boom", **fields}
    return await store.fail_task(packet.id, Failure.model_validate(given), idempotency=idempotency)


async def release(store: PlanStore, packet: WorkPacket) -> EndedTask:
    """Give the run up."""
    return await store.release_task(packet.id, Release(fencing_token=packet.fencing_token))


async def renew(store: PlanStore, packet: WorkPacket, **fields: Any) -> RenewedClaim:
    """Keep the claim, as the worker who holds it."""
    given = {"task_id": packet.id, "fencing_token": packet.fencing_token, **fields}
    beat = HeartbeatClaim.model_validate(given)
    answer = await store.heartbeat(Heartbeat(worker_id=str(packet.worker_id), claims=[beat]))
    (renewed,) = answer.claims
    return renewed
