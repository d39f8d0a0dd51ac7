"""A plan's tasks and dependencies, as a graph."""

from __future__ import annotations

from typing import TYPE_CHECKING
from uuid import uuid4

import pytest

from planstore.errors import NotFound
from planstore.models import TaskStatus as S
from planstore.models.dependency import Condition, DependencyType
from planstore.models.graph import GraphEdge
from planstore.services import insight
from tests.arranging import moved, plan_of
from tests.services.weaving import woven

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore


async def test_a_graph_holds_all_tasks_in_order_and_what_needs_what(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {
            "boil": [],
            "pour": ["boil"],
            "mop": [{"task": "pour", "when": "failure"}],
            "drink": [{"task": "pour", "type": "data"}],
        },
        fields={"boil": {"parallel_group": "tea", "description": "x" * 2_000}},
    )
    await moved(store, tasks["boil"], S.COMPLETED)

    graph = await store.get_graph(plan.id)

    assert (graph.plan_id, graph.plan_type, graph.is_whole) == (plan.id, "dag", True)
    assert [(each.name, each.status) for each in graph.nodes] == [
        ("boil", S.COMPLETED),
        ("pour", S.PENDING),
        ("mop", S.BLOCKED),
        ("drink", S.BLOCKED),
    ]
    assert graph.nodes[0].parallel_group == "tea"
    assert graph.nodes[0].description == "x" * 1_000
    ids = {name: task.id for name, task in tasks.items()}
    edges = {(each.task_id, each.needs_id): each for each in graph.edges}
    assert edges == {
        (ids[task], ids[needs]): GraphEdge(
            task_id=ids[task], needs_id=ids[needs], when=when, type=kind, is_satisfied=satisfied
        )
        for task, needs, when, kind, satisfied in (
            ("pour", "boil", Condition.SUCCESS, DependencyType.BLOCKING, True),
            ("mop", "pour", Condition.FAILURE, DependencyType.BLOCKING, False),
            ("drink", "pour", Condition.SUCCESS, DependencyType.DATA, False),
        )
    }


async def test_a_plan_without_tasks_has_an_empty_graph(store: PlanStore) -> None:
    graph = await store.get_graph((await plan_of(store)).id)

    assert (graph.nodes, graph.edges, graph.is_whole) == ([], [], True)


async def test_the_graph_of_an_unknown_plan_is_not_found(store: PlanStore) -> None:
    with pytest.raises(NotFound):
        await store.get_graph(uuid4())


async def test_of_a_plan_that_is_too_large_the_first_tasks_are_shown(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "b": ["a"], "c": ["b"]},
        fields={name: {"sequence_order": n} for n, name in enumerate("abc")},
    )
    monkeypatch.setattr(insight, "MAX_WEIGHED", 2)

    graph = await store.get_graph(plan.id)

    assert [each.name for each in graph.nodes] == ["a", "b"]
    assert [(each.task_id, each.needs_id) for each in graph.edges] == [
        (tasks["b"].id, tasks["a"].id)
    ]
    assert not graph.is_whole


async def test_of_too_many_dependencies_as_many_are_shown_as_may_be(
    store: PlanStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    plan, _ = await woven(store, {"a": [], "b": ["a"], "c": ["a", "b"]})
    monkeypatch.setattr(insight, "MAX_EDGES", 2)

    graph = await store.get_graph(plan.id)

    assert (len(graph.nodes), len(graph.edges), graph.is_whole) == (3, 2, False)
