"""Sees to it that there is always work: makes plans of graphs, one after the other."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Final
from uuid import UUID

from tests import graphs
from tests.chaos.caller import Caller, GaveUpError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from random import Random
    from types import TracebackType
    from typing import Self

    from tests.graphs import Graph

OPEN_PLANS: Final = 3
"""How many plans are at work at a time."""

_RETRY_POLICY: Final = {"max_retries": 1_000, "initial_delay_sec": 0.05, "max_delay_sec": 0.5}


def programme(chance: Random, *, largest: int) -> Iterator[Graph]:
    """Graphs without end: the real ones of at most ``largest`` tasks, and some made here."""
    known = [graph for graph in graphs.real() if len(graph.needs) <= largest]
    while True:
        made = [
            graphs.layered(chance, layers=8, width=6),
            graphs.layered(chance, layers=6, width=8, max_parallel_tasks=3),
            graphs.march(layers=8, width=5),
            graphs.march(layers=5, width=8, max_parallel_tasks=4),
        ]
        round_ = [*known, *made]
        chance.shuffle(round_)
        yield from round_


class Feeder:
    """Makes plans from a thread of its own, until it is told that there is enough."""

    def __init__(self, urls: Sequence[str], chance: Random, programme: Iterator[Graph]) -> None:
        self.plans: dict[UUID, Graph] = {}
        """The plans that were acknowledged."""
        self._programme = programme
        self._random = chance
        self._completed: set[UUID] = set()
        self._is_enough = threading.Event()
        self._unwanted = threading.Event()
        self._caller = Caller(urls, chance, unwanted=self._unwanted)
        self._thread = threading.Thread(target=self._feed)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._unwanted.set()
        self._thread.join()
        self._caller.close()

    def stop(self) -> None:
        """Make no more plans; those that are there go on."""
        self._is_enough.set()

    def is_through(self) -> bool:
        """Whether the last plan was made and all are completed."""
        return not self._thread.is_alive()

    def _feed(self) -> None:
        try:
            while True:
                open_plans = self._open_plans()
                if not self._is_enough.is_set() and open_plans < OPEN_PLANS:
                    self._make(next(self._programme))
                elif open_plans or not self._is_enough.is_set():
                    time.sleep(0.2)
                else:
                    return
        except GaveUpError:
            return

    def _make(self, graph: Graph) -> None:
        plan_id, key = self._some_id(), self._some_id()
        content = {**graph.plan, "id": str(plan_id), "retry_policy": _RETRY_POLICY}
        answer = self._caller.ask("POST", "/plans/", content, key=str(key))
        assert answer.status_code == 201, answer.text
        self.plans[plan_id] = graph

    def _open_plans(self) -> int:
        for plan_id in self.plans.keys() - self._completed:
            answer = self._caller.ask("GET", f"/plans/{plan_id}")
            assert answer.status_code == 200, answer.text
            if answer.json()["status"] == "completed":
                self._completed.add(plan_id)
        return len(self.plans) - len(self._completed)

    def _some_id(self) -> UUID:
        return UUID(int=self._random.getrandbits(128), version=4)
