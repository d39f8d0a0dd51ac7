"""What a route is here: data for the OpenAPI document, and a function from request to response.

FastAPI would read bodies and queries by itself; but it trusts the Content-Type, stops at the
first kind of fault and costs as much again as the work (bench/README.md), so an endpoint reads
its request with `planstore.routers.reading` and answers with `planstore.routers.answering`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from fastapi.routing import APIRoute
from starlette.requests import Request
from starlette.routing import BaseRoute, Match, Route

from planstore.models.idempotency import KEY
from planstore.models.schemas import SCHEMAS
from planstore.models.template import TEMPLATE_NAME
from planstore.routers.problems import PROBLEM_JSON, not_allowed

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from fastapi import FastAPI
    from pydantic import BaseModel
    from starlette.responses import Response
    from starlette.types import Receive, Scope, Send

    Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One route of the API."""

    method: str
    path: str
    """As it stands in the documentation; served with and without a slash at its end."""
    handler: Handler
    tag: str
    status: int = 200
    """The status of a success."""
    answer: Any = None
    """The model of a success, or a list of it."""
    also_status: int | None = None
    """Another status of a success, with the same answer."""
    media_types: tuple[str, ...] = ()
    """What a success may be beside JSON: texts, or objects where it ends with `+json`."""
    body: type[BaseModel] | None = None
    other_bodies: tuple[type[BaseModel], ...] = ()
    """What a body may be instead."""
    takes_file: bool = False
    """Whether the body is a file of one of several formats."""
    needs_body: bool = True
    """Whether one must be sent, where the endpoint takes one."""
    query: type[BaseModel] | None = None
    headers: tuple[str, ...] = ()
    """The request headers that matter, of `HEADERS`."""
    refusals: tuple[int, ...] = ()
    """The statuses of refusals, beside those that any request may meet."""
    aliases: tuple[str, ...] = field(default=())
    """Paths that are served the same, but not documented."""

    @property
    def bodies(self) -> tuple[type[BaseModel], ...]:
        """All that a body may be."""
        return (self.body, *self.other_bodies) if self.body is not None else ()


HEADERS = {
    "If-Match": "The ETag of the object as you know it: 412 if it has changed since.",
    "Idempotency-Key": "1 to 255 visible ASCII characters. A repetition with the same key and "
    "body is answered as the first request was, for 24 hours.",
    "Last-Event-ID": "The last `id` of a stream, to go on after it.",
}

_NUMBER = {"type": "integer", "minimum": 1}
_UUID = {"type": "string", "format": "uuid"}

_PARTS = {
    "revision": _NUMBER,
    "version": _NUMBER,
    "name": {"type": "string", "pattern": TEMPLATE_NAME},
    "schema_name": {"type": "string", "enum": sorted(SCHEMAS)},
}
"""What stands for a parameter in a path, unless it is an id."""

_FORMS = {
    "Idempotency-Key": {"pattern": KEY.pattern, "minLength": 1, "maxLength": 255},
    "Last-Event-ID": {"pattern": "^[0-9]*$", "maxLength": 18},
}
"""What the value of a header must look like, in the words of JSON Schema."""

_MEANING = {
    400: "The body is not JSON.",
    401: "An API key is needed.",
    403: "The request was sent by a browser from a foreign site.",
    404: "There is no such object.",
    409: "The state of things forbids it.",
    410: "The events of that time are no longer kept.",
    412: "The object has changed.",
    413: "The body is too large.",
    422: "The request is not valid; every fault is named.",
    503: "The database can't be reached now.",
}


_METHODS = {"GET": ("GET", "HEAD")}
"""What is served beside the documented method: probes and caches ask for the head alone."""


class LeanRoute(APIRoute):
    """A route whose endpoint takes the request and gives the response, with nothing between."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        handler: Handler = self.endpoint

        async def app(scope: Scope, receive: Receive, send: Send) -> None:
            response = await handler(Request(scope, receive, send))
            await response(scope, receive, send)

        # FastAPI's own would keep two stacks of what to close, and catch errors a second time.
        self.app = app


class ToldRoute(Route):
    """A route to an application of its own, of which the log and the metrics are told."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Answer what Starlette does, and the route itself, as FastAPI does of its own."""
        match, found = super().matches(scope)
        return match, {**found, "route": self}


@dataclass(slots=True)
class _Place:
    """What begins with the same parts of a path."""

    parts: dict[str, _Place] = field(default_factory=dict[str, "_Place"])
    parameter: _Place | None = None
    routes: dict[str, LeanRoute] = field(default_factory=dict[str, LeanRoute])
    """By method, what ends here."""

    def beyond(self, part: str) -> _Place:
        if not part.startswith("{"):
            return self.parts.setdefault(part, _Place())
        self.parameter = self.parameter or _Place()
        return self.parameter


