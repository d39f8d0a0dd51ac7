"""Locks on files (``flock``), which the kernel drops when their holder dies, however it dies."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import TYPE_CHECKING

from planstore.embedded.directory import open_private
from planstore.embedded.waiting import wait_until
from planstore.errors import SetupError

if sys.platform != "win32":  # `start` refuses Windows with a sentence; importing must not fail
    import fcntl

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    from planstore.embedded.account import Account

__all__ = ["FileLock", "held", "is_held"]


class FileLock:
    """One open lock file. No program that we start inherits it unless it is told to."""

    def __init__(self, path: Path, owner: Account) -> None:
        self.fd = open_private(path, owner)

    def try_exclusive(self) -> bool:
        return self._try(fcntl.LOCK_EX)

    def try_shared(self) -> bool:
        return self._try(fcntl.LOCK_SH)

    def unlock(self) -> None:
        """Unlock the file for all who inherited it, too."""
        fcntl.flock(self.fd, fcntl.LOCK_UN)

    def write(self, text: str) -> None:
        """Put a note into the file, for whoever finds it locked."""
        os.ftruncate(self.fd, 0)
        os.pwrite(self.fd, text.encode(), 0)

    def close(self) -> None:
        """Close the file; a lock on it lasts until all who inherited it have done so too."""
        if self.fd >= 0:
            os.close(self.fd)
            self.fd = -1

    def _try(self, kind: int) -> bool:
        try:
            fcntl.flock(self.fd, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True


@contextlib.contextmanager
def held(path: Path, owner: Account, *, timeout: float) -> Generator[None]:
    """Hold the file at ``path`` exclusively; wait for it no longer than ``timeout`` seconds."""
    with contextlib.closing(FileLock(path, owner)) as lock:
        if not wait_until(lock.try_exclusive, seconds=timeout):
            raise SetupError(
                f"Other processes have been starting or stopping PostgreSQL in "
                f"{path.parent.parent} for {timeout:.0f} s; see what server.log there says."
            )
        yield


def is_held(path: Path, owner: Account) -> bool:
    """Whether anybody holds the file exclusively now."""
    with contextlib.closing(FileLock(path, owner)) as lock:
        return not lock.try_shared()
