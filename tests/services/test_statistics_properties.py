"""Whatever happens, and whoever counts it when: statistics are what the log says."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from planstore.errors import PlanStoreError
from planstore.models import PlanCreate, PlanUpdate, TaskCreate, TaskUpdate
from planstore.models.claim import ClaimRequest, Reset
from planstore.models.evaluation import EvaluationCreate
from tests.holder import complete, fail, release
from tests.services.tallied import age_uncounted, assert_tallied, assert_tasks_tallied
from tests.time_travel import end_leases, pass_time

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from planstore.db import Database
    from planstore.models.claim import WorkPacket
    from planstore.services.plan_store import PlanStore

T = TypeVar("T")

_TYPES: Final = (None, "read", "write")
_AGENTS: Final = (None, UUID(int=7 << 76 | 1 << 63), UUID(int=7 << 76 | 1 << 63 | 1))
_BY_HAND: Final = ("pending", "running", "completed", "failed", "blocked", "skipped")


class NothingThere(Exception):
    """There is nothing that it could be done to."""


def chosen(among: Sequence[T], number: int) -> T:
    if not among:
        raise NothingThere
    return among[number % len(among)]


class Actors:
    """Those who use a store, and what they know of."""

    def __init__(self, database: Database, store: PlanStore, other: PlanStore) -> None:
        self.database, self.store, self.other = database, store, other
        self.plans: list[UUID] = []
        self.tasks: list[UUID] = []
        self.packets: list[WorkPacket] = []

    def _held(self, number: int) -> WorkPacket:
        packet = chosen(self.packets, number)
        self.packets.remove(packet)
        return packet

    async def act(self, verb: str, number: int, other: int) -> None:
        act: Callable[[int, int], Awaitable[Any]] = getattr(self, verb)
        with suppress(PlanStoreError, NothingThere):
            await act(number, other)

    async def plan(self, number: int, other: int) -> None:
        fields = {
            "status": "active",
            "plan_type": ("sequential", "dag")[number % 2],
            "on_failure": ("block", "skip", "abort")[other % 3],
            "retry_policy": {"max_retries": number % 3, "initial_delay_sec": 0.001},
        }
        plan = await self.store.create_plan(PlanCreate.model_validate(fields))
        self.plans.append(plan.id)
        async with self.database.connection() as conn:
            await conn.execute(
                "update planstore.plans set template = $2 where id = $1",
                *(plan.id, (None, "release")[other % 2]),
            )

    async def task(self, number: int, other: int) -> None:
        fields = {
            "plan_id": chosen(self.plans, number),
            "description": "do it",
            "task_type": _TYPES[other % 3],
            "agent_id": _AGENTS[number % 3],
            "depends_on": [str(self.tasks[-1])] if other % 4 == 0 and self.tasks else [],
        }
        self.tasks.append((await self.store.create_task(TaskCreate.model_validate(fields))).id)

    async def claim(self, number: int, other: int) -> None:
        request = ClaimRequest(worker_id="w1", limit=1 + number % 3, lease_seconds=60)
        self.packets += await (self.store, self.other)[other % 2].claim_tasks(request)

    async def complete(self, number: int, other: int) -> None:
        del other
        packet = self._held(number)
        await complete(self.store, packet, output_data={"n": number})

    async def fail(self, number: int, other: int) -> None:
        packet = self._held(number)
        await fail(self.store, packet, retryable=bool(other % 3))

    async def release(self, number: int, other: int) -> None:
        del other
        await release(self.store, self._held(number))

    async def vanish(self, number: int, other: int) -> None:
        del number, other
        if not (await self.store.get_standing()).leases:
            raise NothingThere
        await end_leases(self.database)
        await self.store.sweep()

    async def by_hand(self, number: int, other: int) -> None:
        update = {"status": _BY_HAND[other % 6]}
        if number % 5 == 0:
            update["task_type"] = _TYPES[number % 3]  # type: ignore[assignment]  # a null is one too
        await self.store.update_task(chosen(self.tasks, number), TaskUpdate.model_validate(update))

    async def retype(self, number: int, other: int) -> None:
        update = TaskUpdate.model_validate({"task_type": _TYPES[other % 3]})
        await self.store.update_task(chosen(self.tasks, number), update)

    async def reset(self, number: int, other: int) -> None:
        reset = Reset(dependents=bool(other % 2))
        await self.store.reset_task(chosen(self.tasks, number), reset)

    async def evaluate(self, number: int, other: int) -> None:
        evaluation = EvaluationCreate(
            evaluation_type=("quality", "safety")[other % 2], score=number % 11 / 10
        )
        await self.store.create_evaluation(chosen(self.tasks, number), evaluation)

    async def change_plan(self, number: int, other: int) -> None:
        update = {"status": ("active", "cancelled", "active", "completed")[other % 4]}
        plan_id = chosen(self.plans, number)
        await self.store.update_plan(plan_id, PlanUpdate.model_validate(update))

    async def delete_task(self, number: int, other: int) -> None:
        task_id = chosen(self.tasks, number)
        await self.store.delete_task(task_id, force=bool(other % 2))
        self.tasks.remove(task_id)

    async def delete_plan(self, number: int, other: int) -> None:
        await self.store.delete_plan(chosen(self.plans, number), force=bool(other % 2))

    async def wait(self, number: int, other: int) -> None:
        await pass_time(self.database, min(1.5 ** (number % 20), 50) * (1 + other) / 10)

    async def age(self, number: int, other: int) -> None:
        await age_uncounted(self.database, timedelta(hours=number % 30, minutes=other * 7))

    async def count(self, number: int, other: int) -> None:
        del number
        await (self.store, self.other)[other % 2].count_events()


_VERBS: Final = (
    *("plan", "task", "claim", "complete", "fail", "release", "vanish", "by_hand", "retype"),
    *("reset", "evaluate", "change_plan", "delete_task", "delete_plan", "wait", "age", "count"),
)
_OFTEN: Final = ("task", "claim", "complete", "wait", "by_hand")
_STEPS: Final = st.lists(
    st.tuples(st.sampled_from((*_VERBS, *_OFTEN, *_OFTEN)), st.integers(0, 59), st.integers(0, 11)),
    min_size=20,
    max_size=80,
)


# The store goes on from one example to the next.
@settings(
    deadline=None, max_examples=12, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(steps=_STEPS)
async def test_statistics_are_what_the_log_says(
    database: Database, store: PlanStore, elsewhere: PlanStore, steps: list[tuple[str, int, int]]
) -> None:
    actors = Actors(database, store, elsewhere)
    await actors.plan(0, 0)
    await actors.plan(1, 1)
    for step in steps:
        await actors.act(*step)
    await assert_tallied(database, store)
    await assert_tasks_tallied(database, elsewhere)
