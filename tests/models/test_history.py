"""Events add up to a plan and its tasks, and what differs between two structures."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any, Final
from uuid import UUID

from planstore.models import Plan, PlanCreate, Task, TaskDraft
from planstore.models.history import (
    STRUCTURE,
    Event,
    Past,
    PlannedTask,
    Side,
    difference,
    in_order,
    names_in,
    needed_in,
    plan_of,
    task_of,
)

PLAN: Final = UUID(int=1)
ONE: Final = UUID(int=2)
OTHER: Final = UUID(int=3)
BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


def event(
    what: str,
    which: UUID,
    payload: dict[str, Any] | None = None,
    *,
    version: int = 2,
    minute: int = 0,
) -> Event:
    noun = "plan" if which == PLAN else "task"
    at = BEGINNING + timedelta(minutes=minute)
    return Event(minute, f"{noun}.{what}", noun, which, PLAN, version, at, payload or {}, {})


def made_plan(**fields: Any) -> Event:
    given = PlanCreate().model_dump(mode="json")
    kept = {"id": str(PLAN), "revision": 1, "version": 1, "closed_at": None, **_times()}
    known = {name: value for name, value in given.items() if name in Plan.model_fields}
    return event("created", PLAN, {**known, **kept, **fields}, version=1)


def made_task(which: UUID, **fields: Any) -> Event:
    given = TaskDraft(description="do it").model_dump(mode="json")
    kept = {
        "id": str(which),
        "plan_id": str(PLAN),
        "version": 1,
        "status": "pending",
        "sequence_order": 1,
        **_times(),
    }
    known = {name: value for name, value in given.items() if name in Task.model_fields}
    return event("created", which, {**known, **kept, **fields}, version=1)


def _times() -> dict[str, str]:
    return {"created_at": BEGINNING.isoformat(), "updated_at": BEGINNING.isoformat()}


def needing(*others: UUID, when: str = "success") -> list[dict[str, str]]:
    return [{"task_id": str(each), "when": when, "type": "blocking"} for each in others]


def past_of(*events: Event) -> Past:
    past = Past()
    for each in events:
        past.lay(each)
    return past


def side_of(*events: Event) -> Side:
    past = past_of(*events)
    return Side(1, past, names_in(past))


def test_events_are_laid_on_each_other() -> None:
    done = {"status": "completed", "output_data": {"n": 3}}
    past = past_of(
        made_plan(metadata={"n": 1}),
        made_task(ONE, name="a"),
        event("started", ONE, {"status": "running", "attempt": 1}, minute=1),
        event("updated", PLAN, {"metadata": {"n": 2}}, minute=2),
        event("completed", ONE, done, version=3, minute=3),
    )

    assert past.plan is not None
    plan, task = plan_of(past.plan), task_of(past.tasks[ONE])
    assert (plan.version, plan.metadata) == (2, {"n": 2})
    assert plan.updated_at == BEGINNING + timedelta(minutes=2)
    assert (task.version, task.status, task.attempt, task.name) == (3, "completed", 1, "a")
    assert (task.output_data, task.created_at) == ({"n": 3}, BEGINNING)
    assert task.updated_at == BEGINNING + timedelta(minutes=3)


def test_what_was_refused_changes_nothing() -> None:
    made = made_task(ONE)
    refused = event("result_refused", ONE, version=1, minute=5)

    assert past_of(made, refused).tasks == past_of(made).tasks


def test_what_was_deleted_is_gone_and_may_come_again() -> None:
    deleted = event("deleted", ONE)
    assert past_of(made_task(ONE), made_task(OTHER), deleted).tasks.keys() == {OTHER}

    past = past_of(made_plan(), made_task(ONE), event("deleted", PLAN, minute=7))
    assert (past.plan, past.tasks) == (None, {})
    assert past.deleted_at == BEGINNING + timedelta(minutes=7)

    past.lay(made_plan(metadata={"life": 2}))
    assert past.plan is not None
    assert (past.plan["metadata"], past.tasks, past.deleted_at) == ({"life": 2}, {}, None)


def test_a_copy_goes_on_by_itself() -> None:
    past = past_of(made_plan(), made_task(ONE, name="a"))
    copy = past.copy()
    past.lay(event("updated", ONE, {"name": "b"}))
    past.lay(event("paused", PLAN, {"paused_at": BEGINNING.isoformat()}))

    assert copy.plan is not None
    assert (copy.tasks[ONE]["name"], copy.plan.get("paused_at")) == ("a", None)


def test_an_event_is_as_it_was_after_others_were_laid_on_it() -> None:
    made = made_task(ONE, name="a")
    past_of(made, event("updated", ONE, {"name": "b"}))

    assert made.payload["name"] == "a"


def test_tasks_come_by_their_place_then_by_their_creation() -> None:
    later = (BEGINNING + timedelta(microseconds=1_500)).isoformat()
    earlier = (BEGINNING + timedelta(microseconds=100)).isoformat()
    past = past_of(
        made_task(UUID(int=7), sequence_order=2, created_at=BEGINNING.isoformat()),
        made_task(UUID(int=6), created_at=earlier),
        made_task(UUID(int=5), created_at=later),
        made_task(UUID(int=4), created_at=later),
    )

    assert [task_id.int for *_, task_id in in_order(past)] == [6, 4, 5, 7]


def test_a_planned_task_has_all_that_can_be_set_of_one() -> None:
    assert set(PlannedTask.model_fields) == {"id", *STRUCTURE, "depends_on"}
    assert all(
        PlannedTask.model_fields[name].annotation == Task.model_fields[name].annotation
        for name in STRUCTURE
    )


def test_no_difference_is_one_that_is_none() -> None:
    one = side_of(made_task(ONE, metadata={"a": 1, "b": [1, {}]}, depends_on=needing(OTHER)))
    same = side_of(
        made_task(ONE, metadata={"b": [1, {}], "a": 1}, depends_on=needing(OTHER)),
        event("failed", ONE, {"status": "failed", "error": "boom", "attempt": 4}),
    )

    diff = difference(PLAN, one, same, is_whole=True)

    assert diff.added == diff.removed == diff.changed == diff.rewired == []


def test_true_is_not_one() -> None:
    one = side_of(made_task(ONE, metadata={"a": True}))
    other = side_of(made_task(ONE, metadata={"a": 1}))

    (changed,) = difference(PLAN, one, other, is_whole=True).changed

    assert (changed.fields["metadata"].old, changed.fields["metadata"].new) == (
        {"a": True},
        {"a": 1},
    )
    assert changed.fields["metadata"].model_dump_json() == '{"old":{"a":true},"new":{"a":1}}'


def test_a_difference_names_who_is_needed() -> None:
    before = side_of(made_task(ONE, depends_on=needing(OTHER)), made_task(OTHER, name="was"))
    after = side_of(
        made_task(ONE, name="a", depends_on=needing(OTHER, when="ended")),
        made_task(OTHER, name="is"),
    )

    diff = difference(PLAN, before, after, is_whole=True)

    (rewired,) = diff.rewired
    assert (rewired.id, rewired.name) == (ONE, "a")
    assert [(need.name, need.when) for need in rewired.removed] == [("was", "success")]
    assert [(need.name, need.when) for need in rewired.added] == [("is", "ended")]
    assert {each.id: [*each.fields] for each in diff.changed} == {ONE: ["name"], OTHER: ["name"]}
    assert needed_in(before.past) == {OTHER}
