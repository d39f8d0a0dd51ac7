"""Whatever several workers and operators ask of plans of any shape: the store does as the model.

Time passes by moving every timestamp that rules look at back by an hour.
"""

from __future__ import annotations

import asyncio
import os
from contextlib import AsyncExitStack
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import NAMESPACE_OID, UUID, uuid5

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

from planstore.db import Database
from planstore.errors import Claimed, ResultConflict, StaleClaim
from planstore.models import (
    PlanCreate,
    PlanStatus,
    PlanUpdate,
    Task,
    TaskBatch,
    TaskCreate,
    TaskDraft,
    TaskStatus,
    TaskUpdate,
)
from planstore.models.approval import Decision, Review
from planstore.models.budget import Budget, PauseReason
from planstore.models.claim import (
    ClaimRequest,
    Completion,
    EndedTask,
    Failure,
    Heartbeat,
    HeartbeatClaim,
    Release,
    Reset,
    Result,
    Results,
    WorkPacket,
)
from planstore.models.dependency import Condition, DependenciesUpdate, DependencyDraft
from planstore.models.idempotency import Idempotency
from planstore.models.plan import OnFailure
from planstore.models.retry import RetryPolicy
from planstore.models.task import SideEffects, StatusReason
from planstore.models.usage import UsageReport
from planstore.services.doctor import examine
from planstore.services.plan_store import PlanStore
from planstore.services.searching import Leases, Searches
from planstore.sql.tasks import End
from tests.arranging import moved, plan_of, task_of
from tests.coordination_model import (
    HALF_AN_HOUR,
    Clock,
    Draft,
    Kind,
    Limit,
    ModelPlan,
    ModelTask,
    Report,
)
from tests.emptying import empty
from tests.history import (
    all_events,
    all_rows,
    assert_counts_hold,
    assert_history_holds,
    assert_nothing_is_left_to_derive,
)
from tests.refusals import refused

if TYPE_CHECKING:
    from collections.abc import Coroutine, Iterable, Iterator, Sequence

    from planstore.models import Plan
    from tests.conftest import Postgres
    from tests.coordination_model import Refusal

T = TypeVar("T")

EXAMPLES: Final = int(os.environ.get("PLANSTORE_TEST_EXAMPLES", "15"))
STEPS: Final = 40
MANY: Final = 6
"""Few tasks of a plan, for then they meet."""

HOUR: Final = timedelta(hours=1)
LATEST: Final = datetime.max.replace(tzinfo=UTC)
WORKERS: Final = st.sampled_from(["ada", "grace", "mary"])
TYPES: Final = ("read", "write")
AGENTS: Final = (UUID(int=1), UUID(int=2))
NUMBERS: Final = st.integers(0, 59)
"""Which one of several: counted round and round."""

WHEN: Final = st.sampled_from([Condition.SUCCESS, *Condition])
NEEDS: Final = st.lists(st.tuples(NUMBERS, WHEN), max_size=2)
EARLIER: Final = st.lists(st.tuples(st.sampled_from([1, 1, 2, 2, 3, 3, -1]), WHEN), max_size=2)
"""By how much earlier what is needed was made; with what is made later a circle may be closed."""

ORDERS: Final = st.sampled_from([None, None, None, None, 0, 1, 2, 3])
OUTPUTS: Final = st.sampled_from([None, 1, 2])
COSTS: Final = st.sampled_from([0, 0, 1, 2])
"""In tenths of a dollar, which as binary fractions would not add up."""

LIMITS: Final = st.sampled_from(
    [None, (PauseReason.MAX_COST, 2), (PauseReason.MAX_COST, 5), (PauseReason.MAX_ATTEMPTS, 3)]
)
"""What a plan may take."""


class Token(StrEnum):
    """Which fencing token is sent."""

    OWN = "own"
    OLD = "old"
    NONE = "none"


class Scope(StrEnum):
    """Of what tasks are claimed."""

    ANY = "any"
    PLAN = "plan"
    TYPE = "type"
    AGENT = "agent"
    ALL = "all"


TOKENS: Final = st.sampled_from(Token)
SHAPES: Final = st.fixed_dictionaries(
    {
        "plan_type": st.sampled_from(["sequential", "dag", "dag"]),
        "on_failure": st.sampled_from([*OnFailure, OnFailure.ABORT]),
        "max_parallel_tasks": st.sampled_from([None, None, 1, 2]),
        "auto_complete": st.sampled_from([True, True, True, False]),
        "status": st.sampled_from([*[PlanStatus.ACTIVE] * 4, PlanStatus.DRAFT]),
        "limit": LIMITS,
    }
)
KINDS: Final = st.builds(
    Kind,
    order=ORDERS,
    priority=st.sampled_from([0, 0, 1]),
    task_type=st.none() | st.sampled_from(TYPES),
    agent_id=st.none() | st.sampled_from(AGENTS),
    max_retries=st.sampled_from([0, 0, 1]),
    is_once=st.booleans(),
    is_late=st.sampled_from([False] * 5 + [True]),
    requires_approval=st.sampled_from([False] * 4 + [True]),
)
DRAFTS: Final = st.tuples(KINDS, EARLIER)
BATCHES: Final = st.lists(DRAFTS, min_size=1, max_size=5)
"""What tasks are like, and what they need."""

Given = tuple[Kind, list[tuple[int, Condition]]]

