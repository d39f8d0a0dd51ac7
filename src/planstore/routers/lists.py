"""The queries of lists: which items, in which order, and which part of them."""

from __future__ import annotations

from typing import Annotated, Final

from pydantic import Field, WithJsonSchema

from planstore.models.fields import Moment, Record
from planstore.models.page import DEFAULT_LIMIT
from planstore.models.query import (
    Parts,
    PlanFilter,
    PlanSort,
    TaskFilter,
    TaskSort,
    UsageFilter,
    UsageGroup,
)

_JSON: Final = {"type": "string", "contentMediaType": "application/json"}

PartsInQuery = Annotated[Parts, WithJsonSchema({"type": "array", "items": _JSON})]

Limit = Annotated[int, Field(ge=1)]
Offset = Annotated[int, Field(ge=0)]


class Window(Record):
    """Which part of a list."""

    limit: Limit = DEFAULT_LIMIT
    """How many at most; up to 1,000 unless the server is set otherwise."""
    offset: Offset = 0
    """How many to pass over."""
    cursor: str | None = None
    """Where to go on: from the `Link` header of the page before."""


class UsageQuery(UsageFilter):
    """Which usage to add up, and how."""

    by: UsageGroup | None = None
    """What the sums are told apart by: `plan`, `agent` or `task_type`; one sum of all if left
    out."""
    limit: Limit = DEFAULT_LIMIT
    """How many sums at most; up to 1,000 unless the server is set otherwise."""
    offset: Offset = 0
    """How many to pass over."""


class PlanQuery(Window, PlanFilter):
    """Which plans to list."""

    metadata: PartsInQuery | None = None
    """Its `metadata` contain these JSON objects: objects at any depth with these members, lists
    with these items."""
    sort: PlanSort | None = None
    """What to list by; with `-` the latest come first. The newest come first if left out."""


class TaskQuery(Window, TaskFilter):
    """Which tasks to list."""

    metadata: PartsInQuery | None = None
    """Its `metadata` contain these JSON objects: objects at any depth with these members, lists
    with these items."""
    sort: TaskSort | None = None
    """What to list by; with `-` the highest or latest come first, and what has none comes last. If
    left out, the tasks of one plan come by `sequence_order`, then creation; with `ready` in the
    order in which they are handed out; else the newest first."""
    at: Moment | None = None
    """The tasks of the plan as they stood then; only with one `plan_id`, and no other filter."""
