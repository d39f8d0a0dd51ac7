"""A task that is added alone is added just as it is among others, by the statement for many."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from itertools import product
from typing import TYPE_CHECKING, Any, Final

from planstore.models import PlanStatus, TaskDraft, TaskStatus
from planstore.models.claim import ClaimRequest
from planstore.models.fields import MAX_ORDER
from planstore.models.idempotency import RequestKey
from planstore.services.placing import new_tasks
from planstore.sql import tasks
from tests.arranging import moved, plan_of, set_to, task_of
from tests.holder import claim, fail

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    import pytest

    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore
    from planstore.sql.connection import Connection, RowLike
    from planstore.sql.tasks import NewTask

DRAFTS: Final[dict[str, dict[str, Any]]] = {
    "plain": {},
    "before all": {"sequence_order": 0},
    "of the first order": {"sequence_order": 1},
    "of the highest order": {"sequence_order": MAX_ORDER},
    "full": {
        "name": "boil",
        "agent_id": "22222222-2222-4222-8222-222222222222",
        "task_type": "kitchen",
        "input_data": {"litres": 1.5, "z": None, "a": ["b"]},
        "metadata": {"tags": ["hot"]},
        "labels": ["kitchen", 'so "hot"', "{}"],
        "parallel_group": "stove",
        "priority": -3,
        "side_effects": "once",
        "timeout_seconds": 1.5,
        "retry_policy": {"max_retries": 1},
        "estimated_duration": "PT5M",
    },
    "without input": {"input_data": None},
    "to be approved": {"requires_approval": True},
    "for later": {"not_before": datetime(2200, 1, 1, tzinfo=UTC)},
}


async def sequential(store: PlanStore) -> Plan:
    plan = await plan_of(store)
    done, _ = [await task_of(store, plan) for _ in range(2)]
    await moved(store, done, TaskStatus.COMPLETED)
    return plan


async def settled(store: PlanStore) -> Plan:
    plan = await plan_of(store)
    await task_of(store, plan, status=TaskStatus.COMPLETED)
    return plan


async def aborting(store: PlanStore) -> Plan:
    plan = await plan_of(store, plan_type="parallel", on_failure="abort")
    for _ in range(2):
        await task_of(store, plan)
    await fail(store, (await claim(store, plan=plan, limit=2))[0], retryable=False)
    return plan


async def paused(store: PlanStore) -> Plan:
    return await store.pause_plan((await plan_of(store)).id)


async def closed(store: PlanStore) -> Plan:
    return await set_to(store, await plan_of(store), PlanStatus.CANCELLED)


PLANS: Final[dict[str, Callable[[PlanStore], Awaitable[Plan]]]] = {
    "sequential": sequential,
    "settled": settled,
    "aborting": aborting,
    "paused": paused,
    "closed": closed,
    "parallel": lambda store: plan_of(store, plan_type="parallel"),
    "draft": lambda store: plan_of(store, status=PlanStatus.DRAFT),
    "limited": lambda store: plan_of(store, max_parallel_tasks=1),
}

Create = Callable[["Connection", "list[NewTask]"], Awaitable["Mapping[UUID, RowLike]"]]

WAYS: Final[dict[str, Create]] = {
    "at once": lambda conn, new: tasks.create(conn, new, is_waiting=False, are_apart=True),
    "with its plan locked": lambda conn, new: tasks.create(conn, new, is_locked=True),
    "with what follows derived": lambda conn, new: tasks.create(
        conn, new, is_locked=True, is_derived_after=True
    ),
}


_NOTHING: Final = ClaimRequest(worker_id="w1", task_types=["nothing"])


async def with_a_claim(conn: Connection, new: list[NewTask]) -> Mapping[UUID, RowLike]:
    """As it is done where somebody waits for work; that of others is not what they wait for."""
    if len(new) > 1:
        return await WAYS["at once"](conn, new)
    added, claimed, _ = await tasks.create_and_claim(conn, new[0], _NOTHING)
    assert not claimed
    return {new[0].plan_id: added}


WAYS["for somebody who waits"] = with_a_claim


async def test_a_task_is_added_alone_as_among_others(
    store: PlanStore, database: Database, subtests: pytest.Subtests
) -> None:
    plans = {name: await make(store) for name, make in PLANS.items()}
    (other,) = new_tasks((await plan_of(store)).id, [TaskDraft(description="do it")])
    verdicts: set[str] = set()
    async with database.transaction() as conn:  # all at one time
        for (kind, plan), (what, draft), (way, create) in product(
            plans.items(), DRAFTS.items(), WAYS.items()
        ):
            (new,) = new_tasks(plan.id, [TaskDraft(description="do it", **draft)])
            new = new._replace(key=RequestKey("create_task", what, b"asked"))
            for each in (new, new._replace(key=None)):
                with subtests.test(plan=kind, task=what, way=way, has_key=each.key is not None):
                    alone = await added(conn, create, [each])
                    among = await added(conn, create, [each, other])

                    assert alone == among
                    verdicts.add(alone["verdict"])

    assert verdicts == {"changed", "closed", "stale", "wide"}


async def added(conn: Connection, create: Create, new: list[NewTask]) -> Mapping[str, Any]:
    """What is answered for the first of ``new``, and what is written; which is then undone."""
    undo = conn.transaction()
    await undo.start()
    answer = (await create(conn, new))[new[0].plan_id]
    written = await conn.fetchrow(_WRITTEN, new[0].plan_id, new[0].id)
    assert written is not None
    await undo.rollback()
    return {**answer, **written}


_WRITTEN: Final = """
select
  (select to_jsonb(p) from planstore.plans p where p.id = $1) as plan,
  (select to_json(t) from planstore.tasks t where t.id = $2) as task,
  (select to_json(s) from planstore.task_states s where s.task_id = $2) as state,
  (select json_agg(to_jsonb(e) - 'seq' order by e.seq) from planstore.events e where e.plan_id = $1)
    as events,
  (select count(*) from planstore.task_words_due d where $2 = any (d.task_ids)) as words_due,
  (select to_json(k) from planstore.idempotency_keys k) as answer_kept
"""
