"""The client of asynchronous code.

Written by `make client`, of `PlanStore` and `planstore.client.calls`; change these instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.client import calls
from planstore.client.connection import AsyncConnection
from planstore.models.intake import ExportFormat, ImportFormat
from planstore.models.page import DEFAULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AbstractAsyncContextManager
    from datetime import datetime
    from typing import IO, Literal
    from uuid import UUID

    from planstore.client.streaming import AsyncEventStream
    from planstore.models.approval import Review
    from planstore.models.bulk import PlanBulk, PlanBulkAnswer, TaskBulk, TaskBulkAnswer
    from planstore.models.claim import (
        Attempt,
        ClaimRequest,
        Completion,
        EndedTask,
        Failure,
        Heartbeat,
        HeartbeatAnswer,
        Release,
        Reset,
        Results,
        ResultsAnswer,
        WorkPacket,
    )
    from planstore.models.dependency import DependenciesUpdate
    from planstore.models.evaluation import Evaluation, EvaluationCreate
    from planstore.models.event import EventFilter, EventPage, LoggedEvent
    from planstore.models.graph import PlanGraph
    from planstore.models.history import PlanDiff, Revision, WholeRevision
    from planstore.models.idempotency import Idempotency
    from planstore.models.insight import PlanExplanation, Progress, TaskExplanation
    from planstore.models.intake import Imported
    from planstore.models.page import Page
    from planstore.models.plan import Plan, PlanCreate, PlanStatus, PlanUpdate
    from planstore.models.query import (
        PlanFilter,
        PlanSort,
        TaskFilter,
        TaskSort,
        UsageFilter,
        UsageGroup,
    )
    from planstore.models.revision import RevisionAnswer, RevisionDraft, WantedTasks
    from planstore.models.statistics import Statistics, StatisticsQuery, Timeline, TimelineQuery
    from planstore.models.task import Dependency, Task, TaskBatch, TaskCreate, TaskUpdate
    from planstore.models.template import (
        Instantiation,
        SaveAsTemplate,
        Template,
        TemplateCreate,
        TemplateSummary,
        TemplateVersionCreate,
    )
    from planstore.models.usage import UsageSum
    from planstore.models.webhook import (
        Delivery,
        DeliveryFilter,
        NewSecret,
        Rotation,
        Trial,
        Webhook,
        WebhookCreate,
        WebhookUpdate,
    )


class AsyncPlanStoreClient(AsyncConnection):
    """`PlanStore` over HTTP.

    Open it with `AsyncPlanStoreClient.open`. Its methods may be called concurrently.
    """

    async def check(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            Unavailable: there is none.
        """
        return await self._do(calls.check())

    async def create_plan(
        self, plan: PlanCreate, *, idempotency: Idempotency | None = None
    ) -> Plan:
        """Make a plan, with its tasks where it has any, and those of its steps if it says so.

        Raises:
            AlreadyExists: the id is taken, or that of a task.
            InvalidInput: a dependency names no task of the plan, or the steps can't be expanded.
            DependencyCycle: tasks would wait for each other.
        """
        return await self._do(calls.create_plan(plan), idempotency=idempotency)

    async def expand_plan(
        self, plan_id: UUID, *, idempotency: Idempotency | None = None
    ) -> list[Task]:
        """Make the plan's steps into tasks: all or none, in one transaction and one revision.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            InvalidInput: the steps can't be made into tasks; all their faults are named.
            AlreadyExists: the plan has a task of the name already.
        """
        return await self._do(calls.expand_plan(plan_id), idempotency=idempotency)

    async def get_plan(self, plan_id: UUID, *, at: datetime | None = None) -> Plan:
        """Return the plan, as it is or as it stood ``at`` a time.

        Of what was deleted since there still is a past.

        Raises:
            NotFound: there is none, or was none then.
            HistoryGone: the events of that time are no longer kept.
            InvalidInput: the time is still to come.
        """
        return await self._do(calls.get_plan(plan_id, at=at))

    async def update_plan(
        self,
        plan_id: UUID,
        update: PlanUpdate,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Plan:
        """Change the fields of a plan that ``update`` names.

        Setting ``status`` starts, closes or reopens it; closing skips the tasks that have not
        started. A plan that its budget has paused goes on where ``budget`` allows more.

        Raises:
            NotFound: there is no such plan.
            InvalidInput: a field that the service keeps is given another value.
            InvalidTransition: the status doesn't allow it.
            VersionMismatch: the plan isn't at ``expected_version``.
        """
        return await self._do(
            calls.update_plan(plan_id, update, expected_version=expected_version),
            idempotency=idempotency,
        )

    async def start_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Let the plan's tasks be carried out; a plan that is active already is answered as it is.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has ended; PATCH its status to reopen it.
        """
        return await self._do(calls.start_plan(plan_id), idempotency=idempotency)

    async def pause_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Have the plan hand out no more tasks; what runs goes on.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has ended.
        """
        return await self._do(calls.pause_plan(plan_id), idempotency=idempotency)

    async def resume_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Have a paused plan hand out tasks again.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has reached its budget.
        """
        return await self._do(calls.resume_plan(plan_id), idempotency=idempotency)

    async def cancel_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Close the plan: what has not started is skipped, and running tasks are asked to stop.

        Raises:
            NotFound: there is no such plan.
        """
        return await self._do(calls.cancel_plan(plan_id), idempotency=idempotency)

    async def retry_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Try every failed task of the plan again.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
        """
        return await self._do(calls.retry_plan(plan_id), idempotency=idempotency)

    async def delete_plan(
        self,
        plan_id: UUID,
        *,
        force: bool = False,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> None:
        """Delete a plan with its tasks; their events are kept.

        ``force``: also where tasks run, whose claims end by it.

        Raises:
            NotFound: there is no such plan, or no more.
            TasksRunning: tasks of it run, unless ``force``.
            VersionMismatch: the plan isn't at ``expected_version``.
        """
        return await self._do(
            calls.delete_plan(plan_id, force=force, expected_version=expected_version),
            idempotency=idempotency,
        )

    async def bulk_plans(
        self, bulk: PlanBulk, *, idempotency: Idempotency | None = None
    ) -> PlanBulkAnswer:
        """Do one thing to all plans that a filter finds, each for itself.

        One call works for about two seconds; where ``next_cursor`` isn't None, another one with
        it as ``cursor`` goes on. What is refused for one doesn't stop the others.

        Raises:
            InvalidInput: the filter is empty, and ``all`` doesn't say so.
        """
        return await self._do(calls.bulk_plans(bulk), idempotency=idempotency)

    async def list_plans(
        self,
        found: PlanFilter | None = None,
        *,
        sort: PlanSort | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[Plan]:
        """Return the plans that a filter finds, newest first or as ``sort`` says.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        return await self._do(
            calls.list_plans(found, sort=sort, limit=limit, offset=offset, cursor=cursor)
        )

    async def create_task(
        self, task: TaskCreate, *, idempotency: Idempotency | None = None
    ) -> Task:
        """Add a task to its plan.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            AlreadyExists: the id is taken, or the name in its plan.
            InvalidInput: a dependency names no task of the plan.
            DependencyCycle: tasks would wait for each other.
        """
        return await self._do(calls.create_task(task), idempotency=idempotency)

    async def create_tasks(
        self, batch: TaskBatch, *, idempotency: Idempotency | None = None
    ) -> list[Task]:
        """Add many tasks to a plan: all or none, in one transaction and one revision.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            AlreadyExists: an id is taken, or a name in the plan.
            InvalidInput: a dependency names no task of the plan or the batch.
            DependencyCycle: tasks would wait for each other.
        """
        return await self._do(calls.create_tasks(batch), idempotency=idempotency)

    async def get_task(self, task_id: UUID, *, at: datetime | None = None) -> Task:
        """Return the task, as it is or as it stood ``at`` a time.

        Of what was deleted since there still is a past; of a task whose plan was deleted only by
        `list_tasks`.

        Raises:
            NotFound: there is none, or was none then.
            HistoryGone: the events of that time are no longer kept.
            InvalidInput: the time is still to come.
        """
        return await self._do(calls.get_task(task_id, at=at))

    async def update_task(
        self,
        task_id: UUID,
        update: TaskUpdate,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Task:
        """Change the fields of a task that ``update`` names; ``status`` moves it.

        What the move does to its plan (start, settle, current step) happens with it.

        Raises:
            NotFound: there is no such task.
            InvalidInput: a field that the service keeps is given another value.
            InvalidTransition: the status doesn't allow it.
            PlanClosed: the plan was closed by hand, and the task would be open.
            ResultConflict: it has completed with another output.
            AlreadyExists: another task of the plan has the name.
            VersionMismatch: the task isn't at ``expected_version``.
        """
        return await self._do(
            calls.update_task(task_id, update, expected_version=expected_version),
            idempotency=idempotency,
        )

    async def skip_task(self, task_id: UUID, *, idempotency: Idempotency | None = None) -> Task:
        """Decide that a task is not to be carried out; whoever waits for it goes on.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it has completed.
        """
        return await self._do(calls.skip_task(task_id), idempotency=idempotency)

    async def retry_task(self, task_id: UUID, *, idempotency: Idempotency | None = None) -> Task:
        """Try a failed task again; one that is open already is answered as it is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it is finished.
            PlanClosed: the plan was closed by hand.
        """
        return await self._do(calls.retry_task(task_id), idempotency=idempotency)

    async def approve_task(
        self, task_id: UUID, review: Review | None = None, *, idempotency: Idempotency | None = None
    ) -> Task:
        """Agree to a task's being carried out, before its turn or when it has come.

        One that is approved already is answered as it is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it requires no approval, was rejected, or has begun or ended.
        """
        return await self._do(calls.approve_task(task_id, review), idempotency=idempotency)

    async def reject_task(
        self, task_id: UUID, review: Review | None = None, *, idempotency: Idempotency | None = None
    ) -> Task:
        """Refuse that a task is carried out: it fails, and isn't retried by itself.

        One that is rejected already is answered as it is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it requires no approval, was approved, or has begun or ended.
        """
        return await self._do(calls.reject_task(task_id, review), idempotency=idempotency)

    async def reset_task(
        self, task_id: UUID, reset: Reset | None = None, *, idempotency: Idempotency | None = None
    ) -> Task:
        """Do a task again from the start, and all that followed from it where that is asked.

        A run that goes on is ended: its claim is lost.

        Raises:
            NotFound: there is no such task.
            PlanClosed: the plan was closed by hand.
        """
        return await self._do(calls.reset_task(task_id, reset), idempotency=idempotency)

    async def delete_task(
        self,
        task_id: UUID,
        *,
        force: bool = False,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> None:
        """Delete a task; its events are kept.

        ``force``: also where it runs, whose claim ends by it, or where others need it: these need
        it no more and go on.

        Raises:
            NotFound: there is no such task, or no more.
            TasksRunning: it runs, unless ``force``.
            TaskNeeded: others need it, unless ``force``.
            VersionMismatch: the task isn't at ``expected_version``.
        """
        return await self._do(
            calls.delete_task(task_id, force=force, expected_version=expected_version),
            idempotency=idempotency,
        )

    async def bulk_tasks(
        self, bulk: TaskBulk, *, idempotency: Idempotency | None = None
    ) -> TaskBulkAnswer:
        """Do one thing to all tasks that a filter finds, each for itself.

        One call works for about two seconds; where ``next_cursor`` isn't None, another one with
        it as ``cursor`` goes on. What is refused for one doesn't stop the others.

        Raises:
            InvalidInput: the filter is empty, and ``all`` doesn't say so.
        """
        return await self._do(calls.bulk_tasks(bulk), idempotency=idempotency)

    async def list_attempts(self, task_id: UUID) -> list[Attempt]:
        """Return the runs of a task, oldest first.

        Raises:
            NotFound: there is no such task.
        """
        return await self._do(calls.list_attempts(task_id))

    async def list_tasks(
        self,
        found: TaskFilter | None = None,
        *,
        plan_id: UUID | None = None,
        sort: TaskSort | None = None,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
        at: datetime | None = None,
    ) -> Page[Task]:
        """Return the tasks that a filter finds.

        Those of one plan come in their order, those that are ``ready`` as they are handed out, any
        others newest first; or all as ``sort`` says. ``plan_id``: of this plan, whatever plans the
        filter names. ``cursor``: the ``next_cursor`` of the page before. ``at``: the tasks of the
        plan as they stood then.

        Raises:
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range; ``at`` is still to
                come, or there is no ``plan_id`` beside it, or a filter too.
            NotFound: there was no such plan ``at`` that time.
            HistoryGone: the events of that time are no longer kept.
        """
        return await self._do(
            calls.list_tasks(
                found, plan_id=plan_id, sort=sort, limit=limit, offset=offset, cursor=cursor, at=at
            )
        )

    async def claim_tasks(
        self, request: ClaimRequest, *, idempotency: Idempotency | None = None
    ) -> list[WorkPacket]:
        """Hand out ready tasks: highest priority first, then longest ready.

        Waits up to ``wait_seconds`` for work where there is none, and answers an empty list then. A
        repetition under the same key answers the same tasks; an empty answer isn't kept.
        """
        return await self._do(calls.claim_tasks(request), idempotency=idempotency)

    async def list_claims(self, worker_id: str) -> list[WorkPacket]:
        """Return the tasks that a worker holds, as they were handed out to it, oldest first.

        For a worker that was started anew and goes on with what it had: up to 1,000. A name that
        nobody claims by holds nothing.
        """
        return await self._do(calls.list_claims(worker_id))

    async def heartbeat(
        self, heartbeat: Heartbeat, *, idempotency: Idempotency | None = None
    ) -> HeartbeatAnswer:
        """Renew claims, each for as long as it was made for, and say which are lost or to stop.

        ``usage`` is added to what was reported before, so what reports any is sent under a key
        where it may have to be sent again.
        """
        return await self._do(calls.heartbeat(heartbeat), idempotency=idempotency)

    async def complete_task(
        self,
        task_id: UUID,
        completion: Completion | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> EndedTask:
        """End a task with success; whoever waits for it goes on, and its plan may settle.

        Raises:
            NotFound: there is no such task.
            StaleClaim: the claim has ended; what was sent is kept as an event.
            Claimed: a worker holds a claim, and no fencing token is given.
            ResultConflict: it has completed with another output.
        """
        return await self._do(calls.complete_task(task_id, completion), idempotency=idempotency)

    async def fail_task(
        self, task_id: UUID, failure: Failure, *, idempotency: Idempotency | None = None
    ) -> EndedTask:
        """End a task's run without success: it is tried again, or has failed.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: the status doesn't allow it.
            StaleClaim: the claim has ended; what was sent is kept as an event.
            Claimed: a worker holds a claim, and no fencing token is given.
        """
        return await self._do(calls.fail_task(task_id, failure), idempotency=idempotency)

    async def release_task(
        self,
        task_id: UUID,
        release: Release | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> EndedTask:
        """Give a task's run up; it is ready again at once, and the attempt isn't held against it.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: the status doesn't allow it.
            StaleClaim: the claim has ended.
            Claimed: a worker holds a claim, and no fencing token is given.
        """
        return await self._do(calls.release_task(task_id, release), idempotency=idempotency)

    async def complete_tasks(
        self, results: Results, *, idempotency: Idempotency | None = None
    ) -> ResultsAnswer:
        """End many tasks with success, at once; each is taken or refused for itself."""
        return await self._do(calls.complete_tasks(results), idempotency=idempotency)

    async def list_dependencies(self, task_id: UUID) -> list[Dependency]:
        """Return what a task needs.

        Raises:
            NotFound: there is no such task.
        """
        return await self._do(calls.list_dependencies(task_id))

    async def set_dependencies(
        self, task_id: UUID, wired: DependenciesUpdate, *, idempotency: Idempotency | None = None
    ) -> list[Dependency]:
        """Have a task need exactly what is given, and what its input names.

        Raises:
            NotFound: there is no such task.
            InvalidInput: an entry names no task of the plan.
            DependencyCycle: tasks would wait for each other.
            InvalidTransition: the task has begun, or has ended.
        """
        return await self._do(calls.set_dependencies(task_id, wired), idempotency=idempotency)

    async def add_dependencies(
        self, task_id: UUID, wired: DependenciesUpdate, *, idempotency: Idempotency | None = None
    ) -> list[Dependency]:
        """Have a task need what is given beside what it needs already.

        Raises:
            NotFound: there is no such task.
            InvalidInput: an entry names no task of the plan.
            DependencyCycle: tasks would wait for each other.
            InvalidTransition: the task has begun, or has ended.
        """
        return await self._do(calls.add_dependencies(task_id, wired), idempotency=idempotency)

    async def remove_dependencies(
        self, task_id: UUID, wired: DependenciesUpdate, *, idempotency: Idempotency | None = None
    ) -> list[Dependency]:
        """Have a task no longer need what is given; all that it needs if nothing is.

        Raises:
            NotFound: there is no such task.
            InvalidInput: an entry names no task of the plan.
            InvalidTransition: the task has begun, or has ended.
        """
        return await self._do(calls.remove_dependencies(task_id, wired), idempotency=idempotency)

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
        return await self._do(calls.revise_plan(plan_id, revision), idempotency=idempotency)

    async def set_tasks(
        self, plan_id: UUID, wanted: WantedTasks, *, idempotency: Idempotency | None = None
    ) -> RevisionAnswer:
        """Have a plan consist of these tasks: the difference is worked out and made.

        Tasks that aren't listed are removed, unless they have no name, run, or have ended.

        Raises: as `revise_plan` does.
        """
        return await self._do(calls.set_tasks(plan_id, wanted), idempotency=idempotency)

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
        return await self._do(
            calls.list_revisions(plan_id, limit=limit, offset=offset, cursor=cursor)
        )

    async def get_revision(self, plan_id: UUID, revision: int) -> WholeRevision:
        """Return a revision of a plan, with the structure as it made it.

        Raises:
            NotFound: there is no such plan, or it has no such revision.
            HistoryGone: its events are no longer kept.
        """
        return await self._do(calls.get_revision(plan_id, revision))

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
        return await self._do(
            calls.compare_revisions(plan_id, from_revision=from_revision, to_revision=to_revision)
        )

    async def get_progress(self, plan_id: UUID) -> Progress:
        """Return how far a plan is, who runs what of it, and when it may end.

        Raises:
            NotFound: there is no such plan.
        """
        return await self._do(calls.get_progress(plan_id))

    async def get_graph(self, plan_id: UUID) -> PlanGraph:
        """Return a plan's tasks and dependencies; at most the first 10,000 and 100,000 of them.

        Raises:
            NotFound: there is no such plan.
        """
        return await self._do(calls.get_graph(plan_id))

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
        return await self._do(calls.get_usage(found, by=by, limit=limit, offset=offset))

    async def explain_task(self, task_id: UUID) -> TaskExplanation:
        """Say why a task isn't running, in a sentence and in data.

        Raises:
            NotFound: there is no such task.
        """
        return await self._do(calls.explain_task(task_id))

    async def explain_plan(self, plan_id: UUID) -> PlanExplanation:
        """Say why a plan isn't going on, in a sentence and in data, and which task unblocks most.

        Raises:
            NotFound: there is no such plan.
        """
        return await self._do(calls.explain_plan(plan_id))

    async def list_events(
        self,
        found: EventFilter | None = None,
        *,
        after: int = 0,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
    ) -> EventPage:
        """Return the events that a filter finds, in the order of their ``seq``.

        ``after``: the ``seq`` of the last one that is known already; 0 begins with the oldest that
        is kept. The list ends where an event may still come before another. As long as its
        ``next_after`` isn't None there may be more, also where it has fewer than ``limit``.

        Raises:
            CursorGone: events after that place are no longer kept.
            InvalidInput: ``limit`` or ``offset`` is out of range.
        """
        return await self._do(calls.list_events(found, after=after, limit=limit, offset=offset))

    async def get_event(self, event_id: UUID) -> LoggedEvent:
        """Return an event with all of its payload, however large it is.

        Raises:
            NotFound: there is none, or it is no longer kept.
        """
        return await self._do(calls.get_event(event_id))

    def stream_events(
        self,
        *,
        after: int | None = None,
        plan_id: UUID | None = None,
        event_types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
    ) -> AbstractAsyncContextManager[AsyncEventStream]:
        """Open a stream of events: of all, or of a plan, or of these types; in order, each once.

        ``after``: the ``seq`` of the last one that is known already; the stream begins now if it is
        left out. Iterate over it within the ``async with``; its ``place`` is where to go on later,
        here or in another process.

        Raises:
            NotFound: there is no such plan.
            CursorGone: events after that place are no longer kept; also while it is read.
        """
        return self._open(
            calls.stream_events(
                after=after,
                plan_id=plan_id,
                event_types=event_types,
                aggregate_types=aggregate_types,
            )
        )

    async def create_evaluation(
        self, task_id: UUID, evaluation: EvaluationCreate, *, idempotency: Idempotency | None = None
    ) -> Evaluation:
        """Keep how what came of a task was judged; it is kept as long as the task is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it is neither completed nor failed.
        """
        return await self._do(calls.create_evaluation(task_id, evaluation), idempotency=idempotency)

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
        return await self._do(
            calls.list_evaluations(task_id, limit=limit, offset=offset, cursor=cursor)
        )

    async def get_statistics(self, query: StatisticsQuery) -> Statistics:
        """Return what became of tasks over a time, and by the values of a dimension.

        Told is what was counted, see `count_events`; a server counts all the time.

        Raises:
            InvalidInput: the time is empty, too long or lies ahead.
        """
        return await self._do(calls.get_statistics(query))

    async def get_timeline(self, query: TimelineQuery) -> Timeline:
        """Return what became of tasks over a time, span by span.

        Raises:
            InvalidInput: the time is empty, too long or lies ahead.
        """
        return await self._do(calls.get_timeline(query))

    async def create_template(
        self, template: TemplateCreate, *, idempotency: Idempotency | None = None
    ) -> Template:
        """Make a template, at version 1.

        Raises:
            AlreadyExists: there is a template of that name.
            InvalidInput: its parameters are no JSON Schema, or its plan is none, as far as that is
                known before it is filled in; all faults are named.
        """
        return await self._do(calls.create_template(template), idempotency=idempotency)

    async def save_plan_as_template(
        self, plan_id: UUID, request: SaveAsTemplate, *, idempotency: Idempotency | None = None
    ) -> Template:
        """Keep the structure of a plan as a template: what it and its tasks are, none of the work.

        Tasks without a name that others need are given one; `goal_id` and `not_before` are left
        out, as being of that plan alone.

        Raises:
            NotFound: there is no such plan.
            AlreadyExists: there is a template of that name.
            InvalidInput: it has more than 10,000 tasks, or what a template can't have.
        """
        return await self._do(
            calls.save_plan_as_template(plan_id, request), idempotency=idempotency
        )

    async def add_template_version(
        self,
        name: str,
        version: TemplateVersionCreate,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Template:
        """Make a new version of a template; what is left out is as in the version before.

        Raises:
            NotFound: there is no such template.
            TemplateArchived: it is archived.
            VersionMismatch: its latest version isn't ``expected_version``.
            InvalidInput: as for `create_template`.
        """
        return await self._do(
            calls.add_template_version(name, version, expected_version=expected_version),
            idempotency=idempotency,
        )

    async def get_template(self, name: str, *, version: int | None = None) -> Template:
        """Return a version of a template with its record, the latest one if none is named.

        The record is of the newest 1,000 plans of that version, and of fewer where these have more
        than 20,000 tasks.

        Raises:
            NotFound: there is no such template, or it has no such version.
        """
        return await self._do(calls.get_template(name, version=version))

    async def list_templates(
        self,
        *,
        archived: bool = False,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[TemplateSummary]:
        """Return the latest version of each template, by name, without plans and records.

        ``archived``: archived templates too. ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        return await self._do(
            calls.list_templates(archived=archived, limit=limit, offset=offset, cursor=cursor)
        )

    async def list_template_versions(
        self, name: str, *, limit: int = DEFAULT_LIMIT, offset: int = 0, cursor: str | None = None
    ) -> Page[TemplateSummary]:
        """Return the versions of a template, newest first, without plans and records.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            NotFound: there is no such template.
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        return await self._do(
            calls.list_template_versions(name, limit=limit, offset=offset, cursor=cursor)
        )

    async def archive_template(
        self, name: str, *, idempotency: Idempotency | None = None
    ) -> Template:
        """Have no more plans and versions be made of a template; lists leave it out.

        Raises:
            NotFound: there is no such template.
        """
        return await self._do(calls.archive_template(name), idempotency=idempotency)

    async def restore_template(
        self, name: str, *, idempotency: Idempotency | None = None
    ) -> Template:
        """Have plans and versions be made of an archived template again.

        Raises:
            NotFound: there is no such template.
        """
        return await self._do(calls.restore_template(name), idempotency=idempotency)

    async def instantiate_template(
        self,
        name: str,
        request: Instantiation | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> Plan:
        """Make a plan of a template, with its tasks, in one transaction.

        Raises:
            NotFound: there is no such template, or it has no such version.
            TemplateArchived: it is archived.
            AlreadyExists: the id is taken.
            InvalidInput: the parameters don't fit, or the plan doesn't that they make; all faults
                are named.
            DependencyCycle: tasks would wait for each other.
        """
        return await self._do(calls.instantiate_template(name, request), idempotency=idempotency)

    async def create_webhook(
        self, webhook: WebhookCreate, *, idempotency: Idempotency | None = None
    ) -> NewSecret:
        """Have events sent to a URL from now on; the answer alone shows the secret that signs them.

        Raises:
            AlreadyExists: the id is taken.
            InvalidInput: the URL names a private address, and these aren't allowed.
        """
        return await self._do(calls.create_webhook(webhook), idempotency=idempotency)

    async def list_webhooks(
        self, *, limit: int = DEFAULT_LIMIT, offset: int = 0, cursor: str | None = None
    ) -> Page[Webhook]:
        """Return all webhooks, newest first.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        return await self._do(calls.list_webhooks(limit=limit, offset=offset, cursor=cursor))

    async def get_webhook(self, webhook_id: UUID) -> Webhook:
        """Return a webhook, without its secret.

        Raises:
            NotFound: there is no such webhook.
        """
        return await self._do(calls.get_webhook(webhook_id))

    async def update_webhook(
        self,
        webhook_id: UUID,
        update: WebhookUpdate,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Webhook:
        """Change the fields of a webhook that ``update`` names; ``status`` stops it or restarts it.

        What happens while it is disabled isn't delivered later; what waited before is.

        Raises:
            NotFound: there is no such webhook.
            InvalidInput: a field that the service keeps is given another value, or the URL names a
                private address, and these aren't allowed.
            VersionMismatch: the webhook isn't at ``expected_version``.
        """
        return await self._do(
            calls.update_webhook(webhook_id, update, expected_version=expected_version),
            idempotency=idempotency,
        )

    async def rotate_webhook_secret(
        self,
        webhook_id: UUID,
        rotation: Rotation | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> NewSecret:
        """Give a webhook another secret, which the answer alone shows.

        For ``grace_seconds`` messages are signed with the former one as well.

        Raises:
            NotFound: there is no such webhook.
        """
        return await self._do(
            calls.rotate_webhook_secret(webhook_id, rotation), idempotency=idempotency
        )

    async def delete_webhook(
        self,
        webhook_id: UUID,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> None:
        """Delete a webhook with its deliveries; what is being sent at this moment may still arrive.

        Raises:
            NotFound: there is no such webhook, or no more.
            VersionMismatch: the webhook isn't at ``expected_version``.
        """
        return await self._do(
            calls.delete_webhook(webhook_id, expected_version=expected_version),
            idempotency=idempotency,
        )

    async def test_webhook(
        self, webhook_id: UUID, *, idempotency: Idempotency | None = None
    ) -> Trial:
        """Send a webhook a signed message that tells of nothing, and say what came of it.

        It takes up to 15 seconds. It is sent once, also to a disabled one, and is no delivery.

        Raises:
            NotFound: there is no such webhook.
        """
        return await self._do(calls.test_webhook(webhook_id), idempotency=idempotency)

    async def list_deliveries(
        self,
        webhook_id: UUID,
        found: DeliveryFilter | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        """Return what a webhook was told, is told or is to be told of: the latest events first.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            NotFound: there is no such webhook.
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        return await self._do(
            calls.list_deliveries(webhook_id, found, limit=limit, offset=offset, cursor=cursor)
        )

    async def get_delivery(self, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Return a delivery of a webhook; its id is that of the event.

        Raises:
            NotFound: there is no such webhook, or no such delivery of it.
        """
        return await self._do(calls.get_delivery(webhook_id, delivery_id))

    async def redeliver(
        self, webhook_id: UUID, delivery_id: UUID, *, idempotency: Idempotency | None = None
    ) -> Delivery:
        """Have a delivery sent again at once, whether it was delivered, failed or waits.

        It is tried for a day from now on. One that is being sent is answered as it is.

        Raises:
            NotFound: there is no such webhook, or no such delivery of it.
            WebhookDisabled: the webhook is.
            HistoryGone: the event is no longer kept.
        """
        return await self._do(calls.redeliver(webhook_id, delivery_id), idempotency=idempotency)

    async def import_plan(
        self,
        source: IO[bytes] | bytes | str,
        format: ImportFormat | str = ImportFormat.PLANSTORE,
        *,
        dry_run: bool = False,
        status: Literal[PlanStatus.DRAFT, PlanStatus.ACTIVE] | None = None,
        idempotency: Idempotency | None = None,
    ) -> Imported:
        """Make a plan of a file that came from elsewhere: all of it, or nothing.

        ``source``: its bytes or its text, or a file in binary mode, which is read from where it
        stands and isn't closed. ``dry_run``: say what would come of it. ``status``: what the plan
        is to be, `draft` or `active`; as its file says if left out, which only PlanStore's own
        JSON does, and else a draft.

        What a task of the file is called, and what it needs, is kept in memory while it is read;
        all else lies on disk.

        Raises:
            MalformedBody: it isn't JSON, or not text.
            InvalidInput: it has faults: up to 1,000 of them are named at once.
            DependencyCycle: all of these are that tasks would wait for each other.
            AlreadyExists: an id that the file gives is taken.
        """
        return await self._do(
            calls.import_plan(source, format, dry_run=dry_run, status=status),
            idempotency=idempotency,
        )

    async def export_plan(
        self, plan_id: UUID, format: ExportFormat | str = ExportFormat.JSON
    ) -> IO[bytes]:
        """Return a plan with its tasks as a file, to be read and then closed.

        It is as it stood at one moment. `json` is what `import_plan` makes the same plan of again;
        drawings show at most the first 10,000 tasks, as `get_graph` does.

        Raises:
            NotFound: there is no such plan.
        """
        return await self._do(calls.export_plan(plan_id, format))
