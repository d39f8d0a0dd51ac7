"""The client of synchronous code.

Written by `make client`, of `PlanStore` and `planstore.client.calls`; change these instead.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from planstore.client import calls
from planstore.client.connection import Connection
from planstore.models.page import DEFAULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Collection
    from contextlib import AbstractContextManager
    from datetime import datetime
    from uuid import UUID

    from planstore.client.streaming import EventStream
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
    from planstore.models.event import EventFilter, EventPage, LoggedEvent
    from planstore.models.graph import PlanGraph
    from planstore.models.history import PlanDiff, Revision, WholeRevision
    from planstore.models.idempotency import Idempotency
    from planstore.models.insight import PlanExplanation, Progress, TaskExplanation
    from planstore.models.page import Page
    from planstore.models.plan import Plan, PlanCreate, PlanUpdate
    from planstore.models.query import PlanFilter, PlanSort, TaskFilter, TaskSort
    from planstore.models.revision import RevisionAnswer, RevisionDraft, WantedTasks
    from planstore.models.task import Dependency, Task, TaskBatch, TaskCreate, TaskUpdate


class PlanStoreClient(Connection):
    """`PlanStore` over HTTP, for code without asyncio.

    Open it with `PlanStoreClient.open`. Its methods may be called by several threads at once.
    """

    def check(self) -> None:
        """Ask the database for a sign of life.

        Raises:
            Unavailable: there is none.
        """
        return self._do(calls.check())

    def create_plan(self, plan: PlanCreate, *, idempotency: Idempotency | None = None) -> Plan:
        """Make a plan, with its tasks where it has any, and those of its steps if it says so.

        Raises:
            AlreadyExists: the id is taken, or that of a task.
            InvalidInput: a dependency names no task of the plan, or the steps can't be expanded.
            DependencyCycle: tasks would wait for each other.
        """
        return self._do(calls.create_plan(plan), idempotency=idempotency)

    def expand_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> list[Task]:
        """Make the plan's steps into tasks: all or none, in one transaction and one revision.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            InvalidInput: the steps can't be made into tasks; all their faults are named.
            AlreadyExists: the plan has a task of the name already.
        """
        return self._do(calls.expand_plan(plan_id), idempotency=idempotency)

    def get_plan(self, plan_id: UUID, *, at: datetime | None = None) -> Plan:
        """Return the plan, as it is or as it stood ``at`` a time.

        Of what was deleted since there still is a past.

        Raises:
            NotFound: there is none, or was none then.
            HistoryGone: the events of that time are no longer kept.
            InvalidInput: the time is still to come.
        """
        return self._do(calls.get_plan(plan_id, at=at))

    def update_plan(
        self,
        plan_id: UUID,
        update: PlanUpdate,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Plan:
        """Change the fields of a plan that ``update`` names.

        Setting ``status`` starts, closes or reopens it; closing skips the tasks that have not
        started.

        Raises:
            NotFound: there is no such plan.
            InvalidInput: a field that the service keeps is given another value.
            InvalidTransition: the status doesn't allow it.
            VersionMismatch: the plan isn't at ``expected_version``.
        """
        return self._do(
            calls.update_plan(plan_id, update, expected_version=expected_version),
            idempotency=idempotency,
        )

    def start_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Let the plan's tasks be carried out; a plan that is active already is answered as it is.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has ended; PATCH its status to reopen it.
        """
        return self._do(calls.start_plan(plan_id), idempotency=idempotency)

    def pause_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Have the plan hand out no more tasks; what runs goes on.

        Raises:
            NotFound: there is no such plan.
            InvalidTransition: it has ended.
        """
        return self._do(calls.pause_plan(plan_id), idempotency=idempotency)

    def resume_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Have a paused plan hand out tasks again.

        Raises:
            NotFound: there is no such plan.
        """
        return self._do(calls.resume_plan(plan_id), idempotency=idempotency)

    def cancel_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Close the plan: what has not started is skipped, and running tasks are asked to stop.

        Raises:
            NotFound: there is no such plan.
        """
        return self._do(calls.cancel_plan(plan_id), idempotency=idempotency)

    def retry_plan(self, plan_id: UUID, *, idempotency: Idempotency | None = None) -> Plan:
        """Try every failed task of the plan again.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
        """
        return self._do(calls.retry_plan(plan_id), idempotency=idempotency)

    def delete_plan(
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
        return self._do(
            calls.delete_plan(plan_id, force=force, expected_version=expected_version),
            idempotency=idempotency,
        )

    def bulk_plans(
        self, bulk: PlanBulk, *, idempotency: Idempotency | None = None
    ) -> PlanBulkAnswer:
        """Do one thing to all plans that a filter finds, each for itself.

        One call works for about two seconds; where ``next_cursor`` isn't None, another one with
        it as ``cursor`` goes on. What is refused for one doesn't stop the others.

        Raises:
            InvalidInput: the filter is empty, and ``all`` doesn't say so.
        """
        return self._do(calls.bulk_plans(bulk), idempotency=idempotency)

    def list_plans(
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
        return self._do(
            calls.list_plans(found, sort=sort, limit=limit, offset=offset, cursor=cursor)
        )

    def create_task(self, task: TaskCreate, *, idempotency: Idempotency | None = None) -> Task:
        """Add a task to its plan.

        Raises:
            NotFound: there is no such plan.
            PlanClosed: the plan was closed by hand.
            AlreadyExists: the id is taken, or the name in its plan.
            InvalidInput: a dependency names no task of the plan.
            DependencyCycle: tasks would wait for each other.
        """
        return self._do(calls.create_task(task), idempotency=idempotency)

    def create_tasks(
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
        return self._do(calls.create_tasks(batch), idempotency=idempotency)

    def get_task(self, task_id: UUID, *, at: datetime | None = None) -> Task:
        """Return the task, as it is or as it stood ``at`` a time.

        Of what was deleted since there still is a past; of a task whose plan was deleted only by
        `list_tasks`.

        Raises:
            NotFound: there is none, or was none then.
            HistoryGone: the events of that time are no longer kept.
            InvalidInput: the time is still to come.
        """
        return self._do(calls.get_task(task_id, at=at))

    def update_task(
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
        return self._do(
            calls.update_task(task_id, update, expected_version=expected_version),
            idempotency=idempotency,
        )

    def skip_task(self, task_id: UUID, *, idempotency: Idempotency | None = None) -> Task:
        """Decide that a task is not to be carried out; whoever waits for it goes on.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it has completed.
        """
        return self._do(calls.skip_task(task_id), idempotency=idempotency)

    def retry_task(self, task_id: UUID, *, idempotency: Idempotency | None = None) -> Task:
        """Try a failed task again; one that is open already is answered as it is.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: it is finished.
            PlanClosed: the plan was closed by hand.
        """
        return self._do(calls.retry_task(task_id), idempotency=idempotency)

    def reset_task(
        self, task_id: UUID, reset: Reset | None = None, *, idempotency: Idempotency | None = None
    ) -> Task:
        """Do a task again from the start, and all that followed from it where that is asked.

        A run that goes on is ended: its claim is lost.

        Raises:
            NotFound: there is no such task.
            PlanClosed: the plan was closed by hand.
        """
        return self._do(calls.reset_task(task_id, reset), idempotency=idempotency)

    def delete_task(
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
        return self._do(
            calls.delete_task(task_id, force=force, expected_version=expected_version),
            idempotency=idempotency,
        )

    def bulk_tasks(
        self, bulk: TaskBulk, *, idempotency: Idempotency | None = None
    ) -> TaskBulkAnswer:
        """Do one thing to all tasks that a filter finds, each for itself.

        One call works for about two seconds; where ``next_cursor`` isn't None, another one with
        it as ``cursor`` goes on. What is refused for one doesn't stop the others.

        Raises:
            InvalidInput: the filter is empty, and ``all`` doesn't say so.
        """
        return self._do(calls.bulk_tasks(bulk), idempotency=idempotency)

    def list_attempts(self, task_id: UUID) -> list[Attempt]:
        """Return the runs of a task, oldest first.

        Raises:
            NotFound: there is no such task.
        """
        return self._do(calls.list_attempts(task_id))

    def list_tasks(
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
        return self._do(
            calls.list_tasks(
                found, plan_id=plan_id, sort=sort, limit=limit, offset=offset, cursor=cursor, at=at
            )
        )

    def claim_tasks(
        self, request: ClaimRequest, *, idempotency: Idempotency | None = None
    ) -> list[WorkPacket]:
        """Hand out ready tasks: highest priority first, then longest ready.

        Waits up to ``wait_seconds`` for work where there is none, and answers an empty list then. A
        repetition under the same key answers the same tasks; an empty answer isn't kept.
        """
        return self._do(calls.claim_tasks(request), idempotency=idempotency)

    def heartbeat(self, heartbeat: Heartbeat) -> HeartbeatAnswer:
        """Renew claims, each for as long as it was made for, and say which are lost or to stop."""
        return self._do(calls.heartbeat(heartbeat))

    def complete_task(
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
        return self._do(calls.complete_task(task_id, completion), idempotency=idempotency)

    def fail_task(
        self, task_id: UUID, failure: Failure, *, idempotency: Idempotency | None = None
    ) -> EndedTask:
        """End a task's run without success: it is tried again, or has failed.

        Raises:
            NotFound: there is no such task.
            InvalidTransition: the status doesn't allow it.
            StaleClaim: the claim has ended; what was sent is kept as an event.
            Claimed: a worker holds a claim, and no fencing token is given.
        """
        return self._do(calls.fail_task(task_id, failure), idempotency=idempotency)

    def release_task(
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
        return self._do(calls.release_task(task_id, release), idempotency=idempotency)

    def complete_tasks(
        self, results: Results, *, idempotency: Idempotency | None = None
    ) -> ResultsAnswer:
        """End many tasks with success, at once; each is taken or refused for itself."""
        return self._do(calls.complete_tasks(results), idempotency=idempotency)

    def list_dependencies(self, task_id: UUID) -> list[Dependency]:
        """Return what a task needs.

        Raises:
            NotFound: there is no such task.
        """
        return self._do(calls.list_dependencies(task_id))

    def set_dependencies(
        self, task_id: UUID, wired: DependenciesUpdate, *, idempotency: Idempotency | None = None
    ) -> list[Dependency]:
        """Have a task need exactly what is given, and what its input names.

        Raises:
            NotFound: there is no such task.
            InvalidInput: an entry names no task of the plan.
            DependencyCycle: tasks would wait for each other.
            InvalidTransition: the task has begun, or has ended.
        """
        return self._do(calls.set_dependencies(task_id, wired), idempotency=idempotency)

    def add_dependencies(
        self, task_id: UUID, wired: DependenciesUpdate, *, idempotency: Idempotency | None = None
    ) -> list[Dependency]:
        """Have a task need what is given beside what it needs already.

        Raises:
            NotFound: there is no such task.
            InvalidInput: an entry names no task of the plan.
            DependencyCycle: tasks would wait for each other.
            InvalidTransition: the task has begun, or has ended.
        """
        return self._do(calls.add_dependencies(task_id, wired), idempotency=idempotency)

    def remove_dependencies(
        self, task_id: UUID, wired: DependenciesUpdate, *, idempotency: Idempotency | None = None
    ) -> list[Dependency]:
        """Have a task no longer need what is given; all that it needs if nothing is.

        Raises:
            NotFound: there is no such task.
            InvalidInput: an entry names no task of the plan.
            InvalidTransition: the task has begun, or has ended.
        """
        return self._do(calls.remove_dependencies(task_id, wired), idempotency=idempotency)

    def revise_plan(
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
        return self._do(calls.revise_plan(plan_id, revision), idempotency=idempotency)

    def set_tasks(
        self, plan_id: UUID, wanted: WantedTasks, *, idempotency: Idempotency | None = None
    ) -> RevisionAnswer:
        """Have a plan consist of these tasks: the difference is worked out and made.

        Tasks that aren't listed are removed, unless they have no name, run, or have ended.

        Raises: as `revise_plan` does.
        """
        return self._do(calls.set_tasks(plan_id, wanted), idempotency=idempotency)

    def list_revisions(
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
        return self._do(calls.list_revisions(plan_id, limit=limit, offset=offset, cursor=cursor))

    def get_revision(self, plan_id: UUID, revision: int) -> WholeRevision:
        """Return a revision of a plan, with the structure as it made it.

        Raises:
            NotFound: there is no such plan, or it has no such revision.
            HistoryGone: its events are no longer kept.
        """
        return self._do(calls.get_revision(plan_id, revision))

    def compare_revisions(
        self, plan_id: UUID, *, from_revision: int | None = None, to_revision: int | None = None
    ) -> PlanDiff:
        """Return how the structure of a plan differs between two revisions, in either direction.

        ``to_revision``: the plan as it is now if left out, with what was edited since its last
        revision. ``from_revision``: the one before the other if left out.

        Raises:
            NotFound: there is no such plan, or it has no such revision.
            HistoryGone: their events are no longer kept.
        """
        return self._do(
            calls.compare_revisions(plan_id, from_revision=from_revision, to_revision=to_revision)
        )

    def get_progress(self, plan_id: UUID) -> Progress:
        """Return how far a plan is, who runs what of it, and when it may end.

        Raises:
            NotFound: there is no such plan.
        """
        return self._do(calls.get_progress(plan_id))

    def get_graph(self, plan_id: UUID) -> PlanGraph:
        """Return a plan's tasks and dependencies; at most the first 10,000 and 100,000 of them.

        Raises:
            NotFound: there is no such plan.
        """
        return self._do(calls.get_graph(plan_id))

    def explain_task(self, task_id: UUID) -> TaskExplanation:
        """Say why a task isn't running, in a sentence and in data.

        Raises:
            NotFound: there is no such task.
        """
        return self._do(calls.explain_task(task_id))

    def explain_plan(self, plan_id: UUID) -> PlanExplanation:
        """Say why a plan isn't going on, in a sentence and in data, and which task unblocks most.

        Raises:
            NotFound: there is no such plan.
        """
        return self._do(calls.explain_plan(plan_id))

    def list_events(
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
        return self._do(calls.list_events(found, after=after, limit=limit, offset=offset))

    def get_event(self, event_id: UUID) -> LoggedEvent:
        """Return an event with all of its payload, however large it is.

        Raises:
            NotFound: there is none, or it is no longer kept.
        """
        return self._do(calls.get_event(event_id))

    def stream_events(
        self,
        *,
        after: int | None = None,
        plan_id: UUID | None = None,
        event_types: Collection[str] | None = None,
        aggregate_types: Collection[str] | None = None,
    ) -> AbstractContextManager[EventStream]:
        """Open a stream of events: of all, or of a plan, or of these types; in order, each once.

        ``after``: the ``seq`` of the last one that is known already; the stream begins now if it is
        left out. Iterate over it within the ``with``; its ``place`` is where to go on later,
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