_FINGERPRINT: Final = """
select
  (
    select string_agg((to_jsonb(p) - 'derivations')::text, '; ' order by p.id)
    from planstore.plans p
  ),
  (select string_agg(t::text, '; ' order by t.id) from planstore.tasks t),
  (select string_agg(s::text, '; ' order by s.task_id) from planstore.task_states s),
  (select string_agg(d::text, '; ' order by d.task_id, d.needs_id) from planstore.dependencies d),
  (select string_agg(a::text, '; ' order by a.task_id, a.attempt) from planstore.attempts a)
"""

_STANDING: Final = """
select s.task_id, s.needs, s.unmet, s.due_at, s.ready_at, s.free_attempts, s.fencing_token,
  s.lease_expires_at
from planstore.task_states s
"""

_PASS: Final = """
with moved as (
  update planstore.task_states s
  set
    due_at = s.due_at - $1::interval,
    ready_at = s.ready_at - $1::interval,
    not_before = s.not_before - $1::interval,
    retry_at = s.retry_at - $1::interval,
    lease_expires_at = s.lease_expires_at - $1::interval
)
update planstore.events e
set payload = (
  e.payload::jsonb
    || jsonb_build_object('not_before', (e.payload ->> 'not_before')::timestamptz - $1::interval)
)::json
where e.payload ->> 'not_before' is not null
"""


