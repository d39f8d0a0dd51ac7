"""Old events go, those of a plan together; plans that ended long ago go where that is wanted."""

from __future__ import annotations

import asyncio
from datetime import timedelta
from typing import TYPE_CHECKING, Final

import pytest

from planstore.errors import CursorGone, HistoryGone, NotFound
from planstore.models import PlanStatus, PlanUpdate, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.event import EventFilter
from planstore.models.query import TaskFilter
from planstore.models.retention import Kept, Pruned
from planstore.services import pruning, streaming
from planstore.services.doctor import examine
from tests.arranging import moved, plan_of, set_to, task_of
from tests.history import all_events
from tests.rivals import DEADLINE

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore

KEPT: Final = Kept(events=timedelta(days=90))
PLANS_KEPT: Final = Kept(events=None, plans=timedelta(days=30))

_PASS: Final = (
    "update planstore.events set created_at = created_at - $1::interval",
    """
    update planstore.plans
    set
      created_at = created_at - $1::interval,
      updated_at = updated_at - $1::interval,
      closed_at = closed_at - $1::interval
    """,
    "update planstore.plan_words set created_at = created_at - $1::interval",
    "update planstore.plan_marks set created_at = created_at - $1::interval",
    "update planstore.retention set pruned_before = pruned_before - $1::interval",
)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pruning, "_APART", 0)


async def pass_days(database: Database, days: int) -> None:
    """Let so many days have passed since all that has happened."""
    async with database.transaction() as conn:
        for statement in _PASS:
            await conn.execute(statement, timedelta(days=days))


async def finished_plan(store: PlanStore, *, tasks: int = 2) -> Plan:
    plan = await plan_of(store)
    for each in [await task_of(store, plan) for _ in range(tasks)]:
        await moved(store, each, S.COMPLETED)
    return plan


async def types_of(store: PlanStore, plan: Plan) -> list[str]:
    events = await store.list_events(EventFilter(plan_id=[plan.id]), limit=1_000)
    return [event.event_type for event in events]


async def seqs_of(store: PlanStore, plan: Plan) -> list[int]:
    return [event.seq for event in await store.list_events(EventFilter(plan_id=[plan.id]))]


async def count(database: Database, plan_id: UUID) -> int:
    return sum(event.plan_id == plan_id for event in await all_events(database))


async def test_the_events_of_a_plan_go_together_once_it_has_ended_for_long(
    store: PlanStore, database: Database
) -> None:
    settled, closed, going_on = (
        await finished_plan(store),
        await plan_of(store),
        await plan_of(store),
    )
    await set_to(store, closed, PlanStatus.CANCELLED)
    await task_of(store, going_on)
    before = len(await types_of(store, settled)) + len(await types_of(store, closed))
    await pass_days(database, 91)
    young = await finished_plan(store)
    stay = await types_of(store, going_on) + await types_of(store, young)

    assert await store.prune(KEPT) == Pruned(plans=0, events=before)

    assert await types_of(store, settled) == await types_of(store, closed) == []
    assert await types_of(store, going_on) + await types_of(store, young) == stay
    assert await store.prune(KEPT) == Pruned(plans=0, events=0)
    assert (await store.get_plan(settled.id)).status == PlanStatus.COMPLETED
    assert (await examine(database)).findings == ()


async def test_a_plan_that_went_on_is_met_again_when_it_has_ended_for_long(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan)
    await pass_days(database, 100)
    assert (await store.prune(KEPT)).events == 0
    await moved(store, task, S.COMPLETED)
    await pass_days(database, 80)
    assert (await store.prune(KEPT)).events == 0
    events = await count(database, plan.id)
    await pass_days(database, 11)

    assert (await store.prune(KEPT)).events == events

    assert await types_of(store, plan) == []


