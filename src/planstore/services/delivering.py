"""Telling webhooks of what happens: each event at least once, by any number of servers.

One server at a time follows the log and makes deliveries of it; all of them take those that are
due, by leases, and send them. So who is slow to answer holds up nobody else, and what a server that
has died was sending is sent by another one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import socket
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final

from uuid_utils.compat import uuid7

from planstore.errors import PlanStoreError
from planstore.models import cloudevent
from planstore.models.signature import signature_headers
from planstore.models.webhook import KEPT_FOR, MAX_WAITING, DisabledReason, Trial
from planstore.services import log, refusals
from planstore.services.sending import PATIENCE, Answer
from planstore.sql import deliveries, relays, tailing, webhooks

if TYPE_CHECKING:
    from collections.abc import Mapping
    from uuid import UUID

    from planstore.db import Database
    from planstore.services.sending import Sender
    from planstore.services.tailing import Horizon
    from planstore.sql.connection import Connection
    from planstore.sql.deliveries import Due, Made
    from planstore.sql.relays import Lease

NAME: Final = "webhooks"
"""Of the place up to where the log has become deliveries, in the database."""

MAKER_LEASE: Final = timedelta(seconds=5)
"""How long it takes at most until another server makes deliveries where one has died."""

SENDER_LEASE: Final = timedelta(seconds=PATIENCE + 15)
"""After which time another server sends what one that has died was sending."""

AT_ONCE: Final = 64
"""Deliveries that one server sends at a time."""

AT_ONCE_EACH: Final = 8
"""About how many are sent to one webhook at a time, by all servers together."""

_BITE: Final = 1_000
"""Numbers of the log that are looked at at a time."""

_SOON: Final = 0.05
_LATER: Final = 1.0
"""Seconds until it is looked again, where somebody asks for events and where nobody does."""

_TOGETHER: Final = 0.01
"""Seconds for which it is waited for more that is to be done, once there is something."""

_TIDY_EVERY: Final = 10.0
_FORGOTTEN: Final = 1_000
"""How many deliveries are removed at a time."""

logger = logging.getLogger("planstore")


class Delivering:
    """What one process does for webhooks."""

    def __init__(self, database: Database, horizon: Horizon, sender: Sender) -> None:
        self._database = database
        self._horizon = horizon
        self._sender = sender
        self._holder = f"{socket.gethostname()} {os.getpid()}"
        self._hint = asyncio.Event()

    async def settled(self) -> int:
        """Return a number of the log up to which nothing comes any more.

        Where another transaction has been writing since before this process has looked, it is that
        of the last event instead.
        """
        await self._horizon.reach(patience=log.PATIENCE)
        if self._horizon.place is not None:
            return self._horizon.place
        async with self._database.connection() as conn:
            return await tailing.last(conn)

    async def make(self) -> None:
        """Make deliveries of what happens for as long as this process has the lease for it.

        Raises:
            Unavailable: the database can't be reached.
        """
        async with self._database.connection() as conn:
            lease = await relays.take(conn, NAME, holder=self._holder, lease=MAKER_LEASE)
        if lease is None:
            return
        place = lease.place
        try:
            now = asyncio.get_running_loop().time
            tidied = now()
            while made := await self._make(lease, place):
                place = made.place
                if made.deliveries:
                    self._hint.set()
                if now() >= tidied + _TIDY_EVERY and await self._tidy():
                    tidied = now()
                if not made.has_more:
                    await asyncio.sleep(_SOON if made.is_wanted else _LATER)
        finally:
            with suppress(PlanStoreError):  # else the lease ends by itself
                async with self._database.connection() as conn:
                    await relays.release(conn, NAME, term=lease.term, place=place)

    async def _make(self, lease: Lease, place: int) -> Made | None:
        end = await self._horizon.unbroken(place)
        if end == place:
            # Beyond a number that was given up it is only known that nobody writes any more.
            await self._horizon.reach(patience=0)
            end = max(place, self._horizon.place or 0)
        async with self._database.connection() as conn:
            return await deliveries.make(
                conn, NAME, term=lease.term, through=end, bite=_BITE, lease=MAKER_LEASE
            )

    async def _tidy(self) -> bool:
        """Disable webhooks for which too much waits, and forget what is old; whether all of it."""
        async with self._database.connection() as conn:
            for webhook_id in await webhooks.disable_overfull(conn, most=MAX_WAITING):
                _tell(webhook_id, DisabledReason.BACKLOG)
            await webhooks.forget_deleted(conn)
            return await deliveries.forget(conn, KEPT_FOR, limit=_FORGOTTEN) < _FORGOTTEN

    async def send(self) -> None:
        """Send what is due, for ever.

        Raises:
            Unavailable: the database can't be reached.
        """
        under_way: dict[asyncio.Task[None], Due] = {}
        try:
            while True:
                self._hint.clear()
                room = AT_ONCE - len(under_way)
                for due in await self._take(room) if room else ():
                    task = asyncio.create_task(self._deliver(due))
                    under_way[task] = due
                    task.add_done_callback(under_way.pop)
                    task.add_done_callback(lambda _: self._hint.set())
                with suppress(TimeoutError):
                    async with asyncio.timeout(_LATER):
                        await self._hint.wait()
                        await asyncio.sleep(_TOGETHER)
        finally:
            await self._give_up(dict(under_way))

    async def _give_up(self, under_way: Mapping[asyncio.Task[None], Due]) -> None:
        """Leave to other servers what this one is sending."""
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way, return_exceptions=True)
        left = [due for task, due in under_way.items() if task.cancelled()]
        if left:
            with suppress(PlanStoreError):  # else their leases end by themselves
                async with self._database.connection() as conn:
                    await deliveries.give_back(conn, left)

    async def _take(self, room: int) -> list[Due]:
        async with self._database.connection() as conn:
            return await deliveries.take(conn, limit=room, at_once=AT_ONCE_EACH, lease=SENDER_LEASE)

    async def _deliver(self, due: Due) -> None:
        try:
            answer = await self._sent(due)
        except Exception:
            # Else it would be sent again and again, and never given up.
            logger.exception("Sending to webhook %s failed", due.webhook_id)
            answer = Answer(None, "it couldn't be sent")
        try:
            async with self._database.connection() as conn:
                await _note(conn, due, answer)
        except PlanStoreError as error:
            logger.debug("what came of a delivery isn't known: %s", error.detail)

    async def _sent(self, due: Due) -> Answer:
        if due.event is None:
            return Answer(None, "the event is no longer kept")
        return await self._send(
            due.url,
            _known(due.secret, due.former_secret),
            message_id=due.event.id,
            content=cloudevent.cloud_event(due.event),
        )

    async def _send(
        self, url: str, secrets: list[bytes], *, message_id: UUID, content: str
    ) -> Answer:
        body = content.encode()
        signature = signature_headers(
            secrets, message_id=str(message_id), sent_at=datetime.now(UTC), body=body
        )
        headers = {"Content-Type": cloudevent.CONTENT_TYPE, **signature}
        return await self._sender.send(url, body=body, headers=headers)

    async def try_out(self, webhook_id: UUID) -> Trial:
        """Send a webhook, also a disabled one, a message that tells of nothing; once.

        Raises:
            NotFound: there is no such webhook.
        """
        async with self._database.connection() as conn:
            row = await webhooks.secrets(conn, webhook_id)
        if row is None:
            raise refusals.no_webhook(webhook_id)
        message_id = uuid7()
        answer = await self._send(
            row["url"],
            _known(row["secret"], row["former_secret"]),
            message_id=message_id,
            content=cloudevent.trial(message_id, webhook_id, datetime.now(UTC)),
        )
        return Trial(
            message_id=message_id,
            is_delivered=answer.error is None,
            response_status=answer.status,
            error=answer.error,
        )


def _known(secret: bytes, former: bytes | None) -> list[bytes]:
    return [secret] if former is None else [secret, former]


async def _note(conn: Connection, due: Due, answer: Answer) -> None:
    if answer.error is None:
        assert answer.status is not None
        await deliveries.note_delivered(conn, due, status=answer.status)
        return
    reason = await deliveries.note_failed(
        conn, due, status=answer.status, error=answer.error, is_gone=answer.is_gone
    )
    if reason is not None:
        _tell(due.webhook_id, DisabledReason(reason))


def _tell(webhook_id: UUID, reason: DisabledReason) -> None:
    # Its URL may hold a secret.
    logger.warning("Webhook %s is disabled now: %s", webhook_id, reason.value)
