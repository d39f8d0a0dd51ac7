"""Plans and tasks as they stood at a time or a revision, told from their events.

All that one answer rests on is read at one moment. Of a list, the places of the plan's tasks are
read first and then what there is of those on the page, so that it takes as much memory as a list
of the present.
"""

from __future__ import annotations

import asyncio
from datetime import UTC, timedelta
from typing import TYPE_CHECKING, Any, Final

from planstore.errors import Fault, HistoryGone, InvalidInput, NotFound
from planstore.models.history import (
    MAX_TASKS,
    Past,
    PlanDiff,
    Revision,
    Side,
    WholeRevision,
    difference,
    in_order,
    names_in,
    needed_in,
    plan_of,
    planned,
    task_of,
)
from planstore.models.page import (
    PLACE_AMONG_REVISIONS,
    PLACE_IN_PLAN,
    Page,
    decode_cursor,
    encode_cursor,
)
from planstore.services import refusals
from planstore.sql import events, plans, tasks
from planstore.sql.finding import of_tasks

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from datetime import datetime
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.history import Event, Names
    from planstore.models.plan import Plan
    from planstore.models.task import Task
    from planstore.sql.connection import Connection, Row

_CLOCKS_DIFFER: Final = timedelta(minutes=1)
"""By how much a client's clock may be ahead of the database's: that much later is now."""


async def get_plan(database: Database, plan_id: UUID, at: datetime) -> Plan:
    """Return a plan as it stood."""
    async with database.moment() as conn:
        before = await _horizon(conn, plan_id, at)
        past = await _told(events.of_objects(conn, plan_id, [plan_id], before=before))
    fields = _there(past, plan_id, at).plan
    assert fields is not None
    return plan_of(fields)


async def get_task(database: Database, task_id: UUID, at: datetime) -> Task:
    """Return a task as it stood."""
    async with database.moment() as conn:
        row = await tasks.get(conn, task_id)
        plan_id = await events.plan_of_deleted(conn, task_id) if row is None else row["plan_id"]
        if plan_id is None:
            raise NotFound(
                f"there is no task {task_id}; if its plan was deleted, list the tasks of the plan "
                "as they were by plan_id and at"
            )
        before = await _horizon(conn, plan_id, at)
        past = await _told(events.of_objects(conn, plan_id, [plan_id, task_id], before=before))
    _there(past, plan_id, at)
    if task_id not in past.tasks:
        since = f"; it has existed since {_shown(row['created_at'])}" if row is not None else ""
        raise NotFound(f"there was no task {task_id} at {_shown(at)}{since}")
    return task_of(past.tasks[task_id])


def needs_plan() -> InvalidInput:
    """The error for a list of the past that isn't one of a plan's tasks and nothing else."""
    fault = Fault("?at", "it is taken with plan_id alone, beside limit, offset and cursor")
    return InvalidInput("Of the past only the tasks of one plan are listed.", faults=(fault,))


async def list_tasks(
    database: Database,
    plan_id: UUID,
    at: datetime,
    *,
    limit: int,
    offset: int,
    cursor: str | None,
) -> Page[Task]:
    """Return tasks of a plan as they stood, in the order that they had then."""
    after = of_tasks.IN_PLAN.first if cursor is None else decode_cursor(cursor, PLACE_IN_PLAN)
    async with database.moment() as conn:
        before = await _horizon(conn, plan_id, at)
        past = _there(await _told(events.placing(conn, plan_id, before=before)), plan_id, at)
        left = [place for place in in_order(past) if place > after][offset:]
        ids = [task_id for *_, task_id in left[:limit]]
        told = await _told(events.of_objects(conn, plan_id, ids, before=before))
    page = Page(task_of(told.tasks[task_id]) for task_id in ids)
    if len(left) > limit:
        page.next_cursor = encode_cursor(left[limit - 1])
    return page


