"""Files on their way to a server and back, with a bar that shows how far they are."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import IO, TYPE_CHECKING, Any, Final

import httpx2
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeElapsedColumn

from planstore.commands.address import DEFAULT_URL
from planstore.errors import ERRORS_BY_CODE, Fault, PlanStoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path
    from uuid import UUID

_CHUNK: Final = 256 * 1024
_CONNECT_PATIENCE: Final = 10.0


def send(path: Path, kind: str, *, dry_run: bool, status: str | None) -> dict[str, Any]:
    """Have a server make a plan of a file; answers what came of it.

    Raises:
        PlanStoreError: the server refuses the file, or can't be reached.
    """
    query = {"format": kind, "dry_run": str(dry_run).lower()}
    if status is not None:
        query["status"] = status
    size = path.stat().st_size
    with path.open("rb") as file, _client() as client, _bar() as bar:
        chunks = _shown(file, size, bar)
        headers = {"Content-Length": str(size), "Content-Type": "application/octet-stream"}
        response = client.post("/plans/import", params=query, content=chunks, headers=headers)
        _refuse(response)
        return response.json()


def fetch(plan_id: UUID, kind: str, into: IO[bytes]) -> None:
    """Write what a server tells of a plan into a file.

    Raises:
        PlanStoreError: there is no such plan, or the server can't be reached.
    """
    with (
        _client() as client,
        client.stream("GET", f"/plans/{plan_id}/export", params={"format": kind}) as response,
    ):
        if response.is_error:
            response.read()
            _refuse(response)
        for chunk in response.iter_bytes(_CHUNK):
            into.write(chunk)


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


@contextmanager
def _client() -> Generator[httpx2.Client]:
    url = os.environ.get("PLANSTORE_URL") or DEFAULT_URL
    key = os.environ.get("PLANSTORE_API_KEY", "").strip()
    # A server takes as long over a large file as it takes.
    timeout = httpx2.Timeout(None, connect=_CONNECT_PATIENCE)
    try:
        with httpx2.Client(
            base_url=url, timeout=timeout, headers={"X-API-Key": key} if key else {}
        ) as client:
            yield client
    except (httpx2.TransportError, httpx2.InvalidURL) as error:
        raise Unavailable(
            f"The server at {url} can't be reached: start it with `planstore serve`, or set "
            f"PLANSTORE_URL ({error})."
        ) from error


def _refuse(response: httpx2.Response) -> None:
    """Raise what the server says, where that is a refusal."""
    if response.is_success:
        return
    try:
        problem = response.json()
        kind = ERRORS_BY_CODE.get(problem["code"], PlanStoreError)
        faults = tuple(Fault(each["pointer"], each["detail"]) for each in problem["errors"])
        refusal = kind(problem["detail"], faults=faults)
    except (ValueError, KeyError, TypeError):
        refusal = Unavailable(
            f"What answers at {response.url} is no PlanStore: status {response.status_code}."
        )
    raise refusal
