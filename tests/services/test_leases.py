"""Leases: how a claim is kept alive, and what becomes of a task whose worker vanished."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from planstore.errors import StaleClaim
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimState, Heartbeat, HeartbeatClaim, Outcome
from tests.arranging import moved, plan_of, status_of, task_of
from tests.history import all_events, all_rows
from tests.holder import claim, complete, fail, release, renew
from tests.services.weaving import claimed, woven
from tests.time_travel import end_leases, pass_time

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


@pytest.mark.parametrize("seconds", [1, 60, 3_600])
async def test_a_heartbeat_renews_a_claim_for_as_long_as_it_was_made_for(
    store: PlanStore, database: Database, seconds: float
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan, lease_seconds=seconds)
    await pass_time(database, 0.75 * seconds)
    before = await all_rows(database), await all_events(database)

    renewed = await renew(store, packet)

    assert renewed.state == ClaimState.RENEWED
    assert renewed.lease_expires_at is not None
    gained = (renewed.lease_expires_at - packet.lease_expires_at).total_seconds()
    assert 0 < gained < 60
    assert (await all_rows(database), await all_events(database)) == before
    await pass_time(database, 0.75 * seconds)
    assert await store.sweep() == 0


async def test_a_heartbeat_tells_how_far_the_run_is(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)

    await renew(store, packet, progress=25, note="a quarter")
    await renew(store, packet, progress=25, note="a quarter")
    await renew(store, packet, progress=50)

    task = await store.get_task(packet.id)
    assert (task.progress, task.progress_note) == (50, "a quarter")
    told = [e.payload for e in await all_events(database) if e.event_type == "task.progressed"]
    assert told == [{"progress": 25, "progress_note": "a quarter"}, {"progress": 50}]


async def test_progress_is_of_one_run(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)
    await renew(store, packet, progress=25, note="a quarter")

    await release(store, packet)

    again = await claimed(store, plan)
    assert (again.progress, again.progress_note) == (None, None)


async def test_one_heartbeat_renews_what_is_held_and_says_what_is_lost(
    store: PlanStore, database: Database
) -> None:
    await woven(store, {name: [] for name in "abcd"})
    a, b, c, d = await claim(store, "w1")
    await complete(store, b)
    await release(store, c)
    (again,) = await claim(store, "w2")
    beats = [
        HeartbeatClaim(task_id=each, fencing_token=token, progress=1)
        for each, token in (
            (a.id, a.fencing_token),
            (b.id, b.fencing_token),
            (again.id, c.fencing_token),
            (d.id, a.fencing_token),
            (uuid4(), 1),
        )
    ]

    answer = await store.heartbeat(Heartbeat(worker_id="w1", claims=beats))

    assert [each.task_id for each in answer.claims] == [beat.task_id for beat in beats]
    assert [each.state for each in answer.claims] == ["renewed", *["lost"] * 4]
    assert [each.lease_expires_at is None for each in answer.claims] == [False, *[True] * 4]
    assert (await store.get_task(again.id)).progress is None


async def test_a_claim_is_renewed_only_by_its_worker(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan, "w1")
    beat = HeartbeatClaim(task_id=packet.id, fencing_token=packet.fencing_token)

    answer = await store.heartbeat(Heartbeat(worker_id="w2", claims=[beat]))

    assert [each.state for each in answer.claims] == [ClaimState.LOST]


async def test_runs_of_a_plan_that_is_closed_are_asked_to_stop(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)
    assert (await renew(store, packet)).state == ClaimState.RENEWED

    await store.cancel_plan(plan.id)

    stop = await renew(store, packet)
    assert stop.state == ClaimState.STOP
    assert stop.lease_expires_at is not None


async def test_a_task_whose_lease_ended_is_handed_out_again_and_the_first_worker_is_shut_out(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    first = await claimed(store, plan, "w1")
    await end_leases(database)

    assert await store.sweep() == 1

    again = await claimed(store, plan, "w2")
    assert (again.id, again.attempt) == (first.id, 2)
    assert again.fencing_token > first.fencing_token
    (attempt,) = again.previous_attempts
    assert (attempt.outcome, attempt.worker_id) == (Outcome.LEASE_ENDED, "w1")
    assert attempt.error == {"code": "lease_ended", "message": "worker w1 did not renew its lease"}
    assert (await renew(store, first)).state == ClaimState.LOST
    with pytest.raises(StaleClaim):
        await complete(store, first, output_data={"by": "w1"})
    with pytest.raises(StaleClaim):
        await fail(store, first)
    assert (await complete(store, again, output_data={"by": "w2"})).output_data == {"by": "w2"}


async def test_claims_take_over_ended_leases_by_themselves(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    await claimed(store, plan, "w1")
    await end_leases(database)

    (packet,) = await claim(elsewhere, "w2")

    assert (packet.worker_id, packet.attempt) == ("w2", 2)


async def test_a_sweep_takes_back_however_many_there_are(
    store: PlanStore, database: Database
) -> None:
    plan, _ = await woven(store, {f"t{n}": [] for n in range(230)})
    await claim(store, plan=plan, limit=230)
    await end_leases(database)

    assert await store.sweep() == 230
    assert await store.sweep() == 0
    assert len(await claim(store, limit=500)) == 230


async def test_an_ended_lease_counts_as_an_attempt(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, retry_policy={"max_retries": 1})

    for _ in range(2):
        await claimed(store, plan)
        await end_leases(database)
        await store.sweep()

    ended = await store.get_task(task.id)
    assert (ended.status, ended.needs_review, ended.attempt) == (S.FAILED, False, 2)
    assert isinstance(ended.error, dict)
    assert ended.error["code"] == "lease_ended"
    assert await status_of(store, plan) == P.FAILED


async def test_a_task_that_must_not_run_twice_needs_a_review_once_its_worker_vanished(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, side_effects="once")
    await claimed(store, plan)
    await end_leases(database)

    await store.sweep()

    ended = await store.get_task(task.id)
    assert (ended.status, ended.needs_review) == (S.FAILED, True)
    assert await claim(store) == []


@pytest.mark.parametrize("verb", ["complete", "skip", "reset", "retry"])
async def test_a_review_ends_with_what_is_decided(
    store: PlanStore, database: Database, verb: str
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, side_effects="once")
    await claimed(store, plan)
    await end_leases(database)
    await store.sweep()

    await getattr(store, f"{verb}_task")(task.id)

    decided = await store.get_task(task.id)
    assert not decided.needs_review
    assert (decided.status == S.PENDING) == (verb in {"reset", "retry"})
    assert len(await claim(store)) == (verb in {"reset", "retry"})


async def test_a_task_that_must_not_run_twice_is_tried_again_where_its_worker_says_it_failed(
    store: PlanStore,
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, side_effects="once")

    ended = await fail(store, await claimed(store, plan), retry_in_seconds=0)

    assert (ended.status, ended.needs_review) == (S.PENDING, False)


async def test_a_timeout_bounds_the_run_whatever_its_heartbeats_say(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, timeout_seconds=100, retry_policy={"initial_delay_sec": 8})
    packet = await claimed(store, plan)
    await pass_time(database, 50)

    renewed = await renew(store, packet)

    assert packet.lease_expires_at - packet.updated_at == timedelta(seconds=60)
    assert renewed.lease_expires_at is not None
    assert renewed.lease_expires_at < packet.updated_at + timedelta(seconds=51)
    await end_leases(database)
    assert (await renew(store, packet)).state == ClaimState.LOST
    assert await store.sweep() == 1
    (attempt,) = await store.list_attempts(packet.id)
    assert attempt.outcome == Outcome.TIMED_OUT
    assert isinstance(attempt.error, dict)
    assert attempt.error["code"] == "timed_out"
    assert await claim(store) == []  # it waits, as after any failure
    await pass_time(database, 8)
    assert len(await claim(store)) == 1


async def test_a_lease_is_not_longer_than_the_timeout(store: PlanStore) -> None:
    plan = await plan_of(store)
    await task_of(store, plan, timeout_seconds=5)

    packet = await claimed(store, plan, lease_seconds=3_600)

    assert packet.lease_expires_at - packet.updated_at == timedelta(seconds=5)


@pytest.mark.parametrize(("verb", "status"), [("pause_plan", S.PENDING), ("cancel_plan", S.FAILED)])
async def test_a_lease_that_ends_in_a_plan_that_hands_out_nothing_starts_nothing(
    store: PlanStore, database: Database, verb: str, status: S
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await claimed(store, plan)
    await getattr(store, verb)(plan.id)
    await end_leases(database)

    assert await store.sweep() == 1

    assert (await store.get_task(task.id)).status == status
    assert await claim(store) == []


async def test_what_is_started_by_hand_has_no_lease(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    task = await moved(store, await task_of(store, plan), S.RUNNING)

    await pass_time(database, 100_000)

    assert await store.sweep() == 0
    assert (await store.get_task(task.id)).status == S.RUNNING
    assert (await store.complete_task(task.id)).status == S.COMPLETED


async def test_what_completes_before_anybody_noticed_that_its_lease_ended_is_taken(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    await task_of(store, plan)
    packet = await claimed(store, plan)
    await end_leases(database)

    assert (await complete(store, packet)).status == S.COMPLETED
    assert await store.sweep() == 0


async def test_those_who_need_a_task_wait_while_it_is_run_again(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": [{"task": "a", "when": "ended"}]})
    await claimed(store, plan)
    await end_leases(database)

    await store.sweep()

    assert {(await store.get_task(tasks[name].id)).status for name in "bc"} == {S.BLOCKED}
    packet: WorkPacket = await claimed(store, plan)
    assert len((await complete(store, packet)).unblocked) == 2
