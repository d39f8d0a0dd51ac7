"""Operations on a plan's structure, and lists of what it is to be: what they come to."""

from __future__ import annotations

from typing import Any
from uuid import UUID

import pytest

from planstore.models import TaskStatus as S
from planstore.models.dependency import Condition, DependencyType
from planstore.models.operating import operate
from planstore.models.reshaping import Reshaping
from planstore.models.revision import RevisionDraft, WantedTasks
from planstore.models.structure import Need, Node, Structure
from planstore.models.wanting import want

Json = dict[str, Any]

OK, ENDED, FAILURE = Condition.SUCCESS, Condition.ENDED, Condition.FAILURE
DATA = DependencyType.DATA


def structure_of(*tasks: Json, is_sequential: bool = False) -> Structure:
    """Tasks by ``name``, with ``needs``, ``order``, ``status`` and ``input_data``."""
    ids = {task["name"]: UUID(int=number) for number, task in enumerate(tasks)}
    nodes = [
        Node(
            ids[task["name"]],
            task["name"],
            task.get("order", number + 1 if is_sequential else 1),
            {ids[each]: _need(how) for each, how in dict(task.get("needs", {})).items()},
            status=task.get("status", S.PENDING),
            input_data=task.get("input_data"),
        )
        for number, task in enumerate(tasks)
    ]
    return Structure(nodes, is_sequential=is_sequential)


def _need(how: Any) -> Need:
    return how if isinstance(how, Need) else Need(how, DependencyType.BLOCKING)


def row(*names: str, **statuses: S) -> Structure:
    tasks = [{"name": name, "status": statuses.get(name, S.PENDING)} for name in names]
    return structure_of(*tasks, is_sequential=True)


def new(name: str, *needs: str, **fields: Any) -> Json:
    return {"name": name, "description": "do it", "depends_on": list(needs), **fields}


def revised(structure: Structure, *operations: Json) -> Reshaping:
    last = max((int(node.place) for node in structure.nodes.values()), default=0)
    reshaping = Reshaping(structure, last_order=last)
    operate(reshaping, RevisionDraft.model_validate({"operations": operations}).operations)
    reshaping.finish()
    return reshaping


def wanted(structure: Structure, *tasks: Json) -> Reshaping:
    last = max((int(node.place) for node in structure.nodes.values()), default=0)
    reshaping = Reshaping(structure, last_order=last)
    want(reshaping, WantedTasks.model_validate({"tasks": tasks}).tasks)
    reshaping.finish()
    return reshaping


def needs_in(reshaping: Reshaping) -> dict[str, dict[str, Condition]]:
    nodes = reshaping.structure.nodes
    return {
        node.label: {nodes[each].label: need.when for each, need in node.needs.items()}
        for node in nodes.values()
    }


def orders_in(reshaping: Reshaping) -> dict[str, int]:
    assert reshaping.faults == []
    return {node.label: reshaping.orders[node.id] for node in reshaping.structure.nodes.values()}


def in_order(reshaping: Reshaping) -> list[str]:
    orders = orders_in(reshaping)
    return sorted(orders, key=lambda name: (orders[name], name))


def faults_in(reshaping: Reshaping) -> list[tuple[str, str]]:
    return [(fault.pointer, fault.detail) for fault in reshaping.faults]


def test_who_needed_what_is_removed_takes_over_how_that_needed_others() -> None:
    structure = structure_of(
        {"name": "a"},
        {"name": "b", "needs": {"a": FAILURE}},
        {"name": "c", "needs": {"b": OK, "a": ENDED}},
        {"name": "d", "needs": {"b": ENDED}},
        {"name": "e", "needs": {"b": OK}, "status": S.RUNNING},
    )
    reshaping = revised(structure, {"op": "remove", "task": "b"})
    assert needs_in(reshaping) == {"a": {}, "c": {"a": ENDED}, "d": {"a": FAILURE}, "e": {}}
    assert {node.label for node in reshaping.rewired} == {"c", "d", "e"}


def test_a_chain_of_removals_hands_on_to_the_last() -> None:
    names = "abcde"
    structure = structure_of(
        *(
            {"name": each, "needs": {before: OK}} if before else {"name": each}
            for before, each in zip(["", *names], names, strict=False)
        )
    )
    reshaping = revised(structure, *({"op": "remove", "task": each} for each in "cbd"))
    assert needs_in(reshaping) == {"a": {}, "e": {"a": OK}}


