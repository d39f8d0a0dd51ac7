"""Durations as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from planstore.models.fields import plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping

_UNITS: Final[Mapping[str, float]] = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}

_SPELT: Final = re.compile(
    r"\s*(?:(?P<d>\d+(?:\.\d+)?)\s*d(?:ays?)?)?"
    r"\s*(?:(?P<h>\d+(?:\.\d+)?)\s*h(?:ours?|rs?)?)?"
    r"\s*(?:(?P<m>\d+(?:\.\d+)?)\s*m(?:in(?:ute)?s?)?)?"
    r"\s*(?:(?P<s>\d+(?:\.\d+)?)\s*s(?:ec(?:ond)?s?)?)?\s*",
    re.ASCII | re.IGNORECASE,
)
_ISO: Final = re.compile(
    r"P(?:(?P<d>\d+(?:\.\d+)?)D)?(?:T(?:(?P<h>\d+(?:\.\d+)?)H)?"
    r"(?:(?P<m>\d+(?:\.\d+)?)M)?(?:(?P<s>\d+(?:\.\d+)?)S)?)?",
    re.ASCII,
)


def seconds_in(text: str) -> float | None:
    """Return the seconds in ``5m``, ``1h30m``, ``2 hours``, ``90`` or ``PT5M`` (ISO 8601).

    None where it is no duration.
    """
    if re.fullmatch(r"\d+(?:\.\d+)?", text.strip(), re.ASCII):
        return float(text)
    for form in (_SPELT, _ISO):
        match = form.fullmatch(text)
        if match and any(match.groups()):
            counts = match.groupdict(default="0")
            return sum(_UNITS[unit] * float(count) for unit, count in counts.items())
    return None


def _as_text(value: Any) -> Any:
    is_number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return f"{value}s" if is_number else cast("Any", value)


def _readable(value: str) -> str:
    if seconds_in(plain_text(value)) is None:
        raise PydanticCustomError(
            "duration", "it must be a duration such as 90s, 5m, 1h30m or PT5M"
        )
    return value


Duration = Annotated[
    str,
    BeforeValidator(_as_text, json_schema_input_type=str | float),
    Field(max_length=100),
    AfterValidator(_readable),
]
"""A duration, kept as it was written; a number means seconds."""
