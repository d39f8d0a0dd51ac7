"""Making and changing webhooks, and looking at what they were told."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

import httpx2

from planstore.errors import Fault, HistoryGone, InvalidInput, NotFound, WebhookDisabled
from planstore.models.address import address_in, is_public
from planstore.models.event import MAX_SEQ, event_id, seq_in
from planstore.models.page import (
    PLACE_IN_LOG,
    PLACE_IN_TIME,
    Page,
    decode_cursor,
    encode_cursor,
)
from planstore.models.signature import new_secret, secret_bytes, secret_text
from planstore.models.webhook import Delivery, NewSecret, Webhook
from planstore.services import refusals
from planstore.services.delivering import NAME
from planstore.sql import deliveries, relays, webhooks
from planstore.sql import idempotency as keys

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from planstore.db import Database
    from planstore.models.idempotency import RequestKey
    from planstore.models.webhook import DeliveryFilter, Rotation, WebhookCreate
    from planstore.sql.connection import Connection, Row


async def create(
    database: Database,
    webhook: WebhookCreate,
    *,
    webhook_id: UUID,
    settled: int,
    key: RequestKey | None,
) -> NewSecret:
    """Make a webhook, which is told of what comes after ``settled`` in the log."""
    secret = secret_bytes(webhook.secret) if webhook.secret else new_secret()
    async with database.transaction() as conn:
        await relays.begin(conn, NAME, at=settled)
        row = await webhooks.create(
            conn, webhook, webhook_id=webhook_id, secret=secret, after=settled
        )
        return await _shown(conn, row, secret, key=key)


async def _shown(conn: Connection, row: Row, secret: bytes, *, key: RequestKey | None) -> NewSecret:
    answer = NewSecret.model_validate({**row, "secret": secret_text(secret)})
    if key is not None:
        await keys.keep(conn, key, answer.model_dump(mode="json"))
    return answer


def check_url(url: str, *, allow_private: bool) -> None:
    """Refuse a URL that can't be sent to; what a name leads to is known when it is sent to.

    Raises:
        InvalidInput: it can't be read, or names a private address, and these aren't allowed.
    """
    why = _why_not(url, allow_private=allow_private)
    if why is not None:
        raise InvalidInput("Nothing can be sent there.", faults=(Fault("/url", why),))


def _why_not(url: str, *, allow_private: bool) -> str | None:
    try:
        address = address_in(httpx2.URL(url).host)
    except httpx2.InvalidURL:
        return "its host can't be read"
    if allow_private or address is None or is_public(address):
        return None
    return "its address is a private one, where nothing is sent unless the server is set to"


async def get(database: Database, webhook_id: UUID) -> Webhook:
    """Return a webhook.

    Raises:
        NotFound: there is none.
    """
    async with database.connection() as conn:
        return await _as_it_is_now(conn, webhook_id)


async def _as_it_is_now(conn: Connection, webhook_id: UUID) -> Webhook:
    row = await webhooks.get(conn, webhook_id)
    if row is None:
        raise refusals.no_webhook(webhook_id)
    return Webhook.model_validate(dict(row))


async def newest(
    database: Database, *, limit: int, offset: int, cursor: str | None
) -> Page[Webhook]:
    """Return webhooks, the newest first."""
    before = None if cursor is None else decode_cursor(cursor, PLACE_IN_TIME)
    async with database.connection() as conn:
        rows = await webhooks.newest(conn, before=before, limit=limit + 1, offset=offset)
    page = Page(Webhook.model_validate(dict(row)) for row in rows[:limit])
    if len(rows) > limit:
        page.next_cursor = encode_cursor((page[-1].created_at, page[-1].id))
    return page


async def change(
    database: Database,
    webhook_id: UUID,
    changes: Mapping[str, Any],
    *,
    settled: int,
    expected_version: int | None,
    key: RequestKey | None,
) -> Webhook:
    """Change the fields of a webhook; if it is enabled, it is told of what comes after ``settled``.

    Raises:
        NotFound: there is none.
        VersionMismatch: it isn't at ``expected_version``.
    """
    async with database.transaction() as conn:
        await _lock(conn, webhook_id, expected_version=expected_version)
        await webhooks.change(conn, webhook_id, changes, after=settled)
        webhook = await _as_it_is_now(conn, webhook_id)
        if key is not None:
            await keys.keep(conn, key, webhook.model_dump(mode="json"))
    return webhook


async def _lock(conn: Connection, webhook_id: UUID, *, expected_version: int | None = None) -> None:
    version = await webhooks.lock(conn, webhook_id)
    if version is None:
        raise refusals.no_webhook(webhook_id)
    if expected_version not in {None, version}:
        raise refusals.mismatch("webhook", webhook_id, version, expected_version)


async def rotate(
    database: Database,
    webhook_id: UUID,
    rotation: Rotation,
    *,
    key: RequestKey | None,
) -> NewSecret:
    """Give a webhook another secret.

    Raises:
        NotFound: there is none.
    """
    secret = secret_bytes(rotation.secret) if rotation.secret else new_secret()
    grace = timedelta(seconds=rotation.grace_seconds)
    async with database.transaction() as conn:
        await _lock(conn, webhook_id)
        await webhooks.rotate(conn, webhook_id, secret=secret, grace=grace)
        row = await webhooks.get(conn, webhook_id)
        assert row is not None
        return await _shown(conn, row, secret, key=key)


async def delete(
    database: Database,
    webhook_id: UUID,
    *,
    expected_version: int | None,
    key: RequestKey | None,
) -> None:
    """Delete a webhook; its deliveries go by and by.

    Raises:
        NotFound: there is none.
        VersionMismatch: it isn't at ``expected_version``.
    """
    async with database.transaction() as conn:
        await _lock(conn, webhook_id, expected_version=expected_version)
        await webhooks.delete(conn, webhook_id)
        if key is not None:
            await keys.keep(conn, key, {})


async def list_deliveries(
    database: Database,
    webhook_id: UUID,
    found: DeliveryFilter,
    *,
    limit: int,
    offset: int,
    cursor: str | None,
) -> Page[Delivery]:
    """Return the deliveries of a webhook, those of the latest events first.

    Raises:
        NotFound: there is no such webhook.
    """
    before = MAX_SEQ if cursor is None else decode_cursor(cursor, PLACE_IN_LOG)[0]
    async with database.connection() as conn:
        await _as_it_is_now(conn, webhook_id)
        rows = await deliveries.newest(
            conn, webhook_id, status=found.status, before=before, limit=limit + 1, offset=offset
        )
    page = Page(_delivery_of(row) for row in rows[:limit])
    if len(rows) > limit:
        page.next_cursor = encode_cursor((page[-1].seq,))
    return page


def _delivery_of(row: Row) -> Delivery:
    fields = dict(row)
    identifier = event_id(row["seq"], fields.pop("event_at"))
    return Delivery.model_validate({"id": identifier, **fields})


async def get_delivery(database: Database, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    """Return a delivery.

    Raises:
        NotFound: there is no such webhook, or no such delivery of it.
    """
    async with database.connection() as conn:
        return await _delivery(conn, webhook_id, delivery_id)


async def _delivery(conn: Connection, webhook_id: UUID, delivery_id: UUID) -> Delivery:
    await _as_it_is_now(conn, webhook_id)
    seq = seq_in(delivery_id)
    row = await deliveries.get(conn, webhook_id, seq) if seq <= MAX_SEQ else None
    if row is None or (delivery := _delivery_of(row)).id != delivery_id:
        raise NotFound(f"webhook {webhook_id} has no delivery {delivery_id}, or no longer")
    return delivery


async def redeliver(
    database: Database, webhook_id: UUID, delivery_id: UUID, *, key: RequestKey | None
) -> Delivery:
    """Have a delivery sent again, at once.

    Raises:
        NotFound: there is no such webhook, or no such delivery of it.
        WebhookDisabled: the webhook is.
        HistoryGone: the event is no longer kept.
    """
    async with database.transaction() as conn:
        asked = await _delivery(conn, webhook_id, delivery_id)
        match await deliveries.redeliver(conn, webhook_id, asked.seq):
            case "disabled":
                raise WebhookDisabled(
                    f"webhook {webhook_id} is disabled, so nothing is sent to it; set its status "
                    "to active first"
                )
            case "gone":
                raise HistoryGone(f"event {delivery_id} is no longer kept, so it can't be sent")
            case _:
                delivery = await _delivery(conn, webhook_id, delivery_id)
        if key is not None:
            await keys.keep(conn, key, delivery.model_dump(mode="json"))
    return delivery
