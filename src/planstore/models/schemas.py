"""The JSON Schemas of what PlanStore tells and takes, by name."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Final

from planstore.models.event import Event
from planstore.models.fields import Record
from planstore.models.intake import AnsweredPlan, Imported, PortedFile
from planstore.models.payload import PAYLOADS
from planstore.models.plan import Plan, PlanCreate
from planstore.models.task import Task, TaskCreate

if TYPE_CHECKING:
    from pydantic import BaseModel

DIALECT: Final = "https://json-schema.org/draft/2020-12/schema"
"""Which JSON Schema it is."""

SCHEMAS: Final[dict[str, type[BaseModel]]] = {
    "plan": AnsweredPlan,
    "planstore": PortedFile,
    "imported": Imported,
    "plan-object": Plan,
    "plan-create": PlanCreate,
    "task-object": Task,
    "task-create": TaskCreate,
    "event": Event,
    **PAYLOADS,
}
"""By the name of its schema, each model that has one: `plan` is what a language model is to answer,
`planstore` what an export is; then events, and their payloads by their types."""


class SchemaEntry(Record):
    """One schema, in brief."""

    name: str
    """Such as `task.completed`, for the payload of events of that type."""
    url: str
    """Where it is to be had; its `$id`."""
    description: str
    """What it describes."""


@cache
def schema_of(name: str) -> dict[str, Any]:
    """Return the JSON Schema of that name, without an ``$id``: it depends on who asks.

    Raises:
        KeyError: there is none.
    """
    return {"$schema": DIALECT, **SCHEMAS[name].model_json_schema(), "title": name}