async def test_what_happens_to_a_plan_that_has_ended_keeps_its_events(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    task = await task_of(store, plan, status=S.COMPLETED)
    await pass_days(database, 100)
    await store.update_task(task.id, TaskUpdate(metadata={"read": True}))

    assert (await store.prune(KEPT)).events == 0

    assert (await types_of(store, plan))[0] == "plan.created"


async def test_that_a_plan_was_deleted_stays_known(store: PlanStore, database: Database) -> None:
    plan = await finished_plan(store)
    await store.delete_plan(plan.id)
    *_, deleted = await store.list_events()
    await pass_days(database, 91)

    assert (await store.prune(KEPT)).events == deleted.seq - 1

    (event,) = await store.list_events()
    assert event.event_type == "plan.deleted"
    assert await types_of(store, plan) == ["plan.deleted"]
    assert await store.get_event(event.id) == event
    assert (await store.prune(KEPT)).events == 0
    assert (await examine(database)).findings == ()
    async with store.stream_events(plan_id=plan.id, after=0) as stream:
        told = await stream.next()
        while told is not None and not told.events:
            told = await stream.next(within=0.1)
        assert told is not None
        assert [each.event_type for each in told.events] == ["plan.deleted"]


async def test_the_past_of_a_pruned_plan_is_no_longer_known(
    store: PlanStore, database: Database
) -> None:
    plan = await finished_plan(store)
    await pass_days(database, 91)
    (created, *_) = await all_events(database)
    assert (await store.get_plan(plan.id, at=created.created_at)).version == 1
    await store.prune(KEPT)

    with pytest.raises(HistoryGone):
        await store.get_plan(plan.id, at=created.created_at)
    with pytest.raises(HistoryGone):
        await store.list_tasks(plan_id=plan.id, at=created.created_at)
    with pytest.raises(HistoryGone):
        await store.get_revision(plan.id, 2)
    await set_to(store, plan, PlanStatus.ACTIVE)
    with pytest.raises(HistoryGone):
        await store.get_plan(plan.id, at=created.created_at)
    assert await types_of(store, plan) == ["plan.reopened"]
    assert (await examine(database)).findings == ()


async def test_a_cursor_that_is_older_than_the_log_is_refused(
    store: PlanStore, database: Database
) -> None:
    other = await plan_of(store)
    plan = await finished_plan(store)
    *_, last = await all_events(database)
    await pass_days(database, 91)
    await task_of(store, other)
    seen = (await seqs_of(store, other))[0]
    await store.prune(KEPT)

    for after in (seen, last.seq - 1):
        with pytest.raises(CursorGone, match="no longer kept"):
            await store.list_events(after=after)
        with pytest.raises(CursorGone):
            async with store.stream_events(after=after):
                pass
        with pytest.raises(CursorGone):
            await store.list_events(EventFilter(plan_id=[plan.id]), after=after)
        with pytest.raises(CursorGone):
            async with store.stream_events(plan_id=plan.id, after=after):
                pass
    # Nothing of this plan is missing, and nothing after that place; and who begins takes what
    # there is.
    assert len(await store.list_events(EventFilter(plan_id=[other.id]), after=seen)) == 2
    async with store.stream_events(plan_id=other.id, after=seen):
        pass
    assert len(await store.list_events(after=last.seq)) == 2
    assert len(await store.list_events()) == 3


async def test_a_reader_who_is_overtaken_by_pruning_is_told_so(
    store: PlanStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "_BITE", 2)
    for _ in range(3):
        await finished_plan(store)
    await pass_days(database, 91)
    kept = await plan_of(store)
    async with store.stream_events(after=1) as behind, store.stream_events() as at_end:
        told = []
        async with asyncio.timeout(DEADLINE):
            while not told:
                more = await behind.next(within=0.1)
                assert more is not None
                told = [event.seq for event in more.events]
        assert told == [2, 3]
        await store.prune(KEPT)
        with pytest.raises(CursorGone):
            await behind.next()
        task = await task_of(store, kept)
        async with asyncio.timeout(DEADLINE):
            async for event in at_end:
                assert event.aggregate_id == task.id
                break


async def test_much_is_removed_in_bites(
    store: PlanStore, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pruning, "_BITE", 3)
    monkeypatch.setattr(pruning, "_LOOKED_AT", 4)
    stays = await plan_of(store)
    plans = [await finished_plan(store, tasks=count) for count in (1, 5, 2)]
    removed = len(await all_events(database)) - 1
    await pass_days(database, 91)

    assert await store.preview_pruning(KEPT) == Pruned(plans=0, events=removed)
    assert len(await all_events(database)) == removed + 1
    assert await store.prune(KEPT) == Pruned(plans=0, events=removed)

    (left,) = await all_events(database)
    assert left.plan_id == stays.id
    assert [await types_of(store, plan) for plan in plans] == [[], [], []]
    assert await store.preview_pruning(KEPT) == Pruned(plans=0, events=0)


async def test_several_may_prune_at_once(
    store: PlanStore,
    elsewhere: PlanStore,
    database: Database,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(pruning, "_BITE", 3)
    for _ in range(5):
        await finished_plan(store)
    await pass_days(database, 91)

    pruned = await asyncio.gather(*(each.prune(KEPT) for each in (store, elsewhere) * 2))

    assert sum(each.events for each in pruned) > 0
    await store.prune(KEPT)
    assert await all_events(database) == []


async def test_what_a_relay_has_still_to_pass_on_is_kept(
    store: PlanStore, database: Database
) -> None:
    passed_on, not_yet = await finished_plan(store), await finished_plan(store)
    place = (await seqs_of(store, passed_on))[-1]
    async with database.connection() as conn:
        await conn.execute("insert into planstore.relays (name, place) values ('r', $1)", place)
    await pass_days(database, 91)

    await store.prune(KEPT)

    assert await types_of(store, passed_on) == []
    assert (await types_of(store, not_yet))[0] == "plan.created"


async def test_nothing_is_removed_where_all_is_kept(store: PlanStore, database: Database) -> None:
    await finished_plan(store)
    await pass_days(database, 5_000)
    assert await store.prune(Kept(events=None)) == Pruned(plans=0, events=0)
    assert (await store.list_events())[0].event_type == "plan.created"


async def test_plans_that_ended_long_ago_are_deleted_where_that_is_wanted(
    store: PlanStore, database: Database
) -> None:
    old, cancelled, active, edited = (
        await finished_plan(store),
        await plan_of(store),
        await plan_of(store),
        await finished_plan(store),
    )
    await set_to(store, cancelled, PlanStatus.CANCELLED)
    running = await plan_of(store)
    await task_of(store, running, status=S.RUNNING)
    await set_to(store, running, PlanStatus.CANCELLED)
    (task, *_) = await store.list_tasks(TaskFilter(plan_id=[edited.id]))
    await pass_days(database, 31)
    await store.update_task(task.id, TaskUpdate(metadata={"read": True}))
    young = await finished_plan(store)

    assert await store.preview_pruning(PLANS_KEPT) == Pruned(plans=3, events=0)
    assert await store.prune(PLANS_KEPT) == Pruned(plans=2, events=0)

    for gone in (old, cancelled):
        with pytest.raises(NotFound):
            await store.get_plan(gone.id)
        assert (await types_of(store, gone))[-1] == "plan.deleted"
    for kept in (active, edited, running, young):
        assert await store.get_plan(kept.id)
    assert (await examine(database)).findings == ()


async def test_plans_are_deleted_though_their_events_went_before(
    store: PlanStore, database: Database
) -> None:
    plan = await finished_plan(store)
    await pass_days(database, 91)
    await store.prune(KEPT)
    await pass_days(database, 31)

    assert (await store.prune(PLANS_KEPT)).plans == 1

    assert await types_of(store, plan) == ["plan.deleted"]


async def test_a_plan_that_is_opened_again_meanwhile_is_kept(
    store: PlanStore, database: Database
) -> None:
    plan = await finished_plan(store)
    await pass_days(database, 31)
    await store.update_plan(plan.id, PlanUpdate(status=PlanStatus.ACTIVE))

    assert (
        await pruning._delete(  # pyright: ignore[reportPrivateUsage] - between look and lock
            database, timedelta(days=30), [plan.id]
        )
        == 0
    )

    assert (await store.get_plan(plan.id)).status == PlanStatus.ACTIVE


async def test_what_a_young_plan_lacks_is_found_though_old_ones_were_pruned(
    store: PlanStore, database: Database
) -> None:
    await finished_plan(store)
    await pass_days(database, 91)
    await store.prune(KEPT)
    plan = await plan_of(store)
    assert (await examine(database)).findings == ()
    async with database.connection() as conn:
        await conn.execute("delete from planstore.events where plan_id = $1", plan.id)

    (finding,) = (await examine(database)).findings

    assert (finding.rule, finding.examples) == ("change_without_event", (plan.id,))
