"""The tables of transitions, and what is drawn from them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from planstore.models import PlanStatus, TaskStatus
from planstore.models.plan import FINAL, PLAN_LIFECYCLE, SETTLED
from planstore.models.task import ENDED, FINISHED, TASK_LIFECYCLE, UNSTARTED

if TYPE_CHECKING:
    from planstore.models.lifecycle import Lifecycle


def test_a_refusal_says_what_which_why_and_what_is_allowed() -> None:
    assert TASK_LIFECYCLE.refusal(TaskStatus.RUNNING, TaskStatus.COMPLETED, which="boil") == (
        "cannot start task boil: it is completed; allowed now: reset"
    )
    assert PLAN_LIFECYCLE.refusal(PlanStatus.CANCELLED, PlanStatus.CANCELLED, which=7) == (
        "cannot cancel plan 7: it is cancelled; allowed now: complete, fail, reopen"
    )


def test_a_status_that_several_verbs_lead_to_is_refused_with_all_of_them() -> None:
    assert TASK_LIFECYCLE.refusal(TaskStatus.PENDING, TaskStatus.PENDING, which="x") == (
        "cannot release or unhold or reset task x: it is pending; "
        "allowed now: start, complete, skip, fail, hold"
    )
    assert PLAN_LIFECYCLE.refusal(PlanStatus.ACTIVE, PlanStatus.ACTIVE, which="x") == (
        "cannot start or reopen plan x: it is active; allowed now: complete, fail, cancel"
    )


def test_a_status_that_no_verb_leads_to_is_refused_by_its_name() -> None:
    assert PLAN_LIFECYCLE.refusal(PlanStatus.DRAFT, PlanStatus.ACTIVE, which="x") == (
        "cannot set to draft plan x: it is active; allowed now: complete, fail, cancel"
    )


def test_the_verb_depends_on_the_status_that_is_left() -> None:
    towards = TASK_LIFECYCLE.towards(TaskStatus.PENDING)
    assert {status.value: transition.past for status, transition in towards.items()} == {
        "running": "released",
        "blocked": "unheld",
        "completed": "reset",
        "failed": "reset",
        "skipped": "reset",
    }
    assert PLAN_LIFECYCLE.towards(PlanStatus.DRAFT) == {}


@pytest.mark.parametrize("lifecycle", [TASK_LIFECYCLE, PLAN_LIFECYCLE])
def test_by_hand_a_status_leads_to_another_by_one_verb_at_most(lifecycle: Lifecycle[Any]) -> None:
    ways = [
        (source, transition.target)
        for transition in lifecycle.transitions
        if transition.is_set
        for source in transition.sources
    ]

    assert len(ways) == len(set(ways))
    assert all(source != target for source, target in ways)


def test_the_groups_of_statuses_are_what_the_design_says() -> None:
    assert {status.value for status in FINISHED} == {"completed", "skipped"}
    assert {status.value for status in ENDED} == {"completed", "skipped", "failed"}
    assert {status.value for status in UNSTARTED} == {"pending", "blocked"}
    assert {status.value for status in SETTLED} == {"completed", "failed"}
    assert {status.value for status in FINAL} == {"completed", "failed", "cancelled"}
