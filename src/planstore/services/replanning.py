"""Changing a plan's structure while it runs: all of it in one transaction, or nothing.

The structure is read with the plan locked, changed in memory (`planstore.models.reshaping`), and
the difference is written, set by set; what follows for the tasks and the plan is derived once, at
the end. A dry run does all that, and undoes it.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from planstore.errors import RevisionRefused, VersionMismatch
from planstore.models.dependency import Condition, DependencyType
from planstore.models.operating import operate
from planstore.models.plan import SEQUENTIAL, OnFailure
from planstore.models.reshaping import Reshaping
from planstore.models.revision import (
    RevisionAnswer,
    RevisionDraft,
    RevisionRequest,
    TaskMention,
    WantedTasks,
)
from planstore.models.structure import Need, Node, Structure, stranded
from planstore.models.task import StatusReason, TaskStatus
from planstore.models.wanting import want
from planstore.services import following, refusals, steering
from planstore.sql import derivation, plans, structure, tasks
from planstore.sql import idempotency as keys
from planstore.sql.tasks import NewEdge, NewTask

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from collections.abc import Set as AbstractSet
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.idempotency import RequestKey
    from planstore.models.structure import Needs
    from planstore.services.wakeups import Wakeups
    from planstore.sql.connection import Connection, Row

_MANY: Final = 100
"""From how many tasks on it pays to plan statements for their number."""


class Replanning:
    """The changes of plans' structures that a process is asked for."""

    def __init__(self, database: Database, wakeups: Wakeups) -> None:
        self._database = database
        self._wakeups = wakeups

    async def revise(
        self, plan_id: UUID, request: RevisionDraft | WantedTasks, *, key: RequestKey | None
    ) -> RevisionAnswer:
        """Make the change, or try it out; answers what came or would come of it."""
        async with self._database.connection() as conn:
            change = conn.transaction()
            await change.start()
            try:
                answer = await _revise(conn, plan_id, request)
                if key is not None and not request.dry_run:
                    await keys.keep(conn, key, answer.model_dump(mode="json"))
            except BaseException:
                await change.rollback()
                raise
            await (change.rollback() if request.dry_run else change.commit())
        if not request.dry_run:
            self._wakeups.hint()
        return answer


async def _revise(
    conn: Connection, plan_id: UUID, request: RevisionDraft | WantedTasks
) -> RevisionAnswer:
    plan = await following.lock(conn, plan_id)
    if plan["closed_at"] is not None:
        raise refusals.plan_closed(plan_id, wish="change its tasks")
    if request.expected_revision not in {None, plan["revision"]}:
        raise VersionMismatch(
            f"plan {plan_id} is at revision {plan['revision']}, not {request.expected_revision}: "
            "read it again and decide anew"
        )
    await structure.lock_ready(conn, plan_id)
    before = await _read(conn, plan)
    # It may take a second, in which others are served.
    reshaping, was_stranded = await asyncio.to_thread(_reshaped, plan, before, request)
    if reshaping.faults:
        raise RevisionRefused(
            f"plan {plan_id} can't be changed like that: {reshaping.faults[0].detail}",
            faults=tuple(reshaping.faults),
        )
    await structure.lock(conn, plan_id, [*reshaping.concerned])
    if isinstance(request, WantedTasks):
        await _leave_unchanged_runs(conn, plan_id, reshaping)
    if request.pause_first:
        await plans.change(conn, plan_id, steering.paused(plan), expected_version=None, key=None)
    written = await _write(conn, plan, reshaping)
    if written.is_any or request.pause_first:
        written.unblocked = await derivation.derive(
            conn,
            plan_id,
            is_move=bool(reshaping.restarted),
            is_revision=written.is_any,
            note=_note(request),
        )
    is_stranded = stranded(reshaping.structure, on_failure=OnFailure(plan["on_failure"]))
    return _answer(plan, request, reshaping, written, is_stranded - was_stranded)


