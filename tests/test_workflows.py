"""Real workflows, and small ones made here, are carried out by many workers at once."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from planstore.models import PlanCreate, PlanStatus, Task
from planstore.models.claim import ClaimRequest, Completion
from tests import graphs
from tests.graphs import Graph, assert_carried_out
from tests.history import all_events, all_rows, assert_counts_hold, assert_history_holds

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

WORKERS: Final = 16

WORKFLOWS: Final = [*graphs.real(), graphs.chain(20), graphs.diamond(40)]


async def work(store: PlanStore, plan_id: UUID, worker: str) -> int:
    """Carry tasks of the plan out until all are through; answers how many."""
    claim = ClaimRequest(worker_id=worker, plan_id=plan_id, wait_seconds=0.5)
    count = 0
    while True:
        packets = await store.claim_tasks(claim)
        while packets:
            count += 1
            packets = await report(store, *packets, claim_next=claim)
        if (await store.get_plan(plan_id)).status != PlanStatus.ACTIVE:
            return count


async def report(
    store: PlanStore, packet: WorkPacket, *, claim_next: ClaimRequest
) -> list[WorkPacket]:
    """Complete a task with what it was given by those that it needs; answers the next ones."""
    assert all(each.is_satisfied and each.output_data for each in packet.dependencies)
    completion = Completion(
        fencing_token=packet.fencing_token,
        output_data={"name": packet.name, "of": [each.name for each in packet.dependencies]},
        claim_next=claim_next,
    )
    return (await store.complete_task(packet.id, completion)).tasks


@pytest.mark.parametrize("graph", WORKFLOWS, ids=str)
async def test_a_workflow_is_carried_out_by_many_workers_none_of_its_tasks_before_its_parents(
    store: PlanStore, database: Database, graph: Graph
) -> None:
    plan = await store.create_plan(PlanCreate.model_validate(graph.plan))

    counts = await asyncio.gather(
        *(work(store, plan.id, f"w{number}") for number in range(WORKERS))
    )

    assert sum(counts) == len(graph.needs)
    assert (await store.get_plan(plan.id)).status == PlanStatus.COMPLETED
    assert_carried_out(graph, plan.id, await all_events(database))
    for task in (await all_rows(database)).values():
        if isinstance(task, Task):
            assert task.attempt == 1
            assert task.name is not None
            assert task.output_data is not None
            assert task.output_data["name"] == task.name
            assert sorted(task.output_data["of"]) == sorted(graph.needs[task.name])
    await assert_counts_hold(database)
    await assert_history_holds(database)
