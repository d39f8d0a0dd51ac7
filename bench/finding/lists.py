"""What is looked for: each filter by itself, by values that many have and by such that few have."""

from __future__ import annotations

import random
from dataclasses import dataclass
from datetime import timedelta
from itertools import cycle
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from bench.finding import stock
from bench.finding.calls import Calls, Watch, opened
from planstore.models.query import PlanFilter, TaskFilter

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence

    from bench.finding.stock import Stock
    from planstore.models.page import Page
    from planstore.models.plan import Plan
    from planstore.models.task import Task
    from planstore.services.plan_store import PlanStore

    Draw: TypeAlias = Callable[[random.Random, Stock], dict[str, Any]]
    """How the fields of a filter are chosen."""

Filter: TypeAlias = PlanFilter | TaskFilter

_MOST_MS: Final = 20.0
_MOST_MS_BY_WORDS: Final = 200.0

_SEARCHES: Final = 200
"""How many searches a case has; where there are fewer values, they come back."""
_PAGES: Final = 20
"""How far a list is read on."""

_COMMON_WORDS: Final = stock.WORDS[4:40]
_SELDOM_WORDS: Final = stock.WORDS[3_000:]


@dataclass(frozen=True, slots=True)
class Case:
    """Searches of the same kind, which are made in turn."""

    name: str
    searches: Sequence[Filter]
    pages: int = 1
    """How many pages are read of each list; of several, all but the first are measured."""


@dataclass(frozen=True, slots=True)
class Line:
    """Lists by one filter."""

    what: str
    kind: type[Filter]
    many: Draw
    """What very many have."""
    others: Mapping[str, Draw]
    """What few have, and what is difficult."""
    most_ms: float = _MOST_MS

    def cases(self, there: Stock) -> Iterator[Case]:
        """Draw what is looked for."""
        many = self._drawn(self.many, there)
        yield Case("many", many)
        yield Case("many, later pages", many, pages=_PAGES)
        for name, draw in self.others.items():
            yield Case(name, self._drawn(draw, there))

    def _drawn(self, draw: Draw, there: Stock) -> list[Filter]:
        own = random.Random(7)
        return [self.kind.model_validate(draw(own, there)) for _ in range(_SEARCHES)]


async def look(case: Case, url: str, seconds: float) -> Calls:
    """Read the lists of a case in turn, with the limit that there is if none is given.

    Nothing is measured where no list has a second page, and that was to be.
    """
    watch = Watch(seconds)
    others = 0
    async with opened(url) as store:
        for search in cycle(case.searches):
            if others > len(case.searches) and not watch.made:
                break
            if case.pages == 1:
                await watch.time(_list(store, search))
            else:
                page = await _list(store, search)
                others += 1
                for _ in range(1, case.pages):
                    if page.next_cursor is None or watch.is_over:
                        break
                    page = await watch.time(_list(store, search, page.next_cursor))
            if watch.is_over:
                break
    return watch.calls(others=others)


def _list(
    store: PlanStore, search: Filter, cursor: str | None = None
) -> Awaitable[Page[Plan] | Page[Task]]:
    if isinstance(search, PlanFilter):
        return store.list_plans(search, cursor=cursor)
    return store.list_tasks(search, cursor=cursor)


