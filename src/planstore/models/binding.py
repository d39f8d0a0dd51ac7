"""Bindings: the places of an input that the output of another task fills.

``{{name.path.to.value}}`` in a text is what the output of the task ``name`` holds there. Inputs
are full of double braces that mean something to others (``{{taskId}}``, ``{{#if …}}``,
``${{ secrets.X }}``), so the text before the first dot has to be a task's name to the letter,
blanks included. Everything else stays as it is, and so do the keys of objects.
"""

from __future__ import annotations

import re
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from pydantic_core import to_json

from planstore.errors import Fault
from planstore.models.fields import MAX_FAULTS, pointer_part, shortened

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

PARAMS: Final = "params"
"""What stands for the parameters of a template, and so for no task."""

_OPENING: Final = "{{"
_CLOSING: Final = "}}"
_NO_TASKS: Final = {"", PARAMS}  # a task's name is never empty
_INDEX: Final = re.compile(r"0|[1-9][0-9]{0,9}")  # `int` refuses texts of thousands of digits
_KEYS_SHOWN: Final = 5


class Unbound(ValueError):
    """Bindings can't be filled in; ``faults`` names them, with pointers into the input."""

    def __init__(self, faults: tuple[Fault, ...]) -> None:
        first, *others = faults
        super().__init__(first.detail + (f" (and {len(others)} more)" if others else ""))
        self.faults = faults


def references(value: Any) -> frozenset[str]:
    """Return the names of all tasks that ``value`` may take something from.

    Which of them are tasks, only the plan knows.
    """
    # The JSON text itself has no such braces; looking at it first keeps the walk, which is slow,
    # for inputs that may need it.
    if _OPENING.encode() not in to_json(value):
        return frozenset()
    insides = (inside for _, text in _texts(value) for inside in _split(text)[1::2])
    return frozenset(map(_name, insides)) - _NO_TASKS


def bound(value: Any, outputs: Mapping[str, Any], *, max_bytes: int) -> Any:
    """Return ``value`` with what it takes from ``outputs``, which maps tasks' names to outputs.

    A text that is one binding and nothing else becomes the very value, of whatever type. In a
    longer one texts are filled in as they are and all else as JSON. What was filled in isn't
    looked through again. The result shares what it can with ``value`` and ``outputs``.

    ``max_bytes``: of all that is filled in, for a short input may name a large output often.

    Raises:
        Unbound: outputs don't hold what is taken from them, or it is too much.
    """
    taken = {name: outputs[name] for name in references(value) if name in outputs}
    return filled(value, taken, max_bytes=max_bytes) if taken else value


def filled(value: Any, held: Mapping[str, Any], *, max_bytes: int) -> Any:
    """Return ``value`` with what it takes from ``held``, by the names there, as `bound` does.

    Raises:
        Unbound: as `bound` does.
    """
    # All of it before anything is built, which may be a thousand times as large.
    if faults := tuple(islice(_faults(value, held, max_bytes), MAX_FAULTS)):
        raise Unbound(faults)
    return _filled(value, held)


class Placeholder(NamedTuple):
    """Something in double braces, in a text."""

    pointer: str
    """Where the text stands."""
    inside: str
    """What stands in the braces."""
    is_all: bool
    """Whether the text is this and nothing else."""


def placeholders(value: Any) -> Iterator[Placeholder]:
    """Yield whatever stands in double braces in the texts of ``value``."""
    for at, text in _texts(value):
        parts = _split(text)
        for inside in parts[1::2]:
            yield Placeholder(_pointer(at), inside, _is_whole(parts))


def _texts(value: Any) -> Iterator[tuple[tuple[object, ...], str]]:
    """Yield each text that may hold bindings, after the keys and indexes that lead to it."""
    waiting: list[tuple[tuple[object, ...], Any]] = [((), value)]
    while waiting:
        at, each = waiting.pop()
        if isinstance(each, str):
            if _OPENING in each:
                yield at, each
        elif isinstance(each, (dict, list, tuple)):
            members = [((*at, part), member) for part, member in _members(each)]
            waiting.extend(reversed(members))


def _members(value: Any) -> Iterable[tuple[object, Any]]:
    if isinstance(value, dict):
        return cast("dict[object, Any]", value).items()
    return enumerate(cast("list[Any]", value))


