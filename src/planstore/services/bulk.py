"""Doing one thing to many plans or tasks, in bites.

What a filter finds is gone through newest first, so that who needs others is usually met before
them. Each bite is done in a transaction of its own and left behind for good: its end is the place
from which another call goes on. So nobody is locked out for long, and what is refused for one
doesn't stop the others.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeVar

from planstore.errors import Fault, InvalidInput, PlanStoreError
from planstore.models.bulk import (
    MAX_EXAMPLES,
    MAX_REFUSALS,
    BulkRefusal,
    PlanAction,
    PlanBulk,
    PlanBulkAnswer,
    TaskAction,
    TaskBulk,
    TaskBulkAnswer,
)
from planstore.models.page import PLACE_IN_TIME, PlaceInTime, decode_cursor, encode_cursor
from planstore.models.plan import Plan
from planstore.models.task import Task
from planstore.services import deleting, following, refusals, steering
from planstore.services.once import KEY_LIFETIME
from planstore.services.outcomes import Outcomes
from planstore.sql import finding, plans, tasks
from planstore.sql import idempotency as keys
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Coroutine, Iterator, Sequence
    from uuid import UUID

    from pydantic import BaseModel

    from planstore.db import Database
    from planstore.models.idempotency import RequestKey
    from planstore.services.once import Writes
    from planstore.services.wakeups import Wakeups
    from planstore.sql.connection import Connection, Row

    Find = Callable[..., Awaitable[list[Row]]]
    Do = Callable[[Sequence[Row]], Coroutine[Any, Any, Outcomes]]

A = TypeVar("A", TaskBulkAnswer, PlanBulkAnswer)

AT_WORK: Final = 2.0
"""Seconds of work after which a call answers how far it got."""


class Sizes(NamedTuple):
    """How many are dealt with at once."""

    found: int
    """Looked for by one statement."""
    bite: int
    """Changed by one transaction."""
    plans: int
    """Plans that these may be, or belong to: so many are locked at once."""


COUNTING: Final = Sizes(found=10_000, bite=10_000, plans=10_000)
CHANGING: Final = Sizes(found=1_000, bite=1_000, plans=20)
STEERING: Final = Sizes(found=1_000, bite=1, plans=1)
"""What a verb does to a plan may concern all of its tasks."""


class BulkChanges:
    """What a process is asked to do to many."""

    def __init__(self, database: Database, writes: Writes, wakeups: Wakeups) -> None:
        self._database = database
        self._writes = writes
        self._wakeups = wakeups

    async def of_tasks(self, request: TaskBulk, *, key: RequestKey | None) -> TaskBulkAnswer:
        """Do something to the tasks that a filter finds, as many as can be done in a while."""
        _refuse_unclear(request, is_deletion=request.action == TaskAction.DELETE)

        async def work() -> TaskBulkAnswer:
            return await self._through(
                request,
                find=partial(finding.task_ids, found=request.filter),
                do=partial(self._do_to_tasks, request),
                sizes=CHANGING,
                show=_tasks_shown,
                kind=TaskBulkAnswer,
                key=key,
            )

        return await self._writes.do(work, key=key, replay=TaskBulkAnswer.model_validate)

    async def of_plans(self, request: PlanBulk, *, key: RequestKey | None) -> PlanBulkAnswer:
        """Do something to the plans that a filter finds, as many as can be done in a while."""
        _refuse_unclear(request, is_deletion=request.action == PlanAction.DELETE)

        async def work() -> PlanBulkAnswer:
            return await self._through(
                request,
                find=partial(finding.plan_ids, found=request.filter),
                do=partial(self._do_to_plans, request),
                sizes=CHANGING if request.action == PlanAction.DELETE else STEERING,
                show=_plans_shown,
                kind=PlanBulkAnswer,
                key=key,
            )

        return await self._writes.do(work, key=key, replay=PlanBulkAnswer.model_validate)

    async def _through(
        self,
        request: TaskBulk | PlanBulk,
        *,
        find: Find,
        do: Do,
        sizes: Sizes,
        show: Callable[[Connection, Sequence[UUID]], Awaitable[list[Any]]],
        kind: type[A],
        key: RequestKey | None,
    ) -> A:
        """Go through what is found for as long as a call may take, and answer how far it got."""
        await self._refuse_repetition(key)
        after = _place(request.cursor)
        far = await (
            self._go(find, _do_nothing, COUNTING, after)
            if request.dry_run
            else self._go(find, do, sizes, after)
        )
        async with self._database.transaction() as conn:
            answer = kind(
                matched=far.matched,
                changed=far.changed,
                unchanged=far.matched - far.changed - far.refused,
                refused=far.refused,
                refusals=far.refusals,
                next_cursor=far.after and encode_cursor(far.after),
                examples=await show(conn, far.first) if request.dry_run else [],
            )
            if key is not None:
                await keys.keep(conn, key, answer.model_dump(mode="json"))
        return answer

    async def _refuse_repetition(self, key: RequestKey | None) -> None:
        """Do nothing twice: here the key isn't kept by what does the work, but after all of it."""
        if key is not None:
            async with self._database.connection() as conn:
                if await keys.kept(conn, key, lifetime=KEY_LIFETIME):
                    raise refusals.KeyTaken

    async def _go(self, find: Find, do: Do, sizes: Sizes, after: PlaceInTime | None) -> _Far:
        far = _Far(after)
        deadline = _now() + AT_WORK
        is_more = True
        while is_more:
            rows = await self._found(find, far.after, sizes.found)
            for bite in _bites(rows, sizes):
                is_over = self._wakeups.is_stopped or _now() >= deadline
                if is_over and far.matched:  # each call gets somewhere
                    return far
                # It is done to its end, and again where rivals were in the way.
                far.add(await self._writes.do(partial(do, bite), key=None, replay=_unkept))
                far.note(bite)
            is_more = len(rows) == sizes.found
        far.after = None
        return far

    async def _found(self, find: Find, after: PlaceInTime | None, limit: int) -> list[Row]:
        async with self._database.connection() as conn:
            return await find(conn, after=after, limit=limit)

    async def _do_to_tasks(self, request: TaskBulk, rows: Sequence[Row]) -> Outcomes:
        async with self._database.transaction() as conn:
            if request.action in _ENDS:
                outcomes = await _end(conn, [row["id"] for row in rows], _ENDS[request.action])
            else:
                of_plan: defaultdict[UUID, list[UUID]] = defaultdict(list)
                for row in rows:
                    of_plan[row["plan_id"]].append(row["id"])
                outcomes = Outcomes()
                for plan in await plans.lock(conn, of_plan):
                    outcomes.add(await _do_to_tasks(conn, plan, of_plan[plan["id"]], request))
        if outcomes.changed:
            self._wakeups.hint()
        return outcomes

    async def _do_to_plans(self, request: PlanBulk, rows: Sequence[Row]) -> Outcomes:
        plan_ids = [row["id"] for row in rows]
        async with self._database.transaction() as conn:
            if request.action == PlanAction.DELETE:
                return await deleting.delete_plans(conn, plan_ids, force=request.force)
            outcomes = Outcomes()
            for plan in await plans.lock(conn, plan_ids):
                try:
                    if await _VERBS[request.action](conn, plan):
                        outcomes.changed.append(plan["id"])
                except PlanStoreError as error:  # it comes before anything is changed
                    outcomes.refused[plan["id"]] = error
        if outcomes.changed:
            self._wakeups.hint()
        return outcomes


