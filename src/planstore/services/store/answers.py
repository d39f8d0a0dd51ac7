"""What the methods of `PlanStore` answer, made of rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planstore.models.plan import Plan
from planstore.models.task import Task

if TYPE_CHECKING:
    from planstore.sql.connection import Row


def plan_of(row: Row) -> Plan:
    return Plan.model_validate({name: row[name] for name in Plan.model_fields})


def task_of(row: Row | dict[str, Any]) -> Task:
    return Task.model_validate({name: row[name] for name in Task.model_fields})


def nothing(_kept: object) -> None:
    """What a deletion answers."""
