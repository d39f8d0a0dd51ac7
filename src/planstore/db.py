"""The way to PostgreSQL: a pool of connections, transactions, and the driver's errors as ours."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, NamedTuple, Self

import asyncpg
from pydantic_core import from_json, to_json

from planstore.errors import SetupError, Unavailable

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable
    from types import TracebackType

    from asyncpg.pool import PoolConnectionProxy

    from planstore.sql.connection import Connection, Row

OLDEST_SERVER: Final = 15
"""The oldest major version of PostgreSQL that is supported."""

CONNECT_PATIENCE: Final = 5.0
"""Seconds for which a request waits for a PostgreSQL that is just coming up again."""

_WAITING: Final = {"lock_timeout": "10s"}
"""How long a statement waits for rows that another transaction holds."""

_CLOSE_PATIENCE: Final = 1.0
"""Seconds for which connections in use are waited for when the pool is closed."""

_AT_HAND: Final = 4
"""How many connections are not given back to the pool in between. The driver's pool makes a task of
each return, and sets a timer: a third of what PlanStore itself does for a single claim."""

_PLANNING: Final = {
    "jit": "off",
    "plan_cache_mode": "force_generic_plan",
    "enable_seqscan": "off",
    "random_page_cost": "0.1",
}
"""Our statements find their rows by an index whatever the parameters are. Left alone, PostgreSQL
would plan each of them five times on each connection, at milliseconds a time, to find that out; and
on a table that is still empty it would decide to read all of it, and stay with that."""

_READ_AHEAD: Final = """
select set_config('effective_io_concurrency', '64', false)
where current_setting('effective_io_concurrency') in ('1', '16')
"""
"""How many pages PostgreSQL asks the disk for at once, where it knows which it needs: what a list
shows lies all over a table. What an operator has set stays, and 0, which says that the system can't
be asked; 1 is the default of PostgreSQL up to 17, and 16 the one since."""

_GONE: Final = (
    OSError,
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ReadOnlySQLTransactionError,
)
"""What the driver raises when the server can't be reached, or is about to go."""


class PoolUse(NamedTuple):
    """How many connections a pool has."""

    size: int
    idle: int
    """How many of them nobody uses."""
    max_size: int


