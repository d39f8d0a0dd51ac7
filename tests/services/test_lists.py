"""Lists of tasks: their order, their limits, and the way from page to page."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from planstore.errors import InvalidInput
from tests.arranging import plan_of, task_of

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database
    from planstore.models import Task
    from planstore.services.plan_store import PlanStore


async def pages(store: PlanStore, *, limit: int, plan_id: UUID | None = None) -> list[list[Task]]:
    found: list[list[Task]] = []
    cursor = None
    while cursor is not None or not found:
        page = await store.list_tasks(plan_id=plan_id, limit=limit, cursor=cursor)
        found.append(list(page))
        cursor = page.next_cursor
    return found


async def test_a_plans_tasks_come_by_order_then_creation(store: PlanStore) -> None:
    plan, other = await plan_of(store), await plan_of(store)
    made = [await task_of(store, plan, sequence_order=order) for order in (2, 0, 1, 0, 2)]
    await task_of(store, other)

    tasks = await store.list_tasks(plan_id=plan.id)

    assert tasks == [made[n] for n in (1, 3, 2, 0, 4)]
    assert tasks.next_cursor is None


async def test_the_tasks_of_all_plans_come_newest_first(store: PlanStore) -> None:
    made = [await task_of(store, await plan_of(store), sequence_order=n) for n in (3, 1, 2)]

    assert await store.list_tasks() == made[::-1]
    assert await store.list_tasks(limit=2) == made[:0:-1]


async def test_tasks_of_one_instant_come_by_id(store: PlanStore, database: Database) -> None:
    plan = await plan_of(store)
    made = [await task_of(store, plan, id=uuid4(), sequence_order=0) for _ in range(5)]
    async with database.connection() as conn:
        await conn.execute("update planstore.tasks set created_at = now()")
    ids = sorted(task.id for task in made)

    in_plan = [task.id for page in await pages(store, limit=2, plan_id=plan.id) for task in page]
    of_all = [task.id for page in await pages(store, limit=2) for task in page]

    assert in_plan == ids
    assert of_all == ids[::-1]


async def test_an_unknown_plan_has_no_tasks(store: PlanStore) -> None:
    await task_of(store, await plan_of(store))

    assert await store.list_tasks(plan_id=uuid4()) == []


@pytest.mark.parametrize("limit", [1, 2, 3, 6, 7, 8])
async def test_paging_neither_misses_nor_repeats(store: PlanStore, limit: int) -> None:
    plan = await plan_of(store)
    for order in (1, 1, 2, 2, 2, 3, 3):
        await task_of(store, plan, sequence_order=order)
    in_order = list(await store.list_tasks(plan_id=plan.id))
    newest_first = list(await store.list_tasks())

    in_plan = await pages(store, limit=limit, plan_id=plan.id)
    of_all = await pages(store, limit=limit)

    assert [task for page in in_plan for task in page] == in_order
    assert [task for page in of_all for task in page] == newest_first
    assert {len(page) for page in in_plan[:-1]} <= {limit}


async def test_what_is_added_meanwhile_moves_no_page(store: PlanStore) -> None:
    plan = await plan_of(store)
    made = [await task_of(store, plan, sequence_order=order) for order in (1, 2, 3, 4)]
    first = await store.list_tasks(plan_id=plan.id, limit=2)

    await task_of(store, plan, sequence_order=0)
    late = await task_of(store, plan, sequence_order=3)
    second = await store.list_tasks(plan_id=plan.id, limit=9, cursor=first.next_cursor)

    assert second == [made[2], late, made[3]]


async def test_an_offset_skips(store: PlanStore) -> None:
    plan = await plan_of(store)
    made = [await task_of(store, plan) for _ in range(4)]

    assert await store.list_tasks(plan_id=plan.id, offset=1, limit=2) == made[1:3]
    assert await store.list_tasks(offset=3) == made[:1]
    assert await store.list_tasks(offset=4) == []


async def test_a_list_has_a_hundred_items_unless_told_otherwise(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store)
    for _ in range(101):
        await task_of(store, plan)

    page = await store.list_tasks()

    assert len(page) == 100
    assert page.next_cursor is not None
    assert all(newer.id > older.id for newer, older in pairwise(page))


@pytest.mark.parametrize(
    ("limit", "offset", "pointers"),
    [
        (0, 0, ["?limit"]),
        (-1, 0, ["?limit"]),
        (1_001, 0, ["?limit"]),
        (1, -1, ["?offset"]),
        (10**12, 10**12, ["?limit", "?offset"]),
    ],
)
async def test_windows_out_of_range_are_refused(
    store: PlanStore, limit: int, offset: int, pointers: list[str]
) -> None:
    with pytest.raises(InvalidInput) as error:
        await store.list_tasks(limit=limit, offset=offset)

    assert [fault.pointer for fault in error.value.faults] == pointers


async def test_a_cursor_of_the_other_list_is_refused(store: PlanStore) -> None:
    plan = await plan_of(store)
    tasks = [await task_of(store, plan) for _ in range(2)]
    in_plan = await store.list_tasks(plan_id=plan.id, limit=1)
    of_all = await store.list_tasks(limit=1)
    assert tasks

    for plan_id, cursor in ((None, in_plan.next_cursor), (plan.id, of_all.next_cursor)):
        with pytest.raises(InvalidInput) as error:
            await store.list_tasks(plan_id=plan_id, cursor=cursor)
        assert [fault.pointer for fault in error.value.faults] == ["?cursor"]
