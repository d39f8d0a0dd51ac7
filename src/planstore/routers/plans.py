"""The routes of plans."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from starlette.requests import Request
from starlette.responses import Response

from planstore.models.deletion import Deletion
from planstore.models.idempotency import NOTHING, Nothing
from planstore.models.plan import Plan, PlanCreate, PlanUpdate
from planstore.models.task import CreatedTasks
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.history import MomentQuery
from planstore.routers.lists import PlanQuery
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.idempotency import Idempotency


async def create_plan(request: Request) -> Response:
    """Create a plan."""
    content, key = await reading.read_command(request, PlanCreate)
    plan = await context_of(request).store.create_plan(content, idempotency=key)
    return answering.one(plan, status=201)


async def list_plans(request: Request) -> Response:
    """List plans: the most recent ones that fit the filters."""
    query = reading.parse_query(request, PlanQuery)
    page = await context_of(request).store.list_plans(
        query, sort=query.sort, limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    return answering.many(request, page)


async def get_plan(request: Request) -> Response:
    """Get a plan by its id, as it is or as it stood `at` a time."""
    query = reading.parse_query(request, MomentQuery)
    plan_id = reading.parse_id(request, "plan_id")
    plan = await context_of(request).store.get_plan(plan_id, at=query.at)
    return answering.unless_known(request, plan)


async def update_plan(request: Request) -> Response:
    """Change the fields of a plan that the body names; `status` starts, closes or reopens it."""
    plan_id = reading.parse_id(request, "plan_id")
    update, key = await reading.read_command(request, PlanUpdate)
    plan = await context_of(request).store.update_plan(
        plan_id, update, expected_version=reading.parse_if_match(request), idempotency=key
    )
    return answering.one(plan)


async def delete_plan(request: Request) -> Response:
    """Delete a plan with its tasks; with `force`, also where tasks run."""
    plan_id = reading.parse_id(request, "plan_id")
    deletion = reading.parse_query(request, Deletion)
    await context_of(request).store.delete_plan(
        plan_id,
        force=deletion.force,
        expected_version=reading.parse_if_match(request),
        idempotency=reading.parse_idempotency(request),
    )
    return answering.nothing()


async def expand_plan(request: Request) -> Response:
    """Make a plan's steps into tasks: all or none, in one transaction and one revision."""
    plan_id = reading.parse_id(request, "plan_id")
    _, key = await reading.read_command(request, Nothing, default=NOTHING)
    created = await context_of(request).store.expand_plan(plan_id, idempotency=key)
    return answering.whole(CreatedTasks.model_construct(tasks=created), status=201)


async def start_plan(request: Request) -> Response:
    """Let a plan's tasks be carried out; one that is active already is answered as it is."""
    return await _do(request, PlanStore.start_plan)


async def pause_plan(request: Request) -> Response:
    """Have a plan hand out no more tasks; what runs goes on."""
    return await _do(request, PlanStore.pause_plan)


async def resume_plan(request: Request) -> Response:
    """Have a paused plan hand out tasks again."""
    return await _do(request, PlanStore.resume_plan)


async def cancel_plan(request: Request) -> Response:
    """Close a plan: what has not started is skipped, and running tasks are asked to stop."""
    return await _do(request, PlanStore.cancel_plan)


async def retry_plan(request: Request) -> Response:
    """Try every failed task of a plan again."""
    return await _do(request, PlanStore.retry_plan)


class _Verb(Protocol):
    """A method of the store that does something to a plan."""

    async def __call__(
        self, store: PlanStore, plan_id: UUID, /, *, idempotency: Idempotency | None
    ) -> Plan: ...


async def _do(request: Request, verb: _Verb) -> Response:
    plan_id = reading.parse_id(request, "plan_id")
    _, key = await reading.read_command(request, Nothing, default=NOTHING)
    return answering.one(await verb(context_of(request).store, plan_id, idempotency=key))


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
    Endpoint("GET", "/plans/", list_plans, tag="plans", answer=list[Plan], query=PlanQuery),
    Endpoint(
        "GET",
        "/plans/{plan_id}",
        get_plan,
        tag="plans",
        answer=Plan,
        query=MomentQuery,
        refusals=(404, 410),
    ),
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
    Endpoint(
        "DELETE",
        "/plans/{plan_id}",
        delete_plan,
        tag="plans",
        status=204,
        query=Deletion,
        headers=("If-Match", "Idempotency-Key"),
        refusals=(404, 409, 412),
    ),
    Endpoint(
        "POST",
        "/plans/{plan_id}/expand",
        expand_plan,
        tag="plans",
        status=201,
        answer=CreatedTasks,
        body=Nothing,
        needs_body=False,
        headers=("Idempotency-Key",),
        refusals=(404, 409),
    ),
    *(
        Endpoint(
            "POST",
            f"/plans/{{plan_id}}/{verb}",
            handler,
            tag="plans",
            answer=Plan,
            body=Nothing,
            needs_body=False,
            headers=("Idempotency-Key",),
            refusals=(404, 409),
        )
        for verb, handler in (
            ("start", start_plan),
            ("pause", pause_plan),
            ("resume", resume_plan),
            ("cancel", cancel_plan),
            ("retry", retry_plan),
        )
    ),
)
