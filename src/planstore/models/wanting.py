"""All tasks of a plan as they are to be: the difference to what is there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import MISSING

from planstore.models.fields import shortened
from planstore.models.task import TaskDraft

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.models.reshaping import Reshaping
    from planstore.models.revision import WantedTask
    from planstore.models.structure import Node, Place, Structure


def want(reshaping: Reshaping, wanted: Sequence[WantedTask]) -> None:
    """Make a plan's tasks those that are wanted; what can't be done is among the faults.

    What runs or has ended is left as it is.
    """
    nodes = _known(reshaping, wanted)
    changing = [
        (number, node, _fields(each))
        for number, (each, node) in enumerate(zip(wanted, nodes, strict=True))
        if node is not None and _may_change(reshaping, node, restart=each.restart)
    ]
    for number, node, fields in changing:
        if "depends_on" in fields:  # so that nothing is inherited that isn't wanted
            reshaping.rewire(node, (), "")
        if fields.get("name", node.name) != node.name:  # others may take it, in whatever order
            reshaping.free_name(node, f"/tasks/{number}")
    _remove_others(reshaping, nodes)
    drafts = {
        number: draft
        for number, (each, node) in enumerate(zip(wanted, nodes, strict=True))
        if node is None and (draft := _draft(reshaping, each, f"/tasks/{number}")) is not None
    }
    for number, node, fields in changing:
        reshaping.edit(node, fields, f"/tasks/{number}")
    reshaping.expect([*drafts.values()])
    for number, draft in drafts.items():
        nodes[number] = reshaping.add(draft, f"/tasks/{number}")
    has_places = any(each.sequence_order is not MISSING for each in wanted)
    if reshaping.structure.is_sequential and not has_places:
        _follow(reshaping, [node for node in nodes if node is not None])


def _known(reshaping: Reshaping, wanted: Sequence[WantedTask]) -> list[Node | None]:
    """Return the task that each entry is about; none for a new one.

    Those with an id come first, for one that is given another name leaves its own to others.
    """
    structure = reshaping.structure
    by_id = [None if each.id is MISSING else structure.nodes.get(each.id) for each in wanted]
    named = {
        node.id: each.name in {MISSING, node.name}
        for each, node in zip(wanted, by_id, strict=True)
        if node is not None
    }
    nodes: list[Node | None] = []
    for number, (each, node) in enumerate(zip(wanted, by_id, strict=True)):
        found = node
        if each.id is MISSING and isinstance(each.name, str):
            found = structure.find(each.name)
            if found is not None and found.id in named:
                if named[found.id]:
                    reshaping.fault(
                        f"/tasks/{number}", f"task {found.label!r} is listed twice, once by its id"
                    )
                found = None
        nodes.append(found)
    return nodes


def _fields(wanted: WantedTask) -> dict[str, Any]:
    """What is named of the task itself."""
    named = wanted.named()
    return {name: value for name, value in named.items() if name not in {"id", "restart"}}


def _may_change(reshaping: Reshaping, node: Node, *, restart: bool) -> bool:
    reshaping.restart(node, is_asked=restart)
    return node.is_movable


def _remove_others(reshaping: Reshaping, listed: Sequence[Node | None]) -> None:
    """Remove what isn't listed, unless it has no name, runs, or has ended."""
    kept = {node.id for node in listed if node is not None}
    others = [
        node
        for node in reshaping.structure.nodes.values()
        if node.name is not None and node.is_waiting and node.id not in kept
    ]
    reshaping.forget(others, "/tasks")


def _draft(reshaping: Reshaping, wanted: WantedTask, at: str) -> TaskDraft | None:
    fields = _fields(wanted)
    if "description" not in fields:
        which = shortened(str(fields.get("name") or wanted.id))
        reshaping.fault(
            f"{at}/description",
            f"there is no task {which!r} yet: to be added it needs a description",
        )
        return None
    return TaskDraft.model_construct(id=None if wanted.id is MISSING else wanted.id, **fields)


def _follow(reshaping: Reshaping, listed: Sequence[Node]) -> None:
    """Have the tasks follow each other as they are listed, where some of them are there already.

    New ones come between those that are listed beside them. What has begun stays where it is, and
    says where new ones come as long as the others don't say otherwise.
    """
    structure = reshaping.structure
    there = [node for node in listed if not node.is_new]
    if not _is_in_order([node for node in listed if node.is_movable]):
        reshaping.place([[node] for node in there if node.is_movable])
    ends = _next_places(listed)
    new: list[Node] = []
    last: Place | None = None
    for node, end in zip(listed, ends, strict=True):
        if node.is_new:
            new.append(node)
        elif node.is_movable or _is_between(last, node.place, end):
            _insert(structure, new, after=last, before=node.place)
            new, last = [], node.place
    if last is not None:
        _insert(structure, new, after=last, before=None)


def _is_in_order(listed: Sequence[Node]) -> bool:
    last: Place | None = None
    is_after_new = False
    for node in listed:
        if node.is_new:
            is_after_new = True
            continue
        if last is not None and (node.place < last or (is_after_new and node.place == last)):
            return False
        last, is_after_new = node.place, False
    return True


def _next_places(listed: Sequence[Node]) -> list[Place | None]:
    """For each task the place of the next one that is there and may be moved."""
    places: list[Place | None] = []
    place: Place | None = None
    for node in reversed(listed):
        places.append(place)
        if node.is_movable and not node.is_new:
            place = node.place
    return places[::-1]


def _is_between(last: Place | None, place: Place, end: Place | None) -> bool:
    return (last is None or last < place) and (end is None or place < end)


def _insert(
    structure: Structure, new: Sequence[Node], *, after: Place | None, before: Place | None
) -> None:
    if after is not None:
        places = structure.several_after(after, len(new))
    else:
        assert before is not None
        places = structure.several_before(before, len(new))
    for node, place in zip(new, places, strict=True):
        structure.move(node, place)
