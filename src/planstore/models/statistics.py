"""What became of tasks over a time: how many, how well, how soon, how long."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, Self
from uuid import UUID

from pydantic import AfterValidator, Field, model_validator
from pydantic_core import PydanticCustomError

from planstore.models.duration import seconds_in
from planstore.models.fields import Moment, Record, ShortText

if TYPE_CHECKING:
    from collections.abc import Iterator

MAX_GROUPS: Final = 50
"""How many groups are told of at most."""

MAX_WINDOW: Final = timedelta(days=92)
"""How long a time statistics are told of at once."""


class Grain(StrEnum):
    """The spans of time by which things are counted."""

    MINUTE = "minute"
    HOUR = "hour"
    DAY = "day"
    WEEK = "week"
    """From Monday on."""

    @property
    def length(self) -> timedelta:
        return _LENGTHS[self]


_LENGTHS: Final = {
    Grain.MINUTE: timedelta(minutes=1),
    Grain.HOUR: timedelta(hours=1),
    Grain.DAY: timedelta(days=1),
    Grain.WEEK: timedelta(days=7),
}

KEPT: Final = {
    Grain.MINUTE: timedelta(hours=25),
    Grain.HOUR: timedelta(days=15),
    Grain.DAY: timedelta(days=400),
    Grain.WEEK: timedelta(days=400),
}
"""For how long what is counted by spans of each length is kept."""


class Dimension(StrEnum):
    """What tells runs apart."""

    TASK_TYPE = "task_type"
    AGENT = "agent_id"
    PLAN_TYPE = "plan_type"
    TEMPLATE = "template"
    EVALUATION_TYPE = "evaluation_type"


def _span(value: str) -> str:
    seconds = seconds_in(value)
    if seconds is None or not 0 < seconds <= MAX_WINDOW.total_seconds():
        raise PydanticCustomError(
            "window", "it must be a duration such as 15m, 24h or 30d, up to 92 days"
        )
    return value


Window = Annotated[str, Field(max_length=100), AfterValidator(_span)]


class TimelineQuery(Record):
    """Of which time and of what statistics are told."""

    since: Moment | None = Field(default=None, alias="from")
    """From when on; `window` before `to` if left out."""
    until: Moment | None = Field(default=None, alias="to")
    """Until when; now if left out."""
    window: Window | None = None
    """How long a time: `15m`, `24h`, `30d`; up to 92 days. `24h` where neither it nor `from` is
    given."""
    task_type: ShortText | None = None
    """Only tasks of this type."""
    agent_id: UUID | None = None
    """Only tasks of this agent."""
    plan_type: ShortText | None = None
    """Only tasks of plans of this type."""
    template: ShortText | None = None
    """Only tasks of plans made of this template."""
    evaluation_type: ShortText | None = None
    """Only scores of this kind; then nothing but scores is told."""

    @model_validator(mode="after")
    def _has_one_span(self) -> Self:
        if self.since is not None and self.window is not None:
            raise PydanticCustomError(
                "span", "it names both from and window; one of them is enough"
            )
        return self

    @model_validator(mode="after")
    def _is_by_one(self) -> Self:
        if len(self._named()) > 1:
            raise PydanticCustomError(
                "dimensions",
                "it names {named}; statistics are kept by each of them alone, so name one",
                {"named": " and ".join(self._named())},
            )
        return self

    def _named(self) -> list[str]:
        return [*self._filters()]

    def _filters(self) -> dict[Dimension, str]:
        given = {each: getattr(self, each.value) for each in Dimension}
        return {each: str(value) for each, value in given.items() if value is not None}

    @property
    def filter(self) -> tuple[Dimension, str] | None:
        """Which value of which dimension is asked for, if any."""
        return next(iter(self._filters().items()), None)


class StatisticsQuery(TimelineQuery):
    """Of which time, of what and by what statistics are told."""

    group_by: Dimension | None = None
    """Also for each value of this."""
    limit: Annotated[int, Field(ge=1, le=MAX_GROUPS)] = 10
    """How many groups at most, those with the most tasks first; up to 50."""

    def _named(self) -> list[str]:
        return [*super()._named(), *(["group_by"] if self.group_by else [])]


class Durations(Record):
    """How long something took."""

    count: int
    """Of how many this is told."""
    mean: float | None
    """Seconds; null of none."""
    p50: float | None
    """Seconds that half of them didn't exceed. Percentiles are off by 4.4 % at most, and what took
    less than a millisecond counts as one."""
    p95: float | None
    p99: float | None


class Scores(Record):
    """How what came of tasks was evaluated."""

    count: int
    mean: float | None
    """From 0 to 1; null of none."""


class Figures(Record):
    """What became of tasks."""

    completed: int
    """How often a task completed."""
    failed: int
    """How often a task failed for good."""
    skipped: int
    """How often a task was skipped."""
    retried: int
    """How often a run failed, timed out or lost its lease, and the task was put back."""
    success_rate: float | None
    """The completed ones by the completed and the failed; null of none."""
    throughput: float
    """Tasks that completed or failed, per second of the time that is told of."""
    queue_wait: Durations
    """From when the tasks could have been taken until they were, in seconds, of the runs that
    ended: by completing, by failing, or to be retried."""
    run_time: Durations
    """How long the runs took by which tasks completed, in seconds."""
    scores: Scores


class Group(Figures):
    """What became of tasks that have one value in common."""

    value: str | None
    """The value; null: of those that have none."""


class Statistics(Record):
    """What became of tasks over a time."""

    since: datetime
    """From when on: what was asked for, rounded down to the minute; of a time of more than six
    hours, or more than a day ago, to the hour; of more than three days, or two weeks ago, to the
    day, in UTC."""
    until: datetime
    """Until when, rounded up in the same way; but not beyond `as_of`."""
    as_of: datetime
    """All that had happened by then is counted."""
    total: Figures
    """Of all that was asked for."""
    group_by: Dimension | None
    groups: list[Group]
    """For each value of `group_by`, those with the most tasks first."""
    group_count: int
    """How many groups there are, beyond those that are told of too."""


class Point(Figures):
    """What became of tasks in one span of a timeline."""

    at: datetime
    """When the span began."""


class Timeline(Record):
    """What became of tasks over a time, span by span."""

    since: datetime
    until: datetime
    as_of: datetime
    """All that had happened by then is counted."""
    step: Grain
    """How long each span is: a minute for up to six hours of the last day, unless by two
    dimensions; an hour for up to 14 days; else a day, in UTC."""
    points: list[Point]
    """Each span, the first one first, also those in which nothing happened."""


class Ever(NamedTuple):
    """What became of tasks of one type since counting began."""

    task_type: str | None
    """Empty: of those that have none; null: of all."""
    completed: int
    failed: int
    skipped: int
    retried: int
    wait_seconds: float
    waits: dict[int, int]
    """How many waits lie in each span of the scale (`planstore.models.sketch`)."""
    run_seconds: float
    runs: dict[int, int]

    def without(self, part: Ever) -> Ever:
        """Return the same but for a part of it."""
        return Ever(
            self.task_type,
            self.completed - part.completed,
            self.failed - part.failed,
            self.skipped - part.skipped,
            self.retried - part.retried,
            max(self.wait_seconds - part.wait_seconds, 0.0),
            {span: count - part.waits.get(span, 0) for span, count in self.waits.items()},
            max(self.run_seconds - part.run_seconds, 0.0),
            {span: count - part.runs.get(span, 0) for span, count in self.runs.items()},
        )


class Standing(NamedTuple):
    """How things stand."""

    ready: int
    """Tasks that may be claimed, as far as they were counted."""
    oldest_ready_seconds: float
    """Since when the first of them could be; 0 where there is none."""
    leases: int
    expired_leases: int
    """Those that are over, but whose tasks weren't taken back yet."""
    uncounted_seconds: float
    """How old the first event is that isn't counted yet; 0 where all are."""
    tasks: dict[tuple[str | None, str], int]
    """How many there are, by type (empty: none; null: the others than the most frequent) and
    status."""
    ever: list[Ever]
    """By the most frequent types, and of all."""