def _common(own: random.Random, most: int) -> int:
    """One of the values that many have."""
    return own.randint(1, min(10, most // 5))


def _seldom(own: random.Random, most: int) -> int:
    """One of those that few have."""
    return own.randint(most // 2, most)


def _words(own: random.Random, words: Sequence[str], number: int) -> dict[str, Any]:
    return {"words": " ".join(own.sample(words, number))}


def _ticket(own: random.Random, there: Stock) -> dict[str, Any]:
    return {"words": f"ticket-{own.randint(1, there.plans)}"}


def _hour(own: random.Random, there: Stock) -> dict[str, Any]:
    begin = there.made_at(own.random())
    return {"created_after": begin, "created_before": begin + timedelta(hours=1)}


def _no_such(field: str) -> Draw:
    return lambda own, _: {field: f"none-{own.random()}"}


_BY_WORDS: Final[Mapping[str, Draw]] = {
    "some": lambda own, _: _words(own, stock.WORDS[300:1_000], 1),
    "few": lambda own, _: _words(own, _SELDOM_WORDS, 1),
    "two that many have": lambda own, _: _words(own, _COMMON_WORDS, 2),
    "three that few share": lambda own, _: _words(own, stock.WORDS[40:300], 3),
    "one": _ticket,
    "none": _no_such("words"),
}
_BY_TIME: Final[Mapping[str, Draw]] = {
    "before, long ago": lambda own, there: {"created_before": there.made_at(own.random() / 2)},
    "an hour": _hour,
}
_BY_LABEL: Final[Mapping[str, Draw]] = {
    "few": lambda own, _: {"label": f"area-{_seldom(own, stock.AREAS)}"},
    "two": lambda own, _: {
        "label": [f"team-{_seldom(own, stock.TEAMS)}", f"area-{_common(own, stock.AREAS)}"]
    },
    "some, long ago": lambda own, _: {"label": f"sprint-{own.randint(1, stock.SPRINTS // 2)}"},
    "none": _no_such("label"),
}


def _by_status(*statuses: str) -> dict[str, Draw]:
    return {each: lambda _own, _there, each=each: {"status": each} for each in statuses}


LINES: Final[Mapping[str, Line]] = {
    "plans-by-goal": Line(
        "list_plans by goal_id",
        PlanFilter,
        lambda own, _: {"goal_id": stock.big_goal(_common(own, stock.BIG_GOALS))},
        {"few": lambda own, there: {"goal_id": stock.goal(own.randint(1, there.plans))}},
    ),
    "plans-by-agent": Line(
        "list_plans by agent_id",
        PlanFilter,
        lambda own, _: {"agent_id": stock.agent(_common(own, stock.AGENTS))},
        {"few": lambda own, _: {"agent_id": stock.agent(_seldom(own, stock.AGENTS))}},
    ),
    "plans-by-status": Line(
        "list_plans by status",
        PlanFilter,
        lambda _own, _: {"status": "completed"},
        _by_status("draft", "active", "failed", "cancelled"),
    ),
    "plans-by-type": Line(
        "list_plans by plan_type",
        PlanFilter,
        lambda own, _: {"plan_type": own.choice(["sequential", "parallel", "dag"])},
        {
            "few": lambda _own, _: {"plan_type": "review"},
            "few, long ago": lambda _own, _: {"plan_type": "legacy"},
            "none": _no_such("plan_type"),
        },
    ),
    "plans-by-template": Line(
        "list_plans by template",
        PlanFilter,
        lambda own, _: {"template": f"template-{_common(own, stock.TEMPLATES)}"},
        {"few": lambda own, _: {"template": f"template-{_seldom(own, stock.TEMPLATES)}"}},
    ),
    "plans-by-label": Line(
        "list_plans by label",
        PlanFilter,
        lambda own, _: {"label": f"team-{_common(own, stock.TEAMS)}"},
        _BY_LABEL,
    ),
    "plans-by-metadata": Line(
        "list_plans by metadata",
        PlanFilter,
        lambda own, _: {"metadata": {"region": own.choice(stock.REGIONS)}},
        {
            "some": lambda own, _: {"metadata": {"customer": f"customer-{_common(own, 50)}"}},
            "few": lambda own, _: {
                "metadata": {"customer": f"customer-{_seldom(own, stock.CUSTOMERS)}"}
            },
            "one": lambda own, there: {
                "metadata": {"source": {"run": own.randint(1, there.plans)}}
            },
        },
    ),
    "plans-by-words": Line(
        "list_plans by words",
        PlanFilter,
        lambda own, _: _words(own, _COMMON_WORDS, 1),
        _BY_WORDS,
        _MOST_MS_BY_WORDS,
    ),
    "plans-by-time": Line(
        "list_plans by created_after and created_before",
        PlanFilter,
        lambda own, there: {"created_after": there.made_at(own.random() / 2)},
        _BY_TIME,
    ),
    "tasks-by-plan": Line(
        "list_tasks by plan_id",
        TaskFilter,
        lambda own, there: {"plan_id": own.choice(there.large_plans)},
        {"few": lambda own, there: {"plan_id": own.choice(there.some_plans)}},
    ),
    "tasks-by-agent": Line(
        "list_tasks by agent_id",
        TaskFilter,
        lambda own, _: {"agent_id": stock.agent(_common(own, stock.AGENTS))},
        {"few": lambda own, _: {"agent_id": stock.agent(_seldom(own, stock.AGENTS))}},
    ),
    "tasks-by-status": Line(
        "list_tasks by status",
        TaskFilter,
        lambda _own, _: {"status": "completed"},
        _by_status("pending", "running", "failed", "blocked", "skipped"),
    ),
    "tasks-by-type": Line(
        "list_tasks by task_type",
        TaskFilter,
        lambda own, _: {"task_type": f"type-{_common(own, stock.TASK_TYPES)}"},
        {
            "some": lambda own, _: {"task_type": f"type-{_seldom(own, stock.TASK_TYPES)}"},
            "none": _no_such("task_type"),
        },
    ),
    "tasks-by-name": Line(
        "list_tasks by name",
        TaskFilter,
        lambda own, _: {"name": f"{own.choice(stock.STEMS)}-{_common(own, stock.NAMES)}"},
        {
            "some": lambda own, _: {
                "name": f"{own.choice(stock.STEMS)}-{_seldom(own, stock.NAMES)}"
            },
            "none": _no_such("name"),
        },
    ),
    "tasks-ready": Line(
        "list_tasks by ready",
        TaskFilter,
        lambda _own, _: {"ready": True},
        {},
    ),
    "tasks-by-worker": Line(
        "list_tasks by worker",
        TaskFilter,
        lambda own, _: {"worker": f"worker-{_common(own, stock.WORKERS)}"},
        {
            "few": lambda own, _: {"worker": f"worker-{_seldom(own, stock.WORKERS)}"},
            "none": _no_such("worker"),
        },
    ),
    "tasks-by-label": Line(
        "list_tasks by label",
        TaskFilter,
        lambda own, _: {"label": f"team-{_common(own, stock.TEAMS)}"},
        _BY_LABEL,
    ),
    "tasks-by-metadata": Line(
        "list_tasks by metadata",
        TaskFilter,
        lambda own, _: {"metadata": {"model": own.choice(stock.MODELS)}},
        {
            "some": lambda own, _: {"metadata": {"customer": f"customer-{_common(own, 50)}"}},
            "few": lambda own, _: {
                "metadata": {"customer": f"customer-{_seldom(own, stock.CUSTOMERS)}"}
            },
            "one": lambda own, there: {
                "metadata": {"trace": {"span": own.randint(10, there.plans * 5)}}
            },
        },
    ),
    "tasks-by-words": Line(
        "list_tasks by words",
        TaskFilter,
        lambda own, _: _words(own, _COMMON_WORDS, 1),
        _BY_WORDS,
        _MOST_MS_BY_WORDS,
    ),
    "tasks-by-time": Line(
        "list_tasks by created_after and created_before",
        TaskFilter,
        lambda own, there: {"created_after": there.made_at(own.random() / 2)},
        _BY_TIME,
    ),
}
