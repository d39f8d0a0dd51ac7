"""The data directory: where each thing lies in it, and how it comes to be."""

from __future__ import annotations

import os
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    from planstore.embedded.account import Account

__all__ = ["DataDirectory", "default_data_dir", "make_directory", "open_private"]


def default_data_dir() -> Path:
    """Return the user's data directory; root's is ``/var/lib/planstore``.

    Root's own home is closed to the account which PostgreSQL then runs as.
    """
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        return Path("/var/lib/planstore")
    return platformdirs.user_data_path("planstore", appauthor=False)


@dataclass(frozen=True, slots=True)
class DataDirectory:
    """The paths below one data directory; the package's docstring draws them."""

    root: Path

    @property
    def home(self) -> Path:
        return self.root / "postgres"

    @property
    def pgdata(self) -> Path:
        return self.home / "data"

    @property
    def secret(self) -> Path:
        return self.home / "secret"

    @property
    def run(self) -> Path:
        return self.home / "run"

    @property
    def log(self) -> Path:
        return self.root / "server.log"

    @property
    def binaries(self) -> Path:
        return self.root / "binaries"

    @property
    def locks(self) -> Path:
        return self.root / "locks"

    @property
    def mutex(self) -> Path:
        return self.locks / "start"

    @property
    def lease(self) -> Path:
        return self.locks / "lease"

    @property
    def server(self) -> Path:
        return self.locks / "server"

    @property
    def reaper(self) -> Path:
        return self.locks / "reaper"

    def make(self, account: Account) -> None:
        """Make the directory and its ``locks`` where they are missing, and touch nothing else.

        Safe against any number of processes that do the same at once.
        """
        if not self.root.exists():
            _make_parents(self.root, account)
            make_directory(self.root, account, mode=0o755 if account.switched else 0o700)
        if not self.locks.exists():
            make_directory(self.locks, account, mode=0o700)
        for path in (self.mutex, self.lease, self.server, self.reaper):
            os.close(open_private(path, account))


def make_directory(path: Path, owner: Account | None, *, mode: int) -> None:
    """Let ``path`` appear at once with its owner and mode, for others may look any moment.

    Does nothing where it exists by then.
    """
    side = Path(tempfile.mkdtemp(prefix=".planstore-", dir=path.parent))
    if owner is not None and owner.switched:
        os.chown(side, owner.uid, owner.gid)
    side.chmod(mode)
    try:
        side.rename(path)
    except OSError:
        side.rmdir()
        if not path.is_dir():
            raise


def _make_parents(path: Path, account: Account) -> None:
    if not account.switched:
        path.parent.mkdir(parents=True, exist_ok=True)
        return
    for parent in reversed([parent for parent in path.parents if not parent.exists()]):
        make_directory(parent, None, mode=0o755)  # whatever root's umask, the account gets through


def open_private(path: Path, owner: Account, flags: int = os.O_RDWR) -> int:
    """Open a file that only ``owner`` (and root) may read, making it where it is missing.

    A symbolic link is refused: as root we work in a directory which is another user's.
    """
    flags |= os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path, flags | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        return os.open(path, flags)
    if owner.switched:
        os.fchown(fd, owner.uid, owner.gid)
    return fd
