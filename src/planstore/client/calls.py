"""How each method of `PlanStore` is said over HTTP: one function per method, by its name.

A function takes what the method takes, but for the idempotency key, and returns the `Call`. The
methods of both clients are written from these and from `PlanStore` by `make client`; so a method
that is new there needs a function here, and nothing else.
"""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Final, TypeVar

from pydantic import TypeAdapter

from planstore.client import call
from planstore.client.call import GET, Call, Subscription
from planstore.models.bulk import PlanBulkAnswer, TaskBulkAnswer
from planstore.models.claim import (
    Attempt,
    ClaimAnswer,
    Completion,
    EndedTask,
    HeartbeatAnswer,
    Release,
    Reset,
    ResultsAnswer,
)
from planstore.models.graph import PlanGraph
from planstore.models.history import PlanDiff, Revision, WholeRevision
from planstore.models.idempotency import NOTHING
from planstore.models.insight import PlanExplanation, Progress, TaskExplanation
from planstore.models.plan import Plan
from planstore.models.revision import RevisionAnswer
from planstore.models.task import DEPENDENCY_LIST, TASK_LIST, CreatedTasks, Task

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime
    from uuid import UUID

    import httpx2

    from planstore.models.bulk import PlanBulk, TaskBulk
    from planstore.models.claim import ClaimRequest, Failure, Heartbeat, Results, WorkPacket
    from planstore.models.dependency import DependenciesUpdate
    from planstore.models.event import EventFilter, EventPage, LoggedEvent
    from planstore.models.page import Page
    from planstore.models.plan import PlanCreate, PlanUpdate
    from planstore.models.query import PlanFilter, PlanSort, TaskFilter, TaskSort
    from planstore.models.revision import RevisionDraft, WantedTasks
    from planstore.models.task import Dependency, TaskBatch, TaskCreate, TaskUpdate

POST: Final = "POST"
PUT: Final = "PUT"
PATCH: Final = "PATCH"
DELETE: Final = "DELETE"

R = TypeVar("R", EndedTask, ResultsAnswer)

_PLAN: Final = call.one(Plan)
_TASK: Final = call.one(Task)
_ENDED_TASK: Final = call.one(EndedTask)
_DEPENDENCIES: Final = call.many(DEPENDENCY_LIST)
_REVISION_ANSWER: Final = call.one(RevisionAnswer)
_PLANS: Final = call.page(TypeAdapter(list[Plan]))
_TASKS: Final = call.page(TASK_LIST)
_REVISIONS: Final = call.page(TypeAdapter(list[Revision]))
_ATTEMPTS: Final = call.many(TypeAdapter(list[Attempt]))


def _created(response: httpx2.Response) -> list[Task]:
    return call.one(CreatedTasks)(response).tasks


def _handed_out(response: httpx2.Response) -> list[WorkPacket]:
    return call.one(ClaimAnswer)(response).tasks


# Plans


def create_plan(plan: PlanCreate) -> Call[Plan]:
    return Call(POST, "/plans/", _PLAN, body=plan)


def expand_plan(plan_id: UUID) -> Call[list[Task]]:
    return Call(POST, f"/plans/{plan_id}/expand", _created, body=NOTHING)


def get_plan(plan_id: UUID, *, at: datetime | None) -> Call[Plan]:
    return Call(GET, f"/plans/{plan_id}", _PLAN, query={"at": call.moment(at)})


def update_plan(plan_id: UUID, update: PlanUpdate, *, expected_version: int | None) -> Call[Plan]:
    return Call(PATCH, f"/plans/{plan_id}", _PLAN, body=update, version=expected_version)


def _do_to_plan(verb: str, plan_id: UUID) -> Call[Plan]:
    return Call(POST, f"/plans/{plan_id}/{verb}", _PLAN, body=NOTHING)


start_plan: Final = partial(_do_to_plan, "start")
pause_plan: Final = partial(_do_to_plan, "pause")
resume_plan: Final = partial(_do_to_plan, "resume")
cancel_plan: Final = partial(_do_to_plan, "cancel")
retry_plan: Final = partial(_do_to_plan, "retry")


def delete_plan(plan_id: UUID, *, force: bool, expected_version: int | None) -> Call[None]:
    query = {"force": force}
    return Call(DELETE, f"/plans/{plan_id}", call.nothing, query=query, version=expected_version)