def _reshaped(
    plan: Row, before: Structure, request: RevisionDraft | WantedTasks
) -> tuple[Reshaping, set[UUID]]:
    """Apply what is asked in memory; answers also what was stranded before."""
    was_stranded = stranded(before, on_failure=OnFailure(plan["on_failure"]))
    reshaping = Reshaping(before, last_order=plan["last_order"])
    match request:
        case RevisionDraft():
            operate(reshaping, request.operations)
        case WantedTasks():
            want(reshaping, request.tasks)
    reshaping.finish()
    return reshaping, was_stranded


async def _leave_unchanged_runs(conn: Connection, plan_id: UUID, reshaping: Reshaping) -> None:
    """End no run of a task that is wanted as it is: the same list again is to change nothing."""
    runs = reshaping.runs_at_stake
    if not runs:
        return
    fields = {node.id: reshaping.rewritten.get(node.id, {}) for node in runs}
    differing = await tasks.differing(conn, plan_id, fields)
    for node in runs:
        if node.id not in differing:
            reshaping.leave(node)


_NEEDS: Final = {
    (when.value, kind.value): Need(when, kind) for when in Condition for kind in DependencyType
}
_PLAIN: Final = _NEEDS[Condition.SUCCESS.value, DependencyType.BLOCKING.value]
_STATUSES: Final = {status.value: status for status in TaskStatus}
_REASONS: Final = {None: None, **{reason.value: reason for reason in StatusReason}}
"""Looked up rather than made, ten thousand times."""


async def _read(conn: Connection, plan: Row) -> Structure:
    needs, inputs = await _read_needs(conn, plan["id"])
    return Structure(
        (
            Node(
                task_id,
                name,
                place,
                needs.get(task_id) or {},
                status=_STATUSES[status],
                status_reason=_REASONS[reason],
                is_due=is_due,
                input_data=inputs.get(task_id),
            )
            for task_id, name, place, status, reason, is_due in await structure.nodes(
                conn, plan["id"]
            )
        ),
        is_sequential=plan["plan_type"] == SEQUENTIAL,
    )


async def _read_needs(
    conn: Connection, plan_id: UUID
) -> tuple[dict[UUID, Needs], Mapping[UUID, Any]]:
    """Return what the tasks of a plan need, and the input of those that take others' output."""
    needs: dict[UUID, Needs] = {}
    is_any_fed = False
    for task_id, needed, otherwise, conditions, kinds in await structure.needs(conn, plan_id):
        needs[task_id] = own = dict.fromkeys(needed, _PLAIN)
        if otherwise:
            for each, when, kind in zip(otherwise, conditions, kinds, strict=True):
                own[each] = _NEEDS[when, kind]
            is_any_fed = is_any_fed or DependencyType.DATA.value in kinds
    return needs, await structure.inputs(conn, plan_id) if is_any_fed else {}


@dataclass(slots=True)
class _Written:
    """What was written of a change, before what follows from it."""

    is_any: bool
    changed: set[UUID]
    unblocked: Sequence[UUID] = ()


async def _write(conn: Connection, plan: Row, reshaping: Reshaping) -> _Written:
    """Write the difference: names and ids are freed before they are taken again."""
    plan_id = plan["id"]
    rewired = reshaping.rewired
    rewritten, moved = _moves_apart(reshaping.rewritten)
    if max(map(len, (reshaping.added, rewritten, rewired))) >= _MANY:
        await tasks.expect_many(conn)
    own = {node.id for node in reshaping.added}
    later = [node for node in rewired if not own.isdisjoint(node.needs)]
    restarted = await tasks.reset(
        conn, plan_id, [node.id for node in reshaping.restarted], is_revision=True
    )
    # Who needs what goes is to need others before, and who needs what is new does so after it came.
    first = [node for node in rewired if reshaping.is_bereft(node) or own.isdisjoint(node.needs)]
    if first:
        await _rewire(conn, plan_id, first, without=own)
    if reshaping.removed:
        await tasks.deletion.lock(conn, plan_id, [*reshaping.removed])
        await tasks.delete(conn, plan_id, [*reshaping.removed])
    changed = await _rewrite(conn, plan_id, rewritten, reshaping.names_left)
    if moved:
        changed.update(await tasks.renumber(conn, plan_id, moved))
    if reshaping.added:
        await _create(conn, plan_id, reshaping)
    if later:
        await _rewire(conn, plan_id, later, without=set())
    return _Written(
        bool(reshaping.added or reshaping.removed or changed or rewired or restarted),
        changed.union(node.id for node in rewired),
    )


