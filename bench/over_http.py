"""Single calls over HTTP: one PlanStore process beside a bare app that runs the same statements."""

from __future__ import annotations

import asyncio
import itertools
import math
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from statistics import median
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID, uuid4

from rich.table import Table

from bench import server as servers
from bench.load import LoadGenerator, Outcome, Work, request
from bench.report import verdict
from bench.subject import Course, Subject
from bench.wire import Wire
from planstore.models.plan import PlanCreate, PlanStatus
from planstore.models.task import TaskCreate
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from bench.server import Server

CONNECTIONS: Final = (1, 16)
LEAST_RATIO: Final = 0.5
MOST_MEMORY_MB: Final = 120

_RATES: Final = {
    "create": "POST /tasks/",
    "create-keyed": "POST /tasks/, Idempotency-Key",
    "get": "GET /tasks/{id}",
    "move": "PATCH /tasks/{id}, status",
    "edit": "PATCH /tasks/{id}, edit",
}
_LINES: Final = {
    **_RATES,
    "round-trips": "round trips to PostgreSQL for each call",
    "memory": "resident memory of an idle server process",
}

_TASKS_OF_A_PLAN: Final = 10
_KEPT_PLANS: Final = 64
"""How many plans the calls that don't use plans up are spread over."""
_WARM_UP_SECONDS: Final = 0.7
_MOST_PER_SECOND: Final = {1: 1_500, 16: 4_000}
"""By connections, for how many changes a second there are tasks; where a machine makes more, the
measurement ends early, and its rate is right all the same."""

_AGENT: Final = "550e8400-e29b-41d4-a716-446655440000"
_INPUT: Final = {
    "spec_path": "docs/STEAM-MODAL-SPECIFICATION.md",
    "focus_areas": ["animations", "accessibility", "state-management"],
}
_OUTPUT: Final = {
    "files_modified": ["SteamModal.tsx", "animations.ts"],
    "tests_added": 5,
    "coverage": 0.85,
}


@dataclass(slots=True)
class _Data:
    """What was prepared, the same in each database."""

    kept: list[list[UUID]]
    """The tasks of each plan that stays."""
    kept_plans: list[UUID]
    fresh: Iterator[list[UUID]]
    """The tasks of plans that were not started, each to be used once."""
    numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1))

    def create(self, count: int, *, keyed: bool = False) -> Work:
        def one() -> bytes:
            number = next(self.numbers)
            body = {
                "plan_id": str(self.kept_plans[number % _KEPT_PLANS]),
                "agent_id": _AGENT,
                "description": "Analyze modal requirements from specification",
                "task_type": "analysis",
                "input_data": _INPUT,
                "sequence_order": number // _KEPT_PLANS + _TASKS_OF_A_PLAN,
            }
            key = {"Idempotency-Key": str(uuid4())} if keyed else None
            return request("POST", "/tasks/", body, key)

        return Work([[one()] for _ in range(count)], status=201)

    def create_keyed(self, count: int) -> Work:
        return self.create(count, keyed=True)

    def get(self, _count: int) -> Work:
        ids = itertools.chain.from_iterable(zip(*self.kept, strict=True))
        return Work([[request("GET", f"/tasks/{each}")] for each in ids], 200, is_endless=True)

    def move(self, count: int) -> Work:
        """Each plan is gone through by one caller, as its tasks' turns come."""
        plans = math.ceil(count / _TASKS_OF_A_PLAN / 2)
        bodies: tuple[dict[str, Any], ...] = (
            {"status": "running"},
            {"status": "completed", "output_data": _OUTPUT},
        )
        return Work(
            [
                [request("PATCH", f"/tasks/{each}", body) for each in plan for body in bodies]
                for plan in itertools.islice(self.fresh, plans)
            ],
            status=200,
        )

    def edit(self, count: int) -> Work:
        ids = itertools.cycle(itertools.chain.from_iterable(zip(*self.kept, strict=True)))

        def one(task_id: UUID) -> bytes:
            number = next(self.numbers)
            body = {
                "description": f"Analyze modal requirements from specification, draft {number}",
                "metadata": {"draft": number, "reviewer": _AGENT},
            }
            return request("PATCH", f"/tasks/{task_id}", body)

        return Work([[one(each)] for each in itertools.islice(ids, count)], status=200)

    def maker(self, line: str) -> Callable[[int], Work]:
        makers = {
            "create": self.create,
            "create-keyed": self.create_keyed,
            "get": self.get,
            "move": self.move,
            "edit": self.edit,
        }
        return makers[line]


