"""How far a plan is, what it looks like, and why it or a task of it isn't going on.

All that one answer rests on is read at one moment; what takes long to work out is worked out
beside the loop.
"""

from __future__ import annotations

import asyncio
from datetime import timedelta
from itertools import chain
from typing import TYPE_CHECKING, Final

from planstore.models.dependency import Condition
from planstore.models.duration import seconds_in
from planstore.models.graph import GraphEdge, GraphNode, PlanGraph
from planstore.models.insight import (
    MAX_EDGES,
    MAX_NAMED,
    MAX_RUNNING,
    MAX_WEIGHED,
    Basis,
    PlanExplanation,
    Progress,
    RunningTask,
    TaskCounts,
    TaskExplanation,
)
from planstore.models.plan import SEQUENTIAL, PlanStatus
from planstore.models.precedence import NEVER, Precedence, Step
from planstore.models.task import FINISHED, PATIENT_REASONS, UNSTARTED, StatusReason, TaskStatus
from planstore.services import explaining, refusals
from planstore.services.explaining import PlanView, TaskView, Trail
from planstore.sql import insight

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime
    from uuid import UUID

    from planstore.db import Database
    from planstore.sql.connection import Connection, Row

_LONGEST: Final = timedelta(days=366 * 100).total_seconds()
"""Seconds beyond which an estimate says nothing."""


async def _plan(conn: Connection, plan_id: UUID) -> Row:
    plan = await insight.plan(conn, plan_id)
    if plan is None:
        raise refusals.no_plan(plan_id)
    return plan


async def get_graph(database: Database, plan_id: UUID) -> PlanGraph:
    """Return a plan's tasks and dependencies: of a very large one the first."""
    async with database.moment() as conn:
        plan = await _plan(conn, plan_id)
        nodes = await insight.nodes(conn, plan_id, limit=MAX_WEIGHED)
        edges = await insight.edges(conn, plan_id, limit=MAX_EDGES + 1)

    def draw() -> PlanGraph:
        shown = {each["id"] for each in nodes}
        between = [each for each in edges if each["task_id"] in shown and each["needs_id"] in shown]
        return PlanGraph(
            plan_id=plan_id,
            plan_type=plan["plan_type"],
            nodes=[GraphNode.model_validate(dict(each)) for each in nodes],
            edges=[GraphEdge.model_validate(dict(each)) for each in between[:MAX_EDGES]],
            is_whole=len(nodes) == plan["task_count"] and len(edges) <= MAX_EDGES,
        )

    return await asyncio.to_thread(draw)


async def get_progress(database: Database, plan_id: UUID) -> Progress:
    """Return how far a plan is, and when it may end."""
    async with database.moment() as conn:
        plan = await _plan(conn, plan_id)
        counts = await insight.counts(conn, plan_id)
        running = await insight.running(conn, plan_id, limit=MAX_RUNNING)
        is_going_on = plan["status"] == PlanStatus.ACTIVE and plan["paused_at"] is None
        left = await _left(conn, plan_id) if is_going_on and plan["unfinished_tasks"] else None
        measured = await insight.durations(conn, plan_id) if left else []
    end, basis = None, Basis.NONE
    if left is not None:
        end, basis = await asyncio.to_thread(_estimated, plan, counts, left, measured)
    total = sum(counts[each] for each in TaskStatus)
    finished = sum(counts[each] for each in FINISHED)
    return Progress(
        plan_id=plan_id,
        status=plan["status"],
        current_step=plan["current_step"],
        paused_at=plan["paused_at"],
        total=total,
        counts=TaskCounts(**{each.value: counts[each] for each in TaskStatus}),
        percent=round(100 * finished / total, 1) if total else 0.0,
        ready=counts["ready"],
        waiting_for_time=counts["waiting_for_time"],
        retrying=counts["retrying"],
        running=[RunningTask.model_validate(dict(each)) for each in running],
        estimated_end=end,
        basis=basis,
    )


_Left = tuple["list[Row]", "list[Row]"]
"""The unfinished tasks of a plan, and the dependencies that hold them back."""


async def _left(conn: Connection, plan_id: UUID) -> _Left | None:
    """Read what is left of a plan; None where that is too much to be put into relation."""
    tasks = await insight.unfinished(conn, plan_id, limit=MAX_WEIGHED + 1)
    if len(tasks) > MAX_WEIGHED:
        return None
    waits = await insight.waits(conn, plan_id, limit=MAX_EDGES + 1)
    return None if len(waits) > MAX_EDGES else (tasks, waits)


def _precedence(plan: Row, left: _Left) -> Precedence:
    tasks, waits = left
    places = {each["id"]: place for place, each in enumerate(tasks)}
    return Precedence(
        [Step(each["sequence_order"], each["status"] in UNSTARTED) for each in tasks],
        (
            (places[each["task_id"]], places[each["needs_id"]])
            for each in waits
            if each["task_id"] in places and each["needs_id"] in places
        ),
        is_sequential=plan["plan_type"] == SEQUENTIAL,
    )


