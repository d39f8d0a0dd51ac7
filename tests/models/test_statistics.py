"""The spans of which a time is put together."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from planstore.models.statistics import (
    Grain,
    StatisticsQuery,
    ceiling,
    cover,
    floor,
    steps,
)

NOON = datetime(2026, 3, 5, 12, tzinfo=UTC)
TIMES = st.datetimes(datetime(2026, 1, 1), datetime(2026, 4, 1), timezones=st.just(UTC))  # noqa: DTZ001 - the strategy adds the zone
GRAINS = st.sampled_from(Grain)


@given(one=TIMES, other=TIMES, grain=GRAINS)
def test_spans_lie_end_to_end_and_reach_from_boundary_to_boundary(
    one: datetime, other: datetime, grain: Grain
) -> None:
    since, until = sorted((one, other))
    covered = cover(since, until, grain, now=datetime(2027, 1, 1, tzinfo=UTC))

    at = covered.since
    for span in covered.spans:
        assert span.began_at == at
        assert floor(at, span.grain) == at
        at += span.grain.length
    assert at == covered.until
    assert timedelta(0) <= since - covered.since < grain.length
    assert timedelta(0) <= covered.until - until < grain.length


@given(length=st.timedeltas(timedelta(minutes=1), timedelta(days=92)), grain=GRAINS)
def test_a_time_up_to_now_is_few_spans(length: timedelta, grain: Grain) -> None:
    now = NOON + timedelta(minutes=17)
    covered = cover(now - length, now, grain, now=now)

    assert len(covered.spans) <= 59 + 23 + 6 + 14
    last = covered.spans[-1]
    assert last.began_at <= now <= last.began_at + last.grain.length


def test_a_timeline_has_each_span_of_the_smallest_length() -> None:
    covered = cover(NOON - timedelta(hours=2), NOON, Grain.MINUTE, now=NOON)

    spans = steps(covered)
    assert len(spans) == 120
    assert {span.grain for span in spans} == {Grain.MINUTE}
    assert (spans[0].began_at, spans[-1].began_at) == (
        NOON - timedelta(hours=2),
        NOON - timedelta(minutes=1),
    )


def test_what_is_on_a_boundary_stays_there() -> None:
    assert floor(NOON, Grain.HOUR) == ceiling(NOON, Grain.HOUR) == NOON
    assert ceiling(NOON, Grain.DAY) - floor(NOON, Grain.DAY) == timedelta(days=1)


@pytest.mark.parametrize(
    "query",
    [
        {"window": "soon"},
        {"window": "0s"},
        {"window": "93d"},
        {"from": NOON, "window": "1h"},
        {"task_type": "read", "plan_type": "dag"},
        {"task_type": "read", "group_by": "agent_id"},
    ],
)
def test_what_cannot_be_told_of_is_refused(query: dict[str, object]) -> None:
    with pytest.raises(ValidationError):
        StatisticsQuery.model_validate(query)
