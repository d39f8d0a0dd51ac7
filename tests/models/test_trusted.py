"""What is made of a row without looking at each value is what validation would have made of it."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any, Final
from uuid import uuid4

import pytest

from planstore.models.claim import WorkPacket
from planstore.models.task import StatusReason, TaskStatus
from planstore.models.trusted import Trusted

_NOW: Final = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)

_PLAIN: Final[dict[str, Any]] = {
    "id": uuid4(),
    "plan_id": uuid4(),
    "name": None,
    "agent_id": None,
    "description": "do it",
    "task_type": None,
    "input_data": {"deep": [{"er": 1}]},
    "output_data": None,
    "error": None,
    "metadata": {},
    "labels": [],
    "status": "running",
    "status_reason": None,
    "needs_review": False,
    "sequence_order": 1,
    "parallel_group": None,
    "priority": 0,
    "not_before": None,
    "side_effects": "idempotent",
    "requires_approval": False,
    "approval": None,
    "timeout_seconds": None,
    "retry_policy": None,
    "estimated_duration": None,
    "attempt": 1,
    "worker_id": "w1",
    "progress": None,
    "progress_note": None,
    "usage": None,
    "version": 2,
    "created_at": _NOW,
    "updated_at": _NOW,
    "started_at": _NOW,
    "completed_at": None,
    "fencing_token": 7,
    "lease_expires_at": _NOW,
    "plan_revision": 1,
    "resolved_input": {"deep": [{"er": 1}]},
    "dependencies": [],
    "previous_attempts": [],
    "traceparent": None,
}

_FULL: Final[dict[str, Any]] = {
    **_PLAIN,
    "name": "last",
    "agent_id": uuid4(),
    "status_reason": StatusReason.HELD.value,
    "labels": ["a", "b"],
    "error": {"message": "no"},
    "approval": {"decision": "approved", "by": None, "comment": None, "at": _NOW.isoformat()},
    "retry_policy": {"max_retries": 5},
    "timeout_seconds": 1.5,
    "usage": {"cost_usd": 0.5},
    "dependencies": [
        {
            "task_id": str(uuid4()),
            "name": "first",
            "when": "success",
            "type": "data",
            "status": "completed",
            "is_satisfied": True,
            "output_data": {"x": 1},
            "output_link": None,
        }
    ],
    "previous_attempts": [
        {
            "attempt": 1,
            "worker_id": "w0",
            "began_at": _NOW.isoformat(),
            "ended_at": _NOW.isoformat(),
            "outcome": "failed",
            "error": "no",
        }
    ],
}


@pytest.mark.parametrize("values", [_PLAIN, _FULL])
def test_it_is_what_validation_makes_of_the_same_values(values: dict[str, Any]) -> None:
    made = Trusted(WorkPacket).of_row(dict(values))

    validated = WorkPacket.model_validate(values)
    assert made == validated
    assert made.model_fields_set == validated.model_fields_set
    assert made.model_dump_json() == validated.model_dump_json()
    assert made.status is TaskStatus.RUNNING


def test_two_of_them_share_nothing_that_can_be_changed() -> None:
    make = Trusted(WorkPacket).of_row
    one, other = make(dict(_PLAIN)), make(dict(_PLAIN))

    changed = one.model_copy(update={"priority": 5})

    assert changed.priority == 5
    assert (one.priority, other.priority) == (0, 0)
    assert one == other


def test_a_field_that_is_not_given_is_missed_at_once() -> None:
    with pytest.raises(KeyError, match="dependencies"):
        Trusted(WorkPacket).of_row(
            {name: _PLAIN[name] for name in _PLAIN if name != "dependencies"}
        )
