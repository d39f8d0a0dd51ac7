"""Looking for what must never have happened, in a database that is at work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from planstore.sql import invariants

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.db import Database

_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class Finding:
    """One rule that is broken."""

    rule: str
    """A short code, for ever."""
    sentence: str
    """What is so and must not be."""
    count: int
    """Of plans or tasks for which it is so."""
    examples: tuple[UUID, ...]
    """The first ids of them, 5 at most."""


async def examine(database: Database) -> list[Finding]:
    """Return each rule that is broken; nothing is locked or changed.

    Every table is read from end to end, some more than once. Work that goes on meanwhile is
    neither disturbed nor mistaken for damage.

    Raises:
        Unavailable: the database can't be reached.
    """
    findings: list[Finding] = []
    async with database.connection() as conn:
        for invariant in invariants.INVARIANTS:
            found = await invariants.violations(conn, invariant, examples=_EXAMPLES)
            if found["count"]:
                findings.append(
                    Finding(
                        rule=invariant.rule,
                        sentence=invariant.broken,
                        count=found["count"],
                        examples=tuple(found["examples"]),
                    )
                )
    return findings
