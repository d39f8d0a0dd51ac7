"""Whom PostgreSQL runs as: ourselves, or, since it refuses root, somebody else."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from planstore.errors import SetupError

if sys.platform != "win32":  # `start` refuses Windows with a sentence; importing must not fail
    import pwd

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["Account", "account_for"]


@dataclass(frozen=True, slots=True)
class Account:
    """A user of this machine.

    ``named``: the system knows it by a name. ``switched``: it is not us, for we are root.
    """

    uid: int
    gid: int
    name: str
    groups: tuple[int, ...]
    named: bool
    switched: bool

    def owns(self, path: Path) -> bool:
        return path.stat().st_uid == self.uid

    def can_enter(self, directory: Path) -> bool:
        """Whether the directory's mode lets the account through; ACLs are not looked at."""
        found = directory.stat()
        if found.st_uid == self.uid:
            return bool(found.st_mode & stat.S_IXUSR)
        if found.st_gid in {self.gid, *self.groups}:
            return bool(found.st_mode & stat.S_IXGRP)
        return bool(found.st_mode & stat.S_IXOTH)


def account_for(home: Path, root: Path) -> Account:
    """Choose the account for a server whose cluster is, or will be, ``home`` below ``root``.

    Raises:
        SetupError: we are root and there is nobody else.

    """
    if (uid := os.geteuid()) != 0:
        return _account(uid, os.getegid(), switched=False)
    if (owner := _owner(home)) is not None:
        return owner
    # An owner without a name, as a container sees its host's users, can't run initdb.
    if (owner := _owner(root)) is not None and owner.named:
        return owner
    for name in ("postgres", "nobody"):
        with contextlib.suppress(KeyError):
            known = pwd.getpwnam(name)
            return _account(known.pw_uid, known.pw_gid, switched=True)
    raise SetupError(
        "PostgreSQL refuses to run as root, and this system has neither a user 'postgres' nor a "
        "user 'nobody' to run it as; start planstore as an ordinary user, or set "
        "PLANSTORE_DATABASE_URL to a PostgreSQL that runs elsewhere."
    )


def _owner(directory: Path) -> Account | None:
    """Return the owner of a directory, if it is there and not root's."""
    if not directory.exists():
        return None
    found = directory.stat()
    return _account(found.st_uid, found.st_gid, switched=True) if found.st_uid != 0 else None


def _account(uid: int, gid: int, *, switched: bool) -> Account:
    try:
        known = pwd.getpwuid(uid)
    except KeyError:
        return Account(uid, gid, f"#{uid}", (gid,), named=False, switched=switched)
    groups = tuple(os.getgrouplist(known.pw_name, known.pw_gid))
    return Account(uid, known.pw_gid, known.pw_name, groups, named=True, switched=switched)