async def _horizon(conn: Connection, plan_id: UUID, at: datetime) -> int:
    """Return the first event of a plan that is later than ``at``.

    Raises:
        InvalidInput: the time is still to come.
        NotFound: there is no such plan, or wasn't yet.
        HistoryGone: events of that time are no longer kept.
    """
    now = await conn.fetchval("select now()")
    if at > now + _CLOCKS_DIFFER:
        fault = Fault("?at", f"it is still to come: by the database's clock it is {_shown(now)}")
        raise InvalidInput("What is to come isn't known.", faults=(fault,))
    since = await _beginning(conn, plan_id)
    if at < since:
        raise NotFound(
            f"there was no plan {plan_id} at {_shown(at)}: it exists since {_shown(since)}"
        )
    return await events.first_after(conn, plan_id, at)


async def _beginning(conn: Connection, plan_id: UUID) -> datetime:
    """Return since when there are events of a plan.

    Raises:
        NotFound: there is no such plan, and never was one.
        HistoryGone: its first events are no longer kept.
    """
    first = await events.beginning(conn, plan_id)
    if first is None and await plans.get(conn, plan_id) is None:
        raise refusals.no_plan(plan_id)
    if first is None or first["event_type"] != "plan.created":
        kept = "none" if first is None else f"only those since {_shown(first['created_at'])}"
        raise HistoryGone(
            f"how plan {plan_id} stood can't be told: that takes all its events, from its creation "
            f"on; {kept} are kept"
        )
    return first["created_at"]


async def _told(log: AsyncIterator[Event]) -> Past:
    past = Past()
    async for event in log:
        past.lay(event)
    return past


def _there(past: Past, plan_id: UUID, at: datetime) -> Past:
    """Return what is told of a plan that there was.

    Raises:
        NotFound: it had been deleted.
    """
    if past.deleted_at is not None:
        raise NotFound(
            f"there was no plan {plan_id} at {_shown(at)}: it was deleted at "
            f"{_shown(past.deleted_at)}"
        )
    return past


def _shown(at: datetime) -> str:
    """A time as it can be asked for."""
    return at.astimezone(UTC).isoformat().replace("+00:00", "Z")


async def list_revisions(
    database: Database, plan_id: UUID, *, limit: int, offset: int, cursor: str | None
) -> Page[Revision]:
    """Return the revisions of a plan, newest first."""
    last = None if cursor is None else decode_cursor(cursor, PLACE_AMONG_REVISIONS)
    async with database.moment() as conn:
        current = await _current(conn, plan_id)
        highest = (current if last is None else min(current, last[0] - 1)) - offset
        lowest = max(highest - limit + 1, 1)
        made = await events.revisions(conn, plan_id, lowest=lowest, highest=highest)
        tallies = await events.tallies(conn, plan_id, made)
    page = Page(
        Revision(revision=number, **_brief(each, tallies))
        for each in made
        for number in range(each["revision"], each["revision_before"], -1)
        if lowest <= number <= highest
    )
    if lowest > 1 and page and page[-1].revision == lowest:
        page.next_cursor = encode_cursor((lowest,))
    return page


def _brief(made: Row, tallies: dict[int, Row]) -> dict[str, Any]:
    """What was made by one revision, or by each of several that were made at once."""
    tally = tallies.get(made["seq"])
    counts = {
        name: tally[name] if tally is not None else 0
        for name in ("added", "changed", "removed", "rewired")
    }
    if _count(made) > 1:
        counts["added"] = 1
    return {"created_at": made["created_at"], "by": made["by"], "reason": made["reason"], **counts}


def _count(made: Row) -> int:
    """How many revisions were made at once: as many as there are tasks that came with it."""
    return made["revision"] - made["revision_before"]


