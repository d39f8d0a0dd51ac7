"""What waits for what: the same is found as by following every way."""

from __future__ import annotations

import math

from hypothesis import given
from hypothesis import strategies as st

from planstore.models.precedence import NEVER, Precedence, Step

Shape = tuple[list[Step], list[tuple[int, int]], bool]


@st.composite
def shapes(draw: st.DrawFn) -> Shape:
    """Plans without a circle: a task needs those before it, and orders grow along."""
    count = draw(st.integers(1, 8))
    orders = sorted(draw(st.lists(st.integers(0, 3), min_size=count, max_size=count)))
    steps = [Step(order, draw(st.booleans())) for order in orders]
    edges = [
        (later, earlier)
        for later in range(count)
        for earlier in range(later)
        if draw(st.integers(0, 3)) == 0
    ]
    return steps, edges, draw(st.booleans())


def waits_for(shape: Shape) -> list[set[int]]:
    """What each task waits for itself."""
    steps, edges, is_sequential = shape
    return [
        {
            earlier
            for earlier, other in enumerate(steps)
            if step.is_waiting
            and ((later, earlier) in edges or (is_sequential and other.order < step.order))
        }
        for later, step in enumerate(steps)
    ]


@given(shapes())
def test_a_task_reaches_all_that_wait_for_it_in_turn(shape: Shape) -> None:
    direct = waits_for(shape)
    behind: list[set[int]] = [set() for _ in direct]
    for later, others in enumerate(direct):
        for each in others:
            behind[later] |= {each} | behind[each]
    steps, edges, is_sequential = shape

    reaches = Precedence(steps, edges, is_sequential=is_sequential).reaches()

    assert reaches == [sum(task in others for others in behind) for task in range(len(steps))]


@given(shapes(), st.data())
def test_a_task_ends_after_the_last_that_it_waits_for(shape: Shape, data: st.DataObject) -> None:
    steps, edges, is_sequential = shape
    some = st.lists(
        st.sampled_from([0.0, 1.0, 2.5, NEVER]), min_size=len(steps), max_size=len(steps)
    )
    durations = data.draw(some)
    starts = [0.0 if math.isinf(each) else each for each in data.draw(some)]
    expected: list[float] = []
    for task, others in enumerate(waits_for(shape)):
        begin = max([starts[task], *(expected[each] for each in others)])
        expected.append(begin + durations[task])

    precedence = Precedence(steps, edges, is_sequential=is_sequential)

    assert precedence.ends(starts=starts, durations=durations) == expected


def test_what_waits_in_a_circle_never_ends() -> None:
    steps = [Step(1, is_waiting=True)] * 4
    precedence = Precedence(steps, [(1, 2), (2, 1), (3, 2)], is_sequential=False)

    ends = precedence.ends(starts=[0.0] * 4, durations=[1.0] * 4)

    assert ends == [1.0, NEVER, NEVER, NEVER]
    assert precedence.reaches() == [0, 0, 0, 0]


def test_ten_thousand_tasks_in_two_orders_take_no_edge_for_each_pair() -> None:
    steps = [Step(number // 5_000, is_waiting=True) for number in range(10_000)]

    reaches = Precedence(steps, [], is_sequential=True).reaches()

    assert reaches == [5_000] * 5_000 + [0] * 5_000
