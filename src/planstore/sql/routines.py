"""Functions in the database, mostly for what is so frequent that starting a long statement is felt.

To start a statement costs PostgreSQL time for each step of its plan, taken or not: for one that
provides for everything, twice as long as the work itself. A function goes step by step, and each of
its steps is planned once and begun only when it is come to. Each sees the database as it is then,
too: what is read after a lock is as new as the lock. And a function may be planned by settings of
its own.

They are made of the same pieces of SQL as the statements, and installed with the schema. Each bears
a digest of its text in its name, so that a server of another version finds its own beside them.
"""

from __future__ import annotations

from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class Routine:
    """A function in the database."""

    name: str
    """Of this version of it, without the schema's."""
    sql: str
    """What creates it."""


def routine(
    noun: str,
    parameters: str,
    body: str,
    *,
    returns: str | None = None,
    planned_with: Sequence[str] = (),
) -> Routine:
    """A function of PL/pgSQL.

    ``returns``: what it answers, where that isn't among the parameters. ``planned_with``: settings
    of PostgreSQL's that hold while its steps are planned and carried out.
    """
    answer = f"returns {returns}\n" if returns else ""
    settings = "".join(f"set {each}\n" for each in planned_with)
    digest = sha256((parameters + answer + settings + body).encode()).hexdigest()[:12]
    name = f"{noun}_{digest}"
    return Routine(
        name,
        f"create or replace function planstore.{name}({parameters})\n{answer}{settings}"
        f"language plpgsql as $routine${body}$routine$",
    )