async def _run(course: Course) -> None:
    async with AsyncExitStack() as stack:
        postgres, report = course.postgres, course.report
        ours = await stack.enter_async_context(postgres.database("planstore"))
        report.progress("preparing tasks")
        data = await _prepare(course, ours)
        if rates := [line for line in _RATES if line in course.lines]:
            theirs = await stack.enter_async_context(postgres.database("bare", template=ours))
            generator = stack.enter_context(LoadGenerator.running())
            contestants = (
                await stack.enter_async_context(servers.planstore(postgres.url_of(ours))),
                await stack.enter_async_context(servers.bare(postgres.url_of(theirs))),
            )
            await _measure_rates(course, rates, data, contestants, generator)
        if not course.lines.isdisjoint({"round-trips", "memory"}):
            await _measure_needs(course, data, postgres.url_of(ours))


async def _prepare(course: Course, database: str) -> _Data:
    """Make the plans that all measurements need, through the front door."""
    to_use_up = 0
    if "move" in course.lines:
        counts = [_count(line, course.seconds) for line in CONNECTIONS]
        warm_ups = len(CONNECTIONS) * _count(16, _WARM_UP_SECONDS)
        changes = course.rounds * sum(counts) + warm_ups
        to_use_up = math.ceil(changes / _TASKS_OF_A_PLAN / 2)
        to_use_up += (course.rounds + 1) * len(CONNECTIONS)  # each measurement rounds up
    to_use_up += 2 * _SAMPLE  # for counting round trips
    async with course.postgres.filling(database) as url, PlanStore.open(url) as store:
        numbers = iter(range(_KEPT_PLANS + to_use_up))
        plans: list[tuple[UUID, list[UUID]]] = []

        async def make() -> None:
            plans.extend([await _make_plan(store) for _ in numbers])

        async with asyncio.TaskGroup() as group:
            for _ in range(servers.POOL_SIZE):
                group.create_task(make())
    kept = plans[:_KEPT_PLANS]
    return _Data(
        kept=[ids for _, ids in kept],
        kept_plans=[plan_id for plan_id, _ in kept],
        fresh=iter([ids for _, ids in plans[_KEPT_PLANS:]]),
    )


async def _make_plan(store: PlanStore) -> tuple[UUID, list[UUID]]:
    plan = await store.create_plan(
        PlanCreate(status=PlanStatus.ACTIVE, steps=[{"step": n} for n in range(1, 6)])
    )
    ids = [
        (
            await store.create_task(
                TaskCreate(
                    plan_id=plan.id,
                    agent_id=UUID(_AGENT),
                    description="Analyze modal requirements from specification",
                    task_type="analysis",
                    input_data=_INPUT,
                )
            )
        ).id
        for _ in range(_TASKS_OF_A_PLAN)
    ]
    return plan.id, ids


def _count(connections: int, seconds: float) -> int:
    return math.ceil(_MOST_PER_SECOND[connections] * seconds)


@dataclass(frozen=True, slots=True)
class _Measured:
    outcome: Outcome
    cpu_us: float | None
    """What one request cost the server's processor, in microseconds."""


async def _measure_rates(
    course: Course,
    lines: Sequence[str],
    data: _Data,
    contestants: tuple[Server, Server],
    generator: LoadGenerator,
) -> None:
    table = _rate_table(course)
    for line, connections in itertools.product(lines, CONNECTIONS):
        course.report.progress(f"{_RATES[line]}, connections: {connections}")
        make = data.maker(line)
        # All connections of both pools have prepared the statement before the clock runs.
        work = make(_count(16, _WARM_UP_SECONDS))
        for server in contestants:
            await generator.play(server.port, work, connections=16, seconds=_WARM_UP_SECONDS)
        found: dict[str, list[_Measured]] = {server.name: [] for server in contestants}
        for turn in range(course.rounds):
            work = make(_count(connections, course.seconds))
            for server in contestants if turn % 2 == 0 else reversed(contestants):
                measured = await _measure(course, server, generator, work, connections)
                found[server.name].append(measured)
                course.report.record("rate", **_record(line, connections, turn, server, measured))
        _add_row(table, _RATES[line], connections, *found.values())
    course.report.add(table)


async def _measure(
    course: Course, server: Server, generator: LoadGenerator, work: Work, connections: int
) -> _Measured:
    before = server.cpu_seconds()
    outcome = await generator.play(
        server.port, work, connections=connections, seconds=course.seconds
    )
    after = server.cpu_seconds()
    if before is None or after is None:
        return _Measured(outcome, None)
    return _Measured(outcome, (after - before) / outcome.requests * 1e6)


