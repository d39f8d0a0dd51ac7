"""Finding plans and tasks: the statements behind lists and bulk actions."""

from planstore.sql.finding.composing import Order, asked_of
from planstore.sql.finding.of_plans import plan_ids, plans
from planstore.sql.finding.of_tasks import task_ids, tasks

__all__ = ["Order", "asked_of", "plan_ids", "plans", "task_ids", "tasks"]
