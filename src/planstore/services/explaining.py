"""Why a task or a plan stands where it does: rows turned into reasons and sentences.

Nothing here reads or writes; `planstore.services.insight` brings what is read at one moment.
"""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from datetime import UTC
from typing import TYPE_CHECKING, Final

from planstore.models.dependency import Condition
from planstore.models.fields import shortened
from planstore.models.insight import (
    MAX_NAMED,
    FailedTask,
    PlanExplanation,
    Reason,
    ReasonCode,
    TaskExplanation,
    TaskStanding,
)
from planstore.models.plan import FINAL, PlanStatus
from planstore.models.task import ENDED, UNSTARTED, StatusReason, TaskStatus

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from datetime import datetime
    from uuid import UUID

    from planstore.sql.connection import Row

_PLAIN: Final = re.compile(r"[\w.:@/-]{1,60}")
"""A worker's id that needs no quotes."""


def is_root(task: Row) -> bool:
    """Whether an unfinished task waits for no other one.

    It runs, failed, is due, or is held or to be approved by somebody.
    """
    if task["status"] not in UNSTARTED:
        return True
    return _others(task) == 0 and (
        task["due_at"] is not None or _is_held(task) or _awaits_approval(task)
    )


def _others(task: Row) -> int:
    """How many tasks one waits for by its dependencies."""
    return task["unmet"] - task["awaits_approval"]


def _is_held(task: Row) -> bool:
    return task["status"] == TaskStatus.BLOCKED and task["status_reason"] == StatusReason.HELD


def _awaits_approval(task: Row) -> bool:
    return task["status"] == TaskStatus.BLOCKED and task["awaits_approval"]


def _has_failed(task: Row) -> bool:
    return task["status"] == TaskStatus.FAILED


def _urgency(task: Row) -> int:
    """What needs somebody's hand comes first."""
    if _has_failed(task):
        return 0
    return 1 if _is_held(task) or _awaits_approval(task) else 2


class Trail:
    """What a task waits for, what that waits for, and so on."""

    def __init__(self, edges: Iterable[Row], known: Iterable[Row] = ()) -> None:
        """``edges``: as `insight.trace` answers them; ``known``: tasks that they may begin at."""
        self._needs: dict[UUID, list[UUID]] = {}
        self._tasks: dict[UUID, Row] = {each["id"]: each for each in known}
        for edge in edges:
            self._needs.setdefault(edge["task_id"], []).append(edge["needs_id"])
            self._tasks.setdefault(edge["needs_id"], edge)

    def needs(self, task_id: UUID) -> list[UUID]:
        """Return what the task itself waits for."""
        return self._needs.get(task_id, [])

    def paths(self, starts: Iterable[UUID]) -> list[list[UUID]]:
        """Return a shortest way from ``starts`` to each root, to the most urgent first."""
        before: dict[UUID, UUID | None] = dict.fromkeys(starts)
        roots: list[UUID] = []
        queue = deque(before)
        while queue:
            task_id = queue.popleft()
            if is_root(self._tasks[task_id]):
                roots.append(task_id)
            for needed in self.needs(task_id):
                if needed not in before:
                    before[needed] = task_id
                    queue.append(needed)
        roots.sort(key=lambda each: _urgency(self._tasks[each]))
        return [_back(root, before) for root in roots[:MAX_NAMED]]


def _back(task_id: UUID, before: Mapping[UUID, UUID | None]) -> list[UUID]:
    path: list[UUID] = []
    step: UUID | None = task_id
    while step is not None:
        path.append(step)
        step = before[step]
    return path[::-1]


@dataclass(slots=True)
class TaskView:
    """What is known of a task at one moment."""

    plan: Row
    task: Row
    dependents: int
    """How many tasks wait for it."""
    tasks: dict[UUID, Row] = field(default_factory=dict["UUID", "Row"])
    """Those that are named, by their ids."""
    needs: dict[UUID, Condition] = field(default_factory=dict["UUID", "Condition"])
    """What it waits for, and what of that."""
    needed_paths: list[list[UUID]] = field(default_factory=list["list[UUID]"])
    """The ways from there to the roots."""
    earlier_count: int = 0
    """How many tasks of a lower order aren't finished, in a sequential plan."""
    earlier: list[UUID] = field(default_factory=list["UUID"])
    """The first ones of them."""
    earlier_paths: list[list[UUID]] = field(default_factory=list["list[UUID]"])
    is_left_out: bool = False
    """Whether it is due, and its plan has no place for it."""
    offered: list[Row] = field(default_factory=list["Row"])
    """Those that take the places."""
    origins: list[Row] = field(default_factory=list["Row"])
    """Why it was skipped: the dependencies that died first."""
    failed: list[Row] = field(default_factory=list["Row"])
    """Those by which its plan was aborted."""
    error: str | None = None
    """The beginning of what went wrong with it."""


