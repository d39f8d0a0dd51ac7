"""Running the service: the database, the listening socket, the HTTP server and its chores."""

from __future__ import annotations

import asyncio
import gc
import logging
import signal
import socket
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, cast

import uvicorn
import uvloop
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from planstore.app import create_app
from planstore.embedded import EmbeddedPostgres, default_data_dir
from planstore.errors import MalformedRequest, PlanStoreError, SetupError
from planstore.logs import on_loop_error
from planstore.mcp_app import McpApp
from planstore.metrics import Metrics
from planstore.models.fields import Limits
from planstore.routers.context import Context
from planstore.routers.events import ABORT
from planstore.routers.gate import Admission
from planstore.routers.problems import problem_response
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        Awaitable,
        Callable,
        Coroutine,
        Generator,
        Iterable,
    )
    from pathlib import Path

    from uvicorn._types import ASGI3Application

    from planstore.models.retention import Kept
    from planstore.settings import Settings

logger = logging.getLogger("planstore")

_LOOPBACK_NAMES: Final = frozenset({"localhost", "127.0.0.1", "[::1]"})
_CHECK_POSTGRES_EVERY: Final = 1.0
_FORGET_KEYS_EVERY: Final = 3600.0
_SWEEP_EVERY: Final = 1.0
_COUNT_EVERY: Final = 1.0
_INDEX_WORDS_EVERY: Final = 1.0
_WATCH_LOG_EVERY: Final = 1.0
_REFRESH_ESTIMATES_EVERY: Final = 1.0
_PRUNE_EVERY: Final = 3600.0
_MAKE_DELIVERIES_EVERY: Final = 1.0
_SEND_AGAIN: Final = 1.0
_CHORE_PATIENCE: Final = 0.5
_GRACE: Final = 2
"""Seconds that requests under way have once the server was told to stop. With what the store and
the embedded PostgreSQL take after it, a server ends within 5."""


@dataclass(frozen=True, slots=True)
class Listening:
    """Where a server that has come up can be reached."""

    url: str
    database: str
    """Which database it uses, without any secret."""
    data_dir: Path | None
    """Where the embedded PostgreSQL keeps its data; None where another one is used."""
    asks_for_key: bool
    """Whether requests must bear an API key."""


@contextmanager
def database_url(
    settings: Settings, *, is_there: bool = False
) -> Generator[tuple[str, EmbeddedPostgres | None]]:
    """Yield the URL of the database, and the embedded PostgreSQL where it is that.

    ``is_there``: one that isn't there is not made.

    Raises:
        SetupError: the embedded PostgreSQL can't be started.
    """
    if settings.database_url is not None:
        yield settings.database_url.get_secret_value(), None
        return
    data_dir = settings.data_dir or default_data_dir()
    if is_there and not data_dir.exists():
        raise SetupError(
            f"There is no database in {data_dir}: name its directory with --data-dir, or set "
            "PLANSTORE_DATABASE_URL."
        )
    with EmbeddedPostgres.start(data_dir, bin_dir=settings.pg_bin) as postgres:
        yield postgres.url(), postgres


def serve(settings: Settings, *, announce: Callable[[Listening], None]) -> None:
    """Serve until SIGINT or SIGTERM.

    ``announce`` is called once the server answers.

    Raises:
        SetupError: the address is taken, is open to others without an API key, or the database
            can't be used.
    """
    admission = _admission(settings)
    with _listen(settings) as sock, database_url(settings) as (url, postgres):
        host, port = sock.getsockname()[:2]
        name = f"[{host}]" if ":" in host else host

        def started(database: str) -> None:
            data_dir = postgres.data_dir if postgres else None
            asks_for_key = settings.api_key is not None
            announce(Listening(f"http://{name}:{port}", database, data_dir, asks_for_key))

        uvloop.run(
            _serve(
                settings,
                admission=admission,
                sock=sock,
                url=url,
                postgres=postgres,
                started=started,
            )
        )


def _admission(settings: Settings) -> Admission:
    has_key = settings.api_key is not None
    if not (has_key or settings.is_loopback or settings.allow_anonymous):
        raise SetupError(
            f"Anyone who reaches {settings.host} could read and change all plans: set "
            "PLANSTORE_API_KEY, or say --allow-anonymous if the network keeps others out."
        )
    is_private = settings.is_loopback and not has_key
    return Admission(
        api_key=settings.api_key.get_secret_value() if settings.api_key else None,
        allowed_origins=settings.allowed_origins,
        allowed_hosts=_LOOPBACK_NAMES | {settings.host} | settings.allowed_hosts
        if is_private
        else None,
    )


