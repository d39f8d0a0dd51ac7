"""A plan's tasks as a tree: each below what it waits for last."""

from __future__ import annotations

from dataclasses import dataclass
from graphlib import TopologicalSorter
from typing import TYPE_CHECKING, Final

from rich.text import Text

from planstore.commands.rendering import STYLES, one_line
from planstore.models import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from uuid import UUID

_MARKS: Final[dict[str, str]] = {
    TaskStatus.PENDING: "○",
    TaskStatus.RUNNING: "▶",
    TaskStatus.COMPLETED: "✔",
    TaskStatus.FAILED: "✘",
    TaskStatus.BLOCKED: "·",
    TaskStatus.SKIPPED: "⊘",
}


@dataclass(frozen=True, slots=True)
class Leaf:
    """A task in the tree."""

    id: UUID
    label: str
    status: str
    order: int
    needs: frozenset[UUID]
    note: str = ""
    """What else there is to say: who runs it, and how far."""


def branches(leaves: Iterable[Leaf]) -> list[Text]:
    """Return the tree's lines.

    A task that needs several stands below the one that is furthest from the beginning, and its line
    names the others; so each task has one line.
    """
    tasks = {leaf.id: leaf for leaf in sorted(leaves, key=lambda leaf: leaf.order)}
    needs = {leaf.id: [each for each in leaf.needs if each in tasks] for leaf in tasks.values()}
    places = {task_id: place for place, task_id in enumerate(tasks)}
    depths: dict[UUID, int] = {}
    above: dict[UUID, UUID | None] = {}
    for task_id in TopologicalSorter(needs).static_order():
        last = max(
            needs[task_id],
            key=lambda each: (depths[each], -places[each]),
            default=None,
        )
        above[task_id] = last
        depths[task_id] = 0 if last is None else depths[last] + 1
    below: dict[UUID | None, list[Leaf]] = {}
    for leaf in tasks.values():
        below.setdefault(above[leaf.id], []).append(leaf)
    return [
        _line(
            leaf,
            bend,
            sorted(tasks[each].label for each in needs[leaf.id] if each != above[leaf.id]),
        )
        for leaf, bend in _bends(below)
    ]


def _bends(below: dict[UUID | None, list[Leaf]]) -> Iterator[tuple[Leaf, str]]:
    """Return each task with what stands before it, those below it after it."""
    # Without recursion: a chain may be longer than Python's stack.
    waiting = [(leaf, "", "") for leaf in reversed(below.get(None, []))]
    while waiting:
        leaf, bend, indent = waiting.pop()
        yield leaf, bend
        under = below.get(leaf.id, [])
        bends = [("├─ ", "│  ")] * (len(under) - 1) + [("└─ ", "   ")]
        waiting += [
            (each, indent + mark, indent + further)
            for each, (mark, further) in reversed([*zip(under, bends, strict=False)])
        ]


def _line(leaf: Leaf, bend: str, others: list[str]) -> Text:
    style = STYLES[leaf.status]
    line = Text.assemble((bend, "dim"), (_MARKS[leaf.status], style), " ")
    line.append(one_line(leaf.label).plain, style)
    if leaf.note:
        line.append(f"  {one_line(leaf.note).plain}")
    if others:
        line.append(f"  (also needs {one_line(', '.join(others)).plain})", "dim")
    return line
