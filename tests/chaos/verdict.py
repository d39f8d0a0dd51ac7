"""The verdict: what must never have happened didn't, by the database and by the journals."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Final, NamedTuple
from uuid import UUID

from planstore.models import PlanStatus, Task, TaskStatus
from planstore.services.doctor import examine
from tests.chaos.journal import What
from tests.graphs import assert_carried_out
from tests.history import (
    all_events,
    all_rows,
    assert_counts_hold,
    assert_history_holds,
    assert_nothing_is_left_to_derive,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planstore.db import Database
    from tests.chaos.journal import Entry
    from tests.graphs import Graph
    from tests.history import Event, Rows

_OUTCOMES: Final = {"complete": "completed", "fail": "failed", "release": "released"}
"""How a run ended that a report was taken of."""

_ENDS: Final = {"task.completed", "task.requeued", "task.released"}
"""The events by which a run ends here: there are retries enough, and nothing is skipped."""

_SLACK: Final = 0.02
"""Seconds by which the database's clock may be corrected against the workers' during a lease."""


class RunId(NamedTuple):
    """Which run of which task."""

    task_id: UUID
    attempt: int


@dataclass(frozen=True, slots=True)
class Run:
    """One run of a task, as the database tells it."""

    token: int
    worker_id: str
    outcome: str


_RUNS: Final = """
select a.task_id, a.attempt, a.fencing_token, a.worker_id, a.outcome
from planstore.attempts a
union all
select s.task_id, s.attempt, s.fencing_token, s.worker_id, 'completed'
from planstore.task_states s
where s.status = 'completed'
"""


async def assert_nothing_went_wrong(
    database: Database, plans: Mapping[UUID, Graph], entries: Sequence[Entry]
) -> Counter[str]:
    """Judge a run that is over; answers how often what happened."""
    rows, events, runs = await all_rows(database), await all_events(database), await _runs(database)
    assert not [entry for entry in entries if entry.what == What.SURPRISED]
    assert_all_is_done(plans, rows)
    for plan_id, graph in plans.items():
        assert_carried_out(graph, plan_id, events)
        assert_few_enough_ran(graph, plan_id, events)
    assert_runs_followed_each_other(events, runs)
    assert_the_last_holders_outputs_stand(rows, runs)
    assert_claims_are_there(entries, runs)
    assert_what_was_built_on_stands(entries, rows)
    assert_acknowledged_reports_are_there(entries, runs, rows)
    assert_only_late_reports_were_refused(entries, runs, events)
    assert_no_two_worked_at_once(entries)
    await assert_history_holds(database)
    await assert_counts_hold(database)
    await assert_nothing_is_left_to_derive(database)
    assert (await examine(database)).findings == ()
    return (
        Counter(
            {
                "plans": len(plans),
                "tasks": sum(isinstance(row, Task) for row in rows.values()),
                "events": len(events),
            }
        )
        + Counter(f"runs {run.outcome}" for run in runs.values())
        + Counter(f"reports {entry.what}" for entry in entries if entry.verb)
    )


async def _runs(database: Database) -> dict[RunId, Run]:
    async with database.connection() as conn:
        found = await conn.fetch(_RUNS)
    return {
        RunId(row["task_id"], row["attempt"]): Run(
            row["fencing_token"], row["worker_id"], row["outcome"]
        )
        for row in found
    }


def assert_all_is_done(plans: Mapping[UUID, Graph], rows: Rows) -> None:
    """Every plan that was acknowledged is there, and it and all tasks have completed."""
    assert plans.keys() <= rows.keys()
    for row in rows.values():
        done = TaskStatus.COMPLETED if isinstance(row, Task) else PlanStatus.COMPLETED
        assert row.status == done, row


def assert_few_enough_ran(graph: Graph, plan_id: UUID, events: Sequence[Event]) -> None:
    """A plan never had more tasks at work than it may."""
    most = graph.plan.get("max_parallel_tasks", len(graph.needs))
    running: set[UUID] = set()
    for event in events:
        if event.plan_id == plan_id and event.event_type == "task.started":
            running.add(event.aggregate_id)
            assert len(running) <= most, f"{graph}: {len(running)} ran at {event.seq}"
        elif event.plan_id == plan_id and event.event_type in _ENDS:
            running.remove(event.aggregate_id)


def assert_runs_followed_each_other(events: Sequence[Event], runs: Mapping[RunId, Run]) -> None:
    """Each run of a task ended before the next one started, whose token is higher."""
    under_way: dict[UUID, bool] = defaultdict(bool)
    attempts = Counter[UUID]()
    for event in events:
        task_id = event.aggregate_id
        if event.event_type == "task.started":
            assert not under_way[task_id], event
            under_way[task_id] = True
            attempts[task_id] += 1
            assert event.payload["attempt"] == attempts[task_id], event
            run = runs[RunId(task_id, attempts[task_id])]
            assert event.payload["worker_id"] == run.worker_id, event
        elif event.event_type in _ENDS:
            assert under_way[task_id], event
            under_way[task_id] = False
    assert not any(under_way.values())
    assert len(runs) == attempts.total()
    for task_id, count in attempts.items():
        tokens = [runs[RunId(task_id, attempt)].token for attempt in range(1, count + 1)]
        assert all(earlier < later for earlier, later in pairwise(tokens)), task_id


def assert_the_last_holders_outputs_stand(rows: Rows, runs: Mapping[RunId, Run]) -> None:
    """No result is that of a worker whose claim had ended."""
    for row in rows.values():
        if isinstance(row, Task):
            last = runs[RunId(row.id, row.attempt)]
            assert last.outcome == "completed", row
            assert row.output_data is not None
            assert row.output_data["token"] == last.token, row
            assert row.output_data["by"].startswith(f"{row.worker_id}-"), row


def assert_claims_are_there(entries: Sequence[Entry], runs: Mapping[RunId, Run]) -> None:
    """What was handed out is known as handed out to that worker."""
    for entry in entries:
        if entry.what == What.CLAIMED:
            run = runs[_run_of(entry)]
            assert run.token == entry.token, (entry, run)
            assert entry.worker.startswith(f"{run.worker_id}-"), (entry, run)


def assert_what_was_built_on_stands(entries: Sequence[Entry], rows: Rows) -> None:
    """What a worker was told that other tasks have produced is what they have produced."""
    for entry in entries:
        if entry.what == What.CLAIMED:
            for task_id, output in entry.said.items():
                needed = rows[UUID(task_id)]
                assert isinstance(needed, Task)
                assert needed.output_data == output, (entry, needed)


def assert_acknowledged_reports_are_there(
    entries: Sequence[Entry], runs: Mapping[RunId, Run], rows: Rows
) -> None:
    """Each report that was taken is how its run ended, and each result is the task's output."""
    for entry in entries:
        if entry.what == What.ACKNOWLEDGED:
            run = runs[_run_of(entry)]
            assert (run.token, run.outcome) == (entry.token, _OUTCOMES[entry.verb]), (entry, run)
            if entry.verb == "complete":
                task = rows[UUID(entry.task_id)]
                assert isinstance(task, Task)
                assert task.output_data == {"token": entry.token, "by": entry.worker}, entry


