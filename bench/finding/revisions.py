"""Changing the structure of plans of a thousand tasks that are partly carried out."""

from __future__ import annotations

import random
from dataclasses import dataclass
from itertools import count, cycle
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from bench.finding.calls import Calls, Watch, opened
from planstore.models.claim import ClaimRequest, Result, Results
from planstore.models.plan import PlanCreate
from planstore.models.revision import RevisionDraft

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from uuid import UUID

    from planstore.services.plan_store import PlanStore

TASKS: Final = 1_000

_PLANS: Final = 5
_LAYERS: Final = 20
_WIDTH: Final = TASKS // _LAYERS
_NEEDED_IN_LAYER: Final = 3
_FINISHED: Final = 400
_RUNNING: Final = 10

MOST_MS: Final = 50.0
"""What a revision may take."""

Json: TypeAlias = dict[str, Any]


def _task(name: str, *needs: str) -> Json:
    return {"name": name, "description": f"Carry out {name}", "depends_on": list(needs)}


class Shape(Protocol):
    """How the tasks of a plan hang together, as far as they can still be changed."""

    plan_type: str

    def tasks(self) -> list[Json]:
        """All tasks, in the order in which they are carried out."""
        ...

    def operations(self) -> list[Json]:
        """Ten operations of all kinds, after which there is one task more."""
        ...


class Layers(Shape):
    """Twenty layers, each of whose tasks needs three of the layer before."""

    plan_type = "dag"

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = count()
        self._layers = [[self._name() for _ in range(_WIDTH)] for _ in range(_LAYERS)]
        self._between: list[str] = []
        """What was put between two layers."""

    def tasks(self) -> list[Json]:
        tasks = [
            _task(name, *self._needs(layer))
            for layer, names in enumerate(self._layers)
            for name in names
        ]
        for names in self._layers[: _first_untouched(_WIDTH)]:
            names.clear()
        return tasks

    def operations(self) -> list[Json]:
        at = self._random.choice(range(_first_untouched(_WIDTH) + 1, _LAYERS))
        names = self._layers[at]
        self._random.shuffle(names)
        split, removed, *others = names
        parts = [self._name(), self._name()]
        added, inserted = self._name(), self._name()
        operations: list[Json] = [
            {"op": "add", "task": _task(added, *self._needs(at))},
            {"op": "change", "task": others[0], "set": {"description": "Do it otherwise"}},
            {"op": "change", "task": others[1], "set": {"priority": 7, "metadata": {"by": "me"}}},
            {"op": "insert", "task": _task(inserted), "after": others[2]},
            {"op": "split", "task": split, "into": [_task(each) for each in parts]},
            {"op": "remove", "task": removed},
            {"op": "rewire", "task": others[3], "depends_on": self._needs(at)},
            {"op": "rewire", "task": others[4], "depends_on": self._needs(at)},
            {"op": "reorder", "order": others[5:8]},
            (
                {"op": "remove", "task": self._between.pop(0)}
                if len(self._between) > 1
                else {"op": "change", "task": others[8], "set": {"priority": 1}}
            ),
        ]
        self._layers[at] = [*others, *parts, added]
        self._between.append(inserted)
        return operations

    def _name(self) -> str:
        return f"task-{next(self._numbers)}"

    def _needs(self, layer: int) -> list[str]:
        return self._random.sample(self._layers[layer - 1], _NEEDED_IN_LAYER) if layer else []


class InOrder(Shape):
    """A sequential plan, each of whose tasks follows the one before."""

    plan_type = "sequential"

    def __init__(self, seed: int) -> None:
        self._random = random.Random(seed)
        self._numbers = count()
        self._names = [self._name() for _ in range(TASKS)]

    def tasks(self) -> list[Json]:
        tasks = [_task(name) for name in self._names]
        del self._names[: _FINISHED + 1]
        return tasks

    def operations(self) -> list[Json]:
        names = self._names
        places = sorted(self._random.sample(range(1, len(names) - 3), 7))
        split, first_gone, second_gone, changed, again, after, wired = (
            names[each] for each in places
        )
        last = [*names[-3:]]
        self._random.shuffle(last)
        parts = [self._name(), self._name()]
        added, inserted = self._name(), self._name()
        operations: list[Json] = [
            {"op": "add", "task": _task(added)},
            {"op": "change", "task": changed, "set": {"description": "Do it otherwise"}},
            {"op": "change", "task": again, "set": {"priority": 7, "metadata": {"by": "me"}}},
            {"op": "insert", "task": _task(inserted), "after": after},
            {"op": "split", "task": split, "into": [_task(each) for each in parts]},
            {"op": "remove", "task": first_gone},
            {"op": "remove", "task": second_gone},
            {"op": "rewire", "task": wired, "depends_on": [names[0]]},
            {"op": "rewire", "task": last[0], "depends_on": [names[0]]},
            {"op": "reorder", "order": last},
        ]
        self._names = [
            follower
            for name in (*names[:-3], *last, added)
            for follower in (
                parts
                if name == split
                else [name, inserted]
                if name == after
                else []
                if name in {first_gone, second_gone}
                else [name]
            )
        ]
        return operations

    def _name(self) -> str:
        return f"task-{next(self._numbers)}"


Prepared: TypeAlias = "tuple[UUID, Shape]"
"""A plan, and what is left of it."""


def _first_untouched(width: int) -> int:
    """The first of the layers of which nothing has begun, or is about to."""
    return (_FINISHED + _RUNNING) // width + 1


@dataclass(frozen=True, slots=True)
class Way:
    """One kind of plan."""

    what: str
    shape: Callable[[int], Shape]


WAYS: Final = {
    "revision": Way(f"revise_plan, ten operations, {TASKS:,} tasks in {_LAYERS} layers", Layers),
    "revision-in-order": Way(
        f"revise_plan, ten operations, {TASKS:,} tasks one after the other", InOrder
    ),
}


async def prepare(line: str, url: str) -> list[Prepared]:
    """Make the plans of a line, and carry out a part of each."""
    async with opened(url) as store:
        return [await _plan(store, WAYS[line].shape(seed)) for seed in range(_PLANS)]


async def revise(plans: Sequence[Prepared], url: str, seconds: float) -> Calls:
    """Revise the plans in turn."""
    watch = Watch(seconds)
    async with opened(url) as store:
        for plan_id, shape in cycle(plans):
            draft = RevisionDraft.model_validate(
                {"reason": "it goes on otherwise", "operations": shape.operations()}
            )
            answer = await watch.time(store.revise_plan(plan_id, draft))
            assert answer.applied
            if watch.is_over:
                break
    return watch.calls()


async def _plan(store: PlanStore, shape: Shape) -> Prepared:
    """Make a plan of which four tasks in ten are finished."""
    draft = PlanCreate.model_validate(
        {"plan_type": shape.plan_type, "status": "active", "tasks": shape.tasks()}
    )
    plan = await store.create_plan(draft)
    finished = 0
    while finished < _FINISHED:
        packets = await store.claim_tasks(_claim(plan.id, _FINISHED - finished))
        results = [Result(task_id=each.id, fencing_token=each.fencing_token) for each in packets]
        await store.complete_tasks(Results(results=results))
        finished += len(packets)
    await store.claim_tasks(_claim(plan.id, _RUNNING))
    return plan.id, shape


def _claim(plan_id: UUID, limit: int) -> ClaimRequest:
    return ClaimRequest(worker_id="bench", plan_id=plan_id, limit=limit, lease_seconds=3_600)
