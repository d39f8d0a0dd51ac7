"""The methods of `PlanStore` that say how plans and tasks get on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.services import insight
from planstore.services.store.core import Core

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.graph import PlanGraph
    from planstore.models.insight import PlanExplanation, Progress, TaskExplanation


class Insight(Core):
    """The methods of `PlanStore` that say how plans and tasks get on."""

    async def get_progress(self, plan_id: UUID) -> Progress:
        """Return how far a plan is, who runs what of it, and when it may end.

        Raises:
            NotFound: there is no such plan.
        """
        return await insight.get_progress(self._database, plan_id)

    async def get_graph(self, plan_id: UUID) -> PlanGraph:
        """Return a plan's tasks and dependencies; at most the first 10,000 and 100,000 of them.

        Raises:
            NotFound: there is no such plan.
        """
        return await insight.get_graph(self._database, plan_id)

    async def explain_task(self, task_id: UUID) -> TaskExplanation:
        """Say why a task isn't running, in a sentence and in data.

        Raises:
            NotFound: there is no such task.
        """
        return await insight.explain_task(self._database, task_id)

    async def explain_plan(self, plan_id: UUID) -> PlanExplanation:
        """Say why a plan isn't going on, in a sentence and in data, and which task unblocks most.

        Raises:
            NotFound: there is no such plan.
        """
        return await insight.explain_plan(self._database, plan_id)