def bulk_plans(bulk: PlanBulk) -> Call[PlanBulkAnswer]:
    return Call(POST, "/plans/bulk", call.one(PlanBulkAnswer), body=bulk)


def list_plans(
    found: PlanFilter | None,
    *,
    sort: PlanSort | None,
    limit: int,
    offset: int,
    cursor: str | None,
) -> Call[Page[Plan]]:
    query = {**call.asked(found), "sort": sort, "limit": limit, "offset": offset, "cursor": cursor}
    return Call(GET, "/plans/", _PLANS, query=query)


# Tasks


def create_task(task: TaskCreate) -> Call[Task]:
    return Call(POST, "/tasks/", _TASK, body=task)


def create_tasks(batch: TaskBatch) -> Call[list[Task]]:
    return Call(POST, "/tasks/batch", _created, body=batch)


def get_task(task_id: UUID, *, at: datetime | None) -> Call[Task]:
    return Call(GET, f"/tasks/{task_id}", _TASK, query={"at": call.moment(at)})


def update_task(task_id: UUID, update: TaskUpdate, *, expected_version: int | None) -> Call[Task]:
    return Call(PATCH, f"/tasks/{task_id}", _TASK, body=update, version=expected_version)


def skip_task(task_id: UUID) -> Call[Task]:
    return Call(POST, f"/tasks/{task_id}/skip", _TASK, body=NOTHING)


def retry_task(task_id: UUID) -> Call[Task]:
    return Call(POST, f"/tasks/{task_id}/retry", _TASK, body=NOTHING)


def reset_task(task_id: UUID, reset: Reset | None) -> Call[Task]:
    return Call(POST, f"/tasks/{task_id}/reset", _TASK, body=reset or Reset())


def delete_task(task_id: UUID, *, force: bool, expected_version: int | None) -> Call[None]:
    query = {"force": force}
    return Call(DELETE, f"/tasks/{task_id}", call.nothing, query=query, version=expected_version)


def bulk_tasks(bulk: TaskBulk) -> Call[TaskBulkAnswer]:
    return Call(POST, "/tasks/bulk", call.one(TaskBulkAnswer), body=bulk)


def list_attempts(task_id: UUID) -> Call[list[Attempt]]:
    return Call(GET, f"/tasks/{task_id}/attempts", _ATTEMPTS)


def list_tasks(
    found: TaskFilter | None,
    *,
    plan_id: UUID | None,
    sort: TaskSort | None,
    limit: int,
    offset: int,
    cursor: str | None,
    at: datetime | None,
) -> Call[Page[Task]]:
    query = {
        **call.asked(found),
        **({} if plan_id is None else {"plan_id": str(plan_id)}),
        "sort": sort,
        "limit": limit,
        "offset": offset,
        "cursor": cursor,
        "at": call.moment(at),
    }
    return Call(GET, "/tasks/", _TASKS, query=query)


# Claims


def claim_tasks(request: ClaimRequest) -> Call[list[WorkPacket]]:
    return Call(POST, "/tasks/claim", _handed_out, body=request, wait=request.wait_seconds)


def heartbeat(heartbeat: Heartbeat) -> Call[HeartbeatAnswer]:
    return Call(POST, "/tasks/heartbeat", call.one(HeartbeatAnswer), body=heartbeat)


def complete_task(task_id: UUID, completion: Completion | None) -> Call[EndedTask]:
    return _end("complete", task_id, completion or Completion())


def fail_task(task_id: UUID, failure: Failure) -> Call[EndedTask]:
    return _end("fail", task_id, failure)


def release_task(task_id: UUID, release: Release | None) -> Call[EndedTask]:
    return _end("release", task_id, release or Release())


def _end(verb: str, task_id: UUID, report: Release) -> Call[EndedTask]:
    call = Call(POST, f"/tasks/{task_id}/{verb}", _ENDED_TASK, body=report)
    return _with_next(call, report.claim_next)


def complete_tasks(results: Results) -> Call[ResultsAnswer]:
    report = Call(POST, "/tasks/complete", call.one(ResultsAnswer), body=results)
    return _with_next(report, results.claim_next)


def _with_next(call: Call[R], claim_next: ClaimRequest | None) -> Call[R]:
    """Have the next tasks waited for: a report under a key is answered with what is there."""
    if claim_next is None or not claim_next.wait_seconds:
        return call
    claim = claim_tasks(claim_next)

    def then(answer: R) -> Call[R] | None:
        def read(response: httpx2.Response) -> R:
            return answer.model_copy(update={"tasks": claim.read(response)})

        if answer.tasks:
            return None
        return Call(claim.method, claim.path, read, body=claim.body, wait=claim.wait)

    return replace(call, then=then)