class CoordinationMachine(RuleBasedStateMachine):
    """A store with one or two plans and several workers, and its model."""

    runner: asyncio.Runner
    store: PlanStore
    database: Database

    def __init__(self) -> None:
        super().__init__()
        self.clock = Clock()
        self.plans: dict[UUID, ModelPlan] = {}
        self.ids = 0
        self.last_token = 0
        self.answers: list[Plan | Task] = []
        self.before: tuple[str, Any] | None = None
        """What there was after the last step, in the model and in the store."""

    # What there is, and how to ask for it.

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(call)

    @property
    def tasks(self) -> dict[UUID, ModelTask]:
        return {each: task for plan in self.plans.values() for each, task in plan.tasks.items()}

    def plan_at(self, number: int) -> ModelPlan:
        return list(self.plans.values())[number % len(self.plans)]

    def task_at(self, number: int, *, is_claimed: bool = False) -> UUID:
        """A task; ``is_claimed``: one that is claimed, if there is one."""
        every = list(self.tasks)
        claimed = [each for each, task in self.tasks.items() if task.token] if is_claimed else []
        return (claimed or every)[number % len(claimed or every)]

    def plan_of(self, task_id: UUID) -> ModelPlan:
        return next(plan for plan in self.plans.values() if task_id in plan.tasks)

    def token_of(self, task_id: UUID, kind: Token) -> int | None:
        task = self.tasks[task_id]
        match kind:
            case Token.OWN:
                return task.token or (task.tokens[-1] if task.tokens else None)
            case Token.OLD:
                return task.tokens[0] if task.tokens else self.last_token or None
            case Token.NONE:
                return None

    def key(self, *, is_keyed: bool) -> Idempotency | None:
        return Idempotency(str(self.new_id())) if is_keyed else None

    def new_id(self) -> UUID:
        """An id that is the same in each run of an example, and not in order of creation."""
        self.ids += 1
        return uuid5(NAMESPACE_OID, str(self.ids))

    def drafts(self, plan: ModelPlan, given: Sequence[Given]) -> list[Draft]:
        every = [*plan.tasks, *(self.new_id() for _ in given)]
        drafts: list[Draft] = []
        for place, (kind, earlier) in enumerate(given, start=len(plan.tasks)):
            places = {place - back: when for back, when in earlier}
            needs = {every[n]: when for n, when in places.items() if 0 <= n < len(every)}
            drafts.append(Draft(every[place], f"task {place}", needs, kind))
        return drafts

    def act(self, call: Coroutine[Any, Any, T], refusal: Refusal) -> T | None:
        """Make a call that is answered, or refused and then changes nothing."""
        self.answers = []
        if refusal is None:
            return self.run(call)
        before = self.run(self.fingerprint())
        with pytest.raises(refusal) as info:
            self.run(call)
        assert info.type is refusal
        (rows, events), (rows_after, events_after) = before, self.run(self.fingerprint())
        assert rows_after == rows
        added = events_after[len(events) :]
        assert events_after[: len(events)] == events
        assert set(added) <= ({"task.result_refused"} if refusal in KEPT else set())
        return None

    async def fingerprint(self) -> tuple[Any, list[str]]:
        """All rows, and the types of all events."""
        async with self.database.connection() as conn:
            rows = await conn.fetchrow(_FINGERPRINT)
        return rows, [event.event_type for event in await all_events(self.database)]

    def answer_task(self, call: Coroutine[Any, Any, Task], refusal: Refusal) -> None:
        answer = self.act(call, refusal)
        self.answers = [answer] if answer else []

    def answer_plan(self, call: Coroutine[Any, Any, Plan], refusal: Refusal) -> None:
        answer = self.act(call, refusal)
        self.answers = [answer] if answer else []

    # Steps.

    @initialize(
        shapes=st.lists(SHAPES, min_size=1, max_size=2),
        batches=st.lists(BATCHES, min_size=2, max_size=2),
    )
    def create_plans(self, shapes: list[dict[str, Any]], batches: list[list[Given]]) -> None:
        for shape, given in zip(shapes, batches, strict=False):
            self.clock.now += 1
            self.create_plan(shape, given)

    def create_plan(self, shape: dict[str, Any], given: list[Given]) -> None:
        plan = ModelPlan(
            self.clock,
            self.new_id(),
            shape["status"],
            shape["plan_type"],
            shape["on_failure"],
            shape["max_parallel_tasks"],
            auto_complete=shape["auto_complete"],
            limit=shape["limit"],
        )
        drafts = self.drafts(plan, given)
        refusal = plan.add(drafts)
        fields = {name: value for name, value in shape.items() if name != "limit"}
        budget = _budget(shape["limit"])
        create = PlanCreate(id=plan.id, tasks=_drafts(drafts), budget=budget, **fields)
        self.answer_plan(self.store.create_plan(create), refusal)
        if refusal is not None:
            self.answer_plan(self.store.create_plan(create.model_copy(update={"tasks": []})), None)
        self.plans[plan.id] = plan

    @precondition(lambda self: any(len(plan.tasks) < MANY for plan in self.plans.values()))
    @rule(number=NUMBERS, given=DRAFTS, is_keyed=st.booleans())
    def add_task(self, number: int, given: Given, *, is_keyed: bool) -> None:
        plan = self.plan_at(number)
        drafts = self.drafts(plan, [given])
        create = TaskCreate(plan_id=plan.id, **dict(_drafts(drafts)[0]))
        self.answer_task(
            self.store.create_task(create, idempotency=self.key(is_keyed=is_keyed)),
            plan.add(drafts),
        )

    @precondition(lambda self: any(len(plan.tasks) < MANY for plan in self.plans.values()))
    @rule(number=NUMBERS, given=BATCHES)
    def add_tasks(self, number: int, given: list[Given]) -> None:
        plan = self.plan_at(number)
        drafts = self.drafts(plan, given)
        batch = TaskBatch(plan_id=plan.id, tasks=_drafts(drafts))
        answer = self.act(self.store.create_tasks(batch), plan.add(drafts))
        self.answers = [*(answer or ())]

    @rule(
        worker=WORKERS,
        limit=st.integers(1, 3),
        scope=st.sampled_from([Scope.ANY, *Scope]),
        number=NUMBERS,
        is_sweeping=st.booleans(),
        is_keyed=st.booleans(),
    )
    def claim(
        self,
        worker: str,
        limit: int,
        scope: Scope,
        number: int,
        *,
        is_sweeping: bool,
        is_keyed: bool,
    ) -> None:
        request = self.request(worker, limit, scope, number)
        # What comes back of several plans does so by several transactions, in whatever order.
        is_sweeping = is_sweeping and len({self.plan_of(each).id for each in self.overdue()}) < 2
        self.prepare_claim(is_sweeping=is_sweeping)
        if is_sweeping:
            self.stop()
            self.expire()
        expected = self.run(self.next_tasks(request))
        idempotency = self.key(is_keyed=is_keyed)
        packets = self.run(self.store.claim_tasks(request, idempotency=idempotency))
        self.hand_over(request, expected, packets)
        if is_keyed and packets:
            again = self.run(self.store.claim_tasks(request, idempotency=idempotency))
            assert again == packets

    @rule(worker=WORKERS, limit=st.integers(1, 3))
    def claim_any(self, worker: str, limit: int) -> None:
        self.claim(worker, limit, Scope.ANY, 0, is_sweeping=False, is_keyed=False)

    def prepare_claim(self, *, is_sweeping: bool = False) -> None:
        """Say whether a claim looks at the leases, as one does in a second; and have it look
        everywhere, since time has passed only in the database.
        """
        claims = self.store._claims  # pyright: ignore[reportPrivateUsage] - see above
        vars(claims).update(
            _swept_at=float("-inf" if is_sweeping else "inf"),
            _searches=Searches(),
            _leases=Leases(),
        )

    def request(self, worker: str, limit: int, scope: Scope, number: int) -> ClaimRequest:
        fields: dict[str, Any] = {}
        if scope in {Scope.PLAN, Scope.ALL}:
            fields["plan_id"] = self.plan_at(number).id
        if scope in {Scope.TYPE, Scope.ALL}:
            fields["task_types"] = [TYPES[:1], TYPES[1:], TYPES][number % 3]
        if scope in {Scope.AGENT, Scope.ALL}:
            fields["agent_id"] = AGENTS[number % 2]
        return ClaimRequest(worker_id=worker, limit=limit, lease_seconds=3_600, **fields)

    async def next_tasks(self, request: ClaimRequest) -> list[UUID]:
        """The tasks that a claim is to hand out, in order.

        What becomes due together with it, and so isn't yet in the store, comes last.
        """
        async with self.database.connection() as conn:
            due_at = {row["task_id"]: row["due_at"] for row in await conn.fetch(_STANDING)}
        ready = [
            task
            for plan in self.plans.values()
            if request.plan_id in {None, plan.id}
            for task in plan.tasks.values()
            if task.is_ready
            and task.due is not None
            and task.due <= self.clock.now
            and (request.task_types is None or task.draft.kind.task_type in request.task_types)
            and (request.agent_id is None or task.draft.kind.agent_id in {None, request.agent_id})
        ]
        ready.sort(key=lambda task: (-task.priority, due_at[task.id] or LATEST, task.id))
        return [task.id for task in ready[: request.limit]]

    def hand_over(
        self, request: ClaimRequest, expected: Sequence[UUID], packets: Sequence[WorkPacket]
    ) -> None:
        assert [packet.id for packet in packets] == expected
        tokens = [packet.fencing_token for packet in packets]
        assert all(token > self.last_token for token in tokens)
        assert len(set(tokens)) == len(tokens)
        for packet in packets:
            plan = self.plan_of(packet.id)
            task = plan.tasks[packet.id]
            plan.claim(packet.id, request.worker_id, packet.fencing_token)
            assert packet.plan_revision == plan.revision
            assert {each.task_id: each.when for each in packet.dependencies} == task.needs
            assert all(each.is_satisfied for each in packet.dependencies)
            assert len(packet.previous_attempts) <= task.attempt - 1
        for plan_id in {packet.plan_id for packet in packets}:
            self.plans[plan_id].count_attempts()
        self.last_token = max([self.last_token, *tokens])
        self.answers = [_task(packet) for packet in packets]

    @rule(
        worker=WORKERS,
        verb=st.sampled_from([None, None, End.COMPLETE, End.COMPLETE, End.FAIL, End.RELEASE]),
        number=NUMBERS,
    )
    def work(self, worker: str, verb: End | None, number: int) -> None:
        """What workers do most."""
        if verb is None or not any(task.token for task in self.tasks.values()):
            self.claim_any(worker, 3)
        else:
            self.report(verb, number, Token.OWN, is_claimed=True, is_keyed=False)

    @precondition(lambda self: any(task.token for task in self.tasks.values()))
    @rule(number=NUMBERS, output=OUTPUTS, cost=COSTS, goes_on_with=st.sampled_from([0, 1, 1, 2]))
    def complete_claimed(
        self, number: int, output: int | None, cost: int, goes_on_with: int
    ) -> None:
        task_id = self.task_at(number, is_claimed=True)
        self.complete(task_id, Token.OWN, output, cost=cost, goes_on_with=goes_on_with)

    @precondition(lambda self: any(task.token for task in self.tasks.values()))
    @rule(
        number=NUMBERS,
        is_retryable=st.sampled_from([True, False, False]),
        retry_in=st.sampled_from([0, HALF_AN_HOUR]),
        cost=COSTS,
    )
    def fail_claimed(self, number: int, *, is_retryable: bool, retry_in: int, cost: int) -> None:
        task_id = self.task_at(number, is_claimed=True)
        self.fail(task_id, Token.OWN, is_retryable=is_retryable, retry_in=retry_in, cost=cost)

    @precondition(lambda self: self.tasks)
    @rule(
        verb=st.sampled_from([End.COMPLETE, End.FAIL, End.RELEASE]),
        number=NUMBERS,
        is_claimed=st.sampled_from([True, True, False]),
        kind=TOKENS,
        cost=COSTS,
        is_keyed=st.booleans(),
    )
    def report(
        self,
        verb: End,
        number: int,
        kind: Token,
        *,
        is_claimed: bool,
        is_keyed: bool,
        cost: int = 0,
    ) -> None:
        task_id = self.task_at(number, is_claimed=is_claimed)
        match verb:
            case End.COMPLETE:
                self.complete(task_id, kind, 1, cost=cost, is_keyed=is_keyed)
            case End.FAIL:
                self.fail(task_id, kind, cost=cost, is_keyed=is_keyed)
            case _:
                self.release(task_id, kind, cost=cost, is_keyed=is_keyed)

    def complete(
        self,
        task_id: UUID,
        kind: Token,
        output: int | None,
        *,
        cost: int = 0,
        is_keyed: bool = False,
        goes_on_with: int = 0,
    ) -> None:
        token = self.token_of(task_id, kind)
        claim_next = self.request("ada", goes_on_with, Scope.ANY, 0) if goes_on_with else None
        self.prepare_claim()
        completion = Completion(
            fencing_token=token,
            output_data=_output(output),
            claim_next=claim_next,
            usage=_usage(cost),
        )
        self.end(
            Report(task_id, End.COMPLETE, token, output, cost=cost),
            self.store.complete_task(task_id, completion, idempotency=self.key(is_keyed=is_keyed)),
            claim_next,
        )

    def fail(
        self,
        task_id: UUID,
        kind: Token,
        *,
        is_retryable: bool = True,
        retry_in: int = 0,
        cost: int = 0,
        is_keyed: bool = False,
    ) -> None:
        token = self.token_of(task_id, kind)
        failure = Failure(
            fencing_token=token,
            error="no",
            retryable=is_retryable,
            retry_in_seconds=retry_in * HOUR.total_seconds() / HALF_AN_HOUR / 2,
            usage=_usage(cost),
        )
        report = Report(
            task_id, End.FAIL, token, is_retryable=is_retryable, retry_in=retry_in, cost=cost
        )
        self.end(
            report,
            self.store.fail_task(task_id, failure, idempotency=self.key(is_keyed=is_keyed)),
        )

    def release(self, task_id: UUID, kind: Token, *, cost: int, is_keyed: bool) -> None:
        token = self.token_of(task_id, kind)
        release = Release(fencing_token=token, usage=_usage(cost))
        self.end(
            Report(task_id, End.RELEASE, token, cost=cost),
            self.store.release_task(task_id, release, idempotency=self.key(is_keyed=is_keyed)),
        )

    def end(
        self,
        report: Report,
        call: Coroutine[Any, Any, EndedTask],
        claim_next: ClaimRequest | None = None,
    ) -> None:
        due = self.due()
        plan = self.plan_of(report.task_id)
        is_taken = plan.takes(report)
        (refusal,) = plan.end([report])
        unblocked = self.due() - due - {report.task_id}
        if is_taken:
            plan.charge({report.task_id: report.cost})
        expected = self.run(self.next_tasks(claim_next)) if claim_next else []
        answer = self.act(call, refusal)
        if answer is not None:
            assert sorted(answer.unblocked) == sorted(unblocked)
            if claim_next is None:
                assert answer.tasks == []
            else:
                self.hand_over(claim_next, expected, answer.tasks)
            self.answers.append(_task(answer))

    def due(self) -> set[UUID]:
        return {each for each, task in self.tasks.items() if task.due is not None}

    @precondition(lambda self: any(task.token for task in self.tasks.values()))
    @rule(
        numbers=st.lists(NUMBERS, min_size=1, max_size=4),
        kinds=st.lists(st.sampled_from([Token.OWN, Token.OWN, *Token]), min_size=4, max_size=4),
        is_keyed=st.booleans(),
    )
    def complete_many(self, numbers: list[int], kinds: list[Token], *, is_keyed: bool) -> None:
        found = {self.task_at(number, is_claimed=True) for number in numbers}
        reports = [
            Report(task_id, End.COMPLETE, self.token_of(task_id, kind), output=1)
            for task_id, kind in zip(sorted(found), kinds, strict=False)
        ]
        results = Results(
            results=[
                Result(task_id=each.task_id, fencing_token=each.token, output_data=_output(1))
                for each in reports
            ]
        )
        due = self.due()
        refusals = {
            report.task_id: refusal
            for plan in self.plans.values()
            for report, refusal in self.end_in(plan, reports)
        }
        answer = self.run(
            self.store.complete_tasks(results, idempotency=self.key(is_keyed=is_keyed))
        )
        self.answers = []
        assert [each.task_id for each in answer.results] == [each.task_id for each in reports]
        for each in answer.results:
            refusal = refusals[each.task_id]
            assert each.ok == (refusal is None)
            assert each.status == self.tasks[each.task_id].status
            assert (each.error and each.error.code) == (refusal and refusal.code)
        assert set(answer.unblocked) == self.due() - due - found

    def end_in(
        self, plan: ModelPlan, reports: Iterable[Report]
    ) -> Iterable[tuple[Report, Refusal]]:
        own = [each for each in reports if each.task_id in plan.tasks]
        return zip(own, plan.end(own), strict=True)

    @precondition(lambda self: self.tasks)
    @rule(verb=st.sampled_from(["skip", "retry", "retry", "reset", "reset all"]), number=NUMBERS)
    def do_to_task(self, verb: str, number: int) -> None:
        task_id = self.task_at(number)
        plan = self.plan_of(task_id)
        match verb:
            case "skip":
                (refusal,) = plan.end([Report(task_id, End.SKIP, is_by_hand=True)])
                call = self.store.skip_task(task_id)
            case "retry":
                refusal = plan.retry(task_id)
                call = self.store.retry_task(task_id)
            case "reset":
                refusal = plan.reset({task_id})
                call = self.store.reset_task(task_id)
            case _:
                refusal = plan.reset({task_id} | plan.followers(task_id))
                call = self.store.reset_task(task_id, Reset(dependents=True))
        self.answer_task(call, refusal)

    @precondition(lambda self: self.tasks)
    @rule(
        number=NUMBERS,
        status=st.sampled_from(TaskStatus),
        kind=st.sampled_from([Token.NONE, *Token]),
        output=OUTPUTS,
        is_claimed=st.sampled_from([True, False, False]),
        is_keyed=st.booleans(),
        is_more=st.booleans(),
    )
    def set_status(
        self,
        number: int,
        status: TaskStatus,
        kind: Token,
        output: int | None,
        *,
        is_claimed: bool,
        is_keyed: bool,
        is_more: bool,
    ) -> None:
        task_id = self.task_at(number, is_claimed=is_claimed)
        plan = self.plan_of(task_id)
        token = self.token_of(task_id, kind)
        output = output if status == TaskStatus.COMPLETED else None
        description = f"do it at {self.clock.now}" if is_more else None
        fields = {
            "status": status,
            "fencing_token": token,
            "output_data": _output(output),
            "error": "no" if status == TaskStatus.FAILED and token else None,
            "description": description,
        }
        refusal = plan.set_status(task_id, status, token, output, description)
        given = {name: value for name, value in fields.items() if value is not None}
        self.patch_task(task_id, refusal, is_keyed=is_keyed, **given)

    @precondition(lambda self: self.tasks)
    @rule(
        number=NUMBERS,
        field=st.sampled_from(["sequence_order", "priority", "not_before"]),
        value=st.integers(0, 3),
    )
    def edit_task(self, number: int, field: str, value: int) -> None:
        task_id = self.task_at(number)
        plan = self.plan_of(task_id)
        match field:
            case "sequence_order":
                self.patch_task(task_id, plan.reorder(task_id, value), sequence_order=value)
            case "priority":
                self.patch_task(task_id, plan.prioritise(task_id, value), priority=value)
            case _ if value == 0:
                self.patch_task(task_id, plan.defer(task_id, 0), not_before=None)
            case _:
                refusal = plan.defer(task_id, self.clock.now + HALF_AN_HOUR)
                self.patch_task(task_id, refusal, not_before=datetime.now(UTC) + HOUR / 2)

    def patch_task(
        self, task_id: UUID, refusal: Refusal, *, is_keyed: bool = False, **fields: Any
    ) -> None:
        update = TaskUpdate.model_validate(fields)
        self.answer_task(
            self.store.update_task(task_id, update, idempotency=self.key(is_keyed=is_keyed)),
            refusal,
        )

    @precondition(lambda self: self.tasks)
    @rule(number=NUMBERS, needs=NEEDS, verb=st.sampled_from(["set", "add", "remove"]))
    def rewire(self, number: int, needs: list[tuple[int, Condition]], verb: str) -> None:
        task_id = self.task_at(number)
        plan = self.plan_of(task_id)
        ids = list(plan.tasks)
        given = {ids[n % len(ids)]: when for n, when in needs}
        before = plan.tasks[task_id].needs
        if verb == "set":
            after, call = given, self.store.set_dependencies
        elif verb == "add":
            after, call = before | given, self.store.add_dependencies
        else:
            after = {n: when for n, when in before.items() if given and n not in given}
            call = self.store.remove_dependencies
        entries = [DependencyDraft(task=str(needed), when=when) for needed, when in given.items()]
        refusal = plan.rewire(task_id, after)
        answer = self.act(call(task_id, DependenciesUpdate(depends_on=entries)), refusal)
        if answer is not None:
            assert {each.task_id: each.when for each in answer} == after
            for each in answer:
                needed = plan.tasks[each.task_id]
                assert each.status == needed.status
                assert each.is_satisfied == needed.satisfies(each.when)

    @precondition(lambda self: self.tasks)
    @rule(
        number=NUMBERS,
        decision=st.sampled_from([Decision.APPROVED, Decision.APPROVED, Decision.REJECTED]),
        is_asked=st.sampled_from([True, True, True, False]),
        is_keyed=st.booleans(),
    )
    def decide(self, number: int, decision: Decision, *, is_asked: bool, is_keyed: bool) -> None:
        waiting = [each for each, task in self.tasks.items() if task.awaits_approval]
        task_id = waiting[number % len(waiting)] if is_asked and waiting else self.task_at(number)
        is_approved = decision == Decision.APPROVED
        call = (self.store.approve_task if is_approved else self.store.reject_task)(
            task_id, Review(by="ada"), idempotency=self.key(is_keyed=is_keyed)
        )
        self.answer_task(call, self.plan_of(task_id).decide(task_id, decision))

    @precondition(lambda self: self.tasks)
    @rule(number=NUMBERS, is_required=st.booleans())
    def ask_approval(self, number: int, *, is_required: bool) -> None:
        task_id = self.task_at(number)
        refusal = self.plan_of(task_id).ask_approval(task_id, is_required=is_required)
        self.patch_task(task_id, refusal, requires_approval=is_required)

    @rule(number=NUMBERS, limit=LIMITS)
    def raise_limit(self, number: int, limit: Limit | None) -> None:
        plan = self.plan_at(number)
        self.patch_plan(plan, plan.raise_limit(limit), budget=_budget(limit))

    @rule(
        verb=st.sampled_from(["start", "pause", "resume", "resume", "retry", "retry", "cancel"]),
        number=NUMBERS,
    )
    def do_to_plan(self, verb: str, number: int) -> None:
        plan = self.plan_at(number)
        match verb:
            case "start":
                call, refusal = self.store.start_plan(plan.id), plan.start()
            case "pause":
                call, refusal = self.store.pause_plan(plan.id), plan.pause()
            case "resume":
                call, refusal = self.store.resume_plan(plan.id), plan.resume()
            case "retry":
                call, refusal = self.store.retry_plan(plan.id), plan.retry_all()
            case _:
                refusal = plan.change(status=PlanStatus.CANCELLED)
                call = self.store.cancel_plan(plan.id)
        self.answer_plan(call, refusal)

    @rule(number=NUMBERS, status=st.sampled_from([*[PlanStatus.ACTIVE] * 6, *PlanStatus]))
    def move_plan(self, number: int, status: PlanStatus) -> None:
        plan = self.plan_at(number)
        self.patch_plan(plan, plan.change(status=status), status=status)

    @precondition(lambda self: any(plan.is_closed for plan in self.plans.values()))
    @rule()
    def reopen_plan(self) -> None:
        plan = next(plan for plan in self.plans.values() if plan.is_closed)
        refusal = plan.change(status=PlanStatus.ACTIVE)
        self.patch_plan(plan, refusal, status=PlanStatus.ACTIVE)

    @rule(
        number=NUMBERS,
        change=st.one_of(
            st.tuples(st.just("on_failure"), st.sampled_from(OnFailure)),
            st.tuples(st.just("max_parallel_tasks"), st.sampled_from([None, 1, 2])),
            st.tuples(st.just("plan_type"), st.sampled_from(["sequential", "dag"])),
            st.tuples(st.just("auto_complete"), st.booleans()),
        ),
    )
    def edit_plan(self, number: int, change: tuple[str, Any]) -> None:
        plan = self.plan_at(number)
        fields = dict([change])
        self.patch_plan(plan, plan.change(**fields), **fields)

    def patch_plan(self, plan: ModelPlan, refusal: Refusal, **fields: Any) -> None:
        update = PlanUpdate.model_validate(fields)
        self.answer_plan(self.store.update_plan(plan.id, update), refusal)

    @rule()
    def let_an_hour_pass(self) -> None:
        self.clock.now += 2 * HALF_AN_HOUR
        self.answers = []
        self.before = None
        self.run(self.pass_an_hour())

    async def pass_an_hour(self) -> None:
        async with self.database.connection() as conn:
            await conn.execute(_PASS, HOUR)

    @rule()
    def sweep(self) -> None:
        self.answers = []
        self.prepare_claim()
        self.stop()
        overdue = self.expire()
        assert self.run(self.store.sweep()) == overdue

    def overdue(self) -> list[UUID]:
        return [
            each
            for each, task in self.tasks.items()
            if task.token and task.lease_ends <= self.clock.now
        ]

    def stop(self) -> None:
        for plan in self.plans.values():
            plan.sweep()

    def expire(self) -> int:
        reports = [Report(each, End.EXPIRE, self.tasks[each].token) for each in self.overdue()]
        for plan in self.plans.values():
            plan.end([each for each in reports if each.task_id in plan.tasks])
        return len(reports)

    @precondition(lambda self: self.tasks)
    @rule(
        worker=WORKERS,
        numbers=st.lists(NUMBERS, min_size=1, max_size=3),
        kind=st.sampled_from([Token.OWN, Token.OLD]),
        cost=COSTS,
        is_keyed=st.booleans(),
    )
    def beat(
        self, worker: str, numbers: list[int], kind: Token, cost: int, *, is_keyed: bool
    ) -> None:
        found = sorted({self.task_at(number, is_claimed=True) for number in numbers})
        claims = {each: token for each in found if (token := self.token_of(each, kind))}
        if not claims:
            return
        expected = {each: self.renew(each, worker, token) for each, token in claims.items()}
        heartbeat = Heartbeat(
            worker_id=worker,
            claims=[
                HeartbeatClaim(task_id=each, fencing_token=token, usage=_usage(cost))
                for each, token in claims.items()
            ],
        )
        for plan in self.plans.values():
            own = [each for each in claims if each in plan.tasks and expected[each] != "lost"]
            plan.charge(dict.fromkeys(own, cost))
        self.answers = []
        idempotency = self.key(is_keyed=is_keyed)
        answer = self.run(self.store.heartbeat(heartbeat, idempotency=idempotency))
        assert [(each.task_id, each.state) for each in answer.claims] == list(expected.items())
        if is_keyed:  # what is sent again isn't counted again
            assert self.run(self.store.heartbeat(heartbeat, idempotency=idempotency)) == answer

    def renew(self, task_id: UUID, worker: str, token: int) -> str:
        plan = self.plan_of(task_id)
        task = plan.tasks[task_id]
        if task.token != token or task.worker != worker:
            return "lost"
        task.lease_ends = self.clock.now + 2 * HALF_AN_HOUR
        return "stop" if plan.is_closed or plan.is_aborting else "renewed"

    # What holds after each.

    @invariant()
    def is_as_the_model_says(self) -> None:
        self.clock.now += 1
        self.run(self.compare())

    async def compare(self) -> None:
        await self.check_what_stays()
        rows = await all_rows(self.database)
        assert all(answer == rows[answer.id] for answer in self.answers)
        async with self.database.connection() as conn:
            standing = {row["task_id"]: row for row in await conn.fetch(_STANDING)}
        for plan in self.plans.values():
            assert _of_plan(rows[plan.id]) == {
                "status": plan.status,
                "current_step": plan.current_step,
                "revision": plan.revision,
                "is_closed": plan.is_closed,
                "is_paused": plan.is_paused,
                "pause_reason": plan.pause_reason,
                "cost": plan.cost / 10,
            }
            for task_id, task in plan.tasks.items():
                told = _of_task(rows[task_id], standing[task_id])
                assert told == _of_model(plan, task), task.draft.name
        assert rows.keys() == self.plans.keys() | self.tasks.keys()
        await assert_counts_hold(self.database)
        await assert_nothing_is_left_to_derive(self.database)
        await assert_history_holds(self.database)
        assert (await examine(self.database)).findings == ()

    async def check_what_stays(self) -> None:
        """What changes nothing in the model changes no row of the store."""
        before, told = self.before, repr(self.plans)
        self.before = told, (await self.fingerprint())[0]
        assert before is None or told != before[0] or self.before == before

    def teardown(self) -> None:
        self.run(empty(self.database))


