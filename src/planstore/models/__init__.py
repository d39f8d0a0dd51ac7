"""The nouns: what plans and tasks are, without any input or output."""

from planstore.models.plan import Plan, PlanCreate, PlanStatus, PlanUpdate
from planstore.models.task import Task, TaskBatch, TaskCreate, TaskDraft, TaskStatus, TaskUpdate

__all__ = [
    "Plan",
    "PlanCreate",
    "PlanStatus",
    "PlanUpdate",
    "Task",
    "TaskBatch",
    "TaskCreate",
    "TaskDraft",
    "TaskStatus",
    "TaskUpdate",
]
