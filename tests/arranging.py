"""Plans and tasks in the state that a test begins with, made through the public door."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models import Plan, PlanCreate, PlanStatus, PlanUpdate, Task, TaskCreate, TaskUpdate
from planstore.models import TaskStatus as S

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore

ACTIVE: Final = PlanStatus.ACTIVE


async def plan_of(store: PlanStore, **fields: Any) -> Plan:
    """Make a plan; active and sequential unless told otherwise."""
    return await store.create_plan(PlanCreate.model_validate({"status": ACTIVE, **fields}))


async def task_of(store: PlanStore, plan: Plan, *, status: S = S.PENDING, **fields: Any) -> Task:
    """Add a task to the plan, and move it to ``status``."""
    create = TaskCreate.model_validate({"plan_id": plan.id, "description": "do it", **fields})
    task = await store.create_task(create)
    return await moved(store, task, status) if status != S.PENDING else task


async def moved(store: PlanStore, task: Task, status: S, **fields: Any) -> Task:
    """Set the task's status, and the fields along with it."""
    update = TaskUpdate.model_validate({"status": status, **fields})
    return await store.update_task(task.id, update)


async def set_to(store: PlanStore, plan: Plan, status: PlanStatus) -> Plan:
    """Set the plan's status by hand."""
    return await store.update_plan(plan.id, PlanUpdate(status=status))


async def status_of(store: PlanStore, plan: Plan) -> PlanStatus:
    return (await store.get_plan(plan.id)).status
