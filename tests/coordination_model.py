"""What PlanStore says of plans and their tasks, as a small model that counts nothing.

A task is by itself one of a few things: it runs, is held, has ended, or is none of these. A step
changes that; all else (`ModelPlan.derive`) is worked out anew from it after each step, by the
rules of the design.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from planstore.errors import (
    Claimed,
    DependencyCycle,
    InvalidTransition,
    PlanClosed,
    ResultConflict,
    StaleClaim,
)
from planstore.models import PlanStatus, TaskStatus
from planstore.models.approval import Decision
from planstore.models.budget import PauseReason
from planstore.models.dependency import Condition
from planstore.models.graph import find_cycle
from planstore.models.plan import FINAL, PLAN_LIFECYCLE, SEQUENTIAL, OnFailure
from planstore.models.task import (
    ENDED,
    FINISHED,
    TASK_LIFECYCLE,
    WAITING_REASONS,
    StatusReason,
)
from planstore.sql.tasks import End

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence
    from uuid import UUID

    from planstore.errors import PlanStoreError

Refusal = type["PlanStoreError"] | None
"""Why a step changes nothing; None where it is taken."""

Limit = tuple[PauseReason, int]
"""What a plan may take: tenths of a dollar, or runs that begin."""

HALF_AN_HOUR: Final = 1_000_000
"""In ticks: a step takes one, so it is over before half an hour is."""


@dataclass
class Clock:
    """The time of the model, in ticks."""

    now: int = 0


@dataclass(frozen=True)
class Kind:
    """What a task is like."""

    order: int | None
    priority: int
    task_type: str | None
    agent_id: UUID | None
    max_retries: int
    is_once: bool
    is_late: bool
    """Whether it isn't to start before half an hour is over."""
    requires_approval: bool


@dataclass(frozen=True)
class Draft:
    """A task to be added."""

    id: UUID
    name: str
    needs: Mapping[UUID, Condition]
    kind: Kind


@dataclass
class ModelTask:
    draft: Draft
    order: int
    needs: dict[UUID, Condition]
    priority: int
    not_before: int
    # What it is by itself. Skipped and `is_shut`: its plan was closed before it had started.
    own: TaskStatus | None = None
    is_shut: bool = False
    keeps_hold: bool = False
    """Whether it is held again once an abort is undone."""
    needs_review: bool = False
    requires_approval: bool = False
    decision: Decision | None = None
    cost: int = 0
    """In tenths of a dollar."""
    description: str = "do it"
    resets: int = 0
    attempt: int = 0
    free_attempts: int = 0
    worker: str | None = None
    output: int | None = None
    token: int | None = None
    """Of the claim under which it runs."""
    lease_ends: int = 0
    result_token: int | None = None
    """Of the claim under which it has completed."""
    reports: set[tuple[int, End]] = field(default_factory=set[tuple[int, End]])
    """How claims on it have ended."""
    tokens: list[int] = field(default_factory=list[int])
    """Of all claims that there were on it."""
    retry_at: int = 0
    """When it is to be tried again."""
    # What follows from that.
    status: TaskStatus = TaskStatus.PENDING
    reason: StatusReason | None = None
    due: int | None = None
    is_ready: bool = False

    @property
    def id(self) -> UUID:
        return self.draft.id

    @property
    def is_idle(self) -> bool:
        return self.own is None

    @property
    def is_held(self) -> bool:
        return self.own == TaskStatus.BLOCKED

    @property
    def awaits_approval(self) -> bool:
        return self.requires_approval and self.decision is None

    def satisfies(self, condition: Condition) -> bool:
        match condition:
            case Condition.SUCCESS:
                is_skipped_by_hand = self.status == TaskStatus.SKIPPED and self.reason is None
                return self.status == TaskStatus.COMPLETED or is_skipped_by_hand
            case Condition.FAILURE:
                return self.status == TaskStatus.FAILED
            case Condition.ENDED:
                return self.status in ENDED

    def stand(self, own: TaskStatus | None) -> None:
        """Be something else by itself; a claim ends by that."""
        self.own = own
        self.token = None
        self.due = None

    def rest_or_resume_hold(self, *, is_over: bool) -> None:
        if self.is_held and is_over:
            self.stand(None)
            self.keeps_hold = True
        elif self.keeps_hold and not is_over:
            self.stand(TaskStatus.BLOCKED)
            self.keeps_hold = False

    def begin(self, worker: str | None) -> None:
        self.stand(TaskStatus.RUNNING)
        self.retry_at = 0
        self.attempt += 1
        self.worker = worker

    def give_back(self, own: TaskStatus | None = None) -> None:
        """Be as before the run, which isn't held against it."""
        self.free_attempts += self.own == TaskStatus.RUNNING
        self.stand(own)
        self.worker = None

    def renew(self) -> None:
        if self.own == TaskStatus.COMPLETED or self.decision == Decision.REJECTED:
            self.decision = None
        self.stand(None)
        self.resets += 1
        self.free_attempts = self.attempt
        self.worker = self.output = self.result_token = None
        self.needs_review = self.is_shut = False
        self.retry_at = 0
        self.keeps_hold = False


