"""The verdict of the chaos test sees what must not have happened."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from uuid import UUID

import pytest

from planstore.models import Task
from tests.chaos.journal import Entry, What
from tests.chaos.verdict import (
    Run,
    RunId,
    assert_acknowledged_reports_are_there,
    assert_claims_are_there,
    assert_no_two_worked_at_once,
    assert_only_late_reports_were_refused,
    assert_runs_followed_each_other,
    assert_what_was_built_on_stands,
)
from tests.graphs import assert_carried_out, chain
from tests.history import Event

TASK: Final = UUID(int=7)
PLAN: Final = UUID(int=1)


def entry(what: What, at: float = 0.0, *, token: int = 1, **fields: Any) -> Entry:
    """What the first life of w1 has to tell of its claim on the task."""
    return Entry(at, "w1-1", what, str(TASK), token, attempt=token, **fields)


def shift(began: float, stopped: float, *, token: int, valid_until: float) -> list[Entry]:
    return [
        entry(What.CLAIMED, began, token=token, valid_until=valid_until),
        entry(What.BEGAN, began, token=token),
        entry(What.STOPPED, stopped, token=token),
    ]


def event(what: str, task_id: UUID = TASK, *, seq: int = 1, **payload: Any) -> Event:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    metadata = {"refused": {"fencing_token": 1}}  # of what was refused, if it was
    return Event(seq, f"task.{what}", "task", task_id, PLAN, seq, at, payload, metadata)


def run_twice(*, tokens: tuple[int, int]) -> tuple[list[Event], dict[RunId, Run]]:
    """A task whose first run was lost: its events, and its runs."""
    events = [
        *(event(what, worker_id="w1", attempt=1) for what in ("started", "requeued")),
        *(event(what, worker_id="w2", attempt=2) for what in ("started", "completed")),
    ]
    first, second = tokens
    return events, {
        RunId(TASK, 1): Run(first, "w1", "lease_ended"),
        RunId(TASK, 2): Run(second, "w2", "completed"),
    }


def test_two_workers_with_good_claims_on_one_task_are_seen() -> None:
    first = shift(10.0, 11.0, token=1, valid_until=12.0)
    with pytest.raises(AssertionError):
        assert_no_two_worked_at_once([*first, *shift(10.5, 11.5, token=2, valid_until=13.0)])


def test_who_works_on_after_the_claim_has_ended_harms_nobody() -> None:
    late = shift(10.0, 15.0, token=1, valid_until=12.0)
    assert_no_two_worked_at_once([*late, *shift(12.5, 13.0, token=2, valid_until=14.0)])


def test_a_renewed_claim_is_good_for_longer() -> None:
    renewed = [
        *shift(10.0, 15.0, token=1, valid_until=12.0),
        entry(What.RENEWED, 11.0, token=1, valid_until=13.0),
    ]
    with pytest.raises(AssertionError):
        assert_no_two_worked_at_once([*renewed, *shift(12.5, 13.0, token=2, valid_until=14.0)])


def test_who_was_killed_at_work_is_taken_to_work_until_the_claim_ends() -> None:
    killed = shift(10.0, 0.0, token=1, valid_until=12.0)[:2]
    with pytest.raises(AssertionError):
        assert_no_two_worked_at_once([*killed, *shift(11.5, 13.0, token=2, valid_until=14.0)])


def test_runs_one_after_the_other_are_fine() -> None:
    assert_runs_followed_each_other(*run_twice(tokens=(1, 2)))


def test_a_run_that_starts_before_the_last_one_has_ended_is_seen() -> None:
    (started, requeued, started_again, completed), runs = run_twice(tokens=(1, 2))
    with pytest.raises(AssertionError):
        assert_runs_followed_each_other([started, started_again, requeued, completed], runs)


@pytest.mark.parametrize("tokens", [(2, 2), (3, 2)])
def test_a_token_that_does_not_grow_is_seen(tokens: tuple[int, int]) -> None:
    with pytest.raises(AssertionError):
        assert_runs_followed_each_other(*run_twice(tokens=tokens))


@pytest.mark.parametrize("run", [Run(1, "w1", "lease_ended"), Run(2, "w2", "completed")])
def test_an_acknowledged_completion_that_is_not_there_is_seen(run: Run) -> None:
    taken = entry(What.ACKNOWLEDGED, verb="complete")
    with pytest.raises(AssertionError):
        assert_acknowledged_reports_are_there([taken], {RunId(TASK, 1): run}, {})


@pytest.mark.parametrize("run", [Run(2, "w1", "completed"), Run(1, "w2", "completed")])
def test_a_claim_that_somebody_else_has_is_seen(run: Run) -> None:
    with pytest.raises(AssertionError):
        assert_claims_are_there([entry(What.CLAIMED)], {RunId(TASK, 1): run})


def test_an_output_that_was_built_on_and_is_another_now_is_seen() -> None:
    built_on = entry(What.CLAIMED, said={str(TASK): {"token": 1}})
    assert_what_was_built_on_stands(
        [built_on], {TASK: Task.model_construct(output_data={"token": 1})}
    )
    with pytest.raises(AssertionError):
        assert_what_was_built_on_stands([built_on], {TASK: Task.model_construct(output_data=None)})


@pytest.mark.parametrize(
    ("said", "outcome"), [("stale_claim", "completed"), ("claimed", "lease_ended")]
)
def test_a_good_report_that_was_refused_is_seen(said: str, outcome: str) -> None:
    refused = entry(What.REFUSED, verb="complete", said=said)
    kept = event("result_refused")
    runs = {RunId(TASK, 1): Run(1, "w1", outcome)}
    with pytest.raises(AssertionError):
        assert_only_late_reports_were_refused([refused], runs, [kept])


def test_a_refused_report_that_was_not_kept_is_seen() -> None:
    refused = entry(What.REFUSED, verb="complete", said="stale_claim")
    with pytest.raises(AssertionError):
        assert_only_late_reports_were_refused(
            [refused], {RunId(TASK, 1): Run(1, "w1", "lease_ended")}, []
        )


def carried_out(*steps: tuple[str, int]) -> list[Event]:
    """The events of a chain of two, whose tasks are known by their numbers."""
    return [
        event(what, UUID(int=number), seq=seq, name=f"step-{number}")
        for seq, (what, number) in enumerate([("created", 0), ("created", 1), *steps], start=1)
    ]


def test_a_task_that_starts_before_what_it_needs_has_ended_is_seen() -> None:
    in_order = (("started", 0), ("completed", 0), ("started", 1), ("completed", 1))
    assert_carried_out(chain(2), PLAN, carried_out(*in_order))
    for wrong in (
        (("started", 0), ("started", 1), ("completed", 0), ("completed", 1)),
        in_order[:3],
        (*in_order, ("completed", 1)),
    ):
        with pytest.raises(AssertionError):
            assert_carried_out(chain(2), PLAN, carried_out(*wrong))
