"""What is asked for: times of each length, of all, of one value, by all values."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from bench.finding.calls import Calls, Watch, opened
from bench.statistics import stock
from planstore.models.statistics import StatisticsQuery, TimelineQuery

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

MOST_MS: Final = 100.0
"""What 99 of 100 calls may take at most."""

_FILTERS: Final[dict[str, dict[str, Any]]] = {
    "of all": {},
    "of a type": {"task_type": stock.task_type(1)},
    "of an agent": {"agent_id": stock.agent(3)},
    "by type": {"group_by": "task_type"},
    "by agent": {"group_by": "agent_id"},
    "by template": {"group_by": "template"},
    "by evaluation": {"group_by": "evaluation_type"},
}
# The longest time that is put together of each length of spans.
_TIMES: Final[dict[str, dict[str, Any]]] = {
    "6 h": {"window": "6h"},
    "3 days": {"window": "3d"},
    "92 days": {"window": "92d"},
}


@dataclass(frozen=True, slots=True)
class Case:
    """Calls of one kind."""

    name: str
    query: Mapping[str, Any]


LINES: Final = {
    "stats": "what became of tasks over a time",
    "timeline": "the same span by span",
}


def cases(line: str) -> list[Case]:
    """Return what a line asks for."""
    times = _TIMES if line == "stats" else {**_TIMES, "14 days": {"window": "14d"}}
    return [
        Case(f"{time}, {what}", {**window, **asked})
        for time, window in times.items()
        for what, asked in _FILTERS.items()
        if line == "stats" or "group_by" not in asked
    ]


async def ask(line: str, case: Case, ends_at: datetime, url: str, seconds: float) -> Calls:
    """Ask for the same for so many seconds, each time up to another minute."""
    async with opened(url) as store:
        watch = Watch(seconds)
        while not watch.is_over:
            asked = {**case.query, "to": ends_at - watch.made % 60 * timedelta(minutes=1)}
            if line == "stats":
                await watch.time(store.get_statistics(StatisticsQuery.model_validate(asked)))
            else:
                await watch.time(store.get_timeline(TimelineQuery.model_validate(asked)))
        return watch.calls()
