"""Changing a plan's structure by operations while it runs."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any
from uuid import uuid4

import pytest

from planstore.errors import (
    AlreadyExists,
    NotFound,
    PlanClosed,
    RevisionRefused,
    StaleClaim,
    VersionMismatch,
)
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models.idempotency import Idempotency
from planstore.models.revision import RevisionDraft
from tests.arranging import moved, plan_of, set_to, status_of
from tests.history import all_events
from tests.holder import claim, complete, complete_all, fail
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.db import Database
    from planstore.models import Plan, Task
    from planstore.models.revision import RevisionAnswer, TaskMention
    from planstore.services.plan_store import PlanStore

pytestmark = pytest.mark.usefixtures("stays_healthy")

Op = dict[str, Any]


def new(name: str, *needs: str, **fields: Any) -> dict[str, Any]:
    task = {"name": name, "description": f"do {name}", **fields}
    return {**task, "depends_on": list(needs)} if needs else task


async def dag_of(store: PlanStore, *tasks: dict[str, Any], **fields: Any) -> Plan:
    """Make an active plan whose tasks wait for what they depend on alone."""
    return await plan_of(store, plan_type="dag", tasks=list(tasks), **fields)


async def row_of(store: PlanStore, *names: str, **fields: Any) -> Plan:
    """Make an active sequential plan."""
    return await plan_of(store, tasks=[new(name) for name in names], **fields)


async def revise(
    store: PlanStore, plan: Plan, *operations: Op, key: str | None = None, **fields: Any
) -> RevisionAnswer:
    draft = RevisionDraft.model_validate({"operations": list(operations), **fields})
    return await store.revise_plan(plan.id, draft, idempotency=Idempotency(key) if key else None)


async def tasks_of(store: PlanStore, plan: Plan) -> dict[str, Task]:
    return {task.name or "": task for task in await store.list_tasks(plan_id=plan.id)}


async def needs_of(store: PlanStore, task: Task) -> set[str]:
    return {str(each.name) for each in await store.list_dependencies(task.id)}


async def orders_of(store: PlanStore, plan: Plan) -> dict[str, int]:
    return {name: task.sequence_order for name, task in (await tasks_of(store, plan)).items()}


async def runs_of(store: PlanStore, plan: Plan) -> list[list[str]]:
    """What is handed out together, one time after the other."""
    runs: list[list[str]] = []
    while packets := await claim(store, plan=plan):
        runs.append(sorted(str(packet.name) for packet in packets))
        await complete_all(store, packets)
    return runs


def names(mentions: Sequence[TaskMention]) -> list[str]:
    return [str(each.name) for each in mentions]


async def test_all_operations_are_one_revision(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "b"))
    answer = await revise(
        store,
        plan,
        {"op": "add", "task": new("d", "c")},
        {"op": "change", "task": "b", "set": {"description": "do it well", "priority": 7}},
        {"op": "rewire", "task": "c", "depends_on": ["a"]},
        reason="the reviewers asked for it",
        by="planner-1",
    )
    assert answer.revision == plan.revision + 1
    assert answer.applied
    assert (names(answer.added), names(answer.changed)) == (["d"], ["b", "c"])
    assert (await store.get_plan(plan.id)).revision == plan.revision + 1
    assert await runs_of(store, plan) == [["a"], ["b", "c"], ["d"]]
    assert await status_of(store, plan) == P.COMPLETED
    event = [each for each in await all_events(database) if each.event_type == "plan.revised"][-1]
    assert event.metadata == {
        "revision": answer.revision,
        "by": "planner-1",
        "reason": "the reviewers asked for it",
        "operations": [
            {"op": "add", "task": "d"},
            {"op": "change", "task": "b", "set": ["description", "priority"]},
            {"op": "rewire", "task": "c", "depends_on": ["a"]},
        ],
    }


async def test_every_event_of_a_revision_says_which(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c"))
    await revise(
        store,
        plan,
        {"op": "add", "task": new("d")},
        {"op": "rewire", "task": "b", "depends_on": ["c"]},
        {"op": "change", "task": "c", "set": {"name": "see"}},
        {"op": "remove", "task": "a"},
    )
    told = [
        each for each in await all_events(database) if each.metadata["revision"] > plan.revision
    ]
    assert {each.event_type for each in told} == {
        "task.created",
        "task.rewired",
        "task.updated",
        "task.deleted",
        "plan.revised",
    }


async def test_the_events_of_a_restart_are_those_of_the_revision(
    store: PlanStore, database: Database
) -> None:
    plan = await dag_of(store, new("a"))
    await claim(store, plan=plan)
    before = len(await all_events(database))
    answer = await revise(
        store, plan, {"op": "change", "task": "a", "set": {"priority": 1}, "restart": True}
    )
    told = (await all_events(database))[before:]
    assert [each.event_type for each in told] == ["task.released", "task.updated", "plan.revised"]
    assert {each.metadata["revision"] for each in told} == {answer.revision}


async def test_each_task_is_rewired_once(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "a"))
    before = len(await all_events(database))
    await revise(
        store,
        plan,
        {"op": "insert", "task": new("x"), "before": "b"},
        {"op": "rewire", "task": "c", "depends_on": []},
    )
    told = [each.event_type for each in (await all_events(database))[before:]]
    assert told.count("task.rewired") == 2


async def test_in_a_sequence_what_comes_after_a_failure_is_stranded(store: PlanStore) -> None:
    plan = await row_of(store, "a", "b")
    await moved(store, (await tasks_of(store, plan))["a"], S.FAILED)
    answer = await revise(store, plan, {"op": "add", "task": new("c")})
    assert names(answer.stranded) == ["c"]
    answer = await revise(store, plan, {"op": "remove", "task": "a"})
    assert names(answer.unblocked) == ["b"]
    assert await runs_of(store, plan) == [["b"], ["c"]]


async def test_what_is_added_to_a_plan_that_a_failure_aborted_is_stranded(
    store: PlanStore,
) -> None:
    plan = await dag_of(store, new("a"), new("b"), on_failure="abort")
    await moved(store, (await tasks_of(store, plan))["a"], S.FAILED)
    answer = await revise(store, plan, {"op": "add", "task": new("c")})
    assert names(answer.stranded) == ["c"]
    assert (await tasks_of(store, plan))["c"].status == S.SKIPPED


async def test_a_thousand_changes_of_a_large_plan_leave_others_their_turn(
    store: PlanStore,
) -> None:
    plan = await dag_of(store, *(new(f"t{number}") for number in range(2_000)))
    operations: list[Op] = [
        {"op": "insert", "task": new(f"x{number}"), "after": f"t{number}"}
        for number in range(1_000)
    ]
    revising = asyncio.create_task(revise(store, plan, *operations))
    looks = 0
    while not revising.done():
        await store.get_plan(plan.id)
        looks += 1
    assert len((await revising).added) == 1_000
    assert looks > 10


async def test_a_work_packet_tells_the_revision(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"))
    await revise(store, plan, {"op": "add", "task": new("b")})
    assert {packet.plan_revision for packet in await claim(store, plan=plan)} == {plan.revision + 1}


async def test_a_dry_run_says_the_same_and_changes_nothing(
    store: PlanStore, database: Database
) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "b"))
    (packet,) = await claim(store, plan=plan)
    await complete(store, packet)
    operations: list[Op] = [
        {"op": "insert", "task": new("check"), "before": "b"},
        {"op": "split", "task": "c", "into": [new("c1"), new("c2", "c1")]},
    ]
    before = await store.list_tasks(plan_id=plan.id), await all_events(database)
    tried = await revise(store, plan, *operations, dry_run=True)
    assert (await store.list_tasks(plan_id=plan.id), await all_events(database)) == before
    done = await revise(store, plan, *operations)
    assert not tried.applied
    assert done.applied
    for said in ("added", "changed", "removed", "restarted", "unblocked", "stranded"):
        assert names(getattr(tried, said)) == names(getattr(done, said)), said
    assert tried.revision == done.revision == plan.revision + 1
    assert [each.id for each in tried.added] == [None, None, None]


async def test_what_differs_in_nothing_is_no_revision(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"))
    before = await all_events(database)
    answer = await revise(
        store,
        plan,
        {"op": "change", "task": "a", "set": {"description": "do a"}},
        {"op": "rewire", "task": "b", "depends_on": ["a"]},
    )
    assert answer.revision == plan.revision
    assert answer.changed == []
    assert await all_events(database) == before


async def test_another_revision_than_expected_is_refused(
    store: PlanStore, database: Database
) -> None:
    plan = await dag_of(store, new("a"))
    read = plan.revision
    await revise(store, plan, {"op": "add", "task": new("b")}, expected_revision=read)
    async with refused(database, VersionMismatch) as error:
        await revise(store, plan, {"op": "add", "task": new("c")}, expected_revision=read)
    assert f"is at revision {read + 1}, not {read}" in str(error.value)


async def test_what_is_finished_stays_as_it_is(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"), new("b"), new("c", "a"))
    all_tasks = await tasks_of(store, plan)
    await moved(store, all_tasks["a"], S.COMPLETED, output_data={"n": 1})
    await moved(store, all_tasks["b"], S.SKIPPED)
    async with refused(database, RevisionRefused) as error:
        await revise(
            store,
            plan,
            {"op": "change", "task": "a", "set": {"priority": 1}},
            {"op": "remove", "task": "b"},
            {"op": "rewire", "task": "a", "depends_on": [], "restart": True},
            {"op": "split", "task": "a", "into": [new("d")]},
            {"op": "insert", "task": new("e"), "before": "a"},
        )
    assert [(each.pointer, each.detail.split(":")[0]) for each in error.value.faults] == [
        ("/operations/0/task", "task 'a' is completed"),
        ("/operations/1/task", "task 'b' is skipped"),
        ("/operations/2/task", "task 'a' is completed"),
        ("/operations/3/task", "task 'a' is completed"),
        ("/operations/4/before", "task 'a' is completed"),
    ]


async def test_what_is_finished_is_still_input_for_what_is_new(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"))
    (packet,) = await claim(store, plan=plan)
    await complete(store, packet, output_data={"n": 1})
    await revise(store, plan, {"op": "add", "task": new("b", input_data={"from_a": "{{a.n}}"})})
    (packet,) = await claim(store, plan=plan)
    assert packet.resolved_input == {"from_a": 1}
    assert [each.name for each in packet.dependencies] == ["a"]


async def test_what_runs_is_left_alone(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"))
    (packet,) = await claim(store, plan=plan)
    operations: list[Op] = [
        {"op": "change", "task": "a", "set": {"description": "else"}},
        {"op": "remove", "task": "a"},
        {"op": "rewire", "task": "a", "depends_on": []},
        {"op": "split", "task": "a", "into": [new("c")]},
    ]
    for operation in operations:
        async with refused(database, RevisionRefused) as error:
            await revise(store, plan, operation)
        assert "task 'a' is running: it is left alone" in str(error.value)
    await complete(store, packet)


async def test_a_restart_ends_the_claim(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"))
    (packet,) = await claim(store, plan=plan)
    answer = await revise(
        store,
        plan,
        {"op": "change", "task": "a", "set": {"input_data": {"x": 2}}, "restart": True},
    )
    assert (names(answer.changed), names(answer.restarted)) == (["a"], ["a"])
    with pytest.raises(StaleClaim):
        await complete(store, packet)
    (again,) = await claim(store, plan=plan)
    assert (again.name, again.resolved_input, again.attempt) == ("a", {"x": 2}, 2)


async def test_a_failed_task_is_changed_and_tried_again(store: PlanStore) -> None:
    plan = await dag_of(store, new("a", retry_policy={"max_retries": 0}), new("b", "a"))
    (packet,) = await claim(store, plan=plan)
    await fail(store, packet)
    answer = await revise(
        store,
        plan,
        {"op": "change", "task": "a", "set": {"description": "try this"}, "restart": True},
    )
    assert names(answer.restarted) == ["a"]
    assert await runs_of(store, plan) == [["a"], ["b"]]


async def test_who_needed_what_is_removed_needs_what_it_needed(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "b"), new("d", "b"))
    answer = await revise(store, plan, {"op": "remove", "task": "b"})
    assert (names(answer.removed), names(answer.changed)) == (["b"], ["c", "d"])
    assert await runs_of(store, plan) == [["a"], ["c", "d"]]


async def test_who_waits_for_a_failure_is_not_bereft_of_it(
    store: PlanStore, database: Database
) -> None:
    plan = await dag_of(store, new("a"), new("undo", depends_on=[{"task": "a", "when": "failure"}]))
    async with refused(database, RevisionRefused) as error:
        await revise(store, plan, {"op": "remove", "task": "a"})
    assert "'undo' waits for the failure of task 'a'" in str(error.value)
    await revise(store, plan, {"op": "remove", "task": "undo"}, {"op": "remove", "task": "a"})
    assert await store.list_tasks(plan_id=plan.id) == []


async def test_what_an_input_names_is_not_removed(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"), new("b", input_data={"x": "{{a.n}}"}))
    async with refused(database, RevisionRefused) as error:
        await revise(store, plan, {"op": "remove", "task": "a"})
    assert "'b' takes its input from task 'a'" in str(error.value)
    async with refused(database, RevisionRefused):
        await revise(store, plan, {"op": "change", "task": "a", "set": {"name": "other"}})
    await revise(
        store,
        plan,
        {"op": "remove", "task": "a"},
        {"op": "change", "task": "b", "set": {"input_data": {"x": 1}}},
    )
    assert await runs_of(store, plan) == [["b"]]


async def test_a_name_passes_to_another_task(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", input_data={"x": "{{a.n}}"}))
    await revise(
        store,
        plan,
        {"op": "remove", "task": "a"},
        {"op": "add", "task": new("a", description="another way")},
    )
    (packet,) = await claim(store, plan=plan)
    assert packet.description == "another way"
    await complete(store, packet, output_data={"n": 5})
    (packet,) = await claim(store, plan=plan)
    assert packet.resolved_input == {"x": 5}


async def test_two_tasks_take_each_others_names(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b"))
    before = await tasks_of(store, plan)
    await revise(
        store,
        plan,
        {"op": "change", "task": "a", "set": {"name": "c"}},
        {"op": "change", "task": "b", "set": {"name": "a"}},
        {"op": "change", "task": "c", "set": {"name": "b"}},
    )
    after = await tasks_of(store, plan)
    assert (after["a"].id, after["b"].id) == (before["b"].id, before["a"].id)


async def test_a_task_is_split_in_a_graph(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "b"))
    answer = await revise(
        store,
        plan,
        {"op": "split", "task": "b", "into": [new("b1"), new("b2"), new("b3", "b1", "b2")]},
    )
    assert (names(answer.added), names(answer.removed)) == (["b1", "b2", "b3"], ["b"])
    assert await runs_of(store, plan) == [["a"], ["b1", "b2"], ["b3"], ["c"]]


async def test_a_task_is_split_in_a_sequence(store: PlanStore) -> None:
    plan = await row_of(store, "a", "b", "c")
    await revise(store, plan, {"op": "split", "task": "b", "into": [new("b1"), new("b2")]})
    assert await orders_of(store, plan) == {"a": 1, "b1": 2, "b2": 3, "c": 4}
    assert await runs_of(store, plan) == [["a"], ["b1"], ["b2"], ["c"]]


async def test_a_part_may_have_the_name_of_the_whole(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", input_data={"x": "{{a.n}}"}))
    await revise(store, plan, {"op": "split", "task": "a", "into": [new("pre"), new("a", "pre")]})
    all_tasks = await tasks_of(store, plan)
    assert await needs_of(store, all_tasks["b"]) == {"a"}
    assert await needs_of(store, all_tasks["a"]) == {"pre"}


async def test_a_task_is_inserted_after_another(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "a"), new("d"))
    answer = await revise(store, plan, {"op": "insert", "task": new("check"), "after": "a"})
    assert (names(answer.added), names(answer.changed)) == (["check"], ["b", "c"])
    assert await runs_of(store, plan) == [["a", "d"], ["check"], ["b", "c"]]


async def test_what_is_inserted_does_not_come_between_data(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", input_data={"x": "{{a.n}}"}))
    await revise(store, plan, {"op": "insert", "task": new("check"), "after": "a"})
    all_tasks = await tasks_of(store, plan)
    assert await needs_of(store, all_tasks["b"]) == {"a", "check"}
    assert await needs_of(store, all_tasks["check"]) == {"a"}


async def test_a_task_is_inserted_before_another(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b"), new("c", "a", "b"), new("d", "a"))
    await revise(store, plan, {"op": "insert", "task": new("check"), "before": "c"})
    assert await runs_of(store, plan) == [["a", "b"], ["check", "d"], ["c"]]


async def test_a_task_is_inserted_into_a_sequence(store: PlanStore) -> None:
    plan = await row_of(store, "a", "b", "c")
    await revise(
        store,
        plan,
        {"op": "insert", "task": new("after a"), "after": "a"},
        {"op": "insert", "task": new("before a"), "before": "a"},
        {"op": "insert", "task": new("last"), "after": "c"},
    )
    assert await runs_of(store, plan) == [["before a"], ["a"], ["after a"], ["b"], ["c"], ["last"]]


async def test_nothing_is_inserted_before_what_has_begun(
    store: PlanStore, database: Database
) -> None:
    plan = await row_of(store, "a", "b")
    await claim(store, plan=plan)
    async with refused(database, RevisionRefused) as error:
        await revise(store, plan, {"op": "insert", "task": new("c"), "before": "a"})
    assert "task 'a' is running: nothing can come before it" in str(error.value)


async def test_an_insert_has_one_place() -> None:
    for places in ({}, {"after": "a", "before": "b"}):
        with pytest.raises(ValueError, match="either `after` or `before`"):
            RevisionDraft.model_validate(
                {"operations": [{"op": "insert", "task": new("c"), **places}]}
            )


async def test_tasks_are_reordered(store: PlanStore) -> None:
    plan = await row_of(store, "a", "b", "c", "d")
    (packet,) = await claim(store, plan=plan)
    answer = await revise(store, plan, {"op": "reorder", "order": ["a", "d", ["c", "b"]]})
    assert names(answer.changed) == ["d", "b"]
    await complete(store, packet)
    assert await runs_of(store, plan) == [["d"], ["b", "c"]]


async def test_parallel_tasks_are_put_one_after_the_other(store: PlanStore) -> None:
    plan = await plan_of(
        store,
        tasks=[
            new(name, sequence_order=order)
            for name, order in (("a", 1), ("b", 1), ("c", 1), ("d", 2))
        ],
    )
    await revise(store, plan, {"op": "reorder", "order": ["c", "b", "a"]})
    assert await runs_of(store, plan) == [["c"], ["b"], ["a"], ["d"]]


async def test_a_lower_order_takes_back_the_turn_of_others(store: PlanStore) -> None:
    plan = await row_of(store, "a", "b")
    await revise(store, plan, {"op": "add", "task": new("first", sequence_order=0)})
    assert await runs_of(store, plan) == [["first"], ["a"], ["b"]]


async def test_rewiring_unblocks(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "b"))
    answer = await revise(store, plan, {"op": "rewire", "task": "c", "depends_on": []})
    assert names(answer.unblocked) == ["c"]
    assert names(answer.stranded) == []


async def test_stranded_is_what_now_waits_for_what_failed(store: PlanStore) -> None:
    plan = await dag_of(
        store, new("a", retry_policy={"max_retries": 0}), new("b"), new("c", "b"), new("d", "c")
    )
    (packet, _) = await claim(store, plan=plan)
    await fail(store, packet)
    answer = await revise(store, plan, {"op": "rewire", "task": "c", "depends_on": ["a"]})
    assert names(answer.stranded) == ["c", "d"]


async def test_stranded_is_what_is_skipped_by_it(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b"), new("c", "b"), new("d", "c"), on_failure="skip")
    all_tasks = await tasks_of(store, plan)
    await moved(store, all_tasks["a"], S.FAILED)
    answer = await revise(store, plan, {"op": "rewire", "task": "c", "depends_on": ["a"]})
    assert names(answer.stranded) == ["c", "d"]
    after = await tasks_of(store, plan)
    assert (after["c"].status, after["d"].status) == (S.SKIPPED, S.SKIPPED)


async def test_what_was_skipped_by_the_service_is_revived(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "b"), on_failure="skip")
    all_tasks = await tasks_of(store, plan)
    await moved(store, all_tasks["a"], S.FAILED)
    assert await status_of(store, plan) == P.FAILED
    answer = await revise(
        store,
        plan,
        {"op": "add", "task": new("other way")},
        {"op": "rewire", "task": "b", "depends_on": ["other way"]},
    )
    assert names(answer.changed) == ["b"]
    assert await status_of(store, plan) == P.ACTIVE
    assert await runs_of(store, plan) == [["other way"], ["b"], ["c"]]


async def test_a_circle_is_refused_with_its_path(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"), new("c", "b"))
    async with refused(database, RevisionRefused) as error:
        await revise(store, plan, {"op": "rewire", "task": "a", "depends_on": ["c"]})
    assert "wait for each other: " in str(error.value)
    assert all(name in str(error.value) for name in ("a", "b", "c", "→"))


async def test_in_a_sequence_nothing_needs_what_comes_later(
    store: PlanStore, database: Database
) -> None:
    plan = await row_of(store, "a", "b")
    async with refused(database, RevisionRefused) as error:
        await revise(store, plan, {"op": "rewire", "task": "a", "depends_on": ["b"]})
    assert "'a' needs 'b', which comes later in a sequential plan" in str(error.value)


async def test_all_that_is_wrong_is_said_at_once(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("fetch"), new("parse", "fetch"))
    async with refused(database, RevisionRefused) as error:
        await revise(
            store,
            plan,
            {"op": "change", "task": "fecth", "set": {"priority": 1}},
            {"op": "add", "task": new("parse")},
            {"op": "add", "task": new("x", "prase")},
            {"op": "reorder", "order": ["fetch", "nothing like it", "fetch"]},
            {"op": "change", "task": "fetch", "set": {"name": "parse"}},
            {"op": "insert", "task": new("y"), "after": str(uuid4())},
        )
    assert [each.pointer for each in error.value.faults] == [
        "/operations/0/task",
        "/operations/1/task/name",
        "/operations/3/order/1",
        "/operations/3/order/2",
        "/operations/4/set/name",
        "/operations/5/after",
        "/operations/2/task/depends_on/0",
    ]
    said = {each.pointer: each.detail for each in error.value.faults}
    assert said["/operations/0/task"] == ("the plan has no task 'fecth'; did you mean 'fetch'?")
    assert "did you mean 'parse'?" in said["/operations/2/task/depends_on/0"]


async def test_a_task_may_need_what_a_later_operation_adds(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"))
    await revise(
        store,
        plan,
        {"op": "rewire", "task": "a", "depends_on": ["b"]},
        {"op": "add", "task": new("b")},
    )
    assert await runs_of(store, plan) == [["b"], ["a"]]


async def test_an_id_of_another_plan_is_taken(store: PlanStore, database: Database) -> None:
    other = await dag_of(store, new("a"))
    (task,) = (await tasks_of(store, other)).values()
    plan = await dag_of(store, new("a"))
    async with refused(database, AlreadyExists):
        await revise(store, plan, {"op": "add", "task": new("b", id=str(task.id))})
    async with refused(database, RevisionRefused):
        await revise(store, plan, {"op": "remove", "task": str(task.id)})


async def test_a_closed_plan_is_not_replanned(store: PlanStore, database: Database) -> None:
    plan = await dag_of(store, new("a"))
    await set_to(store, plan, P.CANCELLED)
    async with refused(database, PlanClosed):
        await revise(store, plan, {"op": "add", "task": new("b")})


async def test_a_plan_that_is_not_there_is_not_replanned(
    store: PlanStore, database: Database
) -> None:
    missing = (await dag_of(store)).model_copy(update={"id": uuid4()})
    async with refused(database, NotFound):
        await revise(store, missing, {"op": "add", "task": new("b")})


async def test_what_settled_goes_on_with_new_tasks(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"))
    await runs_of(store, plan)
    assert await status_of(store, plan) == P.COMPLETED
    await revise(store, plan, {"op": "add", "task": new("b", "a")})
    assert await status_of(store, plan) == P.ACTIVE
    assert await runs_of(store, plan) == [["b"]]


async def test_removing_the_last_open_task_settles_the_plan(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b", "a"))
    (packet,) = await claim(store, plan=plan)
    await complete(store, packet)
    await revise(store, plan, {"op": "remove", "task": "b"})
    assert await status_of(store, plan) == P.COMPLETED


async def test_a_plan_is_paused_with_its_revision(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"))
    await revise(store, plan, {"op": "add", "task": new("b")}, pause_first=True)
    assert await claim(store, plan=plan) == []
    await store.resume_plan(plan.id)
    assert await runs_of(store, plan) == [["a", "b"]]


async def test_a_limited_plan_hands_out_as_many_as_before(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b"), max_parallel_tasks=1)
    await revise(
        store,
        plan,
        {"op": "add", "task": new("c", priority=9)},
        {"op": "remove", "task": "a"},
    )
    assert await runs_of(store, plan) == [["c"], ["b"]]


async def test_a_repetition_under_its_key_is_answered_alike(
    store: PlanStore, database: Database
) -> None:
    plan = await dag_of(store, new("a"))
    first = await revise(store, plan, {"op": "add", "task": new("b")}, key="k")
    before = await all_events(database)
    assert await revise(store, plan, {"op": "add", "task": new("b")}, key="k") == first
    assert await all_events(database) == before


async def test_a_dry_run_does_not_use_up_its_key(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"))
    await revise(store, plan, {"op": "add", "task": new("b")}, key="k", dry_run=True)
    again = await revise(store, plan, {"op": "add", "task": new("b")}, key="k", dry_run=True)
    assert not again.applied


async def test_it_is_not_handed_out_before_its_new_time(store: PlanStore) -> None:
    plan = await dag_of(store, new("a"), new("b"))
    answer = await revise(
        store, plan, {"op": "change", "task": "a", "set": {"not_before": "2100-01-01T00:00:00Z"}}
    )
    assert names(answer.changed) == ["a"]
    assert names(answer.unblocked) == []
    assert await runs_of(store, plan) == [["b"]]
