"""Cursors: opaque to clients, and never a way in."""

from __future__ import annotations

import base64
import json
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from uuid import uuid4

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planstore.errors import InvalidInput
from planstore.models.page import PLACE_IN_PLAN, PLACE_IN_TIME, decode_cursor, encode_cursor

if TYPE_CHECKING:
    from uuid import UUID

TIMES = st.integers(0, 2**42).map(lambda ms: datetime.fromtimestamp(ms / 1000, tz=UTC))


@given(st.integers(0, 2**31 - 1), TIMES, st.uuids())
def test_a_cursor_leads_back_to_its_place_in_a_plan(
    order: int, created_at: datetime, task_id: UUID
) -> None:
    place = (order, created_at, task_id)

    assert decode_cursor(encode_cursor(place), PLACE_IN_PLAN) == place


@given(TIMES, st.uuids())
def test_a_cursor_leads_back_to_its_place_in_time(created_at: datetime, task_id: UUID) -> None:
    place = (created_at, task_id)

    assert decode_cursor(encode_cursor(place), PLACE_IN_TIME) == place


def test_a_cursor_needs_no_escaping_in_a_url() -> None:
    cursor = encode_cursor((datetime(2024, 2, 29, tzinfo=UTC), uuid4()))

    assert set(cursor) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.text())
def test_what_is_no_cursor_is_refused(text: str) -> None:
    with pytest.raises(InvalidInput) as error:
        decode_cursor(text, PLACE_IN_TIME)

    assert [fault.pointer for fault in error.value.faults] == ["?cursor"]


@pytest.mark.parametrize(
    "place",
    [
        [1, "2024-02-29T00:00:00Z"],
        [1, "2024-02-30T00:00:00Z", str(uuid4())],
        [1, "2024-02-29T00:00:00Z", "1"],
        ["x", "2024-02-29T00:00:00Z", str(uuid4())],
    ],
)
def test_a_forged_place_is_refused(place: list[object]) -> None:
    with pytest.raises(InvalidInput):
        decode_cursor(forged(place), PLACE_IN_PLAN)


@pytest.mark.parametrize(
    "place",
    [
        [2**31, "2024-02-29T00:00:00Z", str(uuid4())],
        [1, "0001-01-01T00:00:00+14:00", str(uuid4())],
        [1, "9999-12-31T23:59:59-14:00", str(uuid4())],
    ],
)
def test_a_place_that_postgresql_can_not_hold_is_refused(place: list[object]) -> None:
    with pytest.raises(InvalidInput):
        decode_cursor(forged(place), PLACE_IN_PLAN)


def forged(place: list[object]) -> str:
    return base64.urlsafe_b64encode(json.dumps(place).encode()).decode()
