"""The routes of plans."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from planstore.models.plan import Plan, PlanCreate, PlanUpdate
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.reading import NoQuery


async def create_plan(request: Request) -> Response:
    """Create a plan."""
    context = context_of(request)
    body = await reading.read_body(request, limit=context.max_body)
    reading.parse_query(request, NoQuery)
    plan = await context.store.create_plan(
        reading.parse_body(body, PlanCreate, limits=context.limits),
        idempotency=reading.parse_idempotency(request),
    )
    return answering.one(plan, status=201)


async def get_plan(request: Request) -> Response:
    """Get a plan by its id."""
    reading.parse_query(request, NoQuery)
    plan_id = reading.parse_id(request, "plan_id")
    return answering.unless_known(request, await context_of(request).store.get_plan(plan_id))


async def update_plan(request: Request) -> Response:
    """Change the fields of a plan that the body names; `status` starts, closes or reopens it."""
    context = context_of(request)
    body = await reading.read_body(request, limit=context.max_body)
    reading.parse_query(request, NoQuery)
    plan_id = reading.parse_id(request, "plan_id")
    plan = await context.store.update_plan(
        plan_id,
        reading.parse_body(body, PlanUpdate, limits=context.limits),
        expected_version=reading.parse_if_match(request),
        idempotency=reading.parse_idempotency(request),
    )
    return answering.one(plan)


PLAN_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/plans/",
        create_plan,
        tag="plans",
        status=201,
        answer=Plan,
        body=PlanCreate,
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
    Endpoint("GET", "/plans/{plan_id}", get_plan, tag="plans", answer=Plan, refusals=(404,)),
    Endpoint(
        "PATCH",
        "/plans/{plan_id}",
        update_plan,
        tag="plans",
        answer=Plan,
        body=PlanUpdate,
        headers=("If-Match", "Idempotency-Key"),
        refusals=(404, 409, 412),
    ),
)