def explain_task(view: TaskView) -> TaskExplanation:
    """Say why a task isn't running, or that it is."""
    task = view.task
    if task["status"] == TaskStatus.RUNNING:
        reasons = [*_of_run(view)]
    elif task["status"] in ENDED:
        reasons = [_of_end(view)]
    else:
        reasons = [*_of_waiting(view)]
    roots = {path[-1]: None for path in (*view.needed_paths, *view.earlier_paths)}
    return TaskExplanation(
        task_id=task["id"],
        plan_id=task["plan_id"],
        name=task["name"],
        status=task["status"],
        sentence=reasons[0].detail,
        reasons=reasons,
        blockers=[_standing(view.tasks[each], view.plan) for each in [*roots][:MAX_NAMED]],
        would_unblock=view.dependents,
    )


def _of_run(view: TaskView) -> Iterator[Reason]:
    task, plan = view.task, view.plan
    if task["worker_id"] is None:
        told = f"It has been running since {_at(task['began_at'], plan)}, started by hand."
    else:
        told = (
            f"Worker {_worker(task)} has been running it since {_at(task['began_at'], plan)} "
            f"(attempt {task['attempt']})."
        )
    lease = task["lease_expires_at"]
    if lease is not None and lease <= plan["now"]:
        told = f"{told[:-1]}; its lease ended at {_at(lease, plan)}, so it will be taken back."
    yield _reason(ReasonCode.RUNNING, told, since=task["began_at"], until=lease)
    if plan["closed_at"] is not None:
        told = f"Its plan was closed at {_at(plan['closed_at'], plan)}: its worker is to stop."
        yield _reason(ReasonCode.PLAN_CLOSED, told, since=plan["closed_at"])
    elif plan["is_aborting"]:
        yield _reason(
            ReasonCode.PLAN_ABORTED,
            f"Its worker is to stop: the plan aborts, since {_first(view.failed, plan)}.",
            tasks=_standings(view.failed, plan),
        )


def _of_end(view: TaskView) -> Reason:
    task, plan = view.task, view.plan
    since = task["ended_at"] or task["completed_at"]
    at = f" at {_at(since, plan)}" if since else ""
    match task["status"], task["status_reason"]:
        case TaskStatus.COMPLETED, _:
            by = f", by worker {_worker(task)}" if task["worker_id"] is not None else ""
            return _reason(ReasonCode.COMPLETED, f"It was completed{at}{by}.", since=since)
        case TaskStatus.FAILED, _:
            what = f": {shortened(view.error)!r}" if view.error else ""
            told = f"It failed{at}{what}; it isn't tried again by itself."
            if task["needs_review"]:
                told += " Somebody should look: its worker vanished, and it must not run twice."
            return _reason(ReasonCode.FAILED, told, since=since)
        case _, StatusReason.DEAD:
            told = f"It was skipped{at}, for what it needs can't come any more: "
            return _reason(
                ReasonCode.DEPENDENCY_DEAD,
                f"{told}{_first(view.origins, plan)}." if view.origins else f"{told[:-2]}.",
                since=since,
                tasks=_standings(view.origins, plan),
            )
        case _, StatusReason.ABORTED:
            told = f"It was skipped{at}, when its plan was aborted: {_first(view.failed, plan)}."
            tasks = _standings(view.failed, plan)
            return _reason(ReasonCode.PLAN_ABORTED, told, since=since, tasks=tasks)
        case _, StatusReason.CLOSED:
            told = f"It was skipped{at}, when its plan was closed by hand."
            return _reason(ReasonCode.PLAN_CLOSED, told, since=since)
        case _:
            return _reason(ReasonCode.SKIPPED, f"It was skipped by hand{at}.", since=since)


def _of_waiting(view: TaskView) -> Iterator[Reason]:
    """Yield why a task hasn't started; first what concerns all of its plan."""
    yield from _of_stopped_plan(view.plan)
    yield from _of_people(view.task)
    if view.needs:
        yield _of_dependencies(view)
    if view.earlier_count:
        yield _of_sequence(view)
    yield from _of_time(view)
    yield from _of_handing_out(view)


