"""The methods of `PlanStore` that keep how what came of tasks was judged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.models.evaluation import Evaluation
from planstore.models.page import DEFAULT_LIMIT
from planstore.services import evaluating
from planstore.services.store.core import Core

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.evaluation import EvaluationCreate
    from planstore.models.idempotency import Idempotency
    from planstore.models.page import Page


class Evaluations(Core):
    """The methods of `PlanStore` that keep how what came of tasks was judged."""

    async def create_evaluation(
        self,
        task_id: UUID,
        evaluation: EvaluationCreate,
        *,
        idempotency: Idempotency | None = None,
    ) -> Evaluation:
        """Keep how what came of a task was judged; it is kept as long as the task is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it is neither completed nor failed.
        """
        key = idempotency and idempotency.of(f"create_evaluation {task_id}", evaluation)

        async def work() -> Evaluation:
            return await evaluating.create(self._database, task_id, evaluation, key=key)

        return await self._writes.do(work, key=key, replay=Evaluation.model_validate)

    async def list_evaluations(
        self,
        task_id: UUID,
        *,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[Evaluation]:
        """Return how what came of a task was judged, the oldest first.

        Raises:
            NotFound: there is no such task.
            InvalidInput: ``limit`` or ``offset`` is out of range, or the cursor is of another list.
        """
        self._check_window(limit, offset)
        return await evaluating.list_of_task(
            self._database, task_id, limit=limit, offset=offset, cursor=cursor
        )
