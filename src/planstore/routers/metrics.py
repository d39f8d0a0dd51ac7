"""The route that Prometheus asks."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from planstore.routers import reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.reading import NoQuery


async def get_metrics(request: Request) -> Response:
    """Tell how the service does, in the text format of Prometheus or as OpenMetrics."""
    reading.parse_query(request, NoQuery)
    tell = context_of(request).tell_metrics
    assert tell is not None
    content, media_type = await tell(request.headers.get("accept", ""))
    return Response(content, headers={"content-type": media_type})


METRICS_ENDPOINTS: Final = (
    Endpoint("GET", "/metrics", get_metrics, tag="metrics", media_types=("text/plain",)),
)