KEPT: Final = {StaleClaim, ResultConflict}
"""Refusals that keep what was sent as an event."""


def _output(number: int | None) -> dict[str, Any] | None:
    return None if number is None else {"n": number}


def _usage(cost: int) -> UsageReport | None:
    return UsageReport(cost_usd=cost / 10) if cost else None


def _budget(limit: Limit | None) -> Budget | None:
    match limit:
        case None:
            return None
        case (PauseReason.MAX_COST, most):
            return Budget(max_cost_usd=most / 10)
        case (_, most):
            return Budget(max_attempts=most)


def _drafts(drafts: Iterable[Draft]) -> list[TaskDraft]:
    later = datetime.now(UTC) + HOUR / 2
    return [_draft(each, not_before=later if each.kind.is_late else None) for each in drafts]


def _draft(draft: Draft, *, not_before: datetime | None) -> TaskDraft:
    kind = draft.kind
    return TaskDraft(
        id=draft.id,
        name=draft.name,
        description="do it",
        sequence_order=kind.order,
        depends_on=[DependencyDraft(task=str(n), when=when) for n, when in draft.needs.items()],
        priority=kind.priority,
        task_type=kind.task_type,
        agent_id=kind.agent_id,
        retry_policy=RetryPolicy(max_retries=kind.max_retries),
        side_effects=SideEffects.ONCE if kind.is_once else SideEffects.IDEMPOTENT,
        not_before=not_before,
        requires_approval=kind.requires_approval,
    )


