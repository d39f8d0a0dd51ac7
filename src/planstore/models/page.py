"""Pages of a list, and the opaque cursors that lead from one to the next."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Final, TypeVar
from uuid import UUID

from pydantic import Field, TypeAdapter, ValidationError

from planstore.errors import Fault, InvalidInput
from planstore.models.fields import Timestamp

T = TypeVar("T")

_MAX_INTEGER: Final = 2**31 - 1
"""PostgreSQL's; a place that is forged must not get as far as the driver."""


class Page(list[T]):
    """A list that knows where the next one begins."""

    next_cursor: str | None = None
    """What to ask for the page after this one with; None on the last page."""


PlaceInPlan = tuple[Annotated[int, Field(ge=0, le=_MAX_INTEGER)], Timestamp, UUID]
"""Where a task stands among those of its plan: ``sequence_order``, ``created_at``, ``id``."""

PlaceInTime = tuple[Timestamp, UUID]
"""Where a task stands among all: ``created_at``, ``id``."""

PLACE_IN_PLAN = TypeAdapter[PlaceInPlan](PlaceInPlan)
PLACE_IN_TIME = TypeAdapter[PlaceInTime](PlaceInTime)


def encode_cursor(place: PlaceInPlan | PlaceInTime) -> str:
    """Return the cursor for what comes after ``place``."""
    text = json.dumps(place, default=str, separators=(",", ":"))
    return urlsafe_b64encode(text.encode()).decode().rstrip("=")


def decode_cursor(cursor: str, kind: TypeAdapter[T]) -> T:
    """Return the place that a cursor stands for.

    Raises:
        InvalidInput: it isn't a cursor of this list.
    """
    try:
        text = urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4))
        return kind.validate_json(text)
    except (ValueError, ValidationError):
        fault = Fault("?cursor", "it isn't a cursor of this list: use one from a Link header")
        raise InvalidInput("The cursor can't be used for this list.", faults=(fault,)) from None
