"""What a plan looks like as a graph: cycles, nearest names, drawings."""

from __future__ import annotations

import difflib
import heapq
import re
from collections import defaultdict
from graphlib import CycleError, TopologicalSorter
from itertools import pairwise, product
from typing import TYPE_CHECKING, Final, NamedTuple, TypeVar
from uuid import UUID

from planstore.models.dependency import Condition, DependencyType
from planstore.models.fields import SHOWN, Record, shortened
from planstore.models.plan import SEQUENTIAL
from planstore.models.task import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping

    N = TypeVar("N", bound=Hashable)


def find_cycle(needs: Mapping[N, Iterable[N]]) -> list[N] | None:
    """Return nodes each of which needs the next one, the last being the first again.

    None if there is no cycle. Which one is found depends on the order of ``needs`` alone; the
    time is linear in the number of nodes and edges.
    """
    try:
        TopologicalSorter(needs).prepare()
    except CycleError as error:
        # There each node comes before the one that needs it.
        return list(reversed(error.args[1]))
    return None


def leads_in_circle(starts: Iterable[N], needs: Callable[[N], Iterable[N]]) -> bool:
    """Whether any node that is needed by the starts, or by what they need, needs itself so.

    It tells no more than that, for a fraction of what `find_cycle` takes.
    """
    done: set[N] = set()
    for start in starts:
        if start in done:
            continue
        path = {start: iter(needs(start))}
        while path:
            node, left = next(reversed(path.items()))
            for each in left:
                if each in path:
                    return True
                if each not in done:
                    path[each] = iter(needs(each))
                    break
            else:
                del path[node]
                done.add(node)
    return False


MAX_COMPARED: Final = 1_000
"""How many words a misspelt one is compared with: long ones may take a millisecond each."""


def nearest(word: str, known: Iterable[str]) -> str | None:
    """Return the word of ``known`` that was probably meant; None if none is close.

    Upper and lower case count as different, unless nothing is close that way. Of many words only
    the 1,000 nearest in length are compared, and of a long one only its beginning.
    """
    alike = heapq.nsmallest(MAX_COMPARED, known, key=lambda each: abs(len(each) - len(word)))
    for spelt in (str, str.casefold):
        words = {spelt(shortened(each)): each for each in reversed(alike)}  # the first one stays
        if near := difflib.get_close_matches(spelt(shortened(word)), words, n=1):
            return words[near[0]]
    return None


class GraphNode(Record):
    """A task as a part of its plan's graph."""

    id: UUID
    """The task's id."""
    name: str | None
    """Unique in its plan, if it has one."""
    description: str
    """The beginning of what is to be done, 1,000 characters at most."""
    status: TaskStatus
    """Where the task stands."""
    sequence_order: int
    """Its place in the plan. In a sequential plan it waits for all tasks of a lower one."""
    parallel_group: str | None
    """What it has in common with the tasks that it is to run beside, in the client's own words."""


class GraphEdge(Record):
    """That one task of a plan needs another."""

    task_id: UUID
    """The task that needs the other one."""
    needs_id: UUID
    """The task that is needed."""
    when: Condition
    """What of the task that is needed lets the other one start."""
    type: DependencyType
    """Whether the order alone is meant, or output that becomes input."""
    is_satisfied: bool
    """Whether it lets the task start."""


class PlanGraph(Record):
    """The tasks of a plan, and which of them need which."""

    plan_id: UUID
    """The plan that is shown."""
    plan_type: str
    """In a `sequential` plan tasks wait for all tasks of a lower order, without an edge."""
    nodes: list[GraphNode]
    """Its tasks."""
    edges: list[GraphEdge]
    """Its dependencies; each is between two of the nodes."""
    is_whole: bool = True
    """Whether these are all; of a larger plan it is the first 10,000 tasks in their order, and
    100,000 dependencies."""


