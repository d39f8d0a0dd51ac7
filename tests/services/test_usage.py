"""What runs take is added up, exactly and once: for tasks, plans, agents and types."""

from __future__ import annotations

from decimal import Decimal
from typing import TYPE_CHECKING, Any
from uuid import UUID, uuid4

import pytest
from pydantic import ValidationError

from planstore.errors import StaleClaim
from planstore.models import TaskStatus as S
from planstore.models.claim import Heartbeat, HeartbeatClaim, Result, Results
from planstore.models.idempotency import Idempotency
from planstore.models.query import UsageFilter
from planstore.models.usage import Usage, UsageReport
from tests.arranging import moved, plan_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, fail, renew

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")

DIME = {"cost_usd": 0.1}


async def claimed(store: PlanStore, **fields: Any) -> WorkPacket:
    plan = await plan_of(store, plan_type="dag", **fields)
    await task_of(store, plan)
    (packet,) = await claim(store, plan=plan)
    return packet


async def usage_of(store: PlanStore, packet: WorkPacket) -> Usage | None:
    task, plan = await store.get_task(packet.id), await store.get_plan(packet.plan_id)
    assert task.usage == plan.usage
    return task.usage


async def test_what_a_run_takes_is_added_to_its_task_and_plan(store: PlanStore) -> None:
    packet = await claimed(store)

    await renew(store, packet, usage={"input_tokens": 100, "output_tokens": 7, "searches": 2})
    await fail(store, packet, retry_in_seconds=0, usage={"input_tokens": 1, "cost_usd": 0.25})
    (packet,) = await claim(store)
    done = await complete(store, packet, usage={"cost_usd": 0.5, "searches": 1, "pages": 1.5})

    assert done.usage == Usage.model_validate(
        {"input_tokens": 101, "output_tokens": 7, "cost_usd": 0.75, "searches": 3, "pages": 1.5}
    )
    assert await usage_of(store, packet) == done.usage


async def test_nothing_is_said_where_nothing_was_reported(
    store: PlanStore, database: Database
) -> None:
    packet = await claimed(store)
    before = len(await all_events(database))

    await renew(store, packet, usage={})
    await complete(store, packet)

    assert await usage_of(store, packet) is None
    written = [each.event_type for each in (await all_events(database))[before:]]
    assert written == ["task.completed", "plan.completed"]


async def test_money_is_added_up_as_decimals(store: PlanStore, database: Database) -> None:
    packet = await claimed(store)

    for _ in range(10):
        await renew(store, packet, usage=DIME)
    await renew(store, packet, usage={"cost_usd": 1e-12})

    async with database.connection() as conn:
        texts = await conn.fetch(
            "select usage ->> 'cost_usd' as cost from planstore.task_states"
            " union select usage ->> 'cost_usd' from planstore.plans"
            " union select usage ->> 'cost_usd' from planstore.usage"
        )
    assert {Decimal(row["cost"]) for row in texts} == {Decimal("1.000000000001")}


async def test_each_report_is_a_change_of_the_task_and_of_the_plan(
    store: PlanStore, database: Database
) -> None:
    packet = await claimed(store)
    before = len(await all_events(database))

    await renew(store, packet, usage=DIME)

    of_task, of_plan = (await all_events(database))[before:]
    assert (of_task.event_type, of_plan.event_type) == (
        "task.usage_recorded",
        "plan.usage_recorded",
    )
    assert of_task.payload == of_plan.payload == {"usage": DIME}
    assert of_task.metadata["reported"] == DIME
    assert (of_task.metadata["worker_id"], of_task.metadata["attempt"]) == ("w1", 1)


@pytest.mark.parametrize("is_keyed", [True, False])
async def test_a_report_that_comes_again_is_not_counted_again(
    store: PlanStore, *, is_keyed: bool
) -> None:
    packet = await claimed(store, auto_complete=False)
    key = Idempotency("once") if is_keyed else None

    first = await complete(store, packet, usage=DIME, idempotency=key)
    again = await complete(store, packet, usage=DIME, idempotency=key)

    assert again.usage == first.usage == Usage(cost_usd=0.1)


async def test_a_failure_that_is_reported_again_is_not_counted_again(store: PlanStore) -> None:
    packet = await claimed(store)

    for _ in range(2):
        await fail(store, packet, usage=DIME)

    assert await usage_of(store, packet) == Usage(cost_usd=0.1)


