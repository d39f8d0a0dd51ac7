"""The cluster: making it whole, its settings, and what its ``postmaster.pid`` says."""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from planstore.embedded.address import PORT
from planstore.embedded.command import reason, run
from planstore.embedded.directory import make_directory, open_private
from planstore.errors import SetupError

if TYPE_CHECKING:
    from planstore.embedded.account import Account
    from planstore.embedded.binaries import Binaries
    from planstore.embedded.directory import DataDirectory

__all__ = ["DATABASE", "ROLE", "Recorded", "major_version", "make_cluster", "write_settings"]

ROLE: Final = "planstore"
DATABASE: Final = "planstore"
SETTINGS_FILE: Final = "planstore.conf"
_SIDE: Final = ".postgres-"
_BUILTIN_LOCALE_SINCE: Final = 17

_SETTINGS: Final = """\
# Written by PlanStore at each start; what is to differ goes below the include in postgresql.conf.
listen_addresses = ''
port = {port}
unix_socket_directories = '{sockets}'
unix_socket_permissions = 0700
max_connections = 200
shared_buffers = 256MB
max_wal_size = 2GB
checkpoint_timeout = 15min
wal_compression = on
jit = off
timezone = 'UTC'
log_timezone = 'UTC'
log_destination = 'stderr'
logging_collector = off
log_line_prefix = '%m [%p] '
log_checkpoints = off
log_lock_waits = on
log_parameter_max_length_on_error = 0
"""

# A page that is in the system's memory is read sooner than handed to another process, and the disk
# reads ahead of a list where the system is told to.
_READING: Final = "io_method = sync\n"
_READING_SINCE: Final = 18


@dataclass(frozen=True, slots=True)
class Recorded:
    """What ``postmaster.pid`` says of the server, which may be gone."""

    sockets: str
    port: int
    status: str

    @classmethod
    def read(cls, pgdata: Path) -> Recorded | None:
        """Return None while there is none, or none that is complete."""
        try:
            lines = (pgdata / "postmaster.pid").read_text(errors="surrogateescape").split("\n")
            return cls(sockets=lines[4], port=int(lines[3]), status=lines[7].strip())
        except (OSError, IndexError, ValueError):
            return None


def major_version(pgdata: Path) -> int | None:
    """Return the major version that made the cluster; None where there is no cluster."""
    try:
        return int((pgdata / "PG_VERSION").read_text())
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise SetupError(
            f"The cluster in {pgdata} is damaged: its PG_VERSION is not a number; restore it from "
            "a backup, or name another data directory with --data-dir."
        ) from error


def make_cluster(directory: DataDirectory, binaries: Binaries, account: Account) -> None:
    """Make the cluster beside its place and rename it, so that a half-made one never counts.

    The secret moves with it: neither can be there without the other. Called under the mutex.
    """
    _refuse_nameless(account)
    for half_made in directory.root.glob(f"{_SIDE}*"):
        shutil.rmtree(half_made, ignore_errors=True)  # an orphaned initdb may still write there
    side = Path(tempfile.mkdtemp(prefix=_SIDE, dir=directory.root))
    try:
        if account.switched:
            os.chown(side, account.uid, account.gid)
        _write(side / "secret", secrets.token_urlsafe(32), account)
        make_directory(side / "data", account, mode=0o700)
        make_directory(side / "run", account, mode=0o700)
        _initdb(side / "data", side / "secret", binaries, account)
        conf = side / "data" / "postgresql.conf"
        _write(conf, f"\ninclude_if_exists = '{SETTINGS_FILE}'\n", account, how=os.O_APPEND)
        _create_database(side / "data", binaries, account)
        side.rename(directory.home)
        _sync_directory(directory.root)
    except BaseException:
        shutil.rmtree(side, ignore_errors=True)
        raise


def write_settings(pgdata: Path, sockets: Path, account: Account, *, major: int) -> None:
    """Write the file which ``postgresql.conf`` includes, for a major version of PostgreSQL."""
    settings = _SETTINGS.format(port=PORT, sockets=sockets)
    if major >= _READING_SINCE:
        settings += _READING
    _write(pgdata / SETTINGS_FILE, settings, account)


def _refuse_nameless(account: Account) -> None:
    if not account.named:
        raise SetupError(
            f"The user id {account.uid} has no name on this system, which PostgreSQL's initdb "
            "insists on; give it one in /etc/passwd, or run planstore as a user that has one."
        )


def _initdb(pgdata: Path, secret: Path, binaries: Binaries, account: Account) -> None:
    command = [
        binaries.program("initdb"),
        f"--pgdata={pgdata}",
        f"--username={ROLE}",
        f"--pwfile={secret}",
        "--auth=scram-sha-256",
        "--encoding=UTF8",
        "--data-checksums",
        "--no-instructions",
        *_locale(binaries, account),
    ]
    done = run(command, account, timeout=300)
    if done.returncode != 0:
        root = pgdata.parent.parent
        raise SetupError(f"initdb could not make a cluster in {root}: {reason(done.stdout)}")


def _locale(binaries: Binaries, account: Account) -> list[str]:
    """Compare text by code point: the one order which no upgrade of a C library changes."""
    if binaries.major >= _BUILTIN_LOCALE_SINCE:
        return ["--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"]
    try:
        known = run(["locale", "-a"], account, timeout=10).stdout.lower().split()
    except OSError:
        known = []
    return ["--locale=C.UTF-8" if {"c.utf8", "c.utf-8"} & set(known) else "--locale=C"]


def _create_database(pgdata: Path, binaries: Binaries, account: Account) -> None:
    """Create it in single-user mode, before anybody can connect and find it missing."""
    single_user = ["--single", "-D", str(pgdata), "-c", "exit_on_error=on", "postgres"]
    command = [binaries.program("postgres"), *single_user]
    done = run(command, account, timeout=120, typed=f"create database {DATABASE}\n")
    if done.returncode != 0:
        raise SetupError(f"The database '{DATABASE}' can't be created: {reason(done.stdout)}")


def _write(path: Path, text: str, account: Account, *, how: int = os.O_TRUNC) -> None:
    with os.fdopen(open_private(path, account, os.O_WRONLY | how), "w") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def _sync_directory(directory: Path) -> None:
    fd = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)
