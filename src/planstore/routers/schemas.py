"""The routes of the JSON Schemas of what is exchanged with others."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from planstore.errors import NotFound
from planstore.models.fields import shortened
from planstore.models.intake import AnsweredPlan, Imported, PortedFile
from planstore.models.plan import Plan, PlanCreate
from planstore.models.task import Task, TaskCreate
from planstore.routers import reading
from planstore.routers.endpoint import Endpoint
from planstore.routers.reading import NoQuery

if TYPE_CHECKING:
    from collections.abc import Mapping

    from pydantic import BaseModel

_DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"

SCHEMAS: Final[Mapping[str, type[BaseModel]]] = {
    "plan": AnsweredPlan,
    "planstore": PortedFile,
    "imported": Imported,
    "plan-object": Plan,
    "plan-create": PlanCreate,
    "task-object": Task,
    "task-create": TaskCreate,
}
"""By name: `plan` is what a language model is to answer, `planstore` what an export is."""


async def list_schemas(request: Request) -> Response:
    """List the names of the schemas."""
    reading.parse_query(request, NoQuery)
    return Response(to_json(sorted(SCHEMAS)), media_type="application/json")


async def get_schema(request: Request) -> Response:
    """Get a JSON Schema by its name; `plan` is the one to hand to a language model."""
    reading.parse_query(request, NoQuery)
    name = request.path_params["name"]
    if name not in SCHEMAS:
        known = ", ".join(SCHEMAS)
        raise NotFound(f"there is no schema {shortened(name)!r}; known are: {known}")
    return Response(_schema(name), media_type="application/schema+json")


@cache
def _schema(name: str) -> bytes:
    schema: dict[str, Any] = {"$schema": _DIALECT, **SCHEMAS[name].model_json_schema()}
    return to_json(schema)


SCHEMA_ENDPOINTS: Final = (
    Endpoint("GET", "/schemas/", list_schemas, tag="schemas", answer=list[str]),
    Endpoint(
        "GET",
        "/schemas/{name}",
        get_schema,
        tag="schemas",
        media_types=("application/schema+json",),
        refusals=(404,),
    ),
)
