"""The order of sequential plans: whose turn it is, and where the plan stands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from planstore.models import PlanStatus as P
from planstore.models import PlanUpdate, TaskUpdate
from planstore.models import TaskStatus as S
from tests.arranging import moved, plan_of, status_of, task_of
from tests.holder import claim, complete, complete_all, fail
from tests.services.weaving import claimed, woven

if TYPE_CHECKING:
    from planstore.db import Database
    from planstore.models import Plan
    from planstore.services.plan_store import PlanStore
    from tests.services.weaving import Woven

pytestmark = pytest.mark.usefixtures("stays_healthy")


async def in_orders(store: PlanStore, orders: dict[str, int], **plan: Any) -> tuple[Plan, Woven]:
    """A sequential plan with a task of each name, in its place."""
    return await woven(
        store,
        {name: [] for name in orders},
        fields={name: {"sequence_order": order} for name, order in orders.items()},
        **{"plan_type": "sequential", **plan},
    )


async def ready_of(store: PlanStore) -> str:
    """The names of what is handed out now; it is given back as it was."""
    packets = await claim(store)
    for packet in packets:
        await moved(store, packet, S.PENDING)
    return "".join(sorted(str(packet.name) for packet in packets))


async def test_a_task_has_its_turn_once_all_of_lower_orders_are_finished(
    store: PlanStore,
) -> None:
    plan, tasks = await in_orders(store, {"a": 1, "b": 2, "c": 2, "d": 5})
    assert [(await store.get_task(tasks[name].id)).status for name in "bcd"] == [S.PENDING] * 3
    seen = [(await ready_of(store), (await store.get_plan(plan.id)).current_step)]

    for name in "abcd":
        await moved(store, tasks[name], S.SKIPPED if name == "b" else S.COMPLETED)
        seen.append((await ready_of(store), (await store.get_plan(plan.id)).current_step))

    assert seen == [("a", 1), ("bc", 2), ("c", 2), ("d", 5), ("", 5)]
    assert await status_of(store, plan) == P.COMPLETED


async def test_a_batch_may_end_several_orders_at_once(store: PlanStore) -> None:
    plan, _ = await in_orders(store, {"a": 1, "b": 1, "c": 2, "d": 3})
    first = await claim(store)
    await complete_all(store, first[:1])

    answer = await complete_all(store, first[1:], claim_next={"worker_id": "w1"})

    (c,) = answer.tasks
    assert (c.name, (await store.get_plan(plan.id)).current_step) == ("c", 2)
    await complete(store, c)
    assert await ready_of(store) == "d"


async def test_a_later_order_waits_while_an_earlier_one_runs_waits_or_has_failed(
    store: PlanStore, database: Database
) -> None:
    plan, tasks = await in_orders(store, {"a": 1, "b": 2})
    await fail(store, await claimed(store, plan), retry_in_seconds=100)
    assert await claim(store) == []

    await moved(store, tasks["a"], S.FAILED)
    assert await claim(store) == []
    assert await status_of(store, plan) == P.FAILED

    await moved(store, tasks["a"], S.COMPLETED)
    assert await ready_of(store) == "b"


async def test_a_task_started_by_hand_chooses_its_own_order(store: PlanStore) -> None:
    plan, tasks = await in_orders(store, {"a": 1, "b": 2, "c": 3})

    await moved(store, tasks["b"], S.RUNNING)
    await moved(store, tasks["b"], S.COMPLETED)

    assert (await store.get_plan(plan.id)).current_step == 1
    await moved(store, tasks["a"], S.COMPLETED)
    assert await ready_of(store) == "c"
    assert (await store.get_plan(plan.id)).current_step == 3


async def test_what_is_added_before_the_others_has_its_turn_first(store: PlanStore) -> None:
    plan, _ = await in_orders(store, {"b": 2, "c": 3})
    assert await ready_of(store) == "b"

    await task_of(store, plan, name="a", sequence_order=1)
    await task_of(store, plan, name="d", sequence_order=2)

    assert await ready_of(store) == "a"


async def test_what_runs_goes_on_though_another_one_is_put_before_it(store: PlanStore) -> None:
    plan, _ = await in_orders(store, {"b": 2, "c": 3})
    b = await claimed(store, plan)

    a = await task_of(store, plan, name="a", sequence_order=1)
    await complete(store, b)

    assert await ready_of(store) == "a"
    await moved(store, a, S.SKIPPED)
    assert await ready_of(store) == "c"


async def test_an_order_that_is_changed_is_what_counts(store: PlanStore) -> None:
    plan, tasks = await in_orders(store, {"a": 1, "b": 2, "c": 3})
    revision = (await store.get_plan(plan.id)).revision

    await store.update_task(tasks["c"].id, TaskUpdate(sequence_order=0))
    assert await ready_of(store) == "c"
    await store.update_task(tasks["c"].id, TaskUpdate(sequence_order=1))
    assert await ready_of(store) == "ac"

    assert (await store.get_plan(plan.id)).revision == revision + 2


async def test_a_reset_task_has_its_turn_before_those_after_it(store: PlanStore) -> None:
    _, tasks = await in_orders(store, {"a": 1, "b": 2, "c": 3})
    for name in "ab":
        await moved(store, tasks[name], S.COMPLETED)
    assert await ready_of(store) == "c"

    await store.reset_task(tasks["a"].id)

    assert await ready_of(store) == "a"
    await moved(store, tasks["a"], S.COMPLETED)
    assert await ready_of(store) == "c"


async def test_only_a_sequential_plan_has_an_order(store: PlanStore) -> None:
    plan, _ = await in_orders(store, {"a": 1, "b": 2}, plan_type="whatever")
    assert await ready_of(store) == "ab"

    await store.update_plan(plan.id, PlanUpdate(plan_type="sequential"))
    assert await ready_of(store) == "a"

    await store.update_plan(plan.id, PlanUpdate(plan_type="dag"))
    assert await ready_of(store) == "ab"


async def test_dependencies_hold_within_and_beyond_an_order(store: PlanStore) -> None:
    _, tasks = await woven(
        store,
        {"a": [], "b": ["a"], "c": [{"task": "a", "when": "failure"}], "d": ["b"]},
        fields={
            name: {"sequence_order": order}
            for name, order in {"a": 1, "b": 1, "c": 2, "d": 2}.items()
        },
        plan_type="sequential",
    )
    assert await ready_of(store) == "a"

    await moved(store, tasks["a"], S.COMPLETED)
    assert await ready_of(store) == "b"
    assert (await store.get_task(tasks["c"].id)).status == S.SKIPPED

    await moved(store, tasks["b"], S.COMPLETED)
    assert await ready_of(store) == "d"


async def test_a_step_that_a_client_set_stands_until_a_higher_one_is_computed(
    store: PlanStore,
) -> None:
    plan, tasks = await in_orders(store, {"a": 1, "b": 2, "c": 9})
    await store.update_plan(plan.id, PlanUpdate(current_step=5))

    await moved(store, tasks["a"], S.COMPLETED)
    assert (await store.get_plan(plan.id)).current_step == 5
    await moved(store, tasks["b"], S.COMPLETED)
    assert (await store.get_plan(plan.id)).current_step == 9


async def test_parallel_groups_are_labels_of_tasks_that_share_an_order(store: PlanStore) -> None:
    plan = await plan_of(store)
    for name in "ab":
        await task_of(store, plan, name=name, sequence_order=1, parallel_group="A")
    await task_of(store, plan, name="c")

    packets = await claim(store)

    assert [(packet.name, packet.parallel_group) for packet in packets] == [("a", "A"), ("b", "A")]
