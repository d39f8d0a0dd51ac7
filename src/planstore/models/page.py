"""Pages of a list, and the opaque cursors that lead from one to the next."""

from __future__ import annotations

import json
from base64 import urlsafe_b64decode, urlsafe_b64encode
from typing import Annotated, Final, TypeVar
from uuid import UUID

from pydantic import Field, TypeAdapter, ValidationError

from planstore.errors import Fault, InvalidInput
from planstore.models.fields import Timestamp
from planstore.models.template import TEMPLATE_NAME

T = TypeVar("T")

DEFAULT_LIMIT: Final = 100
"""How many items a list has where no limit is given."""

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

PlaceAmongRevisions = tuple[Annotated[int, Field(ge=1, le=_MAX_INTEGER)]]
"""Where a revision stands among those of its plan, or a version of its template: its number."""

PlaceAmongTemplates = tuple[Annotated[str, Field(pattern=TEMPLATE_NAME)]]
"""Where a template stands among all: its name."""

PlaceInLog = tuple[Annotated[int, Field(ge=0, lt=2**63)]]
"""Where something stands that was made of an event: its ``seq``."""

SortName = Annotated[str, Field(max_length=40)]
Number = Annotated[int, Field(ge=-_MAX_INTEGER, le=_MAX_INTEGER)]

PlaceByTime = tuple[SortName, Timestamp, UUID]
"""Where something stands by a time: what it is sorted by, the time, ``id``."""

PlaceByNumber = tuple[SortName, Number, UUID]
"""Where something stands by a number: what it is sorted by, the number, ``id``."""

PlaceAmongReady = tuple[SortName, Annotated[int, Field(ge=-(2**15), lt=2**15)], Timestamp, UUID]
"""Where a task stands among those that are ready: `ready`, ``priority``, ``ready_at``, ``id``."""

Place = (
    PlaceInPlan
    | PlaceInTime
    | PlaceAmongRevisions
    | PlaceAmongTemplates
    | PlaceInLog
    | PlaceByTime
    | PlaceByNumber
    | PlaceAmongReady
)

PLACE_BY_TIME = TypeAdapter[PlaceByTime](PlaceByTime)
PLACE_BY_NUMBER = TypeAdapter[PlaceByNumber](PlaceByNumber)
PLACE_AMONG_READY = TypeAdapter[PlaceAmongReady](PlaceAmongReady)
PLACE_IN_LOG = TypeAdapter[PlaceInLog](PlaceInLog)
PLACE_IN_PLAN = TypeAdapter[PlaceInPlan](PlaceInPlan)
PLACE_IN_TIME = TypeAdapter[PlaceInTime](PlaceInTime)
PLACE_AMONG_TEMPLATES = TypeAdapter[PlaceAmongTemplates](PlaceAmongTemplates)
PLACE_AMONG_REVISIONS = TypeAdapter[PlaceAmongRevisions](PlaceAmongRevisions)


def encode_cursor(place: Place) -> str:
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
        raise of_another_list() from None


def of_another_list() -> InvalidInput:
    """The error for a cursor that this list didn't give."""
    fault = Fault(
        "?cursor",
        "it isn't a cursor of this list in this order: use one from a Link header, "
        "with the sort and the filters that it was given for",
    )
    return InvalidInput("The cursor can't be used for this list.", faults=(fault,))
