"""Handlers: which function carries out which tasks, and how it is called."""

from __future__ import annotations

import inspect
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, TypeAlias, TypeVar

from pydantic import BaseModel

from planstore.models.graph import nearest
from planstore.worker.signals import Permanent

if TYPE_CHECKING:
    from planstore.models.claim import WorkPacket
    from planstore.worker.context import Context
    from planstore.worker.threads import Threads

Output: TypeAlias = Mapping[str, Any] | BaseModel | None
"""What a handler returns: the task's output, or None where there is nothing to say."""

# What it is called with depends on how many parameters it has, which no type says.
H = TypeVar("H", bound=Callable[..., Awaitable[Output] | Output])

_WITH_CONTEXT: Final = 2
"""Parameters of a handler that takes the context beside the packet."""


@dataclass(frozen=True, slots=True)
class Handler:
    """A function that carries tasks out."""

    function: Callable[..., Any]
    is_async: bool
    takes_context: bool

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Handler:
        """Look at a function once, so that calling it is quick.

        Raises:
            TypeError: it can't be called with a work packet, or a packet and a context.
        """
        parameters = inspect.signature(function).parameters.values()
        positional = {inspect.Parameter.POSITIONAL_ONLY, inspect.Parameter.POSITIONAL_OR_KEYWORD}
        needed = [each for each in parameters if each.kind in positional]
        if not 1 <= len(needed) <= _WITH_CONTEXT:
            raise TypeError(
                f"{function!r} can't be a handler: it is to take the work packet, or the work "
                "packet and the context"
            )
        called = function if inspect.isroutine(function) else getattr(function, "__call__", None)  # noqa: B004 - an object's own
        is_async = inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(called)
        return cls(function, is_async, takes_context=len(needed) == _WITH_CONTEXT)

    async def call(self, packet: WorkPacket, context: Context, threads: Threads) -> Any:
        """Call it: on this thread's loop if it is async, else in a thread of its own."""
        arguments = (packet, context) if self.takes_context else (packet,)
        if self.is_async:
            return await self.function(*arguments)
        return await threads.call(self.function, *arguments)


class Handlers:
    """Which function carries out which tasks."""

    def __init__(self) -> None:
        self._of_types: dict[str, Handler] = {}
        self._of_any: Handler | None = None

    def add(self, task_type: str | None, function: Callable[..., Any]) -> None:
        """Have a function carry out tasks of a type, or of any other if that is None.

        Raises:
            ValueError: there is a handler for it already.
            TypeError: the function takes neither one nor two arguments.
        """
        handler = Handler.of(function)
        if task_type is None:
            if self._of_any is not None:
                raise ValueError("there is a handler for tasks of any type already")
            self._of_any = handler
        elif self._of_types.setdefault(task_type, handler) is not handler:
            raise ValueError(f"there is a handler for tasks of type {task_type!r} already")

    @property
    def task_types(self) -> list[str] | None:
        """The types of the tasks that can be carried out; None where it is any."""
        return None if self._of_any is not None else sorted(self._of_types)

    def is_async(self, task_type: str | None) -> bool:
        """Whether what carries out tasks of a type runs on the loop."""
        return self.of(task_type).is_async

    def of(self, task_type: str | None) -> Handler:
        """Return what carries out tasks of a type.

        Raises:
            Permanent: nothing does.
        """
        handler = self._of_types.get(task_type, self._of_any) if task_type else self._of_any
        if handler is not None:
            return handler
        known = sorted(self._of_types)
        near = nearest(task_type or "", known)
        hint = f"did you mean {near!r}?" if near else f"there are some for: {', '.join(known)}"
        raise Permanent(f"there is no handler for tasks of type {task_type!r}; {hint}")


class Registering:
    """Has handlers, which are registered by a decorator."""

    def __init__(self) -> None:
        self._handlers = Handlers()

    def task(self, task_type: str | None = None) -> Callable[[H], H]:
        """Register the decorated function for tasks of a type, or of any other if left out.

        The function takes the `WorkPacket`, and the `Context` beside it if it has two parameters.
        It may be async; one that isn't runs in a thread. What it returns is the task's output: an
        object that can be written as JSON, a pydantic model, or None. If it raises, its run has
        failed: `Permanent` says that trying again won't help, `Retry` when to.

        Raises:
            ValueError: there is a handler for it already.
            TypeError: the function takes neither one nor two arguments.
        """

        def register(function: H) -> H:
            self._handlers.add(task_type, function)
            return function

        return register
