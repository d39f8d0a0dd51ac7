"""Graphs of tasks to be carried out: real ones where they are present, and some made here."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from random import Random
    from uuid import UUID

    from tests.history import Event

    Json = dict[str, Any]
    Needs = Mapping[str, Sequence[str]]

REAL: Final = Path(__file__).parents[2] / "shared" / "real" / "wfformat"
"""Executions of scientific workflows in WfFormat; not part of the project."""


@dataclass(frozen=True, slots=True)
class Graph:
    """A plan that is to be made, and what its tasks have to wait for."""

    name: str
    plan: Json
    """The body of the request that makes it."""
    needs: Needs
    """Each task's name, with the names of those that must have ended before it starts."""

    def __str__(self) -> str:
        return self.name


def woven(name: str, needs: Needs, **plan: Any) -> Graph:
    """A plan whose tasks depend on each other by name."""
    tasks = [
        {"name": each, "description": each, "depends_on": list(others)}
        for each, others in needs.items()
    ]
    return Graph(name, _plan(name, tasks, plan_type="dag", **plan), needs)


def marching(name: str, ranks: Sequence[Sequence[str]], **plan: Any) -> Graph:
    """A sequential plan: each rank starts when the one before it is through."""
    tasks = [
        {"name": each, "description": each, "sequence_order": order}
        for order, rank in enumerate(ranks, start=1)
        for each in rank
    ]
    needs = {each: before for before, rank in pairwise([(), *ranks]) for each in rank}
    return Graph(name, _plan(name, tasks, plan_type="sequential", **plan), needs)


def _plan(name: str, tasks: list[Json], **plan: Any) -> Json:
    return {"status": "active", "metadata": {"graph": name}, "tasks": tasks, **plan}


def chain(length: int) -> Graph:
    steps = [f"step-{number}" for number in range(length)]
    return woven("chain", {each: steps[max(at - 1, 0) : at] for at, each in enumerate(steps)})


def diamond(width: int) -> Graph:
    """One task, many that need it, and one that needs all of those."""
    middle = [f"middle-{number}" for number in range(width)]
    return woven("diamond", {"top": (), **dict.fromkeys(middle, ("top",)), "bottom": middle})


def layered(random: Random, *, layers: int, width: int, **plan: Any) -> Graph:
    """Layers of tasks that each need up to three of the layer before."""
    ranks = _ranks(layers, width)
    needs: dict[str, Sequence[str]] = dict.fromkeys(ranks[0], ())
    for above, rank in pairwise(ranks):
        needs |= {each: random.sample(above, min(3, width)) for each in rank}
    return woven("layered", needs, **plan)


def march(*, layers: int, width: int, **plan: Any) -> Graph:
    return marching("march", _ranks(layers, width), **plan)


def _ranks(layers: int, width: int) -> list[list[str]]:
    return [[f"task-{layer}-{place}" for place in range(width)] for layer in range(layers)]


def real() -> list[Graph]:
    """The workflows that are present, smallest first."""
    graphs = [_read(path) for path in sorted(REAL.glob("*.json"))]
    return sorted(graphs, key=lambda graph: len(graph.needs))


def _read(path: Path) -> Graph:
    tasks = json.loads(path.read_text("utf-8"))["workflow"]["specification"]["tasks"]
    return woven(path.stem, {task["id"]: task["parents"] for task in tasks})


def assert_carried_out(graph: Graph, plan_id: UUID, events: Iterable[Event]) -> None:
    """Assert that each task of a plan completed once, and started after those that it needs."""
    names: dict[UUID, str] = {}
    completed: Counter[str] = Counter()
    for event in events:
        if event.plan_id != plan_id or event.aggregate_type != "task":
            continue
        if event.event_type == "task.created":
            names[event.aggregate_id] = event.payload["name"]
        name = names[event.aggregate_id]
        if event.event_type == "task.started":
            too_early = [each for each in graph.needs[name] if each not in completed]
            assert not too_early, f"{graph}: {name} started before {too_early} at {event.seq}"
        if event.event_type == "task.completed":
            completed[name] += 1
    assert completed == Counter(graph.needs.keys()), graph