def _estimated(
    plan: Row, counts: Row, left: _Left, measured: Sequence[Row]
) -> tuple[datetime | None, Basis]:
    """When what is left may have ended, by the formula that `Progress.estimated_end` tells."""
    tasks, _ = left
    now = plan["now"]
    lengths, basis = _lengths(tasks, measured)
    if basis == Basis.NONE:
        return None, basis
    durations: list[float] = []
    starts: list[float] = []
    for task, seconds in zip(tasks, lengths, strict=True):
        is_stuck = task["status"] == TaskStatus.FAILED or task["status_reason"] in PATIENT_REASONS
        had = now - task["began_at"] if task["status"] == TaskStatus.RUNNING else timedelta()
        durations.append(NEVER if is_stuck else max(seconds - had.total_seconds(), 0.0))
        waits_until = task["due_at"] or task["not_before"] or now
        is_waiting = task["status"] in UNSTARTED
        starts.append(max((waits_until - now).total_seconds(), 0.0) if is_waiting else 0.0)
    ends = _precedence(plan, left).ends(starts=starts, durations=durations)
    coming = [place for place, end in enumerate(ends) if end < NEVER]
    if not coming:
        return None, Basis.NONE
    longest = max(ends[place] for place in coming)
    work = sum(durations[place] for place in coming)
    at_once: int | None = counts["running"] or plan["max_parallel_tasks"]
    seconds = max(longest, work / at_once if at_once else 0.0)
    return (now + timedelta(seconds=seconds), basis) if seconds < _LONGEST else (None, Basis.NONE)


def _lengths(tasks: Sequence[Row], measured: Sequence[Row]) -> tuple[list[float], Basis]:
    """How many seconds each task takes, and what that rests on."""
    if measured:
        of_type: dict[str | None, float] = {each["task_type"]: each["seconds"] for each in measured}
        runs = sum(each["runs"] for each in measured)
        of_all = sum(each["runs"] * each["seconds"] for each in measured) / runs
        return [
            of_all if each["task_type"] is None else of_type.get(each["task_type"], of_all)
            for each in tasks
        ], Basis.MEASURED
    given = [
        None if each["estimated_duration"] is None else seconds_in(each["estimated_duration"])
        for each in tasks
    ]
    known = [each for each in given if each is not None]
    if not known:
        return [], Basis.NONE
    mean = sum(known) / len(known)
    return [mean if each is None else each for each in given], Basis.ESTIMATED


async def explain_plan(database: Database, plan_id: UUID) -> PlanExplanation:
    """Say why a plan isn't going on, or that it is."""
    async with database.moment() as conn:
        plan = await _plan(conn, plan_id)
        counts = await insight.counts(conn, plan_id)
        failed = await insight.failed(conn, plan_id, limit=MAX_NAMED)
        left = await _left(conn, plan_id)
        some = left[0] if left else await insight.unfinished(conn, plan_id, limit=MAX_WEIGHED)

    def explain() -> PlanExplanation:
        roots = [each for each in some if explaining.is_root(each)]
        reaches: dict[UUID, int] | None = None
        if left is not None:
            counted = _precedence(plan, left).reaches()
            reaches = {task["id"]: count for task, count in zip(some, counted, strict=True)}
            roots.sort(key=lambda each: -reaches[each["id"]])
        return explaining.explain_plan(PlanView(plan, counts, roots, reaches, failed))

    return await asyncio.to_thread(explain)


async def explain_task(database: Database, task_id: UUID) -> TaskExplanation:
    """Say why a task isn't running, or that it is."""
    async with database.moment() as conn:
        task = await insight.task(conn, task_id)
        if task is None:
            raise refusals.no_task(task_id)
        plan = await _plan(conn, task["plan_id"])
        dependents = await insight.dependents(conn, plan["id"], task_id, limit=MAX_WEIGHED)
        view = TaskView(plan, task, dependents)
        if task["status"] in UNSTARTED:
            await _look_ahead(conn, view)
        else:
            await _look_back(conn, view)
    return explaining.explain_task(view)


async def _look_ahead(conn: Connection, view: TaskView) -> None:
    """Find what a task waits for."""
    plan_id, task, plan = view.plan["id"], view.task, view.plan
    earlier: list[Row] = []
    if plan["plan_type"] == SEQUENTIAL:
        earlier = await insight.earlier(conn, plan_id, task["sequence_order"], limit=MAX_NAMED)
    view.earlier = [each["id"] for each in earlier]
    view.earlier_count = earlier[0]["total"] if earlier else 0
    if earlier or task["unmet"]:
        starts = [task["id"], *view.earlier]
        edges = await insight.trace(
            conn, plan_id, starts, max_tasks=MAX_WEIGHED, max_edges=MAX_EDGES
        )
        trail = Trail(edges, earlier)
        view.needs = {
            each["needs_id"]: Condition(each["when"])
            for each in edges
            if each["task_id"] == task["id"]
        }
        view.needed_paths = trail.paths(view.needs)
        view.earlier_paths = trail.paths(view.earlier)
        paths = chain.from_iterable((*view.needed_paths, *view.earlier_paths))
        named = {*paths, *view.earlier, *list(view.needs)[:MAX_NAMED]}
        view.tasks = {each["id"]: each for each in await insight.standings(conn, plan_id, [*named])}
    elif task["due_at"] is not None and task["ready_at"] is None:
        is_handing_out = plan["status"] == PlanStatus.ACTIVE and plan["paused_at"] is None
        view.is_left_out = is_handing_out and plan["max_parallel_tasks"] is not None
        if view.is_left_out:
            view.offered = await insight.offered(conn, plan_id, limit=MAX_NAMED)


async def _look_back(conn: Connection, view: TaskView) -> None:
    """Find what made a task end as it did, or is to make it stop."""
    plan_id, task = view.plan["id"], view.task
    if task["status"] == TaskStatus.FAILED:
        (failed,) = await insight.failed(conn, plan_id, task["id"], limit=1)
        view.error = failed["error"]
    elif task["status_reason"] == StatusReason.DEAD:
        view.origins = await insight.origins(
            conn, plan_id, task["id"], max_tasks=MAX_WEIGHED, limit=MAX_NAMED
        )
    elif task["status_reason"] == StatusReason.ABORTED or view.plan["is_aborting"]:
        failed = await insight.failed(conn, plan_id, limit=MAX_NAMED)
        view.failed = await insight.standings(conn, plan_id, [each["task_id"] for each in failed])
