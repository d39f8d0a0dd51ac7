"""What a task that failed for good does to the rest of its plan."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from planstore.models import DependenciesUpdate, PlanUpdate
from planstore.models import PlanStatus as P
from planstore.models import TaskStatus as S
from planstore.models.claim import ClaimState
from planstore.models.plan import OnFailure
from tests.arranging import moved, set_to, status_of, task_of
from tests.history import all_events
from tests.holder import claim, complete, fail, release, renew
from tests.services.weaving import claimed, woven
from tests.time_travel import end_leases

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.services.plan_store import PlanStore
    from tests.services.weaving import Woven

pytestmark = pytest.mark.usefixtures("stays_healthy")


async def standing_of(store: PlanStore, tasks: Woven) -> dict[str, str]:
    read = {name: await store.get_task(task.id) for name, task in tasks.items()}
    return {
        name: task.status_reason.value if task.status_reason else task.status.value
        for name, task in read.items()
    }


NEEDS = {"a": [], "b": ["a"], "c": ["b"], "d": [], "e": ["d"]}


@pytest.mark.parametrize(
    ("on_failure", "after", "at_last"),
    [
        ("block", {"b": "dependencies", "c": "dependencies", "e": "dependencies"}, P.FAILED),
        ("skip", {"b": "dependency_dead", "c": "dependency_dead", "e": "dependencies"}, P.FAILED),
        ("abort", {"b": "dependency_dead", "c": "dependency_dead", "e": "plan_aborted"}, P.FAILED),
    ],
)
async def test_the_plan_says_what_a_failure_does_to_the_rest(
    store: PlanStore, on_failure: str, after: dict[str, str], at_last: P
) -> None:
    plan, tasks = await woven(store, NEEDS, on_failure=on_failure)
    a, d = await claim(store)

    await fail(store, a, retryable=False)

    assert await standing_of(store, tasks) == {"a": "failed", "d": "running", **after}
    assert await status_of(store, plan) == P.ACTIVE
    stop = ClaimState.STOP if on_failure == "abort" else ClaimState.RENEWED
    assert (await renew(store, d)).state == stop
    await complete(store, d)
    if on_failure != "abort":
        await complete(store, await claimed(store, plan))
    assert await claim(store) == []
    assert await status_of(store, plan) == at_last


@pytest.mark.parametrize("on_failure", ["skip", "abort"])
async def test_a_failure_that_is_tried_again_skips_nothing(
    store: PlanStore, on_failure: str
) -> None:
    _, tasks = await woven(store, {"a": [], "b": ["a"], "d": []}, on_failure=on_failure)
    a, _ = await claim(store)

    await fail(store, a)

    assert await standing_of(store, tasks) == {"a": "pending", "b": "dependencies", "d": "running"}


@pytest.mark.parametrize("plan_type", ["sequential", "dag"])
async def test_in_an_aborted_plan_all_that_has_not_started_is_skipped(
    store: PlanStore, database: Database, plan_type: str
) -> None:
    plan, tasks = await woven(
        store,
        {name: [] for name in "abcd"},
        fields={name: {"sequence_order": n // 2} for n, name in enumerate("abcd")},
        plan_type=plan_type,
        on_failure="abort",
    )
    await moved(store, tasks["d"], S.BLOCKED)
    a = await claimed(store, plan)

    await fail(store, a, retryable=False)

    aborted = "plan_aborted"
    assert await standing_of(store, tasks) == {
        "a": "failed",
        "b": aborted,
        "c": aborted,
        "d": aborted,
    }
    assert await status_of(store, plan) == P.FAILED
    told = [event.event_type for event in await all_events(database)]
    assert told[-5:] == ["task.failed", *["task.skipped"] * 3, "plan.failed"]


@pytest.mark.parametrize("way", ["release", "fail", "lease", "patch"])
async def test_what_returns_to_an_aborted_plan_does_not_start_again(
    store: PlanStore, database: Database, way: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []}, on_failure="abort")
    a, b = await claim(store)
    await fail(store, a, retryable=False)

    match way:
        case "release":
            await release(store, b)
        case "fail":
            await fail(store, b)
        case "lease":
            await end_leases(database)
            await store.sweep()
        case _:
            await moved(store, b, S.PENDING)

    assert (await standing_of(store, tasks))["b"] == "plan_aborted"
    assert await claim(store) == []
    assert await status_of(store, plan) == P.FAILED


@pytest.mark.parametrize("on_failure", ["skip", "abort"])
async def test_what_was_skipped_for_a_failure_comes_back_when_it_is_undone(
    store: PlanStore, on_failure: str
) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": []}, on_failure=on_failure)
    a, c = await claim(store)
    await release(store, c)
    await fail(store, a, retryable=False)

    await store.retry_task(tasks["a"].id)

    assert await standing_of(store, tasks) == {"a": "pending", "b": "dependencies", "c": "pending"}
    assert await status_of(store, plan) == P.ACTIVE
    assert len(await claim(store)) == 2


@pytest.mark.parametrize("is_retried", [True, False])
async def test_a_hold_lasts_through_an_abort_that_is_undone(
    store: PlanStore, *, is_retried: bool
) -> None:
    needs = {"a": [], "held": [], "held too": [], "after": ["held"]}
    plan, tasks = await woven(store, needs, on_failure="abort")
    for name in ("held", "held too"):
        await moved(store, tasks[name], S.BLOCKED)
    await store.add_dependencies(
        tasks["held too"].id, DependenciesUpdate.model_validate({"depends_on": ["a"]})
    )
    await fail(store, await claimed(store, plan), retryable=False)
    assert await status_of(store, plan) == P.FAILED

    if is_retried:
        await store.retry_task(tasks["a"].id)
    else:
        await store.update_plan(plan.id, PlanUpdate(on_failure=OnFailure.BLOCK))

    assert await standing_of(store, tasks) == {
        "a": "pending" if is_retried else "failed",
        "held": "held",
        "held too": "held",
        "after": "dependencies",
    }
    assert await status_of(store, plan) == P.ACTIVE
    assert (await moved(store, tasks["held"], S.PENDING)).status == S.PENDING


@pytest.mark.parametrize("verb", ["reset", "close"])
async def test_a_hold_ends_with_a_reset_or_with_its_plan(store: PlanStore, verb: str) -> None:
    plan, tasks = await woven(store, {"a": [], "held": []}, on_failure="abort")
    await moved(store, tasks["held"], S.BLOCKED)
    await fail(store, await claimed(store, plan), retryable=False)
    if verb == "reset":
        await store.reset_task(tasks["held"].id)
    else:
        await set_to(store, plan, P.CANCELLED)
        await set_to(store, plan, P.ACTIVE)

    await store.retry_task(tasks["a"].id)

    stands = "pending" if verb == "reset" else "plan_closed"
    assert await standing_of(store, tasks) == {"a": "pending", "held": stands}


async def test_completing_the_failed_task_by_hand_undoes_the_abort(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": ["a"], "c": []}, on_failure="abort")
    await moved(store, tasks["a"], S.FAILED)
    assert await status_of(store, plan) == P.FAILED

    await moved(store, tasks["a"], S.COMPLETED)

    assert await standing_of(store, tasks) == {"a": "completed", "b": "pending", "c": "pending"}
    assert await status_of(store, plan) == P.ACTIVE


async def test_what_is_added_to_an_aborted_plan_is_skipped_too(store: PlanStore) -> None:
    plan, tasks = await woven(store, {"a": [], "b": []}, on_failure="abort")
    a, b = await claim(store)
    await fail(store, a, retryable=False)

    added = await task_of(store, plan)

    assert (added.status, added.status_reason) == (S.SKIPPED, "plan_aborted")
    await complete(store, b)
    assert await status_of(store, plan) == P.FAILED
    await store.retry_task(tasks["a"].id)
    assert (await store.get_task(added.id)).status == S.PENDING


async def test_a_changed_mind_about_failures_is_what_counts(store: PlanStore) -> None:
    plan, tasks = await woven(store, NEEDS)
    await moved(store, tasks["a"], S.FAILED)
    seen = [await standing_of(store, tasks)]

    for on_failure in (OnFailure.SKIP, OnFailure.ABORT, OnFailure.BLOCK):
        await store.update_plan(plan.id, PlanUpdate(on_failure=on_failure))
        seen.append(await standing_of(store, tasks))

    assert [each["b"] for each in seen] == [
        "dependencies",
        "dependency_dead",
        "dependency_dead",
        "dependencies",
    ]
    assert [each["e"] for each in seen] == [
        "dependencies",
        "dependencies",
        "plan_aborted",
        "dependencies",
    ]
    assert [packet.name for packet in await claim(store)] == ["d"]


async def test_a_failure_that_somebody_waits_for_goes_on_to_be_handled(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {
            "try": [],
            "mend": [{"task": "try", "when": "failure"}],
            "tidy": ["mend"],
            "go on": ["try"],
        },
        on_failure="skip",
    )

    await fail(store, await claimed(store, plan), retryable=False)
    await complete(store, await claimed(store, plan))
    await complete(store, await claimed(store, plan))

    assert await standing_of(store, tasks) == {
        "try": "failed",
        "mend": "completed",
        "tidy": "completed",
        "go on": "dependency_dead",
    }
    assert await status_of(store, plan) == P.FAILED


async def test_those_who_need_any_end_run_after_a_skip_in_turn(store: PlanStore) -> None:
    plan, tasks = await woven(
        store,
        {"a": [], "b": ["a"], "report": [{"task": "b", "when": "ended"}]},
        on_failure="skip",
    )

    await fail(store, await claimed(store, plan), retryable=False)

    assert (await standing_of(store, tasks))["b"] == "dependency_dead"
    assert (await claimed(store, plan)).name == "report"
