"""Reading JSON piece by piece: what lies in long lists comes item by item, all else whole."""

from __future__ import annotations

import itertools
from decimal import Decimal
from typing import IO, TYPE_CHECKING, Any, Final, cast

import ijson

from planstore.errors import MalformedBody
from planstore.models.fields import pointer_part

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

    _Events = Iterator[tuple[str, Any]]

    from planstore.models.faults_found import Faults

Path = tuple[str | int, ...]
"""The keys and indexes that lead to a value."""

Lists = frozenset[tuple[str | None, ...]]
"""Where the long lists are, each by the keys that lead to it; None is any key."""

MAX_DEPTH: Final = 200
"""How deep values may be nested: deeper than any that is kept."""

_BOM: Final = b"\xef\xbb\xbf"


def pointer(path: Path) -> str:
    """Write a path as a JSON pointer."""
    return "".join(f"/{pointer_part(part)}" for part in path)


def members(file: IO[bytes], lists: Lists, faults: Faults) -> Iterator[tuple[Path, Any]]:
    """Yield what the JSON of ``file`` holds, with the path of each.

    Of what leads to one of the ``lists`` the members come one by one, of the lists themselves the
    items, whatever their number; everything else is one value. What is nested too deep is a fault,
    and comes as null.

    Raises:
        MalformedBody: it isn't JSON.
    """
    if file.read(len(_BOM)) != _BOM:
        file.seek(0)
    try:
        # Any: the package has no types. Numbers come as they are written, for the parser's own are
        # of 64 bits.
        events = cast("_Events", ijson.basic_parse(file, use_float=False))  # pyright: ignore[reportUnknownMemberType]
        yield from _members(events, lists, faults)
    except ijson.JSONError as error:
        raise MalformedBody(f"the file is not JSON: {_why(error)}") from None
    except (ValueError, SystemError):
        # What the parser makes of a number of more digits than Python reads.
        raise MalformedBody("the file is not JSON that can be read: a number is too long") from None


def _why(error: Exception) -> str:
    """The first line of what the parser says; it goes on to show the text around."""
    said = error.args[0] if error.args else error
    text = said.decode(errors="replace") if isinstance(said, bytes) else str(said)
    return text.strip().partition("\n")[0].strip()


def _members(events: _Events, lists: Lists, faults: Faults) -> Iterator[tuple[Path, Any]]:
    way: list[str] = []  # the keys of the objects that we are in
    key: str | None = None
    for event, value in events:
        if event == "map_key":
            key = value
            continue
        if event == "end_map":
            key = way.pop() if way else None
            continue
        path: Path = (*way, key) if key is not None else ()
        if event == "start_array" and _leads(path, lists, is_whole=True):
            yield from _items(events, path, faults)
        elif event == "start_map" and _leads(path, lists, is_whole=False):
            if key is not None:
                way.append(key)
            key = None
        else:
            yield path, _value(events, event, value, path, faults)


def _leads(path: Path, lists: Collection[tuple[str | None, ...]], *, is_whole: bool) -> bool:
    """Whether a path is that of a list (``is_whole``), or leads to one."""
    return any(
        (len(each) == len(path) if is_whole else len(each) > len(path))
        and all(part is None or part == own for part, own in zip(each, path, strict=False))
        for each in lists
    )


def _items(events: _Events, path: Path, faults: Faults) -> Iterator[tuple[Path, Any]]:
    rest = itertools.takewhile(lambda each: each[0] != "end_array", events)
    for index, (event, value) in enumerate(rest):
        at = (*path, index)
        yield at, _value(events, event, value, at, faults)


_OPENING: Final = frozenset({"start_map", "start_array"})
_CLOSING: Final = frozenset({"end_map", "end_array"})


def _value(events: _Events, event: str, value: Any, path: Path, faults: Faults) -> Any:
    """Return the value that begins with an event."""
    if event not in _OPENING:
        return _scalar(value)
    whole = _empty(event)
    open_ones = [whole]
    keys = [""]
    for following, scalar in events:
        if following == "map_key":
            keys[-1] = scalar
        elif following in _CLOSING:
            open_ones.pop()
            keys.pop()
            if not open_ones:
                break
        elif following in _OPENING and len(open_ones) == MAX_DEPTH:
            _pass_over(events)
            faults.add(pointer(path), f"it is nested deeper than {MAX_DEPTH} levels")
        else:
            is_opening = following in _OPENING
            new = _empty(following) if is_opening else _scalar(scalar)
            inner = open_ones[-1]
            if type(inner) is dict:
                inner[keys[-1]] = new
            else:
                inner.append(new)
            if is_opening:
                open_ones.append(new)
                keys.append("")
    return whole


def _empty(event: str) -> Any:
    return {} if event == "start_map" else []


def _scalar(value: Any) -> Any:
    return float(value) if type(value) is Decimal else value


def _pass_over(events: _Events) -> None:
    """Go to the end of the object or list that has just begun."""
    depth = 1
    for event, _ in events:
        if event in _OPENING:
            depth += 1
        elif event in _CLOSING:
            depth -= 1
            if not depth:
                return