async def _rewire(
    conn: Connection, plan_id: UUID, nodes: Iterable[Node], *, without: set[UUID]
) -> None:
    """Have the tasks need what they are to; without those that aren't there yet."""
    nodes = list(nodes)
    edges = [
        each for node in nodes for each in _edges(plan_id, node) if each.needs_id not in without
    ]
    await tasks.dependencies.replace(conn, plan_id, [node.id for node in nodes], edges)


def _edges(plan_id: UUID, node: Node) -> list[NewEdge]:
    return [NewEdge(plan_id, node.id, needed, *need) for needed, need in node.needs.items()]


def _moves_apart(
    fields: Mapping[UUID, dict[str, Any]],
) -> tuple[dict[UUID, dict[str, Any]], dict[UUID, int]]:
    """Tell tasks that are only to have another order from those of which more is to be set."""
    moved = {
        task_id: each["sequence_order"]
        for task_id, each in fields.items()
        if each.keys() == {"sequence_order"}
    }
    return {task_id: each for task_id, each in fields.items() if task_id not in moved}, moved


async def _rewrite(
    conn: Connection,
    plan_id: UUID,
    fields: dict[UUID, dict[str, Any]],
    names_left: AbstractSet[str],
) -> set[UUID]:
    if not fields:
        return set()
    renamed = {task_id: each["name"] for task_id, each in fields.items() if "name" in each}
    if not names_left.isdisjoint(renamed.values()):
        # Of two that take each other's names at once, each would find the other's still taken.
        await tasks.rewrite(conn, plan_id, {task_id: {"name": None} for task_id in renamed})
    return set(await tasks.rewrite(conn, plan_id, fields))


async def _create(conn: Connection, plan_id: UUID, reshaping: Reshaping) -> None:
    new: list[NewTask] = []
    for node in reshaping.added:
        assert node.draft is not None
        new.append(
            NewTask(
                node.id, plan_id, node.draft, after_last=None, at_least=reshaping.orders[node.id]
            )
        )
    edges = [each for node in reshaping.added for each in _edges(plan_id, node)]
    await tasks.create(conn, new, edges, is_locked=True, is_derived_after=True)


def _note(request: RevisionDraft | WantedTasks) -> dict[str, Any] | None:
    """What the event keeps of the request: who, why, and what in brief."""
    operations = request.brief() if isinstance(request, RevisionDraft) else None
    note = {"by": request.by, "reason": request.reason, "operations": operations}
    return {name: value for name, value in note.items() if value is not None} or None


def _answer(
    plan: Row,
    request: RevisionRequest,
    reshaping: Reshaping,
    written: _Written,
    new_stranded: set[UUID],
) -> RevisionAnswer:
    nodes = reshaping.structure.nodes
    own = {node.id for node in reshaping.added}
    restarted = {node.id for node in reshaping.restarted}
    unblocked = {each for each in written.unblocked if not nodes[each].is_due} - own - restarted

    def mentioned(which: Iterable[UUID]) -> list[TaskMention]:
        """In the order of the plan."""
        there = sorted(
            (nodes[each] for each in which), key=lambda node: (reshaping.orders[node.id], node.id)
        )
        return [_mention(node, request) for node in there]

    return RevisionAnswer(
        revision=plan["revision"] + written.is_any,
        applied=not request.dry_run,
        added=mentioned(own),
        changed=mentioned(written.changed),
        removed=[_mention(node, request) for node in reshaping.removed.values()],
        restarted=mentioned(restarted),
        unblocked=mentioned(unblocked),
        stranded=mentioned(new_stranded),
    )


def _mention(node: Node, request: RevisionRequest) -> TaskMention:
    is_made_up = request.dry_run and node.draft is not None and node.draft.id is None
    return TaskMention(id=None if is_made_up else node.id, name=node.name)
