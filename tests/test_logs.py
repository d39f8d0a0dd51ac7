"""What is written to the log, in which form, and what never is."""

from __future__ import annotations

import asyncio
import io
import json
import logging
import sys
import warnings
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg
import pytest

from planstore import logs
from planstore.errors import PlanStoreError, Unavailable

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from planstore.db import Database

SECRET = "s3cr3t"

E = TypeVar("E", bound=Exception)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    """Leave the process's log as it was."""
    root, own = logging.getLogger(), logging.getLogger("planstore")
    before = root.handlers[:], root.level, own.level, sys.excepthook
    yield
    root.handlers[:], root.level, own.level, sys.excepthook = before
    logging.captureWarnings(capture=False)


@pytest.fixture
def said() -> Callable[[], list[dict[str, Any]]]:
    """Have the log written as JSON, and read what was written."""
    stream = io.StringIO()
    logs.set_up(level="info", form="json", stream=stream)
    return lambda: [json.loads(line) for line in stream.getvalue().splitlines()]


def raised(error: E, cause: Exception | None = None) -> E:
    """Return an error as it is where it was caught."""
    with pytest.raises(type(error)) as caught:
        raise error from cause
    return caught.value


def test_a_line_says_when_how_bad_who_and_what(said: Callable[[], list[dict[str, Any]]]) -> None:
    logging.getLogger("planstore").info("%d tasks", 3, extra={logs.FIELDS: {"plan": "p"}})

    (line,) = said()
    assert line.pop("timestamp").endswith("Z")
    assert line == {"level": "info", "logger": "planstore", "event": "3 tasks", "plan": "p"}


async def test_what_is_bound_goes_with_every_line_of_the_context_alone(
    said: Callable[[], list[dict[str, Any]]],
) -> None:
    async def one(name: str) -> None:
        logs.bind(request_id=name)
        await asyncio.sleep(0)
        logging.getLogger("another.program").warning("so")

    await asyncio.gather(one("a"), one("b"))
    logging.getLogger("planstore").info("so")

    assert [line.get("request_id") for line in said()] == ["a", "b", None]


def test_others_are_heard_from_warning_on(said: Callable[[], list[dict[str, Any]]]) -> None:
    for name in ("planstore", "uvicorn.error", "httpx2"):
        logging.getLogger(name).debug("debug")
        logging.getLogger(name).info("info")
        logging.getLogger(name).warning("warning")
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        logging.captureWarnings(capture=True)
        warnings.warn("deprecated", stacklevel=1)
        logging.captureWarnings(capture=False)

    lines = [(line["logger"], line["level"]) for line in said()]
    assert lines == [
        ("planstore", "info"),
        ("planstore", "warning"),
        ("uvicorn.error", "warning"),
        ("httpx2", "warning"),
        ("py.warnings", "warning"),
    ]


@pytest.mark.parametrize(
    ("stream", "form", "is_json"),
    [
        (Terminal, "auto", False),
        (Terminal, "json", True),
        (io.StringIO, "auto", True),
        (io.StringIO, "human", False),
    ],
)
def test_people_read_text_and_programs_json(
    stream: type[io.StringIO], form: logs.LogFormat, *, is_json: bool
) -> None:
    written = stream()
    logs.set_up(level="info", form=form, stream=written)
    logging.getLogger("planstore").info("so it is", extra={logs.FIELDS: {"status": 200}})

    (line,) = written.getvalue().splitlines()
    assert line.startswith("{") == is_json
    assert "so it is" in line
    assert ("\x1b[" in line) == (stream is Terminal and not is_json)


def test_what_a_client_sent_does_not_move_the_cursor() -> None:
    written = io.StringIO()
    logs.set_up(level="info", form="human", stream=written)
    logging.getLogger("planstore").info("a\x1b[2J\nb", extra={logs.FIELDS: {"route": "\x1b[2J"}})

    assert "\x1b" not in written.getvalue()
    assert len(written.getvalue().splitlines()) == 1


async def test_an_error_of_the_database_is_told_without_values(database: Database) -> None:
    async with database.connection() as conn:
        with pytest.raises(asyncpg.NotNullViolationError) as violated:
            await conn.execute(
                "insert into planstore.idempotency_keys (scope, key) values ($1, null)", SECRET
            )
        with pytest.raises(asyncpg.DataError) as unreadable:
            await conn.execute("select ('x' || $1)::integer", SECRET)
        with pytest.raises(asyncpg.DataError) as unfit:
            await conn.execute("select $1::integer", SECRET)
    assert SECRET in str(violated.value)
    assert SECRET in str(unreadable.value)
    assert SECRET in str(unfit.value)

    told = [logs.traced(each.value) for each in (violated, unreadable, unfit)]

    assert not any(SECRET in each for each in told)
    assert "(23502): null value in column" in told[0]
    assert "(22P02)" in told[1]
    assert "in execute" in told[2]


def test_of_an_unforeseen_error_and_what_led_to_it_the_kind_and_the_place_are_told() -> None:
    group = ExceptionGroup("both", [raised(KeyError(SECRET)), raised(ValueError(SECRET))])
    error = raised(RuntimeError(SECRET), raised(group))

    told = logs.traced(error)

    assert SECRET not in told
    for kind in ("KeyError", "ValueError", "ExceptionGroup", "RuntimeError"):
        assert f"\nbuiltins.{kind}\n" in f"{told}\n"
    assert told.count("in raised") == 4


def test_what_holds_nothing_foreign_is_told_in_full() -> None:
    told = logs.traced(raised(Unavailable("The database is away."), OSError(111, "refused")))

    assert "ConnectionRefusedError: [Errno 111] refused" in told
    assert told.endswith("planstore.errors.Unavailable: The database is away.")


def test_an_error_that_comes_back_to_itself_is_told_once() -> None:
    first, second = raised(PlanStoreError("first")), raised(PlanStoreError("second"))
    first.__cause__, second.__cause__ = second, first

    assert logs.traced(first).count("second") == 1


async def test_what_nobody_waited_for_is_told_without_its_result(
    said: Callable[[], list[dict[str, Any]]],
) -> None:
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(logs.on_loop_error)

    async def fail() -> None:
        raise ValueError(SECRET)

    task = loop.create_task(fail(), name=SECRET)
    await asyncio.wait([task])
    del task
    loop.call_soon(lambda _: 1 / 0, SECRET)
    await asyncio.sleep(0)
    await asyncio.sleep(0)

    unretrieved, in_callback = said()
    assert unretrieved["event"] == "Task exception was never retrieved"
    assert "ValueError" in unretrieved["exception"]
    assert in_callback["event"].startswith("Exception in callback")
    assert SECRET not in json.dumps([unretrieved, in_callback])


def test_the_end_of_the_process_by_an_error_is_a_line_too(
    said: Callable[[], list[dict[str, Any]]],
) -> None:
    error = raised(ValueError(SECRET))
    sys.excepthook(ValueError, error, error.__traceback__)

    (line,) = said()
    assert line["level"] == "critical"
    assert SECRET not in json.dumps(line)