@dataclass(slots=True)
class _Far:
    """How far a call got."""

    after: PlaceInTime | None
    """Where the next one goes on; None where there is nothing more, or it is yet to begin."""
    matched: int = 0
    changed: int = 0
    refused: int = 0
    refusals: list[BulkRefusal] = field(default_factory=list[BulkRefusal])
    first: list[UUID] = field(default_factory=list["UUID"])

    def add(self, outcomes: Outcomes) -> None:
        self.changed += len(outcomes.changed)
        self.refused += len(outcomes.refused)
        for each, error in outcomes.refused.items():
            if len(self.refusals) < MAX_REFUSALS:
                self.refusals.append(BulkRefusal(id=each, code=error.code, detail=error.detail))

    def note(self, rows: Sequence[Row]) -> None:
        """Leave what was found behind."""
        if rows:
            self.matched += len(rows)
            self.first += [row["id"] for row in rows[: MAX_EXAMPLES - len(self.first)]]
            self.after = rows[-1]["created_at"], rows[-1]["id"]


def _now() -> float:
    return asyncio.get_running_loop().time()


def _unkept(_kept: object) -> Outcomes:
    raise AssertionError("a bite has no key")


async def _do_nothing(_rows: Sequence[Row]) -> Outcomes:
    return Outcomes()


