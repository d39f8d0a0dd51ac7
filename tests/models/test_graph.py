"""What is found in a plan's graph, and what is drawn of it whatever clients write into it."""

from __future__ import annotations

import re
import string
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from planstore.models.graph import (
    GraphEdge,
    GraphNode,
    PlanGraph,
    find_cycle,
    leads_in_circle,
    nearest,
    to_dot,
    to_mermaid,
)
from planstore.models.task import TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from pydantic import BaseModel

    Draw = Callable[[PlanGraph], str]

NEEDS = st.dictionaries(st.integers(0, 7), st.lists(st.integers(0, 9), max_size=4))


def has_an_order(needs: Mapping[int, Iterable[int]]) -> bool:
    """Whether all can be done one after the other, found by trying."""
    left = {node: set(others) for node, others in needs.items()}
    while free := [node for node, others in left.items() if not others & left.keys()]:
        for node in free:
            del left[node]
    return not left


@given(NEEDS)
def test_a_cycle_is_found_exactly_where_there_is_no_order(needs: dict[int, list[int]]) -> None:
    cycle = find_cycle(needs)

    if cycle is None:
        assert has_an_order(needs)
    else:
        assert cycle[0] == cycle[-1]
        assert len(set(cycle)) == len(cycle) - 1
        assert all(after in needs[before] for before, after in pairwise(cycle))


@given(NEEDS, st.lists(st.integers(0, 9), max_size=3))
def test_a_way_leads_in_a_circle_exactly_where_a_cycle_can_be_reached(
    needs: dict[int, list[int]], starts: list[int]
) -> None:
    reached: dict[int, list[int]] = {}
    left = [*starts]
    while left:
        node = left.pop()
        if node not in reached:
            reached[node] = needs.get(node, [])
            left += reached[node]

    is_found = leads_in_circle(starts, lambda node: needs.get(node, ()))

    assert is_found == (find_cycle(reached) is not None)


def test_a_cycle_is_told_from_the_one_that_needs_to_the_one_that_is_needed() -> None:
    assert find_cycle({"a": ["b"], "b": ["c"], "c": ["a"]}) in (
        ["a", "b", "c", "a"],
        ["b", "c", "a", "b"],
        ["c", "a", "b", "c"],
    )


def test_what_needs_itself_is_a_cycle() -> None:
    assert find_cycle({"a": ["b"], "b": ["b"]}) == ["b", "b"]


def test_what_is_only_needed_may_be_left_out_of_the_keys() -> None:
    assert find_cycle({"a": ["b", "b"], "c": ["b"]}) is None


def test_the_same_cycle_is_found_each_time() -> None:
    needs = {str(n): [str((n * 7 + 1) % 50), str((n * 3) % 50)] for n in range(50)}

    assert find_cycle(needs) == find_cycle(dict(needs))


def test_a_long_chain_is_followed_to_its_end() -> None:
    needs = {n: [n + 1] for n in range(100_000)}

    assert find_cycle(needs) is None
    cycle = find_cycle({**needs, 100_000: [0]})

    assert cycle is not None
    assert len(cycle) == 100_002


def test_many_edges_between_few_tasks_take_no_longer() -> None:
    needs = {n: range(n + 1, 450) for n in range(450)}

    assert find_cycle(needs) is None


@pytest.mark.parametrize(
    ("word", "near"),
    [
        ("biol", "boil"),
        ("boil", "boil"),
        ("BOIL", "boil"),
        ("PUOR", "pour"),
        ("drnik", "Drink"),
        ("wash up", None),
        ("", None),
    ],
)
def test_the_nearest_name_is_the_one_that_was_probably_meant(word: str, near: str | None) -> None:
    assert nearest(word, ["boil", "pour", "Drink"]) == near


def test_the_same_spelling_is_nearer_than_another_case() -> None:
    assert nearest("Boil", ["BOIL", "Boill", "boil"]) == "Boill"
    assert nearest("bOIL", ["boil", "Boil"]) == "boil"


def test_nothing_is_near_where_nothing_is_known() -> None:
    assert nearest("boil", []) is None


