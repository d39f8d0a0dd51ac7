"""What is looked for: the filters of lists and of bulk actions, and the orders of lists."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal, cast
from uuid import UUID

from pydantic import AfterValidator, BeforeValidator, Field
from pydantic_core import PydanticCustomError, from_json

from planstore.models.fields import (
    JsonObject,
    Label,
    Moment,
    Record,
    ShortText,
    Text,
)
from planstore.models.plan import PlanStatus
from planstore.models.task import TaskStatus

MAX_VALUES: Final = 100
"""How many values of one field may be asked for at once."""


def _listed(value: Any) -> Any:
    return cast("Any", value) if isinstance(value, list) else [value]


def _read(value: Any) -> Any:
    """Take an object from a query as it is written there: as JSON."""
    if not isinstance(value, str):
        return value
    try:
        return from_json(value)
    except ValueError:
        raise PydanticCustomError("not_json", "it isn't a JSON object") from None


def _only_true(value: bool) -> bool:  # noqa: FBT001 - pydantic calls it
    if not value:
        raise PydanticCustomError(
            "only_true", "only true can be asked for; leave it out to find the others too"
        )
    return value


_SOME: Final = Field(min_length=1, max_length=MAX_VALUES)
_ONE_OR_MORE: Final = BeforeValidator(_listed)
"""One value stands for a list of one."""

Ids = Annotated[list[UUID], _SOME, _ONE_OR_MORE]
Texts = Annotated[list[ShortText], _SOME, _ONE_OR_MORE]
LabelsAsked = Annotated[list[Label], _SOME, _ONE_OR_MORE]
PlanStatuses = Annotated[list[PlanStatus], _SOME, _ONE_OR_MORE]
TaskStatuses = Annotated[list[TaskStatus], _SOME, _ONE_OR_MORE]
Parts = Annotated[list[Annotated[JsonObject, BeforeValidator(_read)]], _SOME, _ONE_OR_MORE]
Words = Annotated[Text, Field(max_length=1_000)]
OnlyTrue = Annotated[bool, AfterValidator(_only_true), Field(json_schema_extra={"const": True})]


class PlanFilter(Record):
    """Which plans are meant: those that fit every field that is given.

    Of several values of a field one has to fit; of `label` and `metadata` all have to.
    """

    goal_id: Ids | None = None
    """The goal that it serves."""
    agent_id: Ids | None = None
    """The agent that is to carry it out."""
    status: PlanStatuses | None = None
    """Where it stands."""
    plan_type: Texts | None = None
    """Its `plan_type`, as it is written."""
    template: Texts | None = None
    """The name of the template that it was made of."""
    label: LabelsAsked | None = None
    """It has all of these labels."""
    metadata: Parts | None = None
    """Its `metadata` contain these: objects at any depth with these members, lists with these
    items."""
    words: Words | None = None
    """All of these words occur in the values of its `steps` and `metadata`."""
    created_after: Moment | None = None
    """It was made then or later."""
    created_before: Moment | None = None
    """It was made before that."""


class TaskFilter(Record):
    """Which tasks are meant: those that fit every field that is given.

    Of several values of a field one has to fit; of `label` and `metadata` all have to.
    """

    plan_id: Ids | None = None
    """The plan that it belongs to."""
    agent_id: Ids | None = None
    """The agent that is to carry it out."""
    status: TaskStatuses | None = None
    """Where it stands."""
    task_type: Texts | None = None
    """Its `task_type`, as it is written."""
    name: Texts | None = None
    """Its name."""
    ready: OnlyTrue | None = None
    """It may be handed out now; only `true` can be asked for."""
    worker: Texts | None = None
    """Who runs it now."""
    awaits_approval: OnlyTrue | None = None
    """It waits for somebody to approve it; only `true` can be asked for."""
    label: LabelsAsked | None = None
    """It has all of these labels."""
    metadata: Parts | None = None
    """Its `metadata` contain these: objects at any depth with these members, lists with these
    items."""
    words: Words | None = None
    """All of these words occur in its name and description."""
    created_after: Moment | None = None
    """It was made then or later."""
    created_before: Moment | None = None
    """It was made before that."""


class UsageFilter(Record):
    """Whose usage is meant: what fits every field that is given.

    Of several values of a field one has to fit.
    """

    plan_id: Ids | None = None
    """The plan whose tasks it was reported for."""
    agent_id: Ids | None = None
    """The agent that the task was for, when it was reported."""
    task_type: Texts | None = None
    """The type that the task had, when it was reported."""


UsageGroup = Literal["plan", "agent", "task_type"]
"""What sums of usage are told apart by."""

PlanSort = Literal["created_at", "-created_at", "updated_at", "-updated_at"]
"""What plans may be listed by; with `-` the highest or latest come first."""

TaskSort = Literal[
    "created_at",
    "-created_at",
    "updated_at",
    "-updated_at",
    "sequence_order",
    "-sequence_order",
    "priority",
    "-priority",
    "started_at",
    "-started_at",
    "completed_at",
    "-completed_at",
]
"""What tasks may be listed by; with `-` the highest or latest come first, and what has none comes
last either way."""
