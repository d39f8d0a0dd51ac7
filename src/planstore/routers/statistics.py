"""The routes that tell what became of tasks over a time."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from planstore.models.statistics import Statistics, StatisticsQuery, Timeline, TimelineQuery
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint


async def get_statistics(request: Request) -> Response:
    """Say what became of tasks over a time: how many, how well, how soon, how long.

    Of all, of those with one `task_type`, `agent_id`, `plan_type`, `template` or `evaluation_type`,
    or by each value of one of these.
    """
    query = reading.parse_query(request, StatisticsQuery)
    return answering.whole(await context_of(request).store.get_statistics(query))


async def get_timeline(request: Request) -> Response:
    """Say the same span by span: by the minute, by the hour or by the day."""
    query = reading.parse_query(request, TimelineQuery)
    return answering.whole(await context_of(request).store.get_timeline(query))


STATISTICS_ENDPOINTS: Final = (
    Endpoint(
        "GET",
        "/stats",
        get_statistics,
        tag="statistics",
        answer=Statistics,
        query=StatisticsQuery,
    ),
    Endpoint(
        "GET",
        "/stats/timeline",
        get_timeline,
        tag="statistics",
        answer=Timeline,
        query=TimelineQuery,
    ),
)