async def get_revision(database: Database, plan_id: UUID, number: int) -> WholeRevision:
    """Return a revision of a plan, with the structure as it made it."""
    async with database.moment() as conn:
        made = await _revision(conn, plan_id, number, current=await _current(conn, plan_id))
        await _beginning(conn, plan_id)
        through = await _last_of(conn, plan_id, made, number)
        tallies = await events.tallies(conn, plan_id, [made])
        operations = await events.operations(conn, plan_id, made["seq"])
        placed = await _told(events.placing(conn, plan_id, before=through + 1))
        shown = [task_id for *_, task_id in in_order(placed)[:MAX_TASKS]]
        past = await _told(events.structural(conn, plan_id, shown, through=through))
        names = await _names(conn, plan_id, past, through=through)

    def draw() -> WholeRevision:
        return WholeRevision(
            revision=number,
            **_brief(made, tallies),
            operations=operations,
            tasks=[planned(task_id, past.tasks[task_id], names) for task_id in shown],
            is_whole=len(shown) == len(placed.tasks),
        )

    return await asyncio.to_thread(draw)


async def compare_revisions(
    database: Database, plan_id: UUID, *, from_revision: int | None, to_revision: int | None
) -> PlanDiff:
    """Return how a plan's structure differs between two revisions."""
    async with database.moment() as conn:
        current = await _current(conn, plan_id)
        await _beginning(conn, plan_id)
        to = current if to_revision is None else to_revision
        start = max(to - 1, 1) if from_revision is None else from_revision
        old = await _through(conn, plan_id, start, current=current)
        new = events.NEVER
        if to_revision is not None:
            new = await _through(conn, plan_id, to, current=current)
        earlier, later = sorted((old, new))
        touched = await events.touched(
            conn, plan_id, after=earlier, through=later, limit=MAX_TASKS + 1
        )
        shown = touched[:MAX_TASKS]
        past = await _told(events.structural(conn, plan_id, shown, through=earlier))
        sides = {earlier: past.copy()}
        async for event in events.structural(conn, plan_id, shown, after=earlier, through=later):
            past.lay(event)
        sides[later] = past
        names = {seq: await _names(conn, plan_id, side, through=seq) for seq, side in sides.items()}

    def draw() -> PlanDiff:
        return difference(
            plan_id,
            Side(start, sides[old], names[old]),
            Side(to, sides[new], names[new]),
            is_whole=len(touched) == len(shown),
        )

    return await asyncio.to_thread(draw)


async def _current(conn: Connection, plan_id: UUID) -> int:
    """Return the revision that a plan is at.

    Raises:
        NotFound: there is no such plan.
    """
    plan = await plans.get(conn, plan_id)
    if plan is None:
        raise refusals.no_plan(plan_id)
    return plan["revision"]


async def _revision(conn: Connection, plan_id: UUID, number: int, *, current: int) -> Row:
    """Return the event that made a revision.

    Raises:
        NotFound: the plan has no such revision.
        HistoryGone: its event is no longer kept.
    """
    if not 1 <= number <= current:
        raise NotFound(f"plan {plan_id} has no revision {number}; it has 1 to {current}")
    made = await events.revisions(conn, plan_id, lowest=number, highest=number)
    if not made:
        raise HistoryGone(f"the events of revision {number} of plan {plan_id} are no longer kept")
    return made[0]


async def _last_of(conn: Connection, plan_id: UUID, made: Row, number: int) -> int:
    """Return the last event of a revision: the structure then is what all up to it add up to.

    Where several tasks were added by calls of their own at once, each of them is one.
    """
    if number == made["revision"]:
        return made["seq"]
    return await events.nth_added(conn, plan_id, made, number - made["revision_before"])


async def _through(conn: Connection, plan_id: UUID, number: int, *, current: int) -> int:
    made = await _revision(conn, plan_id, number, current=current)
    return await _last_of(conn, plan_id, made, number)


async def _names(conn: Connection, plan_id: UUID, past: Past, *, through: int) -> Names:
    """Return the names of tasks, and of those that they need."""
    names = names_in(past)
    if others := needed_in(past) - names.keys():
        told = await _told(events.structural(conn, plan_id, others, through=through))
        names |= names_in(told)
    return names
