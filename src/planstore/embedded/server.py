"""The server process of one data directory: starting it, and telling whether it lives."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING, Final

from planstore.embedded import reaper
from planstore.embedded.address import (
    answers,
    has_socket,
    remove_stale_socket,
    socket_directory,
)
from planstore.embedded.binaries import find_binaries
from planstore.embedded.cluster import Recorded, major_version, make_cluster, write_settings
from planstore.embedded.command import ENVIRONMENT
from planstore.embedded.lock import FileLock, is_held
from planstore.embedded.log import ServerLog
from planstore.embedded.waiting import POLL_SECONDS, wait_until
from planstore.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from planstore.embedded.account import Account
    from planstore.embedded.directory import DataDirectory

__all__ = ["Server"]

START_TIMEOUT_SECONDS: Final = 300  # recovery after a crash replays up to `max_wal_size`


class Server:
    """PostgreSQL on one data directory. What changes something is called under the mutex."""

    def __init__(self, directory: DataDirectory, account: Account, bin_dir: Path | None) -> None:
        self.log = ServerLog(directory.log, account)
        self._directory = directory
        self._account = account
        self._bin_dir = bin_dir

    @property
    def address(self) -> Recorded | None:
        """What the server's own pid file says; None when there has been no server."""
        return Recorded.read(self._directory.pgdata)

    @property
    def version(self) -> str:
        """The version that runs, as whoever started it noted in the file of its lock."""
        return self._directory.server.read_text()

    def is_alive(self) -> bool:
        """Whether the server takes connections now."""
        address = self.address
        if address is None or address.status != "ready":
            return False
        return answers(address.sockets, address.port)

    def is_gone(self) -> bool:
        """Whether nothing is left of it: neither the server nor a child that outlived it."""
        return not is_held(self._directory.server, self._account)

    def bring_up(self) -> bool:
        """Return when the server takes connections; True if it had to be started.

        A server that starts, recovers or stops by itself is waited for, and so is what is left
        of one that was killed.
        """
        with contextlib.closing(FileLock(self._directory.server, self._account)) as lock:
            deadline = time.monotonic() + START_TIMEOUT_SECONDS
            while not self.is_alive():
                if lock.try_exclusive():
                    self._start(lock)
                    return True
                if time.monotonic() > deadline:
                    raise SetupError(self._report("neither answers nor ends"))
                self._stop_unreachable()
                time.sleep(POLL_SECONDS)
        self.appoint_reaper()
        return False

    def appoint_reaper(self) -> None:
        """See to it that a reaper waits for the last lease to end."""
        if not is_held(self._directory.reaper, self._account):
            self._run_reaper()

    def _start(self, lock: FileLock) -> None:
        directory, account = self._directory, self._account
        self._remove_stale_pid()
        major = major_version(directory.pgdata)
        binaries = find_binaries(
            major=major, bin_dir=self._bin_dir, account=account, copies=directory.binaries
        )
        if major is None:
            make_cluster(directory, binaries, account)
        sockets = socket_directory(directory.run, account)
        remove_stale_socket(sockets)
        write_settings(directory.pgdata, sockets, account, major=binaries.major)
        self.log.shorten()
        lock.write(binaries.version)
        before = self.log.size()
        command = [binaries.program("postgres"), "-D", str(directory.pgdata)]
        self._run_reaper(str(lock.fd), _identity(account), *command, inherited=[lock.fd])
        lock.close()  # it is PostgreSQL's from here on
        self._wait_until_ready(before)

    def _stop_unreachable(self) -> None:
        """Stop a server whose socket was deleted, by a cleaner of ``/tmp`` say.

        PostgreSQL makes no new one while it runs.
        """
        address, directory = self.address, self._directory
        if address is None or address.status != "ready":
            return
        if not has_socket(address.sockets, address.port):
            reaper.stop_postgres(str(directory.server), str(directory.pgdata), self._account.uid)

    def _remove_stale_pid(self) -> None:
        """Remove a pid file that no server stands behind: the kernel gave us the server's lock.

        PostgreSQL itself refuses to start while the recorded process id is in use, if only by a
        zombie; in a container the numbers are low and it often is.
        """
        pgdata = self._directory.pgdata
        pid = reaper.recorded_pid(str(pgdata))
        if pid is not None and reaper.is_postmaster(pid, str(pgdata), self._account.uid):
            raise SetupError(
                f"A PostgreSQL which PlanStore did not start, process {pid}, runs on {pgdata}; "
                "stop it, and start planstore again."
            )
        (pgdata / "postmaster.pid").unlink(missing_ok=True)

    def _run_reaper(self, *start: str, inherited: Sequence[int] = ()) -> None:
        """Run the reaper's script, which leaves what it starts as orphans and ends."""
        directory = self._directory
        files = (directory.mutex, directory.lease, directory.server, directory.reaper)
        command = [
            *(sys.executable, "-I", "-S", "-X", "utf8", reaper.__file__),
            *(str(path) for path in (*files, directory.pgdata)),
            str(self._account.uid),
            *start,
        ]
        log = self.log.open()
        try:
            subprocess.run(  # noqa: S603 - a list of our own making, no shell
                command,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                pass_fds=inherited,
                cwd="/",
                env=ENVIRONMENT,
                start_new_session=True,  # Ctrl-C in the terminal is for us alone
                check=True,
                timeout=30,
            )
        except (subprocess.CalledProcessError, subprocess.TimeoutExpired) as error:
            raise SetupError(self._report("can't be watched over")) from error
        finally:
            os.close(log)

    def _wait_until_ready(self, before: int) -> None:
        wait_until(lambda: self.is_alive() or self.is_gone(), seconds=START_TIMEOUT_SECONDS)
        if not self.is_alive():
            what = "did not start" if self.is_gone() else "is not ready yet"
            raise SetupError(self._report(what, since=before))

    def _report(self, what: str, *, since: int = 0) -> str:
        said = self.log.end(since=since)
        return (
            f"PostgreSQL in {self._directory.root} {what}; its log ({self.log.path}) ends: {said}"
        )


def _identity(account: Account) -> str:
    if not account.switched:
        return ""
    return f"{account.uid}:{account.gid}:{','.join(map(str, account.groups))}"
