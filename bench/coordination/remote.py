"""What a worker process does through a server, given its port: the same batches, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.caller import Caller
from bench.coordination.pace import Load, Pace, Tally
from bench.coordination.work import NO_OP, at_once

if TYPE_CHECKING:
    from collections.abc import Sequence


async def create_batches(port: str, load: Load) -> Pace:
    """Add tasks in batches, each lane to a plan of its own."""
    tally = Tally(load)
    drafts = [{"description": NO_OP.description}] * load.size

    async def lane(_name: str) -> None:
        async with Caller.to(int(port)) as caller:
            plan = {"plan_type": "parallel", "status": "active"}
            plan_id = (await caller.call("POST", "/plans/", plan))["id"]
            while not tally.is_over:
                await caller.call("POST", "/tasks/batch", {"plan_id": plan_id, "tasks": drafts})
                tally.add(load.size)

    await at_once(load, lane)
    return tally.pace()


async def complete_batches(port: str, load: Load) -> Pace:
    """Claim and complete tasks: one call completes a batch and claims the next one."""
    tally = Tally(load)

    async def lane(name: str) -> None:
        claim = {"worker_id": name, "limit": load.size}
        async with Caller.to(int(port)) as caller:
            packets = (await caller.call("POST", "/tasks/claim", claim))["tasks"]
            while packets and not tally.is_over:
                done = len(packets)
                packets = await _complete(caller, packets, claim)
                tally.add(done)

    await at_once(load, lane)
    return tally.pace()


async def _complete(
    caller: Caller, packets: Sequence[dict[str, Any]], claim: dict[str, Any]
) -> list[dict[str, Any]]:
    results = [{"task_id": each["id"], "fencing_token": each["fencing_token"]} for each in packets]
    body = {"results": results, "claim_next": claim}
    answer = await caller.call("POST", "/tasks/complete", body)
    assert all(each["ok"] for each in answer["results"])
    return answer["tasks"]
