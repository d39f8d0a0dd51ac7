"""The routes of webhooks: who is told of events by HTTP, and how it goes."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request
from starlette.responses import Response

from planstore.models.idempotency import NOTHING, Nothing
from planstore.models.webhook import (
    Delivery,
    DeliveryFilter,
    NewSecret,
    Rotation,
    Trial,
    Webhook,
    WebhookCreate,
    WebhookUpdate,
)
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.lists import Window
from planstore.routers.reading import NoQuery


class DeliveryQuery(Window, DeliveryFilter):
    """Which deliveries to list."""


async def create_webhook(request: Request) -> Response:
    """Have events sent to a URL from now on.

    Only this answer shows the `secret` that signs them, by Standard Webhooks 1.0.
    """
    content, key = await reading.read_command(request, WebhookCreate)
    webhook = await context_of(request).store.create_webhook(content, idempotency=key)
    return answering.one(webhook, status=201)


async def list_webhooks(request: Request) -> Response:
    """List webhooks, newest first."""
    query = reading.parse_query(request, Window)
    page = await context_of(request).store.list_webhooks(
        limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    return answering.many(request, page)


async def get_webhook(request: Request) -> Response:
    """Get a webhook by its id, without its secret."""
    reading.parse_query(request, NoQuery)
    webhook_id = reading.parse_id(request, "webhook_id")
    webhook = await context_of(request).store.get_webhook(webhook_id)
    return answering.unless_known(request, webhook)


async def update_webhook(request: Request) -> Response:
    """Change the fields of a webhook that the body names; `status` stops it or lets it go on."""
    webhook_id = reading.parse_id(request, "webhook_id")
    update, key = await reading.read_command(request, WebhookUpdate)
    webhook = await context_of(request).store.update_webhook(
        webhook_id, update, expected_version=reading.parse_if_match(request), idempotency=key
    )
    return answering.one(webhook)


async def delete_webhook(request: Request) -> Response:
    """Delete a webhook with its deliveries."""
    reading.parse_query(request, NoQuery)
    webhook_id = reading.parse_id(request, "webhook_id")
    await context_of(request).store.delete_webhook(
        webhook_id,
        expected_version=reading.parse_if_match(request),
        idempotency=reading.parse_idempotency(request),
    )
    return answering.nothing()


async def rotate_secret(request: Request) -> Response:
    """Give a webhook another secret, which only this answer shows.

    For `grace_seconds` messages are signed with the former one as well.
    """
    webhook_id = reading.parse_id(request, "webhook_id")
    rotation, key = await reading.read_command(request, Rotation, default=Rotation())
    webhook = await context_of(request).store.rotate_webhook_secret(
        webhook_id, rotation, idempotency=key
    )
    return answering.one(webhook)


async def test_webhook(request: Request) -> Response:
    """Send a webhook a signed message that tells of nothing, and say what came of it.

    It takes up to 15 seconds. It is sent once, also to a disabled one, and is no delivery.
    """
    webhook_id = reading.parse_id(request, "webhook_id")
    _, key = await reading.read_command(request, Nothing, default=NOTHING)
    return answering.whole(
        await context_of(request).store.test_webhook(webhook_id, idempotency=key)
    )


async def list_deliveries(request: Request) -> Response:
    """List what a webhook was told, is told or is to be told of: the latest events first."""
    webhook_id = reading.parse_id(request, "webhook_id")
    query = reading.parse_query(request, DeliveryQuery)
    page = await context_of(request).store.list_deliveries(
        webhook_id, query, limit=query.limit, offset=query.offset, cursor=query.cursor
    )
    return answering.many(request, page)


async def get_delivery(request: Request) -> Response:
    """Get a delivery of a webhook; its id is that of the event."""
    reading.parse_query(request, NoQuery)
    webhook_id = reading.parse_id(request, "webhook_id")
    delivery_id = reading.parse_id(request, "delivery_id")
    return answering.whole(await context_of(request).store.get_delivery(webhook_id, delivery_id))


async def redeliver(request: Request) -> Response:
    """Have a delivery sent again at once, whether it was delivered, failed or waits."""
    webhook_id = reading.parse_id(request, "webhook_id")
    delivery_id = reading.parse_id(request, "delivery_id")
    _, key = await reading.read_command(request, Nothing, default=NOTHING)
    return answering.whole(
        await context_of(request).store.redeliver(webhook_id, delivery_id, idempotency=key)
    )


WEBHOOK_ENDPOINTS: Final = (
    Endpoint(
        "POST",
        "/webhooks/",
        create_webhook,
        tag="webhooks",
        status=201,
        answer=NewSecret,
        body=WebhookCreate,
        headers=("Idempotency-Key",),
        refusals=(409,),
    ),
    Endpoint(
        "GET", "/webhooks/", list_webhooks, tag="webhooks", answer=list[Webhook], query=Window
    ),
    Endpoint(
        "GET",
        "/webhooks/{webhook_id}",
        get_webhook,
        tag="webhooks",
        answer=Webhook,
        refusals=(404,),
    ),
    Endpoint(
        "PATCH",
        "/webhooks/{webhook_id}",
        update_webhook,
        tag="webhooks",
        answer=Webhook,
        body=WebhookUpdate,
        headers=("If-Match", "Idempotency-Key"),
        refusals=(404, 409, 412),
    ),
    Endpoint(
        "DELETE",
        "/webhooks/{webhook_id}",
        delete_webhook,
        tag="webhooks",
        status=204,
        headers=("If-Match", "Idempotency-Key"),
        refusals=(404, 409, 412),
    ),
    Endpoint(
        "POST",
        "/webhooks/{webhook_id}/rotate",
        rotate_secret,
        tag="webhooks",
        answer=NewSecret,
        body=Rotation,
        needs_body=False,
        headers=("Idempotency-Key",),
        refusals=(404, 409),
    ),
    Endpoint(
        "POST",
        "/webhooks/{webhook_id}/test",
        test_webhook,
        tag="webhooks",
        answer=Trial,
        body=Nothing,
        needs_body=False,
        headers=("Idempotency-Key",),
        refusals=(404, 409),
    ),
    Endpoint(
        "GET",
        "/webhooks/{webhook_id}/deliveries",
        list_deliveries,
        tag="webhooks",
        answer=list[Delivery],
        query=DeliveryQuery,
        refusals=(404,),
    ),
    Endpoint(
        "GET",
        "/webhooks/{webhook_id}/deliveries/{delivery_id}",
        get_delivery,
        tag="webhooks",
        answer=Delivery,
        refusals=(404,),
    ),
    Endpoint(
        "POST",
        "/webhooks/{webhook_id}/deliveries/{delivery_id}/redeliver",
        redeliver,
        tag="webhooks",
        answer=Delivery,
        body=Nothing,
        needs_body=False,
        headers=("Idempotency-Key",),
        refusals=(404, 409, 410),
    ),
)