def test_what_would_be_handed_on_a_hundred_thousand_times_is_refused() -> None:
    count = 400
    structure = structure_of(
        *({"name": f"a{number}"} for number in range(count)),
        {"name": "hub", "needs": {f"a{number}": OK for number in range(count)}},
        *({"name": f"b{number}", "needs": {"hub": OK}} for number in range(count)),
    )
    (fault,) = faults_in(revised(structure, {"op": "remove", "task": "hub"}))
    assert fault[0] == "/operations/0"
    assert "more than 100000 dependencies" in fault[1]


def test_parts_take_the_place_of_the_whole() -> None:
    structure = structure_of(
        {"name": "a"},
        {"name": "b", "needs": {"a": OK}},
        {"name": "c", "needs": {"b": ENDED}},
        {"name": "d", "needs": {"b": OK}, "status": S.COMPLETED},
    )
    parts = [new("b1"), new("b2", "b3"), new("b3"), new("b4", "b1", "a")]
    reshaping = revised(structure, {"op": "split", "task": "b", "into": parts})
    assert needs_in(reshaping) == {
        "a": {},
        "b1": {"a": OK},
        "b2": {"b3": OK},
        "b3": {"a": OK},
        "b4": {"b1": OK, "a": OK},
        "c": {"b2": ENDED, "b4": ENDED},
        "d": {},
    }


def test_parts_in_a_sequence_follow_each_other_where_the_whole_was() -> None:
    reshaping = revised(
        row("a", "b", "c"),
        {"op": "split", "task": "b", "into": [new(f"b{number}") for number in range(4)]},
    )
    assert orders_in(reshaping) == {"a": 1, "b0": 2, "b1": 3, "b2": 4, "b3": 5, "c": 6}


def test_parts_that_say_what_they_need_share_the_place_of_the_whole() -> None:
    reshaping = revised(
        row("a", "b", "c"),
        {"op": "split", "task": "b", "into": [new("b1"), new("b2", "b1")]},
    )
    assert orders_in(reshaping) == {"a": 1, "b1": 2, "b2": 2, "c": 3}


def test_who_has_begun_is_not_held_back_by_what_is_inserted() -> None:
    structure = structure_of(
        {"name": "a"},
        {"name": "b", "needs": {"a": OK}, "status": S.RUNNING},
        {"name": "c", "needs": {"a": FAILURE}},
        {"name": "d", "needs": {"a": Need(OK, DATA)}},
        {"name": "e", "needs": {"a": ENDED}},
    )
    reshaping = revised(structure, {"op": "insert", "task": new("x"), "after": "a"})
    assert needs_in(reshaping) == {
        "a": {},
        "b": {"a": OK},
        "c": {"a": FAILURE},
        "d": {"a": OK, "x": OK},
        "e": {"x": ENDED},
        "x": {"a": OK},
    }


def test_what_is_inserted_before_waits_as_the_other_did() -> None:
    structure = structure_of(
        {"name": "a"}, {"name": "b"}, {"name": "c", "needs": {"a": FAILURE, "b": Need(OK, DATA)}}
    )
    reshaping = revised(structure, {"op": "insert", "task": new("x"), "before": "c"})
    assert needs_in(reshaping) == {
        "a": {},
        "b": {},
        "c": {"b": OK, "x": OK},
        "x": {"a": FAILURE, "b": OK},
    }


def test_in_a_sequence_it_is_inserted_between_and_nothing_overtakes() -> None:
    reshaping = revised(
        row("a", "b", "c", a=S.COMPLETED, b=S.RUNNING),
        {"op": "insert", "task": new("x"), "after": "b"},
        {"op": "insert", "task": new("y"), "before": "c"},
    )
    assert orders_in(reshaping) == {"a": 1, "b": 2, "x": 3, "y": 4, "c": 5}


def test_what_is_inserted_at_an_order_of_its_own_still_comes_after() -> None:
    reshaping = revised(
        row("a", "b"), {"op": "insert", "task": new("x", sequence_order=0), "after": "b"}
    )
    assert ["'x' needs 'b', which comes later" in why for _, why in faults_in(reshaping)] == [True]
    reshaping = revised(
        row("a", "b"), {"op": "insert", "task": new("x", sequence_order=9), "before": "b"}
    )
    assert ["'b' needs 'x', which comes later" in why for _, why in faults_in(reshaping)] == [True]


def test_a_new_order_takes_the_places_that_there_were() -> None:
    reshaping = revised(
        row("a", "b", "c", "d", b=S.RUNNING), {"op": "reorder", "order": ["d", "b", ["a"]]}
    )
    assert orders_in(reshaping) == {"a": 4, "b": 2, "c": 3, "d": 1}