def _task(answer: Task) -> Task:
    """The part of an answer that is the task."""
    return Task.model_validate({name: getattr(answer, name) for name in Task.model_fields})


def _of_plan(plan: Any) -> dict[str, Any]:
    return {
        "status": plan.status,
        "current_step": plan.current_step,
        "revision": plan.revision,
        "is_closed": plan.closed_at is not None,
        "is_paused": plan.paused_at is not None,
        "pause_reason": plan.pause_reason,
        "cost": plan.usage.cost_usd if plan.usage else 0,
    }


def _of_task(task: Any, standing: Any) -> dict[str, Any]:
    """What a task is as the store says."""
    return {
        "order": task.sequence_order,
        "priority": task.priority,
        "status": task.status,
        "reason": task.status_reason,
        "attempt": task.attempt,
        "free_attempts": standing["free_attempts"],
        "worker": task.worker_id,
        "token": standing["fencing_token"],
        "is_claimed": standing["lease_expires_at"] is not None,
        "output": task.output_data,
        "decision": task.approval and task.approval.decision,
        "cost": task.usage.cost_usd if task.usage else 0,
        "needs_review": task.needs_review,
        "needs": standing["needs"],
        "unmet": standing["unmet"],
        "is_due": standing["due_at"] is not None,
        "is_ready": standing["ready_at"] is not None,
    }


