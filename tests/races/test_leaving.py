"""What was claimed for somebody who doesn't get it is given back, and nobody else has to wait."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import pytest

from planstore import db
from planstore.db import Loan
from planstore.errors import Unavailable
from planstore.models import TaskCreate
from planstore.models import TaskStatus as S
from planstore.models.idempotency import Idempotency
from planstore.models.plan import PauseReason
from planstore.services import expiry
from planstore.services.completing import Completions
from planstore.services.plan_store import PlanStore
from planstore.services.turns import Turns
from planstore.sql.tasks import End, Ending
from tests.arranging import plan_of, task_of
from tests.holder import claim, complete
from tests.rivals import behind_key, behind_plan
from tests.services.test_waiting import DEADLINE, until, waiting
from tests.services.weaving import claimed, woven
from tests.time_travel import end_leases

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from planstore.db import Database
    from planstore.models import Plan

pytestmark = pytest.mark.usefixtures("stays_healthy")

COUNTED: Final = {"max_attempts": 5}
"""With such a budget, a claim looks at the plan when it has the task."""


@pytest.fixture
async def impatient(database_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[PlanStore]:
    """A process that waits for locks only briefly."""
    monkeypatch.setattr(db, "_WAITING", {"lock_timeout": "100ms"})
    async with PlanStore.open(database_url, migrate=False) as store:
        yield store


async def is_released(store: PlanStore, task_id: UUID) -> bool:
    # Added, claimed, released.
    return (await store.get_task(task_id)).version == 3


async def cancelled(task: asyncio.Task[object]) -> None:
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


async def test_who_leaves_while_a_task_is_claimed_takes_none_along(
    store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store, budget=COUNTED)
    task = await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        await cancelled(await queue.join(claim(store)))
        await queue.release()

    await until(lambda: is_released(store, task.id))
    (packet,) = await claim(store)
    assert [each.outcome for each in packet.previous_attempts] == ["released"]


async def test_who_leaves_while_a_report_goes_on_takes_no_further_task_along(
    store: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": []})
    counted = await plan_of(store, budget=COUNTED)
    further = await task_of(store, counted)
    packet = await claimed(store, plan)

    async with behind_plan(database_url, counted.id) as queue:
        await cancelled(await queue.join(complete(store, packet, claim_next={"worker_id": "w1"})))
        await queue.release()

    await until(lambda: is_released(store, further.id))
    assert (await store.get_task(tasks["a"].id)).status == S.COMPLETED


async def test_a_claim_that_cannot_be_counted_is_given_back(
    impatient: PlanStore, store: PlanStore, database_url: str
) -> None:
    plan = await plan_of(store, budget=COUNTED)
    task = await task_of(store, plan)

    async with behind_plan(database_url, plan.id) as queue:
        with pytest.raises(Unavailable):
            await claim(impatient)
        # What gives it back has to wait as well.
        await queue.somebody_waits()
        await queue.release()

    await until(lambda: is_released(store, task.id))


async def test_what_nobody_gets_counts_for_the_budget(
    store: PlanStore, database_url: str, database: Database
) -> None:
    plan = await plan_of(store, budget={"max_attempts": 1})
    draft = TaskCreate(plan_id=plan.id, description="do it")
    idempotency = Idempotency("k")
    waiter = await waiting(store, database)
    async with behind_key(database_url, idempotency.of("create_task", draft)) as queue:
        adding = await queue.join(store.create_task(draft, idempotency=idempotency))
        await cancelled(waiter)
        await queue.release()
    task = await adding

    await until(lambda: is_released(store, task.id))

    assert (await store.get_plan(plan.id)).pause_reason == PauseReason.MAX_ATTEMPTS
    assert await claim(store) == []


async def running(store: PlanStore) -> tuple[Plan, UUID]:
    """A plan with a task that runs."""
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await claimed(store, plan)
    return plan, task.id


async def test_a_held_plan_keeps_no_other_from_being_taken_back(
    store: PlanStore, database_url: str, database: Database
) -> None:
    held, of_held = await running(store)
    _, of_other = await running(store)
    await end_leases(database)

    async with behind_plan(database_url, held.id) as queue:
        sweep = await queue.join(store.sweep())
        assert (await store.get_task(of_other)).status == S.PENDING
        await queue.release()

    assert await sweep == 2
    assert (await store.get_task(of_held)).status == S.PENDING


async def test_a_held_plan_keeps_nobody_from_claiming(
    store: PlanStore,
    database_url: str,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(expiry, "_PATIENCE", 0.01)
    held, of_held = await running(store)
    ready = await task_of(store, await plan_of(store))
    await end_leases(database)

    async with behind_plan(database_url, held.id) as queue:
        monkeypatch.setattr(expiry, "_EVERY", 0.0)
        packets = await claim(store)
        await queue.somebody_waits()
        await queue.release()

    assert [each.id for each in packets] == [ready.id]
    await until(lambda: is_taken_back(store, of_held))


async def is_taken_back(store: PlanStore, task_id: UUID) -> bool:
    return (await store.get_task(task_id)).status == S.PENDING


async def test_of_several_that_are_added_only_the_one_that_waits_in_vain_fails(
    impatient: PlanStore, store: PlanStore, database_url: str
) -> None:
    plan, other = await plan_of(store), await plan_of(store, plan_type="dag")
    drafts = [
        TaskCreate(plan_id=each.id, description="do it") for each in (other, plan, other, other)
    ]
    keys = [Idempotency(f"k{number}") for number in range(4)]
    async with behind_key(database_url, keys[1].of("create_task", drafts[1])):
        answers = await asyncio.gather(
            *(
                impatient.create_task(draft, idempotency=key)
                for draft, key in zip(drafts, keys, strict=True)
            ),
            return_exceptions=True,
        )

    assert [isinstance(each, Unavailable) for each in answers] == [False, True, False, False]
    assert len(await claim(store, plan=other)) == 3


async def test_a_leader_that_is_cancelled_before_its_turn_leaves_nobody_behind(
    store: PlanStore, database: Database
) -> None:
    plan, _ = await woven(store, {"a": [], "b": [], "c": []})
    endings = [
        Ending(each.id, End.COMPLETE, token=each.fencing_token)
        for each in await claim(store, plan=plan)
    ]
    turns = Turns()
    for each in endings:
        turns.note(each.task_id, plan.id)
    completions = Completions(database, turns)

    async def completed(ending: Ending) -> str:
        async with Loan(database) as loan:
            ended = await completions.complete(loan, [ending], is_written_later=False)
        return str(ended.rows[0]["verdict"])

    async with turns.of(plan.id):
        leader, *joined = [asyncio.create_task(completed(each)) for each in endings]
        await asyncio.sleep(0)
        await cancelled(leader)

    async with asyncio.timeout(DEADLINE):
        assert await asyncio.gather(*joined) == ["changed", "changed"]
