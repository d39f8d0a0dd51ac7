"""Who completes a task and goes on with the next one keeps nobody from the plan for longer."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.errors import StaleClaim
from planstore.models import TaskStatus as S
from tests.holder import claim, complete
from tests.rivals import behind_plan
from tests.services.weaving import claimed, run_fails, woven

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.claim import EndedTask, WorkPacket
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")

_NEXT: Final = {"worker_id": "w1"}

_TRANSACTION: Final = """
select xmin::text
from planstore.events
where aggregate_id = $1
  and event_type = $2
order by seq desc
limit 1
"""


async def transactions(database: Database, done: EndedTask) -> tuple[str, str]:
    """In which one the task was completed, and in which one the next one was claimed."""
    (following,) = done.tasks
    async with database.connection() as conn:
        return (
            await conn.fetchval(_TRANSACTION, done.id, "task.completed"),
            await conn.fetchval(_TRANSACTION, following.id, "task.started"),
        )


async def running(store: PlanStore, names: Sequence[str] = "abcd") -> tuple[UUID, list[WorkPacket]]:
    """A plan, and two of its tasks that run."""
    plan, _ = await woven(store, {name: [] for name in names})
    return plan.id, await claim(store, limit=2)


async def test_who_is_alone_completes_and_claims_in_one_transaction(
    store: PlanStore, database: Database
) -> None:
    _, (packet, _) = await running(store)

    done = await complete(store, packet, claim_next=_NEXT, output_data={"n": 1})

    assert (done.status, done.output_data) == (S.COMPLETED, {"n": 1})
    completed, started = await transactions(database, done)
    assert completed == started


async def test_what_it_unblocks_is_handed_out_with_its_output(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(
        store, {"a": [], "b": ["a"]}, fields={"b": {"input_data": {"n": "{{a.n}}"}}}
    )
    packet = await claimed(store, plan)

    done = await complete(store, packet, claim_next=_NEXT, output_data={"n": 7})

    assert done.unblocked == [tasks["b"].id]
    (following,) = done.tasks
    assert (following.id, following.resolved_input) == (tasks["b"].id, {"n": 7})
    completed, started = await transactions(database, done)
    assert completed == started


async def test_who_waited_for_another_process_claims_after_the_commit(
    store: PlanStore, database_url: str, database: Database
) -> None:
    plan_id, (packet, _) = await running(store)
    async with behind_plan(database_url, plan_id) as queue:
        waiting = await queue.join(complete(store, packet, claim_next=_NEXT))
        await queue.release()

    completed, started = await transactions(database, await waiting)
    assert completed != started


async def test_two_of_one_process_claim_after_the_commit(
    store: PlanStore, database_url: str, database: Database
) -> None:
    plan_id, packets = await running(store)
    async with behind_plan(database_url, plan_id) as queue:
        first = await queue.join(complete(store, packets[0], claim_next=_NEXT))
        second = asyncio.create_task(complete(store, packets[1], claim_next=_NEXT))
        for _ in range(20):
            await asyncio.sleep(0)
        await queue.release()

    answers = [await first, await second]
    for done in answers:
        completed, started = await transactions(database, done)
        assert completed != started
    assert len({done.tasks[0].id for done in answers}) == 2


async def test_a_stale_claim_is_refused_and_nothing_is_handed_out(store: PlanStore) -> None:
    _, (packet, _) = await running(store, "abc")
    late = packet.model_copy(update={"fencing_token": packet.fencing_token + 1_000})

    with pytest.raises(StaleClaim):
        await complete(store, late, claim_next=_NEXT)

    assert (await store.get_task(packet.id)).status == S.RUNNING
    (left,) = await claim(store)
    assert left.attempt == 1


@pytest.mark.parametrize(
    ("plan", "failing"),
    [({"max_parallel_tasks": 2}, False), ({"on_failure": "abort"}, True)],
    ids=["of a plan with a limit", "of a plan that is given up"],
)
async def test_what_takes_more_than_counting_is_done_all_the_same(
    store: PlanStore, plan: dict[str, Any], *, failing: bool
) -> None:
    made, _ = await woven(store, {"a": [], "b": [], "c": []}, **plan)
    first, second = await claim(store, plan=made, limit=2)
    if failing:
        await run_fails(store, second, retryable=False)

    done = await complete(store, first, claim_next=_NEXT)

    assert done.status == S.COMPLETED
    assert len(done.tasks) == (0 if failing else 1)


async def test_a_task_whose_input_cannot_be_filled_in_fails_and_the_next_is_handed_out(
    store: PlanStore,
) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "b": ["a"], "c": []},
        fields={"b": {"input_data": {"n": "{{a.n}}"}, "priority": 5}},
    )
    packet = await claimed(store, plan)

    done = await complete(store, packet, claim_next=_NEXT, output_data={"m": 7})

    assert [each.id for each in done.tasks] == [tasks["c"].id]
    assert (await store.get_task(tasks["b"].id)).status == S.FAILED
