"""Budgets: what a plan may take before it is paused."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

from pydantic import Field, FiniteFloat

from planstore.models.fields import WHOLE, Record, Timestamp
from planstore.models.usage import MAX_AMOUNT, MAX_TOKENS


class PauseReason(StrEnum):
    """What of its budget a plan has reached that is paused for it."""

    MAX_COST = "max_cost_usd"
    """Its tasks have cost as much as they may."""
    MAX_TOKENS = "max_tokens"
    """Its tasks have taken as many tokens as they may."""
    MAX_ATTEMPTS = "max_attempts"
    """As many runs of its tasks have begun as may."""
    DEADLINE = "deadline"
    """The time is over."""


class Budget(Record):
    """What a plan may take: it is paused once it has reached any of these."""

    max_cost_usd: Annotated[FiniteFloat, Field(gt=0, le=MAX_AMOUNT)] | None = None
    """US dollars, by what is reported as `cost_usd`."""
    max_tokens: Annotated[int, Field(ge=1, le=MAX_TOKENS), WHOLE] | None = None
    """`input_tokens` and `output_tokens` together, by what is reported."""
    max_attempts: Annotated[int, Field(ge=1, le=1_000_000_000), WHOLE] | None = None
    """How many runs of its tasks may begin, retries included."""
    deadline: Timestamp | None = None
    """Until when it may hand out tasks."""
