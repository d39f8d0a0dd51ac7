"""What a change of a plan's structure means, said of the plan as it is read before and after."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final

from planstore.models import Plan, Task
from planstore.models import TaskStatus as S
from planstore.models.plan import SEQUENTIAL, OnFailure
from planstore.models.task import DERIVED_REASONS, FINISHED, UNSTARTED
from tests.history import all_needs, all_rows

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.revision import RevisionAnswer, TaskMention

KEPT_BY_SERVICE: Final = {
    *("version", "updated_at", "status", "status_reason", "attempt", "worker_id", "progress"),
    *("progress_note", "started_at", "completed_at", "output_data", "error", "needs_review"),
}
"""What of a task is no part of what it is to be."""

Needs = dict["UUID", tuple[str, str]]
"""What a task needs, with the condition and the type."""


@dataclass(frozen=True)
class Picture:
    """A plan with its tasks as they are at one time."""

    plan: Plan
    tasks: dict[UUID, Task]
    needs: dict[UUID, Needs]
    due: frozenset[UUID]
    """The tasks whose turn has come."""
    claims: dict[UUID, tuple[int, Any]]
    """Of each claim the fencing token and the lease's end."""

    @property
    def names(self) -> dict[str, Task]:
        return {task.name: task for task in self.tasks.values() if task.name is not None}

    @property
    def is_sequential(self) -> bool:
        return self.plan.plan_type == SEQUENTIAL

    def followers(self, task_id: UUID) -> set[UUID]:
        return {each for each, needs in self.needs.items() if task_id in needs}

    def reachable(self, task_id: UUID) -> set[UUID]:
        """All that the task waits for by dependencies, directly or not."""
        found: set[UUID] = set()
        left = [task_id]
        while left:
            new = self.needs[left.pop()].keys() - found
            found |= new
            left += new
        return found


async def take(database: Database) -> Picture:
    """Return the only plan that there is, as it is now."""
    rows, needs = await all_rows(database), await all_needs(database)
    async with database.connection() as conn:
        states = await conn.fetch(
            "select task_id, due_at, fencing_token, lease_expires_at from planstore.task_states"
        )
    (plan,) = (row for row in rows.values() if isinstance(row, Plan))
    tasks = {each: row for each, row in rows.items() if isinstance(row, Task)}
    by_text = {str(each): each for each in tasks}
    return Picture(
        plan,
        tasks,
        {
            each: {by_text[needed]: (when, kind) for needed, when, kind in needs.get(each, ())}
            for each in tasks
        },
        frozenset(row["task_id"] for row in states if row["due_at"] is not None),
        {
            row["task_id"]: (row["fencing_token"], row["lease_expires_at"])
            for row in states
            if row["lease_expires_at"] is not None
        },
    )


def is_waiting(task: Task) -> bool:
    """Whether it has yet to start, if only what it was skipped for is undone."""
    return task.status in UNSTARTED or task.status_reason in DERIVED_REASONS


def is_immutable(task: Task) -> bool:
    return task.status in FINISHED and not is_waiting(task)


def stuck(picture: Picture) -> set[UUID]:
    """The tasks that aren't carried out though all that can succeed does, and may fail as well."""
    on_failure = picture.plan.on_failure
    tasks, needs = picture.tasks, picture.needs
    waiting = {each for each, task in tasks.items() if is_waiting(task)}
    failed = {each for each, task in tasks.items() if task.status == S.FAILED}
    if failed and on_failure == OnFailure.ABORT:
        return waiting
    dead: set[UUID] = set()
    is_settled = False
    while not is_settled:
        more = {
            each
            for each in waiting
            if any(
                when != "ended" if needed in dead else _cannot_come(tasks[needed], when, on_failure)
                for needed, (when, _) in needs[each].items()
            )
        }
        is_settled, dead = more == dead, more
    done = {each for each, task in tasks.items() if is_immutable(task) or task.status == S.RUNNING}
    is_settled = False
    while not is_settled:
        more = {
            each
            for each in waiting - dead - done
            if all(
                _comes(picture, needed, when, done=done, dead=dead)
                for needed, (when, _) in needs[each].items()
            )
            and not (
                picture.is_sequential
                and any(
                    task.sequence_order < tasks[each].sequence_order and other not in done | dead
                    for other, task in tasks.items()
                )
            )
        }
        is_settled, done = not more, done | more
    return waiting - done


def _cannot_come(needed: Task, when: str, on_failure: OnFailure) -> bool:
    if is_waiting(needed):
        return False
    match when:
        case "success":
            is_given_up = needed.status == S.FAILED and on_failure != OnFailure.BLOCK
            return is_given_up or (needed.status == S.SKIPPED and needed.status_reason is not None)
        case "failure":
            return needed.status in FINISHED
        case _:
            return False


