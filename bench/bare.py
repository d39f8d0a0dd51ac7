"""What PlanStore is measured against: Starlette and asyncpg with nothing between.

It runs the very statements that PlanStore runs, events included, under the same server with the
same pool. It trusts its clients: no validation, no errors of its own, no models.

    BARE_URL=postgresql://… python -m bench.bare 16
"""

from __future__ import annotations

import json
import os
import socket
import sys
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

import uvicorn
import uvloop
from starlette.applications import Starlette
from starlette.responses import Response
from starlette.routing import Route
from uuid_utils.compat import uuid7

from bench.pool import bare_pool
from planstore.models.idempotency import RequestKey
from planstore.models.task import TaskStatus
from planstore.sql import tasks
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    import asyncpg
    from starlette.requests import Request

    from planstore.models.task import TaskDraft
    from planstore.sql.connection import Row

_TASK: Final[dict[str, Any]] = {
    "name": None,
    "agent_id": None,
    "task_type": None,
    "input_data": None,
    "metadata": {},
    "labels": [],
    "sequence_order": None,
    "parallel_group": None,
    "priority": 0,
    "not_before": None,
    "side_effects": "idempotent",
    "requires_approval": False,
    "timeout_seconds": None,
    "retry_policy": None,
    "estimated_duration": None,
}


def create_app(pool: asyncpg.Pool[Row]) -> Starlette:
    """Make the application."""

    async def create_task(request: Request) -> Response:
        body = json.loads(await request.body())
        header = request.headers.get("idempotency-key")
        # The statement's function only reads attributes, so no model is made.
        task = cast("TaskDraft", SimpleNamespace(**(_TASK | body)))
        key = RequestKey("bare", header, b"") if header else None
        new = tasks.NewTask(uuid7(), UUID(body["plan_id"]), task, None, body["sequence_order"], key)
        async with pool.acquire() as conn:
            row = (await tasks.create(conn, [new]))[new.plan_id]
        made = {"sequence_order": new.order(row["last_order"]), "created_at": row["created_at"]}
        return _json({**_TASK, "status": "pending", **body, **made}, 201)

    async def get_task(request: Request) -> Response:
        async with pool.acquire() as conn:
            row = await tasks.get(conn, request.path_params["task_id"])
        return _json(row)

    async def update_task(request: Request) -> Response:
        changes = json.loads(await request.body())
        task_id = request.path_params["task_id"]
        async with pool.acquire() as conn:
            if changes.get("status") == TaskStatus.COMPLETED:
                end = Ending(UUID(task_id), End.COMPLETE, output_data=changes.get("output_data"))
                (ended,) = await tasks.end(conn, [end], is_whole=True)
                return _json(ended["task"])
            (row,) = await tasks.change(
                conn, task_id, changes, expected_version=None, token=None, key=None
            )
        return _json(row)

    return Starlette(
        routes=[
            Route("/tasks/", create_task, methods=["POST"]),
            Route("/tasks/{task_id}", get_task, methods=["GET"]),
            Route("/tasks/{task_id}", update_task, methods=["PATCH"]),
        ]
    )


def _json(row: Row | dict[str, Any] | None, status: int = 200) -> Response:
    assert row is not None
    content = json.dumps(dict(row), default=str)
    return Response(content, status, media_type="application/json")


async def _serve(url: str, *, pool_size: int) -> None:
    async with bare_pool(url, size=pool_size) as pool:
        config = uvicorn.Config(
            create_app(pool),
            http="httptools",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=3,
        )
        sock = socket.create_server(("127.0.0.1", 0), backlog=2048)
        print(json.dumps({"url": f"http://127.0.0.1:{sock.getsockname()[1]}"}), flush=True)
        await uvicorn.Server(config).serve(sockets=[sock])


if __name__ == "__main__":
    uvloop.run(_serve(os.environ["BARE_URL"], pool_size=int(sys.argv[1])))
