"""Durations as people write them."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError

from planstore.models.fields import plain_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

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


_TOO_LONG: Final = 1e16
"""Seconds: a number is written with an exponent from there on."""


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
    if not is_number or value >= _TOO_LONG:
        return cast("Any", value)
    return f"{value:f}s" if "e" in str(value) else f"{value}s"


def _readable(value: str) -> str:
    if seconds_in(plain_text(value)) is None:
        raise PydanticCustomError(
            "duration", "it must be a duration such as 90s, 5m, 1h30m or PT5M"
        )
    return value


def _one_or_more(parts: Sequence[str]) -> str:
    """A pattern for some of ``parts``, in their order."""
    ways = (
        part + "".join(f"(?:{_BLANK}{after})?" for after in parts[place:])
        for place, part in enumerate(parts, start=1)
    )
    return f"(?:{'|'.join(ways)})"


_BLANK: Final = r"[ \t\n\r\f\v]*"
_NUMBER: Final = r"[0-9]+(?:\.[0-9]+)?"
_NAMED: Final = tuple(
    f"{_NUMBER}{_BLANK}{unit}"
    for unit in (
        "[dD](?:[aA][yY][sS]?)?",
        "[hH](?:[oO][uU][rR][sS]?|[rR][sS]?)?",
        "[mM](?:[iI][nN](?:[uU][tT][eE])?[sS]?)?",
        "[sS](?:[eE][cC](?:[oO][nN][dD])?[sS]?)?",
    )
)
_TIME: Final = (
    "(?:"
    + "|".join(
        f"{_NUMBER}{first}" + "".join(f"(?:{_NUMBER}{after})?" for after in rest)
        for first, *rest in ("HMS", "MS", "S")
    )
    + ")"
)
_DOCUMENTED: Final = (
    f"^{_BLANK}(?:{_NUMBER}|{_one_or_more(_NAMED)}){_BLANK}$"
    f"|^P(?:{_NUMBER}D(?:T{_TIME}?)?|T{_TIME})$"
)
"""What `seconds_in` reads, in the words of JSON Schema, which knows no flags."""

Duration = Annotated[
    str,
    BeforeValidator(
        _as_text,
        json_schema_input_type=Annotated[str, Field(max_length=100, pattern=_DOCUMENTED)]
        | Annotated[float, Field(ge=0, lt=_TOO_LONG)],
    ),
    Field(max_length=100),
    AfterValidator(_readable),
]
"""A duration, kept as it was written; a number means seconds."""
