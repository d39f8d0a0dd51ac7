"""Keeping an answer short: a model has to read all of it, and pays for it by the token."""

from __future__ import annotations

from itertools import islice
from typing import Any, Final, NamedTuple, cast

from pydantic_core import to_json

MAX_ANSWER: Final = 16_000
"""Bytes of an answer at most. A token is two bytes or more of what plans hold, so this is 8,000."""


class _Limits(NamedTuple):
    text: int
    """Characters of one text."""
    items: int
    """Items of one list, and members of one object."""


_STEPS: Final = (
    _Limits(4_000, 60),
    _Limits(1_200, 40),
    _Limits(400, 30),
    _Limits(160, 20),
    _Limits(80, 10),
    _Limits(40, 5),
)
"""Tried one after the other until the answer fits."""

_MAX_DEPTH: Final = 8


def fitted(answer: dict[str, Any], *, hint: str) -> str:
    """Return an answer as compact JSON of `MAX_ANSWER` bytes at most.

    Long texts end in how long they are, long lists in how many more there are; ``hint`` is added
    as ``cut`` then: how to see the rest.
    """
    text = _json(answer)
    if len(text) <= MAX_ANSWER:
        return text.decode()
    for limits in _STEPS:
        text = _json({**_cut_object(answer, limits, _MAX_DEPTH), "cut": hint})
        if len(text) <= MAX_ANSWER:
            return text.decode()
    return _json({"cut": f"The answer is too large to be shown. {hint}"}).decode()


def part_of(value: Any, offset: int) -> dict[str, Any]:
    """Return one value whole: a part of its JSON text, and where the next one begins."""
    text = value if isinstance(value, str) else _json(value).decode()
    end = offset
    size = 0
    while end < len(text) and size < MAX_ANSWER // 2:
        # Escaped, as it will be in the answer.
        size += len(_json(text[end : end + 100])) - 2
        end += 100
    part: dict[str, Any] = {"text": text[offset:end], "characters": len(text)}
    if end < len(text):
        part["next_offset"] = end
    return part


def _json(value: Any) -> bytes:
    return to_json(value)


def _cut(value: Any, limits: _Limits, depth: int) -> Any:
    match value:
        case str() if len(value) > limits.text:
            return f"{value[: limits.text]}… ({len(value)} characters)"
        case list() | dict() if depth == 0:
            return f"… ({len(cast('list[Any]', value))} items)"
        case list():
            return _cut_list(cast("list[Any]", value), limits, depth - 1)
        case dict():
            return _cut_object(cast("dict[str, Any]", value), limits, depth - 1)
        case _:
            return value


def _cut_list(items: list[Any], limits: _Limits, depth: int) -> list[Any]:
    kept = [_cut(each, limits, depth) for each in items[: limits.items]]
    if len(items) > limits.items:
        kept.append(f"… {len(items) - limits.items} more")
    return kept


def _cut_object(members: dict[str, Any], limits: _Limits, depth: int) -> dict[str, Any]:
    kept = {
        name[: limits.text]: _cut(each, limits, depth)
        for name, each in islice(members.items(), limits.items)
    }
    if len(members) > limits.items:
        kept["…"] = f"{len(members) - limits.items} more"
    return kept
