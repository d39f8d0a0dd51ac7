"""The tasks that a measurement works on, made through `PlanStore` before the clock runs.

Each supply has some tasks of a plan of their own with the highest priority, so they are handed out
before all others: what is claimed until they are done is the warm-up.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

from bench.coordination.work import NO_OP
from planstore.models.dependency import DependencyDraft
from planstore.models.plan import PlanCreate, PlanStatus
from planstore.models.task import TaskDraft

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from typing import TypeAlias

    from bench.coordination.pace import Load
    from planstore.services.plan_store import PlanStore

    Supply: TypeAlias = Callable[[Load, PlanStore], Awaitable[None]]

TASKS_OF_A_PLAN: Final = 1_000
SHAPED: Final = 10_000
"""Tasks of a plan with dependencies."""

_LAYERS: Final = 20
_NEEDED_IN_LAYER: Final = 3
_AT_ONCE: Final = 4


def _named(name: int, *needs: int) -> TaskDraft:
    return TaskDraft(
        name=f"t{name}",
        description=NO_OP.description,
        depends_on=[DependencyDraft(task=f"t{each}") for each in needs],
    )


def fan_out() -> list[TaskDraft]:
    """One task that all the others need."""
    return [_named(0), *(_named(each, 0) for each in range(1, SHAPED))]


def fan_in() -> list[TaskDraft]:
    """One task that needs all the others."""
    last = SHAPED - 1
    return [*(_named(each) for each in range(last)), _named(last, *range(last))]


def layers() -> list[TaskDraft]:
    """Twenty layers, each of whose tasks needs three of the layer before."""
    width = SHAPED // _LAYERS

    def needs(task: int) -> Sequence[int]:
        layer, place = divmod(task, width)
        before = (layer - 1) * width
        return (
            [before + (place + step) % width for step in range(_NEEDED_IN_LAYER)] if layer else ()
        )

    return [_named(task, *needs(task)) for task in range(SHAPED)]


def chain() -> list[TaskDraft]:
    """Each task needs the one before."""
    return [_named(0), *(_named(each, each - 1) for each in range(1, SHAPED))]


async def loose(load: Load, store: PlanStore) -> None:
    """Add tasks that wait for nothing, spread over plans."""
    await warm_up(load, store)
    numbers = iter(range(0, load.tasks, TASKS_OF_A_PLAN))

    async def add() -> None:
        for _ in numbers:
            await _add_plan(store, [NO_OP] * TASKS_OF_A_PLAN)

    async with asyncio.TaskGroup() as group:
        for _ in range(_AT_ONCE):
            group.create_task(add())


def shaped(tasks: Callable[[], list[TaskDraft]]) -> Supply:
    """Add one plan with dependencies."""

    async def add(load: Load, store: PlanStore) -> None:
        await warm_up(load, store)
        await _add_plan(store, tasks())

    return add


async def warm_up(load: Load, store: PlanStore) -> None:
    """Add the tasks that are handed out first."""
    await _add_plan(store, [NO_OP.model_copy(update={"priority": 100})] * load.warm_up)


async def _add_plan(store: PlanStore, tasks: list[TaskDraft]) -> None:
    await store.create_plan(PlanCreate(plan_type="parallel", status=PlanStatus.ACTIVE, tasks=tasks))