def _split(text: str) -> list[str]:
    """Take a text apart: what stands in double braces is at the odd indexes.

    A ``}}`` closes the last ``{{`` since the ``}}`` before it. A regular expression could say so,
    but needs a hundred bytes of memory for each single brace that it has to step over.
    """
    parts: list[str] = []
    kept = seen = 0
    while (closing := text.find(_CLOSING, seen)) >= 0:
        opening = text.rfind(_OPENING, seen, closing)
        seen = closing + len(_CLOSING)
        if opening >= 0:
            parts += text[kept:opening], text[opening + len(_OPENING) : closing]
            kept = seen
    return [*parts, text[kept:]]


def _name(inside: str) -> str:
    return inside.partition(".")[0]


def _faults(value: Any, outputs: Mapping[str, Any], max_bytes: int) -> Iterator[Fault]:
    left = max_bytes
    for at, text in _texts(value):
        parts = _split(text)
        for inside in parts[1::2]:
            if _name(inside) not in outputs:
                continue
            try:
                held = _held(inside, outputs)
            except LookupError as error:
                yield Fault(_pointer(at), str(error))
                continue
            if left >= 0:
                left -= len(to_json(held) if _is_whole(parts) else _as_text(held).encode())
                if left < 0:
                    yield Fault(_pointer(at), _too_much(inside, max_bytes))


def _pointer(at: tuple[object, ...]) -> str:
    return "".join(f"/{pointer_part(part)}" for part in at)


def _is_whole(parts: list[str]) -> bool:
    return parts[::2] == ["", ""]


def _held(inside: str, outputs: Mapping[str, Any]) -> Any:
    name, *path = inside.split(".")
    held = outputs[name]
    for index, part in enumerate(path):
        try:
            held = _member(held, part)
        except LookupError:
            raise LookupError(_not_there(inside, index, held)) from None
    return held


def _member(held: Any, part: str) -> Any:
    if isinstance(held, dict):
        return cast("dict[str, Any]", held)[part]
    if isinstance(held, (list, tuple)) and _INDEX.fullmatch(part):
        return cast("list[Any]", held)[int(part)]
    raise LookupError(part)


def _as_text(held: Any) -> str:
    return held if isinstance(held, str) else to_json(held).decode()


def _filled(value: Any, outputs: Mapping[str, Any]) -> Any:
    if isinstance(value, str):
        return _filled_text(value, outputs) if _OPENING in value else value
    if isinstance(value, dict):
        members = cast("dict[object, Any]", value)
        return {key: _filled(member, outputs) for key, member in members.items()}
    if isinstance(value, (list, tuple)):
        return [_filled(member, outputs) for member in cast("list[Any]", value)]
    return value


def _filled_text(text: str, outputs: Mapping[str, Any]) -> Any:
    parts = _split(text)
    if _is_whole(parts) and _name(parts[1]) in outputs:
        return _held(parts[1], outputs)
    parts[1::2] = [
        _as_text(_held(inside, outputs)) if _name(inside) in outputs else _braced(inside)
        for inside in parts[1::2]
    ]
    return "".join(parts)


def _braced(inside: str) -> str:
    return f"{_OPENING}{inside}{_CLOSING}"


def _too_much(inside: str, max_bytes: int) -> str:
    return f"{_braced(shortened(inside))}: with it more than {max_bytes} bytes are filled in"


def _not_there(inside: str, index: int, held: Any) -> str:
    name, *path = inside.split(".")
    place = PARAMS if name == PARAMS else f"the output of {shortened(name)!r}"
    if index > 0:
        place = f"{shortened('.'.join(path[:index]))!r} in {place}"
    missing = shortened(path[index])
    return f"{_braced(shortened(inside))}: {place} has no {missing!r}; {_what_is_there(held)}"


def _what_is_there(held: Any) -> str:
    if isinstance(held, dict):
        return _keys_there(cast("dict[str, Any]", held))
    if isinstance(held, (list, tuple)):
        count = len(cast("list[Any]", held))
        return f"it is a list with the indexes 0 to {count - 1}" if count else "it is an empty list"
    if isinstance(held, str):
        return "it is a text"
    if isinstance(held, bool) or held is None:
        return f"it is {to_json(held).decode()}"
    return "it is a number"


def _keys_there(held: dict[str, Any]) -> str:
    if not held:
        return "it is an empty object"
    keys = ", ".join(shortened(key) for key in islice(held, _KEYS_SHOWN))
    more = f" and {len(held) - _KEYS_SHOWN} more" if len(held) > _KEYS_SHOWN else ""
    return f"it has: {keys}{more}"