@dataclass
class ModelPlan:
    clock: Clock = field(repr=False)
    id: UUID
    status: PlanStatus
    plan_type: str
    on_failure: OnFailure
    max_parallel: int | None
    auto_complete: bool
    tasks: dict[UUID, ModelTask] = field(default_factory=dict["UUID", ModelTask])
    revision: int = 1
    current_step: int = 0
    computed_step: int = 0
    last_order: int = 0
    is_paused: bool = False
    limit: Limit | None = None
    cost: int = 0
    """In tenths of a dollar."""
    pause_reason: PauseReason | None = None
    is_stopping: bool = False
    """Whether it was found to have reached its limit when it was looked at last."""
    is_closed: bool = False
    is_kept_open: bool = False
    """Reopened, or added to where nothing can start: it settles with the next task that moves."""

    @property
    def is_sequential(self) -> bool:
        return self.plan_type == SEQUENTIAL

    @property
    def is_aborting(self) -> bool:
        return self.on_failure == OnFailure.ABORT and any(
            task.own == TaskStatus.FAILED for task in self.tasks.values()
        )

    @property
    def gate(self) -> int | None:
        return min(
            (task.order for task in self.tasks.values() if task.status not in FINISHED),
            default=None,
        )

    # Steps. Each answers its refusal, and derives what follows where there is none.

    def add(self, drafts: Sequence[Draft]) -> Refusal:
        if self.is_closed:
            return PlanClosed
        orders = self._orders(drafts)
        needs = {draft.id: draft.needs for draft in drafts}
        if self._waits_in_a_circle(needs, orders=dict(zip(needs, orders, strict=True))):
            return DependencyCycle
        for draft, order in zip(drafts, orders, strict=True):
            self.tasks[draft.id] = ModelTask(
                draft,
                order,
                dict(draft.needs),
                draft.kind.priority,
                self.clock.now + HALF_AN_HOUR if draft.kind.is_late else 0,
                requires_approval=draft.kind.requires_approval,
            )
            self.last_order = max(self.last_order, order)
        self.revision += 1
        self.derive(has_grown=True)
        return None

    def _orders(self, drafts: Sequence[Draft]) -> list[int]:
        last = self.last_order
        given = [draft.kind.order for draft in drafts]
        if given == [None] * len(drafts) and any(draft.needs for draft in drafts):
            return [last + 1] * len(drafts)
        orders: list[int] = []
        for order in given:
            orders.append(last + 1 if order is None else order)
            last = max(last, orders[-1])
        return orders

    def _waits_in_a_circle(
        self,
        needs: Mapping[UUID, Mapping[UUID, Condition]] | None = None,
        *,
        orders: Mapping[UUID, int] | None = None,
        is_sequential: bool | None = None,
    ) -> bool:
        """Whether tasks would wait for each other, if they had these needs and orders."""
        every = {task.id: task.needs for task in self.tasks.values()} | dict(needs or {})
        order = {task.id: task.order for task in self.tasks.values()} | dict(orders or {})
        if self.is_sequential if is_sequential is None else is_sequential:
            return find_cycle(every) is not None or any(
                order[needed] > order[task] for task, needed in _pairs(every)
            )
        return find_cycle(every) is not None

    def rewire(self, task_id: UUID, needs: Mapping[UUID, Condition]) -> Refusal:
        task = self.tasks[task_id]
        if not (task.is_idle or task.is_held):
            return InvalidTransition
        if self._waits_in_a_circle({task_id: needs}):
            return DependencyCycle
        if needs != task.needs:
            task.needs = dict(needs)
            self.revision += 1
            self.derive()
        return None

    def reorder(self, task_id: UUID, order: int) -> Refusal:
        task = self.tasks[task_id]
        if self._waits_in_a_circle(orders={task_id: order}):
            return DependencyCycle
        if order != task.order:
            task.order = order
            self.last_order = max(self.last_order, order)
            self.revision += 1
            self.derive()
        return None

    def prioritise(self, task_id: UUID, priority: int) -> Refusal:
        self.tasks[task_id].priority = priority
        return None

    def defer(self, task_id: UUID, not_before: int) -> Refusal:
        task = self.tasks[task_id]
        if not_before != task.not_before:
            task.not_before = not_before
            task.due = None
            self.derive()
        return None

    def ask_approval(self, task_id: UUID, *, is_required: bool) -> Refusal:
        self.tasks[task_id].requires_approval = is_required
        self.derive()
        return None

    def decide(self, task_id: UUID, decision: Decision) -> Refusal:
        task = self.tasks[task_id]
        if task.decision == decision:
            return None
        if task.status != TaskStatus.BLOCKED or not task.awaits_approval:
            return InvalidTransition
        task.decision = decision
        if decision == Decision.REJECTED:
            task.stand(TaskStatus.FAILED)
        is_freed = not task.is_held and self.unmet(task) == 0
        self.derive(is_move=is_freed or decision == Decision.REJECTED)
        return None

    def set_status(
        self,
        task_id: UUID,
        status: TaskStatus,
        token: int | None,
        output: int | None,
        description: str | None,
    ) -> Refusal:
        """Move a task by hand, or for its holder; and edit it if there is a description."""
        task = self.tasks[task_id]
        refusal = (
            self._end_by_hand(task, Report(task_id, _ENDS[status], token, output), description)
            if status in ENDED
            else self._begin_by_hand(task, status, token)
        )
        if refusal is None:
            task.description = description or task.description
        return refusal

    def _end_by_hand(self, task: ModelTask, report: Report, description: str | None) -> Refusal:
        report = replace(report, is_retryable=False, is_by_hand=report.token is None)
        if description is not None and report.token is not None and report.token != task.token:
            # What comes with it is an edit, which asks first for the token, then for the status.
            if report.token != task.result_token:
                return StaleClaim
            if report.verb != End.COMPLETE:
                return InvalidTransition
        (refusal,) = self.end([report])
        return refusal

    def _begin_by_hand(self, task: ModelTask, status: TaskStatus, token: int | None) -> Refusal:
        if token is not None and token not in {task.token, task.result_token}:
            return StaleClaim
        if status == TaskStatus.RUNNING and task.token is not None and token is None:
            return Claimed
        if status == task.status:
            return None
        is_waiting = task.reason in WAITING_REASONS
        if is_waiting or task.status not in TASK_LIFECYCLE.towards(status):
            return InvalidTransition
        if self.is_closed:
            return PlanClosed
        match status:
            case TaskStatus.RUNNING:
                task.begin(None)
            case _ if task.status in ENDED:
                task.renew()
            case TaskStatus.BLOCKED:
                task.give_back(TaskStatus.BLOCKED)
            case _:
                task.give_back()
        self.derive(is_move=True, is_start=status == TaskStatus.RUNNING)
        return None

    def end(self, reports: Sequence[Report]) -> list[Refusal]:
        """End tasks at once: each is judged as they all stand before."""
        verdicts = [self._judge(report) for report in reports]
        moved = [report for report, verdict in zip(reports, verdicts, strict=True) if verdict == ()]
        for report in moved:
            self._take(self.tasks[report.task_id], report)
        if moved:
            self.derive(is_move=True, is_start=True)
        return [verdict or None for verdict in verdicts]

    def takes(self, report: Report) -> bool:
        """Whether a report changes anything."""
        return self._judge(report) == ()

    def charge(self, costs: Mapping[UUID, int]) -> None:
        """Note what runs have cost; a plan that has reached its limit is paused by that."""
        if any(costs.values()):
            for task_id, cost in costs.items():
                self.tasks[task_id].cost += cost
                self.cost += cost
            self.check()

    @property
    def reached(self) -> PauseReason | None:
        match self.limit:
            case (PauseReason.MAX_COST, most) if self.cost >= most:
                return PauseReason.MAX_COST
            case (PauseReason.MAX_ATTEMPTS, most):
                attempts = sum(task.attempt for task in self.tasks.values())
                return PauseReason.MAX_ATTEMPTS if attempts >= most else None
            case _:
                return None

    def check(self) -> None:
        """Be paused where the limit is reached, unless it is by hand; go on where it was raised."""
        self.is_stopping = self.reached is not None
        is_by_hand = self.is_paused and self.pause_reason is None
        is_over = self.pause_reason is None and self.status in FINAL
        if self.reached != self.pause_reason and not (is_by_hand or is_over):
            self.pause_reason = self.reached
            self.is_paused = self.reached is not None
            self.derive()

    def count_attempts(self) -> None:
        """Be paused where as many runs have begun as may."""
        if self.limit is not None and self.limit[0] == PauseReason.MAX_ATTEMPTS:
            self.check()

    def raise_limit(self, limit: Limit | None) -> Refusal:
        self.limit = limit
        self.derive()
        self.check()
        return None

    def sweep(self) -> None:
        """Be paused where that was put off, since the plan had ended."""
        if self.status == PlanStatus.ACTIVE and self.is_stopping:
            self.check()

    def _judge(self, report: Report) -> Refusal | tuple[()]:
        """Why a report isn't taken; None where it changes nothing, `()` where it does."""
        task = self.tasks[report.task_id]
        token, verb = report.token, report.verb
        if verb == End.EXPIRE:
            return () if task.token and task.lease_ends <= self.clock.now else None
        is_repeated = verb == End.COMPLETE and token == task.result_token
        if token is not None and token != task.token and not is_repeated:
            return None if (token, verb) in task.reports else StaleClaim
        if token is None and task.token and verb != End.SKIP and not report.is_by_hand:
            return Claimed
        if task.status == _TARGETS[verb]:
            is_other = report.output is not None and report.output != task.output
            return ResultConflict if verb == End.COMPLETE and is_other else None
        return () if task.status in _SOURCES[verb] else InvalidTransition

    def _take(self, task: ModelTask, report: Report) -> None:
        token, verb, was_running = task.token, report.verb, task.own == TaskStatus.RUNNING
        if token is not None and verb != End.COMPLETE:
            task.reports.add((token, verb))
        match verb:
            case End.COMPLETE:
                task.stand(TaskStatus.COMPLETED)
                task.output = task.output if report.output is None else report.output
                task.result_token = report.token
                task.needs_review = False
            case End.SKIP:
                task.stand(TaskStatus.SKIPPED)
                task.needs_review = False
            case End.RELEASE if self.is_closed:
                task.give_back(TaskStatus.SKIPPED)
                task.is_shut = True
            case End.RELEASE:
                task.give_back()
            case End.FAIL | End.EXPIRE:
                is_lost = verb == End.EXPIRE and task.draft.kind.is_once
                is_last = task.attempt - task.free_attempts > task.draft.kind.max_retries
                if (
                    is_lost
                    or is_last
                    or self.is_closed
                    or not (was_running and report.is_retryable)
                ):
                    task.stand(TaskStatus.FAILED)
                    task.needs_review = task.needs_review or is_lost
                else:
                    task.stand(None)
                    task.worker = None
                    task.retry_at = self.clock.now + report.retry_in

    def reset(self, task_ids: Iterable[UUID]) -> Refusal:
        """Have tasks begin anew that run or have ended."""
        if self.is_closed:
            return PlanClosed
        begun = [
            self.tasks[each]
            for each in task_ids
            if self.tasks[each].status in ENDED | {TaskStatus.RUNNING}
        ]
        for task in begun:
            task.renew()
        if begun:
            self.derive(is_move=True)
        return None

    def retry(self, task_id: UUID) -> Refusal:
        status = self.tasks[task_id].status
        if self.is_closed:
            return PlanClosed
        if status in FINISHED:
            return InvalidTransition
        return self.reset([task_id] if status == TaskStatus.FAILED else [])

    def retry_all(self) -> Refusal:
        return self.reset(
            each for each, task in self.tasks.items() if task.status == TaskStatus.FAILED
        )

    def followers(self, task_id: UUID) -> set[UUID]:
        """All that need the task, directly or not, or have their turn after it."""
        order = self.tasks[task_id].order
        later = {each for each, task in self.tasks.items() if task.order > order}
        found: set[UUID] = later if self.is_sequential else set()
        reached = {task_id}
        while reached:
            reached = {
                each for each, task in self.tasks.items() if reached & task.needs.keys()
            } - found
            found |= reached
        return found

    def claim(self, task_id: UUID, worker: str, token: int) -> None:
        task = self.tasks[task_id]
        task.begin(worker)
        task.token = token
        task.tokens.append(token)
        task.lease_ends = self.clock.now + 2 * HALF_AN_HOUR
        task.is_ready = False
        task.status = TaskStatus.RUNNING

    def change(
        self,
        *,
        status: PlanStatus | None = None,
        plan_type: str | None = None,
        on_failure: OnFailure | None = None,
        max_parallel_tasks: int | None = -1,
        auto_complete: bool | None = None,
    ) -> Refusal:
        target = self.status if status is None else status
        if target != self.status and self.status not in PLAN_LIFECYCLE.towards(target):
            return InvalidTransition
        if plan_type == SEQUENTIAL and self._waits_in_a_circle(is_sequential=True):
            return DependencyCycle
        self.plan_type = plan_type or self.plan_type
        self.on_failure = on_failure or self.on_failure
        if max_parallel_tasks != -1:
            self.max_parallel = max_parallel_tasks
        self.auto_complete = self.auto_complete if auto_complete is None else auto_complete
        if status in FINAL:
            self.is_closed, self.is_kept_open = True, False
        elif target != self.status and self.status in FINAL:
            self.is_closed, self.is_kept_open = False, True
        self.status = target
        self.derive()
        return None

    def start(self) -> Refusal:
        return InvalidTransition if self.status in FINAL else self.change(status=PlanStatus.ACTIVE)

    def pause(self) -> Refusal:
        if self.status in FINAL:
            return InvalidTransition
        self.is_paused, self.pause_reason = True, None
        self.derive()
        return None

    def resume(self) -> Refusal:
        if self.is_paused and self.reached is not None:
            return InvalidTransition
        self.is_paused, self.pause_reason = False, None
        self.derive()
        return None

    # What follows.

    def derive(
        self, *, is_move: bool = False, is_start: bool = False, has_grown: bool = False
    ) -> None:
        """Work out all that follows from what the tasks are by themselves."""
        self._derive_statuses()
        self._derive_turns()
        self._settle(is_move=is_move, is_start=is_start, has_grown=has_grown)
        self._advance()
        self._derive_offers()

    def _derive_statuses(self) -> None:
        is_over = self.is_closed or self.is_aborting
        for task in self.tasks.values():
            task.rest_or_resume_hold(is_over=is_over)
            if not task.is_idle:
                assert task.own is not None
                task.status = task.own
                task.reason = (
                    StatusReason.HELD
                    if task.is_held
                    else StatusReason.CLOSED
                    if task.is_shut
                    else None
                )
        dead = self._dead()
        idle = {each: task for each, task in self.tasks.items() if task.is_idle}
        for task_id, task in idle.items():
            if task_id in dead:
                task.status, task.reason = TaskStatus.SKIPPED, StatusReason.DEAD
            elif self.is_closed:
                task.stand(TaskStatus.SKIPPED)
                task.is_shut = True
                task.keeps_hold = False
                task.status, task.reason = TaskStatus.SKIPPED, StatusReason.CLOSED
            elif is_over:
                task.status, task.reason = TaskStatus.SKIPPED, StatusReason.ABORTED
            else:
                task.status, task.reason = TaskStatus.PENDING, None
        for task in idle.values():
            if task.status == TaskStatus.PENDING and self.unmet(task):
                task.status = TaskStatus.BLOCKED
                task.reason = (
                    StatusReason.UNAPPROVED if task.awaits_approval else StatusReason.UNMET
                )

    def unmet(self, task: ModelTask) -> int:
        return task.awaits_approval + sum(
            not self.tasks[needed].satisfies(condition) for needed, condition in task.needs.items()
        )

    def _dead(self) -> set[UUID]:
        """The idle tasks that need what can't come any more."""
        dead: set[UUID] = set()
        while True:
            more = {
                each
                for each, task in self.tasks.items()
                if task.is_idle
                and any(
                    condition != Condition.ENDED
                    if needed in dead
                    else self._rules_out(self.tasks[needed], condition)
                    for needed, condition in task.needs.items()
                )
            }
            if more == dead:
                return dead
            dead = more

    def _rules_out(self, needed: ModelTask, condition: Condition) -> bool:
        match condition:
            case Condition.SUCCESS:
                is_given_up = needed.own == TaskStatus.FAILED and self.on_failure != OnFailure.BLOCK
                return is_given_up or (needed.own == TaskStatus.SKIPPED and needed.is_shut)
            case Condition.FAILURE:
                return needed.own in FINISHED
            case Condition.ENDED:
                return False

    def _derive_turns(self) -> None:
        gate = self.gate
        for task in self.tasks.values():
            is_in_turn = not self.is_sequential or task.order == gate
            if task.status != TaskStatus.PENDING or not is_in_turn:
                task.due = None
            elif task.due is None:
                task.due = max(self.clock.now, task.not_before, task.retry_at)

    @property
    def is_live(self) -> bool:
        return any(
            task.own == TaskStatus.RUNNING
            or task.is_held
            or task.reason == StatusReason.UNAPPROVED
            or task.due is not None
            for task in self.tasks.values()
        )

    def _settle(self, *, is_move: bool, is_start: bool, has_grown: bool) -> None:
        self.is_kept_open = not is_move and (self.is_kept_open or (has_grown and not self.is_live))
        if self.is_closed or (self.status == PlanStatus.DRAFT and not is_start):
            return
        if self.is_live or self.is_kept_open or self.status == PlanStatus.DRAFT:
            self.status = PlanStatus.ACTIVE
        if self.tasks and self.auto_complete and not (self.is_live or self.is_kept_open):
            is_done = self.gate is None
            self.status = PlanStatus.COMPLETED if is_done else PlanStatus.FAILED

    def _advance(self) -> None:
        gate = self.gate
        if gate is None or gate == self.computed_step:
            return
        is_ours = self.current_step == self.computed_step
        self.current_step = gate if is_ours else max(self.current_step, gate)
        self.computed_step = gate

    def _derive_offers(self) -> None:
        """Hand out what is due; of what may wait, what has been handed out comes first."""
        due = [task for task in self.tasks.values() if task.due is not None]
        if self.status != PlanStatus.ACTIVE or self.is_paused:
            chosen: list[ModelTask] = []
        elif self.max_parallel is None:
            chosen = due
        else:
            running = sum(task.own == TaskStatus.RUNNING for task in self.tasks.values())
            chosen = sorted(due, key=self._rank)[: max(self.max_parallel - running, 0)]
        for task in self.tasks.values():
            task.is_ready = task in chosen

    def _rank(self, task: ModelTask) -> tuple[object, ...]:
        assert task.due is not None
        if task.due > self.clock.now:
            return True, task.due, task.id
        return False, not task.is_ready, -task.priority, task.due, task.id


@dataclass(frozen=True)
class Report:
    """That a task ends, or its run."""

    task_id: UUID
    verb: End
    token: int | None = None
    output: int | None = None
    is_retryable: bool = True
    retry_in: int = 0
    cost: int = 0
    is_by_hand: bool = False
    """Whether it ends a claim without its token, as an operator does."""


_ENDS: Final = {
    TaskStatus.COMPLETED: End.COMPLETE,
    TaskStatus.FAILED: End.FAIL,
    TaskStatus.SKIPPED: End.SKIP,
}
_TARGETS: Final = {
    each.verb: each.target for each in TASK_LIFECYCLE.transitions if each.verb in set(End)
}
_SOURCES: Final = {
    each.verb: each.sources for each in TASK_LIFECYCLE.transitions if each.verb in set(End)
}


def _pairs(needs: Mapping[UUID, Mapping[UUID, Condition]]) -> Iterable[tuple[UUID, UUID]]:
    return ((task, needed) for task, others in needs.items() for needed in others)
