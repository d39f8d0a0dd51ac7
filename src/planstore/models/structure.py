"""A plan's structure while it is being changed: its tasks, their places, and what needs what.

Between two whole orders there is always room for another place, so a task can be put anywhere
without a thought for the others; `Structure.orders` makes whole numbers of the places again, and
moves no more tasks than it must.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from fractions import Fraction
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias
from uuid import UUID

from planstore.models.dependency import Condition, DependencyType
from planstore.models.fields import shortened
from planstore.models.plan import OnFailure
from planstore.models.task import DERIVED_REASONS, ENDED, FINISHED, UNSTARTED, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from collections.abc import Set as AbstractSet

    from planstore.models.task import StatusReason, TaskDraft


class Need(NamedTuple):
    """How a task needs another one."""

    when: Condition
    type: DependencyType


Needs = dict[UUID, Need]
"""What a task needs."""


Place: TypeAlias = int | Fraction
"""Where a task stands: its ``sequence_order``, or between two of them."""


@dataclass(slots=True)
class Node:
    """A task as a part of the structure."""

    id: UUID
    name: str | None
    place: Place
    needs: Needs
    status: TaskStatus = TaskStatus.PENDING
    status_reason: StatusReason | None = None
    is_due: bool = False
    """Whether its turn had come before the change."""
    input_data: Any = None
    """As far as other tasks may be named there."""
    draft: TaskDraft | None = None
    """What it is to be, of a new one."""
    changes: dict[str, Any] = field(default_factory=dict[str, Any])
    """What is to be set of one that is there."""
    is_restarted: bool = False
    """Whether it begins anew."""
    _needs_before: Needs | None = field(default=None, init=False)

    def set(self, fields: Mapping[str, Any]) -> None:
        """Note what is to be set of it."""
        if self.draft is not None:
            self.draft = self.draft.model_copy(update=fields)
        else:
            self.changes.update(fields)

    @property
    def needs_before(self) -> Needs:
        """What it needed when the structure was made."""
        return self.needs if self._needs_before is None else self._needs_before

    @property
    def is_rewired(self) -> bool:
        """Whether it is there and needs others than before, or needs them otherwise."""
        before = self._needs_before
        return before is not None and before != self.needs and not self.is_new

    def about_to_rewire(self) -> None:
        """Keep what it needed before, for what it needs is about to change."""
        if self._needs_before is None:
            self._needs_before = dict(self.needs)

    @property
    def label(self) -> str:
        """What it is called in errors."""
        return shortened(self.name) if self.name is not None else str(self.id)

    @property
    def is_new(self) -> bool:
        return self.draft is not None

    @property
    def is_running(self) -> bool:
        return self.status == TaskStatus.RUNNING and not self.is_restarted

    @property
    def is_finished(self) -> bool:
        """Whether it stays as it is: skipped by the service it may still come to its turn."""
        return self.status in FINISHED and self.status_reason not in DERIVED_REASONS

    @property
    def is_waiting(self) -> bool:
        """Whether it has yet to start, so that what it needs matters."""
        return (
            self.is_restarted or self.status in UNSTARTED or self.status_reason in DERIVED_REASONS
        )

    @property
    def is_movable(self) -> bool:
        """Whether its place may be another one."""
        return not self.is_finished and not self.is_running


class Structure:
    """The tasks of one plan."""

    def __init__(self, nodes: Iterable[Node], *, is_sequential: bool) -> None:
        self.is_sequential = is_sequential
        self.nodes: dict[UUID, Node] = {}
        self.names: dict[str, UUID] = {}
        self._followers: defaultdict[UUID, dict[UUID, None]] = defaultdict(dict)
        for node in nodes:
            self._hold(node)
        self._at = Counter(node.place for node in self.nodes.values())
        self._places = sorted(self._at)

    def find(self, reference: str) -> Node | None:
        """Return the task of that id or name: a name never reads as a UUID."""
        try:
            task_id = UUID(reference)
        except ValueError:
            found = self.names.get(reference)
            return None if found is None else self.nodes[found]
        return self.nodes.get(task_id)

    def add(self, node: Node) -> None:
        """Add a task; its id and its name must not be taken."""
        self._hold(node)
        self._enter(node.place)

    def _hold(self, node: Node) -> None:
        self.nodes[node.id] = node
        if node.name is not None:
            self.names[node.name] = node.id
        for needed in node.needs:
            self._followers[needed][node.id] = None

    def remove(self, node: Node) -> None:
        """Remove a task with all that it needs, and that need it."""
        for follower in self.followers(node):
            self.unlink(follower, node.id)
        for needed in [*node.needs]:
            self.unlink(node, needed)
        del self.nodes[node.id]
        if node.name is not None:
            del self.names[node.name]
        self._leave(node.place)

    def rename(self, node: Node, name: str | None) -> None:
        """Give a task another name, which must not be taken."""
        if node.name is not None:
            del self.names[node.name]
        if name is not None:
            self.names[name] = node.id
        node.name = name

    def move(self, node: Node, place: Place) -> None:
        """Put a task into another place."""
        self._leave(node.place)
        self._enter(place)
        node.place = place

    def link(self, node: Node, needed: UUID, need: Need) -> None:
        """Have a task need another one."""
        node.about_to_rewire()
        node.needs[needed] = need
        self._followers[needed][node.id] = None

    def unlink(self, node: Node, needed: UUID) -> Need:
        """Have a task no longer need another one; answers how it did."""
        node.about_to_rewire()
        del self._followers[needed][node.id]
        return node.needs.pop(needed)

    def followers(self, node: Node) -> list[Node]:
        """Return the tasks that need this one."""
        return [self.nodes[each] for each in self._followers.get(node.id, ())]

    def after(self, place: Place) -> Place:
        """Return a place between this one and the next that is taken."""
        return self.several_after(place, 1)[0]

    def before(self, place: Place) -> Place:
        """Return a place between this one and the one before that is taken."""
        number = bisect_left(self._places, place)
        lower = self._places[number - 1] if number else place - 1
        return Fraction(lower + place, 2)

    def several_after(self, place: Place, count: int) -> list[Place]:
        """Return places one after the other, between this one and the next that is taken."""
        number = bisect_right(self._places, place)
        if number == len(self._places):
            return [place + step for step in range(1, count + 1)]
        room = self._places[number] - place
        return [place + Fraction(room * step, count + 1) for step in range(1, count + 1)]

    def several_before(self, place: Place, count: int) -> list[Place]:
        """Return places one after the other, between this one and the one before that is taken."""
        number = bisect_left(self._places, place)
        room = place - self._places[number - 1] if number else 1
        return [place - Fraction(room * step, count + 1) for step in range(count, 0, -1)]

    def _enter(self, place: Place) -> None:
        if not self._at[place]:
            insort(self._places, place)
        self._at[place] += 1

    def _leave(self, place: Place) -> None:
        self._at[place] -= 1
        if not self._at[place]:
            del self._at[place]
            del self._places[bisect_left(self._places, place)]

    def orders(self) -> dict[UUID, int]:
        """Return a ``sequence_order`` for each task: equal for equal places, higher for later ones.

        What is finished or runs keeps its own, and so do the others unless one comes before them.
        """
        places = {node.place for node in self.nodes.values() if node.is_movable}
        whole: dict[Place, int] = {}
        last = -1
        for place in sorted(places):
            last = max(math.ceil(place), last + 1)
            whole[place] = last
        return {
            node.id: whole[node.place] if node.is_movable else int(node.place)
            for node in self.nodes.values()
        }


def stranded(structure: Structure, *, on_failure: OnFailure) -> set[UUID]:
    """Return the tasks that can't be carried out as things are, unless one that failed is retried.

    They are skipped, since what they need can't come any more or the plan is given up, or they
    wait in vain: for a failure to be dealt with, or for another one that does.
    """
    nodes = structure.nodes.values()
    ended = [node for node in nodes if node.status in ENDED and not node.is_waiting]
    failed = [node for node in ended if node.status == TaskStatus.FAILED]
    if failed and on_failure == OnFailure.ABORT:
        return {node.id for node in nodes if node.is_waiting}
    dead: set[UUID] = set()
    in_vain: set[UUID] = set()
    for node in ended:
        for follower in structure.followers(node):
            if not follower.is_waiting:
                continue
            need = follower.needs[node.id]
            if _is_dead(node, need, is_patient=on_failure == OnFailure.BLOCK):
                dead.add(follower.id)
            elif need.when == Condition.SUCCESS and node.status == TaskStatus.FAILED:
                in_vain.add(follower.id)
    _spread(structure, dead, lambda need: need.when != Condition.ENDED)
    in_vain -= dead
    _spread(structure, in_vain, lambda _: True, without=dead)
    gates = [node.place for node in failed]
    gates += [structure.nodes[each].place for each in in_vain]
    if structure.is_sequential and gates:
        gate = min(gates)
        late = (node for node in nodes if node.is_waiting and node.place > gate)
        in_vain.update(node.id for node in late if node.id not in dead)
        _spread(structure, in_vain, lambda _: True, without=dead)
    return dead | in_vain


def _is_dead(ended: Node, need: Need, *, is_patient: bool) -> bool:
    """Whether what is needed of a task that has ended can't come any more."""
    match need.when:
        case Condition.SUCCESS:
            is_skipped_by_service = ended.is_finished and ended.status_reason is not None
            return is_skipped_by_service or (ended.status == TaskStatus.FAILED and not is_patient)
        case Condition.FAILURE:
            return ended.is_finished
        case Condition.ENDED:
            return False


def _spread(
    structure: Structure,
    found: set[UUID],
    is_passed_on: Callable[[Need], bool],
    *,
    without: AbstractSet[UUID] = frozenset(),
) -> None:
    """Add those who wait for what was found, in turn."""
    new = list(found)
    for each in new:
        for follower in structure.followers(structure.nodes[each]):
            if (
                follower.is_waiting
                and follower.id not in found
                and follower.id not in without
                and is_passed_on(follower.needs[each])
            ):
                found.add(follower.id)
                new.append(follower.id)