def test_a_new_order_may_need_more_places_or_fewer() -> None:
    side_by_side = structure_of(*({"name": each} for each in "abc"), is_sequential=False)
    side_by_side.is_sequential = True
    assert orders_in(revised(side_by_side, {"op": "reorder", "order": ["c", "a"]})) == {
        "a": 2,
        "b": 1,
        "c": 1,
    }
    reshaping = revised(row("a", "b", "c"), {"op": "reorder", "order": [["a", "c"]]})
    assert orders_in(reshaping) == {"a": 1, "b": 2, "c": 1}


def test_what_an_input_did_not_name_stays_text_when_such_a_task_comes() -> None:
    structure = structure_of(
        {"name": "a"},
        {
            "name": "b",
            "needs": {"a": Need(OK, DATA)},
            "input_data": {"x": "{{a.n}} and {{later.n}}"},
        },
    )
    reshaping = revised(structure, {"op": "add", "task": new("later")})
    assert needs_in(reshaping)["b"] == {"a": OK}
    reshaping = revised(
        structure, {"op": "change", "task": "b", "set": {"input_data": {"x": "{{later.n}}"}}}
    )
    assert needs_in(reshaping)["b"] == {"later": OK}


def test_an_input_follows_a_name_that_passes_on() -> None:
    structure = structure_of(
        {"name": "a"},
        {"name": "b", "needs": {"a": Need(OK, DATA)}, "input_data": {"x": "{{a.n}}"}},
    )
    reshaping = revised(
        structure,
        {"op": "change", "task": "a", "set": {"name": "old a"}},
        {"op": "add", "task": new("a")},
    )
    assert reshaping.faults == []
    assert needs_in(reshaping)["b"] == {"a": OK}
    assert reshaping.added[0].id in reshaping.structure.nodes[UUID(int=1)].needs


def test_a_dependency_on_what_was_removed_leads_nowhere() -> None:
    reshaping = revised(
        structure_of({"name": "a"}, {"name": "b"}),
        {"op": "remove", "task": "a"},
        {"op": "rewire", "task": "b", "depends_on": ["a"]},
        {"op": "add", "task": new("c", "b", "a")},
        {"op": "change", "task": "a", "set": {"priority": 1}},
    )
    assert [pointer for pointer, _ in faults_in(reshaping)] == [
        "/operations/3/task",
        "/operations/1/depends_on/0",
        "/operations/2/task/depends_on/1",
    ]


def test_what_was_just_added_may_be_changed_split_and_removed() -> None:
    reshaping = revised(
        structure_of({"name": "a"}),
        {"op": "add", "task": new("b", "a")},
        {"op": "change", "task": "b", "set": {"name": "c", "priority": 5}},
        {"op": "add", "task": new("d", "c")},
        {"op": "split", "task": "c", "into": [new("c1"), new("c2")]},
        {"op": "remove", "task": "c1"},
    )
    assert needs_in(reshaping) == {"a": {}, "c2": {"a": OK}, "d": {"a": OK, "c2": OK}}
    assert (reshaping.removed, reshaping.rewritten, reshaping.rewired) == ({}, {}, [])


def test_too_many_faults_are_not_all_named() -> None:
    operations = [{"op": "reorder", "order": [f"no {number}" for number in range(1_500)]}]
    assert len(faults_in(revised(structure_of({"name": "a"}), *operations))) == 1_000


def test_an_order_that_is_too_high_is_a_fault() -> None:
    structure = structure_of({"name": "a", "order": 1_000_000_000}, is_sequential=True)
    (fault,) = faults_in(revised(structure, {"op": "add", "task": new("b")}))
    assert "a sequence_order would be 1000000001" in fault[1]


# Whole lists.


def test_listed_names_may_be_exchanged() -> None:
    a, b = (str(UUID(int=number)) for number in range(2))
    reshaping = wanted(
        structure_of({"name": "a"}, {"name": "b"}), {"id": a, "name": "b"}, {"id": b, "name": "a"}
    )
    assert reshaping.faults == []
    assert reshaping.rewritten == {UUID(a): {"name": "b"}, UUID(b): {"name": "a"}}


def test_a_name_that_a_listed_task_gives_up_is_that_of_a_new_one() -> None:
    a = str(UUID(int=0))
    structure = structure_of({"name": "a"}, {"name": "b", "needs": {"a": OK}})
    reshaping = wanted(structure, new("a"), {"id": a, "name": "old a"}, {"name": "b"})
    assert needs_in(reshaping) == {"old a": {}, "b": {"old a": OK}, "a": {}}
    assert [node.label for node in reshaping.added] == ["a"]


