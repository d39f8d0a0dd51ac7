"""How what came of a task was judged."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

from pydantic import Field, FiniteFloat

from planstore.models.fields import Description, JsonObject, Record, ShortText

Score = Annotated[FiniteFloat, Field(ge=0, le=1)]


class EvaluationCreate(Record):
    """How what came of a task is judged."""

    evaluation_type: ShortText
    """What is judged, such as `quality`; 1 to 200 characters. Scores of one type are comparable."""
    score: Score
    """From 0, useless, to 1."""
    metrics: JsonObject = Field(default_factory=dict[str, Any])
    """What the score is made of: an object of numbers, or of any structure."""
    feedback: Description | None = None
    """What is to be said about it, for people and agents."""
    agent_id: UUID | None = None
    """Who judged."""


class Evaluation(Record):
    """How what came of a task was judged."""

    id: UUID
    task_id: UUID
    plan_id: UUID
    evaluation_type: str
    """What was judged."""
    score: float
    """From 0 to 1."""
    metrics: dict[str, Any]
    """What the score is made of."""
    feedback: str | None
    agent_id: UUID | None
    """Who judged."""
    attempt: int
    """By which run the task had ended that was judged; 0 where it ended without one."""
    created_at: datetime