def _listen(settings: Settings) -> socket.socket:
    address = (settings.host, settings.port)
    try:
        family = socket.getaddrinfo(*address, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server(address, family=family, backlog=2048)
    except OSError as error:
        raise SetupError(
            f"Can't listen on {settings.host} port {settings.port} ({error.strerror or error}): "
            "stop what listens there, or choose another with --host and --port."
        ) from error


class _Protocol(HttpToolsProtocol):
    """uvicorn's, but what can't be read as HTTP is refused as all else is.

    And of requests that were sent one behind the other, each is told when the client has left:
    uvicorn tells the last one alone, so the one that is being answered would write to nobody.
    """

    _answered: RequestResponseCycle | None = None

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: ASGI3Application) -> None:
        self._answered = cycle
        super()._start_asgi_task(cycle, app)

    def connection_lost(self, exc: Exception | None) -> None:
        if self._answered is not None and not self._answered.response_complete:
            self._answered.disconnected = True
            self._answered.message_event.set()
        super().connection_lost(exc)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        # A reader of a stream who takes nothing any more would have to be waited for.
        cast("dict[str, Any]", self.scope)[ABORT] = self.transport.abort

    def send_400_response(self, msg: str) -> None:
        response = problem_response(
            MalformedRequest(f"{msg} Its method, path, headers or framing can't be read.")
        )
        head = [b"HTTP/1.1 400 Bad Request", *map(b": ".join, response.raw_headers)]
        self.transport.write(b"\r\n".join([*head, b"connection: close", b"", bytes(response.body)]))
        self.transport.close()


class _Server(uvicorn.Server):
    """uvicorn, which leaves signals to us: it would end the process before the database."""

    def __init__(
        self,
        config: uvicorn.Config,
        *,
        started: Callable[[], None],
        stopping: Callable[[], None],
    ) -> None:
        super().__init__(config)
        self._announce = started
        self._stop = stopping

    @contextmanager
    def capture_signals(self) -> Generator[None]:
        loop = asyncio.get_running_loop()
        for each in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(each, self.handle_exit, each, None)
        yield

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        # What was imported stays for good: garbage collection need not walk it again and again.
        gc.collect()
        gc.freeze()
        self._announce()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        self._stop()
        await super().shutdown(sockets)


async def _serve(
    settings: Settings,
    *,
    admission: Admission,
    sock: socket.socket,
    url: str,
    postgres: EmbeddedPostgres | None,
    started: Callable[[str], None],
) -> None:
    asyncio.get_running_loop().set_exception_handler(on_loop_error)
    limits = Limits(
        steps=settings.max_steps,
        description=settings.max_description,
        json_depth=settings.max_json_depth,
    )
    opening = partial(
        PlanStore.open,
        url,
        pool_size=settings.pool_size,
        is_pooled=settings.pooler == "transaction",
        listen_url=settings.listen_url.get_secret_value() if settings.listen_url else None,
        max_limit=settings.max_limit,
        limits=limits,
        private_webhooks=settings.webhooks_allow_private,
    )
    async with AsyncExitStack() as stack:
        try:
            store = await stack.enter_async_context(opening())
        except SetupError:
            # It may have been killed since it was found running.
            if postgres is None or not await asyncio.to_thread(postgres.ensure_running):
                raise
            store = await stack.enter_async_context(opening())
        context = Context(
            store,
            limits=limits,
            max_body=settings.max_body_bytes,
            max_batch_body=settings.max_batch_body_bytes,
        )
        metrics = Metrics(store)
        mcp = McpApp(store, limits=limits, max_body=settings.max_body_bytes)
        config = uvicorn.Config(
            create_app(context, admission, metrics=metrics, mcp=mcp),
            http=_Protocol,
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_GRACE,
        )
        logging.getLogger("uvicorn.error").addFilter(_is_worth_telling)
        server = _Server(config, started=lambda: started(store.where), stopping=store.stop_waiting)
        chores = [
            _forget_keys(store),
            _take_back(store),
            _index_words(store),
            _watch_log(store),
            _refresh_estimates(store),
            _count_events(store),
            metrics.watch_loop(),
            _prune(store, settings.kept),
            mcp.run(),
            _make_deliveries(store),
            _send_deliveries(store),
        ]
        if postgres is not None:
            chores.append(_keep_running(postgres))
        if settings.redis_url is not None:
            relay = store.relay_to(
                settings.redis_url.get_secret_value(), stream_length=settings.redis_stream_length
            )
            await relay.begin()
            chores.append(relay.run())
        async with _beside(chores):
            await server.serve(sockets=[sock])


