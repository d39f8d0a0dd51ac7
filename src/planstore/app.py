"""The HTTP application: routes, the gate before them, and the OpenAPI document."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from fastapi import FastAPI
from pydantic.json_schema import models_json_schema
from starlette.middleware.cors import CORSMiddleware

from planstore import __version__
from planstore.metrics import Metrics
from planstore.models.problem import Problem
from planstore.routers import problems
from planstore.routers.bulk import BULK_ENDPOINTS
from planstore.routers.claims import CLAIM_ENDPOINTS
from planstore.routers.dependencies import DEPENDENCY_ENDPOINTS
from planstore.routers.endpoint import HEADERS, ToldRoute, mount
from planstore.routers.evaluations import EVALUATION_ENDPOINTS
from planstore.routers.events import EVENT_ENDPOINTS
from planstore.routers.gate import Admission, Gate
from planstore.routers.health import HEALTH_ENDPOINTS
from planstore.routers.history import HISTORY_ENDPOINTS
from planstore.routers.insight import INSIGHT_ENDPOINTS
from planstore.routers.metrics import METRICS_ENDPOINTS
from planstore.routers.plans import PLAN_ENDPOINTS
from planstore.routers.porting import PORTING_ENDPOINTS
from planstore.routers.request_log import RequestLog
from planstore.routers.revisions import REVISION_ENDPOINTS
from planstore.routers.schemas import SCHEMA_ENDPOINTS
from planstore.routers.statistics import STATISTICS_ENDPOINTS
from planstore.routers.tasks import TASK_ENDPOINTS
from planstore.routers.templates import TEMPLATE_ENDPOINTS
from planstore.routers.webhooks import WEBHOOK_ENDPOINTS

if TYPE_CHECKING:
    from planstore.mcp_app import McpApp
    from planstore.routers.context import Context

MCP_PATH: Final = "/mcp"
"""Where language models' tools are served."""

# What comes first is found first: literal paths such as /tasks/claim before /tasks/{task_id}, and
# the paths of tasks that lie below /plans/ before those of plans.
ENDPOINTS: Final = (
    *BULK_ENDPOINTS,
    *CLAIM_ENDPOINTS,
    *TASK_ENDPOINTS,
    *DEPENDENCY_ENDPOINTS,
    *EVENT_ENDPOINTS,
    *PORTING_ENDPOINTS,
    *PLAN_ENDPOINTS,
    *REVISION_ENDPOINTS,
    *TEMPLATE_ENDPOINTS,
    *INSIGHT_ENDPOINTS,
    *HISTORY_ENDPOINTS,
    *EVALUATION_ENDPOINTS,
    *STATISTICS_ENDPOINTS,
    *METRICS_ENDPOINTS,
    *WEBHOOK_ENDPOINTS,
    *SCHEMA_ENDPOINTS,
    *HEALTH_ENDPOINTS,
)

_DESCRIPTION: Final = """\
The place where AI agents keep their execution plans and coordinate the work on them.

Bodies are JSON whatever the Content-Type says. Errors are `application/problem+json` (RFC 9457)
with a lasting `code`, and name every fault of a request at once. Lists are JSON arrays; a `Link`
header leads to the next page.
"""


def create_app(
    context: Context | None,
    admission: Admission | None = None,
    *,
    metrics: Metrics | None = None,
    mcp: McpApp | None = None,
) -> FastAPI:
    """Make the application.

    ``context``: the store that it serves; None where only its documentation is wanted.
    ``admission``: whom it lets in; anybody on this origin if left out. ``metrics``: what counts its
    requests. ``mcp``: the tools for language models.
    """
    admission = admission or Admission()
    app = FastAPI(
        title="PlanStore",
        version=__version__,
        description=_DESCRIPTION,
        license_info={"name": "Apache-2.0", "identifier": "Apache-2.0"},
        redirect_slashes=False,
        # A key is asked for by the gate, and the documentation says so below.
        openapi_url="/openapi.json",
        docs_url="/docs",
        redoc_url=None,
    )
    if context is not None:
        metrics = metrics or Metrics(context.store)
        context = replace(context, tell_metrics=metrics.exposition)
    app.state.context = context
    problems.install(app)
    mount(app, ENDPOINTS)
    if mcp is not None:
        app.routes.append(ToldRoute(MCP_PATH, mcp))
    app.add_middleware(Gate, admission)
    if admission.allowed_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=sorted(admission.allowed_origins),
            allow_methods=["GET", "POST", "PUT", "PATCH", "DELETE"],
            allow_headers=[
                "Authorization",
                "Content-Type",
                "If-None-Match",
                "X-API-Key",
                "X-Request-ID",
                *HEADERS,
            ],
            expose_headers=["ETag", "Link", "X-Request-ID"],
        )
    if metrics is not None:
        app.add_middleware(metrics.measured)
    # Around all of it, also around what answers the errors that nobody foresaw.
    app.middleware_stack = RequestLog(app.build_middleware_stack())
    plain = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            _complete(plain())
        assert app.openapi_schema is not None
        return app.openapi_schema

    app.openapi = openapi
    return app


def _complete(document: dict[str, Any]) -> None:
    """Add what FastAPI can't know: the bodies that the endpoints read themselves, and the key."""
    bodies = [body for endpoint in ENDPOINTS for body in endpoint.bodies]
    _, definitions = models_json_schema(
        [(model, "validation") for model in (*bodies, Problem)],
        ref_template="#/components/schemas/{model}",
    )
    components = document.setdefault("components", {})
    components.setdefault("schemas", {}).update(definitions["$defs"])
    components["securitySchemes"] = {
        "apiKey": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
        "bearer": {"type": "http", "scheme": "bearer"},
    }
    # Either, or neither where the server asks for no key.
    document["security"] = [{}, {"apiKey": []}, {"bearer": []}]
