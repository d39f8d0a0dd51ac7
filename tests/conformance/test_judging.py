"""What came of tasks, as people judge it and as figures tell it, by each door."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from planstore.errors import InvalidTransition, NotFound
from planstore.models import TaskStatus as S
from planstore.models.approval import Decision, Review
from planstore.models.evaluation import EvaluationCreate
from planstore.models.query import UsageFilter
from planstore.models.statistics import Dimension, StatisticsQuery, TimelineQuery
from planstore.models.usage import UsageReport
from tests.arranging import plan_of, task_of
from tests.holder import claim, complete, renew

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore


async def test_a_task_is_approved_or_rejected(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    first, second = [await task_of(store, plan, requires_approval=True) for _ in range(2)]
    approved = await store.approve_task(first.id, Review(by="ada", comment="Go\nahead"))
    assert approved.approval is not None
    assert (approved.status, approved.approval.decision) == (S.PENDING, Decision.APPROVED)
    assert (approved.approval.by, approved.approval.comment) == ("ada", "Go\nahead")
    rejected = await store.reject_task(second.id)
    assert rejected.approval is not None
    assert (rejected.status, rejected.approval.by) == (S.FAILED, None)
    with pytest.raises(InvalidTransition):
        await store.approve_task(second.id)


async def test_what_came_of_a_task_is_evaluated(store: PlanStore, library: PlanStore) -> None:
    task = await task_of(store, await plan_of(store), status=S.COMPLETED)
    given = EvaluationCreate(
        evaluation_type="quality", score=0.25, metrics={"f1": [0.5]}, feedback="é", agent_id=uuid4()
    )
    made = [await store.create_evaluation(task.id, given) for _ in range(3)]
    assert (made[0].score, made[0].metrics, made[0].feedback) == (0.25, {"f1": [0.5]}, "é")
    page = await store.list_evaluations(task.id, limit=2)
    assert [*page] == made[:2]
    page = await store.list_evaluations(task.id, limit=2, cursor=page.next_cursor)
    assert [*page] == made[2:] == [*await library.list_evaluations(task.id, offset=2)]
    with pytest.raises(NotFound):
        await store.list_evaluations(uuid4())


async def test_what_runs_take_is_reported_and_added_up(store: PlanStore) -> None:
    kind, agent = f"kind-{uuid4()}", uuid4()
    plan = await plan_of(store, plan_type="dag")
    await task_of(store, plan, task_type=kind, agent_id=agent)
    (packet,) = await claim(store, "ü&1", plan=plan)
    assert [each.id for each in await store.list_claims("ü&1") if each.id == packet.id]
    await renew(store, packet, usage=UsageReport.model_validate({"input_tokens": 3, "pages": 1.5}))
    await renew(store, packet, usage=UsageReport(cost_usd=0.25))
    ended = await complete(store, packet, usage={"pages": 1})
    assert ended.usage is not None
    assert ended.usage.model_dump(exclude_defaults=True) == {
        "input_tokens": 3,
        "cost_usd": 0.25,
        "pages": 2.5,
    }
    assert packet.id not in [each.id for each in await store.list_claims("ü&1")]
    (by_type,) = await store.get_usage(UsageFilter(task_type=[kind, "none"]), by="task_type")
    assert (by_type.task_type, by_type.agent_id, by_type.usage) == (kind, None, ended.usage)
    (by_agent,) = await store.get_usage(UsageFilter(agent_id=[agent]), by="agent", limit=5)
    assert (by_agent.agent_id, by_agent.usage) == (agent, ended.usage)
    (total,) = await store.get_usage(UsageFilter(plan_id=[plan.id]))
    assert (total.plan_id, total.usage) == (None, ended.usage)


async def test_figures_are_told(store: PlanStore, library: PlanStore) -> None:
    kind = f"kind-{uuid4()}"
    task = await task_of(store, await plan_of(store), task_type=kind, status=S.COMPLETED)
    while await library.count_events():
        pass
    since = task.created_at - timedelta(minutes=5)
    span = {"from": since, "to": since + timedelta(hours=1)}
    asked = StatisticsQuery.model_validate({**span, "task_type": kind})
    told = await store.get_statistics(asked)
    assert told.total.completed == 1
    assert told.since == since.replace(second=0, microsecond=0)
    line = await store.get_timeline(TimelineQuery.model_validate({**span, "task_type": kind}))
    assert sum(each.completed for each in line.points) == 1
    asked = StatisticsQuery(window="2h", group_by=Dimension.TASK_TYPE, limit=50)
    groups = {each.value: each for each in (await store.get_statistics(asked)).groups}
    assert groups[kind].completed == 1
