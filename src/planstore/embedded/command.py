"""Running one of PostgreSQL's programs to its end, as the account and in a bare environment."""

from __future__ import annotations

import subprocess
from typing import TYPE_CHECKING, Final

from planstore.errors import SetupError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.embedded.account import Account

__all__ = ["ENVIRONMENT", "reason", "run"]

# Nothing of ours is passed on: a PGDATA, PGPORT or PGOPTIONS that somebody exported for another
# server must not reach this one, and some messages are looked at, in English.
ENVIRONMENT: Final = {"PATH": "/usr/local/bin:/usr/bin:/bin", "LC_ALL": "C"}


def run(
    command: Sequence[str], account: Account, *, timeout: float, typed: str = ""
) -> subprocess.CompletedProcess[str]:
    """Run ``command`` as ``account``; ``typed`` is its input, ``stdout`` all that it said.

    Raises:
        OSError: the account may not execute it, or it isn't there.
        SetupError: it took longer than ``timeout`` seconds.

    """
    try:
        return subprocess.run(  # noqa: S603 - a list of our own making, no shell
            command,
            input=typed,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=timeout,
            check=False,
            encoding="utf-8",
            errors="replace",
            cwd="/",  # ours may be closed to the account
            env=ENVIRONMENT,
            user=account.uid if account.switched else None,
            group=account.gid if account.switched else None,
            extra_groups=account.groups if account.switched else None,
            start_new_session=True,  # Ctrl-C must not cut an initdb in two
        )
    except subprocess.TimeoutExpired as expired:
        raise SetupError(
            f"{command[0]} has not ended after {timeout:.0f} s; see whether the disk is at fault."
        ) from expired


def reason(output: str, *, lines: int = 8) -> str:
    """Return the end of what a program said, for the end of an error's sentence."""
    if "No space left on device" in output:
        return "the disk is full; make room, and start planstore again"
    said = [line.strip() for line in output.splitlines() if line.strip()]
    return " | ".join(said[-lines:]) or "(nothing)"
