"""Webhooks: who is told of events by HTTP, and how each delivery goes."""

from __future__ import annotations

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Annotated, Any, Final
from uuid import UUID

from pydantic import MISSING, AfterValidator, Field, StringConstraints
from pydantic_core import PydanticCustomError

from planstore.models.fields import WHOLE, Record, ShortText, Timestamp, unshown
from planstore.models.signature import SecretText

RETRIED_FOR: Final = timedelta(days=1)
"""How long a delivery is tried."""

KEPT_FOR: Final = timedelta(days=30)
"""How long a delivery is kept, since it was made or last asked for again."""

MAX_WAITING: Final = 100_000
"""Deliveries that wait for one webhook, from which on it is disabled."""

MAX_GRACE: Final = 7 * 24 * 60 * 60
"""Seconds for which a former secret may go on to sign."""


class WebhookStatus(StrEnum):
    """Whether it is told of anything."""

    ACTIVE = "active"
    """Each event that it asks for is delivered."""
    DISABLED = "disabled"
    """Nothing is sent; what happens meanwhile isn't delivered later either."""


class DisabledReason(StrEnum):
    """Why a webhook was disabled."""

    BY_HAND = "by_hand"
    """A client set its status."""
    GONE = "gone"
    """It answered 410."""
    FAILING = "failing"
    """A delivery failed for a day, and no other got through since that was made."""
    BACKLOG = "backlog"
    """More than 100,000 deliveries waited for it."""


class DeliveryStatus(StrEnum):
    """How far a delivery is."""

    PENDING = "pending"
    """To be sent, or to be sent again."""
    DELIVERED = "delivered"
    """The receiver answered with a status from 200 to 299."""
    FAILED = "failed"
    """Given up; it may be asked for again."""


_PORT: Final = (
    r"[1-9][0-9]{0,3}|[1-5][0-9]{4}|6[0-4][0-9]{3}|65[0-4][0-9]{2}|655[0-2][0-9]|6553[0-5]"
)
_HOST: Final = r"[A-Za-z0-9](?:[A-Za-z0-9._-]*[A-Za-z0-9])?|\[[0-9A-Fa-f:.]+\]"
_URL: Final = rf"^https?://(?:{_HOST})(?::(?:{_PORT}))?(?:[/?][!\"$-\[\]-~]*)?$"
"""Without a user, a password and a fragment."""


def _sound_url(text: str) -> str:
    return unshown(
        text,
        _URL,
        "it must be a URL such as https://example.com/hooks, of visible ASCII characters, without "
        "a user, a password and a fragment",
    )


def _apart(values: list[Any]) -> list[Any]:
    if len(set(values)) < len(values):
        raise PydanticCustomError("not_apart", "it names a value twice")
    return values


Url = Annotated[
    str,
    StringConstraints(max_length=2_048),
    AfterValidator(_sound_url),
    Field(json_schema_extra={"pattern": _URL}),
]
EventTypeName = Annotated[
    str, StringConstraints(max_length=100, pattern=r"^(plan|task)\.[a-z]+(_[a-z]+)*$")
]
_UNIQUE: Final = Field(min_length=1, max_length=100, json_schema_extra={"uniqueItems": True})
EventTypeNames = Annotated[list[EventTypeName], _UNIQUE, AfterValidator(_apart)]
PlanIds = Annotated[list[UUID], _UNIQUE, AfterValidator(_apart)]


class Webhook(Record):
    """Whom to tell of which events. Its secret isn't shown."""

    id: UUID
    """Unique; a UUIDv7 unless the client gave one."""
    url: str
    """Where events are sent, by POST."""
    description: str | None
    """The client's own words."""
    event_types: list[str] | None
    """What it is told of, such as `task.completed`; null: of everything."""
    plan_ids: list[UUID] | None
    """The plans whose events it is told of; null: those of all."""
    status: WebhookStatus
    disabled_reason: DisabledReason | None
    """Why it was disabled; null while it is active."""
    disabled_at: datetime | None
    former_secret_until: datetime | None
    """Until when the secret before the last change signs as well; null where there is none."""
    version: int
    """1 at first; grows with each change of this object. It is the ETag."""
    created_at: datetime
    updated_at: datetime
    """When this object last changed."""