_FILLS: Final = {
    TaskStatus.PENDING: "#e5e7eb",
    TaskStatus.RUNNING: "#93c5fd",
    TaskStatus.COMPLETED: "#86efac",
    TaskStatus.FAILED: "#fca5a5",
    TaskStatus.BLOCKED: "#fde68a",
    TaskStatus.SKIPPED: "#f9fafb",
}
_INK: Final = "#111827"
"""Of text and frames: readable on each of the fills, whatever the theme around them."""
_FAINT: Final = "#6b7280"
"""Of what follows from the order alone."""


def to_mermaid(graph: PlanGraph) -> str:
    """Draw a plan as a Mermaid flowchart.

    Unless it is told otherwise, Mermaid refuses a text of more than 50,000 characters, and one
    of more than 500 edges (`maxTextSize` and `maxEdges` in its configuration).
    """
    ids = _short_ids(graph)
    lines = [
        "flowchart TD",
        *_mermaid_boxes(graph, ids),
        *_mermaid_arrows(graph, ids),
        *_mermaid_order(graph, ids),
        *_mermaid_colours(graph, ids),
    ]
    return "\n".join(lines) + "\n"


def _mermaid_boxes(graph: PlanGraph, ids: Mapping[UUID, str]) -> Iterator[str]:
    for number, (group, nodes) in enumerate(_grouped(graph.nodes).items()):
        if group is not None:
            yield f'subgraph g{number}["{_in_mermaid(group)}"]'
        for node in nodes:
            yield f'{ids[node.id]}["{_in_mermaid(_title(node))}<br/>{node.status.value}"]'
        if group is not None:
            yield "end"


def _mermaid_arrows(graph: PlanGraph, ids: Mapping[UUID, str]) -> Iterator[str]:
    for edge in graph.edges:
        arrow = "-.->" if edge.type == DependencyType.DATA else "-->"
        label = "" if edge.when == Condition.SUCCESS else f"|{edge.when.value}|"
        yield f"{ids[edge.needs_id]} {arrow}{label} {ids[edge.task_id]}"


def _mermaid_order(graph: PlanGraph, ids: Mapping[UUID, str]) -> Iterator[str]:
    order = _order(graph, ids)
    for point in order.points:
        yield f'{point}((" "))'
    for earlier, later in order.steps:
        yield f"{earlier} {'-.-' if later in order.points else '-.->'} {later}"
    if order.steps:
        # Arrows have no ids there: they are counted.
        first = len(graph.edges)
        numbers = ",".join(str(first + number) for number in range(len(order.steps)))
        yield f"linkStyle {numbers} stroke:{_FAINT},stroke-dasharray:1 4"


def _mermaid_colours(graph: PlanGraph, ids: Mapping[UUID, str]) -> Iterator[str]:
    for status, fill in _FILLS.items():
        if alike := [ids[node.id] for node in graph.nodes if node.status == status]:
            yield f"classDef {status.value} fill:{fill},stroke:{_INK},color:{_INK}"
            yield f"class {','.join(alike)} {status.value}"


_MERMAID_HABITS: Final = re.compile(
    r"\$(?=\$)|fa[bklrs]?:(?=fa-)|\\(?=n)|ﬂ(?=°)|¶(?=ß)", re.IGNORECASE
)
"""What Mermaid replaces in labels even after it has decoded them: formulas, icons, line breaks,
and the marks ``ﬂ°…¶ß`` that it puts around codes meanwhile."""

_PARTED: Final = "\\g<0>\N{ZERO WIDTH SPACE}"

_MERMAID_SIGNS: Final = re.compile(r"[!-+\--/:-@\[-`{-~]")
"""What may mean something to Mermaid, or in the Markdown and the HTML that it reads labels as:
all of ASCII's signs but the comma."""


def _in_mermaid(text: str) -> str:
    """Write a text to stand between quotes, its signs as Mermaid's "entity codes"."""
    parted = _MERMAID_HABITS.sub(_PARTED, one_line(text))
    return _MERMAID_SIGNS.sub(lambda sign: f"#{ord(sign[0])};", parted)