def _of_stopped_plan(plan: Row) -> Iterator[Reason]:
    if plan["closed_at"] is not None:
        told = f"Its plan was closed by hand at {_at(plan['closed_at'], plan)}."
        yield _reason(ReasonCode.PLAN_CLOSED, told, since=plan["closed_at"])
    if plan["status"] == PlanStatus.DRAFT:
        yield _reason(ReasonCode.PLAN_DRAFT, "Its plan is a draft: it has not been started.")
    if plan["paused_at"] is not None:
        told = f"Its plan has been paused since {_at(plan['paused_at'], plan)}{_for_budget(plan)}."
        yield _reason(ReasonCode.PLAN_PAUSED, told, since=plan["paused_at"])


def _of_people(task: Row) -> Iterator[Reason]:
    if _is_held(task):
        yield _reason(ReasonCode.HELD, "It is held by hand, until it is set to pending.")
    if _awaits_approval(task):
        told = "It waits until somebody approves it, or rejects it."
        yield _reason(ReasonCode.APPROVAL, told)


def _of_handing_out(view: TaskView) -> Iterator[Reason]:
    task, plan = view.task, view.plan
    if plan["status"] in FINAL and plan["closed_at"] is None:
        yield _settled(plan, "Its plan", [])
    if task["ready_at"] is not None and task["ready_at"] <= plan["now"]:
        told = f"It is ready, and nobody has claimed it since {_at(task['ready_at'], plan)}."
        yield _reason(ReasonCode.READY, told + _for_whom(task), since=task["ready_at"])
    elif view.is_left_out:
        yield _of_limit(view)


def _for_budget(plan: Row) -> str:
    limit = plan["pause_reason"]
    return f", for it has reached the {limit} of its budget" if limit is not None else ""


def _of_dependencies(view: TaskView) -> Reason:
    starts = [path[0] for path in view.needed_paths]
    first = view.needed_paths[0] if view.needed_paths else [next(iter(view.needs))]
    needed = _called(view.tasks[first[0]])
    match view.needs[first[0]]:
        case Condition.FAILURE:
            needed = f"the failure of {needed}"
        case Condition.ENDED:
            needed = f"the end of {needed}"
        case Condition.SUCCESS:
            pass
    among = "" if len(view.needs) == 1 else f"{len(view.needs)} tasks, among them "
    named = [*dict.fromkeys((*starts, *view.needs))][:MAX_NAMED]
    return _reason(
        ReasonCode.DEPENDENCIES,
        f"It waits for {among}{needed}, {_chain(first, view)}.",
        tasks=[
            _standing(view.tasks[each], view.plan, when=view.needs[each])
            for each in named
            if each in view.tasks
        ],
        count=len(view.needs),
    )


def _of_sequence(view: TaskView) -> Reason:
    first = view.earlier_paths[0] if view.earlier_paths else view.earlier[:1]
    among = "" if view.earlier_count == 1 else f"{view.earlier_count} tasks, among them "
    return _reason(
        ReasonCode.SEQUENCE,
        f"Its turn comes after {among}{_called(view.tasks[first[0]])}, {_chain(first, view)}.",
        tasks=_standings([view.tasks[each] for each in view.earlier], view.plan),
        count=view.earlier_count,
    )


def _chain(path: Sequence[UUID], view: TaskView) -> str:
    """What the first task of a path waits for, down to what the last one is at."""
    root = view.tasks[path[-1]]
    stands = _clause(root, view.plan, is_relative=True)
    match len(path):
        case 1:
            return stands
        case 2:
            return f"which waits for {_called(root)}, {stands}"
        case _:
            return f"which in the end waits for {_called(root)}, {stands}"


def _of_time(view: TaskView) -> Iterator[Reason]:
    task, now = view.task, view.plan["now"]
    times = (task["due_at"], task["not_before"])
    until = next((each for each in times if each is not None and each > now), None)
    if until is None:
        return
    at = _at(until, view.plan)
    if until == task["due_at"] and task["is_retrying"]:
        told = f"Its attempt {task['attempt']} failed, and it waits until {at} for the next one."
        yield _reason(ReasonCode.BACKOFF, told, until=until)
    else:
        yield _reason(ReasonCode.NOT_BEFORE, f"It isn't to start before {at}.", until=until)


