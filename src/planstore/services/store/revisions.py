"""The methods of `PlanStore` about the structure of plans: changing it, and looking back."""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.models.page import DEFAULT_LIMIT
from planstore.models.revision import RevisionAnswer
from planstore.services import history
from planstore.services.store.core import Core

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.history import PlanDiff, Revision, WholeRevision
    from planstore.models.idempotency import Idempotency
    from planstore.models.page import Page
    from planstore.models.revision import RevisionDraft, WantedTasks


class Revisions(Core):
    """The methods of `PlanStore` about the structure of plans: changing it, and looking back."""

    async def revise_plan(
        self, plan_id: UUID, revision: RevisionDraft, *, idempotency: Idempotency | None = None
    ) -> RevisionAnswer:
        """Change a plan's structure while it runs, by operations: all of them or none.

        What is finished stays as it is; what runs is left alone unless an operation restarts it.
        A dry run says what would come of it.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            VersionMismatch: the plan isn't at ``expected_revision``.
            RevisionRefused: an operation can't be done, or tasks would wait for each other; all
                that stands against it is named.
            AlreadyExists: the id of a new task is taken.
        """
        return await self._revise("revise_plan", plan_id, revision, idempotency)

    async def set_tasks(
        self, plan_id: UUID, wanted: WantedTasks, *, idempotency: Idempotency | None = None
    ) -> RevisionAnswer:
        """Have a plan consist of these tasks: the difference is worked out and made.

        Tasks that aren't listed are removed, unless they have no name, run, or have ended.

        Raises: as `revise_plan` does.
        """
        return await self._revise("set_tasks", plan_id, wanted, idempotency)

    async def _revise(
        self,
        verb: str,
        plan_id: UUID,
        request: RevisionDraft | WantedTasks,
        idempotency: Idempotency | None,
    ) -> RevisionAnswer:
        key = idempotency and idempotency.of(f"{verb} {plan_id}", request)

        async def work() -> RevisionAnswer:
            return await self._replanning.revise(plan_id, request, key=key)

        return await self._writes.do(work, key=key, replay=RevisionAnswer.model_validate)

    async def list_revisions(
        self,
        plan_id: UUID,
        *,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[Revision]:
        """Return what changed the structure of a plan, newest first.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            NotFound: there is no such plan.
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        self._check_window(limit, offset)
        return await history.list_revisions(
            self._database, plan_id, limit=limit, offset=offset, cursor=cursor
        )

    async def get_revision(self, plan_id: UUID, revision: int) -> WholeRevision:
        """Return a revision of a plan, with the structure as it made it.

        Raises:
            NotFound: there is no such plan, or it has no such revision.
            HistoryGone: its events are no longer kept.
        """
        return await history.get_revision(self._database, plan_id, revision)

    async def compare_revisions(
        self, plan_id: UUID, *, from_revision: int | None = None, to_revision: int | None = None
    ) -> PlanDiff:
        """Return how the structure of a plan differs between two revisions, in either direction.

        ``to_revision``: the plan as it is now if left out, with what was edited since its last
        revision. ``from_revision``: the one before the other if left out.

        Raises:
            NotFound: there is no such plan, or it has no such revision.
            HistoryGone: their events are no longer kept.
        """
        return await history.compare_revisions(
            self._database, plan_id, from_revision=from_revision, to_revision=to_revision
        )