def _of_model(plan: ModelPlan, task: ModelTask) -> dict[str, Any]:
    """What a task is as the model says."""
    return {
        "order": task.order,
        "priority": task.priority,
        "status": task.status,
        "reason": task.reason,
        "attempt": task.attempt,
        "free_attempts": task.free_attempts,
        "worker": task.worker,
        "token": task.token or task.result_token,
        "is_claimed": task.token is not None,
        "output": _output(task.output),
        "decision": task.decision,
        "cost": task.cost / 10,
        "needs_review": task.needs_review,
        "needs": len(task.needs),
        "unmet": plan.unmet(task),
        "is_due": task.due is not None,
        "is_ready": task.is_ready,
    }


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


def test_the_store_coordinates_as_the_model_says(
    postgres: Postgres, runner: asyncio.Runner
) -> None:
    stack = AsyncExitStack()

    async def open_store() -> tuple[PlanStore, Database]:
        url = await stack.enter_async_context(postgres.database())
        store = await stack.enter_async_context(PlanStore.open(url, migrate=False))
        return store, await stack.enter_async_context(Database.open(url))

    store, database = runner.run(open_store())
    try:
        opened = {"runner": runner, "store": store, "database": database}
        run_state_machine_as_test(
            type("OpenedCoordinationMachine", (CoordinationMachine,), opened),
            settings=settings(
                max_examples=EXAMPLES,
                stateful_step_count=STEPS,
                deadline=None,
                suppress_health_check=[HealthCheck.too_slow],
            ),
        )
    finally:
        runner.run(stack.aclose())