def _of_limit(view: TaskView) -> Reason:
    plan = view.plan
    limit = plan["max_parallel_tasks"]
    places = "the one place" if limit == 1 else f"one of the {limit} places"
    told = f"It waits for {places} that its plan has"
    if view.offered:
        taker = view.offered[0]
        among = "by" if len(view.offered) == 1 else "among others by"
        clause = _clause(taker, plan, is_relative=True)
        told += f"; they are taken {among} {_called(taker)}, {clause}"
    return _reason(
        ReasonCode.PLAN_LIMIT,
        f"{told}.",
        tasks=_standings(view.offered, plan),
        count=plan["offered_tasks"],
        limit=limit,
    )


def _for_whom(task: Row) -> str:
    asked: list[str] = []
    if task["agent_id"] is not None:
        asked.append(f"an agent_id get it only where it is {task['agent_id']}")
    if task["task_type"] is not None:
        kind = shortened(task["task_type"])
        asked.append(f"task_types get it only where {kind!r} is among them")
    return "".join(f" Claims that name {each}." for each in asked)


@dataclass(slots=True)
class PlanView:
    """What is known of a plan at one moment."""

    plan: Row
    counts: Row
    roots: list[Row]
    """Its unfinished tasks that wait for no other one, those that hold back the most first."""
    reaches: dict[UUID, int] | None
    """How many tasks wait for each of them; None where that is too much to count."""
    failed: list[Row]
    """The tasks that failed, the last ones first."""


def explain_plan(view: PlanView) -> PlanExplanation:
    """Say why a plan isn't going on, or that it is."""
    reasons = [*_of_plan(view), *_of_tasks(view)]
    is_idle = view.counts["running"] == 0 and reasons[0].code in _ABOUT_TASKS
    first = reasons[0].detail
    blockers = [_of_root(each, view) for each in view.roots[:MAX_NAMED]]
    return PlanExplanation(
        plan_id=view.plan["id"],
        status=view.plan["status"],
        sentence=f"Nothing of it runs: {first}" if is_idle else first,
        reasons=reasons,
        blockers=blockers,
        unblocks_most=next((each for each in blockers[:1] if each.holds_back), None),
        failed=[FailedTask.model_validate(dict(each)) for each in view.failed],
    )


def _of_root(task: Row, view: PlanView) -> TaskStanding:
    holds_back = None if view.reaches is None else view.reaches[task["id"]]
    return _standing(task, view.plan, holds_back=holds_back)


def _of_plan(view: PlanView) -> Iterator[Reason]:
    plan, counts = view.plan, view.counts
    if plan["closed_at"] is not None:
        told = f"It was closed by hand as {plan['status']} at {_at(plan['closed_at'], plan)}."
        if counts["running"]:
            told = f"{told[:-1]}; {_some(counts['running'], 'still runs', 'still run')}."
        yield _reason(ReasonCode.PLAN_CLOSED, told, since=plan["closed_at"])
    elif plan["status"] in FINAL:
        yield _settled(plan, "It", [each for each in view.roots if _has_failed(each)])
    elif plan["task_count"] == 0:
        yield _reason(ReasonCode.NO_TASKS, "It has no tasks.")
    elif plan["unfinished_tasks"] == 0:
        told = "All its tasks are finished; it stays open because its auto_complete is false."
        yield _reason(ReasonCode.ALL_FINISHED, told, count=plan["task_count"])
    if plan["status"] == PlanStatus.DRAFT:
        yield _reason(ReasonCode.PLAN_DRAFT, "It is a draft: it has not been started.")
    if plan["paused_at"] is not None:
        told = f"It has been paused since {_at(plan['paused_at'], plan)}{_for_budget(plan)}."
        if counts["running"]:
            told = f"{told[:-1]}; {_some(counts['running'], 'still runs', 'still run')}."
        yield _reason(ReasonCode.PLAN_PAUSED, told, since=plan["paused_at"])


_ABOUT_TASKS: Final = frozenset(
    {
        *(ReasonCode.READY, ReasonCode.FAILED, ReasonCode.HELD, ReasonCode.APPROVAL),
        ReasonCode.PLAN_LIMIT,
        *(ReasonCode.BACKOFF, ReasonCode.NOT_BEFORE, ReasonCode.DEPENDENCIES),
        ReasonCode.SEQUENCE,
    }
)


