"""What events may hold, by their schemas."""

from __future__ import annotations

from typing import Any, Final

import pytest

from planstore.models.payload import PAYLOADS
from tests.payloads import assert_payload_fits

AT: Final = "2026-03-01T09:30:00+00:00"

FITTING: Final[dict[str, Any]] = {
    "task.completed": {"status": "completed", "completed_at": AT, "output_data": {"n": 1}},
    "task.updated": {"input_data": None},
    "task.rewired": {"depends_on": []},
    "task.deleted": {},
    "plan.paused": {"paused_at": AT},
    "plan.revised": {"revision": 2, "current_step": 1},
}


@pytest.mark.parametrize("event_type", FITTING)
def test_changed_fields_fit(event_type: str) -> None:
    assert_payload_fits(event_type, FITTING[event_type])


UNFIT: Final[dict[str, tuple[str, Any]]] = {
    "another status than the move leads to": ("task.completed", {"status": "failed"}),
    "no status": ("task.completed", {"completed_at": AT}),
    "nothing changed": ("task.updated", {}),
    "nothing changed in the plan": ("plan.updated", {}),
    "a field that there isn't": ("task.updated", {"colour": "red"}),
    "a value of another kind": ("task.updated", {"priority": "high"}),
    "no time": ("plan.paused", {"paused_at": "yesterday"}),
    "what never changes": ("task.updated", {"plan_id": "770e8400-e29b-41d4-a716-446655440002"}),
    "a task that isn't whole": ("task.created", {"description": "boil"}),
    "something of what is gone": ("task.deleted", {"status": "pending"}),
    "a dependency without its task": ("task.rewired", {"depends_on": [{"when": "success"}]}),
    "no progress": ("task.progressed", {"status": "running"}),
}


@pytest.mark.parametrize("why", UNFIT)
def test_anything_else_does_not(why: str) -> None:
    with pytest.raises(AssertionError):
        assert_payload_fits(*UNFIT[why])


def test_every_schema_says_what_it_describes() -> None:
    assert all(model.__doc__ for model in PAYLOADS.values())
