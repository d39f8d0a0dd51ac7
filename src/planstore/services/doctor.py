"""Looking for what must never have happened, in a database that is at work."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from planstore import migrations
from planstore.sql import invariants

if TYPE_CHECKING:
    from collections.abc import AsyncIterator
    from uuid import UUID

    from planstore.db import Database
    from planstore.sql.connection import Connection

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


@dataclass(frozen=True, slots=True)
class Report:
    """What a look at a database found."""

    database: str
    """Which one, without any secret."""
    postgresql: str
    """The server's version."""
    rules: tuple[str, ...]
    """What was looked for. Where the schema isn't this program's, only that."""
    findings: tuple[Finding, ...]


async def examine(database: Database) -> Report:
    """Look for each rule that is broken; nothing is locked or changed.

    Every table is read from end to end, some more than once. Work that goes on meanwhile is
    neither disturbed nor mistaken for damage.

    Raises:
        Unavailable: the database can't be reached.
    """
    async with database.connection() as conn:
        version = conn.get_server_version()
        is_current = await migrations.schema_version(conn) == migrations.known()[-1].version
        findings = [finding async for finding in _broken(conn)] if is_current else [_OTHER_SCHEMA]
    rules = [each.rule for each in invariants.INVARIANTS] if is_current else []
    return Report(
        database=database.where,
        postgresql=f"{version.major}.{version.micro}",
        rules=("schema", *rules),
        findings=tuple(findings),
    )


_OTHER_SCHEMA: Final = Finding(
    rule="schema",
    sentence="the schema isn't at this program's version: `planstore migrate` brings it there, "
    "or says what to do",
    count=1,
    examples=(),
)


async def _broken(conn: Connection) -> AsyncIterator[Finding]:
    for invariant in invariants.INVARIANTS:
        found = await invariants.violations(conn, invariant, examples=_EXAMPLES)
        if found["count"]:
            yield Finding(
                rule=invariant.rule,
                sentence=invariant.broken,
                count=found["count"],
                examples=tuple(found["examples"]),
            )
