"""Spans for OpenTelemetry, where the program that runs this has configured its SDK.

Without it the API alone does nothing, so nothing is asked of it: a store is traced or not from the
time on when it is opened.
"""

from __future__ import annotations

import inspect
from functools import wraps
from typing import TYPE_CHECKING, Any, Final

from opentelemetry import propagate, trace
from opentelemetry.trace import SpanKind, Status, StatusCode

from planstore.errors import PlanStoreError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from uuid import UUID

_UNTRACED: Final = frozenset(
    {
        *("check", "count_events", "forget_old_keys", "index_words", "prune", "refresh_estimates"),
        *("sweep", "watch_log"),
    }
)
"""What a server does by itself all the time."""


def is_configured() -> bool:
    """Whether spans go anywhere."""
    provider = trace.get_tracer_provider()
    return not isinstance(provider, (trace.ProxyTracerProvider, trace.NoOpTracerProvider))


def traceparent() -> str | None:
    """Return the current span in the words of W3C Trace Context; None where there is none."""
    if not trace.get_current_span().get_span_context().is_valid:
        return None
    carrier: dict[str, str] = {}
    propagate.inject(carrier)
    return carrier.get("traceparent")


def trace_calls(subject: object) -> None:
    """Have each public method that is awaited be a span from now on.

    Its name is that of the method, such as `PlanStore.create_task`; what it is about stands in the
    attributes `planstore.plan_id` and `planstore.task_id`, and an error by its code. No input or
    output is told.
    """
    kind = type(subject)
    for name, _ in inspect.getmembers(kind, inspect.iscoroutinefunction):
        if not name.startswith("_") and name not in _UNTRACED:
            setattr(subject, name, _traced(f"{kind.__name__}.{name}", getattr(subject, name)))


def _traced(name: str, method: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    tracer = trace.get_tracer("planstore")
    subject = next(
        (each for each in list(inspect.signature(method).parameters)[:1] if each.endswith("_id")),
        None,
    )

    @wraps(method)
    async def within_span(*args: Any, **kwargs: Any) -> Any:
        with tracer.start_as_current_span(
            name, kind=SpanKind.INTERNAL, record_exception=False, set_status_on_exception=False
        ) as span:
            about: UUID | None = args[0] if args else kwargs.get(subject or "")
            if subject is not None and about is not None:
                span.set_attribute(f"planstore.{subject}", str(about))
            try:
                return await method(*args, **kwargs)
            except PlanStoreError as error:
                span.set_attribute("error.type", error.code)
                span.set_status(Status(StatusCode.ERROR, error.code))
                raise
            except Exception as error:
                span.set_attribute("error.type", type(error).__qualname__)
                span.set_status(Status(StatusCode.ERROR))
                raise

    return within_span
