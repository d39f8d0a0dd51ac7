"""Whatever is asked of a plan and in whatever order: the store does what a small model says.

The model holds a plan's tasks as a list and derives everything from it anew after each step, by
the rules as the design states them; the store counts in place.
"""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)
from uuid_utils.compat import uuid7

from planstore.db import Database
from planstore.errors import InvalidTransition, PlanClosed
from planstore.models import (
    PlanCreate,
    PlanStatus,
    PlanUpdate,
    TaskBatch,
    TaskCreate,
    TaskDraft,
    TaskStatus,
    TaskUpdate,
)
from planstore.models.plan import FINAL, PLAN_LIFECYCLE
from planstore.models.task import ENDED, FINISHED, TASK_LIFECYCLE, UNSTARTED
from planstore.services.plan_store import PlanStore
from tests.emptying import empty
from tests.history import assert_counts_hold, assert_history_holds

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterator, Mapping
    from uuid import UUID

    from planstore.models import Plan, Task
    from tests.conftest import Postgres

T = TypeVar("T")

ORDERS: Final = st.integers(0, 3)
TYPES: Final = st.sampled_from(["sequential", "parallel"])
NUMBERS: Final = st.integers(0, 59)
"""Which task: its place in the order of creation, counted round and round."""

BATCHES: Final = st.lists(st.none() | ORDERS, min_size=1, max_size=4)
"""The places of tasks that are added at once."""

MANY: Final = 5
"""Few tasks, for then they meet."""


@dataclass
class ModelTask:
    order: int
    status: TaskStatus = TaskStatus.PENDING

    @property
    def is_unfinished(self) -> bool:
        return self.status not in FINISHED


@dataclass
class ModelPlan:
    status: PlanStatus
    plan_type: str
    auto_complete: bool
    current_step: int
    tasks: dict[UUID, ModelTask] = field(default_factory=dict["UUID", ModelTask])
    computed_step: int = 0
    last_order: int = 0
    revision: int = 1
    is_closed: bool = False
    is_kept_open: bool = False
    """Reopened, or added to where nothing can start: it settles with the next task that moves."""

    @property
    def gate(self) -> int | None:
        return min((task.order for task in self.tasks.values() if task.is_unfinished), default=None)

    @property
    def is_live(self) -> bool:
        return any(
            task.status in {TaskStatus.RUNNING, TaskStatus.BLOCKED}
            or (
                task.status == TaskStatus.PENDING
                and (self.plan_type != "sequential" or task.order == self.gate)
            )
            for task in self.tasks.values()
        )

    def add(self, orders: Mapping[UUID, int | None]) -> type[Exception] | None:
        if self.is_closed:
            return PlanClosed
        for task_id, order in orders.items():
            task = ModelTask(self.last_order + 1 if order is None else order)
            self.tasks[task_id] = task
            self.last_order = max(self.last_order, task.order)
        self.revision += 1
        self.advance()
        if self.status != PlanStatus.DRAFT:
            self.is_kept_open = self.is_kept_open or not self.is_live
            self.status = PlanStatus.ACTIVE
        return None

    def change_task(
        self, task_id: UUID, status: TaskStatus | None, order: int | None
    ) -> type[Exception] | None:
        task = self.tasks[task_id]
        target = task.status if status is None else status
        place = task.order if order is None else order
        is_move, is_reordered = target != task.status, place != task.order
        if is_move:
            if task.status not in TASK_LIFECYCLE.towards(target):
                return InvalidTransition
            if self.is_closed and target not in ENDED:
                return PlanClosed
            self.is_kept_open = False
            if self.status == PlanStatus.DRAFT and target not in UNSTARTED:
                self.status = PlanStatus.ACTIVE
        if is_reordered:
            self.last_order = max(self.last_order, place)
            self.revision += 1
        task.status, task.order = target, place
        if is_move or is_reordered:
            self.advance()
            self.settle()
        return None

    def change(
        self,
        status: PlanStatus | None,
        plan_type: str | None,
        auto_complete: bool | None,  # noqa: FBT001 - a value, not a switch
        current_step: int | None,
    ) -> type[Exception] | None:
        target = self.status if status is None else status
        if target != self.status and self.status not in PLAN_LIFECYCLE.towards(target):
            return InvalidTransition
        self.plan_type = plan_type or self.plan_type
        if auto_complete is not None:
            self.auto_complete = auto_complete
        if status in FINAL:
            self.is_closed, self.is_kept_open = True, False
            for task in self.tasks.values():
                if task.status in UNSTARTED:
                    task.status = TaskStatus.SKIPPED
        elif target != self.status and self.status in FINAL:
            self.is_closed, self.is_kept_open = False, True
        self.status = target
        self.advance()
        if current_step is not None:
            self.current_step = current_step
        self.settle()
        return None

    def advance(self) -> None:
        gate = self.gate
        if gate is None or gate == self.computed_step:
            return
        is_ours = self.current_step == self.computed_step
        self.current_step = gate if is_ours else max(self.current_step, gate)
        self.computed_step = gate

    def settle(self) -> None:
        if self.status == PlanStatus.DRAFT or self.is_closed or self.is_kept_open:
            return
        if self.is_live:
            self.status = PlanStatus.ACTIVE
        elif self.tasks and self.auto_complete:
            self.status = PlanStatus.FAILED if self.gate is not None else PlanStatus.COMPLETED