def assert_only_late_reports_were_refused(
    entries: Sequence[Entry], runs: Mapping[RunId, Run], events: Sequence[Event]
) -> None:
    """A report was refused where its claim had ended otherwise, and is kept as an event."""
    kept = {
        (event.aggregate_id, event.metadata["refused"].get("fencing_token"))
        for event in events
        if event.event_type == "task.result_refused"
    }
    for entry in entries:
        if entry.what == What.REFUSED:
            assert entry.said == "stale_claim", entry
            assert runs[_run_of(entry)].outcome == "lease_ended", entry
            assert (UUID(entry.task_id), entry.token) in kept, entry


class _Shift(NamedTuple):
    """When somebody worked on a task and could rely on the claim."""

    began: float
    ended: float
    entry: Entry


def assert_no_two_worked_at_once(entries: Sequence[Entry]) -> None:
    """While a worker could rely on its claim on a task, no other one worked on it likewise."""
    valid_until: dict[tuple[str, int], float] = {}
    stopped: dict[tuple[str, int], float] = {}
    for entry in entries:
        run = (entry.task_id, entry.token)
        if entry.what in {What.CLAIMED, What.RENEWED}:
            valid_until[run] = max(entry.valid_until, valid_until.get(run, 0.0))
        if entry.what == What.STOPPED:
            stopped[run] = entry.at
    shifts: dict[str, list[_Shift]] = defaultdict(list)
    for entry in entries:
        if entry.what == What.BEGAN:
            run = (entry.task_id, entry.token)
            ended = min(stopped.get(run, valid_until[run]), valid_until[run])
            if entry.at < ended:
                shifts[entry.task_id].append(_Shift(entry.at, ended, entry))
    for of_task in shifts.values():
        for first, second in pairwise(sorted(of_task)):
            assert first.ended <= second.began + _SLACK, (first, second)


def _run_of(entry: Entry) -> RunId:
    return RunId(UUID(entry.task_id), entry.attempt)
