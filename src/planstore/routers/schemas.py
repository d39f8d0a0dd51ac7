"""The routes of JSON Schemas: what events hold, and what else can be checked before it is sent."""

from __future__ import annotations

from typing import Final

from pydantic_core import to_json
from starlette.requests import Request
from starlette.responses import Response

from planstore.errors import NotFound
from planstore.models.fields import shown
from planstore.models.graph import nearest
from planstore.models.schemas import SCHEMAS, SchemaEntry, schema_of
from planstore.routers import answering, reading
from planstore.routers.endpoint import Endpoint
from planstore.routers.reading import NoQuery

_MEDIA_TYPE: Final = "application/schema+json"


async def list_schemas(request: Request) -> Response:
    """List all JSON Schemas by name."""
    reading.parse_query(request, NoQuery)
    return answering.array(
        [
            SchemaEntry(
                name=name, url=_url(request, name), description=schema_of(name)["description"]
            )
            for name in sorted(SCHEMAS)
        ]
    )


async def get_schema(request: Request) -> Response:
    """Answer a JSON Schema (2020-12), such as that of the payload of `task.completed`."""
    reading.parse_query(request, NoQuery)
    name: str = request.path_params["schema_name"]
    if name not in SCHEMAS:
        near = nearest(name, SCHEMAS)
        hint = f"; did you mean {near}?" if near else "; GET /schemas/ lists what there is"
        raise NotFound(f"there is no schema {shown(name)}{hint}")
    schema = {"$id": _url(request, name), **schema_of(name)}
    return Response(to_json(schema), media_type=_MEDIA_TYPE)


def _url(request: Request, name: str) -> str:
    return f"{request.base_url}schemas/{name}"


SCHEMA_ENDPOINTS: Final = (
    Endpoint("GET", "/schemas/", list_schemas, tag="schemas", answer=list[SchemaEntry]),
    Endpoint(
        "GET",
        "/schemas/{schema_name}",
        get_schema,
        tag="schemas",
        media_types=(_MEDIA_TYPE,),
        refusals=(404,),
    ),
)
