"""Rivals for the end of a run: what comes first stands, and whoever comes late is told so."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import pytest

from planstore.errors import InvalidTransition, ResultConflict, StaleClaim
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models import TaskUpdate
from planstore.models.claim import ClaimState, Outcome
from planstore.models.idempotency import Idempotency
from tests.arranging import moved, plan_of, status_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, complete_all, fail, release, renew
from tests.rivals import behind_key, behind_plan, behind_task
from tests.services.weaving import claimed, woven
from tests.time_travel import end_leases

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")


@pytest.fixture
async def packet(store: PlanStore, elsewhere: PlanStore) -> WorkPacket:
    """A task that runs under a claim, in a plan with another one after it.

    It was claimed elsewhere, for within one process those who end runs of a plan take turns.
    """
    plan = await plan_of(store)
    await task_of(store, plan, retry_policy={"initial_delay_sec": 0})
    await task_of(store, plan)
    return await claimed(elsewhere, plan)


async def events_of(database: Database, task_id: UUID) -> list[str]:
    """What happened to the task, without its creation and its first start."""
    told = [each.event_type for each in await all_events(database) if each.aggregate_id == task_id]
    return told[2:]


async def outcomes_of(store: PlanStore, task_id: UUID) -> list[Outcome | None]:
    return [attempt.outcome for attempt in await store.list_attempts(task_id)]


async def kept_of(database: Database) -> list[dict[str, Any]]:
    """What late holders sent."""
    return [
        event.metadata["refused"]
        for event in await all_events(database)
        if event.event_type == "task.result_refused"
    ]


async def test_a_completion_before_the_sweep_is_taken(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    await end_leases(database)

    async with behind_plan(database_url, packet.plan_id) as queue:
        completed = await queue.join(complete(store, packet, output_data={"n": 1}))
        swept = await queue.join(store.sweep())
        await queue.release()

    assert ((await completed).status, await swept) == (S.COMPLETED, 0)
    assert await events_of(database, packet.id) == ["task.completed"]
    assert await outcomes_of(store, packet.id) == [Outcome.COMPLETED]


async def test_a_completion_after_the_sweep_is_late(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    await end_leases(database)

    async with behind_plan(database_url, packet.plan_id) as queue:
        swept = await queue.join(store.sweep())
        late = await queue.join(complete(store, packet, output_data={"n": 1}))
        await queue.release()

    assert await swept == 1
    assert isinstance(late.exception(), StaleClaim)
    task = await store.get_task(packet.id)
    assert (task.status, task.output_data) == (S.PENDING, None)
    assert await events_of(database, packet.id) == ["task.requeued", "task.result_refused"]
    assert await kept_of(database) == [
        {"verb": "complete", "fencing_token": packet.fencing_token, "output_data": {"n": 1}}
    ]


async def test_of_many_sweeps_at_once_each_lease_is_ended_by_one(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan, tasks = await woven(store, {f"t{n}": [] for n in range(30)})
    await claim(elsewhere, plan=plan)
    await end_leases(database)

    swept = await asyncio.gather(*(each.sweep() for each in (store, elsewhere) * 3))

    assert sum(swept) == 30
    for task in tasks.values():
        assert await events_of(database, task.id) == ["task.requeued"]


async def test_a_heartbeat_before_the_sweep_keeps_the_claim(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    await end_leases(database)

    async with behind_task(database_url, packet.id) as queue:
        renewed = await queue.join(renew(store, packet))
        swept = await queue.join(store.sweep())
        await queue.release()

    assert ((await renewed).state, await swept) == (ClaimState.RENEWED, 0)
    assert (await complete(store, packet)).status == S.COMPLETED


async def test_a_heartbeat_after_the_sweep_finds_the_claim_lost(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    await end_leases(database)

    async with behind_task(database_url, packet.id) as queue:
        swept = await queue.join(store.sweep())
        late = await queue.join(renew(store, packet, progress=50))
        await queue.release()

    assert await swept == 1
    assert ((await late).state, (await late).lease_expires_at) == (ClaimState.LOST, None)
    assert await events_of(database, packet.id) == ["task.requeued"]


@pytest.mark.parametrize("is_beat_first", [True, False])
async def test_a_heartbeat_beside_a_completion_undoes_nothing(
    store: PlanStore, database_url: str, packet: WorkPacket, *, is_beat_first: bool
) -> None:
    rivals: list[Any] = [renew(store, packet, progress=99), complete(store, packet)]

    async with behind_task(database_url, packet.id) as queue:
        first, second = [
            await queue.join(each) for each in (rivals if is_beat_first else reversed(rivals))
        ]
        await queue.release()

    beat = first if is_beat_first else second
    assert (await beat).state == (ClaimState.RENEWED if is_beat_first else ClaimState.LOST)
    task = await store.get_task(packet.id)
    assert (task.status, task.progress) == (S.COMPLETED, 99 if is_beat_first else None)


async def test_a_completion_before_the_cancellation_lets_the_next_task_be_skipped(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        completed = await queue.join(complete(store, packet))
        cancelled = await queue.join(store.cancel_plan(packet.plan_id))
        await queue.release()

    (unblocked,) = (await completed).unblocked
    assert (await cancelled).status == P.CANCELLED
    assert (await store.get_task(unblocked)).status == S.SKIPPED
    assert (await store.get_task(packet.id)).status == S.COMPLETED
    assert await events_of(database, packet.id) == ["task.completed"]


async def test_a_completion_after_the_cancellation_is_taken_and_changes_no_plan(
    store: PlanStore, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        cancelled = await queue.join(store.cancel_plan(packet.plan_id))
        completed = await queue.join(complete(store, packet, output_data={"n": 1}))
        await queue.release()

    assert ((await completed).status, (await completed).unblocked) == (S.COMPLETED, [])
    after = await store.get_plan(packet.plan_id)
    assert (after.status, after.closed_at) == (P.CANCELLED, (await cancelled).closed_at)
    assert [task.status for task in await store.list_tasks(plan_id=after.id)] == [
        S.COMPLETED,
        S.SKIPPED,
    ]


async def test_a_failure_after_the_cancellation_is_not_tried_again(
    store: PlanStore, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        await queue.join(store.cancel_plan(packet.plan_id))
        failed = await queue.join(fail(store, packet))
        await queue.release()

    assert (await failed).status == S.FAILED
    assert (await store.get_plan(packet.plan_id)).status == P.CANCELLED


@pytest.mark.parametrize(
    ("plan_type", "parts"),
    [("dag", (2,)), ("sequential", (2,)), ("sequential", (1, 1)), ("dag", (1, 2)), ("dag", (1, 1))],
)
async def test_however_the_last_tasks_end_at_once_the_plan_settles_once(
    store: PlanStore,
    elsewhere: PlanStore,
    database: Database,
    database_url: str,
    *,
    plan_type: str,
    parts: Sequence[int],
) -> None:
    plan = await plan_of(store, plan_type=plan_type)
    for _ in range(sum(parts)):
        await task_of(store, plan, sequence_order=1)
    packets = iter(await claim(elsewhere))
    batches = [[next(packets) for _ in range(part)] for part in parts]

    async with behind_plan(database_url, plan.id) as queue:
        for batch in reversed(batches):
            await queue.join(complete_all(store, batch))
        await queue.release()

    assert await status_of(store, plan) == P.COMPLETED
    told = [event.event_type for event in await all_events(database)]
    assert (told.count("plan.completed"), told[-1]) == (1, "plan.completed")


async def test_two_reports_of_one_completion_are_answered_alike(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        reports = [
            await queue.join(complete(store, packet, output_data={"n": 1})) for _ in range(2)
        ]
        await queue.release()

    first, second = [(await report).model_dump(exclude={"unblocked"}) for report in reports]
    assert first == second
    assert await events_of(database, packet.id) == ["task.completed"]
    assert await outcomes_of(store, packet.id) == [Outcome.COMPLETED]


async def test_of_two_results_of_one_holder_the_first_stands(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        await queue.join(complete(store, packet, output_data={"n": 1}))
        late = await queue.join(complete(store, packet, output_data={"n": 2}))
        await queue.release()

    assert isinstance(late.exception(), ResultConflict)
    assert (await store.get_task(packet.id)).output_data == {"n": 1}
    (kept,) = await kept_of(database)
    assert kept["output_data"] == {"n": 2}


async def test_a_failure_before_the_skip_is_tried_again_in_vain(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        failed = await queue.join(fail(store, packet))
        skipped = await queue.join(store.skip_task(packet.id))
        await queue.release()

    await failed
    assert (await skipped).status == S.SKIPPED
    assert (await skipped).error == "boom"
    assert await events_of(database, packet.id) == ["task.requeued", "task.skipped"]
    assert await outcomes_of(store, packet.id) == [Outcome.FAILED]


async def test_a_failure_after_the_skip_is_late(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        skipped = await queue.join(store.skip_task(packet.id))
        late = await queue.join(fail(store, packet))
        await queue.release()

    assert (await skipped).status == S.SKIPPED
    assert isinstance(late.exception(), StaleClaim)
    assert (await store.get_task(packet.id)).error is None
    (kept,) = await kept_of(database)
    assert (kept["verb"], kept["error"]) == ("fail", "boom")


@pytest.mark.parametrize(
    ("status", "event"),
    [(S.PENDING, "task.released"), (S.BLOCKED, "task.held"), (S.FAILED, "task.failed")],
)
async def test_a_completion_after_an_override_is_late(
    store: PlanStore,
    database: Database,
    database_url: str,
    packet: WorkPacket,
    *,
    status: S,
    event: str,
) -> None:
    key, update = Idempotency("override"), TaskUpdate(status=status)

    async with behind_key(database_url, key.of(f"update_task {packet.id}", update)) as queue:
        override = await queue.join(store.update_task(packet.id, update, idempotency=key))
        late = await queue.join(complete(store, packet, output_data={"n": 1}))
        await queue.release()

    assert (await override).status == status
    assert isinstance(late.exception(), StaleClaim)
    assert (await store.get_task(packet.id)).output_data is None
    assert await events_of(database, packet.id) == [event, "task.result_refused"]


async def test_an_override_by_a_result_stands_against_the_holders(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        override = await queue.join(moved(store, packet, S.COMPLETED, output_data={"by": "hand"}))
        late = await queue.join(complete(store, packet, output_data={"by": "holder"}))
        await queue.release()

    assert (await override).output_data == {"by": "hand"}
    assert isinstance(late.exception(), StaleClaim)
    assert (await store.get_task(packet.id)).output_data == {"by": "hand"}
    (kept,) = await kept_of(database)
    assert kept["output_data"] == {"by": "holder"}


async def test_an_override_after_the_holders_result_changes_nothing(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        completed = await queue.join(complete(store, packet, output_data={"n": 1}))
        late = await queue.join(moved(store, packet, S.FAILED))
        await queue.release()

    assert isinstance(late.exception(), InvalidTransition)
    assert (await store.get_task(packet.id)).version == (await completed).version
    assert await events_of(database, packet.id) == ["task.completed"]


async def test_what_is_reported_after_a_reset_is_late(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        reset = await queue.join(store.reset_task(packet.id))
        late = await queue.join(complete(store, packet, output_data={"n": 1}))
        await queue.release()

    assert (await reset).status == S.PENDING
    assert isinstance(late.exception(), StaleClaim)
    assert (await renew(store, packet)).state == ClaimState.LOST
    (again,) = await claim(store, "w2")
    assert (again.id, again.output_data) == (packet.id, None)
    assert again.fencing_token > packet.fencing_token
    assert await events_of(database, packet.id) == [
        "task.released",
        "task.result_refused",
        "task.started",
    ]
    assert await outcomes_of(store, packet.id) == [Outcome.OVERRIDDEN, None]


async def test_a_reset_after_the_completion_has_the_task_run_again(
    store: PlanStore, database: Database, database_url: str, packet: WorkPacket
) -> None:
    async with behind_plan(database_url, packet.plan_id) as queue:
        await queue.join(complete(store, packet, output_data={"n": 1}))
        reset = await queue.join(store.reset_task(packet.id))
        await queue.release()

    assert ((await reset).status, (await reset).output_data) == (S.PENDING, None)
    assert await events_of(database, packet.id) == ["task.completed", "task.reset"]
    (again,) = await claim(store, "w2")
    assert again.id == packet.id


async def test_what_was_reset_and_claimed_anew_is_the_second_holders(
    store: PlanStore, elsewhere: PlanStore, database_url: str, packet: WorkPacket
) -> None:
    await store.reset_task(packet.id)
    (again,) = await claim(elsewhere, "w2")

    async with behind_plan(database_url, packet.plan_id) as queue:
        late = await queue.join(complete(store, packet, output_data={"by": "first"}))
        completed = await queue.join(complete(store, again, output_data={"by": "second"}))
        await queue.release()

    assert isinstance(late.exception(), StaleClaim)
    assert (await completed).output_data == {"by": "second"}


@pytest.mark.parametrize("is_release_first", [True, False])
async def test_of_a_release_and_a_completion_the_first_counts(
    store: PlanStore, database_url: str, packet: WorkPacket, *, is_release_first: bool
) -> None:
    rivals = [release(store, packet), complete(store, packet)]

    async with behind_plan(database_url, packet.plan_id) as queue:
        first, late = [
            await queue.join(each) for each in (rivals if is_release_first else reversed(rivals))
        ]
        await queue.release()

    assert (await first).status == (S.PENDING if is_release_first else S.COMPLETED)
    assert isinstance(late.exception(), StaleClaim)
    assert (await store.get_task(packet.id)).status == (await first).status
