"""What tasks need, found by id or name: dependencies as edges, without a cycle."""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import groupby
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

from planstore.errors import DependencyCycle, Fault, InvalidInput
from planstore.models.binding import references
from planstore.models.dependency import Condition, DependencyDraft, DependencyType
from planstore.models.fields import MAX_FAULTS, shortened
from planstore.models.graph import find_cycle, nearest
from planstore.models.plan import SEQUENTIAL
from planstore.sql import tasks
from planstore.sql.tasks import NewEdge, dependencies

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from planstore.sql.connection import Connection, Row
    from planstore.sql.tasks import NewTask

_HINTED: Final = 20
"""How many unknown names are answered with the nearest known one."""
_NAMES: Final = 10_000
"""How many names of a plan are looked through for that."""


@dataclass(frozen=True, slots=True)
class Wish:
    """What a task is to need: explicit entries, and the tasks that its input names."""

    id: UUID
    name: str | None
    sequence_order: int
    depends_on: Sequence[DependencyDraft]
    names: frozenset[str]
    """What in its input may be the names of tasks."""
    pointer: str
    """Where ``depends_on`` stands in the request."""


@dataclass(frozen=True, slots=True)
class _Known:
    """A task that can be needed."""

    id: UUID
    name: str | None
    sequence_order: int


def asks_for_others(new: Iterable[NewTask]) -> bool:
    """Whether any of the tasks needs another one, or may."""
    return any(
        each.task.depends_on or (each.task.input_data and references(each.task.input_data))
        for each in new
    )


def wishes_of(new: Sequence[NewTask], *, last_order: int, pointer: str) -> list[Wish]:
    """Return what new tasks are to need, given the last order of their plan.

    ``pointer``: where each stands in the request, as in ``/tasks/{}``.
    """
    return [
        Wish(
            id=each.id,
            name=each.task.name,
            sequence_order=each.order(last_order),
            depends_on=each.task.depends_on,
            names=references(each.task.input_data),
            pointer=pointer.format(number),
        )
        for number, each in enumerate(new)
    ]


async def rebound(conn: Connection, plan: Row, task_id: UUID, *, old_input: Any = None) -> Wish:
    """Return what a task is to need, given its input and what it needs already.

    ``old_input``: what only that named is no longer needed.
    """
    (task,) = await tasks.many(conn, [task_id])
    names = references(task["input_data"])
    gone = references(old_input) - names
    return Wish(
        id=task_id,
        name=task["name"],
        sequence_order=task["sequence_order"],
        depends_on=[
            DependencyDraft(task=str(row["task_id"]), when=row["when"], type=row["type"])
            for row in await dependencies.of_task(conn, plan["id"], task_id)
            if row["type"] != DependencyType.DATA.value or row["name"] not in gone
        ],
        names=names,
        pointer="/depends_on",
    )


async def without(
    conn: Connection, plan: Row, wish: Wish, unwanted: Sequence[DependencyDraft]
) -> Wish:
    """Return the wish without the tasks that are named; without any if none is.

    Raises:
        InvalidInput: an entry names no task of the plan.
    """
    named = replace(wish, depends_on=unwanted, names=frozenset())
    known = await _known(conn, plan["id"], [named])
    gone = {edge.needs_id for edge in await _found(conn, plan["id"], [named], known)}
    kept = [each for each in wish.depends_on if unwanted and UUID(each.task) not in gone]
    return replace(wish, depends_on=kept)


async def wire(conn: Connection, plan: Row, wishes: Sequence[Wish]) -> list[NewEdge]:
    """Return the dependencies of tasks of a plan, which must be locked.

    Raises:
        InvalidInput: an entry names no task of the plan; all such are named.
        DependencyCycle: tasks would wait for each other.
    """
    known = await _known(conn, plan["id"], wishes)
    edges = await _found(conn, plan["id"], wishes, known)
    labels = {each.id: each.name or str(each.id) for each in known.values()}
    if plan["plan_type"] == SEQUENTIAL:
        _refuse_later(wishes, edges, known, labels)
    await _refuse_cycle(conn, plan["id"], wishes, edges, labels)
    return edges


async def _known(
    conn: Connection, plan_id: UUID, wishes: Sequence[Wish]
) -> Mapping[UUID | str, _Known]:
    """Return all tasks that the wishes may name, by id and by name."""
    known: dict[UUID | str, _Known] = {}
    for wish in wishes:
        task = _Known(wish.id, wish.name, wish.sequence_order)
        known[wish.id] = task
        if wish.name is not None:
            known[wish.name] = task
    asked = {_reference(entry.task) for wish in wishes for entry in wish.depends_on}
    asked.update(name for wish in wishes for name in wish.names)
    asked.difference_update(known)
    if asked:
        ids = [each for each in asked if isinstance(each, UUID)]
        names = [each for each in asked if isinstance(each, str)]
        for row in await dependencies.named(conn, plan_id, ids, names):
            task = _Known(row["id"], row["name"], row["sequence_order"])
            known.setdefault(task.id, task)
            if task.name is not None:
                known.setdefault(task.name, task)
    return known


def _reference(text: str) -> UUID | str:
    """A task's id or its name: a name never reads as a UUID."""
    try:
        return UUID(text)
    except ValueError:
        return text


