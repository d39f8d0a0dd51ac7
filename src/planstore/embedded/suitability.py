"""Whether a data directory can be ours: each refusal says what an operator can do about it."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from planstore.embedded.directory import default_data_dir
from planstore.errors import SetupError

if TYPE_CHECKING:
    from pathlib import Path

    from planstore.embedded.account import Account
    from planstore.embedded.directory import DataDirectory

__all__ = ["refuse_unsuitable"]


def refuse_unsuitable(directory: DataDirectory, account: Account) -> None:
    """Return if PostgreSQL can run there as ``account``. Nothing is made or changed.

    Raises:
        SetupError: the directory is closed, not writable, or holds what isn't ours.

    """
    root = directory.root
    if "\n" in str(root):
        raise SetupError(
            f"The data directory {str(root)!r} has a line break in its name, which PostgreSQL's "
            "own files can't express; name another with --data-dir."
        )
    nearest = next(step for step in (root, *root.parents) if os.path.exists(step))  # noqa: PTH110 - False where it may not look
    if not nearest.is_dir():
        raise SetupError(f"{nearest} is not a directory; name another with --data-dir.")
    _refuse_closed(nearest, account)
    if not os.access(nearest, os.W_OK | os.X_OK):
        raise SetupError(
            f"The directory {nearest} is not writable for this user; make it so, or name another "
            "data directory with --data-dir."
        )
    if nearest == root:
        _refuse_foreign(directory)
        _refuse_another_owner(directory.home, account)


def _refuse_closed(nearest: Path, account: Account) -> None:
    if not account.switched:
        return
    for step in (*reversed(nearest.parents), nearest):
        if not account.can_enter(step):
            raise SetupError(
                f"The directory {step} is closed to the user '{account.name}', whom PostgreSQL "
                f"runs as because it refuses root; name a data directory that this user can "
                f"reach, such as {default_data_dir()}, or start planstore as an ordinary user."
            )


def _refuse_foreign(directory: DataDirectory) -> None:
    if directory.mutex.exists() or directory.pgdata.exists():
        return
    # A fresh volume has lost+found; hidden names are the desktop's, or ours in the making.
    ignored = {"lost+found", directory.locks.name}
    others = sorted(
        entry.name
        for entry in directory.root.iterdir()
        if entry.name[0] != "." and entry.name not in ignored
    )
    if not others:
        return
    found = "a PostgreSQL cluster" if "PG_VERSION" in others else f"'{others[0]}'"
    raise SetupError(
        f"The data directory {directory.root} holds {found}, which PlanStore did not make; name "
        "an empty or a new directory with --data-dir."
    )


def _refuse_another_owner(home: Path, account: Account) -> None:
    if home.exists() and not account.owns(home):
        raise SetupError(
            f"The data in {home} belong to the user id {home.stat().st_uid}, but PostgreSQL would "
            f"run as '{account.name}'; start planstore as their owner, or name another data "
            "directory with --data-dir."
        )
