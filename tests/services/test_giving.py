"""A task that is added by itself is given at once to somebody who waits for such in the process."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.errors import AlreadyExists
from planstore.models import PlanStatus as P
from planstore.models import TaskCreate
from planstore.models import TaskStatus as S
from planstore.models.idempotency import Idempotency
from tests.arranging import plan_of, task_of
from tests.holder import claim
from tests.rivals import behind_key
from tests.services.test_waiting import answer_of, until, waiting

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Task
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("nobody_looks_by_itself", "stays_healthy")

_TRANSACTIONS: Final = """
select count(distinct xmin::text)
from planstore.events
where aggregate_id = $1
"""


async def transactions(database: Database, task: Task) -> int:
    """In how many it was added and handed out."""
    async with database.connection() as conn:
        return await conn.fetchval(_TRANSACTIONS, task.id)


@pytest.mark.parametrize("is_keyed", [False, True], ids=["", "under a key"])
async def test_who_waits_gets_it_by_the_transaction_that_adds_it(
    store: PlanStore, database: Database, *, is_keyed: bool
) -> None:
    plan = await plan_of(store)
    waiter = await waiting(store, database, limit=3)

    draft = TaskCreate(plan_id=plan.id, description="do it", name="a")
    task = await store.create_task(draft, idempotency=Idempotency("k") if is_keyed else None)

    assert task.status == S.PENDING
    assert await answer_of(waiter) == ["a"]
    assert await transactions(database, task) == 1
    running = await store.get_task(task.id)
    assert (running.status, running.attempt, running.worker_id) == (S.RUNNING, 1, "w1")


@pytest.mark.parametrize("name", ["plan_id", "agent_id", "task_types"])
async def test_who_waits_for_other_work_is_passed_over(
    store: PlanStore, database: Database, name: str
) -> None:
    plan, agent = await plan_of(store), uuid4()
    other, fitting = {
        "plan_id": ((await plan_of(store)).id, plan.id),
        "agent_id": (uuid4(), agent),
        "task_types": (["write"], ["read", "write"]),
    }[name]
    passed_over = await waiting(store, database, "w1", **{name: other})
    given = await waiting(store, database, "w2", **{name: fitting})

    task = await task_of(store, plan, name="a", agent_id=agent, task_type="read")

    assert await answer_of(given) == ["a"]
    assert await transactions(database, task) == 1
    assert not passed_over.done()
    store.stop_waiting()
    assert await answer_of(passed_over) == []


@pytest.mark.parametrize(
    ("plan", "task"),
    [
        ({"status": P.DRAFT}, {}),
        ({"max_parallel_tasks": 1}, {"not_before": "2200-01-01T00:00:00Z"}),
        ({}, {"requires_approval": True}),
    ],
    ids=["of a draft", "for later", "to be approved"],
)
async def test_what_is_not_ready_is_given_to_nobody(
    store: PlanStore, database: Database, plan: dict[str, Any], task: dict[str, Any]
) -> None:
    waiter = await waiting(store, database)

    added = await task_of(store, await plan_of(store, **plan), **task)

    assert (await store.get_task(added.id)).attempt == 0
    await task_of(store, await plan_of(store), name="ready")
    assert await answer_of(waiter) == ["ready"]


async def test_where_it_cannot_be_added_whoever_waits_goes_on_waiting(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    waiter = await waiting(store, database)
    taken = await task_of(store, await plan_of(store, status=P.DRAFT))

    with pytest.raises(AlreadyExists):
        await task_of(store, plan, id=str(taken.id))

    assert not waiter.done()
    await task_of(store, plan, name="a")
    assert await answer_of(waiter) == ["a"]


async def test_what_was_claimed_for_somebody_who_is_gone_is_given_back(
    store: PlanStore, database_url: str, database: Database
) -> None:
    draft = TaskCreate(plan_id=(await plan_of(store)).id, description="do it")
    idempotency = Idempotency("k")
    waiter = await waiting(store, database)
    # The key keeps the transaction from its end, and from the claim.
    async with behind_key(database_url, idempotency.of("create_task", draft)) as queue:
        adding = await queue.join(store.create_task(draft, idempotency=idempotency))
        waiter.cancel()
        await asyncio.gather(waiter, return_exceptions=True)
        await queue.release()
    task = await adding

    async def is_back() -> bool:
        return (await store.get_task(task.id)).version == 3

    await until(is_back)
    (packet,) = await claim(store)
    assert [each.outcome for each in packet.previous_attempts] == ["released"]


async def test_who_waits_under_a_key_looks_for_it_and_keeps_the_answer(
    store: PlanStore, database: Database
) -> None:
    plan, idempotency = await plan_of(store), Idempotency("k")
    waiter = await waiting(store, database, idempotency=idempotency)

    task = await task_of(store, plan, name="a")

    assert await answer_of(waiter) == ["a"]
    assert await transactions(database, task) == 2
    again = await claim(store, wait_seconds=60, idempotency=idempotency)
    assert [each.id for each in again] == [task.id]
