"""The methods of `PlanStore` about webhooks: who is told of events by HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING

from uuid_utils.compat import uuid7

from planstore.errors import VersionMismatch
from planstore.models.deletion import Deletion
from planstore.models.idempotency import NOTHING
from planstore.models.page import DEFAULT_LIMIT
from planstore.models.webhook import (
    WEBHOOK_KEPT,
    Delivery,
    DeliveryFilter,
    NewSecret,
    Rotation,
    Trial,
    Webhook,
)
from planstore.services import webhooks
from planstore.services.answers import nothing
from planstore.services.store.core import Core
from planstore.services.store.updates import basis_of, changes_of
from planstore.sql import idempotency as keys

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.models.idempotency import Idempotency
    from planstore.models.page import Page
    from planstore.models.webhook import WebhookCreate, WebhookUpdate


class Webhooks(Core):
    """The methods of `PlanStore` about webhooks: who is told of events by HTTP."""

    async def create_webhook(
        self, webhook: WebhookCreate, *, idempotency: Idempotency | None = None
    ) -> NewSecret:
        """Have events sent to a URL from now on; the answer alone shows the secret that signs them.

        Raises:
            AlreadyExists: the id is taken.
            InvalidInput: the URL names a private address, and these aren't allowed.
        """
        webhooks.check_url(webhook.url, allow_private=self._sender.allow_private)
        webhook_id = webhook.id or uuid7()
        key = idempotency and idempotency.of("create_webhook", webhook)

        async def work() -> NewSecret:
            return await webhooks.create(
                self._database,
                webhook,
                webhook_id=webhook_id,
                settled=await self._delivering.settled(),
                key=key,
            )

        return await self._writes.do(work, key=key, replay=NewSecret.model_validate)

    async def list_webhooks(
        self, *, limit: int = DEFAULT_LIMIT, offset: int = 0, cursor: str | None = None
    ) -> Page[Webhook]:
        """Return all webhooks, newest first.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        self._check_window(limit, offset)
        return await webhooks.newest(self._database, limit=limit, offset=offset, cursor=cursor)

    async def get_webhook(self, webhook_id: UUID) -> Webhook:
        """Return a webhook, without its secret.

        Raises:
            NotFound: there is no such webhook.
        """
        return await webhooks.get(self._database, webhook_id)

    async def update_webhook(
        self,
        webhook_id: UUID,
        update: WebhookUpdate,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> Webhook:
        """Change the fields of a webhook that ``update`` names; ``status`` stops it or restarts it.

        What happens while it is disabled isn't delivered later; what waited before is.

        Raises:
            NotFound: there is no such webhook.
            InvalidInput: a field that the service keeps is given another value, or the URL names a
                private address, and these aren't allowed.
            VersionMismatch: the webhook isn't at ``expected_version``.
        """
        key = idempotency and idempotency.of(f"update_webhook {webhook_id}", update)
        changes = changes_of(update, WEBHOOK_KEPT)
        if "url" in changes:
            webhooks.check_url(changes["url"], allow_private=self._sender.allow_private)

        async def work() -> Webhook:
            basis = await basis_of(update, WEBHOOK_KEPT, lambda: self.get_webhook(webhook_id))
            expected = basis if expected_version is None else expected_version
            try:
                return await webhooks.change(
                    self._database,
                    webhook_id,
                    changes,
                    settled=await self._delivering.settled(),
                    expected_version=expected,
                    key=key,
                )
            except VersionMismatch:
                if expected_version is not None:
                    raise
                return await work()  # it changed since it was compared

        return await self._writes.do(work, key=key, replay=Webhook.model_validate)

    async def rotate_webhook_secret(
        self,
        webhook_id: UUID,
        rotation: Rotation | None = None,
        *,
        idempotency: Idempotency | None = None,
    ) -> NewSecret:
        """Give a webhook another secret, which the answer alone shows.

        For ``grace_seconds`` messages are signed with the former one as well.

        Raises:
            NotFound: there is no such webhook.
        """
        rotation = rotation or Rotation()
        key = idempotency and idempotency.of(f"rotate_webhook_secret {webhook_id}", rotation)

        async def work() -> NewSecret:
            return await webhooks.rotate(self._database, webhook_id, rotation, key=key)

        return await self._writes.do(work, key=key, replay=NewSecret.model_validate)

    async def delete_webhook(
        self,
        webhook_id: UUID,
        *,
        expected_version: int | None = None,
        idempotency: Idempotency | None = None,
    ) -> None:
        """Delete a webhook with its deliveries; what is being sent at this moment may still arrive.

        Raises:
            NotFound: there is no such webhook, or no more.
            VersionMismatch: the webhook isn't at ``expected_version``.
        """
        key = idempotency and idempotency.of(f"delete_webhook {webhook_id}", Deletion())

        async def work() -> None:
            await webhooks.delete(
                self._database, webhook_id, expected_version=expected_version, key=key
            )

        await self._writes.do(work, key=key, replay=nothing)

    async def test_webhook(
        self, webhook_id: UUID, *, idempotency: Idempotency | None = None
    ) -> Trial:
        """Send a webhook a signed message that tells of nothing, and say what came of it.

        It takes up to 15 seconds. It is sent once, also to a disabled one, and is no delivery.

        Raises:
            NotFound: there is no such webhook.
        """
        key = idempotency and idempotency.of(f"test_webhook {webhook_id}", NOTHING)

        async def work() -> Trial:
            trial = await self._delivering.try_out(webhook_id)
            if key is not None:
                async with self._database.connection() as conn:
                    await keys.keep(conn, key, trial.model_dump(mode="json"))
            return trial

        return await self._writes.do(work, key=key, replay=Trial.model_validate)

    async def list_deliveries(
        self,
        webhook_id: UUID,
        found: DeliveryFilter | None = None,
        *,
        limit: int = DEFAULT_LIMIT,
        offset: int = 0,
        cursor: str | None = None,
    ) -> Page[Delivery]:
        """Return what a webhook was told, is told or is to be told of: the latest events first.

        ``cursor``: the ``next_cursor`` of the page before.

        Raises:
            NotFound: there is no such webhook.
            InvalidInput: ``limit``, ``offset`` or ``cursor`` is out of range.
        """
        self._check_window(limit, offset)
        return await webhooks.list_deliveries(
            self._database,
            webhook_id,
            found or DeliveryFilter(),
            limit=limit,
            offset=offset,
            cursor=cursor,
        )

    async def get_delivery(self, webhook_id: UUID, delivery_id: UUID) -> Delivery:
        """Return a delivery of a webhook; its id is that of the event.

        Raises:
            NotFound: there is no such webhook, or no such delivery of it.
        """
        return await webhooks.get_delivery(self._database, webhook_id, delivery_id)

    async def redeliver(
        self, webhook_id: UUID, delivery_id: UUID, *, idempotency: Idempotency | None = None
    ) -> Delivery:
        """Have a delivery sent again at once, whether it was delivered, failed or waits.

        It is tried for a day from now on. One that is being sent is answered as it is.

        Raises:
            NotFound: there is no such webhook, or no such delivery of it.
            WebhookDisabled: the webhook is.
            HistoryGone: the event is no longer kept.
        """
        key = idempotency and idempotency.of(f"redeliver {webhook_id} {delivery_id}", NOTHING)

        async def work() -> Delivery:
            return await webhooks.redeliver(self._database, webhook_id, delivery_id, key=key)

        return await self._writes.do(work, key=key, replay=Delivery.model_validate)

    async def make_deliveries(self) -> None:
        """Make deliveries of what happens, for as long as no other process does; a server does it.

        It returns where another one does already, or has gone on: call it again in a while.

        Raises:
            Unavailable: the database can't be reached.
        """
        await self._delivering.make()

    async def send_deliveries(self) -> None:
        """Send what is due to webhooks, until cancelled; each server does it beside all else.

        Raises:
            Unavailable: the database can't be reached.
        """
        await self._delivering.send()