class Shortcut(BaseRoute):
    """The way to an endpoint by the parts of its path, however many routes there are.

    The router tries one route after the other. It still does so for what isn't found here, which
    is what becomes a 404; and under telemetry, which learns from it what the route is.
    """

    def __init__(self, routes: Iterable[LeanRoute]) -> None:
        self._root = _Place()
        for route in routes:
            place = self._root
            for part in route.path.split("/"):
                place = place.beyond(part)
            for method in route.methods or ():
                place.routes.setdefault(method, route)

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        """Answer the route of the request, and what stands for the parameters in its path."""
        if scope["type"] != "http" or scope.get("root_path") or "fastapi.telemetry" in scope:
            return Match.NONE, {}
        place = self._root
        given: list[str] = []
        for part in scope["path"].split("/"):
            if (known := place.parts.get(part)) is not None:
                place = known
            elif part and place.parameter is not None:
                place = place.parameter
                given.append(part)
            else:
                return Match.NONE, {}
        if not place.routes:
            return Match.NONE, {}
        route = place.routes.get(scope["method"])
        if route is None:
            raise not_allowed(scope, place.routes)
        return Match.FULL, {
            "route": route,
            "endpoint": route.endpoint,
            "path_params": dict(zip(route.param_convertors, given, strict=True)),
        }

    async def handle(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Go where `matches` led to."""
        await scope["route"].app(scope, receive, send)


def mount(app: FastAPI, endpoints: tuple[Endpoint, ...]) -> None:
    """Serve ``endpoints``, each with and without a slash at its end."""
    for endpoint in endpoints:
        for path in (endpoint.path, *endpoint.aliases):
            for spelling in (path, path.removesuffix("/") if path.endswith("/") else f"{path}/"):
                for method in _METHODS.get(endpoint.method, (endpoint.method,)):
                    is_documented = (method, spelling) == (endpoint.method, endpoint.path)
                    app.router.add_api_route(
                        spelling,
                        endpoint.handler,
                        methods=[method],
                        status_code=endpoint.status,
                        response_model=None,
                        responses=_responses(endpoint),
                        tags=[endpoint.tag],
                        include_in_schema=is_documented,
                        openapi_extra=_request(endpoint),
                        route_class_override=LeanRoute,
                    )
    routes = app.router.routes
    routes.insert(0, Shortcut(route for route in routes if isinstance(route, LeanRoute)))


def _responses(endpoint: Endpoint) -> dict[int | str, dict[str, Any]]:
    success: dict[str, Any] = {"description": "Done."}
    if endpoint.answer is not None:
        success["model"] = endpoint.answer
    if endpoint.media_types:
        success["content"] = {
            each: {"schema": {"type": "object" if each.endswith("+json") else "string"}}
            for each in endpoint.media_types
        }
    problem = {"schema": {"$ref": "#/components/schemas/Problem"}}
    has_body = endpoint.body is not None or endpoint.takes_file
    general = (401, 403, 422, 503, *((400, 413) if has_body else ()))
    return {
        endpoint.status: success,
        **({endpoint.also_status: success} if endpoint.also_status else {}),
        **{
            status: {"description": _MEANING[status], "content": {PROBLEM_JSON: problem}}
            for status in sorted({*general, *endpoint.refusals})
        },
    }


def _request(endpoint: Endpoint) -> dict[str, Any]:
    parameters: list[dict[str, Any]] = [
        {
            "name": part[1:-1],
            "in": "path",
            "required": True,
            "schema": _PARTS.get(part[1:-1], _UUID),
        }
        for part in endpoint.path.split("/")
        if part.startswith("{")
    ]
    if endpoint.query is not None:
        query = endpoint.query.model_json_schema(ref_template="#/components/schemas/{model}")
        named = query.get("$defs", {})
        for name, given in query["properties"].items():
            # An enum stands among the definitions, which the document doesn't have.
            within = named.get(given.get("$ref", "").rpartition("/")[2], {})
            schema = {**within, **{key: each for key, each in given.items() if key != "$ref"}}
            parameters.append(
                {
                    "name": name,
                    "in": "query",
                    "required": name in query.get("required", ()),
                    "description": schema.pop("description", ""),
                    "schema": _without_null(schema),
                }
            )
    parameters += [
        {
            "name": name,
            "in": "header",
            "required": False,
            "description": HEADERS[name],
            "schema": {"type": "string", **_FORMS.get(name, {})},
        }
        for name in endpoint.headers
    ]
    request: dict[str, Any] = {"parameters": parameters} if parameters else {}
    if endpoint.takes_file:
        file = {"schema": {"type": "string", "format": "binary"}}
        request["requestBody"] = {"required": True, "content": {"application/octet-stream": file}}
    if endpoint.bodies:
        schemas = [{"$ref": f"#/components/schemas/{model.__name__}"} for model in endpoint.bodies]
        request["requestBody"] = {
            "required": endpoint.needs_body,
            "content": {
                "application/json": {
                    "schema": schemas[0] if len(schemas) == 1 else {"anyOf": schemas}
                }
            },
        }
    return request


def _without_null(schema: dict[str, Any]) -> dict[str, Any]:
    """A query parameter is left out rather than null."""
    kinds = [kind for kind in schema.get("anyOf", ()) if kind.get("type") != "null"]
    return kinds[0] if len(kinds) == 1 else schema
