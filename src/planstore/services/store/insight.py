"""The methods of `PlanStore` that say how plans and tasks get on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.models.page import DEFAULT_LIMIT
from planstore.models.query import UsageFilter
from planstore.models.usage import UsageSum
from planstore.services import insight
from planstore.services.store.core import Core
from planstore.sql import spending

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.graph import PlanGraph
    from planstore.models.insight import PlanExplanation, Progress, TaskExplanation
    from planstore.models.query import UsageGroup


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

    async def get_usage(
        self,
        found: UsageFilter | None = None,
        *,
        by: UsageGroup | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
    ) -> list[UsageSum]:
        """Return what was reported of tokens, money and the like, added up: who cost most first.

        ``by``: told apart by plans, agents or types of tasks; else all together. What is gone with
        its plan isn't counted.

        Raises:
            InvalidInput: ``limit`` or ``offset`` is out of range.
        """
        self._check_window(limit, offset)
        async with self._database.connection() as conn:
            rows = await spending.sums(
                conn, found or UsageFilter(), group=by, limit=limit, offset=offset
            )
        return [UsageSum.model_validate(dict(row)) for row in rows]

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
