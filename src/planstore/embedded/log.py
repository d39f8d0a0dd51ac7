"""The server's log: a file of bounded size, and its end for an error's sentence."""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING, Final

from planstore.embedded.command import reason
from planstore.embedded.directory import open_private

if TYPE_CHECKING:
    from pathlib import Path

    from planstore.embedded.account import Account

__all__ = ["ServerLog"]

LARGEST_BYTES: Final = 10 * 1024 * 1024


class ServerLog:
    """``server.log``, and ``server.log.1`` with what came before."""

    def __init__(self, path: Path, owner: Account) -> None:
        self.path = path
        self._owner = owner

    def open(self) -> int:
        """Return a descriptor that appends: PostgreSQL writes to a file, never to a pipe."""
        return open_private(self.path, self._owner, os.O_WRONLY | os.O_APPEND)

    def size(self) -> int:
        return self.path.stat().st_size if self.path.exists() else 0

    def shorten(self) -> None:
        """Set a log aside that has grown too large; the server goes on writing to the file."""
        if self.size() <= LARGEST_BYTES:
            return
        older = self.path.with_name(f"{self.path.name}.1")
        with (
            os.fdopen(open_private(self.path, self._owner), "r+b") as log,
            os.fdopen(open_private(older, self._owner), "r+b") as copy,
        ):
            copy.truncate()
            shutil.copyfileobj(log, copy)
            log.truncate(0)

    def end(self, *, since: int = 0) -> str:
        """Return the last lines of what was written after the first ``since`` bytes."""
        with os.fdopen(open_private(self.path, self._owner), "rb") as file:
            file.seek(max(since, self.size() - 8192))
            return reason(file.read().decode(errors="replace"))
