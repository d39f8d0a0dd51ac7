"""Approvals: that a person agrees to a task being carried out, or doesn't."""

from __future__ import annotations

from datetime import datetime
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from planstore.models.fields import Record, ShortText, Text

Comment = Annotated[Text, Field(max_length=10_000)]


class Decision(StrEnum):
    """What was decided about a task that awaited an approval."""

    APPROVED = "approved"
    """It may be carried out."""
    REJECTED = "rejected"
    """It may not: it has failed."""


class Approval(Record):
    """What somebody decided about a task."""

    decision: Decision
    """`approved` or `rejected`."""
    by: str | None
    """Who decided, as they said."""
    comment: str | None
    """Why, or under which conditions."""
    at: datetime
    """When, by the database's clock."""


class Review(Record):
    """Approves or rejects a task."""

    by: ShortText | None = None
    """Who decides: any text that tells people apart; 1 to 200 characters."""
    comment: Comment | None = None
    """Why, or under which conditions; up to 10,000 characters. The task's worker gets to read
    it."""
