"""Plans whose tasks need each other, and work on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from planstore.models.claim import ClaimRequest, Failure
from tests.arranging import plan_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planstore.models import Plan, Task
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

Woven = dict[str, "Task"]
"""The tasks of a plan by their names."""


async def woven(
    store: PlanStore,
    needs: Mapping[str, Sequence[Any]],
    *,
    fields: Mapping[str, dict[str, Any]] | None = None,
    **plan: Any,
) -> tuple[Plan, Woven]:
    """Make a plan with a task of each name, that needs the others; a `dag` unless told otherwise.

    ``fields``: what some of the tasks have beside.
    """
    drafts = [
        {"name": name, "description": name, "depends_on": others, **(fields or {}).get(name, {})}
        for name, others in needs.items()
    ]
    made = await plan_of(store, **{"plan_type": "dag", "tasks": drafts, **plan})
    tasks = await store.list_tasks(plan_id=made.id, limit=1_000)
    return made, {str(each.name): each for each in tasks}


async def claimed(store: PlanStore, plan: Plan, worker: str = "w1", **fields: Any) -> WorkPacket:
    """Have a worker claim the plan's next task."""
    request = {"worker_id": worker, "plan_id": plan.id, **fields}
    (packet,) = await store.claim_tasks(ClaimRequest.model_validate(request))
    return packet


async def run_fails(store: PlanStore, packet: WorkPacket, **fields: Any) -> None:
    """Have the run of a claimed task fail."""
    failure = {"fencing_token": packet.fencing_token, "error": "boom", **fields}
    await store.fail_task(packet.id, Failure.model_validate(failure))
