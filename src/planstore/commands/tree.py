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
    depths: dict[UUID, int] = {}
    above: dict[UUID, UUID | None] = {}
    for task_id in TopologicalSorter(
        {each.id: each.needs & tasks.keys() for each in tasks.values()}
    ).static_order():
        needs = [each for each in tasks if each in tasks[task_id].needs]
        last = max(needs, key=lambda each: depths[each], default=None)
        above[task_id] = last
        depths[task_id] = 0 if last is None else depths[last] + 1
    below: dict[UUID | None, list[Leaf]] = {}
    for leaf in tasks.values():
        below.setdefault(above[leaf.id], []).append(leaf)
    return [*_lines(below, tasks, None, "")]


def _lines(
    below: dict[UUID | None, list[Leaf]], tasks: dict[UUID, Leaf], root: UUID | None, indent: str
) -> Iterator[Text]:
    # Without recursion: a chain may be longer than Python's stack.
    waiting = [(leaf, indent, root is not None) for leaf in reversed(below.get(root, []))]
    last = {leaves[-1].id for leaves in below.values()}
    while waiting:
        leaf, indent, is_below = waiting.pop()
        bend = "" if not is_below else "└─ " if leaf.id in last else "├─ "
        others = sorted(
            tasks[each].label
            for each in leaf.needs
            if each in tasks and leaf not in below.get(each, ())
        )
        yield _line(leaf, indent + bend, others)
        further = indent + ("" if not is_below else "   " if leaf.id in last else "│  ")
        waiting += [(each, further, True) for each in reversed(below.get(leaf.id, []))]


def _line(leaf: Leaf, indent: str, others: list[str]) -> Text:
    style = STYLES[leaf.status]
    line = Text.assemble((indent, "dim"), (_MARKS[leaf.status], style), " ")
    line.append(one_line(leaf.label).plain, style)
    if leaf.note:
        line.append(f"  {one_line(leaf.note).plain}")
    if others:
        line.append(f"  (also needs {one_line(', '.join(others)).plain})", "dim")
    return line
