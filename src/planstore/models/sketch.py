"""How long things took, kept so that percentiles can be told of any number of them together.

Each duration is counted in a span of a logarithmic scale, eight to each doubling. Counts of the
same spans add up, so sketches of minutes make those of hours. This is DDSketch (C. Masson,
J. E. Rim, H. K. Lee: "DDSketch: A Fast and Fully-Mergeable Quantile Sketch with Relative-Error
Guarantees", PVLDB 12(12), 2019), section 2.1, with gamma = 2^(1/8): what is told of a percentile
is off by (gamma - 1) / (gamma + 1) of it at most.
"""

from __future__ import annotations

import math
from itertools import accumulate
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

SPANS_PER_DOUBLING: Final = 8

_GAMMA: Final = 2 ** (1 / SPANS_PER_DOUBLING)

RELATIVE_ERROR: Final = (_GAMMA - 1) / (_GAMMA + 1)
"""By how much of itself a percentile may be off: 4.4 %."""

SHORTEST: Final = 0.001
"""Seconds: what is shorter counts as this."""


def span_of(seconds: float) -> int:
    """Return the span that a duration lies in: n reaches from gamma^(n-1), left out, to gamma^n."""
    return math.ceil(SPANS_PER_DOUBLING * math.log2(max(seconds, SHORTEST)))


def percentiles(sketch: Iterable[tuple[int, int]], shares: Sequence[float]) -> list[float | None]:
    """Return for each share the shortest duration that so many of all don't exceed; None of none.

    ``sketch``: how many durations lie in each span, in any order. ``shares``: above 0, up to 1, in
    ascending order.
    """
    counts = sorted(sketch)
    total = sum(count for _, count in counts)
    if not total:
        return [None for _ in shares]
    places = zip(counts, accumulate(count for _, count in counts), strict=True)
    (span, _), reached = next(places)
    found: list[float | None] = []
    for share in shares:
        while reached < math.ceil(share * total):
            (span, _), reached = next(places)
        found.append(2 * _GAMMA**span / (_GAMMA + 1))
    return found


def upper_end(span: int) -> float:
    """Return the longest duration that lies in a span."""
    return _GAMMA**span
