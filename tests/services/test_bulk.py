"""Doing one thing to many plans or tasks: which, in what bites, and what is refused."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import pytest

from planstore.errors import IdempotencyMismatch, InvalidInput
from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, TaskBatch, TaskDraft
from planstore.models import TaskStatus as S
from planstore.models.bulk import PlanBulk, TaskBulk
from planstore.models.claim import ClaimState
from planstore.models.idempotency import Idempotency
from planstore.services import bulk as bulk_module
from planstore.services.bulk import Sizes
from tests.arranging import moved, plan_of, set_to, status_of, task_of
from tests.history import all_events, all_rows
from tests.holder import claim, complete, renew
from tests.refusals import refused
from tests.services.weaving import claimed, woven

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.models.bulk import BulkAnswer, PlanBulkAnswer, TaskBulkAnswer
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


async def to_tasks(
    store: PlanStore, action: str, *, idempotency: Idempotency | None = None, **fields: Any
) -> TaskBulkAnswer:
    request = TaskBulk.model_validate({"action": action, **fields})
    return await store.bulk_tasks(request, idempotency=idempotency)


async def to_plans(store: PlanStore, action: str, **fields: Any) -> PlanBulkAnswer:
    return await store.bulk_plans(PlanBulk.model_validate({"action": action, **fields}))


def counts(answer: BulkAnswer) -> tuple[int, int, int, int]:
    """Matched, changed, unchanged, refused; and there is no more."""
    assert answer.next_cursor is None
    return answer.matched, answer.changed, answer.unchanged, answer.refused


async def statuses_of(store: PlanStore, plan: Plan) -> dict[str, S]:
    tasks = await store.list_tasks(plan_id=plan.id, limit=1_000)
    return {str(task.name): task.status for task in tasks}


async def of_each_status(store: PlanStore) -> tuple[Plan, dict[str, Task]]:
    """A plan with a task of each status, named after it."""
    plan = await plan_of(store, plan_type="dag", auto_complete=False)
    return plan, {
        status.value: await task_of(store, plan, name=status.value, status=status) for status in S
    }


@pytest.mark.parametrize(
    ("action", "expected", "after"),
    [
        (
            "skip",
            (6, 4, 1, 1),
            {"pending": S.SKIPPED, "running": S.SKIPPED, "failed": S.SKIPPED, "blocked": S.SKIPPED},
        ),
        (
            "cancel",
            (6, 4, 1, 1),
            {"pending": S.SKIPPED, "running": S.SKIPPED, "failed": S.SKIPPED, "blocked": S.SKIPPED},
        ),
        ("retry", (6, 1, 3, 2), {"failed": S.PENDING}),
        (
            "reset",
            (6, 4, 2, 0),
            dict.fromkeys(["completed", "failed", "running", "skipped"], S.PENDING),
        ),
        ("release", (6, 1, 1, 4), {"running": S.PENDING}),
    ],
)
async def test_an_action_is_done_to_each_task_that_allows_it(
    store: PlanStore,
    action: str,
    expected: tuple[int, int, int, int],
    after: dict[str, S],
) -> None:
    plan, tasks = await of_each_status(store)
    before = await statuses_of(store, plan)

    answer = await to_tasks(store, action, filter={"plan_id": plan.id})

    assert counts(answer) == expected
    assert await statuses_of(store, plan) == before | after
    names = {task.id: name for name, task in tasks.items()}
    assert len(answer.refusals) == answer.refused
    for each in answer.refusals:
        assert each.code == "invalid_transition"
        assert f"it is {names[each.id]}" in each.detail


@pytest.mark.parametrize("action", ["skip", "retry", "reset", "release"])
async def test_doing_it_again_changes_nothing(
    store: PlanStore, database: Database, action: str
) -> None:
    plan, _ = await of_each_status(store)
    first = await to_tasks(store, action, filter={"plan_id": plan.id})
    before = await all_rows(database), await all_events(database)

    again = await to_tasks(store, action, filter={"plan_id": plan.id})

    assert (again.matched, again.changed) == (first.matched, 0)
    assert (await all_rows(database), await all_events(database)) == before


async def test_a_dry_run_counts_and_shows_and_changes_nothing(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag")
    made = [await task_of(store, plan) for _ in range(12)]
    other = await plan_of(store)
    before = await all_rows(database), await all_events(database)

    tasks = await to_tasks(store, "delete", filter={"plan_id": plan.id}, dry_run=True)
    plans = await to_plans(store, "delete", filter={"status": "active"}, dry_run=True)

    assert counts(tasks) == (12, 0, 12, 0)
    assert tasks.examples == made[:-11:-1]
    assert counts(plans) == (2, 0, 2, 0)
    assert plans.examples == [other, await store.get_plan(plan.id)]
    assert (await all_rows(database), await all_events(database)) == before


EMPTY: Final[list[dict[str, Any]]] = [
    {},
    {"filter": {}},
    {"filter": {"plan_id": None}},
    {"filter": {"metadata": [{}, {}]}},
]


@pytest.mark.parametrize("fields", EMPTY)
async def test_an_empty_filter_means_everything_only_where_that_is_said(
    store: PlanStore, database: Database, fields: dict[str, Any]
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)

    async with refused(database, InvalidInput) as info:
        await to_tasks(store, "skip", **fields)
    assert [each.pointer for each in info.value.faults] == ["/filter"]

    assert counts(await to_tasks(store, "skip", all=True, **fields)) == (1, 1, 0, 0)


async def test_what_contradicts_itself_is_refused(store: PlanStore, database: Database) -> None:
    request: dict[str, Any] = {"filter": {"status": "failed"}, "all": True, "force": True}

    async with refused(database, InvalidInput) as info:
        await to_tasks(store, "retry", **request)
    assert [each.pointer for each in info.value.faults] == ["/all", "/force"]
    async with refused(database, InvalidInput) as info:
        await to_plans(store, "retry", all=True, force=True, cursor="x")
    assert [each.pointer for each in info.value.faults] == ["/force"]
    async with refused(database, InvalidInput) as info:
        await to_plans(store, "retry", all=True, cursor="x")
    assert [each.pointer for each in info.value.faults] == ["/cursor"]


async def test_many_tasks_of_a_plan_are_skipped_at_once_and_it_settles(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag")
    drafts = [TaskDraft(description="do it") for _ in range(500)]
    await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts))
    later = await plan_of(store)

    answer = await to_tasks(store, "skip", filter={"plan_id": plan.id})

    assert counts(answer) == (500, 500, 0, 0)
    assert await status_of(store, plan) == P.COMPLETED
    assert await status_of(store, later) == P.ACTIVE
    told = [each for each in await all_events(database) if each.aggregate_id == plan.id]
    assert [each.event_type for each in told] == ["plan.created", "plan.revised", "plan.completed"]


_AGENT: Final = "22222222-2222-4222-8222-222222222222"


@pytest.mark.parametrize(
    "sought",
    [
        {"status": "pending"},
        {"agent_id": _AGENT},
        {"task_type": "read"},
        {"name": "a"},
        {"label": "red"},
        {"label": ["red", "hot"]},
        {"metadata": {"by": "me"}},
        {"words": "boil"},
        {"created_after": "2020-01-01T00:00:00Z"},
        {"agent_id": _AGENT, "name": "a"},
    ],
)
async def test_tasks_are_found_by_whatever_they_have(
    store: PlanStore, sought: dict[str, Any]
) -> None:
    plan = await plan_of(store, auto_complete=False)
    task = await task_of(
        store,
        plan,
        name="a",
        agent_id=_AGENT,
        task_type="read",
        labels=["red", "hot"],
        metadata={"by": "me"},
        description="boil it",
    )

    assert counts(await to_tasks(store, "skip", filter=sought)) == (1, 1, 0, 0)
    assert (await store.get_task(task.id)).status == S.SKIPPED


async def test_tasks_of_many_plans_are_changed_by_one_call(store: PlanStore) -> None:
    plans = [await plan_of(store) for _ in range(50)]
    for plan in plans:
        await task_of(store, plan, status=S.FAILED)
        await task_of(store, plan, status=S.COMPLETED)

    answer = await to_tasks(store, "retry", filter={"status": "failed"})

    assert counts(answer) == (50, 50, 0, 0)
    assert {await status_of(store, plan) for plan in plans} == {P.ACTIVE}
    assert counts(await to_tasks(store, "retry", filter={"status": "failed"})) == (0, 0, 0, 0)


async def test_a_call_that_has_worked_long_enough_says_where_the_next_one_goes_on(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bulk_module, "CHANGING", Sizes(found=30, bite=20, plans=20))
    monkeypatch.setattr(bulk_module, "AT_WORK", 0)
    plan = await plan_of(store, plan_type="dag")
    for _ in range(45):
        await task_of(store, plan)
    matched: list[int] = []
    cursor = None

    while True:
        answer = await to_tasks(store, "skip", filter={"status": "pending"}, cursor=cursor)
        matched.append(answer.matched)
        assert answer.changed == answer.matched
        await task_of(store, plan)  # what is new is not met: it is newer than all that was
        cursor = answer.next_cursor
        if cursor is None:
            break

    assert matched == [20, 20, 5]
    statuses = [task.status for task in await store.list_tasks(plan_id=plan.id)]
    assert statuses.count(S.PENDING) == 3


async def test_a_server_that_is_to_stop_does_no_more_than_a_bite_and_loses_no_place(
    store: PlanStore,
) -> None:
    plans = [await plan_of(store) for _ in range(3)]
    store.stop_waiting()

    answers = [await to_plans(store, "pause", all=True)]
    while answers[-1].next_cursor is not None:
        answers.append(await to_plans(store, "pause", all=True, cursor=answers[-1].next_cursor))

    assert [each.changed for each in answers] == [1, 1, 1]
    assert all([(await store.get_plan(plan.id)).paused_at for plan in plans])


async def test_a_release_takes_tasks_back_from_their_workers(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag")
    for _ in range(3):
        await task_of(store, plan)
    packets = await claim(store, "gone", plan=plan)

    answer = await to_tasks(store, "release", filter={"plan_id": plan.id})

    assert counts(answer) == (3, 3, 0, 0)
    assert [(await renew(store, each)).state for each in packets] == [ClaimState.LOST] * 3
    again = await claim(store, "w2", plan=plan)
    assert sorted(each.id for each in again) == sorted(each.id for each in packets)


async def test_deleted_together_tasks_may_need_each_other(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["b"], "d": ["a"]})
    other, _ = await woven(store, {"a": []})

    answer = await to_tasks(store, "delete", filter={"plan_id": plan.id})

    assert counts(answer) == (len(tasks), 4, 0, 0)
    assert await store.list_tasks(plan_id=plan.id) == []
    assert len(await store.list_tasks(plan_id=other.id)) == 1


async def test_what_stays_keeps_what_it_needs(store: PlanStore, database: Database) -> None:
    needs = {"a": [], "b": ["a"], "c": ["b"], "d": ["c"], "e": [], "f": ["e"]}
    plan, tasks = await woven(store, needs, fields={"a": {"priority": 1}, "b": {"priority": 1}})
    kept = await claimed(store, plan)
    assert kept.name == "a"
    await complete(store, kept)
    b = await claimed(store, plan)

    answer = await to_tasks(store, "delete", filter={"status": ["running", "pending", "completed"]})

    reasons = {each.id: (each.code, each.detail) for each in answer.refusals}
    assert counts(answer) == (3, 0, 0, 3)
    assert {tasks[name].id for name in "abe"} == reasons.keys()
    assert reasons[b.id][0] == "tasks_running"
    assert reasons[kept.id][0] == "task_needed"
    assert "a task needs it: 'b'" in reasons[kept.id][1]
    assert "a task needs it: 'f'" in reasons[tasks["e"].id][1]

    forced = await to_tasks(
        store, "delete", filter={"status": ["running", "pending", "completed"]}, force=True
    )
    assert counts(forced) == (3, 3, 0, 0)
    assert await statuses_of(store, plan) == {"c": S.PENDING, "d": S.BLOCKED, "f": S.PENDING}


async def test_tasks_of_a_closed_plan_are_refused_and_others_done(store: PlanStore) -> None:
    closed, other = await plan_of(store), await plan_of(store)
    failed = await task_of(store, closed, status=S.FAILED)
    await set_to(store, closed, P.FAILED)
    await task_of(store, other, status=S.FAILED)

    answer = await to_tasks(store, "retry", filter={"status": "failed"})

    assert counts(answer) == (2, 1, 0, 1)
    assert [(each.id, each.code) for each in answer.refusals] == [(failed.id, "plan_closed")]


async def test_of_many_refusals_the_first_are_told(store: PlanStore) -> None:
    plan = await plan_of(store, plan_type="dag", auto_complete=False)
    drafts = [TaskDraft(description="do it") for _ in range(130)]
    await store.create_tasks(TaskBatch(plan_id=plan.id, tasks=drafts))
    await claim(store, plan=plan, limit=100)
    await claim(store, plan=plan, limit=100)

    answer = await to_tasks(store, "delete", filter={"plan_id": plan.id})

    assert counts(answer) == (130, 0, 0, 130)
    assert len(answer.refusals) == 100


async def test_a_repetition_under_its_key_does_nothing_and_answers_the_same(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.FAILED)
    key = Idempotency("k")
    first = await to_tasks(store, "retry", filter={"status": "failed"}, idempotency=key)
    await moved(store, task, S.FAILED)
    before = await all_rows(database), await all_events(database)

    again = await to_tasks(store, "retry", filter={"status": "failed"}, idempotency=key)

    assert again == first
    assert (await all_rows(database), await all_events(database)) == before
    with pytest.raises(IdempotencyMismatch):
        await to_tasks(store, "skip", filter={"status": "failed"}, idempotency=key)


@pytest.mark.parametrize(
    ("action", "expected"),
    [
        ("start", {P.DRAFT: P.ACTIVE, P.ACTIVE: P.ACTIVE}),
        ("cancel", dict.fromkeys(P, P.CANCELLED)),
    ],
)
async def test_an_action_is_done_to_each_plan_that_allows_it(
    store: PlanStore, action: str, expected: dict[P, P]
) -> None:
    goal = uuid4()
    plans = {status: await plan_of(store, goal_id=goal, status=P.DRAFT) for status in P}
    for status, plan in plans.items():
        if status != P.DRAFT:
            await set_to(store, plan, status)
    others = await plan_of(store, status=P.DRAFT)

    answer = await to_plans(store, action, filter={"goal_id": goal})

    changed = [status for status, after in expected.items() if after != status]
    refusals = [status for status in P if status not in expected]
    unchanged = len(P) - len(changed) - len(refusals)
    assert counts(answer) == (len(P), len(changed), unchanged, len(refusals))
    assert {each.id for each in answer.refusals} == {plans[each].id for each in refusals}
    for status, plan in plans.items():
        assert await status_of(store, plan) == expected.get(status, status)
    assert await status_of(store, others) == P.DRAFT


async def test_plans_are_paused_resumed_and_retried(store: PlanStore) -> None:
    plans = [await plan_of(store) for _ in range(3)]
    await store.pause_plan(plans[0].id)

    assert counts(await to_plans(store, "pause", filter={"status": "active"})) == (3, 2, 1, 0)
    assert all([(await store.get_plan(plan.id)).paused_at for plan in plans])
    assert counts(await to_plans(store, "resume", filter={"status": "active"})) == (3, 3, 0, 0)
    for plan in plans[1:]:
        await task_of(store, plan, status=S.FAILED)
        await task_of(store, plan)
    assert counts(await to_plans(store, "retry", all=True)) == (3, 2, 1, 0)
    for plan in plans[1:]:
        assert len(await claim(store, plan=plan)) == 1


async def test_plans_are_deleted_unless_their_tasks_run(
    store: PlanStore, database: Database
) -> None:
    plans = [await plan_of(store) for _ in range(25)]
    for plan in plans:
        await task_of(store, plan)
    packet = await claimed(store, plans[7])
    await store.update_plan(plans[3].id, PlanUpdate(metadata={"a": 1}))

    answer = await to_plans(store, "delete", filter={"status": "active"})

    assert counts(answer) == (25, 24, 0, 1)
    (refusal,) = answer.refusals
    assert (refusal.id, refusal.code) == (plans[7].id, "tasks_running")
    assert set(await all_rows(database)) == {plans[7].id, packet.id}
    forced = await to_plans(store, "delete", filter={"status": "active"}, force=True)
    assert counts(forced) == (1, 1, 0, 0)
    assert await all_rows(database) == {}
