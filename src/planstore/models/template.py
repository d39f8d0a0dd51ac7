"""Templates: plans to be made again and again, with parameters; named, and versioned."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Any, Final, Literal
from uuid import UUID

from pydantic import MISSING, Field, StringConstraints

from planstore.models.fields import Description, JsonObject, Labels, Record
from planstore.models.plan import PlanStatus
from planstore.models.revision import RevisionNumber

TEMPLATE_NAME: Final = "^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"
"""What a template may be called: it is a part of a path."""

TemplateName = Annotated[str, StringConstraints(pattern=TEMPLATE_NAME)]


class TemplateCreate(Record):
    """A template to be made, at version 1."""

    name: TemplateName
    """What it is called: 1 to 100 letters, digits, `.`, `_` and `-`, first a letter or digit."""
    description: Description | None = None
    """What it is for."""
    parameters: JsonObject = Field(default_factory=dict[str, Any])
    """What may be given for it: a JSON Schema (2020-12) of an object, with defaults."""
    plan: JsonObject
    """A plan as `POST /plans/` takes it, with its tasks; any text may hold `{{params.name}}`."""


class TemplateVersionCreate(Record):
    """A new version of a template: what is left out is as in the version before."""

    description: Description | MISSING | None = MISSING
    """What it is for."""
    parameters: JsonObject | MISSING = MISSING
    """What may be given for it: a JSON Schema (2020-12) of an object, with defaults."""
    plan: JsonObject | MISSING = MISSING
    """A plan as `POST /plans/` takes it, with its tasks; any text may hold `{{params.name}}`."""


class SaveAsTemplate(Record):
    """What the structure of a plan is to be kept as."""

    name: TemplateName
    """What the template is called: 1 to 100 letters, digits, `.`, `_` and `-`."""
    description: Description | None = None
    """What it is for."""


class Instantiation(Record):
    """What a plan is to be made of a template with."""

    params: JsonObject = Field(default_factory=dict[str, Any])
    """What fits the `parameters` of the template; defaults are filled in."""
    version: RevisionNumber | None = None
    """The version of the template; the latest one if left out."""
    id: UUID | None = None
    """An id of the client's own for the plan; a UUIDv7 is made if left out."""
    goal_id: UUID | None = None
    """The goal that the plan serves; as the template says if left out, as are those below."""
    agent_id: UUID | None = None
    """The agent that is to carry it out."""
    status: Literal[PlanStatus.DRAFT, PlanStatus.ACTIVE] | None = None
    """`draft`, or `active` to start at once."""
    metadata: JsonObject | None = None
    """Free JSON, in the place of what the template has."""
    labels: Labels | None = None
    """What to file the plan under, in the place of what the template has."""

    def of_plan(self) -> dict[str, Any]:
        """Return the fields of the plan that are given here."""
        names = ("goal_id", "agent_id", "status", "metadata", "labels")
        return {name: value for name in names if (value := getattr(self, name)) is not None}


class SlowestTask(Record):
    """The task of a template that took the longest."""

    task: str
    """Its name; its description, or the beginning of that, where it has none."""
    duration_p50_seconds: float
    """How long its runs took, in the middle."""
    runs: int
    """How many of them."""


class TemplateRecord(Record):
    """What became of the plans that were made of a version: of the newest, 1,000 at most."""

    runs: int
    """How many plans were looked at."""
    is_whole: bool
    """Whether these are all that were made of it and are still there."""
    completed: int
    """How many of them have completed."""
    failed: int
    """How many of them have failed."""
    cancelled: int
    """How many of them were cancelled."""
    success_rate: float | None
    """The share of the completed among those that have ended; null where none has."""
    duration_p50_seconds: float | None
    """From the first start of a task to the last end, in the middle of the completed plans."""
    duration_p95_seconds: float | None
    """The same, for the slowest in twenty."""
    retries: int
    """How often their tasks were tried again."""
    slowest_task: SlowestTask | None
    """The task that took the longest, in the middle; null where none has completed."""


class TemplateSummary(Record):
    """A version of a template, without its plan."""

    name: str
    version: int
    """1 at first; the number of this version. That of the latest is the ETag."""
    description: str | None
    """What it is for."""
    parameters: dict[str, Any]
    """What may be given for it: a JSON Schema of an object."""
    created_at: datetime
    """When this version was made."""
    archived_at: datetime | None
    """Since when no plan can be made of the template; null where one can."""


class Template(TemplateSummary):
    """A version of a template, with its plan and its record."""

    plan: dict[str, Any]
    """What plans are made of."""
    record: TemplateRecord
    """What became of those that were made of this version."""