def _comes(picture: Picture, needed: UUID, when: str, *, done: set[UUID], dead: set[UUID]) -> bool:
    status = picture.tasks[needed].status
    match when:
        case "success":
            return needed in done
        case "failure":
            return status == S.FAILED or (
                needed in done and not is_immutable(picture.tasks[needed])
            )
        case _:
            return status == S.FAILED or needed in done or needed in dead


def assert_answered(before: Picture, after: Picture, answer: RevisionAnswer) -> None:
    """Assert that the answer says what has become of the plan."""
    assert answer.revision == after.plan.revision
    added, removed = after.tasks.keys() - before.tasks.keys(), before.tasks.keys() - after.tasks
    assert ids_of(answer.added) == added
    assert ids_of(answer.removed) == removed
    assert ids_of(answer.changed) == {
        each for each in before.tasks.keys() & after.tasks if _differs(before, after, each)
    }
    restarted = {
        each
        for each in before.tasks.keys() & after.tasks
        if before.tasks[each].status in {S.RUNNING, S.FAILED}
        and after.tasks[each].status != before.tasks[each].status
    }
    assert ids_of(answer.restarted) == restarted
    assert ids_of(answer.unblocked) == (after.due - before.due - added - restarted)
    assert ids_of(answer.stranded) == stuck(after) - stuck(before)
    is_any = bool(added or removed or restarted or answer.changed)
    assert after.plan.revision == before.plan.revision + is_any


def _differs(before: Picture, after: Picture, task_id: UUID) -> bool:
    return (wanted_of(before.tasks[task_id]), before.needs[task_id]) != (
        wanted_of(after.tasks[task_id]),
        after.needs[task_id],
    )


def wanted_of(task: Task) -> dict[str, Any]:
    """What a task is to be."""
    return task.model_dump(exclude=KEPT_BY_SERVICE)


def ids_of(mentions: Iterable[TaskMention]) -> set[UUID]:
    """The ids of tasks that are all there."""
    mentions = list(mentions)
    found = {each.id for each in mentions if each.id is not None}
    assert len(found) == len(mentions)
    return found


def assert_left_alone(before: Picture, after: Picture, answer: RevisionAnswer) -> None:
    """Assert that what is finished is as it was, and that what runs still does."""
    removed, restarted = ids_of(answer.removed), ids_of(answer.restarted)
    for each, task in before.tasks.items():
        if not is_immutable(task) and task.status != S.RUNNING:
            continue
        if task.status == S.RUNNING and each in removed | restarted:
            assert each not in after.claims
            continue
        needs = {needed: how for needed, how in before.needs[each].items() if needed not in removed}
        assert after.needs[each] == needs
        is_bereft = needs != before.needs[each]
        told = {"version", "updated_at"} if is_bereft else set[str]()
        assert after.tasks[each].model_dump(exclude=told) == task.model_dump(exclude=told)
        assert after.claims.get(each) == before.claims.get(each)


# What single operations mean.


def assert_order_kept(before: Picture, after: Picture) -> None:
    """Assert that of tasks that have yet to start none overtakes another one."""
    kept = [
        each
        for each, task in before.tasks.items()
        if each in after.tasks and is_waiting(task) and is_waiting(after.tasks[each])
    ]
    for one, other in ((one, other) for one in kept for other in kept):
        was_before = _order(before, one) < _order(before, other)
        assert (_order(after, one) < _order(after, other)) == was_before


def _order(picture: Picture, task_id: UUID) -> int:
    return picture.tasks[task_id].sequence_order


def waits_for(picture: Picture, later: UUID, earlier: UUID) -> bool:
    """Whether a task waits for another one, by dependencies or by order."""
    return earlier in picture.reachable(later) or (
        picture.is_sequential and _order(picture, earlier) < _order(picture, later)
    )


def assert_waiting_kept(before: Picture, after: Picture, *, without: UUID | None = None) -> None:
    """Assert that who waited for another one still does, where both have yet to start."""
    kept = [
        each
        for each, task in before.tasks.items()
        if each in after.tasks and each != without and is_waiting(task)
    ]
    for later, earlier in ((later, earlier) for later in kept for earlier in kept):
        if _waited_through_waiting(before, later, earlier):
            assert waits_for(after, later, earlier), (later, earlier)


