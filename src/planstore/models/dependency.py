"""Dependencies: that one task needs another of the same plan."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import BeforeValidator, Field

from planstore.models.fields import Record, ShortText


class Condition(StrEnum):
    """What of the task that is needed lets the other one start."""

    SUCCESS = "success"
    """It is completed, or skipped by hand."""
    ENDED = "ended"
    """It has ended, in whatever way."""
    FAILURE = "failure"
    """It has failed."""


class DependencyType(StrEnum):
    """Whether more than the order of the two is meant."""

    BLOCKING = "blocking"
    """The order alone."""
    DATA = "data"
    """The output of the one is input of the other."""


def _as_text(value: Any) -> Any:
    return str(value) if isinstance(value, UUID) else value


def _spelt_out(value: Any) -> Any:
    return {"task": value} if isinstance(value, (str, UUID)) else value


TaskReference = Annotated[ShortText, BeforeValidator(_as_text, json_schema_input_type=ShortText)]
"""The id or the name of a task of the same plan."""


class DependencyDraft(Record):
    """One entry of `depends_on`: a task's id or name, alone or with what is asked of it."""

    task: TaskReference
    """The id or the name of a task of the same plan."""
    when: Condition = Condition.SUCCESS
    """`success`: it is completed, or skipped by hand. `ended`: it has ended in whatever way.
    `failure`: it has failed."""
    type: DependencyType = DependencyType.BLOCKING
    """`blocking`: the order alone is meant. `data`: its output is input."""


DependsOn = Annotated[
    DependencyDraft,
    BeforeValidator(_spelt_out, json_schema_input_type=ShortText | DependencyDraft),
]
"""A dependency as clients write it: a text, or an object."""

MAX_DEPENDENCIES: Final = 10_000
"""How many tasks one task may need."""

Dependencies = Annotated[list[DependsOn], Field(max_length=MAX_DEPENDENCIES)]


class DependenciesUpdate(Record):
    """What a task is to need, to need as well, or no longer to need."""

    depends_on: Dependencies = Field(default_factory=list[DependsOn])
    """Ids or names of tasks of the same plan, or `{"task", "when", "type"}`."""