async def test_a_heartbeat_that_is_sent_again_under_its_key_is_not_counted_again(
    store: PlanStore,
) -> None:
    packet = await claimed(store)
    beat = HeartbeatClaim(
        task_id=packet.id, fencing_token=packet.fencing_token, usage=UsageReport(cost_usd=0.1)
    )
    heartbeat = Heartbeat(worker_id="w1", claims=[beat])

    first = await store.heartbeat(heartbeat, idempotency=Idempotency("beat"))
    again = await store.heartbeat(heartbeat, idempotency=Idempotency("beat"))

    assert again == first
    assert await usage_of(store, packet) == Usage(cost_usd=0.1)


async def test_what_a_late_worker_reports_is_kept_but_not_counted(
    store: PlanStore, database: Database
) -> None:
    packet = await claimed(store)
    await moved(store, packet, S.PENDING)
    before = len(await all_events(database))

    with pytest.raises(StaleClaim):
        await complete(store, packet, usage=DIME)
    lost = await renew(store, packet, usage=DIME)

    assert lost.state == "lost"
    assert await usage_of(store, packet) is None
    for event in (await all_events(database))[before:]:
        assert event.event_type == "task.result_refused"
        assert event.metadata["reason"] == "stale_claim"
        assert event.metadata["refused"]["usage"] == DIME
    assert len(await all_events(database)) == before + 2


async def test_many_results_are_counted_together(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store, plan_type="dag")
    for _ in range(3):
        await task_of(store, plan)
    packets = await claim(store, plan=plan)
    results = [
        Result(
            task_id=each.id,
            fencing_token=each.fencing_token + (number == 2),
            usage=UsageReport(input_tokens=10**number),
        )
        for number, each in enumerate(packets)
    ]

    answer = await store.complete_tasks(Results(results=results))

    assert [each.ok for each in answer.results] == [True, True, False]
    assert (await store.get_plan(plan.id)).usage == Usage(input_tokens=11)
    written = [each.event_type for each in await all_events(database)]
    assert written.count("plan.usage_recorded") == 1


async def test_it_is_added_up_by_plan_agent_and_type(store: PlanStore) -> None:
    ada, bo = UUID(int=1), UUID(int=2)
    plans = [await plan_of(store, plan_type="dag") for _ in range(2)]
    spent = [(0, ada, "read", 1), (0, bo, "write", 2), (1, ada, "write", 4), (1, None, None, 8)]
    for number, agent, kind, cost in spent:
        await task_of(store, plans[number], agent_id=agent, task_type=kind)
        (packet,) = await claim(store, plan=plans[number])
        await complete(store, packet, usage={"cost_usd": cost, "calls": 1})

    async def costs(by: Any, **found: Any) -> dict[Any, float]:
        sums = await store.get_usage(UsageFilter.model_validate(found), by=by)
        name = {"plan": "plan_id", "agent": "agent_id"}.get(by, "task_type")
        return {getattr(each, name): each.usage.cost_usd for each in sums}

    assert await costs("plan") == {plans[1].id: 12, plans[0].id: 3}
    assert await costs("agent") == {None: 8, ada: 5, bo: 2}
    assert await costs("task_type") == {None: 8, "write": 6, "read": 1}
    assert await costs("task_type", agent_id=ada) == {"write": 4, "read": 1}
    assert await costs("agent", plan_id=plans[0].id, task_type="read") == {ada: 1}
    (total,) = await store.get_usage()
    assert (total.plan_id, total.usage) == (
        None,
        Usage.model_validate({"cost_usd": 15, "calls": 4}),
    )
    assert await store.get_usage(UsageFilter(plan_id=[uuid4()])) == []
    (most,) = await store.get_usage(by="plan", limit=1)
    (least,) = await store.get_usage(by="plan", limit=1, offset=1)
    assert [most.plan_id, least.plan_id] == [plans[1].id, plans[0].id]


async def test_what_a_deleted_task_has_taken_stays_with_its_plan(store: PlanStore) -> None:
    packet = await claimed(store, auto_complete=False)
    await complete(store, packet, usage=DIME)

    await store.delete_task(packet.id)

    assert (await store.get_plan(packet.plan_id)).usage == Usage(cost_usd=0.1)
    (left,) = await store.get_usage(by="plan")
    assert left.usage == Usage(cost_usd=0.1)
    await store.delete_plan(packet.plan_id)
    assert await store.get_usage() == []


@pytest.mark.parametrize(
    "usage",
    [
        {"cost_usd": -1},
        {"cost_usd": float("nan")},
        {"input_tokens": 1.5},
        {"searches": "three"},
        {"searches": None},
        {"": 1},
        {"\x00": 1},
        {"\ud800": 1},
        {"x" * 101: 1},
        {f"x{n}": 1 for n in range(21)},
    ],
)
def test_what_is_no_number_of_something_is_refused(usage: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        UsageReport.model_validate(usage)
