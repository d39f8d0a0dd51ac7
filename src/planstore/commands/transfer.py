"""Files on their way to a server and back, piece by piece, with a bar that shows how far they are.

They may be larger than memory; so what is asked is as the client asks it, but sent from here.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import httpx2
from pydantic import ValidationError
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from planstore.client import calls
from planstore.client.access import Access
from planstore.client.attempts import foreign, refusal_in
from planstore.commands.server import address

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path
    from uuid import UUID

    from planstore.client.call import Call
    from planstore.models import Imported, PlanStatus

_CHUNK: Final = 256 * 1024


def send(path: Path, kind: str, *, dry_run: bool, status: PlanStatus | None) -> Imported:
    """Have a server make a plan of a file; answers what came of it.

    Raises:
        PlanStoreError: the server refuses the file, or can't be reached.
    """
    call = calls.import_plan(b"", kind, dry_run=dry_run, status=status)
    size = path.stat().st_size
    headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
    with path.open("rb") as file, _bar() as bar:
        chunks = _shown(file, size, bar)
        with _answered(call, content=chunks, headers=headers) as response:
            response.read()
            return call.read(response)


@contextmanager
def fetched(plan_id: UUID, kind: str) -> Generator[Iterator[bytes]]:
    """Open what a server tells of a plan.

    Raises:
        PlanStoreError: there is no such plan, or the server can't be reached.
    """
    with _answered(calls.export_plan(plan_id, kind)) as response:
        yield response.iter_bytes(_CHUNK)


@contextmanager
def _answered(call: Call[Any], **sent: Any) -> Generator[httpx2.Response]:
    """Open the answer to a call, where that isn't a refusal."""
    url, api_key = address()
    access = Access.to(url, api_key=api_key, timeout=call.wait, retry_for=0, pool_size=1)
    sent |= {"params": call.params, "timeout": access.timeouts(read=call.wait)}
    try:
        with (
            httpx2.Client(**access.options) as http,
            http.stream(call.method, call.path, **sent) as response,
        ):
            if not response.is_success:
                response.read()
                raise refusal_in(response, access)
            try:
                yield response
            except ValidationError as error:
                raise foreign(response, access) from error
    except httpx2.RequestError as error:
        raise refusal_in(error, access) from error


def _shown(file: IO[bytes], size: int, bar: Progress) -> Iterator[bytes]:
    upload = bar.add_task("sending", total=size)
    while chunk := file.read(_CHUNK):
        yield chunk
        bar.advance(upload, len(chunk))
    # How far the server is, only it knows.
    bar.add_task("making", total=None)


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TimeElapsedColumn(),
        console=Console(stderr=True),
        transient=True,
        disable=not Console(stderr=True).is_terminal,
    )
