"""The log of workers: events with fields, through `logging` as "planstore.worker".

What is imported writes nowhere by itself: a program's own settings of structlog and `logging` say
where to, and how. `write_logs` are those of a worker process.
"""

from __future__ import annotations

import logging
import sys
from typing import TYPE_CHECKING, Final

import structlog

if TYPE_CHECKING:
    from structlog.typing import Processor

logger: Final[structlog.stdlib.BoundLogger] = structlog.wrap_logger(
    logging.getLogger("planstore.worker"), wrapper_class=structlog.stdlib.BoundLogger
)


def write_logs(*, as_json: bool) -> None:
    """Write one line for each event to stderr: for people, or JSON for programs."""
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
    ]
    rendered: list[Processor] = (
        [structlog.processors.format_exc_info, structlog.processors.JSONRenderer(default=str)]
        if as_json
        else [
            structlog.dev.ConsoleRenderer(
                colors=sys.stderr.isatty(),
                # Without the values of variables, which are not for a log.
                exception_formatter=structlog.dev.plain_traceback,
            )
        ]
    )
    structlog.configure(
        processors=[*shared, structlog.stdlib.ProcessorFormatter.wrap_for_formatter],
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler()
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        )
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler])
    logging.getLogger("planstore").setLevel(logging.INFO)
