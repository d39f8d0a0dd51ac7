"""What carrying tasks out takes: tokens, money, and whatever else a client counts."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self, cast
from uuid import UUID

from pydantic import (
    ConfigDict,
    Field,
    FiniteFloat,
    ModelWrapValidatorHandler,
    WithJsonSchema,
    model_validator,
)
from pydantic_core import PydanticCustomError

from planstore.models.fields import WHOLE, Record, plain_text

MAX_TOKENS: Final = 10**15
"""Of one report, and of a budget."""

MAX_AMOUNT: Final = 10**12
"""The most of anything else that one report tells of."""

MAX_MEMBERS: Final = 20
"""How many numbers a report may have."""

MAX_NAME: Final = 100
"""Characters of the name of one."""

Tokens = Annotated[int, Field(ge=0, le=MAX_TOKENS), WHOLE]
Amount = Annotated[FiniteFloat, Field(ge=0, le=MAX_AMOUNT)]
Count = Annotated[
    int | FiniteFloat,
    Field(ge=0, le=MAX_AMOUNT),
    WithJsonSchema({"type": "number", "minimum": 0, "maximum": MAX_AMOUNT}),
]


class UsageReport(Record):
    """What a run has taken since its last report.

    Any other member is a counter of the client's own: a number of 0 or more.
    """

    model_config = ConfigDict(
        extra="allow",
        json_schema_extra={
            "maxProperties": MAX_MEMBERS,
            "propertyNames": {"minLength": 1, "maxLength": MAX_NAME},
        },
    )
    # pydantic has the kind of all other members told so.
    __pydantic_extra__: dict[str, Count] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    input_tokens: Tokens = 0
    """Tokens that a model was given."""
    output_tokens: Tokens = 0
    """Tokens that a model produced."""
    cost_usd: Amount = 0.0
    """What it cost, in US dollars; of a dollar's millionth millionths are kept."""

    @model_validator(mode="after")
    def _named(self) -> Self:
        if len(self.model_fields_set) > MAX_MEMBERS:
            raise PydanticCustomError(
                "too_many",
                "there are {count} numbers; at most {limit} are allowed",
                {"count": len(self.model_fields_set), "limit": MAX_MEMBERS},
            )
        for name in self.__pydantic_extra__:
            plain_text(name)
            if not 0 < len(name) <= MAX_NAME:
                raise PydanticCustomError(
                    "counter_name",
                    "a counter's name has 1 to {limit} characters",
                    {"limit": MAX_NAME},
                )
        return self

    @property
    def named(self) -> dict[str, Any]:
        """What it tells of, by name."""
        return self.model_dump(exclude_unset=True)


class Usage(Record):
    """The sum of what was reported: of a task, of a plan, or of many.

    Any other member is the sum of a counter of the client's own.
    """

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, int | float] = Field(init=False)  # pyright: ignore[reportIncompatibleVariableOverride]

    input_tokens: int = 0
    """Tokens that models were given."""
    output_tokens: int = 0
    """Tokens that models produced."""
    cost_usd: float = 0.0
    """What it cost, in US dollars: added up as decimals, and never rounded by that."""

    @model_validator(mode="wrap")
    @classmethod
    def _keeps_counters(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        """Keep the client's own counters where a reader passes over what it doesn't know."""
        usage = handler(given)
        if usage.model_extra is not None or not isinstance(given, dict):
            return usage
        members = cast("dict[str, Any]", given).items()
        counters = {name: value for name, value in members if name not in cls.model_fields}
        return usage.model_copy(update=counters)


class UsageSum(Record):
    """What all that is alike has used together."""

    plan_id: UUID | None
    """The plan; null where they aren't told apart."""
    agent_id: UUID | None
    """The agent; null where they aren't told apart, or of tasks that were for nobody."""
    task_type: str | None
    """The type; null where they aren't told apart, or of tasks without one."""
    usage: Usage