class Database:
    """A pool of connections to one PostgreSQL."""

    def __init__(self, pool: asyncpg.Pool[Row], *, where: str, listen_url: str) -> None:
        self._pool = pool
        self._listen_url = listen_url
        self._at_hand: list[PoolConnectionProxy[Row]] = []
        self._is_closing = False
        self._waiting = 0
        self.where = where
        """Host, port and name of the database, without any secret."""

    @classmethod
    @asynccontextmanager
    async def open(
        cls,
        url: str,
        *,
        pool_size: int = 16,
        is_pooled: bool = False,
        listen_url: str | None = None,
    ) -> AsyncGenerator[Database]:
        """Open a pool of at most ``pool_size`` connections to ``url``.

        ``is_pooled``: a pooler in transaction mode stands between, so statements aren't prepared
        across transactions and only the settings that poolers know are sent. ``listen_url``: where
        to listen for notifications, which no such pooler passes on.

        Raises:
            SetupError: the server can't be reached, refuses us, or is too old.
        """
        where = describe(url)
        settings = {"application_name": "planstore", "TimeZone": "UTC"}
        try:
            pool = await asyncpg.create_pool(
                url,
                min_size=1,
                max_size=pool_size,
                max_inactive_connection_lifetime=300,
                timeout=10,
                statement_cache_size=0 if is_pooled else 100,
                # The driver would prepare long statements anew each time, and the others every
                # five minutes; ours are few and constant, and take milliseconds to plan.
                max_cacheable_statement_size=0,
                max_cached_statement_lifetime=0,
                server_settings=settings if is_pooled else {**settings, **_PLANNING, **_WAITING},
                init=_prepare if is_pooled else _prepare_own,
                reset=_keep,
            )
        except _SETUP_ERRORS as error:
            raise _setup_error(error, where) from error
        database = cls(pool, where=where, listen_url=listen_url or url)
        try:
            await database._check_version()
            yield database
        finally:
            database._is_closing = True
            while database._at_hand:
                await pool.release(database._at_hand.pop())
            try:
                await asyncio.wait_for(pool.close(), timeout=_CLOSE_PATIENCE)
            except (TimeoutError, *_GONE):
                pool.terminate()

    @property
    def use(self) -> PoolUse:
        """How many connections there are."""
        idle = self._pool.get_idle_size() + len(self._at_hand)
        return PoolUse(self._pool.get_size(), idle, self._pool.get_max_size())

    async def _check_version(self) -> None:
        async with self.connection() as conn:
            version = conn.get_server_version()
        if version.major < OLDEST_SERVER:
            raise SetupError(
                f"The database at {self.where} is PostgreSQL {version.major}; "
                f"PlanStore needs PostgreSQL {OLDEST_SERVER} or later: "
                "set PLANSTORE_DATABASE_URL to one, or leave it out to use the embedded one."
            )

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """A connection on which each statement is a transaction of its own.

        Raises:
            Unavailable: the database can't be reached.
        """
        conn = await self._take()
        is_well = False
        try:
            yield conn
            is_well = True
        except (*_GONE, asyncpg.InternalClientError) as error:
            # A server that turned read-only or is about to go keeps the connection open; we don't.
            # The driver stumbles where the server's farewell came while the connection lay idle.
            _drop(conn)
            raise self._unavailable() from error
        except asyncpg.LockNotAvailableError as error:
            raise Unavailable(
                f"Another transaction has held what this needs for {_WAITING['lock_timeout']}; "
                "nothing was changed. Repeat the request in a while."
            ) from error
        except asyncpg.InterfaceError as error:
            if _is_lost(conn):
                raise self._unavailable() from error
            raise
        finally:
            if is_well and self._may_keep():
                self._at_hand.append(conn)
            else:
                await self._pool.release(conn)

    @asynccontextmanager
    async def transaction(self) -> AsyncGenerator[Connection]:
        """A connection within one READ COMMITTED transaction."""
        async with self.connection() as conn, conn.transaction():
            yield conn

    @asynccontextmanager
    async def moment(self) -> AsyncGenerator[Connection]:
        """A connection whose statements all see the database as it is now, and change nothing."""
        async with (
            self.connection() as conn,
            conn.transaction(isolation="repeatable_read", readonly=True),
        ):
            yield conn

    @asynccontextmanager
    async def listening(
        self, channel: str, heard: Callable[[], None]
    ) -> AsyncGenerator[asyncio.Event]:
        """Call ``heard`` for each notification on ``channel``; sets the event once it can't.

        Raises:
            Unavailable: the database can't be reached.
        """
        lost = asyncio.Event()

        def hear(_conn: object, _pid: int, _channel: str, _payload: object) -> None:
            heard()

        try:
            conn = await asyncpg.connect(
                self._listen_url,
                timeout=CONNECT_PATIENCE,
                server_settings={"application_name": "planstore listener"},
            )
        except _UNREACHABLE as error:
            raise self._unavailable() from error
        try:
            conn.add_termination_listener(lambda _: lost.set())
            await conn.add_listener(channel, hear)
            yield lost
        except _GONE as error:
            raise self._unavailable() from error
        finally:
            conn.terminate()

    def _may_keep(self) -> bool:
        return not self._is_closing and not self._waiting and len(self._at_hand) < _AT_HAND

    async def _take(self) -> PoolConnectionProxy[Row]:
        while self._at_hand:
            conn = self._at_hand.pop()
            if not _is_lost(conn):
                return conn
            await self._pool.release(conn)
        self._waiting += 1
        try:
            return await self._acquire()
        finally:
            self._waiting -= 1

    async def _acquire(self) -> PoolConnectionProxy[Row]:
        deadline = asyncio.get_running_loop().time() + CONNECT_PATIENCE
        while True:
            try:
                if self._pool.get_idle_size():
                    return await self._pool.acquire()  # at once, and without a timer
                return await self._pool.acquire(timeout=CONNECT_PATIENCE)
            except _UNREACHABLE as error:
                # Nothing was sent, so waiting for a server that restarts harms nobody.
                if asyncio.get_running_loop().time() > deadline:
                    raise self._unavailable() from error
                await asyncio.sleep(0.1)
            except asyncpg.InterfaceError as error:
                if not self._is_closing:
                    raise
                raise Unavailable(
                    f"This process has closed its connections to the database at {self.where}: "
                    "open the store anew."
                ) from error

    def _unavailable(self) -> Unavailable:
        return Unavailable(
            f"The database at {self.where} can't be reached now. Repeat the request in a while; "
            "with an Idempotency-Key, what was done already is not done again."
        )


