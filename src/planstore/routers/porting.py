"""The routes by which whole plans come in and go out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Literal

from pydantic import Field
from starlette.background import BackgroundTask
from starlette.concurrency import iterate_in_threadpool
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from planstore.models.fields import Record
from planstore.models.intake import MEDIA_TYPES, ExportFormat, Imported, ImportFormat
from planstore.models.plan import PlanStatus
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import IO

_CHUNK: Final = 256 * 1024


class ImportQuery(Record):
    """What kind of file the body is, and what is to become of it."""

    format: ImportFormat
    """How the file tells of a plan: `llm`, `taskmaster`, `markdown`, `wfformat` or `planstore`."""
    dry_run: bool = False
    """Whether to say what would come of it, and make nothing."""
    status: Literal[PlanStatus.DRAFT, PlanStatus.ACTIVE] | None = None
    """What the plan is to be: `draft` or `active`; as the file says if left out, else a draft."""


class ExportQuery(Record):
    """How to tell of a plan."""

    format: ExportFormat = Field(default=ExportFormat.JSON)
    """`json`, of which an import makes the same plan; `markdown`, `mermaid` or `dot`."""


async def import_plan(request: Request) -> Response:
    """Make a plan of a file from elsewhere, which is the body whatever its Content-Type says.

    All of it or nothing; every fault is named with its place in the file. A dry run answers 200.
    """
    query = reading.parse_query(request, ImportQuery)
    key = reading.parse_idempotency(request)
    context = context_of(request)
    with await reading.read_file(request, limit=context.max_batch_body) as file:
        imported = await context.store.import_plan(
            file, query.format, dry_run=query.dry_run, status=query.status, idempotency=key
        )
    return answering.whole(imported, status=200 if query.dry_run else 201)


async def export_plan(request: Request) -> Response:
    """Answer a plan with its tasks as one file."""
    query = reading.parse_query(request, ExportQuery)
    plan_id = reading.parse_id(request, "plan_id")
    file = await context_of(request).store.export_plan(plan_id, query.format)
    return StreamingResponse(
        iterate_in_threadpool(_chunks(file)),
        media_type=MEDIA_TYPES[query.format],
        background=BackgroundTask(file.close),
    )


def _chunks(file: IO[bytes]) -> Iterator[bytes]:
    with file:
        while chunk := file.read(_CHUNK):
            yield chunk


PORTING_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/plans/import",
        import_plan,
        tag="plans",
        status=201,
        also_status=200,
        answer=Imported,
        query=ImportQuery,
        takes_file=True,
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
    Endpoint(
        "GET",
        "/plans/{plan_id}/export",
        export_plan,
        tag="plans",
        query=ExportQuery,
        refusals=(404,),
        media_types=tuple(each.partition(";")[0] for each in MEDIA_TYPES.values()),
    ),
)
