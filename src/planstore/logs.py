"""What a server writes to its log: its own lines, uvicorn's and all others', in one form.

Lines are written by the standard library's ``logging``, so that a program which uses `PlanStore`
by itself has them where it wants them. What else there is to say stands in ``extra={FIELDS: …}``,
and what `bind` says goes with every line of the same context, such as a request's.

What a line says is chosen where it is written: no payload, no secret. What an unforeseen error says
is nobody's choice, so of such errors only the kind and the place are told (`traced`).
"""

from __future__ import annotations

import logging
import re
import sys
import traceback
from contextvars import ContextVar
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, Literal, TextIO

import asyncpg
from pydantic_core import to_json
from structlog.dev import ConsoleRenderer

from planstore.errors import PlanStoreError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterator
    from types import TracebackType

LogFormat = Literal["auto", "human", "json"]
LogLevel = Literal["debug", "info", "warning", "error"]

FIELDS: Final = "fields"
"""Under which name of ``extra`` a line has what stands beside its message."""

logger = logging.getLogger("planstore")

Line = dict[str, Any]
"""What a line of the log says, by name."""

_NOTHING: Final[Line] = {}

_BOUND: Final[ContextVar[Line]] = ContextVar("planstore.log", default=_NOTHING)


def bind(**fields: Any) -> None:
    """Have every line of this context say ``fields`` too, from now on."""
    _BOUND.set({**_BOUND.get(), **fields})


def bound(name: str) -> Any:
    """Return what was bound to ``name`` in this context; None: nothing."""
    return _BOUND.get().get(name)


def set_up(*, level: LogLevel, form: LogFormat, stream: TextIO = sys.stderr) -> None:
    """Have this process write its log to ``stream``, from now on.

    ``level``: of PlanStore's own lines; those of others are written from ``warning`` on. ``form``:
    ``auto`` is ``human`` on a terminal and ``json`` elsewhere.
    """
    is_terminal = stream.isatty()
    is_human = form == "human" or (form == "auto" and is_terminal)
    handler = logging.StreamHandler(stream)
    handler.setFormatter(_Form(_human(colors=is_terminal) if is_human else _json))
    own = logging.getLevelNamesMapping()[level.upper()]
    logging.basicConfig(handlers=[handler], level=max(own, logging.WARNING), force=True)
    logger.setLevel(own)
    # The driver traces every attempt to reach a database that is away; /health/ready says so.
    logging.getLogger("asyncpg").setLevel(logging.ERROR)
    logging.captureWarnings(capture=True)
    # No line says them, and finding them out takes longer than writing.
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    sys.excepthook = _on_end


class _Form(logging.Formatter):
    """What a line says, put into one form.

    structlog's own formatter of such records, with its own context variables, takes twice as long.
    """

    def __init__(self, render: Callable[[Line], str]) -> None:
        super().__init__()
        self._render = render

    def format(self, record: logging.LogRecord) -> str:
        line: Line = {
            "timestamp": datetime.fromtimestamp(record.created, UTC),
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, FIELDS, {}),
            **_BOUND.get(),
        }
        if record.exc_info and (error := record.exc_info[1]):
            line["exception"] = traced(error)
        return self._render(line)


def _json(line: Line) -> str:
    return to_json(line).decode()


def _human(*, colors: bool) -> Callable[[Line], str]:
    renderer = ConsoleRenderer(colors=colors, pad_event_to=0, pad_level=False, sort_keys=False)

    def render(line: Line) -> str:
        line["timestamp"] = line["timestamp"].astimezone().strftime("%Y-%m-%d %H:%M:%S")
        trace = line.pop("exception", None)
        # What came from elsewhere must not move the cursor, nor look like a line of its own.
        plain = {
            name: _CONTROLS.sub(_escaped, value) if isinstance(value, str) else value
            for name, value in line.items()
        }
        return renderer(
            None, line["level"], plain if trace is None else {**plain, "exception": trace}
        )

    return render


_CONTROLS: Final = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def _escaped(found: re.Match[str]) -> str:
    return repr(found[0])[1:-1]


def traced(error: BaseException) -> str:
    """Return where an error comes from, without what it says unless that holds nothing foreign."""
    return "".join(_traced(error, set())).rstrip()


def _traced(error: BaseException, told: set[int]) -> Iterator[str]:
    told.add(id(error))
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    if before is not None and id(before) not in told:
        yield from _traced(before, told)
        yield "\nwhich led to:\n\n"
    members: tuple[BaseException, ...] = getattr(error, "exceptions", ())  # of a group
    for each in members:
        yield from _traced(each, told)
        yield "\nwhich is one of:\n\n"
    yield "Traceback (most recent call last):\n"
    yield from traceback.format_tb(error.__traceback__)
    yield f"{type(error).__module__}.{type(error).__qualname__}{_said(error)}\n"


def _said(error: BaseException) -> str:
    match error:
        case PlanStoreError():
            return f": {error.detail}"
        case asyncpg.PostgresError():
            state = error.sqlstate or ""
            # DETAIL holds values; and where the data are at fault, so does the message.
            return f" ({state})" if state.startswith("22") else f" ({state}): {error.args[0]}"
        case OSError() | TypeError() | AttributeError() | NameError() | ImportError():
            return f": {error}"
        case _:
            return ""


def on_loop_error(_: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """Log what nobody waited for: an exception handler of an event loop.

    The loop's own would also write the task down, and with it the result or error.
    """
    message = re.split(r"[(<]", context["message"], maxsplit=1)[0].strip()
    logging.getLogger("asyncio").error(message, exc_info=context.get("exception"))


def _on_end(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
    if issubclass(kind, Exception):
        logger.critical("The process ends by an error", exc_info=error)
    else:
        sys.__excepthook__(kind, error, trace)