def test_a_listed_task_may_lose_its_name() -> None:
    a = UUID(int=0)
    reshaping = wanted(structure_of({"name": "a"}), {"id": str(a), "name": None})
    assert (reshaping.rewritten, reshaping.removed) == ({a: {"name": None}}, {})


def test_a_task_is_not_listed_twice() -> None:
    a = str(UUID(int=0))
    reshaping = wanted(structure_of({"name": "a"}), {"id": a, "priority": 1}, {"name": "a"})
    assert faults_in(reshaping)[0] == ("/tasks/1", "task 'a' is listed twice, once by its id")


def test_what_waits_for_a_failure_goes_together_with_what_may_fail() -> None:
    structure = structure_of(
        {"name": "deploy"},
        {"name": "undo", "needs": {"deploy": FAILURE}},
        {"name": "tell", "needs": {"undo": ENDED}},
    )
    reshaping = wanted(structure, {"name": "tell"})
    assert reshaping.faults == []
    assert needs_in(reshaping) == {"tell": {}}


@pytest.mark.parametrize(
    ("there", "listed", "expected"),
    [
        (["a", "b"], ["a", "+x", "+y", "b"], ["a", "x", "y", "b"]),
        (["a", "b"], ["+x", "a", "b", "+y"], ["x", "a", "b", "y"]),
        (["a", "b"], ["b", "+x", "a"], ["b", "x", "a"]),
        (["f", "a", "r", "b"], ["f", "+x", "a", "b", "r", "+y"], ["f", "x", "a", "r", "b", "y"]),
        (["a", "f", "b"], ["f", "+x", "a", "b"], ["x", "a", "f", "b"]),
        (["f", "r"], ["f", "r", "+x", "+y"], ["f", "r", "x", "y"]),
        (["a", "r", "b"], ["a", "+x", "r", "+y", "b"], ["a", "x", "r", "y", "b"]),
        (["r"], ["+x", "r"], ["r", "x"]),  # side by side: nothing comes before what has begun
    ],
)
def test_new_ones_come_between_those_listed_beside_them(
    there: list[str], listed: list[str], expected: list[str]
) -> None:
    """``f`` is finished and ``r`` runs, so they stay; ``+`` is a new one."""
    tasks = [
        {"name": name, "order": 10 * number, "status": _STATUSES.get(name, S.PENDING)}
        for number, name in enumerate(there, 1)
    ]
    entries = [new(each[1:]) if each[0] == "+" else {"name": each} for each in listed]
    structure = structure_of(*tasks, is_sequential=True)
    reshaping = wanted(structure, *entries)
    assert in_order(reshaping) == expected
    again = structure_of(
        *(
            {"name": name, "order": order, "status": _STATUSES.get(name, S.PENDING)}
            for name, order in orders_in(reshaping).items()
        ),
        is_sequential=True,
    )
    assert orders_in(wanted(again, *entries)) == orders_in(reshaping)


_STATUSES = {"f": S.COMPLETED, "r": S.RUNNING}


def test_a_new_one_between_two_side_by_side_parts_them() -> None:
    structure = structure_of(
        {"name": "a", "order": 1}, {"name": "b", "order": 1}, is_sequential=True
    )
    assert orders_in(wanted(structure, {"name": "a"}, new("x"), {"name": "b"})) == {
        "a": 1,
        "x": 2,
        "b": 3,
    }


def test_new_ones_alone_share_an_order_where_dependencies_say_what_waits() -> None:
    graph = wanted(structure_of(is_sequential=True), new("b", "a"), new("a"))
    assert orders_in(graph) == {"b": 1, "a": 1}
    sequence = wanted(structure_of(is_sequential=True), new("b"), new("a"))
    assert orders_in(sequence) == {"b": 1, "a": 2}


def test_a_run_is_at_stake_where_only_its_fields_can_say_whether_it_ends() -> None:
    structure = row("a", "b", "c", "d", a=S.RUNNING, b=S.RUNNING, c=S.FAILED)
    reshaping = wanted(
        structure,
        {"name": "a", "restart": True},
        {"name": "b", "depends_on": ["a"], "restart": True},
        {"name": "c", "restart": True},
        {"name": "d"},
    )
    assert [node.label for node in reshaping.restarted] == ["a", "b", "c"]
    (a,) = reshaping.runs_at_stake
    reshaping.leave(a)
    assert [node.label for node in reshaping.restarted] == ["b", "c"]
