"""Events as they are told to others: one immutable record of one change each."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Literal, NamedTuple, cast
from uuid import UUID

from pydantic import BeforeValidator, Field

from planstore.models.fields import Moment, Record
from planstore.models.page import Page
from planstore.models.query import Ids, Texts

MAX_PAYLOAD: Final = 256 * 1024
"""Bytes of a payload that are told along; of a larger one it is said where it is to be had."""

MAX_SEQ: Final = 2**63 - 1
"""The highest ``seq`` that there can be."""

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MILLISECOND: Final = timedelta(milliseconds=1)
_LOW: Final = (1 << 62) - 1


def event_id(seq: int, created_at: datetime) -> UUID:
    """Return an event's id: a UUIDv7 that holds its time and its ``seq``.

    The layout is that of RFC 9562, section 5.7, with the number where chance might be.
    """
    milliseconds = (created_at - _EPOCH) // _MILLISECOND
    return UUID(int=milliseconds << 80 | 7 << 76 | seq >> 62 << 64 | 2 << 62 | seq & _LOW)


def seq_in(identifier: UUID) -> int:
    """Return the ``seq`` in an event's id."""
    return (identifier.int >> 64 & 0xFFF) << 62 | identifier.int & _LOW


class Event(Record):
    """One immutable record of one change."""

    id: UUID
    seq: int
    """A number that only grows; for each object it follows the order of its changes. It is the
    cursor of lists and streams."""
    event_type: str
    """`{aggregate}.{past tense}`, such as `task.completed`."""
    aggregate_type: str
    """`plan` or `task`."""
    aggregate_id: UUID
    """Which plan or task."""
    plan_id: UUID
    """The plan that it belongs to."""
    version: int
    """The object's version once the change was made."""
    created_at: datetime
    """When the change's transaction began."""
    payload: dict[str, Any] | None
    """The new values of the changed fields, whole; null where they, or the metadata, are more than
    256 KiB."""
    payload_link: str | None = None
    """Where the event is to be had whole, if its payload isn't here."""
    metadata: dict[str, Any]
    """The plan's `revision`, and what else explains the change; empty where they are more than
    256 KiB."""


class LoggedEvent(NamedTuple):
    """An event as the log has it, its JSON as text: it is passed on, and nobody looks inside."""

    seq: int
    event_type: str
    aggregate_type: str
    aggregate_id: UUID
    plan_id: UUID
    version: int
    created_at: datetime
    payload: str | None
    """None where it, or the metadata, is larger than `MAX_PAYLOAD`."""
    metadata: str

    @property
    def id(self) -> UUID:
        return event_id(self.seq, self.created_at)

    @property
    def payload_link(self) -> str | None:
        """Where the event is to be had whole, if its payload isn't here."""
        return f"/events/{self.id}" if self.payload is None else None

    @property
    def json(self) -> str:
        """The event as JSON, as an `Event` would be written."""
        identifier = self.id
        payload, link = self.payload, "null"
        if payload is None:
            payload, link = "null", f'"/events/{identifier}"'
        return (
            f'{{"id":"{identifier}","seq":{self.seq},"event_type":"{self.event_type}",'
            f'"aggregate_type":"{self.aggregate_type}","aggregate_id":"{self.aggregate_id}",'
            f'"plan_id":"{self.plan_id}","version":{self.version},'
            f'"created_at":"{_written(self.created_at)}",'
            f'"payload":{payload},"payload_link":{link},"metadata":{self.metadata}}}'
        )

    @property
    def size(self) -> int:
        """About how many bytes it takes to tell of it."""
        return _FRAME + len(self.payload or "") + len(self.metadata)

    def decoded(self) -> Event:
        """Return the event with its JSON read."""
        return Event.model_validate_json(self.json)

    @classmethod
    def encoded(cls, event: Event) -> LoggedEvent:
        """Return an event with its JSON written, as PostgreSQL would write it."""
        return cls(
            seq=event.seq,
            event_type=event.event_type,
            aggregate_type=event.aggregate_type,
            aggregate_id=event.aggregate_id,
            plan_id=event.plan_id,
            version=event.version,
            created_at=event.created_at,
            payload=None if event.payload is None else _json(event.payload),
            metadata=_json(event.metadata),
        )


_FRAME: Final = 400
"""Bytes of an event beside its payload and its metadata."""


def _json(value: dict[str, Any]) -> str:
    return json.dumps(value, ensure_ascii=False)


def _written(time: datetime) -> str:
    return time.isoformat().removesuffix("+00:00") + "Z"


def _listed(value: Any) -> Any:
    return cast("Any", value) if isinstance(value, list) else [value]


AggregateTypes = Annotated[
    list[Literal["plan", "task"]], Field(min_length=1, max_length=2), BeforeValidator(_listed)
]


class EventFilter(Record):
    """Which events are meant: those that fit every field that is given.

    Of several values of a field one has to fit.
    """

    event_type: Texts | None = None
    """What happened, such as `task.completed`."""
    aggregate_type: AggregateTypes | None = None
    """What it happened to: `plan` or `task`."""
    aggregate_id: Ids | None = None
    """The plan or task that it happened to. One of a deleted plan is found by its `plan_id` beside
    it."""
    plan_id: Ids | None = None
    """The plan that it belongs to."""
    created_after: Moment | None = None
    """It was made then or later."""
    created_before: Moment | None = None
    """It was made before that."""


class EventPage(Page[LoggedEvent]):
    """Events in the order of their numbers, and where they go on.

    A page may hold fewer than were asked for, or none, though there are more: looking for what is
    rare ends after so many others, and a page holds only so many bytes.
    """

    next_after: int | None = None
    """After which number the next page begins; None on the last one."""
    next_offset: int = 0
    """How many of the events there are still to be passed over."""