# What the machine and its making have found.


async def test_whoever_starts_a_claimed_task_by_hand_is_told_whose_it_is(
    store: PlanStore, database: Database
) -> None:
    packet = await _claimed(store)

    async with refused(database, Claimed) as info:
        await store.update_task(packet.id, TaskUpdate(status=TaskStatus.RUNNING))

    assert "'ada'" in info.value.detail


async def test_a_claimed_task_may_be_read_edited_and_sent_back(store: PlanStore) -> None:
    task = await store.get_task((await _claimed(store)).id)
    whole = task.model_dump() | {"description": "edited"}

    edited = await store.update_task(task.id, TaskUpdate.model_validate(whole))

    assert (edited.description, edited.status) == ("edited", TaskStatus.RUNNING)


async def test_a_result_stands_whatever_else_its_holder_sends_with_another_one(
    store: PlanStore,
) -> None:
    packet = await _claimed(store)
    token = packet.fencing_token
    await moved(store, packet, TaskStatus.COMPLETED, output_data={"n": 1}, fencing_token=token)

    with pytest.raises(ResultConflict):
        await moved(
            store,
            packet,
            TaskStatus.COMPLETED,
            output_data={"n": 2},
            description="edited",
            fencing_token=token,
        )

    after = await store.get_task(packet.id)
    assert (after.output_data, after.description) == ({"n": 1}, "do it")