def _waited_through_waiting(picture: Picture, later: UUID, earlier: UUID) -> bool:
    """Whether one waits for the other, with nothing between that has begun."""
    if picture.is_sequential and _order(picture, earlier) < _order(picture, later):
        return True
    found = {later}
    left = [later]
    while left:
        for needed in picture.needs[left.pop()]:
            if needed == earlier:
                return True
            if needed not in found and is_waiting(picture.tasks[needed]):
                found.add(needed)
                left.append(needed)
    return False


def assert_added(before: Picture, after: Picture, draft: Mapping[str, Any]) -> None:
    """Assert that a task is there as it was given, and that nothing else differs."""
    (new,) = after.tasks.keys() - before.tasks.keys()
    assert after.tasks[new].name == draft["name"]
    assert after.tasks[new].priority == draft["priority"]
    if draft.get("sequence_order") is not None:
        assert _order(after, new) == draft["sequence_order"]
    names = after.names
    given = {names[each["task"]].id: each["when"] for each in draft["depends_on"]}
    needs = {needed: when for needed, (when, _) in after.needs[new].items()}
    assert {needed: when for needed, when in needs.items() if needed in given} == given
    assert all(
        kind == "data" for needed, (_, kind) in after.needs[new].items() if needed not in given
    )
    assert all(not _differs(before, after, each) for each in before.tasks)


def assert_inserted_after(before: Picture, after: Picture, name: str, earlier: UUID) -> None:
    """Assert that a task comes after another one, and before what came after that."""
    new = after.names[name].id
    assert waits_for(after, new, earlier)
    for each in before.followers(earlier):
        when, kind = before.needs[each][earlier]
        if is_waiting(before.tasks[each]) and when != "failure":
            assert after.needs[each][new] == (when, "blocking")
            assert (earlier in after.needs[each]) == (kind == "data")
    if before.is_sequential:
        for each, task in before.tasks.items():
            if is_waiting(task) and task.sequence_order > _order(before, earlier):
                assert waits_for(after, each, new)
    assert_order_kept(before, after)
    assert_waiting_kept(before, after)


def assert_inserted_before(before: Picture, after: Picture, name: str, later: UUID) -> None:
    """Assert that a task comes before another one, and waits for what that one waited for."""
    new = after.names[name].id
    assert waits_for(after, later, new)
    for needed, (when, kind) in before.needs[later].items():
        if needed in after.needs[new]:
            assert after.needs[new][needed][0] == when or kind == "data"
        else:
            assert before.is_sequential
            assert waits_for(after, new, needed)
        assert (needed in after.needs[later]) == (kind == "data")
    if before.is_sequential:
        for each, task in before.tasks.items():
            if is_waiting(task) and task.sequence_order < _order(before, later):
                assert waits_for(after, new, each)
    assert_order_kept(before, after)
    assert_waiting_kept(before, after)


def assert_removed(before: Picture, after: Picture, gone: UUID) -> None:
    """Assert that a task is gone, and that all others wait for each other as they did."""
    assert before.tasks.keys() - after.tasks == {gone}
    for each in before.followers(gone):
        if is_waiting(before.tasks[each]):
            assert after.needs[each].keys() >= before.needs[gone].keys() - {each}
    assert_order_kept(before, after)
    assert_waiting_kept(before, after, without=gone)


def assert_split(before: Picture, after: Picture, gone: UUID) -> None:
    """Assert that parts stand in the place of a task, for those before it and those after it."""
    assert before.tasks.keys() - after.tasks == {gone}
    parts = after.tasks.keys() - before.tasks
    for part in parts:
        if parts.isdisjoint(after.needs[part]):
            assert after.needs[part].keys() >= before.needs[gone].keys()
    last = {part for part in parts if parts.isdisjoint(after.followers(part))}
    for each in before.followers(gone):
        if is_waiting(before.tasks[each]):
            assert after.needs[each].keys() >= last
    assert_order_kept(before, after)
    assert_waiting_kept(before, after, without=gone)


def assert_reordered(before: Picture, after: Picture, groups: Sequence[Sequence[UUID]]) -> None:
    """Assert that tasks follow each other as listed, and that no other task moved."""
    moved = [
        [
            each
            for each in group
            if not is_immutable(before.tasks[each]) and before.tasks[each].status != S.RUNNING
        ]
        for group in groups
    ]
    orders = [{_order(after, each) for each in group} for group in moved if group]
    assert all(len(each) == 1 for each in orders)
    assert all(max(one) < min(next_one) for one, next_one in pairwise(orders))
    named = {each for group in groups for each in group}
    used = [_order(before, each) for group in moved for each in group]
    if len(orders) <= len(set(used)):  # else the others make room
        assert {order for each in orders for order in each} <= set(used)
        for each, task in before.tasks.items():
            if each not in named:
                assert after.tasks[each].sequence_order == task.sequence_order