class StoreMachine(RuleBasedStateMachine):
    """One plan of a store, and its model."""

    runner: asyncio.Runner
    store: PlanStore
    database: Database

    answers: list[Plan | Task]
    """What the last change that was taken answered."""

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    @initialize(
        status=st.sampled_from([PlanStatus.DRAFT, PlanStatus.ACTIVE]),
        plan_type=TYPES,
        auto_complete=st.sampled_from([True, True, False]),
        current_step=st.sampled_from([0, 0, 2]),
        orders=st.lists(st.none() | ORDERS, max_size=MANY),
    )
    def create_plan(
        self,
        status: Any,
        plan_type: str,
        *,
        auto_complete: bool,
        current_step: int,
        orders: list[int | None],
    ) -> None:
        self.model = ModelPlan(status, plan_type, auto_complete, current_step)
        plan = PlanCreate(
            status=status,
            plan_type=plan_type,
            auto_complete=auto_complete,
            current_step=current_step,
        )
        self.plan = self.run(self.store.create_plan(plan))
        self.answers = [self.plan]
        for order in orders:
            self.add(order)

    @precondition(lambda self: len(self.model.tasks) < MANY)
    @rule(order=st.none() | ORDERS)
    def add_task(self, order: int | None) -> None:
        self.add(order)

    @precondition(lambda self: len(self.model.tasks) < MANY)
    @rule(orders=BATCHES)
    def add_tasks(self, orders: list[int | None]) -> None:
        places = {uuid7(): order for order in orders}
        drafts = [
            TaskDraft(id=task_id, description="do it", sequence_order=order)
            for task_id, order in places.items()
        ]
        batch = TaskBatch(plan_id=self.plan.id, tasks=drafts)
        refusal = self.model.add(places)
        self.act(self.store.create_tasks(batch), refusal)
        if refusal is None:
            assert [answer.id for answer in self.answers] == list(places)

    @precondition(lambda self: self.model.tasks)
    @rule(number=NUMBERS, status=st.sampled_from(sorted(ENDED)))
    def end_task(self, number: int, status: TaskStatus) -> None:
        self.change_task(number, status=status)

    @precondition(lambda self: self.model.tasks)
    @rule(number=NUMBERS, status=st.sampled_from(sorted(set(TaskStatus) - ENDED)))
    def open_task(self, number: int, status: TaskStatus) -> None:
        self.change_task(number, status=status)

    @precondition(lambda self: self.model.tasks)
    @rule(number=NUMBERS, order=ORDERS)
    def reorder_task(self, number: int, order: int) -> None:
        self.change_task(number, order=order)

    @precondition(lambda self: self.model.tasks)
    @rule(number=NUMBERS, status=st.sampled_from(TaskStatus), order=ORDERS)
    def move_and_reorder_task(self, number: int, status: TaskStatus, order: int) -> None:
        self.change_task(number, status=status, order=order)

    @rule()
    def activate_plan(self) -> None:
        self.change_plan(status=PlanStatus.ACTIVE)

    @rule(status=st.sampled_from(PlanStatus))
    def move_plan(self, status: PlanStatus) -> None:
        self.change_plan(status=status)

    @rule(plan_type=TYPES)
    def change_plan_type(self, plan_type: str) -> None:
        self.change_plan(plan_type=plan_type)

    @rule(
        status=st.none() | st.sampled_from(PlanStatus),
        plan_type=st.none() | TYPES,
        auto_complete=st.none() | st.booleans(),
        current_step=st.none() | ORDERS,
    )
    def edit_plan(
        self,
        status: PlanStatus | None,
        plan_type: str | None,
        *,
        auto_complete: bool | None,
        current_step: int | None,
    ) -> None:
        self.change_plan(status, plan_type, auto_complete, current_step)

    def add(self, order: int | None) -> None:
        task_id = uuid7()
        create = TaskCreate(
            id=task_id, plan_id=self.plan.id, description="do it", sequence_order=order
        )
        refusal = self.model.add({task_id: order})
        self.act(self.store.create_task(create), refusal)

    def change_task(
        self, number: int, *, status: TaskStatus | None = None, order: int | None = None
    ) -> None:
        task_id = list(self.model.tasks)[number % len(self.model.tasks)]
        update = TaskUpdate.model_validate(_given({"status": status, "sequence_order": order}))
        refusal = self.model.change_task(task_id, status, order)
        self.act(self.store.update_task(task_id, update), refusal)

    def change_plan(
        self,
        status: PlanStatus | None = None,
        plan_type: str | None = None,
        auto_complete: bool | None = None,  # noqa: FBT001 - a value, not a switch
        current_step: int | None = None,
    ) -> None:
        named = {
            "status": status,
            "plan_type": plan_type,
            "auto_complete": auto_complete,
            "current_step": current_step,
        }
        update = PlanUpdate.model_validate(_given(named))
        refusal = self.model.change(status, plan_type, auto_complete, current_step)
        self.act(self.store.update_plan(self.plan.id, update), refusal)

    def act(
        self,
        call: Coroutine[Any, Any, Plan | Task | list[Task]],
        refusal: type[Exception] | None,
    ) -> None:
        if refusal is None:
            answer = self.run(call)
            self.answers = [*answer] if isinstance(answer, list) else [answer]
        else:
            with pytest.raises(refusal):
                self.run(call)

    @invariant()
    def is_as_the_model_says(self) -> None:
        self.run(self.compare())

    async def compare(self) -> None:
        plan = await self.store.get_plan(self.plan.id)
        tasks = await self.store.list_tasks(plan_id=self.plan.id)

        model = self.model
        assert all(answer in [plan, *tasks] for answer in self.answers)
        assert plan.status == model.status
        assert plan.current_step == model.current_step
        assert plan.revision == model.revision
        assert (plan.closed_at is not None) == model.is_closed
        assert {task.id: ModelTask(task.sequence_order, task.status) for task in tasks} == (
            model.tasks
        )
        await assert_counts_hold(self.database)

    def teardown(self) -> None:
        self.run(self.clear())

    async def clear(self) -> None:
        await assert_history_holds(self.database)
        await empty(self.database)


def _given(named: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in named.items() if value is not None}


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_the_store_does_what_the_model_says(postgres: Postgres, runner: asyncio.Runner) -> None:
    stack = AsyncExitStack()

    async def open_store() -> tuple[PlanStore, Database]:
        url = await stack.enter_async_context(postgres.database())
        database = await stack.enter_async_context(Database.open(url))
        return PlanStore(database), database

    store, database = runner.run(open_store())
    try:
        opened = {"runner": runner, "store": store, "database": database}
        run_state_machine_as_test(
            type("OpenedStoreMachine", (StoreMachine,), opened),
            settings=settings(
                max_examples=60,
                stateful_step_count=30,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
    finally:
        runner.run(stack.aclose())