def test_long_names_are_compared_by_how_they_begin() -> None:
    name = "ab" * 100

    assert nearest("x" + name, ["c" * 200, name]) == name


def test_a_word_of_a_megabyte_is_compared_at_once() -> None:
    assert nearest("a" * 2**20, (f"{n:0200}" for n in range(10_000))) is None
    assert nearest("ab" * 30, (f"{n:05}" + "abc" * 20 for n in range(10_000)))


def uuid(number: int) -> UUID:
    return UUID(int=number)


def node(number: int, name: str | None = None, **fields: Any) -> GraphNode:
    given = {
        "id": uuid(number),
        "name": name,
        "description": "do it",
        "status": "pending",
        "sequence_order": 0,
        "parallel_group": None,
    }
    return GraphNode.model_validate(given | fields)


def edge(needed: int, task: int, **fields: Any) -> GraphEdge:
    given = {
        "task_id": uuid(task),
        "needs_id": uuid(needed),
        "when": "success",
        "type": "blocking",
        "is_satisfied": False,
    }
    return GraphEdge.model_validate(given | fields)


def graph(*parts: GraphNode | GraphEdge, plan_type: str = "dag") -> PlanGraph:
    return PlanGraph(
        plan_id=uuid(0),
        plan_type=plan_type,
        nodes=[part for part in parts if isinstance(part, GraphNode)],
        edges=[part for part in parts if isinstance(part, GraphEdge)],
    )


TEA: Final = graph(
    node(1, "boil", status="completed"),
    node(2, "pour", status="running", parallel_group="at the table"),
    node(3, description="drink it\nslowly", parallel_group="at the table"),
    node(4, "mop up", status="blocked"),
    edge(1, 2, type="data"),
    edge(2, 3),
    edge(2, 4, when="failure"),
)


def test_a_plan_is_drawn_in_mermaid() -> None:
    assert to_mermaid(TEA) == (
        "flowchart TD\n"
        't1["boil<br/>completed"]\n'
        't4["mop up<br/>blocked"]\n'
        'subgraph g1["at the table"]\n'
        't2["pour<br/>running"]\n'
        't3["drink it slowly<br/>pending"]\n'
        "end\n"
        "t1 -.-> t2\n"
        "t2 --> t3\n"
        "t2 -->|failure| t4\n"
        "classDef pending fill:#e5e7eb,stroke:#111827,color:#111827\n"
        "class t3 pending\n"
        "classDef running fill:#93c5fd,stroke:#111827,color:#111827\n"
        "class t2 running\n"
        "classDef completed fill:#86efac,stroke:#111827,color:#111827\n"
        "class t1 completed\n"
        "classDef blocked fill:#fde68a,stroke:#111827,color:#111827\n"
        "class t4 blocked\n"
    )


def test_a_plan_is_drawn_in_dot() -> None:
    assert to_dot(TEA) == (
        "digraph plan {\n"
        'node [shape=box, style="rounded,filled", color="#111827", fontcolor="#111827"];\n'
        't1 [label="boil\\ncompleted", fillcolor="#86efac"];\n'
        't4 [label="mop up\\nblocked", fillcolor="#fde68a"];\n'
        "subgraph cluster_1 {\n"
        'label="at the table";\n'
        't2 [label="pour\\nrunning", fillcolor="#93c5fd"];\n'
        't3 [label="drink it slowly\\npending", fillcolor="#e5e7eb"];\n'
        "}\n"
        "t1 -> t2 [style=dashed];\n"
        "t2 -> t3 [style=solid];\n"
        't2 -> t4 [style=solid, label="failure"];\n'
        "}\n"
    )


STEPS: Final = graph(
    *(node(number, sequence_order=order) for number, order in enumerate([5, 2, 5, 9, 11, 11], 1)),
    *(node(number, sequence_order=20) for number in (7, 8)),
    edge(2, 1),
    plan_type="sequential",
)


