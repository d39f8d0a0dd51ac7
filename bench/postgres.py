"""The PostgreSQL that a run measures on, and databases in it that don't outlive the run."""

from __future__ import annotations

import os
import shutil
import tempfile
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import quote, urlsplit, urlunsplit

import asyncpg

from planstore.embedded import EmbeddedPostgres

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Generator


@dataclass(frozen=True, slots=True)
class Postgres:
    """A server on which databases can be made."""

    url: str
    """Of a database that is there already. It may hold a password."""

    def url_of(self, database: str) -> str:
        """Return the URL of another database on the server."""
        return urlunsplit(urlsplit(self.url)._replace(path=f"/{quote(database, safe='')}"))

    @asynccontextmanager
    async def database(self, name: str, *, template: str = "template1") -> AsyncGenerator[str]:
        """Make a database and yield its full name; it is dropped afterwards."""
        name = f"planstore_bench_{name}_{os.getpid()}"
        conn = await asyncpg.connect(self.url)
        try:
            await conn.execute(f"create database {name} template {template} strategy file_copy")
            try:
                yield name
            finally:
                await conn.execute(f"drop database {name} with (force)")
        finally:
            await conn.close()

    @asynccontextmanager
    async def filling(self, database: str) -> AsyncGenerator[str]:
        """Yield the URL by which a database is filled quickly, and analyze it afterwards.

        What is prepared needs no commit of its own; what is measured has one, as PostgreSQL comes.
        """
        await self.execute(database, f"alter database {database} set synchronous_commit=off")
        yield self.url_of(database)
        await self.execute(database, f"alter database {database} reset synchronous_commit")
        await self.execute(database, "vacuum analyze")

    async def execute(self, database: str, statement: str) -> None:
        """Run one statement in ``database``."""
        conn = await asyncpg.connect(self.url_of(database))
        try:
            await conn.execute(statement)
        finally:
            await conn.close()

    async def version(self) -> str:
        """Return the server's version; the first to find out whether there is a server."""
        try:
            conn = await asyncpg.connect(self.url)
        except (OSError, ValueError, asyncpg.PostgresError) as error:
            raise SystemExit(f"bench: the database can't be used: {error}") from error
        try:
            return str(await conn.fetchval("show server_version"))
        finally:
            await conn.close()


@contextmanager
def postgres_at(url: str | None) -> Generator[Postgres]:
    """Yield the PostgreSQL at ``url``, or an embedded one of the run's own with the defaults."""
    if url is not None:
        yield Postgres(url)
        return
    with _home() as home, EmbeddedPostgres.start(home) as server:
        yield Postgres(server.url("postgres"))


@asynccontextmanager
async def noting_commits() -> AsyncGenerator[Postgres]:
    """Yield an embedded one of its own that can say when a transaction was committed."""
    with _home() as home:
        with EmbeddedPostgres.start(home) as server:
            postgres = Postgres(server.url("postgres"))
            await postgres.execute("postgres", "alter system set track_commit_timestamp = on")
        with EmbeddedPostgres.start(home) as server:
            yield Postgres(server.url("postgres"))


@contextmanager
def _home() -> Generator[Path]:
    # A directory that the account which PostgreSQL runs as can enter.
    home = Path(tempfile.mkdtemp(prefix="planstore-bench-", dir="/var/tmp"))
    home.chmod(0o755)
    try:
        yield home / "data"
    finally:
        shutil.rmtree(home)