def _bites(rows: Sequence[Row], sizes: Sizes) -> Iterator[Sequence[Row]]:
    """Yield the rows in their order, of so many plans at a time."""
    bite: list[Row] = []
    of_plans: set[UUID] = set()
    for row in rows:
        of_plans.add(row["plan_id"])
        if len(of_plans) > sizes.plans or len(bite) == sizes.bite:
            yield bite
            bite, of_plans = [], {row["plan_id"]}
        bite.append(row)
    if bite:
        yield bite


_ENDS: Final = {
    TaskAction.CANCEL: End.SKIP,
    TaskAction.SKIP: End.SKIP,
    TaskAction.RELEASE: End.RELEASE,
}

_VERBS: Final = {
    PlanAction.START: steering.start,
    PlanAction.PAUSE: steering.pause,
    PlanAction.RESUME: steering.resume,
    PlanAction.CANCEL: steering.cancel,
    PlanAction.RETRY: steering.retry,
}


async def _end(conn: Connection, task_ids: Sequence[UUID], verb: End) -> Outcomes:
    """End tasks by hand, as an operator does who overrides their claims."""
    endings = [Ending(each, verb, is_override=True) for each in task_ids]
    ended = await following.end_runs(conn, endings)
    outcomes = Outcomes()
    for row, ending in zip(ended.rows, endings, strict=True):
        if row["verdict"] == "changed":
            outcomes.changed.append(ending.task_id)
        elif row["verdict"] not in {"same", "missing"}:
            outcomes.refused[ending.task_id] = refusals.of_ending(row, ending)
    return outcomes


async def _do_to_tasks(
    conn: Connection, plan: Row, task_ids: Sequence[UUID], request: TaskBulk
) -> Outcomes:
    """Do what is asked to tasks of a plan that is locked."""
    if request.action == TaskAction.DELETE:
        return await deleting.delete_tasks(conn, plan, task_ids, force=request.force)
    rows = await tasks.statuses(conn, plan["id"], task_ids)
    act = steering.retry_tasks if request.action == TaskAction.RETRY else steering.reset_tasks
    return await act(conn, plan, rows)


async def _tasks_shown(conn: Connection, task_ids: Sequence[UUID]) -> list[Task]:
    return [Task.model_validate(dict(row)) for row in await tasks.many(conn, task_ids)]


async def _plans_shown(conn: Connection, plan_ids: Sequence[UUID]) -> list[Plan]:
    return [Plan.model_validate(dict(row)) for row in await plans.many(conn, plan_ids)]


def _place(cursor: str | None) -> PlaceInTime | None:
    if cursor is None:
        return None
    try:
        return decode_cursor(cursor, PLACE_IN_TIME)
    except InvalidInput as error:
        fault = Fault("/cursor", "it isn't a cursor: use the next_cursor of the answer before")
        raise InvalidInput("The cursor can't be used.", faults=(fault,)) from error


def _refuse_unclear(request: TaskBulk | PlanBulk, *, is_deletion: bool) -> None:
    """Refuse what may not have been meant.

    Raises:
        InvalidInput: it would be done to all there are, and `all` doesn't say so; or more is said
            than can be done.
    """
    faults: list[Fault] = []
    is_empty = not _asked(request.filter)
    if is_empty and not request.all:
        faults.append(Fault("/filter", "it is empty; where every one is meant, say `all: true`"))
    if request.all and not is_empty:
        faults.append(Fault("/all", "there is a filter too; only one of them can be meant"))
    if request.force and not is_deletion:
        faults.append(Fault("/force", f"only delete can be forced, not {request.action.value}"))
    if faults:
        raise InvalidInput(f"It isn't clear what is meant: {faults[0].detail}", faults=(*faults,))


def _asked(found: BaseModel) -> bool:
    """Whether a filter leaves anything out: any metadata contain an empty object."""
    values = found.model_dump(exclude_none=True)
    return any(name != "metadata" or any(parts) for name, parts in values.items())