def to_dot(graph: PlanGraph) -> str:
    """Draw a plan in DOT, the language of Graphviz."""
    ids = _short_ids(graph)
    lines = [
        "digraph plan {",
        f'node [shape=box, style="rounded,filled", color="{_INK}", fontcolor="{_INK}"];',
        *_dot_boxes(graph, ids),
        *_dot_arrows(graph, ids),
        *_dot_order(graph, ids),
        "}",
    ]
    return "\n".join(lines) + "\n"


def _dot_boxes(graph: PlanGraph, ids: Mapping[UUID, str]) -> Iterator[str]:
    for number, (group, nodes) in enumerate(_grouped(graph.nodes).items()):
        if group is not None:
            yield f"subgraph cluster_{number} {{"
            yield f'label="{_in_dot(group)}";'
        for node in nodes:
            label = rf"{_in_dot(_title(node))}\n{node.status.value}"
            yield f'{ids[node.id]} [label="{label}", fillcolor="{_FILLS[node.status]}"];'
        if group is not None:
            yield "}"


def _dot_arrows(graph: PlanGraph, ids: Mapping[UUID, str]) -> Iterator[str]:
    for edge in graph.edges:
        style = "dashed" if edge.type == DependencyType.DATA else "solid"
        label = "" if edge.when == Condition.SUCCESS else f', label="{edge.when.value}"'
        yield f"{ids[edge.needs_id]} -> {ids[edge.task_id]} [style={style}{label}];"


def _dot_order(graph: PlanGraph, ids: Mapping[UUID, str]) -> Iterator[str]:
    order = _order(graph, ids)
    for point in order.points:
        yield f'{point} [shape=point, color="{_FAINT}"];'
    for earlier, later in order.steps:
        head = ", arrowhead=none" if later in order.points else ""
        yield f'{earlier} -> {later} [style=dotted, color="{_FAINT}"{head}];'


_DOT_SIGNS: Final = str.maketrans({"\\": r"\\", '"': r"\"", "&": "&amp;"})
"""What has a meaning between quotes: Graphviz reads escapes there, and the entities of HTML."""


def _in_dot(text: str) -> str:
    """Write a text to stand between quotes."""
    return one_line(text).translate(_DOT_SIGNS)


def _short_ids(graph: PlanGraph) -> dict[UUID, str]:
    return {node.id: f"t{number}" for number, node in enumerate(graph.nodes, 1)}


def _grouped(nodes: Iterable[GraphNode]) -> dict[str | None, list[GraphNode]]:
    groups: defaultdict[str | None, list[GraphNode]] = defaultdict(list)
    for node in nodes:
        groups[node.parallel_group].append(node)
    return groups


def _title(node: GraphNode) -> str:
    # Sixty words are more than is shown, and a description may be long.
    words = node.description.split(maxsplit=SHOWN)
    return node.name or shortened(" ".join(words))


_UNSEEN: Final = re.compile(
    r"[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff\ufffe\uffff]"
)
"""What would turn the text around it (the marks of direction), or has no place in an SVG."""


def one_line(text: str) -> str:
    """Return a text as one line that shows what it is; a blank where there is none."""
    # Mermaid has no empty titles.
    return _UNSEEN.sub("\N{REPLACEMENT CHARACTER}", " ".join(text.split())) or " "


class _Order(NamedTuple):
    """How the order of a sequential plan is drawn."""

    points: dict[str, None]
    """An ordered set: where the arrows of several tasks meet that several others wait for."""
    steps: list[tuple[str, str]]
    """From each task or point to the ones that wait for it."""


def _order(graph: PlanGraph, ids: Mapping[UUID, str]) -> _Order:
    order = _Order({}, [])
    if graph.plan_type != SEQUENTIAL:
        return order
    ranks: defaultdict[int, list[str]] = defaultdict(list)
    for node in graph.nodes:
        ranks[node.sequence_order].append(ids[node.id])
    for earlier, later in pairwise(ranks[rank] for rank in sorted(ranks)):
        if min(len(earlier), len(later)) == 1:
            order.steps.extend(product(earlier, later))
        else:
            point = f"s{len(order.points) + 1}"
            order.points[point] = None
            order.steps.extend((task, point) for task in earlier)
            order.steps.extend((point, task) for task in later)
    return order
