"""What a worker wrote down while it lived: the memory that survives its kill."""

from __future__ import annotations

import json
import os
import time
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


class What(StrEnum):
    """What a worker has to tell of a claim."""

    CLAIMED = "claimed"
    BEGAN = "began"
    """It works on the task from now on."""
    RENEWED = "renewed"
    STOPPED = "stopped"
    """It works on the task no more; the next is that it reports, or lets the claim end."""
    ACKNOWLEDGED = "acknowledged"
    """A server has answered that the report is taken."""
    REFUSED = "refused"
    """A server has answered that it isn't."""
    SURPRISED = "surprised"
    """A server has answered what it never should."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One line of a journal."""

    at: float
    """By the monotonic clock, which all processes of a machine share."""
    worker: str
    """One life of a worker: who is started again has another name."""
    what: What
    task_id: str = ""
    token: int = 0
    attempt: int = 0
    valid_until: float = 0.0
    """When the claim ends at the earliest, as far as the worker knows."""
    verb: str = ""
    """Of a report."""
    said: Any = None
    """Free JSON: the code of a refusal, what surprises, or, of a claim, the outputs of the tasks
    that it needs."""


class Journal:
    """A file that one life of a worker appends to; a line is out once it is written."""

    def __init__(self, path: Path) -> None:
        self._worker = path.stem
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def write(
        self,
        what: What,
        *,
        task_id: str = "",
        token: int = 0,
        attempt: int = 0,
        valid_until: float = 0.0,
        verb: str = "",
        said: Any = None,
    ) -> None:
        at = time.monotonic()
        entry = Entry(at, self._worker, what, task_id, token, attempt, valid_until, verb, said)
        os.write(self._file, json.dumps(asdict(entry)).encode() + b"\n")


def read(directory: Path) -> Iterator[Entry]:
    """Read all journals; the last line of one may be torn, and never was then."""
    for path in sorted(directory.glob("*.jsonl")):
        for line in path.read_text().splitlines(keepends=True):
            if line.endswith("\n"):
                fields: dict[str, Any] = json.loads(line)
                yield Entry(what=What(fields.pop("what")), **fields)