class Span(NamedTuple):
    """A span of time by which things are counted."""

    grain: Grain
    began_at: datetime


class Cover(NamedTuple):
    """The spans of which a time is put together."""

    since: datetime
    until: datetime
    grain: Grain
    """The smallest of them."""
    spans: list[Span]


BY_MINUTE: Final = timedelta(hours=6)
BY_HOUR: Final = timedelta(days=3)
TIMELINE_BY_HOUR: Final = timedelta(days=14)
"""Up to how long a time is told by the minute and by the hour; a longer one is by the day."""


def grain_of(
    since: datetime, until: datetime, *, now: datetime, by_minute: timedelta, by_hour: timedelta
) -> Grain:
    """Return the smallest spans by which a time is told: a long time needs no small ones.

    Nor are they kept for ever, see `KEPT`.
    """
    length, age = until - since, now - since
    for grain, most in ((Grain.MINUTE, by_minute), (Grain.HOUR, by_hour)):
        if length <= most and age + grain.length < KEPT[grain]:
            return grain
    return Grain.DAY


def cover(since: datetime, until: datetime, grain: Grain, *, now: datetime) -> Cover:
    """Return the fewest spans that make up a time, each end moved outwards to the next boundary.

    ``grain``: the smallest spans that there are. The last one may end later than ``now``: there is
    nothing in it that is too late.
    """
    begin, end = floor(since, grain), ceiling(until, grain)
    beyond = ceiling(until, Grain.WEEK) if until >= now else end
    spans = [span for span in _between(begin, beyond, grain) if span.began_at < end]
    return Cover(begin, end, grain, spans)


def floor(at: datetime, grain: Grain) -> datetime:
    """Return when the span of this length began that a time lies in, in UTC."""
    at = at.replace(second=0, microsecond=0)
    if grain == Grain.MINUTE:
        return at
    at = at.replace(minute=0)
    if grain == Grain.HOUR:
        return at
    at = at.replace(hour=0)
    return at if grain == Grain.DAY else at - timedelta(days=at.weekday())


def ceiling(at: datetime, grain: Grain) -> datetime:
    """Return when the first span of this length begins that isn't before a time."""
    begun = floor(at, grain)
    return begun if begun == at else begun + grain.length


def steps(cover: Cover) -> list[Span]:
    """Return the spans of a timeline: all of the smallest length."""
    return list(_each(cover.since, cover.until, cover.grain))


_LARGER: Final = {Grain.MINUTE: Grain.HOUR, Grain.HOUR: Grain.DAY, Grain.DAY: Grain.WEEK}


def _between(begin: datetime, end: datetime, grain: Grain) -> Iterator[Span]:
    """The fewest spans from one boundary to another, as large as fit between them."""
    if (larger := _LARGER.get(grain)) is None:
        yield from _each(begin, end, grain)
        return
    first, last = ceiling(begin, larger), floor(end, larger)
    if first >= last:
        yield from _each(begin, end, grain)
        return
    yield from _each(begin, first, grain)
    yield from _between(first, last, larger)
    yield from _each(last, end, grain)


def _each(begin: datetime, end: datetime, grain: Grain) -> Iterator[Span]:
    at = begin
    while at < end:
        yield Span(grain, at)
        at += grain.length
