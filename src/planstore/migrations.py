"""The schema's versions: numbered files of SQL, applied in order, never taken back.

With them come the functions of `planstore.sql.routines`, which belong to the program's version and
not to the schema's: each program finds its own, whichever came first.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Final

import asyncpg

from planstore.errors import SetupError
from planstore.sql import derivation, tasks

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.sql.connection import Connection

_LOCK: Final = 0x706C616E73746F72
"""The advisory lock that migrators wait for: "planstor" in ASCII, so it is nobody else's."""

_ROUTINES: Final = (derivation.DERIVE, *tasks.ROUTINES)

_FILE: Final = re.compile(r"(\d{4})_(\w+)\.sql")

_MAKE_SCHEMA: Final = "create schema if not exists planstore;\n"

_PREPARE: Final = """
create table if not exists planstore.schema_migrations (
  version integer not null,
  name text not null,
  applied_at timestamptz not null default now(),
  constraint schema_migrations_pkey primary key (version)
);
"""

_MISSING: Final = """
select r.name
from unnest($1::text[]) as r (name)
where not exists (
  select from pg_proc p
  where p.proname = r.name
    and p.pronamespace = to_regnamespace('planstore')
)
"""

_RECORD: Final = "insert into planstore.schema_migrations (version, name) values ($1, $2)"


@dataclass(frozen=True, slots=True)
class Migration:
    """One step of the schema."""

    version: int
    """1, 2, 3 … without gaps."""
    name: str
    sql: str


@cache
def known() -> tuple[Migration, ...]:
    """Return the migrations of this program, in order."""
    files = resources.files("planstore.sql").joinpath("migrations").iterdir()
    named = [(match, file) for file in files if (match := _FILE.fullmatch(file.name))]
    return tuple(
        sorted(
            (Migration(int(match[1]), match[2], file.read_text("utf-8")) for match, file in named),
            key=lambda migration: migration.version,
        )
    )


async def migrate(database: Database) -> list[Migration]:
    """Bring the schema to this program's version; answers what was applied.

    Each migration is a transaction of its own. Any number of processes may do this at once: they
    wait for each other.

    Raises:
        SetupError: the schema is newer than this program, or the user may not change it.
    """
    applied: list[Migration] = []
    try:
        while (migration := await _apply_next(database)) is not None:
            applied.append(migration)
        await _install(database)
    except asyncpg.InsufficientPrivilegeError as error:
        raise SetupError(
            f"The user may not change the schema planstore at {database.where}: grant it CREATE "
            "on the database, or have its owner apply what `planstore migrate --sql` prints."
        ) from error
    return applied


async def require(database: Database) -> None:
    """Check that the schema is at this program's version, without changing it.

    Raises:
        SetupError: it is older or newer.
    """
    async with database.connection() as conn:
        if await _is_behind(conn):
            raise SetupError(
                f"The schema at {database.where} is version {await schema_version(conn)}; this "
                f"program needs version {known()[-1].version}: run `planstore migrate`."
            )
        if await _missing(conn):
            raise SetupError(
                f"The schema at {database.where} lacks functions of this program's version: "
                "run `planstore migrate`."
            )


async def _apply_next(database: Database) -> Migration | None:
    async with database.transaction() as conn:
        if not await _is_behind(conn):
            return None
        await conn.execute("select pg_advisory_xact_lock($1)", _LOCK)
        # Asking for the schema takes a right on the database, even where it is there.
        if await conn.fetchval("select to_regnamespace('planstore') is null"):
            await conn.execute(_MAKE_SCHEMA)
        await conn.execute(_PREPARE)
        version = await schema_version(conn)
        pending = [migration for migration in known() if migration.version > version]
        if not pending:
            return None
        migration = pending[0]
        await conn.execute(migration.sql)
        await conn.execute(_RECORD, migration.version, migration.name)
        return migration


async def _install(database: Database) -> None:
    async with database.transaction() as conn:
        if not await _missing(conn):
            return
        await conn.execute("select pg_advisory_xact_lock($1)", _LOCK)
        for each in _ROUTINES:
            await conn.execute(each.sql)


async def _missing(conn: Connection) -> bool:
    return bool(await conn.fetch(_MISSING, [each.name for each in _ROUTINES]))


async def _is_behind(conn: Connection) -> bool:
    version = await schema_version(conn)
    latest = known()[-1].version
    if version > latest:
        raise SetupError(
            f"The database's schema is version {version}; this program knows versions up to "
            f"{latest}: install a newer PlanStore, or use another database."
        )
    return version < latest


async def schema_version(conn: Connection) -> int:
    """Return the version of the schema, 0 where there is none."""
    exists = await conn.fetchval("select to_regclass('planstore.schema_migrations') is not null")
    if not exists:
        return 0
    version = await conn.fetchval("select max(version) from planstore.schema_migrations")
    assert version is None or isinstance(version, int)
    return version or 0


def script() -> str:
    """Return the SQL of all migrations and functions, for an operator who applies them by hand."""
    parts = [_MAKE_SCHEMA + _PREPARE.strip()]
    for migration in known():
        record = _RECORD.replace("$1", str(migration.version)).replace("$2", f"'{migration.name}'")
        parts.append(f"begin;\n{migration.sql.strip()}\n\n{record};\ncommit;")
    parts += [f"{each.sql};" for each in _ROUTINES]
    return "\n\n".join(parts) + "\n"