# Dependencies


_NEEDED: Final = "/tasks/{}/dependencies"


def list_dependencies(task_id: UUID) -> Call[list[Dependency]]:
    return Call(GET, _NEEDED.format(task_id), _DEPENDENCIES)


def set_dependencies(task_id: UUID, wired: DependenciesUpdate) -> Call[list[Dependency]]:
    return Call(PUT, _NEEDED.format(task_id), _DEPENDENCIES, body=_named(wired))


def add_dependencies(task_id: UUID, wired: DependenciesUpdate) -> Call[list[Dependency]]:
    return Call(POST, _NEEDED.format(task_id), _DEPENDENCIES, body=_named(wired))


def remove_dependencies(task_id: UUID, wired: DependenciesUpdate) -> Call[list[Dependency]]:
    body = wired if wired.depends_on else None
    return Call(DELETE, _NEEDED.format(task_id), _DEPENDENCIES, body=body)


def _named(wired: DependenciesUpdate) -> DependenciesUpdate:
    """Return what is the same and says so, where it names none."""
    return wired.model_copy(update={"depends_on": wired.depends_on})


# Revisions


def revise_plan(plan_id: UUID, revision: RevisionDraft) -> Call[RevisionAnswer]:
    return Call(POST, f"/plans/{plan_id}/revisions", _REVISION_ANSWER, body=revision)


def set_tasks(plan_id: UUID, wanted: WantedTasks) -> Call[RevisionAnswer]:
    return Call(PUT, f"/plans/{plan_id}/tasks", _REVISION_ANSWER, body=wanted)


def list_revisions(
    plan_id: UUID, *, limit: int, offset: int, cursor: str | None
) -> Call[Page[Revision]]:
    query = {"limit": limit, "offset": offset, "cursor": cursor}
    return Call(GET, f"/plans/{plan_id}/revisions", _REVISIONS, query=query)


def get_revision(plan_id: UUID, revision: int) -> Call[WholeRevision]:
    return Call(GET, f"/plans/{plan_id}/revisions/{revision}", call.one(WholeRevision))


def compare_revisions(
    plan_id: UUID, *, from_revision: int | None, to_revision: int | None
) -> Call[PlanDiff]:
    query = {"from": from_revision, "to": to_revision}
    return Call(GET, f"/plans/{plan_id}/diff", call.one(PlanDiff), query=query)


# Insight


def get_progress(plan_id: UUID) -> Call[Progress]:
    return Call(GET, f"/plans/{plan_id}/progress", call.one(Progress))


def get_graph(plan_id: UUID) -> Call[PlanGraph]:
    return Call(GET, f"/plans/{plan_id}/graph", call.one(PlanGraph))


def explain_task(task_id: UUID) -> Call[TaskExplanation]:
    return Call(GET, f"/tasks/{task_id}/explain", call.one(TaskExplanation))


def explain_plan(plan_id: UUID) -> Call[PlanExplanation]:
    return Call(GET, f"/plans/{plan_id}/explain", call.one(PlanExplanation))


# Events


def list_events(
    found: EventFilter | None, *, after: int, limit: int, offset: int
) -> Call[EventPage]:
    query = {**call.asked(found), "after": after, "limit": limit, "offset": offset}
    return Call(GET, "/events/", call.events, query=query)


def get_event(event_id: UUID) -> Call[LoggedEvent]:
    return Call(GET, f"/events/{event_id}", call.event)


def stream_events(
    *,
    after: int | None,
    plan_id: UUID | None,
    event_types: Collection[str] | None,
    aggregate_types: Collection[str] | None,
) -> Subscription:
    path = "/events/stream" if plan_id is None else f"/plans/{plan_id}/events/stream"
    query = {"event_type": _some(event_types), "aggregate_type": _some(aggregate_types)}
    return Subscription(path, after, query)


def _some(types: Collection[str] | None) -> list[str] | None:
    """Return types as a query has them; it can't have none of them, which would mean all."""
    return None if types is None else sorted(types) or [""]


# The server


def check() -> Call[None]:
    return Call(GET, "/health/ready", call.nothing, is_retried=False)