def test_a_sequential_plan_shows_its_order_in_mermaid() -> None:
    drawing = to_mermaid(STEPS).splitlines()

    assert drawing[9:-2] == [
        "t2 --> t1",
        's1((" "))',
        *("t2 -.-> t1", "t2 -.-> t3"),
        *("t1 -.-> t4", "t3 -.-> t4"),
        *("t4 -.-> t5", "t4 -.-> t6"),
        *("t5 -.- s1", "t6 -.- s1", "s1 -.-> t7", "s1 -.-> t8"),
        "linkStyle 1,2,3,4,5,6,7,8,9,10 stroke:#6b7280,stroke-dasharray:1 4",
    ]


def test_a_sequential_plan_shows_its_order_in_dot() -> None:
    drawing = to_dot(STEPS).splitlines()

    assert drawing[10:-1] == [
        "t2 -> t1 [style=solid];",
        's1 [shape=point, color="#6b7280"];',
        *(
            f'{before} -> {after} [style=dotted, color="#6b7280"{head}];'
            for before, after, head in [
                *(("t2", "t1", ""), ("t2", "t3", "")),
                *(("t1", "t4", ""), ("t3", "t4", "")),
                *(("t4", "t5", ""), ("t4", "t6", "")),
                *(("t5", "s1", ", arrowhead=none"), ("t6", "s1", ", arrowhead=none")),
                *(("s1", "t7", ""), ("s1", "t8", "")),
            ]
        ),
    ]


@pytest.mark.parametrize("draw", [to_mermaid, to_dot])
def test_the_order_of_many_tasks_takes_few_arrows(draw: Draw) -> None:
    wide = graph(
        *(node(number, sequence_order=number % 2) for number in range(2_000)),
        plan_type="sequential",
    )

    assert len(draw(wide)) < 250_000


@pytest.mark.parametrize("draw", [to_mermaid, to_dot])
def test_only_a_sequential_plan_shows_an_order(draw: Draw) -> None:
    side_by_side = graph(node(1, sequence_order=1), node(2, sequence_order=2))

    assert not re.search(r"t1 -", draw(side_by_side))


def test_a_plan_without_tasks_can_be_drawn() -> None:
    assert to_mermaid(graph(plan_type="sequential")) == "flowchart TD\n"
    assert to_dot(graph()).startswith("digraph plan {\n")


@pytest.mark.parametrize("draw", [to_mermaid, to_dot])
def test_each_status_has_its_own_colour(draw: Draw) -> None:
    fills = {
        re.search(r'fill(?:color="|:)(#\w+)', draw(graph(node(1, status=status))))
        for status in TaskStatus
    }

    assert len({fill and fill[1] for fill in fills} - {None}) == len(TaskStatus)


def test_a_long_description_is_cut_and_a_name_is_not() -> None:
    drawing = to_dot(graph(node(1, "n" * 200), node(2, description=" a\n\tb" * 20_000)))

    assert f'"{"n" * 200}\\npending"' in drawing
    assert f'"{"a b" + " a b" * 14} …\\npending"' in drawing


HOSTILE: Final = [
    *("end", "subgraph", "default", "class", '"]', '"];', "'", "[", "]", "{}", "(x)", "|x|", ";"),
    *("#", "##", "#35;", "#quot;", "&quot;", "&#34;", "&", "%%", "%%{init: {'theme': 'dark'}}%%"),
    *("\\", '\\"', "a\\", "\\N", "\\n", "\\l", "C:\\new", "a\nb", "a\r\n%% b", "a\u2028b"),
    *("<b>x</b>", "<br/>", "<script>alert(1)</script>", "<img src=x onerror=alert(1)>", "-->"),
    *("`**bold** _it_`", "1. one", "- one", "---", "[a](http://b.c)", "$$$x$$", "fab:fa-car"),
    *("style a:#fff;", "classDef x fill:#fff;", '"]\nt1 --> t2\nclick t1 "javascript:alert(1)"'),
    *("ﬂ°°60¶ßb", " ", "\u00a0", "☃ \U0001f468\u200d\U0001f469 ß", "ไทย", "e\u0301"),
]

TEXTS: Final = st.sampled_from(HOSTILE) | st.text(
    st.sampled_from(string.printable) | st.characters(exclude_categories=("C",)), min_size=1
)


