"""Lists of plans and tasks: which order they have, and where their pages begin."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from planstore.models.page import (
    PLACE_AMONG_READY,
    PLACE_BY_NUMBER,
    PLACE_BY_TIME,
    PLACE_IN_PLAN,
    PLACE_IN_TIME,
    Page,
    decode_cursor,
    encode_cursor,
    of_another_list,
)
from planstore.models.plan import Plan
from planstore.models.task import Task
from planstore.sql import finding, words
from planstore.sql.finding import of_plans, of_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from pydantic import TypeAdapter

    from planstore.db import Database
    from planstore.models.query import PlanFilter, PlanSort, TaskFilter, TaskSort
    from planstore.sql.connection import Row
    from planstore.sql.finding import Order

_NEWEST: Final = "-created_at"
"""What asks for the order that a list has by itself."""

_BITE: Final = 100
"""Of how many statements that added tasks the words and marks are taken at once."""


@dataclass(frozen=True, slots=True)
class _Listed:
    """How a list is sorted, and what its cursors look like."""

    order: Order
    place: TypeAdapter[Any]
    name: str | None = None
    """What its cursors begin with, so that no other order takes them."""

    def after(self, cursor: str | None) -> tuple[Any, ...] | None:
        if cursor is None:
            return None
        place = decode_cursor(cursor, self.place)
        if self.name is None:
            return place
        name, *keys = place
        if name != self.name:
            raise of_another_list()
        return tuple(keys)

    def cursor(self, row: Row) -> str:
        place: Any = self.order.place_of(row)
        return encode_cursor(place if self.name is None else (self.name, *place))


def _sorts(orders: Mapping[str, Order]) -> dict[str, _Listed]:
    return {
        name: _Listed(
            order, PLACE_BY_NUMBER if order.kinds[0] == "integer" else PLACE_BY_TIME, name
        )
        for name, order in orders.items()
    }


_NEWEST_PLANS: Final = _Listed(of_plans.NEWEST, PLACE_IN_TIME)
_NEWEST_TASKS: Final = _Listed(of_tasks.NEWEST, PLACE_IN_TIME)
_IN_PLAN: Final = _Listed(of_tasks.IN_PLAN, PLACE_IN_PLAN)
_READY: Final = _Listed(of_tasks.READY, PLACE_AMONG_READY, "ready")

_PLAN_SORTS: Final = {**_sorts(of_plans.SORTS), _NEWEST: _NEWEST_PLANS}
_TASK_SORTS: Final = {**_sorts(of_tasks.SORTS), _NEWEST: _NEWEST_TASKS}


def _of_tasks(found: TaskFilter, sort: TaskSort | None) -> _Listed:
    if sort is not None:
        return _TASK_SORTS[sort]
    if found.ready:
        return _READY
    return _IN_PLAN if found.plan_id and len({*found.plan_id}) == 1 else _NEWEST_TASKS


def only_plan(found: TaskFilter) -> UUID | None:
    """The plan that a filter names, where it names one and nothing else."""
    asked = finding.asked_of(found)
    (plan_id, *others) = asked.get("plan_id", [None])
    return plan_id if asked.keys() == {"plan_id"} and not others else None


async def list_plans(
    database: Database,
    found: PlanFilter,
    *,
    sort: PlanSort | None,
    limit: int,
    offset: int,
    cursor: str | None,
) -> Page[Plan]:
    """Return the plans that a filter finds: the newest first, unless sorted."""
    listed = _NEWEST_PLANS if sort is None else _PLAN_SORTS[sort]
    after = listed.after(cursor)
    async with database.connection() as conn:
        rows = await finding.plans(
            conn,
            finding.asked_of(found),
            order=listed.order,
            after=after,
            limit=limit + 1,
            offset=offset,
        )
    page = Page(Plan.model_validate(_fields(row, Plan.model_fields)) for row in rows[:limit])
    if len(rows) > limit:
        page.next_cursor = listed.cursor(rows[limit - 1])
    return page


async def list_tasks(
    database: Database,
    found: TaskFilter,
    *,
    sort: TaskSort | None,
    limit: int,
    offset: int,
    cursor: str | None,
) -> Page[Task]:
    """Return the tasks that a filter finds, in the order that such a list has, unless sorted.

    Those of one plan come in their order, ready ones as they are handed out, others newest first.
    """
    listed = _of_tasks(found, sort)
    after = listed.after(cursor)
    async with database.connection() as conn:
        rows = await finding.tasks(
            conn,
            finding.asked_of(found),
            order=listed.order,
            after=after,
            limit=limit + 1,
            offset=offset,
        )
    page = Page(Task.model_validate(_fields(row, Task.model_fields)) for row in rows[:limit])
    if len(rows) > limit:
        page.next_cursor = listed.cursor(rows[limit - 1])
    return page


def _fields(row: Row, names: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row[name] for name in names}


async def take_words(database: Database) -> int:
    """Take the words and marks of all tasks that are due, in bites; answers of how many writes."""
    total = 0
    while True:
        async with database.connection() as conn:
            count = await words.take(conn, limit=_BITE)
        total += count
        if count < _BITE:
            return total