class Loan:
    """A connection that is taken from the pool when it is first needed, and kept until the end."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self._stack = AsyncExitStack()
        self._conn: Connection | None = None

    async def connection(self) -> Connection:
        """Return the connection.

        Raises:
            Unavailable: the database can't be reached.
        """
        if self._conn is None:
            self._conn = await self._stack.enter_async_context(self._database.connection())
        return self._conn

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> bool | None:
        return await self._stack.__aexit__(kind, error, traceback)


def _is_lost(conn: PoolConnectionProxy[Row]) -> bool:
    """Whether a connection is closed; the pool takes back at once what the server closed."""
    try:
        return conn.is_closed()
    except asyncpg.InterfaceError:
        return True


def _drop(conn: PoolConnectionProxy[Row]) -> None:
    """Close a connection, so that the pool opens another one."""
    if not _is_lost(conn):
        conn.terminate()


async def _prepare(conn: asyncpg.Connection[Row]) -> None:
    for kind in ("json", "jsonb"):
        await conn.set_type_codec(
            kind, schema="pg_catalog", encoder=_json_text, decoder=from_json, format="text"
        )


async def _prepare_own(conn: asyncpg.Connection[Row]) -> None:
    await _prepare(conn)
    await conn.execute(_READ_AHEAD)


def _json_text(value: Any) -> str:
    return to_json(value).decode()


async def _keep(_conn: object) -> None:
    """Leave a connection as it is: no statement of ours leaves anything behind in its session.

    The driver's own reset costs a round trip for each release.
    """


_UNREACHABLE: Final = (
    *_GONE,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InvalidCatalogNameError,
    asyncpg.InsufficientPrivilegeError,
    asyncpg.InternalClientError,  # among others: no host has the role that the URL asks for
    TimeoutError,
)
"""What opening a connection may end in."""

_SETUP_ERRORS: Final = (*_UNREACHABLE, asyncpg.ClientConfigurationError, ValueError)


def _setup_error(error: BaseException, where: str) -> SetupError:
    match error:
        case asyncpg.InvalidAuthorizationSpecificationError():
            why = (
                f"The database at {where} refuses the user or the password: "
                "check PLANSTORE_DATABASE_URL."
            )
        case asyncpg.InsufficientPrivilegeError():
            why = f"The user may not connect to the database at {where}: grant it CONNECT."
        case asyncpg.exceptions.TargetServerAttributeNotMatched():
            why = (
                f"No server at {where} has the role that target_session_attrs asks for: "
                "check PLANSTORE_DATABASE_URL."
            )
        case asyncpg.InvalidCatalogNameError():
            why = f"There is no database at {where}: create it, or check PLANSTORE_DATABASE_URL."
        case asyncpg.ClientConfigurationError() | ValueError():
            why = (
                "PLANSTORE_DATABASE_URL can't be read: "
                "it has the form postgresql://user:password@host:5432/database."
            )
        case _:
            why = (
                f"The database at {where} can't be reached: start it, or check "
                "PLANSTORE_DATABASE_URL; leave it out to use the embedded one."
            )
    return SetupError(why)


def describe(url: str) -> str:
    """Say which database a URL names, without its user, password and parameters."""
    before, _, parameters = url.partition("://")[2].partition("?")
    if "@" in parameters:
        # Where the question mark is part of a password, what follows it is too.
        return "the given URL"
    place = before.rpartition("@")[2]
    return place if place and not place.startswith("/") else f"a local socket{place}"
