"""The small process beside the server: stops PostgreSQL when nobody uses it any more.

It is run bare, ``python -I -S reaper.py …``, so that it stays small (7 MB), and so imports
nothing that isn't in the interpreter itself; the rest of the package may import from here.

1. It may start PostgreSQL first, as the account, in a session of its own. PostgreSQL inherits
   the lock on ``locks/server`` and holds it as long as any process of it lives. That tells more
   than a process id, which may belong to anybody by now.
2. It leaves its parent, and waits until it gets the lease exclusively: every process that used
   the server has let go of it, or was killed.
3. A new user takes the start mutex before the lease. So the reaper gives the lease back, takes
   the mutex, and only stops the server if it then gets the lease again.
"""

# ruff: noqa: PTH106, PTH112, PTH115, PTH116, PTH119, PTH123 - pathlib would triple what it imports
from __future__ import annotations

import contextlib
import os
import signal
import sys
import time

if sys.platform != "win32":
    import fcntl

__all__ = ["SHORT_DIRECTORY", "is_postmaster", "main", "recorded_pid", "stop_postgres"]

SHORT_DIRECTORY = "planstore-"  # how the names of sockets' directories under /tmp begin

IMPATIENT_AFTER_SECONDS = 25  # a fast shutdown writes a checkpoint; a slow disk takes its time
GIVE_UP_AFTER_SECONDS = 60
POLL_SECONDS = 0.02


def recorded_pid(pgdata: str) -> int | None:
    """Return the process id in ``postmaster.pid``, which may be stale."""
    try:
        with open(pgdata + "/postmaster.pid", encoding="utf-8", errors="replace") as file:
            pid = int(file.readline())
    except (OSError, ValueError):
        return None
    return pid if pid > 1 else None


def _recorded_sockets(pgdata: str) -> str:
    try:
        with open(pgdata + "/postmaster.pid", encoding="utf-8", errors="replace") as file:
            return file.read().split("\n")[4]
    except (OSError, IndexError):
        return ""


def is_postmaster(pid: int, pgdata: str, uid: int) -> bool:
    """Whether ``pid`` is, now, a PostgreSQL of user ``uid`` that serves ``pgdata``.

    Zombies are not: neither their command line nor their directory can be read.
    """
    if not os.path.isdir("/proc/self"):
        return _is_postmaster_by_ps(pid, pgdata, uid)
    try:
        owner = os.stat(f"/proc/{pid}").st_uid
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            program, *words = file.read().split(b"\0")
    except OSError:
        return False
    if owner != uid or not os.path.basename(program).startswith((b"postgres", b"postmaster")):
        return False
    return os.fsencode(pgdata) in words or _works_in(pid, pgdata)


def _works_in(pid: int, pgdata: str) -> bool:
    """Tell a server that was started by hand; in a container not even root may look at this."""
    try:
        return os.readlink(f"/proc/{pid}/cwd") == os.path.realpath(pgdata)
    except OSError:
        return False


def _is_postmaster_by_ps(pid: int, pgdata: str, uid: int) -> bool:
    import subprocess  # noqa: PLC0415 - large, and not needed where there is /proc

    said = subprocess.run(  # noqa: S603 - a list of our own making, no shell
        ["/bin/ps", "-ww", "-o", "uid=,command=", "-p", str(pid)],
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        check=False,
        timeout=10,
    ).stdout.split(None, 1)
    return len(said) > 1 and int(said[0]) == uid and os.fsencode(f"-D {pgdata}") in said[1]


def main(arguments: list[str]) -> None:
    """Start PostgreSQL if told to, then be the reaper unless there is one.

    ``arguments``: the files mutex, lease, server and reaper, PGDATA, the account's uid; and,
    to start PostgreSQL: the descriptor of the lock, ``uid:gid:group,…`` to switch to or
    nothing, and the command.
    """
    mutex, lease, server, reaper, pgdata, uid, *start = arguments
    # Taken before anything starts: whoever asked for it may be killed at any moment.
    vacancy = os.open(reaper, os.O_RDWR | os.O_NOFOLLOW)
    is_vacant = _try_lock(vacancy)
    if start:
        lock, identity, *command = start
        _start_postgres(int(lock), identity, command)
        os.close(int(lock))
    if not is_vacant or os.fork():
        return  # leaving orphans, so that nobody has to wait for them
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    _wait_until_unused(mutex, lease)
    sockets = _recorded_sockets(pgdata)
    stop_postgres(server, pgdata, int(uid))
    if os.path.basename(sockets).startswith(SHORT_DIRECTORY):
        with contextlib.suppress(OSError):
            os.rmdir(sockets)  # each new data directory would leave one under /tmp
    os.close(vacancy)  # before the mutex, which ends with us: the next start needs a new reaper


def _start_postgres(lock: int, identity: str, command: list[str]) -> None:
    if os.fork():
        return
    try:
        os.setsid()
        os.set_inheritable(lock, True)  # noqa: FBT003 - takes no keyword
        if identity:
            uid, gid, groups = identity.split(":")
            os.setgroups([int(group) for group in groups.split(",")])
            os.setgid(int(gid))
            os.setuid(int(uid))
        os.execv(command[0], command)  # noqa: S606 - no shell is what is wanted
    except OSError as error:
        sys.stderr.write(f"PostgreSQL can't be started: {error}\n")
        sys.stderr.flush()
    finally:
        os._exit(1)


def _wait_until_unused(mutex: str, lease: str) -> None:
    """Return when no lease is left, and none can be taken since we hold the mutex."""
    users = os.open(lease, os.O_RDWR | os.O_NOFOLLOW)
    starters = os.open(mutex, os.O_RDWR | os.O_NOFOLLOW)
    while True:
        fcntl.flock(users, fcntl.LOCK_EX)
        fcntl.flock(users, fcntl.LOCK_UN)
        fcntl.flock(starters, fcntl.LOCK_EX)
        if _try_lock(users):
            return
        fcntl.flock(starters, fcntl.LOCK_UN)


def stop_postgres(server: str, pgdata: str, uid: int) -> None:
    """Shut the server down, and wait until nothing is left of it. Called under the mutex.

    The shutdown is PostgreSQL's "fast" one and, if that takes too long, its "immediate" one,
    after which it recovers at the next start.
    """
    life = os.open(server, os.O_RDWR | os.O_NOFOLLOW)
    try:
        _signal_until_gone(life, pgdata, uid)
    finally:
        os.close(life)


def _signal_until_gone(life: int, pgdata: str, uid: int) -> None:
    began = time.monotonic()
    sent = None
    while not _try_lock(life):
        waited = time.monotonic() - began
        if waited > GIVE_UP_AFTER_SECONDS:
            return
        wish = signal.SIGINT if waited < IMPATIENT_AFTER_SECONDS else signal.SIGQUIT
        # One that has just been started has no pid file yet, and takes no signal either.
        pid = recorded_pid(pgdata)
        if wish != sent and pid is not None and is_postmaster(pid, pgdata, uid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, wish)
            sent = wish
        time.sleep(POLL_SECONDS)


def _try_lock(fd: int) -> bool:
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


if __name__ == "__main__":
    main(sys.argv[1:])
