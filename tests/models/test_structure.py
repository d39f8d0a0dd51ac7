"""The structure of a plan while it is changed: places, orders, and what is stranded."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING, Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planstore.models import TaskStatus as S
from planstore.models.dependency import Condition, DependencyType
from planstore.models.plan import OnFailure
from planstore.models.structure import Need, Node, Structure, stranded
from planstore.models.task import StatusReason

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planstore.models.structure import Place

SUCCESS = Need(Condition.SUCCESS, DependencyType.BLOCKING)


def node_of(number: int, place: Place, **fields: Any) -> Node:
    return Node(UUID(int=number), f"t{number}", place, fields.pop("needs", {}), **fields)


def row_of(*places: Place, **statuses: S) -> Structure:
    """Tasks t0, t1, … at these places, in a sequential plan."""
    nodes = [
        node_of(number, place, status=statuses.get(f"t{number}", S.PENDING))
        for number, place in enumerate(places)
    ]
    return Structure(nodes, is_sequential=True)


def orders_of(structure: Structure) -> list[int]:
    return [structure.orders()[each] for each in structure.nodes]


def named(structure: Structure, name: str) -> Node:
    node = structure.find(name)
    assert node is not None
    return node


def test_a_task_is_found_by_its_name_or_its_id() -> None:
    structure = row_of(1, 2)
    assert structure.find("t1") is structure.nodes[UUID(int=1)]
    assert structure.find(str(UUID(int=1))) is structure.nodes[UUID(int=1)]
    assert structure.find("t2") is None
    assert structure.find(str(UUID(int=2))) is None


def test_whole_places_are_the_orders() -> None:
    assert orders_of(row_of(1, 1, 5, 0)) == [1, 1, 5, 0]


def test_what_comes_between_moves_those_after_it_that_have_no_room() -> None:
    structure = row_of(1, 2, 3, 7)
    structure.add(node_of(4, structure.after(1)))
    assert orders_of(structure) == [1, 3, 4, 7, 2]


def test_what_comes_where_there_is_room_moves_nothing() -> None:
    structure = row_of(1, 5)
    structure.add(node_of(2, structure.after(1)))
    structure.add(node_of(3, structure.after(5)))
    structure.add(node_of(4, structure.before(5)))
    assert orders_of(structure)[:2] == [1, 5]
    assert orders_of(structure) == [1, 5, 3, 6, 4]


def test_what_comes_first_moves_the_others_where_it_has_no_room() -> None:
    structure = row_of(0, 1, 9)
    structure.add(node_of(3, structure.before(0)))
    assert orders_of(structure) == [1, 2, 9, 0]


@pytest.mark.parametrize("status", [S.RUNNING, S.COMPLETED, S.SKIPPED])
def test_what_has_begun_keeps_its_order(status: S) -> None:
    structure = row_of(1, 2, 2, 3, t1=status)
    structure.add(node_of(4, structure.after(1)))
    assert orders_of(structure) == [1, 2, 3, 4, 2]


def test_several_come_one_after_the_other() -> None:
    structure = row_of(1, 2)
    for number, place in enumerate(structure.several_after(1, 3), start=2):
        structure.add(node_of(number, place))
    for number, place in enumerate(structure.several_before(1, 2), start=5):
        structure.add(node_of(number, place))
    orders = dict(zip(structure.names, orders_of(structure), strict=True))
    assert sorted(orders, key=lambda name: orders[name]) == [
        *("t5", "t6", "t0", "t2", "t3", "t4", "t1")
    ]
    assert len(set(orders.values())) == 7


def test_what_is_removed_leaves_its_place_and_all_that_needs_it() -> None:
    structure = row_of(1, 2, 3)
    t0, t1, t2 = structure.nodes.values()
    structure.link(t1, t0.id, SUCCESS)
    structure.link(t2, t1.id, SUCCESS)
    structure.remove(t1)
    assert (t0.needs, t2.needs) == ({}, {})
    assert structure.followers(t0) == []
    assert structure.find("t1") is None
    assert structure.after(1) == 2


def test_a_name_that_is_given_away_is_free() -> None:
    structure = row_of(1, 2)
    structure.rename(named(structure, "t0"), None)
    structure.rename(named(structure, "t1"), "t0")
    assert named(structure, "t0").id == UUID(int=1)
    assert structure.nodes[UUID(int=0)].label == str(UUID(int=0))


BETWEEN = st.fractions(min_value=-2, max_value=8, max_denominator=6)
NODES = st.lists(
    st.tuples(
        st.integers(0, 8) | BETWEEN, st.sampled_from([S.PENDING, S.PENDING, S.RUNNING, S.COMPLETED])
    ),
    max_size=12,
)


@given(NODES)
def test_orders_are_as_the_places_and_move_no_more_than_they_must(
    given_nodes: list[tuple[Place, S]],
) -> None:
    nodes = [
        # What has begun was never put between two others.
        node_of(number, place if status == S.PENDING else max(int(place), 0), status=status)
        for number, (place, status) in enumerate(given_nodes)
    ]
    structure = Structure(nodes, is_sequential=True)
    orders = structure.orders()
    movable = [node for node in nodes if node.is_movable]
    for one, other in combinations(movable, 2):
        assert (one.place < other.place) == (orders[one.id] < orders[other.id])
    for node in nodes:
        assert orders[node.id] >= max(node.place, 0)
        if not node.is_movable:
            assert orders[node.id] == node.place
    moved = {node.place for node in movable if orders[node.id] != node.place}
    for place in (each for each in moved if each >= 0 and each == int(each)):
        # Only for one that comes before it, and had to go as far.
        below = {orders[node.id] for node in movable if node.place < place}
        assert place in below
    assert {node.id for node in nodes} == orders.keys()


# What is stranded.


def dag_of(
    needs: Mapping[str, Mapping[str, Condition]],
    *,
    is_sequential: bool = False,
    orders: Mapping[str, int] | None = None,
    **states: S | StatusReason,
) -> Structure:
    """Tasks of these names; a reason means that the task is skipped for it."""
    ids = {name: UUID(int=number) for number, name in enumerate(needs)}
    nodes: list[Node] = []
    for name, others in needs.items():
        state = states.get(name, S.PENDING)
        is_reason = isinstance(state, StatusReason)
        nodes.append(
            Node(
                ids[name],
                name,
                (orders or {}).get(name, 1),
                {ids[each]: Need(when, DependencyType.BLOCKING) for each, when in others.items()},
                status=S.SKIPPED if is_reason else state,
                status_reason=state if is_reason else None,
            )
        )
    return Structure(nodes, is_sequential=is_sequential)


def stranded_in(structure: Structure, on_failure: OnFailure = OnFailure.BLOCK) -> set[str]:
    found = stranded(structure, on_failure=on_failure)
    return {structure.nodes[each].label for each in found}


OK, ENDED, FAILURE = Condition.SUCCESS, Condition.ENDED, Condition.FAILURE


@pytest.mark.parametrize("on_failure", [OnFailure.BLOCK, OnFailure.SKIP])
def test_what_needs_a_failed_task_is_stranded_in_turn(on_failure: OnFailure) -> None:
    structure = dag_of({"a": {}, "b": {"a": OK}, "c": {"b": OK}, "d": {}}, a=S.FAILED)
    assert stranded_in(structure, on_failure) == {"b", "c"}


def test_what_waits_for_any_end_of_what_is_skipped_is_not_stranded() -> None:
    structure = dag_of({"a": {}, "b": {"a": OK}, "c": {"b": ENDED}}, a=S.FAILED)
    assert stranded_in(structure, OnFailure.SKIP) == {"b"}
    assert stranded_in(structure, OnFailure.BLOCK) == {"b", "c"}  # for it waits as long as b does


def test_what_was_skipped_with_its_plan_strands_who_needs_its_success() -> None:
    structure = dag_of(
        {"a": {}, "b": {"a": OK}, "c": {"a": ENDED}, "d": {"b": ENDED}}, a=StatusReason.CLOSED
    )
    assert stranded_in(structure) == {"b"}


def test_what_waits_for_a_failure_that_does_not_come_is_stranded() -> None:
    structure = dag_of({"a": {}, "b": {"a": FAILURE}, "c": {"b": FAILURE}}, a=S.COMPLETED)
    assert stranded_in(structure) == {"b", "c"}
    assert stranded_in(dag_of({"a": {}, "b": {"a": FAILURE}})) == set()
    assert stranded_in(dag_of({"a": {}, "b": {"a": FAILURE}}, a=S.FAILED)) == set()


def test_what_is_skipped_by_hand_or_restarted_strands_nobody() -> None:
    structure = dag_of({"a": {}, "b": {"a": OK}, "c": {"d": OK}, "d": {}}, a=S.SKIPPED, d=S.FAILED)
    named(structure, "d").is_restarted = True
    assert stranded_in(structure) == set()


def test_with_a_failure_all_that_waits_is_stranded_where_it_aborts_the_plan() -> None:
    structure = dag_of({"a": {}, "b": {}, "c": {}}, a=S.FAILED, c=S.RUNNING)
    assert stranded_in(structure, OnFailure.ABORT) == {"b"}


def test_in_a_sequence_what_comes_after_a_failure_is_stranded() -> None:
    structure = dag_of(
        {"a": {}, "b": {}, "c": {}},
        is_sequential=True,
        orders={"a": 1, "b": 2, "c": 3},
        b=S.FAILED,
    )
    assert stranded_in(structure) == {"c"}
    assert stranded_in(structure, OnFailure.SKIP) == {"c"}


def test_what_was_skipped_for_its_dependency_is_no_cause_by_itself() -> None:
    structure = dag_of({"a": {}, "b": {"a": OK}, "c": {"b": OK}}, b=StatusReason.DEAD)
    assert stranded_in(structure) == set()
