"""Sketches of durations: percentiles within the error that is told, also when put together."""

from __future__ import annotations

import math
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from planstore.models.sketch import (
    RELATIVE_ERROR,
    SHORTEST,
    percentiles,
    span_of,
    upper_end,
)

DURATIONS = st.lists(st.floats(0, 10**8), min_size=1, max_size=300)
SHARES = (0.5, 0.95, 0.99, 1.0)


def exact(durations: list[float], share: float) -> float:
    """The shortest one that so large a share doesn't exceed."""
    return max(sorted(durations)[math.ceil(share * len(durations)) - 1], SHORTEST)


@given(durations=DURATIONS)
def test_a_percentile_is_off_by_no_more_than_is_told(durations: list[float]) -> None:
    told = percentiles(Counter(map(span_of, durations)).items(), SHARES)

    for share, value in zip(SHARES, told, strict=True):
        assert value == pytest.approx(
            exact(durations, share), rel=RELATIVE_ERROR + 1e-9, abs=SHORTEST * RELATIVE_ERROR
        )


@given(one=DURATIONS, other=DURATIONS)
def test_sketches_that_are_put_together_are_the_sketch_of_all(
    one: list[float], other: list[float]
) -> None:
    parts = [*Counter(map(span_of, one)).items(), *Counter(map(span_of, other)).items()]

    assert percentiles(parts, SHARES) == percentiles(
        Counter(map(span_of, [*one, *other])).items(), SHARES
    )


def test_of_nothing_there_is_no_percentile() -> None:
    assert percentiles([], (0.5, 0.99)) == [None, None]


@given(seconds=st.floats(SHORTEST, 10**8))
def test_a_duration_lies_in_its_span(seconds: float) -> None:
    span = span_of(seconds)

    assert seconds <= upper_end(span) * (1 + 1e-9)
    assert seconds >= upper_end(span - 1) * (1 - 1e-9)