def _record(
    line: str, connections: int, turn: int, server: Server, measured: _Measured
) -> Mapping[str, Any]:
    outcome = measured.outcome
    return {
        "line": f"http.{line}",
        "connections": connections,
        "round": turn,
        "server": server.name,
        "requests": outcome.requests,
        "seconds": round(outcome.seconds, 4),
        "per_second": round(outcome.rate, 1),
        "p50_ms": round(outcome.p50_ms, 3),
        "p99_ms": round(outcome.p99_ms, 3),
        "server_cpu_us": None if measured.cpu_us is None else round(measured.cpu_us, 1),
        "generator_cpu_share": round(outcome.cpu_share, 3),
    }


def _rate_table(course: Course) -> Table:
    table = Table(
        title="Single calls over HTTP, one server process: PlanStore beside the bare app",
        caption=f"Medians of {course.rounds} interleaved rounds of {course.seconds:g} s; "
        f"the ratio is the median of each round's, and is to be at least {LEAST_RATIO}.",
    )
    table.add_column("call", no_wrap=True)
    for header in ("conn.", "PlanStore/s", "bare/s", "ratio"):
        table.add_column(header, justify="right", no_wrap=True)
    for header in ("p50 ms", "bare", "p99 ms", "bare", "CPU µs/call", "bare", "generator"):
        table.add_column(header, justify="right", no_wrap=True)
    return table


def _add_row(
    table: Table, call: str, connections: int, ours: list[_Measured], bare: list[_Measured]
) -> None:
    def middle(of: Callable[[_Measured], float | None], digits: int) -> list[str]:
        texts: list[str] = []
        for each in (ours, bare):
            known = [value for measured in each if (value := of(measured)) is not None]
            texts.append(f"{median(known):,.{digits}f}" if known else "")
        return texts

    ratio = median(
        our.outcome.rate / other.outcome.rate for our, other in zip(ours, bare, strict=True)
    )
    table.add_row(
        call,
        str(connections),
        *middle(lambda it: it.outcome.rate, 0),
        verdict(f"{ratio:.2f}", is_met=ratio >= LEAST_RATIO),
        *middle(lambda it: it.outcome.p50_ms, 2),
        *middle(lambda it: it.outcome.p99_ms, 2),
        *middle(lambda it: it.cpu_us, 0),
        f"{max(it.outcome.cpu_share for it in (*ours, *bare)):.0%}",
    )


_SAMPLE: Final = 100
"""Calls of each kind for which round trips are counted."""


async def _measure_needs(course: Course, data: _Data, url: str) -> None:
    """Count round trips, and look at the memory of the server before and after."""
    table = Table(title="What one PlanStore process needs")
    table.add_column("what", no_wrap=True)
    table.add_column("measured", justify="right")
    table.add_column("limit", justify="right")

    def found(line: str, what: str, text: str, value: float, limit: float) -> None:
        course.report.record("need", line=f"http.{line}", what=what, value=value, limit=limit)
        table.add_row(what, verdict(text, is_met=value <= limit), f"{limit:g}")

    async with Wire.to(url) as wire, servers.planstore(wire.url) as server:
        memory = [("after its start", server.memory_mb())]
        with LoadGenerator.running() as generator:
            for line, call in _RATES.items():
                make = data.maker(line)
                trips: list[float] = []
                # The first calls prepare the statement.
                for work in (make(_SAMPLE), make(_SAMPLE)):
                    before = wire.round_trips
                    outcome = await generator.play(server.port, work, connections=1, seconds=1)
                    trips.append((wire.round_trips - before) / outcome.requests)
                if "round-trips" in course.lines:
                    what = f"round trips, {call}"
                    found("round-trips", what, f"{trips[-1]:.2f}", trips[-1], 1)
            if "memory" in course.lines:
                work = Work(data.get(0).scripts, 200, is_endless=True)
                await generator.play(server.port, work, connections=64, seconds=course.seconds)
                await asyncio.sleep(1)
                memory.append(("idle after work", server.memory_mb()))
                for when, megabytes in memory:
                    what = f"MB of memory, {when}"
                    found("memory", what, f"{megabytes:.0f}", round(megabytes, 1), MOST_MEMORY_MB)
    course.report.add(table)


SUBJECT: Final = Subject("http", _LINES, _run)
