"""Applying what is asked of a plan's structure to it: all faults at once, and nothing written.

What is finished stays as it is, and what runs is left alone unless its restart is asked for. The
result is the difference: what is new, what differs, what is gone.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Final

from uuid_utils.compat import uuid7

from planstore.errors import Fault
from planstore.models.binding import references
from planstore.models.dependency import Condition, DependencyType
from planstore.models.fields import MAX_FAULTS, MAX_ORDER, shortened
from planstore.models.graph import find_cycle, leads_in_circle, nearest
from planstore.models.structure import Need, Node
from planstore.models.task import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from uuid import UUID

    from planstore.models.dependency import DependencyDraft
    from planstore.models.structure import Needs, Place, Structure
    from planstore.models.task import TaskDraft

_HINTED: Final = 20
"""How many unknown names are answered with the nearest known one."""

_MAX_HANDED_ON: Final = 100_000
"""How many dependencies of tasks that go, or are preceded, others may take over in one change: a
thousand that needed one that needed a thousand would need a million."""

_IN_ORDER: Final = Need(Condition.SUCCESS, DependencyType.BLOCKING)

_OF_STRUCTURE: Final = frozenset({"name", "sequence_order", "depends_on"})
"""Fields that the structure itself keeps."""


class Reshaping:
    """A change of a plan's structure; `finish` comes last."""

    def __init__(self, structure: Structure, *, last_order: int) -> None:
        self.structure = structure
        self.faults: list[Fault] = []
        self._added: dict[UUID, Node] = {}
        self.removed: dict[UUID, Node] = {}
        self._last: Place = last_order
        self._is_graph = False
        self._before = dict(structure.nodes)
        self._orders = {node.id: node.place for node in structure.nodes.values()}
        self._names = {node.id: node.name for node in structure.nodes.values()}
        self.orders: dict[UUID, int] = {}
        """The ``sequence_order`` of each task, once all is settled."""
        self._gone: dict[str, str] = {}
        """Names that no task has any more, with what took them away."""
        self._unknown: dict[UUID, list[tuple[DependencyDraft, str]]] = {}
        """Dependencies on what may still be added."""
        self._rewired: set[UUID] = set()
        """The tasks of which was said what they need."""
        self._handed_on = 0

    def expect(self, drafts: Sequence[TaskDraft]) -> None:
        """Say what is going to be added at the end.

        One after the other, or in one place where dependencies alone say what waits for what.
        """
        self._is_graph = all(each.sequence_order is None for each in drafts) and any(
            each.depends_on for each in drafts
        )
        self._last += self._is_graph

    def _end(self) -> Place:
        self._last += not self._is_graph
        return self._last

    def find(self, reference: str, at: str) -> Node | None:
        """Return the task of that id or name; that there is none is a fault."""
        node = self.structure.find(reference)
        if node is None:
            self.fault(at, self._unknown_name(reference))
        return node

    def _unknown_name(self, reference: str) -> str:
        near = nearest(reference, self.structure.names) if len(self.faults) < _HINTED else None
        hint = f"; did you mean {shortened(near)!r}?" if near else ""
        return f"the plan has no task {shortened(reference)!r}{hint}"

    def editable(self, reference: str, at: str, *, restart: bool) -> Node | None:
        """Return the task if it may be changed; that it may not is a fault."""
        node = self.find(reference, f"{at}/task")
        if node is None:
            return None
        self.restart(node, is_asked=restart)
        if node.is_finished:
            self.fault(
                f"{at}/task",
                f"task {node.label!r} is {node.status.value}: what is finished stays as it is",
            )
        elif node.is_running:
            self.fault(
                f"{at}/task",
                f"task {node.label!r} is running: it is left alone, unless `restart` is true, "
                "which ends its claim",
            )
        else:
            return node
        return None

    def restart(self, node: Node, *, is_asked: bool) -> None:
        """Have a task that runs or has failed begin anew where that is asked for."""
        if is_asked and node.status in {TaskStatus.RUNNING, TaskStatus.FAILED}:
            node.is_restarted = True

    def add(self, draft: TaskDraft, at: str, *, place: Place | None = None) -> Node | None:
        """Add a task: where it says, else at the place, else at the end."""
        if draft.id is not None and (draft.id in self._before or draft.id in self.structure.nodes):
            self.fault(f"{at}/id", f"the plan has a task {draft.id} already")
            return None
        if draft.name is not None and draft.name in self.structure.names:
            self.fault(f"{at}/name", self._taken(draft.name))
            return None
        if draft.sequence_order is not None:
            place = draft.sequence_order
            self._last = max(self._last, place)
        elif place is None:
            place = self._end()
        node = Node(
            draft.id or uuid7(), draft.name, place, {}, input_data=draft.input_data, draft=draft
        )
        self.structure.add(node)
        self._added[node.id] = node
        self._need(node, draft.depends_on, f"{at}/depends_on")
        return node

    def _taken(self, name: str) -> str:
        return f"the plan has a task named {shortened(name)!r} already"

    def edit(self, node: Node, fields: Mapping[str, Any], at: str) -> None:
        """Set fields of a task, and what it needs."""
        if "name" in fields and fields["name"] != node.name:
            self._rename(node, fields["name"], at)
        if "sequence_order" in fields:
            self.structure.move(node, fields["sequence_order"])
        if "input_data" in fields:
            self._bind_anew(node, fields["input_data"])
        if "depends_on" in fields:
            self.rewire(node, fields["depends_on"], f"{at}/depends_on")
        plain = {name: value for name, value in fields.items() if name not in _OF_STRUCTURE}
        node.set(plain)

    def _rename(self, node: Node, name: str | None, at: str) -> None:
        if name is not None and name in self.structure.names:
            self.fault(f"{at}/name", self._taken(name))
            return
        if node.name is not None:
            self._gone[node.name] = at
        self.structure.rename(node, name)
        node.set({"name": name})

    def free_name(self, node: Node, at: str) -> None:
        """Take its name from a task that is to be given another one: others may have it."""
        if node.name is not None:
            self._gone[node.name] = at
            self.structure.rename(node, None)
            node.set({"name": None})

    def _bind_anew(self, node: Node, input_data: Any) -> None:
        """Give a task another input: what only the old one named is no longer needed."""
        for name in references(node.input_data) - references(input_data):
            needed = self.structure.names.get(name)
            need = None if needed is None else node.needs.get(needed)
            if needed is not None and need is not None and need.type == DependencyType.DATA:
                self.structure.unlink(node, needed)
        node.input_data = input_data

    def rewire(self, node: Node, entries: Sequence[DependencyDraft], at: str) -> None:
        """Have a task need these and no others."""
        self._rewired.add(node.id)
        for needed in [*node.needs]:
            self.structure.unlink(node, needed)
        self._unknown.pop(node.id, None)
        self._need(node, entries, at)

    def _need(self, node: Node, entries: Sequence[DependencyDraft], at: str) -> None:
        for number, entry in enumerate(entries):
            needed = self.structure.find(entry.task)
            if needed is None:
                self._unknown.setdefault(node.id, []).append((entry, f"{at}/{number}"))
            else:
                self.structure.link(node, needed.id, Need(entry.when, entry.type))

    def remove(self, node: Node, at: str) -> None:
        """Remove a task: who waited for it waits for what it waited for."""
        for follower in self.structure.followers(node):
            need = self.structure.unlink(follower, node.id)
            if not follower.is_waiting:
                continue
            if need.when == Condition.FAILURE:
                self._waits_for_failure(follower, node, at)
            self._inherit(follower, node.needs, at)
        self._drop(node, at)

    def _inherit(self, node: Node, needs: Needs, at: str) -> None:
        if not self._may_hand_on(len(needs), at):
            return
        for needed, need in needs.items():
            if needed != node.id and needed not in node.needs:
                self.structure.link(node, needed, Need(need.when, DependencyType.BLOCKING))

    def _may_hand_on(self, count: int, at: str) -> bool:
        self._handed_on += count
        is_much = self._handed_on > _MAX_HANDED_ON
        if is_much and self._handed_on - count <= _MAX_HANDED_ON:
            self.fault(
                at,
                f"more than {_MAX_HANDED_ON} dependencies would pass to other tasks by now: "
                "have a task between wait for all of those, and the others for it",
            )
        return not is_much

    def forget(self, nodes: Collection[Node], at: str) -> None:
        """Remove tasks together: one of them that waits for another's failure goes as well."""
        own = {node.id for node in nodes}
        for node in nodes:
            for needed, need in [*node.needs.items()]:
                if needed in own and need.when == Condition.FAILURE:
                    self.structure.unlink(node, needed)
        for node in nodes:
            self.remove(node, at)

    @property
    def runs_at_stake(self) -> list[Node]:
        """The tasks that run and are to begin anew, whose dependencies stay as they are."""
        rewired = {node.id for node in self.rewired}
        return [
            node
            for node in self.restarted
            if node.status == TaskStatus.RUNNING and node.id not in rewired
        ]

    def leave(self, node: Node) -> None:
        """Have a task that runs go on: nothing of it is to be another."""
        node.is_restarted = False
        self.rewritten.pop(node.id, None)

    def _waits_for_failure(self, follower: Node, node: Node, at: str) -> None:
        self.fault(
            at,
            f"task {follower.label!r} waits for the failure of task {node.label!r}: "
            "remove or rewire it first",
        )

    def _drop(self, node: Node, at: str) -> None:
        self.structure.remove(node)
        self._unknown.pop(node.id, None)
        if node.name is not None:
            self._gone[node.name] = at
        if node.is_new:
            del self._added[node.id]
        else:
            self.removed[node.id] = node

    def split(self, node: Node, into: Sequence[TaskDraft], at: str) -> None:
        """Put parts in the place of a task.

        Those that need no other part need what it needed; who needed it needs those parts that no
        other one needs.
        """
        followers = [
            (each, each.needs[node.id])
            for each in self.structure.followers(node)
            if each.is_waiting
        ]
        needs, places = dict(node.needs), self._places_of(node, into)
        self._drop(node, at)
        parts = [
            part
            for number, (draft, place) in enumerate(zip(into, places, strict=True))
            if (part := self.add(draft, f"{at}/into/{number}", place=place)) is not None
        ]
        self._retry_unknown(parts)
        own = {part.id for part in parts}
        for part in parts:
            self._bind(part)
            if own.isdisjoint(part.needs):
                self._inherit(part, needs, at)
        last = [
            part
            for part in parts
            if own.isdisjoint(each.id for each in self.structure.followers(part))
        ]
        for follower, need in followers:
            if need.when == Condition.FAILURE:
                self._waits_for_failure(follower, node, at)
            for part in last if self._may_hand_on(len(last), at) else ():
                self.structure.link(follower, part.id, Need(need.when, DependencyType.BLOCKING))

    def _places_of(self, node: Node, parts: Sequence[TaskDraft]) -> list[Place]:
        """Where the parts of a task go that don't say so."""
        is_chain = self.structure.is_sequential and not any(
            each.depends_on or each.sequence_order is not None or references(each.input_data)
            for each in parts
        )
        if not is_chain:
            return [node.place] * len(parts)
        return [node.place, *self.structure.several_after(node.place, len(parts) - 1)]

    def _retry_unknown(self, parts: Iterable[Node]) -> None:
        """Look again for what parts need of those that were added after them."""
        for part in parts:
            for entry, at in self._unknown.pop(part.id, ()):
                needed = self.structure.find(entry.task)
                if needed is None:
                    self._unknown.setdefault(part.id, []).append((entry, at))
                else:
                    self.structure.link(part, needed.id, Need(entry.when, entry.type))

    def insert_after(self, node: Node, draft: TaskDraft, at: str) -> None:
        """Add a task that comes after another one: who waited for that waits for the new one."""
        followers = [
            each
            for each in self.structure.followers(node)
            if each.is_waiting and each.needs[node.id].when != Condition.FAILURE
        ]
        if self.structure.is_sequential and not followers and draft.sequence_order is None:
            self.add(draft, at, place=self.structure.after(node.place))
            return
        new = self.add(draft, at, place=node.place)
        if new is None:
            return
        if node.id not in new.needs:
            self.structure.link(new, node.id, _IN_ORDER)
        for follower in followers:
            need = follower.needs[node.id]
            if need.type != DependencyType.DATA:
                self.structure.unlink(follower, node.id)
            self.structure.link(follower, new.id, Need(need.when, DependencyType.BLOCKING))

    def insert_before(self, node: Node, draft: TaskDraft, at: str) -> None:
        """Add a task that comes before another one: it waits for what that waited for."""
        if self.structure.is_sequential and not node.needs and draft.sequence_order is None:
            self.add(draft, at, place=self.structure.before(node.place))
            return
        new = self.add(draft, at, place=node.place)
        if new is None:
            return
        self._inherit(new, node.needs, at)
        for needed, need in [*node.needs.items()]:
            if need.type != DependencyType.DATA:
                self.structure.unlink(node, needed)
        self.structure.link(node, new.id, _IN_ORDER)

    def place(self, groups: Sequence[Sequence[Node]]) -> None:
        """Put groups one after the other into the places that they have together."""
        places = sorted({node.place for group in groups for node in group})
        for group in groups[len(places) :]:
            places.append(self.structure.after(places[-1]))
            for node in group:
                self.structure.move(node, places[-1])
        for group, place in zip(groups, places, strict=False):
            for node in group:
                self.structure.move(node, place)

    def _bind(self, node: Node) -> None:
        """Have a task need those that its input names."""
        named = references(node.input_data)
        if not node.is_new and "input_data" not in node.changes:
            self._let_go(node, named)
            # What was plain text before, for lack of such a task, stays plain text.
            named &= {self._names[needed] for needed in self._fed_by(node)}
        for name in sorted(named):
            needed = self.structure.names.get(name)
            if needed is not None and needed != node.id:
                when = node.needs[needed].when if needed in node.needs else Condition.SUCCESS
                self.structure.link(node, needed, Need(when, DependencyType.DATA))
            elif name in self._gone and not node.is_new:
                self.fault(
                    self._gone[name],
                    f"task {node.label!r} takes its input from task {shortened(name)!r}, which is "
                    "no longer there: change its input_data too",
                )

    def _fed_by(self, node: Node) -> list[UUID]:
        """What gave a task input before."""
        return [
            needed for needed, need in node.needs_before.items() if need.type == DependencyType.DATA
        ]

    def _let_go(self, node: Node, named: AbstractSet[str]) -> None:
        """Have a task no longer need those that had a name in its input, and have another now."""
        for needed in self._fed_by(node) if node.id not in self._rewired else ():
            name = self._names[needed]
            if name is None or name not in named or needed not in node.needs:
                continue
            if self.structure.names.get(name) != needed:
                self.structure.unlink(node, needed)

    def finish(self) -> None:
        """Settle what was left open, and look for what can't be."""
        self._retry_unknown([self.structure.nodes[each] for each in self._unknown])
        for entries in self._unknown.values():
            for entry, at in entries:
                self.fault(at, self._unknown_name(entry.task))
        for node in self.structure.nodes.values():
            if node.input_data and node.is_movable:
                self._bind(node)
        self.orders = self.structure.orders()
        self._check_orders()
        if not self.faults:
            self._check_circles()

    def _check_orders(self) -> None:
        highest = max(self.orders.values(), default=0)
        if highest > MAX_ORDER:
            self.fault("", f"a sequence_order would be {highest}; at most {MAX_ORDER} is allowed")

    def _check_circles(self) -> None:
        nodes = self.structure.nodes
        for node in nodes.values() if self.structure.is_sequential else ():
            for needed in node.needs:
                if self.orders[needed] > self.orders[node.id]:
                    first, other = nodes[needed].label, node.label
                    self.fault(
                        "",
                        f"{other!r} needs {first!r}, which comes later in a sequential plan, with "
                        f"sequence_order {self.orders[needed]} after {self.orders[node.id]}",
                    )
        changed = (node.id for node in (*self.added, *self.rewired))
        if not leads_in_circle(changed, lambda each: nodes[each].needs):
            return
        if cycle := find_cycle(self._reached()):
            path = " → ".join(nodes[each].label for each in cycle)
            self.fault("", f"tasks would wait for each other: {path}")

    @property
    def added(self) -> list[Node]:
        """The new tasks."""
        return [*self._added.values()]

    def _reached(self) -> dict[UUID, Needs]:
        """What could be part of a circle: one has to lead through what needs others than before."""
        needs: dict[UUID, Needs] = {}
        left = [*self.added, *self.rewired]
        while left:
            node = left.pop()
            if node.id not in needs:
                needs[node.id] = node.needs
                left += (self.structure.nodes[each] for each in node.needs if each not in needs)
        return needs

    def fault(self, pointer: str, detail: str) -> None:
        """Note a fault; of too many the first ones."""
        if len(self.faults) < MAX_FAULTS:
            self.faults.append(Fault(pointer, detail))

    @cached_property
    def rewritten(self) -> dict[UUID, dict[str, Any]]:
        """The fields that are to be set of tasks that are there."""
        fields: dict[UUID, dict[str, Any]] = {}
        for node in self.structure.nodes.values():
            if not node.is_new:
                order = self.orders[node.id]
                if order != self._orders[node.id]:
                    fields[node.id] = {**node.changes, "sequence_order": order}
                elif node.changes:
                    fields[node.id] = dict(node.changes)
        return fields

    @property
    def names_left(self) -> set[str]:
        """The names that tasks had which are called otherwise now."""
        return {
            name
            for node in self.structure.nodes.values()
            if not node.is_new and (name := self._names[node.id]) and name != node.name
        }

    @cached_property
    def rewired(self) -> list[Node]:
        """The tasks that are there and need others than before."""
        return [node for node in self.structure.nodes.values() if node.is_rewired]

    def is_bereft(self, node: Node) -> bool:
        """Whether what the task needed before is no longer there."""
        return not self.removed.keys().isdisjoint(node.needs_before)

    @property
    def concerned(self) -> set[UUID]:
        """All tasks that are there and are to be changed, restarted or removed."""
        changed = {node.id for node in (*self.rewired, *self.restarted)}
        return changed.union(self.rewritten, self.removed)

    @property
    def restarted(self) -> list[Node]:
        """The tasks that begin anew."""
        return [node for node in self.structure.nodes.values() if node.is_restarted]