def _of_tasks(view: PlanView) -> Iterator[Reason]:
    """Yield what the tasks are at: first what goes on, then what holds it up."""
    plan, counts = view.plan, view.counts
    now = plan["now"]
    alike = _Alike(view)
    yield from alike.reason(
        ReasonCode.RUNNING,
        counts["running"],
        lambda each: each["status"] == TaskStatus.RUNNING,
        ("runs", "run"),
    )
    yield from alike.reason(
        ReasonCode.READY,
        counts["ready"],
        lambda each: each["ready_at"] is not None and each["ready_at"] <= now,
        ("is ready", "are ready"),
        since=counts["ready_since"],
    )
    yield from alike.reason(
        ReasonCode.FAILED,
        counts["failed"],
        _has_failed,
        ("failed", "failed"),
    )
    yield from alike.reason(
        ReasonCode.HELD, counts["held"], _is_held, ("is held by hand", "are held by hand")
    )
    yield from alike.reason(
        ReasonCode.APPROVAL,
        counts["unapproved"],
        _awaits_approval,
        ("waits to be approved", "wait to be approved"),
    )
    if plan["max_parallel_tasks"] is not None and plan["paused_at"] is None:
        yield from alike.reason(
            ReasonCode.PLAN_LIMIT,
            counts["left_out"] if plan["status"] == PlanStatus.ACTIVE else 0,
            lambda each: (
                each["due_at"] is not None and each["due_at"] <= now and each["ready_at"] is None
            ),
            ("waits for a place", "wait for a place"),
            limit=plan["max_parallel_tasks"],
        )
    yield from alike.reason(
        ReasonCode.BACKOFF,
        counts["backing_off"],
        lambda each: each["is_retrying"] and each["due_at"] is not None and each["due_at"] > now,
        ("is to be tried again", "are to be tried again"),
        until=counts["backed_off_at"],
    )
    yield from alike.reason(
        ReasonCode.NOT_BEFORE,
        counts["waiting_for_time"] - counts["backing_off"],
        lambda each: (
            not each["is_retrying"] and each["due_at"] is not None and each["due_at"] > now
        ),
        ("waits for its time", "wait for their time"),
        until=counts["starting_at"],
    )
    yield from alike.reason(
        ReasonCode.DEPENDENCIES,
        counts["blocked"] - counts["held"] - counts["unapproved"],
        lambda _: False,
        ("waits for a dependency", "wait for dependencies"),
    )
    yield from alike.reason(
        ReasonCode.SEQUENCE,
        counts["out_of_turn"],
        lambda _: False,
        ("waits for its turn", "wait for their turn"),
    )


class _Alike:
    """Makes a reason of the tasks of a plan that stand alike."""

    def __init__(self, view: PlanView) -> None:
        self._view = view

    def reason(
        self,
        code: ReasonCode,
        count: int,
        is_one: Callable[[Row], bool],
        verbs: tuple[str, str],
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        limit: int | None = None,
    ) -> Iterator[Reason]:
        if not count:
            return
        plan = self._view.plan
        rows = [each for each in self._view.roots if is_one(each)][:MAX_NAMED]
        tasks = [_of_root(each, self._view) for each in rows]
        told = _some(count, *verbs)
        if limit is not None:
            told += f", for it has {_many(limit, 'place')}"
        if tasks:
            among = ", among them" if count > 1 else ":"
            told += f"{among} {_called(rows[0])}, {_clause(rows[0], plan, is_relative=True)}"
            if held_back := tasks[0].holds_back:
                told += f", and for which {_many(held_back, 'task')} {_wait(held_back)}"
        yield _reason(
            code,
            f"{told}.",
            tasks=tasks,
            count=count,
            since=since,
            until=until,
            limit=limit,
        )


def _settled(plan: Row, subject: str, failed: Sequence[Row]) -> Reason:
    if plan["status"] == PlanStatus.COMPLETED:
        told = f"{subject} is completed: all its tasks are finished."
    else:
        told = f"{subject} has failed, for nothing of it could become ready any more"
        told += f": {_first(failed, plan)}." if failed else "."
    return _reason(ReasonCode.PLAN_SETTLED, told)


def _reason(
    code: ReasonCode,
    detail: str,
    *,
    tasks: list[TaskStanding] | None = None,
    count: int | None = None,
    since: datetime | None = None,
    until: datetime | None = None,
    limit: int | None = None,
) -> Reason:
    tasks = tasks or []
    return Reason(
        code=code,
        detail=detail,
        tasks=tasks,
        count=len(tasks) if count is None else count,
        since=since,
        until=until,
        limit=limit,
    )


