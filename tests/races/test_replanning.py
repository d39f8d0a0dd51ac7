"""Changes of a plan's structure that meet other work on it: one is first, and all of it holds."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Final

import pytest

from planstore.errors import (
    InvalidInput,
    NotFound,
    PlanClosed,
    RevisionRefused,
    StaleClaim,
    VersionMismatch,
)
from planstore.models import PlanStatus as P
from planstore.models import TaskBatch, TaskCreate, TaskUpdate
from planstore.models import TaskStatus as S
from planstore.models.dependency import DependenciesUpdate
from planstore.models.idempotency import Idempotency
from planstore.models.revision import RevisionAnswer, RevisionDraft, WantedTasks
from tests.arranging import status_of
from tests.history import all_events
from tests.holder import claim, complete, complete_all, fail, release, renew
from tests.rivals import behind_key, behind_plan, behind_task
from tests.services.weaving import claimed, woven
from tests.time_travel import end_leases

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore

    Rival = Coroutine[Any, Any, Any]

pytestmark = pytest.mark.usefixtures("stays_healthy")

REMOVE_A: Final[dict[str, Any]] = {"op": "remove", "task": "a"}
CHANGE_A: Final[dict[str, Any]] = {"op": "change", "task": "a", "set": {"description": "new"}}
ADD_X: Final[dict[str, Any]] = {"op": "add", "task": {"name": "x", "description": "x"}}
X_AFTER_A: Final[dict[str, Any]] = {**ADD_X, "op": "insert", "after": "a"}


def revise(
    store: PlanStore, plan: Plan, *operations: dict[str, Any], key: str | None = None, **fields: Any
) -> Coroutine[Any, Any, RevisionAnswer]:
    draft = RevisionDraft.model_validate({"operations": list(operations), **fields})
    return store.revise_plan(plan.id, draft, idempotency=Idempotency(key) if key else None)


async def names_in(store: PlanStore, plan: Plan) -> set[str | None]:
    return {task.name for task in await store.list_tasks(plan_id=plan.id)}


async def runs_of(store: PlanStore, plan: Plan) -> list[list[str]]:
    """What is handed out together, one time after the other."""
    runs: list[list[str]] = []
    while packets := await claim(store, plan=plan):
        runs.append(sorted(str(packet.name) for packet in packets))
        await complete_all(store, packets)
    return runs


@pytest.mark.parametrize("operation", [REMOVE_A, CHANGE_A])
async def test_a_claim_that_comes_first_stands_in_the_way(
    store: PlanStore, database_url: str, operation: dict[str, Any]
) -> None:
    plan, _ = await woven(store, {"a": [], "b": ["a"]})

    async with behind_plan(database_url, plan.id) as queue:
        revised = await queue.join(revise(store, plan, operation))
        packet = await claimed(store, plan)  # it takes the task's row only
        await queue.release()

    with pytest.raises(RevisionRefused, match="task 'a' is running: it is left alone"):
        await revised
    assert (await complete(store, packet)).status == S.COMPLETED


@pytest.mark.parametrize("operation", [REMOVE_A, CHANGE_A])
async def test_a_claim_passes_over_what_is_just_changed(
    store: PlanStore, elsewhere: PlanStore, database_url: str, operation: dict[str, Any]
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]})

    async with behind_task(database_url, tasks["a"].id) as queue:
        revised = await queue.join(revise(elsewhere, plan, operation))
        assert await claim(store, plan=plan) == []
        await queue.release()

    assert (await revised).applied
    (packet,) = await claim(store, plan=plan)
    assert (packet.name, packet.description) == (
        ("b", "b") if operation is REMOVE_A else ("a", "new")
    )


async def test_what_is_claimed_meanwhile_ends_if_it_is_restarted(
    store: PlanStore, database_url: str
) -> None:
    plan, _ = await woven(store, {"a": []})

    async with behind_plan(database_url, plan.id) as queue:
        revised = await queue.join(revise(store, plan, {**CHANGE_A, "restart": True}))
        packet = await claimed(store, plan)
        await queue.release()

    assert [each.name for each in (await revised).restarted] == ["a"]
    with pytest.raises(StaleClaim):
        await complete(store, packet)
    assert (await claimed(store, plan)).description == "new"


@pytest.mark.parametrize("is_revised_first", [True, False])
async def test_what_is_inserted_after_a_task_that_just_completes_holds_back_the_next(
    store: PlanStore, database_url: str, *, is_revised_first: bool
) -> None:
    plan, _ = await woven(store, {"a": [], "b": ["a"]})
    packet = await claimed(store, plan)
    rivals: list[Rival] = [revise(store, plan, X_AFTER_A), complete(store, packet)]

    async with behind_plan(database_url, plan.id) as queue:
        for rival in rivals if is_revised_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    assert await runs_of(store, plan) == [["x"], ["b"]]
    assert await status_of(store, plan) == P.COMPLETED


@pytest.mark.parametrize("is_revised_first", [True, False])
async def test_a_plan_whose_last_task_just_completes_goes_on_with_a_new_one(
    store: PlanStore, database_url: str, *, is_revised_first: bool
) -> None:
    plan, _ = await woven(store, {"a": []})
    packet = await claimed(store, plan)
    rivals: list[Rival] = [revise(store, plan, ADD_X), complete(store, packet)]

    async with behind_plan(database_url, plan.id) as queue:
        for rival in rivals if is_revised_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    assert await status_of(store, plan) == P.ACTIVE
    assert await runs_of(store, plan) == [["x"]]


@pytest.mark.parametrize("is_revised_first", [True, False])
@pytest.mark.parametrize("report", [fail, release, complete])
async def test_a_report_of_a_run_that_is_ended_is_taken_before_or_not_at_all(
    store: PlanStore, database_url: str, report: Callable[..., Any], *, is_revised_first: bool
) -> None:
    plan, _ = await woven(store, {"a": [], "b": ["a"]})
    packet = await claimed(store, plan)
    rivals: list[Rival] = [
        revise(store, plan, {**REMOVE_A, "restart": True}),
        report(store, packet),
    ]

    async with behind_plan(database_url, plan.id) as queue:
        ordered = rivals if is_revised_first else rivals[::-1]
        began = [await queue.join(each) for each in ordered]
        await queue.release()

    first, second = await asyncio.gather(*began, return_exceptions=True)
    assert not isinstance(first, BaseException)
    if is_revised_first:
        assert isinstance(second, NotFound)
    elif report is complete:
        assert isinstance(second, RevisionRefused)
    else:
        assert isinstance(second, RevisionAnswer)
        assert [each.name for each in second.removed] == ["a"]


@pytest.mark.parametrize("is_revised_first", [True, False])
@pytest.mark.parametrize("is_batch", [True, False])
async def test_a_task_that_is_created_for_one_that_just_goes_is_refused_or_stays(
    store: PlanStore, database_url: str, *, is_batch: bool, is_revised_first: bool
) -> None:
    plan, _ = await woven(store, {"a": [], "b": ["a"]})
    draft = {"name": "c", "description": "c", "depends_on": ["a"]}
    create: Rival = (
        store.create_tasks(TaskBatch.model_validate({"plan_id": plan.id, "tasks": [draft]}))
        if is_batch
        else store.create_task(TaskCreate.model_validate({"plan_id": plan.id, **draft}))
    )
    rivals: list[Rival] = [revise(store, plan, REMOVE_A), create]

    async with behind_plan(database_url, plan.id) as queue:
        ordered = rivals if is_revised_first else rivals[::-1]
        began = [await queue.join(each) for each in ordered]
        await queue.release()

    first, second = await asyncio.gather(*began, return_exceptions=True)
    assert not isinstance(first, BaseException)
    if is_revised_first:
        assert isinstance(second, InvalidInput)
        assert "leads nowhere" in str(second)
        assert await runs_of(store, plan) == [["b"]]
    else:
        assert isinstance(second, RevisionAnswer)
        assert {each.name for each in second.changed} == {"b", "c"}
        assert await runs_of(store, plan) == [["b", "c"]]


@pytest.mark.parametrize("is_revised_first", [True, False])
async def test_new_tasks_of_both_come_after_the_last(
    store: PlanStore, database_url: str, *, is_revised_first: bool
) -> None:
    plan, _ = await woven(store, {"a": []}, plan_type="sequential")
    create = TaskCreate(plan_id=plan.id, name="y", description="y")
    rivals: list[Rival] = [revise(store, plan, ADD_X), store.create_task(create)]

    async with behind_plan(database_url, plan.id) as queue:
        for rival in rivals if is_revised_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    expected = [["a"], ["x"], ["y"]] if is_revised_first else [["a"], ["y"], ["x"]]
    assert await runs_of(store, plan) == expected


async def test_of_two_for_the_same_revision_one_is_made(
    store: PlanStore, elsewhere: PlanStore, database: Database, database_url: str
) -> None:
    plan, _ = await woven(store, {"a": []})
    wanted = WantedTasks.model_validate(
        {"tasks": [{"name": "y", "description": "y"}], "expected_revision": plan.revision}
    )

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(revise(store, plan, ADD_X, expected_revision=plan.revision))
        second = await queue.join(elsewhere.set_tasks(plan.id, wanted))
        await queue.release()

    assert (await first).revision == plan.revision + 1
    with pytest.raises(VersionMismatch, match=f"is at revision {plan.revision + 1}"):
        await second
    assert await names_in(store, plan) == {"a", "x"}
    assert (await store.get_plan(plan.id)).revision == plan.revision + 1
    told = [each.event_type for each in await all_events(database)]
    assert told[-2:] == ["task.created", "plan.revised"]


async def test_of_many_for_the_same_revision_one_is_made(
    store: PlanStore, elsewhere: PlanStore
) -> None:
    plan, _ = await woven(store, {"a": []})

    outcomes = await asyncio.gather(
        *(
            revise(
                store if number % 2 else elsewhere,
                plan,
                {"op": "add", "task": {"name": f"x{number}", "description": "x"}},
                expected_revision=plan.revision,
            )
            for number in range(10)
        ),
        return_exceptions=True,
    )

    refusals = [each for each in outcomes if isinstance(each, BaseException)]
    assert [type(each) for each in refusals] == [VersionMismatch] * 9
    assert len(await names_in(store, plan)) == 2


async def test_of_many_for_any_revision_all_are_made(
    store: PlanStore, elsewhere: PlanStore
) -> None:
    plan, _ = await woven(store, {"a": []}, plan_type="sequential")

    answers = await asyncio.gather(
        *(
            revise(
                store if number % 2 else elsewhere,
                plan,
                {"op": "insert", "task": {"name": f"x{number}", "description": "x"}, "after": "a"},
            )
            for number in range(10)
        )
    )

    assert sorted(each.revision for each in answers) == [
        *range(plan.revision + 1, plan.revision + 11)
    ]
    runs = await runs_of(store, plan)
    assert (len(runs), runs[0]) == (11, ["a"])


@pytest.mark.parametrize("is_revised_first", [True, False])
async def test_a_plan_that_is_just_cancelled_is_changed_before_or_not_at_all(
    store: PlanStore, database_url: str, *, is_revised_first: bool
) -> None:
    plan, _ = await woven(store, {"a": []})
    rivals: list[Rival] = [revise(store, plan, ADD_X), store.cancel_plan(plan.id)]

    async with behind_plan(database_url, plan.id) as queue:
        ordered = rivals if is_revised_first else rivals[::-1]
        began = [await queue.join(each) for each in ordered]
        await queue.release()

    outcomes = await asyncio.gather(*began, return_exceptions=True)
    assert isinstance(outcomes[1], PlanClosed) != is_revised_first
    assert await names_in(store, plan) == ({"a", "x"} if is_revised_first else {"a"})
    assert {task.status for task in await store.list_tasks(plan_id=plan.id)} == {S.SKIPPED}


@pytest.mark.parametrize("is_revised_first", [True, False])
async def test_a_plan_that_just_goes_is_not_changed(
    store: PlanStore, database_url: str, *, is_revised_first: bool
) -> None:
    plan, _ = await woven(store, {"a": []})
    rivals: list[Rival] = [revise(store, plan, ADD_X), store.delete_plan(plan.id)]

    async with behind_plan(database_url, plan.id) as queue:
        ordered = rivals if is_revised_first else rivals[::-1]
        began = [await queue.join(each) for each in ordered]
        await queue.release()

    outcomes = await asyncio.gather(*began, return_exceptions=True)
    assert isinstance(outcomes[1], NotFound) != is_revised_first


@pytest.mark.parametrize("is_revised_first", [True, False])
async def test_an_edit_of_another_field_is_not_lost(
    store: PlanStore, elsewhere: PlanStore, database_url: str, *, is_revised_first: bool
) -> None:
    plan, tasks = await woven(store, {"a": []})
    edit = elsewhere.update_task(tasks["a"].id, TaskUpdate(priority=7, metadata={"kept": True}))
    rivals: list[Rival] = [revise(store, plan, CHANGE_A), edit]

    async with behind_task(database_url, tasks["a"].id) as queue:
        for rival in rivals if is_revised_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    after = await store.get_task(tasks["a"].id)
    assert (after.description, after.priority, after.metadata) == ("new", 7, {"kept": True})
    assert after.version == 3


@pytest.mark.parametrize("is_revised_first", [True, False])
async def test_an_edit_of_a_task_that_just_goes_finds_nothing_or_is_told_of(
    store: PlanStore, elsewhere: PlanStore, database_url: str, *, is_revised_first: bool
) -> None:
    plan, tasks = await woven(store, {"a": []})
    edit = elsewhere.update_task(tasks["a"].id, TaskUpdate(description="newer"))
    rivals: list[Rival] = [revise(store, plan, REMOVE_A), edit]

    async with behind_task(database_url, tasks["a"].id) as queue:
        ordered = rivals if is_revised_first else rivals[::-1]
        began = [await queue.join(each) for each in ordered]
        await queue.release()

    outcomes = await asyncio.gather(*began, return_exceptions=True)
    assert isinstance(outcomes[1], NotFound) == is_revised_first
    assert await names_in(store, plan) == set()


@pytest.mark.parametrize("is_revised_first", [True, False])
async def test_dependencies_that_are_set_at_once_close_no_circle(
    store: PlanStore, elsewhere: PlanStore, database_url: str, *, is_revised_first: bool
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []})
    needs = DependenciesUpdate.model_validate({"depends_on": ["b"]})
    rivals: list[Rival] = [
        revise(store, plan, {"op": "rewire", "task": "b", "depends_on": ["a"]}),
        elsewhere.set_dependencies(tasks["a"].id, needs),
    ]

    async with behind_plan(database_url, plan.id) as queue:
        ordered = rivals if is_revised_first else rivals[::-1]
        began = [await queue.join(each) for each in ordered]
        await queue.release()

    first, second = await asyncio.gather(*began, return_exceptions=True)
    assert not isinstance(first, BaseException)
    assert "wait for each other" in str(second)
    assert len(await runs_of(store, plan)) == 2


@pytest.mark.parametrize("is_revised_first", [True, False])
async def test_an_input_that_is_bound_at_once_follows_the_task_or_is_in_its_way(
    store: PlanStore, elsewhere: PlanStore, database_url: str, *, is_revised_first: bool
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []})
    edit = elsewhere.update_task(tasks["b"].id, TaskUpdate(input_data={"x": "{{a.x}}"}))
    rivals: list[Rival] = [revise(store, plan, REMOVE_A), edit]

    async with behind_plan(database_url, plan.id) as queue:
        ordered = rivals if is_revised_first else rivals[::-1]
        began = [await queue.join(each) for each in ordered]
        await queue.release()

    first, second = await asyncio.gather(*began, return_exceptions=True)
    assert not isinstance(first, BaseException)
    if is_revised_first:
        assert await runs_of(store, plan) == [["b"]]
    else:
        assert "'b' takes its input from task 'a'" in str(second)


@pytest.mark.parametrize("is_revised_first", [True, False])
@pytest.mark.parametrize("operation", [CHANGE_A, REMOVE_A])
async def test_a_run_whose_lease_just_ended_is_taken_back_once(
    store: PlanStore,
    elsewhere: PlanStore,
    database: Database,
    database_url: str,
    operation: dict[str, Any],
    *,
    is_revised_first: bool,
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"]})
    packet = await claimed(store, plan)
    await end_leases(database)
    rivals: list[Rival] = [
        revise(store, plan, {**operation, "restart": True}),
        elsewhere.sweep(),
    ]

    async with behind_plan(database_url, plan.id) as queue:
        for rival in rivals if is_revised_first else reversed(rivals):
            await queue.join(rival)
        await queue.release()

    with pytest.raises((StaleClaim, NotFound)):
        await complete(store, packet)
    if operation is CHANGE_A:
        assert len(await store.list_attempts(tasks["a"].id)) == 1
        (again,) = await claim(store, plan=plan)
        assert (again.name, again.description, again.attempt) == ("a", "new", 2)
    else:
        assert await runs_of(store, plan) == [["b"]]


async def test_a_heartbeat_that_waited_for_a_restart_is_lost(
    store: PlanStore, elsewhere: PlanStore, database_url: str
) -> None:
    plan, tasks = await woven(store, {"a": []})
    packet = await claimed(store, plan)

    async with behind_task(database_url, tasks["a"].id) as queue:
        await queue.join(revise(store, plan, {**CHANGE_A, "restart": True}))
        renewed = await queue.join(renew(elsewhere, packet))
        await queue.release()

    assert (await renewed).state == "lost"


async def test_a_repetition_waits_for_the_first_and_is_answered_alike(
    store: PlanStore, elsewhere: PlanStore, database: Database, database_url: str
) -> None:
    plan, _ = await woven(store, {"a": []})

    async with behind_plan(database_url, plan.id) as queue:
        first = await queue.join(revise(store, plan, ADD_X, key="k"))
        second = await queue.join(revise(elsewhere, plan, ADD_X, key="k"))
        await queue.release()

    assert await first == await second
    assert await names_in(store, plan) == {"a", "x"}


async def test_a_dry_run_waits_for_what_is_made_and_holds_up_nobody_after_it(
    store: PlanStore, elsewhere: PlanStore, database_url: str
) -> None:
    plan, _ = await woven(store, {"a": []})

    async with behind_plan(database_url, plan.id) as queue:
        await queue.join(revise(store, plan, ADD_X))
        tried = await queue.join(
            revise(elsewhere, plan, {"op": "remove", "task": "x"}, dry_run=True)
        )
        await queue.release()

    assert [each.name for each in (await tried).removed] == ["x"]
    assert await runs_of(store, plan) == [["a", "x"]]


async def test_what_a_revision_in_flight_adds_is_not_claimed_before_it_is_there(
    store: PlanStore, elsewhere: PlanStore, database_url: str
) -> None:
    plan, _ = await woven(store, {"a": []})
    draft = RevisionDraft.model_validate({"operations": [ADD_X, REMOVE_A]})
    key = Idempotency("k").of(f"revise_plan {plan.id}", draft)

    async with behind_key(database_url, key) as queue:
        revised = await queue.join(store.revise_plan(plan.id, draft, idempotency=Idempotency("k")))
        assert await claim(elsewhere, plan=plan) == []
        await queue.release()

    assert (await revised).applied
    assert await runs_of(elsewhere, plan) == [["x"]]


async def test_revisions_and_work_at_once_lose_nothing(
    store: PlanStore, elsewhere: PlanStore, database: Database
) -> None:
    plan, _ = await woven(store, {f"t{number}": [] for number in range(12)})

    async def work(door: PlanStore, worker: str) -> None:
        while packets := await claim(door, worker, plan=plan, limit=2):
            await complete_all(door, packets)

    async def replan(door: PlanStore, number: int) -> None:
        for operation in (
            {"op": "split", "task": f"t{number}", "into": [{"description": "part"}] * 2},
            {"op": "change", "task": f"t{number + 4}", "set": {"priority": number}},
            {"op": "remove", "task": f"t{number + 8}"},
        ):
            with suppress(RevisionRefused):  # it runs, or is done already
                await revise(door, plan, operation)

    await asyncio.gather(
        *(work(door, name) for door, name in ((store, "w1"), (elsewhere, "w2"))),
        *(replan(store if number % 2 else elsewhere, number) for number in range(4)),
    )
    await work(store, "w3")

    assert await status_of(store, plan) == P.COMPLETED
    assert all(task.status == S.COMPLETED for task in await store.list_tasks(plan_id=plan.id))