async def test_who_lost_a_claim_edits_nothing_by_saying_again_how_it_ended(
    store: PlanStore,
) -> None:
    packet = await _claimed(store)
    failure = Failure(fencing_token=packet.fencing_token, error="no", retry_in_seconds=0)
    await store.fail_task(packet.id, failure)

    with pytest.raises(StaleClaim):
        await moved(
            store,
            packet,
            TaskStatus.FAILED,
            description="edited",
            fencing_token=packet.fencing_token,
        )

    after = await store.get_task(packet.id)
    assert (after.status, after.description) == (TaskStatus.PENDING, "do it")


async def test_a_hold_that_an_abort_ends_says_why_for_good(
    store: PlanStore, database: Database
) -> None:
    plan = await plan_of(store, plan_type="dag", on_failure="abort")
    first = await task_of(store, plan, status=TaskStatus.COMPLETED)
    then = await task_of(store, plan, depends_on=[first.id], status=TaskStatus.BLOCKED)
    await store.reset_task(first.id)

    await moved(store, first, TaskStatus.FAILED)

    assert (await store.get_task(then.id)).status_reason == StatusReason.DEAD
    await assert_nothing_is_left_to_derive(database)


async def _claimed(store: PlanStore) -> WorkPacket:
    await task_of(store, await plan_of(store))
    (packet,) = await store.claim_tasks(ClaimRequest(worker_id="ada"))
    return packet