def _standings(tasks: Iterable[Row], plan: Row) -> list[TaskStanding]:
    return [_standing(each, plan) for each in tasks]


def _standing(
    task: Row, plan: Row, *, when: Condition | None = None, holds_back: int | None = None
) -> TaskStanding:
    since = until = None
    if task["status"] == TaskStatus.RUNNING:
        since, until = task["began_at"], task["lease_expires_at"]
    elif task["status"] in ENDED:
        since = task["ended_at"] or task["completed_at"]
    elif task["due_at"] is not None and task["due_at"] > plan["now"]:
        until = task["due_at"]
    else:
        since = task["ready_at"]
    return TaskStanding(
        task_id=task["id"],
        name=task["name"],
        status=task["status"],
        when=when,
        worker_id=task["worker_id"],
        attempt=task["attempt"],
        since=since,
        until=until,
        holds_back=holds_back,
        detail=_clause(task, plan, is_relative=False),
    )


def _clause(task: Row, plan: Row, *, is_relative: bool) -> str:
    """What a task is at: ``it failed at …``, or ``which failed at …`` after its name."""
    who, whom = ("which", "") if is_relative else ("it", " it")
    match task["status"]:
        case TaskStatus.RUNNING:
            since = _at(task["began_at"], plan)
            if task["worker_id"] is None:
                return f"{who} has been running since {since}, started by hand"
            return (
                f"{'which ' if is_relative else ''}worker {_worker(task)} has been running{whom} "
                f"since {since} (attempt {task['attempt']})"
            )
        case TaskStatus.FAILED | TaskStatus.COMPLETED | TaskStatus.SKIPPED as status:
            verb = "failed" if status == TaskStatus.FAILED else f"was {status}"
            since = task["ended_at"] or task["completed_at"]
            return f"{who} {verb} at {_at(since, plan)}" if since else f"{who} {verb}"
        case TaskStatus.BLOCKED:
            if _is_held(task):
                return f"{who} is held by hand"
            others = _many(_others(task), "other task") if _others(task) else ""
            approval = "somebody to approve it" if _awaits_approval(task) else ""
            return f"{who} waits for {' and for '.join(filter(None, (approval, others)))}"
        case _:
            return _pending_clause(task, plan, who=who, whom=whom)


def _pending_clause(task: Row, plan: Row, *, who: str, whom: str) -> str:
    if task["due_at"] is None:
        return f"{who} waits for its turn"
    if task["due_at"] > plan["now"]:
        why = " to be tried again" if task["is_retrying"] else ""
        return f"{who} waits until {_at(task['due_at'], plan)}{why}"
    if task["ready_at"] is not None:
        which = "" if whom else "which "
        return f"{which}nobody has claimed{whom} since {_at(task['ready_at'], plan)}"
    if plan["status"] == PlanStatus.DRAFT:
        return f"{who} waits for the plan to be started"
    if plan["paused_at"] is not None:
        return f"{who} waits for the plan to be resumed"
    return f"{who} waits for a place in the plan"


def _first(tasks: Sequence[Row], plan: Row) -> str:
    """Say of the first of the tasks what it is at, and how many there are more."""
    if not tasks:
        return "a task failed"
    more = f", and {len(tasks) - 1} more" if len(tasks) > 1 else ""
    clause = _clause(tasks[0], plan, is_relative=True).removeprefix("which ")
    return f"{_called(tasks[0])} {clause}{more}"


def _called(task: Row) -> str:
    return repr(shortened(task["name"])) if task["name"] is not None else f"task {task['id']}"


def _worker(task: Row) -> str:
    worker: str = task["worker_id"]
    return worker if _PLAIN.fullmatch(worker) else repr(shortened(worker))


def _at(moment: datetime, plan: Row) -> str:
    """Write a time; of today only its hour."""
    moment, now = moment.astimezone(UTC), plan["now"].astimezone(UTC)
    return f"{moment:%H:%M:%SZ}" if moment.date() == now.date() else f"{moment:%Y-%m-%dT%H:%M:%SZ}"


def _many(count: int, noun: str) -> str:
    return f"{count} {noun}{'' if count == 1 else 's'}"


def _some(count: int, one: str, several: str) -> str:
    return f"{count} of its tasks {one if count == 1 else several}"


def _wait(count: int) -> str:
    return "waits" if count == 1 else "wait"
