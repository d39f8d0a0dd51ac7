"""Sharing the one PostgreSQL of a data directory: who holds a lease on it may use it."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
import threading
from collections import deque
from typing import TYPE_CHECKING, Final, Self
from urllib.parse import quote, urlencode

from planstore.embedded.account import account_for
from planstore.embedded.cluster import DATABASE, ROLE, Recorded
from planstore.embedded.directory import DataDirectory
from planstore.embedded.lock import FileLock, held
from planstore.embedded.server import START_TIMEOUT_SECONDS, Server
from planstore.embedded.suitability import refuse_unsuitable
from planstore.embedded.waiting import wait_until
from planstore.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path
    from types import TracebackType

    from planstore.embedded.account import Account

__all__ = ["EmbeddedPostgres"]

STOP_TIMEOUT_SECONDS: Final = 60


class EmbeddedPostgres:
    """A PostgreSQL of our own over one data directory, shared by all processes that start it.

    ``start`` is the way in. Every method blocks, for milliseconds save at the first start, and
    may be called from any thread.
    """

    def __init__(self, directory: DataDirectory, account: Account, bin_dir: Path | None) -> None:
        self.data_dir = directory.root
        self.version = ""
        self._directory = directory
        self._account = account
        self._server = Server(directory, account, bin_dir)
        self._turn = threading.Lock()
        self._owner = os.getpid()
        self._lease: FileLock | None = None
        self._secret = ""
        self._address = Recorded("", 0, "")

    @classmethod
    def start(cls, data_dir: Path, *, bin_dir: Path | None = None) -> EmbeddedPostgres:
        """Make the cluster if there is none, and start its server or join the one that runs.

        ``bin_dir`` is where an operator says that PostgreSQL's programs are.

        Raises:
            SetupError: an operator has to do something first; the sentence says what.

        """
        if sys.platform == "win32":
            raise SetupError(
                "The embedded PostgreSQL needs Linux or macOS; set PLANSTORE_DATABASE_URL to a "
                "PostgreSQL that runs elsewhere."
            )
        with _as_sentences(data_dir):
            directory = DataDirectory(data_dir.expanduser().resolve())
            account = account_for(directory.home, directory.root)
            refuse_unsuitable(directory, account)
            directory.make(account)
            postgres = cls(directory, account, bin_dir)
            postgres._join()
            return postgres

    def url(self, database: str = DATABASE) -> str:
        """Return a URL for asyncpg and psql. It holds the password: never log it."""
        place = urlencode({"host": self._address.sockets, "port": self._address.port}, safe="/")
        return f"postgresql://{ROLE}:{self._secret}@/{quote(database, safe='')}?{place}"

    def is_alive(self) -> bool:
        """Whether the server takes connections now."""
        return self._server.is_alive()

    def ensure_running(self) -> bool:
        """Start PostgreSQL again if it was killed; return whether that was needed.

        Cheap enough to call every second. Does nothing after ``stop``.
        """
        with self._turn, _as_sentences(self.data_dir):
            if self._lease is None:
                return False
            self._server.log.shorten()
            if self._server.is_alive():
                self._server.appoint_reaper()
                return False
            with self._mutex():
                return self._bring_up()

    def stop(self) -> None:
        """Let go of the server; when nobody else uses it, see it stopped before returning."""
        with self._turn:
            lease, self._lease = self._lease, None
            if lease is None:
                return
            with contextlib.closing(lease):
                if os.getpid() == self._owner:  # a fork's lease is its parent's to give up
                    self._give_up(lease)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.stop()

    def _mutex(self) -> contextlib.AbstractContextManager[None]:
        # Long enough for two others which each wait for a recovery.
        return held(self._directory.mutex, self._account, timeout=2 * START_TIMEOUT_SECONDS)

    def _join(self) -> None:
        with self._mutex(), contextlib.ExitStack() as undo:
            lease = FileLock(self._directory.lease, self._account)
            undo.callback(lease.close)
            # The reaper may have it for a moment, to see whether anybody is left.
            wait_until(lease.try_shared, seconds=STOP_TIMEOUT_SECONDS)
            self._bring_up()
            self._secret = self._directory.secret.read_text()
            self._lease = lease
            undo.pop_all()

    def _bring_up(self) -> bool:
        was_started = self._server.bring_up()
        address = self._server.address
        assert address is not None, "a server that answers has an address"
        self._address = address
        self.version = self._server.version
        return was_started

    def _give_up(self, lease: FileLock) -> None:
        # Where the directory was deleted meanwhile, PostgreSQL notices within a minute.
        with contextlib.suppress(FileNotFoundError):
            lease.unlock()
            self._wait_for_end(lease)

    def _wait_for_end(self, lease: FileLock) -> None:
        """Wait until the reaper has stopped the server, or others turn out to use it."""
        # Once may be the reaper, which lets go of the lease between the two questions of
        # `_is_shared`; it does so once only.
        answers = deque([False], maxlen=2)

        def is_settled() -> bool:
            answers.append(_is_shared(lease))
            if all(answers) or self._server.is_gone():
                return True
            self._server.appoint_reaper()  # somebody may have killed it
            return False

        wait_until(is_settled, seconds=STOP_TIMEOUT_SECONDS)


def _is_shared(lease: FileLock) -> bool:
    try:
        return not lease.try_exclusive() and lease.try_shared()
    finally:
        lease.unlock()


@contextlib.contextmanager
def _as_sentences(data_dir: Path) -> Generator[None]:
    """Turn what the operating system refuses into what an operator can do about it."""
    try:
        yield
    except OSError as error:
        remedy = _REMEDIES.get(error.errno or 0, "see what is wrong with it")
        what = f"{error.strerror or error}: {error.filename or data_dir}"
        raise SetupError(f"PostgreSQL can't run in {data_dir} ({what}); {remedy}.") from error


_REMEDIES: Final = {
    errno.ENOSPC: "the disk is full, so make room and start planstore again",
    errno.EACCES: "make it accessible for this user, or name another directory with --data-dir",
    errno.EPERM: "make it accessible for this user, or name another directory with --data-dir",
    errno.EROFS: "name a directory that can be written to with --data-dir",
}