def shown(text: str) -> str:
    """Return a text as it is to be read in a drawing."""
    return " ".join(text.split()) or " "


def told(text: str) -> PlanGraph:
    """Return a plan in which a client has written ``text`` wherever it may."""
    return graph(
        node(1, text, parallel_group=text),
        node(2, description=text[:60]),
        edge(1, 2),
        plan_type="sequential",
    )


MERMAID_LABEL: Final = re.compile(r'"([^"\n]*)"')
MERMAID_SAFE: Final = re.compile(rf"(?:[^{re.escape(string.punctuation)}\s]|[, ]|#\d+;)+")


@given(TEXTS)
def test_nothing_breaks_out_of_a_label_in_mermaid(text: str) -> None:
    drawing = to_mermaid(told(text))
    labels = [label.removesuffix("<br/>pending") for label in MERMAID_LABEL.findall(drawing)]

    assert MERMAID_LABEL.sub("", drawing) == MERMAID_LABEL.sub("", to_mermaid(told("x")))
    assert all(MERMAID_SAFE.fullmatch(label) for label in labels)


@given(TEXTS)
def test_a_label_in_mermaid_reads_as_it_was_written(text: str) -> None:
    labels = MERMAID_LABEL.findall(to_mermaid(told(text)))
    read = [
        re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label.removesuffix("<br/>pending"))
        for label in labels
    ]

    assert {label.replace("\u200b", "") for label in read} == {
        shown(text).replace("\u200b", ""),
        shown(text[:60]).replace("\u200b", ""),
    }


@pytest.mark.parametrize("habit", ["$$", "$$$$", "fa:fa-x", "FAB:fa-x", r"\n", "ﬂ°°60¶ß", "ﬂ°lt¶ß"])
def test_what_mermaid_replaces_even_in_a_decoded_label_is_parted(habit: str) -> None:
    label = MERMAID_LABEL.findall(to_mermaid(graph(node(1, habit))))[0]
    decoded = re.sub(r"#(\d+);", lambda code: chr(int(code[1])), label)

    assert not re.search(r"\$\$|fa\w?:fa-|\\n|ﬂ°|¶ß", decoded, re.IGNORECASE)


DOT_LABEL: Final = re.compile(r'label="((?:[^"\\\n]|\\["\\n])*)"')
DOT_MEANINGS: Final = {r"\n": "\n", r"\"": '"', r"\\": "\\", "&amp;": "&"}


@given(TEXTS)
def test_nothing_breaks_out_of_a_label_in_dot(text: str) -> None:
    drawing = to_dot(told(text))

    assert DOT_LABEL.sub("", drawing) == DOT_LABEL.sub("", to_dot(told("x")))


@given(TEXTS)
def test_a_label_in_dot_reads_as_it_was_written(text: str) -> None:
    group, *titles = [
        re.sub(r"\\.|&\w*;?", lambda sign: DOT_MEANINGS[sign[0]], label)
        for label in DOT_LABEL.findall(to_dot(told(text)))
    ]

    assert group == shown(text)
    assert titles == [f"{shown(text)}\npending", f"{shown(text[:60])}\npending"]


@pytest.mark.parametrize("draw", [to_mermaid, to_dot])
@pytest.mark.parametrize("sign", ["\x01", "\x1b", "\x85\x86", "\u202e", "\u2066", "\uffff"])
def test_what_can_not_be_shown_is_replaced(draw: Draw, sign: str) -> None:
    drawing = draw(told(f"a{sign}b"))

    assert sign not in drawing
    assert "\N{REPLACEMENT CHARACTER}b" in drawing


@pytest.mark.parametrize("fields", [{"status": "lost"}, {"colour": "red"}])
def test_a_node_with_an_unknown_status_or_field_is_refused(fields: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        node(1, **fields)


@pytest.mark.parametrize("model", [GraphNode, GraphEdge, PlanGraph])
def test_each_field_of_a_graph_is_described(model: type[BaseModel]) -> None:
    assert all(field.description for field in model.model_fields.values())
