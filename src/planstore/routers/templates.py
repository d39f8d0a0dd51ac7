"""The routes of templates: keeping plans to be made again, and making them."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from planstore.models.idempotency import NOTHING, Nothing
from planstore.models.plan import Plan
from planstore.models.template import (
    Instantiation,
    SaveAsTemplate,
    Template,
    TemplateCreate,
    TemplateSummary,
    TemplateVersionCreate,
)
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.lists import Window
from planstore.routers.reading import NoQuery


class TemplateQuery(Window):
    """Which templates to list."""

    archived: bool = False
    """Whether archived templates come too."""


async def create_template(request: Request) -> Response:
    """Create a template."""
    content, key = await reading.read_command(request, TemplateCreate)
    template = await context_of(request).store.create_template(content, idempotency=key)
    return answering.one(template, status=201)


async def list_templates(request: Request) -> Response:
    """List templates by name: the latest version of each, without its plan."""
    query = reading.parse_query(request, TemplateQuery)
    page = await context_of(request).store.list_templates(
        archived=query.archived, limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    return answering.many(request, page)


async def get_template(request: Request) -> Response:
    """Get the latest version of a template, with its record."""
    reading.parse_query(request, NoQuery)
    name = request.path_params["name"]
    return answering.one(await context_of(request).store.get_template(name))


async def list_versions(request: Request) -> Response:
    """List the versions of a template, newest first, without their plans."""
    query = reading.parse_query(request, Window)
    page = await context_of(request).store.list_template_versions(
        request.path_params["name"], limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    return answering.many(request, page)


async def get_version(request: Request) -> Response:
    """Get a version of a template, with its record."""
    reading.parse_query(request, NoQuery)
    name = request.path_params["name"]
    version = reading.parse_number(request, "version")
    return answering.one(await context_of(request).store.get_template(name, version=version))


async def add_version(request: Request) -> Response:
    """Create a new version of a template; what is left out is as in the version before."""
    content, key = await reading.read_command(request, TemplateVersionCreate)
    template = await context_of(request).store.add_template_version(
        request.path_params["name"],
        content,
        expected_version=reading.parse_if_match(request),
        idempotency=key,
    )
    return answering.one(template, status=201)


async def archive_template(request: Request) -> Response:
    """Have no more plans and versions be made of a template; lists leave it out."""
    _, key = await reading.read_command(request, Nothing, default=NOTHING)
    name = request.path_params["name"]
    return answering.one(await context_of(request).store.archive_template(name, idempotency=key))


async def restore_template(request: Request) -> Response:
    """Have plans and versions be made of an archived template again."""
    _, key = await reading.read_command(request, Nothing, default=NOTHING)
    name = request.path_params["name"]
    return answering.one(await context_of(request).store.restore_template(name, idempotency=key))


async def instantiate_template(request: Request) -> Response:
    """Create a plan of a template, with its tasks, in one transaction."""
    content, key = await reading.read_command(request, Instantiation, default=Instantiation())
    plan = await context_of(request).store.instantiate_template(
        request.path_params["name"], content, idempotency=key
    )
    return answering.one(plan, status=201)


async def save_as_template(request: Request) -> Response:
    """Keep the structure of a plan as a template: what its tasks are, and none of the work."""
    plan_id = reading.parse_id(request, "plan_id")
    content, key = await reading.read_command(request, SaveAsTemplate)
    template = await context_of(request).store.save_plan_as_template(
        plan_id, content, idempotency=key
    )
    return answering.one(template, status=201)


TEMPLATE_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/templates/",
        create_template,
        tag="templates",
        status=201,
        answer=Template,
        body=TemplateCreate,
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
    Endpoint(
        "GET",
        "/templates/",
        list_templates,
        tag="templates",
        answer=list[TemplateSummary],
        query=TemplateQuery,
    ),
    Endpoint(
        "GET", "/templates/{name}", get_template, tag="templates", answer=Template, refusals=(404,)
    ),
    Endpoint(
        "GET",
        "/templates/{name}/versions",
        list_versions,
        tag="templates",
        answer=list[TemplateSummary],
        query=Window,
        refusals=(404,),
    ),
    Endpoint(
        "POST",
        "/templates/{name}/versions",
        add_version,
        tag="templates",
        status=201,
        answer=Template,
        body=TemplateVersionCreate,
        headers=("If-Match", "Idempotency-Key"),
        refusals=(404, 409, 412),
    ),
    Endpoint(
        "GET",
        "/templates/{name}/versions/{version}",
        get_version,
        tag="templates",
        answer=Template,
        refusals=(404,),
    ),
    *(
        Endpoint(
            "POST",
            f"/templates/{{name}}/{verb}",
            handler,
            tag="templates",
            answer=Template,
            body=Nothing,
            needs_body=False,
            headers=("Idempotency-Key",),
            refusals=(404, 409),
        )
        for verb, handler in (("archive", archive_template), ("restore", restore_template))
    ),
    Endpoint(
        "POST",
        "/templates/{name}/instantiate",
        instantiate_template,
        tag="templates",
        status=201,
        answer=Plan,
        body=Instantiation,
        needs_body=False,
        headers=("Idempotency-Key",),
        refusals=(404, 409),
    ),
    Endpoint(
        "POST",
        "/plans/{plan_id}/save-as-template",
        save_as_template,
        tag="templates",
        status=201,
        answer=Template,
        body=SaveAsTemplate,
        headers=("Idempotency-Key",),
        refusals=(404, 409),
    ),
)
