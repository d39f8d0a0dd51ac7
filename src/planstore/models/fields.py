"""The kinds of values that fields of plans and tasks hold, with what is refused in them."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from datetime import MAXYEAR, MINYEAR, UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Annotated, Any, Final, cast
from uuid import UUID

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    StringConstraints,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
)
from pydantic_core import PydanticCustomError, PydanticSerializationError, to_json

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_ORDER: Final = 1_000_000_000
"""The highest ``sequence_order`` a client may give: room is left below PostgreSQL's integer."""

MAX_FAULTS: Final = 1_000
"""How many faults of one input are named: a small body may have millions."""

NO_VERSION: Final = 0
"""A version that no object has: versions begin at 1."""

SHOWN: Final = 60
"""How many characters of an input are shown in an error."""

NUL: Final = "\x00"

MAX_DIGITS: Final = 4_300
"""Of a whole number: a longer one can be written as JSON, but not be read again."""

_TOO_LONG: Final = 10**MAX_DIGITS  # once: it takes longer to compute than all else about a number
_STRING: Final = re.compile(rb'"(?:[^"\\]|\\.)*"')
_BRACKETS: Final = bytes.maketrans(b"{}", b"[]")
_ALL_ELSE: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")

_LONG_NUMBER: Final = re.compile(rb"\d{%d}" % (MAX_DIGITS + 1))


@dataclass(frozen=True, slots=True)
class Limits:
    """How large an input may be. Validation takes them from its context, else the defaults."""

    steps: int = 10_000
    """Steps of one plan."""
    description: int = 100_000
    """Characters of a description."""
    json_depth: int = 64
    """How deep objects and lists may be nested in a free JSON field, itself included."""


DEFAULT_LIMITS: Final = Limits()


def limits_of(info: ValidationInfo) -> Limits:
    """Return the limits that a validation runs under."""
    context = cast("object", info.context)
    return context if isinstance(context, Limits) else DEFAULT_LIMITS


class Record(BaseModel):
    """What plans, tasks and events have in common: frozen, and no unknown field."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)


def plain_text(value: str) -> str:
    """Refuse what PostgreSQL can't keep as text: NUL characters and lone surrogates."""
    if NUL in value:
        raise PydanticCustomError("nul", "a text can't hold the character U+0000")
    try:
        value.encode()
    except UnicodeEncodeError:
        raise PydanticCustomError("surrogate", "a text can't hold a lone surrogate") from None
    return value


_BLANKS: Final = " \t\n\r\f\v"
"""What is blank; languages agree on no more than that."""


def _not_blank(value: str) -> str:
    if not value.strip(_BLANKS):
        raise PydanticCustomError("blank", "it can't be empty")
    return plain_text(value)


def _short_enough(value: str, info: ValidationInfo) -> str:
    limit = limits_of(info).description
    if len(value) > limit:
        raise PydanticCustomError(
            "too_long",
            "it has {length} characters; at most {limit} are allowed",
            {"length": len(value), "limit": limit},
        )
    return value


def _apart(labels: list[str]) -> list[str]:
    if len(set(labels)) < len(labels):
        twice = next(label for label in labels if labels.count(label) > 1)
        raise PydanticCustomError(
            "not_apart", "it names the label {label} twice", {"label": shown(twice)}
        )
    return labels


_SHORTEST_UUID: Final = 32
"""Characters of a UUID without its hyphens."""


def _no_uuid(value: str) -> str:
    if len(value) < _SHORTEST_UUID:
        return value  # to try takes longer than all else about a task
    try:
        UUID(value)
    except ValueError:
        return value
    raise PydanticCustomError("reads_as_uuid", "a name can't read as a UUID: ids do")


def _to_utc(value: datetime) -> datetime:
    if value.tzinfo is None:
        value = value.replace(tzinfo=UTC)
    # The first and the last year are left out: a shift to UTC may leave the calendar, and the
    # driver reads its extremes as infinity.
    if not MINYEAR < value.year < MAXYEAR:
        raise PydanticCustomError("out_of_range", "a time lies in the years 2 to 9998")
    return value.astimezone(UTC)


_PLUS_AS_BLANK: Final = re.compile(r"(:\d\d(?:\.\d+)?) (\d\d:?\d\d)$")


_DATED: Final = re.compile(r"\d{4}-")
_TIME: Final = TypeAdapter(datetime)


def _with_plus(value: Any) -> Any:
    if not isinstance(value, str):
        return value
    text = _PLUS_AS_BLANK.sub(r"\1+\2", value)
    if not _DATED.match(text):  # a number would be read as seconds since 1970
        raise PydanticCustomError("not_a_time", "input should be a valid datetime")
    try:
        return _TIME.validate_python(text)  # a strict body takes no text that a function gives it
    except ValidationError:
        return text


def _whole(value: Any) -> Any:
    return int(value) if isinstance(value, float) and value.is_integer() else value


def free_json(value: Any, info: ValidationInfo) -> Any:
    """Refuse what isn't JSON, what PostgreSQL can't keep, and what is nested too deep."""
    depth = limits_of(info).json_depth
    try:
        text = to_json(value)
    except PydanticSerializationError as error:
        raise PydanticCustomError("not_json", "it isn't JSON: {why}", {"why": str(error)}) from None
    # Looking at the text first keeps the walk, which is slow, for inputs that may need it.
    is_suspicious = (
        _is_deeper(text, depth)
        or b"\\u0000" in text
        or b"NaN" in text
        or b"Infinity" in text
        or _LONG_NUMBER.search(text) is not None
    )
    if is_suspicious and (faults := list(islice(json_faults(value, depth), MAX_FAULTS))):
        raise PydanticCustomError(
            "not_kept",
            "it can't be kept: {why}",
            {"why": "; ".join(f"{why} at {at or '/'}" for at, why in faults), "faults": faults},
        )
    return value


