"""Events as CloudEvents 1.0, in the structured JSON format.

https://github.com/cloudevents/spec/blob/v1.0.2/cloudevents/formats/json-format.md

An event's JSON is put between the attributes as the log has it: nobody parses it on the way.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from planstore.models.event import LoggedEvent

CONTENT_TYPE: Final = "application/cloudevents+json"

TYPE_PREFIX: Final = "planstore."
"""What stands before an event's type, to tell it from those of other producers."""


class Texts(NamedTuple):
    """What of an event has to be written as text; all else is text in the log already."""

    id: str
    aggregate_id: str
    plan_id: str
    time: str
    """RFC 3339, in UTC."""
    payload: str
    """The member ``payload`` of a JSON object, or where it is to be had if it is too large."""


def texts_of(event: LoggedEvent) -> Texts:
    """Write what isn't text in the log; once, for all forms in which an event is told."""
    identifier = str(event.id)
    return Texts(
        identifier,
        str(event.aggregate_id),
        str(event.plan_id),
        _written(event.created_at),
        f'"payload":null,"payload_link":"/events/{identifier}"'
        if event.payload is None
        else f'"payload":{event.payload}',
    )


def cloud_event(event: LoggedEvent, texts: Texts | None = None) -> str:
    """Return an event as a CloudEvent: attributes, and `data` with its payload and metadata.

    Beside those of the standard there are three attributes. ``seq`` is a text, since integers of
    CloudEvents end at 2³¹; ``planid`` is the plan that it belongs to, ``objectversion`` the version
    of the plan or task once the change was made.
    """
    texts = texts or texts_of(event)
    return (
        f'{{"specversion":"1.0","id":"{texts.id}","source":"/plans/{texts.plan_id}",'
        f'"type":"{TYPE_PREFIX}{event.event_type}",'
        f'"subject":"/{event.aggregate_type}s/{texts.aggregate_id}","time":"{texts.time}",'
        f'"datacontenttype":"application/json","seq":"{event.seq}","planid":"{texts.plan_id}",'
        f'"objectversion":{event.version},'
        f'"data":{{{texts.payload},"metadata":{event.metadata}}}}}'
    )


def trial(message_id: UUID, webhook_id: UUID, sent_at: datetime) -> str:
    """Return a CloudEvent that tells of nothing: it tries whether a webhook's receiver is there."""
    return (
        f'{{"specversion":"1.0","id":"{message_id}","source":"/webhooks/{webhook_id}",'
        f'"type":"{TYPE_PREFIX}webhook.test","time":"{_written(sent_at)}",'
        f'"datacontenttype":"application/json","data":{{}}}}'
    )


def _written(time: datetime) -> str:
    return time.isoformat().replace("+00:00", "Z")
