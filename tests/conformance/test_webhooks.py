"""Webhooks by each door."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import pytest

from planstore.errors import NotFound, VersionMismatch
from planstore.models.webhook import (
    DeliveryFilter,
    DeliveryStatus,
    Rotation,
    Webhook,
    WebhookCreate,
    WebhookStatus,
    WebhookUpdate,
)
from tests.arranging import plan_of, task_of
from tests.receiver import Receiver
from tests.served import PATIENCE

if TYPE_CHECKING:
    from planstore.services.plan_store import PlanStore

URL: Final = "https://example.invalid/hooks"
EVENTS: Final = ["plan.revised", "task.created"]
"""What a new task is told as, the latest first."""
DELIVERED: Final = DeliveryFilter(status=DeliveryStatus.DELIVERED)


async def test_a_webhook_is_made_read_changed_and_deleted(
    store: PlanStore, library: PlanStore
) -> None:
    given = WebhookCreate(url=URL, plan_ids=[uuid4()], event_types=["task.failed"])
    made = await store.create_webhook(given)
    assert made.secret.startswith("whsec_")
    hook = await store.get_webhook(made.id)
    assert hook == Webhook.model_validate(made.model_dump(exclude={"secret"}))
    assert hook == await library.get_webhook(made.id)
    assert (await store.list_webhooks(limit=1))[0] == hook

    disabled = WebhookUpdate(status=WebhookStatus.DISABLED, event_types=None)
    changed = await store.update_webhook(made.id, disabled, expected_version=1)
    assert (changed.status, changed.event_types) == (WebhookStatus.DISABLED, None)
    assert changed.plan_ids == given.plan_ids
    rotated = await store.rotate_webhook_secret(made.id, Rotation(grace_seconds=0))
    assert rotated.secret != made.secret
    assert rotated.former_secret_until is None

    with pytest.raises(VersionMismatch):
        await store.delete_webhook(made.id, expected_version=1)
    await store.delete_webhook(made.id)
    with pytest.raises(NotFound):
        await store.get_webhook(made.id)


async def test_what_a_webhook_was_told_is_seen(store: PlanStore, library: PlanStore) -> None:
    plan = await plan_of(library)
    with Receiver().running() as receiver:
        hook = await store.create_webhook(WebhookCreate(url=receiver.url, plan_ids=[plan.id]))
        assert (await store.test_webhook(hook.id)).response_status == 204
        await task_of(library, plan)
        async with asyncio.timeout(PATIENCE):
            while len(told := await store.list_deliveries(hook.id, DELIVERED)) < len(EVENTS):  # noqa: ASYNC110 - the server tells nobody
                await asyncio.sleep(0.05)
        assert [each.event_type for each in told] == EVENTS
        (first,) = await store.list_deliveries(hook.id, limit=1)
        page = await store.list_deliveries(hook.id, limit=1)
        (second,) = await store.list_deliveries(hook.id, limit=1, cursor=page.next_cursor)
        assert [first, second] == told
        assert await store.get_delivery(hook.id, first.id) == first
        assert (await store.redeliver(hook.id, first.id)).status != DeliveryStatus.FAILED
        await store.delete_webhook(hook.id)
    with pytest.raises(NotFound):
        await store.list_deliveries(hook.id)