def _is_deeper(text: bytes, depth: int) -> bool:
    """Whether objects and lists are nested deeper than ``depth`` in a JSON text.

    With all but the brackets gone, each pass takes the innermost pairs away.
    """
    if text.count(b"{") + text.count(b"[") <= depth:
        return False
    brackets = _STRING.sub(b"", text).translate(_BRACKETS, _ALL_ELSE)
    for _ in range(depth):
        brackets = brackets.replace(b"[]", b"")
        if not brackets:
            return False
    return True


def json_faults(value: Any, depth: int, at: str = "") -> Iterator[tuple[str, str]]:
    """Yield what can't be kept in free JSON: the JSON pointer of each, and why.

    ``depth``: how deep objects and lists may be nested, ``value`` itself included.
    """
    if isinstance(value, str):
        if NUL in value:
            yield at, "a text can't hold the character U+0000"
    elif isinstance(value, float):
        if not math.isfinite(value):
            yield at, "a number must be finite"
    elif isinstance(value, int):
        if abs(value) >= _TOO_LONG:
            yield at, f"a whole number has at most {MAX_DIGITS} digits"
    elif isinstance(value, (dict, list, tuple)):
        if depth == 0:
            yield at, "it is nested too deep"
            return
        yield from _faults_within(value, depth - 1, at)


def _faults_within(value: Any, depth: int, at: str) -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        members = cast("dict[object, Any]", value)
        for key, member in members.items():
            if NUL in str(key):
                yield at, "a key can't hold the character U+0000"
            yield from json_faults(member, depth, f"{at}/{pointer_part(key)}")
    else:
        for index, member in enumerate(value):
            yield from json_faults(member, depth, f"{at}/{index}")


def pointer_part(part: object) -> str:
    """Escape one part of a JSON pointer (RFC 6901, section 3).

    A long one is shortened: a thousand faults may lie below one name of a megabyte.
    """
    return shortened(str(part).replace("~", "~0").replace("/", "~1"))


def shortened(text: str) -> str:
    """Return as much of ``text`` as is worth showing."""
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}…"


def shown(value: Any) -> str:
    """Return a value as it is shown in an error."""
    match value:
        case dict():
            return "an object"
        case list():
            return "a list"
        case None:
            return "null"
        case bool():
            return str(value).lower()
        case _:
            return shortened(ascii(value))


def _few_enough(value: Any, info: ValidationInfo) -> Any:
    # Before the steps are looked at, for each may have a fault.
    limit = limits_of(info).steps
    if isinstance(value, list) and (count := len(cast("list[Any]", value))) > limit:
        raise PydanticCustomError(
            "too_many",
            "there are {count} steps; at most {limit} are allowed",
            {"count": count, "limit": limit},
        )
    return cast("Any", value)


def unshown(text: str, pattern: str, why: str) -> str:
    """Refuse a text that doesn't match ``pattern``, and don't show it: it may hold a secret."""
    if not re.fullmatch(pattern, text, re.ASCII):
        raise PydanticCustomError("not_kept", "{why}", {"why": why, "faults": [("", why)]})
    return text


def _text_or_object(value: Any) -> Any:
    if not isinstance(value, (str, dict)):
        raise PydanticCustomError("text_or_object", "it must be a text or an object")
    return cast("Any", value)


_DOCUMENTED: Final = Field(json_schema_extra={"pattern": f"[^{_BLANKS}]"})
"""What `_not_blank` asks for, in the words of JSON Schema."""

Text = Annotated[str, AfterValidator(_not_blank), _DOCUMENTED]
ShortText = Annotated[
    str, StringConstraints(max_length=200), AfterValidator(_not_blank), _DOCUMENTED
]
Description = Annotated[Text, AfterValidator(_short_enough)]
Name = Annotated[ShortText, AfterValidator(_no_uuid)]
Timestamp = Annotated[datetime, AfterValidator(_to_utc)]
Moment = Annotated[Timestamp, BeforeValidator(_with_plus)]
"""A time in a query, where the ``+`` of a zone is read as a blank unless it is escaped."""

MAX_LABELS: Final = 50
"""Labels of one plan or task."""

Label = Annotated[str, StringConstraints(max_length=100), AfterValidator(_not_blank), _DOCUMENTED]
Labels = Annotated[
    list[Label],
    Field(max_length=MAX_LABELS, json_schema_extra={"uniqueItems": True}),
    AfterValidator(_apart),
]
"""They stay in the order in which they are given."""

WHOLE: Final = BeforeValidator(_whole)
"""In JSON 2.0 is an integer, and some languages write it so."""

Order = Annotated[int, Field(ge=0, le=MAX_ORDER), WHOLE]
JsonObject = Annotated[dict[str, Any], AfterValidator(free_json)]
Steps = Annotated[list[dict[str, Any]], BeforeValidator(_few_enough), AfterValidator(free_json)]
ErrorReport = Annotated[
    str | dict[str, Any], BeforeValidator(_text_or_object), AfterValidator(free_json)
]
