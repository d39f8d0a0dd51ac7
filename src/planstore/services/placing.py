"""Where new tasks go: after the last one of their plan, or where they are told to."""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from planstore.sql.tasks import NewTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence
    from uuid import UUID

    from planstore.models.idempotency import RequestKey
    from planstore.models.task import TaskCreate, TaskDraft


def new_tasks(plan_id: UUID, drafts: Sequence[TaskDraft]) -> list[NewTask]:
    """Return what is to be added to a plan, each task with an id and a place."""
    orders = [draft.sequence_order for draft in drafts]
    is_graph = all(order is None for order in orders) and any(each.depends_on for each in drafts)
    return [
        NewTask(draft.id or uuid7(), plan_id, draft, *place)
        for draft, place in zip(drafts, places(orders, are_alike=is_graph), strict=True)
    ]


def new_task(task: TaskCreate, *, key: RequestKey | None) -> NewTask:
    """Return a task that is to be added to its plan, with an id and a place."""
    order = task.sequence_order
    return NewTask(task.id or uuid7(), task.plan_id, task, 1 if order is None else None, order, key)


def in_turn(new: Sequence[NewTask]) -> list[NewTask]:
    """Return tasks that were asked for one by one, each after those of its plan before it."""
    placed = list(new)
    by_plan: defaultdict[UUID, list[int]] = defaultdict(list)
    for number, each in enumerate(new):
        by_plan[each.plan_id].append(number)
    for numbers in by_plan.values():
        if len(numbers) > 1:
            orders = (None if new[n].after_last else new[n].at_least for n in numbers)
            by_turn = places(orders, are_alike=False)
            for n, (after_last, at_least) in zip(numbers, by_turn, strict=True):
                placed[n] = new[n]._replace(after_last=after_last, at_least=at_least)
    return placed


Place = tuple[int | None, int | None]
"""``after_last`` and ``at_least`` of a `NewTask`."""


def places(orders: Iterable[int | None], *, are_alike: bool) -> Iterator[Place]:
    """Yield the place for each order.

    ``are_alike``: none was told, since dependencies alone say what waits for what; then all tasks
    have one place.

    The plan's last order is not known here, only how it grows: it is the greater of what it was
    plus the tasks that follow it, and the highest order that was told plus those that follow that.
    """
    following = 0
    highest: int | None = None
    for order in orders:
        if are_alike:
            yield 1, None
        elif order is not None:
            highest = order if highest is None else max(highest, order)
            yield None, order
        else:
            following += 1
            highest = None if highest is None else highest + 1
            yield following, highest
