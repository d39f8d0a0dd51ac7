"""Operations on a plan's structure, one after the other."""

from __future__ import annotations

from functools import singledispatch
from typing import TYPE_CHECKING

from planstore.models.reshaping import Reshaping  # at run time, to tell the operations apart
from planstore.models.revision import (
    AddTask,
    ChangeTask,
    InsertTask,
    RemoveTask,
    ReorderTasks,
    RewireTask,
    SplitTask,
)

if TYPE_CHECKING:
    from collections.abc import Sequence
    from uuid import UUID

    from planstore.models.revision import Operation
    from planstore.models.structure import Node


def operate(reshaping: Reshaping, operations: Sequence[Operation]) -> None:
    """Apply the operations; what can't be done is among the faults."""
    reshaping.expect([each.task for each in operations if isinstance(each, AddTask)])
    for number, operation in enumerate(operations):
        _do(operation, reshaping, f"/operations/{number}")


@singledispatch
def _do(operation: object, reshaping: Reshaping, at: str) -> None:
    raise AssertionError(operation, reshaping, at)


@_do.register
def _(operation: AddTask, reshaping: Reshaping, at: str) -> None:
    reshaping.add(operation.task, f"{at}/task")


@_do.register
def _(operation: ChangeTask, reshaping: Reshaping, at: str) -> None:
    node = reshaping.editable(operation.task, at, restart=operation.restart)
    if node is not None:
        reshaping.edit(node, operation.set.named(), f"{at}/set")


@_do.register
def _(operation: RemoveTask, reshaping: Reshaping, at: str) -> None:
    node = reshaping.editable(operation.task, at, restart=operation.restart)
    if node is not None:
        reshaping.remove(node, at)


@_do.register
def _(operation: SplitTask, reshaping: Reshaping, at: str) -> None:
    node = reshaping.editable(operation.task, at, restart=operation.restart)
    if node is not None:
        reshaping.split(node, operation.into, at)


@_do.register
def _(operation: RewireTask, reshaping: Reshaping, at: str) -> None:
    node = reshaping.editable(operation.task, at, restart=operation.restart)
    if node is not None:
        reshaping.rewire(node, operation.depends_on, f"{at}/depends_on")


@_do.register
def _(operation: InsertTask, reshaping: Reshaping, at: str) -> None:
    if operation.after is not None:
        node = reshaping.find(operation.after, f"{at}/after")
        if node is not None:
            reshaping.insert_after(node, operation.task, f"{at}/task")
    elif operation.before is not None:
        node = reshaping.find(operation.before, f"{at}/before")
        if node is not None and node.is_waiting:
            reshaping.insert_before(node, operation.task, f"{at}/task")
        elif node is not None:
            reshaping.fault(
                f"{at}/before",
                f"task {node.label!r} is {node.status.value}: nothing can come before it",
            )


@_do.register
def _(operation: ReorderTasks, reshaping: Reshaping, at: str) -> None:
    groups: list[list[Node]] = []
    seen: set[UUID] = set()
    for number, each in enumerate(operation.order):
        pointer = f"{at}/order/{number}"
        found = [reshaping.find(reference, pointer) for reference in each]
        group = [node for node in found if node is not None]
        for node in group:
            if node.id in seen:
                reshaping.fault(pointer, f"task {node.label!r} is named more than once")
            seen.add(node.id)
        # What has begun keeps its place.
        groups.append([node for node in group if node.is_movable])
    reshaping.place([group for group in groups if group])
