"""Claims: who gets which task, what comes with it, and what its holder may do."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

import pytest

from planstore.errors import Claimed, InvalidTransition, NotFound, ResultConflict, StaleClaim
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models import TaskUpdate
from planstore.models.claim import (
    MAX_PACKET_OUTPUT,
    Completion,
    Outcome,
    Release,
    Result,
    Results,
)
from planstore.models.idempotency import Idempotency
from tests.arranging import moved, plan_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, complete_all, fail, release
from tests.refusals import refused
from tests.services.weaving import claimed, woven
from tests.time_travel import pass_time

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


def names_of(packets: list[WorkPacket]) -> list[str]:
    return [str(packet.name) for packet in packets]


ADA: Final = UUID(int=1)
GRACE: Final = UUID(int=2)


async def test_where_nothing_is_ready_nothing_is_handed_out(store: PlanStore) -> None:
    assert await claim(store) == []


async def test_a_claimed_task_runs_for_its_worker(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, input_data={"n": 1}, metadata={"m": 2})

    (packet,) = await claim(store, "w1")

    assert (packet.status, packet.worker_id, packet.attempt) == (S.RUNNING, "w1", 1)
    assert (packet.input_data, packet.resolved_input, packet.metadata) == (
        {"n": 1},
        {"n": 1},
        {"m": 2},
    )
    assert packet.lease_expires_at - packet.updated_at == timedelta(seconds=60)
    assert packet.started_at == packet.updated_at
    assert (packet.dependencies, packet.previous_attempts) == ([], [])
    assert packet.plan_revision == (await store.get_plan(plan.id)).revision
    stored = await store.get_task(task.id)
    assert stored.model_dump() == packet.model_dump(include=set(type(stored).model_fields))
    started = (await all_events(database))[-1]
    assert (started.event_type, started.version) == ("task.started", 2)
    assert started.payload["worker_id"] == "w1"


async def test_tasks_are_handed_out_by_priority_then_by_how_long_they_are_ready(
    store: PlanStore, database: Database
) -> None:
    priorities = {"low": -5, "first": 0, "second": 0, "high": 7}
    await woven(
        store,
        {name: [] for name in priorities},
        fields={name: {"priority": priority} for name, priority in priorities.items()},
    )
    await pass_time(database, 1)
    late, _ = await woven(store, {"late": [], "late and high": []})
    (_, high) = await store.list_tasks(plan_id=late.id)
    await store.update_task(high.id, TaskUpdate(priority=7))

    order = [names_of(await claim(store, limit=1)) for _ in range(6)]

    assert order == [[each] for each in ("high", "late and high", "first", "second", "late", "low")]


async def test_one_claim_hands_out_as_many_as_it_asks_for_in_order(store: PlanStore) -> None:
    await woven(store, {"a": [], "b": [], "c": []}, fields={"c": {"priority": 1}})

    assert names_of(await claim(store, limit=2)) == ["c", "a"]
    assert names_of(await claim(store, limit=2)) == ["b"]


ASKED: Final[list[tuple[dict[str, Any], str]]] = [
    ({}, "abcdefg"),
    ({"task_types": ["read"]}, "bef"),
    ({"task_types": ["read", "write"]}, "bcefg"),
    ({"task_types": ["sing"]}, ""),
    ({"agent_id": ADA}, "abcdeg"),
    ({"agent_id": UUID(int=9)}, "abc"),
    ({"agent_id": ADA, "task_types": ["read"]}, "be"),
    ({"agent_id": GRACE, "task_types": ["read", "write"]}, "bcf"),
]


@pytest.mark.parametrize("is_of_plan", [True, False])
async def test_a_claim_gets_only_what_it_asks_for(
    store: PlanStore, subtests: pytest.Subtests, *, is_of_plan: bool
) -> None:
    kinds: dict[str, dict[str, Any]] = {
        "a": {},
        "b": {"task_type": "read"},
        "c": {"task_type": "write"},
        "d": {"agent_id": ADA},
        "e": {"agent_id": ADA, "task_type": "read"},
        "f": {"agent_id": GRACE, "task_type": "read"},
        "g": {"agent_id": ADA, "task_type": "write"},
    }
    plan, _ = await woven(store, {name: [] for name in kinds}, fields=kinds)
    if is_of_plan:
        await woven(store, {"other": []}, fields={"other": {"agent_id": ADA, "task_type": "read"}})

    for asked, given in ASKED:
        with subtests.test(asked=asked):
            packets = await claim(store, plan=plan if is_of_plan else None, **asked)

            assert sorted(names_of(packets)) == list(given)
            for packet in packets:
                await release(store, packet)


async def test_a_changed_type_or_agent_is_what_claims_go_by(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store), task_type="read")

    await store.update_task(task.id, TaskUpdate(task_type="write", agent_id=ADA))

    assert await claim(store, task_types=["read"]) == []
    assert await claim(store, agent_id=GRACE) == []
    assert len(await claim(store, agent_id=ADA, task_types=["write"])) == 1


@pytest.mark.parametrize("verb", ["pause", "cancel"])
async def test_a_plan_that_is_not_being_carried_out_hands_out_nothing(
    store: PlanStore, verb: str
) -> None:
    plan, settled = await plan_of(store), await plan_of(store)
    draft = await plan_of(store, status="draft")
    for each in (plan, draft, settled):
        await task_of(store, each)
        await task_of(store, each)
    (first, _) = await store.list_tasks(plan_id=settled.id)
    await moved(store, first, S.FAILED)

    await getattr(store, f"{verb}_plan")(plan.id)

    assert await claim(store) == []
    for each in (plan, draft, settled):
        assert await claim(store, plan=each) == []


async def test_what_is_held_is_not_handed_out(store: PlanStore) -> None:
    task = await task_of(store, await plan_of(store), status=S.BLOCKED)
    assert await claim(store) == []

    await moved(store, task, S.PENDING)

    assert len(await claim(store)) == 1


async def test_what_is_not_to_start_yet_is_handed_out_at_its_time(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, not_before=datetime.now(UTC) + timedelta(hours=1))
    assert await claim(store) == []
    assert (await store.get_plan(plan.id)).status == P.ACTIVE

    await pass_time(database, 3_601)

    assert len(await claim(store)) == 1


async def test_a_time_that_is_moved_is_what_counts(store: PlanStore) -> None:
    later = datetime.now(UTC) + timedelta(hours=1)
    plan = await plan_of(store, plan_type="dag")
    task, other = await task_of(store, plan), await task_of(store, plan, not_before=later)

    await store.update_task(task.id, TaskUpdate(not_before=later))
    await store.update_task(other.id, TaskUpdate(not_before=None))

    assert [packet.id for packet in await claim(store)] == [other.id]


async def test_tokens_only_grow(store: PlanStore) -> None:
    await woven(store, {name: [] for name in "abc"})
    tokens: list[int] = []

    for _ in range(3):
        packets = await claim(store)
        tokens += sorted(packet.fencing_token for packet in packets)
        for packet in packets:
            await release(store, packet)

    assert tokens == sorted(set(tokens))
    assert len(tokens) == 9


async def test_a_packet_holds_what_the_dependencies_produced(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "b": [], "c": [{"task": "a", "type": "data"}, {"task": "b", "when": "ended"}]},
    )
    a, b = await claim(store)
    await complete(store, a, output_data={"n": [1]})
    await fail(store, b, retryable=False)

    packet = await claimed(store, plan)

    first, second = packet.dependencies
    assert (first.task_id, first.name, first.type) == (tasks["a"].id, "a", "data")
    assert (first.status, first.is_satisfied, first.output_data) == (S.COMPLETED, True, {"n": [1]})
    assert (second.name, second.when, second.type) == ("b", "ended", "blocking")
    assert (second.status, second.is_satisfied, second.output_data) == (S.FAILED, True, None)
    assert (first.output_link, second.output_link) == (None, None)


async def test_outputs_beyond_what_a_packet_holds_are_links(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": [], "c": [], "d": ["a", "b", "c"]})
    text = "x" * (MAX_PACKET_OUTPUT // 2)
    for packet in await claim(store):
        await complete(store, packet, output_data={"text": text})

    packet = await claimed(store, plan)

    held = [(each.name, each.output_data is not None) for each in packet.dependencies]
    assert held == [("a", True), ("b", False), ("c", False)]
    assert [each.output_link for each in packet.dependencies] == [
        None,
        f"/tasks/{tasks['b'].id}",
        f"/tasks/{tasks['c'].id}",
    ]


async def test_a_packet_tells_of_the_last_ten_runs(store: PlanStore) -> None:
    policy = {"max_retries": 20, "initial_delay_sec": 0}
    plan = await plan_of(store)
    task = await task_of(store, plan, retry_policy=policy)
    for number in range(12):
        await fail(store, await claimed(store, plan, f"w{number}"), error=f"e{number}")

    packet = await claimed(store, plan)

    assert packet.attempt == 13
    told = [(each.attempt, each.worker_id, each.error) for each in packet.previous_attempts]
    assert told == [(n + 1, f"w{n}", f"e{n}") for n in range(2, 12)]
    assert packet.previous_attempts == (await store.list_attempts(task.id))[2:12]


async def test_the_same_tasks_are_handed_out_under_the_same_key(
    store: PlanStore, elsewhere: PlanStore
) -> None:
    plan, _ = await woven(store, {name: [] for name in "abc"})
    key = Idempotency("k")

    first = await claim(store, plan=plan, limit=2, idempotency=key)
    again = await claim(elsewhere, plan=plan, limit=2, idempotency=key)
    await claim(store, plan=plan)
    at_last = await claim(store, plan=plan, limit=2, idempotency=key)

    assert first == again == at_last
    assert names_of(first) == ["a", "b"]


async def test_an_empty_claim_is_not_kept_under_its_key(store: PlanStore) -> None:
    plan = await plan_of(store)
    assert await claim(store, idempotency=Idempotency("k")) == []

    await task_of(store, plan)

    assert len(await claim(store, idempotency=Idempotency("k"))) == 1


async def test_a_completion_tells_what_it_unblocked_and_hands_out_the_next(
    store: PlanStore,
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": ["a"], "d": ["a", "b"]})
    a = await claimed(store, plan)

    ended = await complete(
        store, a, output_data={"n": 1}, claim_next={"worker_id": "w2", "limit": 1}
    )

    assert (ended.id, ended.status, ended.output_data) == (a.id, S.COMPLETED, {"n": 1})
    assert ended.unblocked == sorted([tasks["b"].id, tasks["c"].id])
    assert [(packet.name, packet.worker_id) for packet in ended.tasks] == [("b", "w2")]


@pytest.mark.parametrize("is_keyed", [True, False])
async def test_what_a_report_asks_for_next_may_be_of_any_plan(
    store: PlanStore, *, is_keyed: bool
) -> None:
    plan, _ = await woven(store, {"a": []})
    other, _ = await woven(store, {"b": [], "c": []})
    key = Idempotency("k") if is_keyed else None
    a = await claimed(store, plan)

    of_any = await complete(store, a, claim_next={"worker_id": "w1"}, idempotency=key)
    (b,) = of_any.tasks
    of_plan = await fail(
        store, b, claim_next={"worker_id": "w1", "plan_id": other.id}, retryable=False
    )

    assert names_of([b, *of_plan.tasks]) == ["b", "c"]
    if is_keyed:
        again = await complete(store, a, claim_next={"worker_id": "w1"}, idempotency=key)
        assert again == of_any


async def test_nothing_is_handed_out_with_a_refusal(store: PlanStore, database: Database) -> None:
    await woven(store, {"a": [], "b": []})
    a = (await claim(store, limit=1))[0]
    await release(store, a)

    with pytest.raises(StaleClaim):
        await complete(store, a, claim_next={"worker_id": "w2"})

    assert {task.status for task in await store.list_tasks(plan_id=a.plan_id)} == {S.PENDING}


@pytest.mark.parametrize("key", [None, Idempotency("results")])
@pytest.mark.parametrize("fields", [{}, {"max_parallel_tasks": 3}])
async def test_of_many_results_each_is_taken_or_refused_for_itself(
    store: PlanStore, key: Idempotency | None, fields: dict[str, Any]
) -> None:
    needs = {"a": [], "b": [], "c": [], "d": ["a"], "e": ["b"]}
    _, tasks = await woven(store, needs, **fields)
    a, b, c = await claim(store)
    await release(store, b)
    unknown = uuid4()
    results = [
        Result(task_id=a.id, fencing_token=a.fencing_token, output_data={"n": 1}),
        Result(task_id=b.id, fencing_token=b.fencing_token),
        Result(task_id=c.id),
        Result(task_id=unknown, fencing_token=7),
    ]

    answer = await store.complete_tasks(Results(results=results), idempotency=key)

    told = [
        (each.task_id, each.ok, each.status, each.error and each.error.code)
        for each in answer.results
    ]
    assert told == [
        (a.id, True, S.COMPLETED, None),
        (b.id, False, S.PENDING, "stale_claim"),
        (c.id, False, S.RUNNING, "claimed"),
        (unknown, False, None, "not_found"),
    ]
    assert answer.unblocked == [tasks["d"].id]
    assert (await store.get_task(a.id)).output_data == {"n": 1}


async def test_results_of_many_plans_are_taken_at_once(store: PlanStore) -> None:
    plans = [await plan_of(store) for _ in range(3)]
    for plan in plans:
        await task_of(store, plan)
        await task_of(store, plan)
    packets = await claim(store)

    answer = await complete_all(store, packets, claim_next={"worker_id": "w1", "limit": 9})

    assert [each.ok for each in answer.results] == [True] * 3
    assert [packet.id for packet in answer.tasks] == answer.unblocked
    await complete_all(store, answer.tasks)
    assert {(await store.get_plan(plan.id)).status for plan in plans} == {P.COMPLETED}


async def test_nobody_reports_on_a_claimed_task_without_its_token(
    store: PlanStore, database: Database
) -> None:
    task = await task_of(store, await plan_of(store))
    await claim(store, "w1")

    async with refused(database, Claimed) as error:
        await store.complete_task(task.id)

    assert "worker 'w1' holds a claim on it" in str(error.value)
    async with refused(database, Claimed):
        await store.release_task(task.id)
    async with refused(database, Claimed):
        await moved(store, task, S.RUNNING)


@pytest.mark.parametrize("is_keyed", [True, False])
async def test_an_answer_that_comes_late_is_kept_and_changes_nothing(
    store: PlanStore, database: Database, *, is_keyed: bool
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    first = await claimed(store, plan, "w1")
    await release(store, first)
    await claimed(store, plan, "w2")
    before = await store.get_task(task.id), len(await all_events(database))
    key = Idempotency("k") if is_keyed else None

    with pytest.raises(StaleClaim) as error:
        await complete(store, first, output_data={"n": 1}, idempotency=key)

    assert f"the fencing token {first.fencing_token} has ended; it is running now" in str(
        error.value
    )
    *_, kept = events = await all_events(database)
    assert (await store.get_task(task.id), len(events) - 1) == before
    assert (kept.event_type, kept.payload) == ("task.result_refused", {})
    assert kept.metadata["refused"] == {
        "verb": "complete",
        "fencing_token": first.fencing_token,
        "output_data": {"n": 1},
    }


@pytest.mark.parametrize("status", ["completed", "failed", "pending", None])
async def test_a_patch_under_a_claim_that_has_ended_is_kept_and_changes_nothing(
    store: PlanStore, database: Database, status: str | None
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    first = await claimed(store, plan, "w1")
    await release(store, first)
    await claimed(store, plan, "w2")
    before = await store.get_task(task.id), len(await all_events(database))
    given = {"metadata": {"n": 1}, "fencing_token": first.fencing_token}
    update = given | ({"status": status} if status else {})

    with pytest.raises(StaleClaim):
        await store.update_task(task.id, TaskUpdate.model_validate(update))

    *_, kept = events = await all_events(database)
    assert (await store.get_task(task.id), len(events) - 1) == before
    assert kept.event_type == "task.result_refused"


async def test_the_holder_may_report_by_patch(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)
    token = packet.fencing_token

    noted = await store.update_task(packet.id, TaskUpdate(metadata={"m": 1}, fencing_token=token))
    ended = await moved(store, packet, S.COMPLETED, output_data={"n": 1}, fencing_token=token)

    assert (noted.status, noted.worker_id) == (S.RUNNING, "w1")
    assert (ended.status, ended.output_data) == (S.COMPLETED, {"n": 1})
    assert (await complete(store, packet, output_data={"n": 1})).status == S.COMPLETED


@pytest.mark.parametrize("verb", [complete, fail, release])
async def test_a_report_that_is_repeated_is_answered_as_before(
    store: PlanStore, database: Database, verb: Any
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)
    first = await verb(store, packet)
    before = await all_events(database)

    again = await verb(store, packet)

    assert again.model_dump(exclude={"unblocked"}) == first.model_dump(exclude={"unblocked"})
    assert await all_events(database) == before


async def test_completing_again_with_another_output_is_a_conflict_that_is_kept(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)
    await complete(store, packet, output_data={"n": 1})

    for token in (packet.fencing_token, None):
        late = Completion(fencing_token=token, output_data={"n": 2})
        with pytest.raises(ResultConflict):
            await store.complete_task(packet.id, late)
        kept = (await all_events(database))[-1]
        assert kept.event_type == "task.result_refused"
        assert kept.metadata["refused"]["output_data"] == {"n": 2}

    assert (await store.get_task(packet.id)).output_data == {"n": 1}


async def test_a_released_task_is_ready_at_once_and_the_run_is_not_held_against_it(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, retry_policy={"max_retries": 0})

    for _ in range(3):
        released = await release(store, await claimed(store, plan))
        assert (released.status, released.started_at, released.worker_id) == (S.PENDING, None, None)

    packet = await claimed(store, plan)
    assert packet.attempt == 4
    assert {each.outcome for each in packet.previous_attempts} == {Outcome.RELEASED}
    assert (await fail(store, packet)).status == S.FAILED


@pytest.mark.parametrize("status", [S.PENDING, S.BLOCKED, S.FAILED])
async def test_a_task_is_completed_by_hand_from_wherever_it_stands(
    store: PlanStore, status: S
) -> None:
    task = await task_of(store, await plan_of(store), status=status)

    ended = await store.complete_task(task.id, Completion(output_data={"n": 1}))

    assert (ended.status, ended.output_data, ended.error) == (S.COMPLETED, {"n": 1}, None)


async def test_what_is_not_running_can_not_be_released(
    store: PlanStore, database: Database
) -> None:
    task = await task_of(store, await plan_of(store), status=S.COMPLETED)

    async with refused(database, InvalidTransition):
        await store.release_task(task.id)


async def test_nothing_is_reported_on_what_is_not_there(
    store: PlanStore, database: Database
) -> None:
    async with refused(database, NotFound):
        await store.complete_task(uuid4())
    async with refused(database, NotFound):
        await store.release_task(uuid4(), Release(fencing_token=1))


async def test_an_operator_may_take_a_task_from_its_holder(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)

    held = await moved(store, packet, S.BLOCKED)

    assert (held.status, held.status_reason, held.worker_id) == (S.BLOCKED, "held", None)
    (attempt,) = await store.list_attempts(packet.id)
    assert (attempt.outcome, attempt.worker_id) == (Outcome.OVERRIDDEN, "w1")
    assert await claim(store) == []


@pytest.mark.parametrize("status", [S.PENDING, S.BLOCKED])
async def test_a_holder_may_give_its_task_back_by_an_edit(store: PlanStore, status: S) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)

    given_back = await moved(store, packet, status, fencing_token=packet.fencing_token)

    assert (given_back.status, given_back.worker_id) == (status, None)
    (attempt,) = await store.list_attempts(packet.id)
    assert (attempt.outcome, attempt.worker_id) == (Outcome.RELEASED, "w1")


async def test_an_edit_leaves_the_claim_alone(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)

    edited = await store.update_task(packet.id, TaskUpdate(description="edited", priority=5))

    assert (edited.status, edited.worker_id) == (S.RUNNING, "w1")
    assert (await complete(store, packet)).status == S.COMPLETED
