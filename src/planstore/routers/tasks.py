"""The routes of tasks."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from planstore.models.claim import Attempt, Reset
from planstore.models.deletion import Deletion
from planstore.models.idempotency import NOTHING, Nothing
from planstore.models.task import CreatedTasks, Task, TaskBatch, TaskCreate, TaskUpdate
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.history import MomentQuery
from planstore.routers.lists import TaskQuery
from planstore.routers.reading import NoQuery


async def create_task(request: Request) -> Response:
    """Add a task to a plan."""
    content, key = await reading.read_command(request, TaskCreate)
    task = await context_of(request).store.create_task(content, idempotency=key)
    return answering.one(task, status=201)


async def create_tasks(request: Request) -> Response:
    """Add up to 10,000 tasks to a plan: all or none, in one transaction and one revision."""
    context = context_of(request)
    batch, key = await reading.read_command(request, TaskBatch, limit=context.max_batch_body)
    created = await context.store.create_tasks(batch, idempotency=key)
    return answering.whole(CreatedTasks.model_construct(tasks=created), status=201)


async def get_task(request: Request) -> Response:
    """Get a task by its id, as it is or as it stood `at` a time."""
    query = reading.parse_query(request, MomentQuery)
    task_id = reading.parse_id(request, "task_id")
    task = await context_of(request).store.get_task(task_id, at=query.at)
    return answering.unless_known(request, task)


async def update_task(request: Request) -> Response:
    """Change the fields of a task that the body names; `status` starts, ends, holds or resets."""
    task_id = reading.parse_id(request, "task_id")
    update, key = await reading.read_command(request, TaskUpdate)
    task = await context_of(request).store.update_task(
        task_id, update, expected_version=reading.parse_if_match(request), idempotency=key
    )
    return answering.one(task)


async def delete_task(request: Request) -> Response:
    """Delete a task; with `force`, also one that runs, or that others need: these go on."""
    task_id = reading.parse_id(request, "task_id")
    deletion = reading.parse_query(request, Deletion)
    await context_of(request).store.delete_task(
        task_id,
        force=deletion.force,
        expected_version=reading.parse_if_match(request),
        idempotency=reading.parse_idempotency(request),
    )
    return answering.nothing()


async def skip_task(request: Request) -> Response:
    """Decide that a task is not to be carried out: what waits for it goes on."""
    task_id = reading.parse_id(request, "task_id")
    _, key = await reading.read_command(request, Nothing, default=NOTHING)
    return answering.one(await context_of(request).store.skip_task(task_id, idempotency=key))


async def retry_task(request: Request) -> Response:
    """Try a failed task again; one that is open already is answered as it is."""
    task_id = reading.parse_id(request, "task_id")
    _, key = await reading.read_command(request, Nothing, default=NOTHING)
    return answering.one(await context_of(request).store.retry_task(task_id, idempotency=key))


async def reset_task(request: Request) -> Response:
    """Do a task again from the start; with `dependents`, all that followed from it as well.

    A run that goes on is ended: its claim is lost.
    """
    task_id = reading.parse_id(request, "task_id")
    reset, key = await reading.read_command(request, Reset, default=Reset())
    task = await context_of(request).store.reset_task(task_id, reset, idempotency=key)
    return answering.one(task)


async def list_attempts(request: Request) -> Response:
    """List the runs of a task, oldest first."""
    reading.parse_query(request, NoQuery)
    task_id = reading.parse_id(request, "task_id")
    return answering.array(await context_of(request).store.list_attempts(task_id))


async def list_tasks(request: Request) -> Response:
    """List tasks: those of a plan in their order, or the most recent ones that fit the filters."""
    query = reading.parse_query(request, TaskQuery)
    page = await context_of(request).store.list_tasks(
        query,
        sort=query.sort,
        limit=query.limit,
        offset=query.offset,
        cursor=query.cursor,
        at=query.at,
    )
    return answering.many(request, page)


TASK_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/tasks/",
        create_task,
        tag="tasks",
        status=201,
        answer=Task,
        body=TaskCreate,
        headers=("Idempotency-Key",),
        refusals=(404, 409),
        aliases=("/plans/tasks",),
    ),
    Endpoint(
        "POST",
        "/tasks/batch",
        create_tasks,
        tag="tasks",
        status=201,
        answer=CreatedTasks,
        body=TaskBatch,
        headers=("Idempotency-Key",),
        refusals=(404, 409),
    ),
    Endpoint(
        "GET",
        "/tasks/",
        list_tasks,
        tag="tasks",
        answer=list[Task],
        query=TaskQuery,
        refusals=(404, 410),
    ),
    Endpoint(
        "GET",
        "/tasks/{task_id}",
        get_task,
        tag="tasks",
        answer=Task,
        query=MomentQuery,
        refusals=(404, 410),
    ),
    Endpoint(
        "PATCH",
        "/tasks/{task_id}",
        update_task,
        tag="tasks",
        answer=Task,
        body=TaskUpdate,
        headers=("If-Match", "Idempotency-Key"),
        refusals=(404, 409, 412),
        aliases=("/plans/tasks/{task_id}",),
    ),
    Endpoint(
        "DELETE",
        "/tasks/{task_id}",
        delete_task,
        tag="tasks",
        status=204,
        query=Deletion,
        headers=("If-Match", "Idempotency-Key"),
        refusals=(404, 409, 412),
    ),
    *(
        Endpoint(
            "POST",
            f"/tasks/{{task_id}}/{verb}",
            handler,
            tag="tasks",
            answer=Task,
            body=body,
            needs_body=False,
            headers=("Idempotency-Key",),
            refusals=(404, 409),
        )
        for verb, handler, body in (
            ("skip", skip_task, Nothing),
            ("retry", retry_task, Nothing),
            ("reset", reset_task, Reset),
        )
    ),
    Endpoint(
        "GET",
        "/tasks/{task_id}/attempts",
        list_attempts,
        tag="tasks",
        answer=list[Attempt],
        refusals=(404,),
    ),
)