class NewSecret(Webhook):
    """A webhook whose secret is new: this is the only time that it is shown."""

    secret: str = Field(repr=False)
    """What signs its messages: `whsec_` and base64."""


class WebhookCreate(Record):
    """A webhook to be made."""

    url: Url
    """Where to send events: http or https."""
    id: UUID | None = None
    """An id of the client's own; a UUIDv7 is made if left out."""
    description: ShortText | None = None
    """What it is for."""
    event_types: EventTypeNames | None = None
    """What to tell of, such as `task.completed`; up to 100; everything if left out."""
    plan_ids: PlanIds | None = None
    """The plans whose events to tell of, up to 100; those of all plans if left out."""
    secret: SecretText | None = Field(default=None, repr=False)
    """`whsec_` and 24 to 64 bytes in base64; one is made if left out."""


class WebhookUpdate(Record):
    """Changes to a webhook: only the fields that are named change.

    An explicit null clears `description`, and asks for all `event_types` or the events of all
    plans. Fields that the service keeps are accepted when they equal what is stored.
    """

    url: Url | MISSING = MISSING
    description: ShortText | MISSING | None = MISSING
    event_types: EventTypeNames | MISSING | None = MISSING
    plan_ids: PlanIds | MISSING | None = MISSING
    status: WebhookStatus | MISSING = MISSING
    """`disabled` stops it, `active` lets it go on."""
    id: UUID | MISSING = MISSING
    """Kept by the service, as are those below."""
    disabled_reason: DisabledReason | MISSING | None = MISSING
    disabled_at: Timestamp | MISSING | None = MISSING
    former_secret_until: Timestamp | MISSING | None = MISSING
    version: int | MISSING = MISSING
    created_at: Timestamp | MISSING = MISSING
    updated_at: Timestamp | MISSING = MISSING


WEBHOOK_KEPT: Final = frozenset(
    {"id", "disabled_reason", "disabled_at", "former_secret_until"}
    | {"version", "created_at", "updated_at"}
)
"""The fields of a webhook that only the service changes."""


class Rotation(Record):
    """How to change a webhook's secret."""

    secret: SecretText | None = Field(default=None, repr=False)
    """The new one; one is made if left out."""
    grace_seconds: Annotated[int, Field(ge=0, le=MAX_GRACE), WHOLE] = 24 * 60 * 60
    """For how long the former secret signs as well, up to 7 days."""


class Delivery(Record):
    """How it goes with telling a webhook of an event."""

    id: UUID
    """The event's id, which is sent as `webhook-id`."""
    webhook_id: UUID
    seq: int
    """The event's number."""
    event_type: str
    plan_id: UUID
    status: DeliveryStatus
    attempts: int
    """How often it was sent, or is being sent."""
    created_at: datetime
    next_attempt_at: datetime | None
    """When it is sent next, at the earliest; null once it has ended. While it is being sent: when
    another server does it instead."""
    attempted_at: datetime | None
    """When it was last sent."""
    ended_at: datetime | None
    """When it was delivered or given up."""
    response_status: int | None
    """The last answer's status; null where there was none, and while it is being sent."""
    error: str | None
    """Why the last attempt failed; null where it didn't, and while it is being sent."""


class DeliveryFilter(Record):
    """Which deliveries are meant."""

    status: DeliveryStatus | None = None
    """How far it is."""


class Trial(Record):
    """What came of sending a webhook a message that tells of nothing."""

    message_id: UUID
    """What was sent as `webhook-id`."""
    is_delivered: bool
    """Whether the receiver answered with a status from 200 to 299."""
    response_status: int | None
    """The answer's status; null where there was none."""
    error: str | None
    """Why it failed; null where it didn't."""
