"""Where the socket lies, and whether anybody answers there."""

from __future__ import annotations

import hashlib
import os
import re
import socket
import stat
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Final

from planstore.embedded.directory import make_directory
from planstore.embedded.reaper import SHORT_DIRECTORY
from planstore.errors import SetupError

if TYPE_CHECKING:
    from planstore.embedded.account import Account

__all__ = ["PORT", "answers", "has_socket", "remove_stale_socket", "socket_directory"]

PORT: Final = 5432  # only the last part of the socket's name
LONGEST_PATH: Final = 99  # bytes; the shortest limit of a kernel is 103
_ORDINARY: Final = re.compile(r"/[A-Za-z0-9/._+-]*")


def socket_directory(preferred: Path, account: Account) -> Path:
    """Make and return the socket's directory: ``preferred``, or a short one in its stead.

    A socket's path has a hard limit, and commas, quotes or spaces in it mean something to
    PostgreSQL's settings or to a URL.
    """
    if _fits(preferred):
        if not preferred.exists():
            make_directory(preferred, account, mode=0o700)
        return preferred
    name = hashlib.sha256(os.fsencode(preferred)).hexdigest()[:16]
    for temporary in (Path(tempfile.gettempdir()), Path("/tmp")):  # noqa: S108 - checked below
        short = temporary / f"{SHORT_DIRECTORY}{account.uid}-{name}"
        if _fits(short) and _is_open(temporary, account):
            break
    if not short.exists():
        make_directory(short, account, mode=0o700)
    _refuse_foreign(short, account)
    return short


def answers(directory: str, port: int) -> bool:
    """Whether a server accepts connections on the socket; the last word on its being alive."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(2)
        try:
            connection.connect(_socket(directory, port))
        except BlockingIOError:
            return True  # so many are waiting that the kernel takes no more
        except OSError:
            return False
    return True


def remove_stale_socket(directory: Path) -> None:
    """Remove what a killed server left behind; its lock names a process id, like the pid file."""
    for left in (_socket(str(directory), PORT), f"{_socket(str(directory), PORT)}.lock"):
        Path(left).unlink(missing_ok=True)


def has_socket(directory: str, port: int) -> bool:
    return Path(_socket(directory, port)).exists()


def _socket(directory: str, port: int) -> str:
    return f"{directory}/.s.PGSQL.{port}"


def _fits(directory: Path) -> bool:
    length = len(os.fsencode(_socket(str(directory), PORT)))
    return length <= LONGEST_PATH and _ORDINARY.fullmatch(str(directory)) is not None


def _is_open(directory: Path, account: Account) -> bool:
    if not account.switched:
        return True
    return all(account.can_enter(step) for step in (directory, *directory.parents))


def _refuse_foreign(directory: Path, account: Account) -> None:
    """Make sure that nobody else has made it: under a temporary directory anybody might."""
    found = directory.lstat()
    private = stat.S_ISDIR(found.st_mode) and not found.st_mode & 0o077
    if not private or found.st_uid != account.uid:
        raise SetupError(
            f"The directory {directory}, which is for PostgreSQL's socket, is not a private "
            f"directory of the user '{account.name}'; remove it, or name a data directory whose "
            f"path is short and plain."
        )