async def _found(
    conn: Connection, plan_id: UUID, wishes: Sequence[Wish], known: Mapping[UUID | str, _Known]
) -> list[NewEdge]:
    edges: list[NewEdge] = []
    unknown: list[tuple[str, str]] = []
    for wish in wishes:
        needs: dict[UUID, tuple[Condition, DependencyType]] = {}
        for number, entry in enumerate(wish.depends_on):
            task = known.get(_reference(entry.task))
            if task is None:
                unknown.append((f"{wish.pointer}/{number}", entry.task))
            else:
                needs[task.id] = entry.when, entry.type
        for name in wish.names:
            task = known.get(name)
            if task is not None and task.id != wish.id:
                needs[task.id] = as_data(needs.get(task.id))
        edges += (
            NewEdge(plan_id, wish.id, needed, when, kind) for needed, (when, kind) in needs.items()
        )
    if unknown:
        raise await _dangling(conn, plan_id, unknown, known)
    return edges


def as_data(need: tuple[Condition, DependencyType] | None) -> tuple[Condition, DependencyType]:
    """Return how a task is needed whose output is taken, given how it is needed beside that."""
    when, _ = need or (Condition.SUCCESS, None)
    return when, DependencyType.DATA


async def _dangling(
    conn: Connection,
    plan_id: UUID,
    unknown: Sequence[tuple[str, str]],
    known: Mapping[UUID | str, _Known],
) -> InvalidInput:
    names = [each for each in known if isinstance(each, str)]
    names += await dependencies.names(conn, plan_id, limit=_NAMES)
    faults = tuple(
        Fault(pointer, no_such(task, names if number < _HINTED else ()))
        for number, (pointer, task) in enumerate(unknown[:MAX_FAULTS])
    )
    return InvalidInput(f"A dependency leads nowhere: {faults[0].detail}", faults=faults)


def no_such(task: str, names: Iterable[str]) -> str:
    """Say that a dependency leads nowhere, and to which of the names it may have been meant to."""
    near = nearest(task, names)
    hint = f"; did you mean {shortened(near)!r}?" if near else ""
    return f"the plan has no task {shortened(task)!r}{hint}"


def _refuse_later(
    wishes: Sequence[Wish],
    edges: Sequence[NewEdge],
    known: Mapping[UUID | str, _Known],
    labels: Mapping[UUID, str],
) -> None:
    """Refuse that a task needs one which in a sequential plan waits for it anyway."""
    orders = {wish.id: wish.sequence_order for wish in wishes}
    faults = tuple(
        Fault(
            "",
            waits_anyway(
                labels[edge.task_id],
                orders[edge.task_id],
                labels[edge.needs_id],
                known[edge.needs_id].sequence_order,
            ),
        )
        for edge in edges
        if known[edge.needs_id].sequence_order > orders[edge.task_id]
    )
    if faults:
        raise DependencyCycle(
            f"Tasks would wait for each other: {faults[0].detail}", faults=faults[:MAX_FAULTS]
        )


def waits_anyway(task: str, order: int, needed: str, order_of_needed: int) -> str:
    """Say that a task of a sequential plan needs one that waits for it anyway."""
    task, needed = shortened(task), shortened(needed)
    return (
        f"{task} → {needed} → {task}: in a sequential plan {needed!r}, with sequence_order "
        f"{order_of_needed}, waits for {task!r}, with {order}"
    )


async def refuse_circles_of_order(conn: Connection, plan_id: UUID) -> None:
    """Refuse that after a change of orders, or of the plan's type, tasks wait for each other.

    Raises:
        DependencyCycle: in a sequential plan a task needs one of a higher order.
    """
    row = await dependencies.against_order(conn, plan_id)
    if row is not None:
        path = " → ".join(shortened(row[each]) for each in ("task", "needed", "task"))
        why = waits_anyway(row["task"], row["order_of_task"], row["needed"], row["order_of_needed"])
        raise DependencyCycle(
            f"Tasks would wait for each other: {why}",
            faults=(Fault("", f"each waits for the next: {path}"),),
        )


async def _refuse_cycle(
    conn: Connection,
    plan_id: UUID,
    wishes: Sequence[Wish],
    edges: Sequence[NewEdge],
    labels: Mapping[UUID, str],
) -> None:
    """Refuse what would lead back to one of the tasks, over those that are there as well."""
    wished = {wish.id for wish in wishes}
    needs = {task: [edge.needs_id for edge in group] for task, group in _by_task(edges)}
    others = {each for needed in needs.values() for each in needed} - wished
    if others:
        # What is there already can lead to the tasks only where they are there as well.
        for row in await dependencies.reachable(conn, plan_id, list(others)):
            if row["task_id"] not in wished:
                needs.setdefault(row["task_id"], []).append(row["needs_id"])
    if (cycle := find_cycle(needs)) is not None:
        nameless = [each for each in cycle if each not in labels]
        rows = await dependencies.named(conn, plan_id, nameless, ())
        path = _path(cycle, {**labels, **{row["id"]: row["name"] for row in rows if row["name"]}})
        raise DependencyCycle(
            f"Tasks would wait for each other: {path}",
            faults=(Fault("", f"each needs the next: {path}"),),
        )


def _by_task(edges: Sequence[NewEdge]) -> Iterable[tuple[UUID, Iterable[NewEdge]]]:
    return groupby(edges, key=lambda edge: edge.task_id)


def _path(cycle: Sequence[UUID], labels: Mapping[UUID, str]) -> str:
    return " → ".join(shortened(labels.get(each, str(each))) for each in cycle)