@asynccontextmanager
async def _beside(chores: Iterable[Coroutine[Any, Any, None]]) -> AsyncGenerator[None]:
    """Do chores until the end of the block.

    One that hangs on a database which doesn't answer is left to the closing of the store, which
    cuts off its connection.
    """
    tasks = [asyncio.create_task(each) for each in chores]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks, timeout=_CHORE_PATIENCE)


def _is_worth_telling(record: logging.LogRecord) -> bool:
    # uvicorn says how many requests it cut off at the end; where each stood helps nobody.
    return not (record.exc_info and record.exc_info[0] is asyncio.CancelledError)


async def _keep_running(postgres: EmbeddedPostgres) -> None:
    """Start the embedded PostgreSQL again when it was killed."""
    while True:
        await asyncio.sleep(_CHECK_POSTGRES_EVERY)
        try:
            if await asyncio.to_thread(postgres.ensure_running):
                logger.warning("PostgreSQL had stopped and was started again")
        except SetupError as error:
            logger.error("PostgreSQL has stopped: %s", error.detail)  # noqa: TRY400 - said, not traced
        except Exception:
            logger.exception("Looking after PostgreSQL failed")


async def _forget_keys(store: PlanStore) -> None:
    """Remove idempotency keys that are out of date."""
    while True:
        await _try(store.forget_old_keys, what="Removing old idempotency keys")
        await asyncio.sleep(_FORGET_KEYS_EVERY)


async def _take_back(store: PlanStore) -> None:
    """Take back the tasks of workers that have vanished, within 2 s of the end of their leases."""
    while True:
        await _try(store.sweep, what="Taking back tasks whose lease has ended")
        await asyncio.sleep(_SWEEP_EVERY)


async def _index_words(store: PlanStore) -> None:
    """Have the words of new tasks found by their index: until then a search looks at each."""
    while True:
        await _try(store.index_words, what="Indexing the words of tasks")
        await asyncio.sleep(_INDEX_WORDS_EVERY)


async def _watch_log(store: PlanStore) -> None:
    """Know where the log ends before somebody asks while another one writes for long."""
    while True:
        await _try(store.watch_log, what="Looking at the log of events")
        await asyncio.sleep(_WATCH_LOG_EVERY)


async def _refresh_estimates(store: PlanStore) -> None:
    """Have statements be planned for tables as large as they are."""
    while True:
        await _try(store.refresh_estimates, what="Estimating how large tables are")
        await asyncio.sleep(_REFRESH_ESTIMATES_EVERY)


async def _prune(store: PlanStore, kept: Kept) -> None:
    """Remove what need not be kept any longer."""
    while True:
        await _try(partial(store.prune, kept), what="Removing old events")
        await asyncio.sleep(_PRUNE_EVERY)


async def _count_events(store: PlanStore) -> None:
    """Count what happens, for statistics, for a tenth of the time at most."""
    loop = asyncio.get_running_loop()
    while True:
        began = loop.time()
        await _try(store.count_events, what="Counting events")
        await asyncio.sleep(max(_COUNT_EVERY, 9 * (loop.time() - began)))


async def _make_deliveries(store: PlanStore) -> None:
    """Make deliveries for webhooks whenever no other server does."""
    while True:
        await _try(store.make_deliveries, what="Telling webhooks of what happens")
        await asyncio.sleep(_MAKE_DELIVERIES_EVERY)


async def _send_deliveries(store: PlanStore) -> None:
    """Send what is due to webhooks."""
    while True:
        await _try(store.send_deliveries, what="Sending to webhooks")
        await asyncio.sleep(_SEND_AGAIN)


async def _try(chore: Callable[[], Awaitable[object]], *, what: str) -> None:
    """Do a chore; a server lives though it fails, for it is done again."""
    try:
        await chore()
    except PlanStoreError as error:
        _end_if_cancelled()
        logger.warning("%s has to wait: %s", what, error.detail)
    except Exception:
        _end_if_cancelled()
        logger.exception("%s failed", what)


def _end_if_cancelled() -> None:
    # Where the database doesn't answer, the driver puts its own error in the place of this one.
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError
