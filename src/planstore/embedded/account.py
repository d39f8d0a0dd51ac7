"""Whom PostgreSQL runs as: ourselves, or, since it refuses root, somebody else."""

from __future__ import annotations

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
    """A user of this machine. ``switched`` says that it is not ourselves, who are root."""

    uid: int
    gid: int
    name: str
    groups: tuple[int, ...]
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


def account_for(*directories: Path) -> Account:
    """Choose the account for a server whose data lie in one of ``directories``.

    Raises:
        SetupError: we are root and there is nobody else.

    """
    uid = os.geteuid()
    if uid != 0:
        return _account(uid, os.getegid(), switched=False)
    for directory in directories:
        if directory.exists() and (found := directory.stat()).st_uid != 0:
            return _account(found.st_uid, found.st_gid, switched=True)
    for name in ("postgres", "nobody"):
        try:
            known = pwd.getpwnam(name)
        except KeyError:
            continue
        return _account(known.pw_uid, known.pw_gid, switched=True)
    raise SetupError(
        "PostgreSQL refuses to run as root, and this system has neither a user 'postgres' nor a "
        "user 'nobody' to run it as; start planstore as an ordinary user, or set "
        "PLANSTORE_DATABASE_URL to a PostgreSQL that runs elsewhere."
    )


def _account(uid: int, gid: int, *, switched: bool) -> Account:
    try:
        known = pwd.getpwuid(uid)
    except KeyError:  # an arbitrary uid, as some container platforms hand out
        return Account(uid, gid, f"#{uid}", (gid,), switched)
    groups = tuple(os.getgrouplist(known.pw_name, known.pw_gid))
    return Account(uid, known.pw_gid, known.pw_name, groups, switched)
