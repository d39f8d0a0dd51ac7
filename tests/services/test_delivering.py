"""Telling webhooks of what happens: each event, to whoever asks for it, whatever goes away."""

from __future__ import annotations

import asyncio
import json
import logging
import socket
from contextlib import asynccontextmanager, suppress
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, TypeVar
from uuid import UUID, uuid4

import pytest
from standardwebhooks import WebhookVerificationError

from planstore.errors import HistoryGone, NotFound, WebhookDisabled
from planstore.models import (
    Delivery,
    DeliveryFilter,
    DeliveryStatus,
    DisabledReason,
    NewSecret,
    Rotation,
    TaskStatus,
    WebhookCreate,
    WebhookStatus,
    WebhookUpdate,
)
from planstore.models.event import EventFilter
from planstore.services import delivering, sending
from planstore.services.plan_store import PlanStore
from planstore.sql import deliveries
from tests.arranging import moved, plan_of, task_of
from tests.receiver import Receiver, cloud_event_of
from tests.writers import writing

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Coroutine,
        Iterator,
    )
    from contextlib import AbstractAsyncContextManager

    from planstore.db import Database
    from planstore.models import Plan, Webhook
    from planstore.sql.deliveries import Due

T = TypeVar("T")

PATIENCE: Final = 30.0

_PASS: Final = (
    """
    update planstore.deliveries
    set
      created_at = created_at - $1::interval,
      began_at = began_at - $1::interval,
      due_at = due_at - $1::interval,
      lease_expires_at = lease_expires_at - $1::interval
    """,
    """
    update planstore.webhooks
    set
      enabled_at = enabled_at - $1::interval,
      rests_until = rests_until - $1::interval,
      succeeded_at = succeeded_at - $1::interval,
      deleted_at = deleted_at - $1::interval,
      former_secret_until = former_secret_until - $1::interval
    """,
)


@pytest.fixture
async def store(database_url: str) -> AsyncIterator[PlanStore]:
    async with opened(database_url) as store:
        yield store


@pytest.fixture
async def elsewhere(database_url: str) -> AsyncIterator[PlanStore]:
    async with opened(database_url) as store:
        yield store


def opened(url: str, *, private_webhooks: bool = True) -> AbstractAsyncContextManager[PlanStore]:
    """The store, allowed to send to this machine."""
    return PlanStore.open(url, migrate=False, private_webhooks=private_webhooks)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    with Receiver().running() as receiver:
        yield receiver


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for what is due again and again, as time is made to pass."""
    monkeypatch.setattr(delivering, "_LATER", 0.05)
    monkeypatch.setattr(delivering, "_SOON", 0.01)


@asynccontextmanager
async def at_work(*stores: PlanStore) -> AsyncGenerator[None]:
    """Make and send deliveries in the block, as servers do beside their other work."""

    async def again(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        while True:
            await work()
            await asyncio.sleep(0.02)  # until another one may have let go of the lease

    chores = [
        asyncio.create_task(again(work))
        for store in stores
        for work in (store.make_deliveries, store.send_deliveries)
    ]
    try:
        yield
    finally:
        for chore in chores:
            chore.cancel()
        await asyncio.wait(chores)
        assert all(chore.cancelled() for chore in chores), [
            chore.exception() for chore in chores if not chore.cancelled()
        ]


async def hook_of(store: PlanStore, receiver: Receiver, **fields: Any) -> NewSecret:
    return await store.create_webhook(WebhookCreate.model_validate({"url": receiver.url, **fields}))


async def pass_time(database: Database, time: timedelta) -> None:
    async with database.transaction() as conn:
        for statement in _PASS:
            await conn.execute(statement, time)


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110 - what is looked at tells nobody
            await asyncio.sleep(0.01)  # between two looks; nothing is ordered by it


async def once(read: Callable[[], Awaitable[T]], is_so: Callable[[T], bool]) -> T:
    """Wait until what is read is so; answers it."""
    async with asyncio.timeout(PATIENCE):
        while not is_so(found := await read()):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.01)  # between two looks; nothing is ordered by it
    return found


async def deliveries_once(
    store: PlanStore, webhook: Webhook, are_so: Callable[[list[Delivery]], bool]
) -> list[Delivery]:
    """Wait until the deliveries of a webhook are so."""
    return await once(lambda: store.list_deliveries(webhook.id), are_so)


def all_are(status: DeliveryStatus, *, count: int) -> Callable[[list[Delivery]], bool]:
    return lambda found: [each.status for each in found] == [status] * count


def tried(attempts: int) -> Callable[[list[Delivery]], bool]:
    """That there is one delivery, which has been tried so often, and isn't being."""
    return lambda found: (
        [(each.attempts, each.error is not None) for each in found] == [(attempts, True)]
    )


async def events_of(store: PlanStore, plan: Plan) -> dict[str, Any]:
    found = await store.list_events(EventFilter(plan_id=[plan.id]))
    return {str(event.id): event for event in found}


async def some_work(store: PlanStore, *, tasks: int = 2) -> Plan:
    plan = await plan_of(store)
    for _ in range(tasks):
        await moved(store, await task_of(store, plan), TaskStatus.COMPLETED, output_data={"n": 1})
    return plan


async def test_each_event_is_sent_signed_as_a_cloudevent(
    store: PlanStore, receiver: Receiver
) -> None:
    await some_work(store)
    webhook = await hook_of(store, receiver)
    async with at_work(store):
        plan = await some_work(store)
        events = await events_of(store, plan)
        await until(lambda: len(receiver.received) >= len(events))
    assert receiver.ids == dict.fromkeys(events, 1)
    for received in receiver.received:
        event = events[received.id]
        said = received.verified(webhook.secret)
        assert said["seq"] == str(event.seq)
        assert said["objectversion"] == event.version
        assert said["data"]["payload"] == json.loads(event.payload)
        assert cloud_event_of(received).get_type() == f"planstore.{event.event_type}"
        assert received.headers["content-type"] == "application/cloudevents+json"
        with pytest.raises(WebhookVerificationError):
            received.verified("whsec_" + "A" * 32)


async def test_only_what_is_asked_for_is_sent(store: PlanStore, receiver: Receiver) -> None:
    plan = await plan_of(store)
    await hook_of(store, receiver, event_types=["task.completed", "plan.created"])
    with Receiver().running() as of_plan:
        await hook_of(store, of_plan, plan_ids=[plan.id, uuid4()])
        async with at_work(store):
            await moved(store, await task_of(store, plan), TaskStatus.COMPLETED)
            await some_work(store, tasks=1)
            await until(lambda: len(receiver.received) >= 3 and len(of_plan.received) >= 4)
    types = [json.loads(each.body)["type"] for each in receiver.received]
    assert sorted(types) == [
        *("planstore.plan.created", "planstore.task.completed", "planstore.task.completed")
    ]
    assert {json.loads(each.body)["planid"] for each in of_plan.received} == {str(plan.id)}


async def test_what_is_committed_late_is_sent_too(
    store: PlanStore, receiver: Receiver, database_url: str
) -> None:
    await store.watch_log()
    async with writing(database_url, 1) as (writer,):
        early = await writer.write(1)
        webhook = await hook_of(store, receiver)
        async with at_work(store):
            await some_work(store)
            assert receiver.received == []
            await writer.end()
            await until(lambda: len(receiver.received) >= 5)
    assert early[0] in {each.seq for each in await store.list_deliveries(webhook.id)}


@pytest.mark.parametrize(
    ("status", "told"), [(500, "500"), (302, "redirects are not followed"), (404, "404")]
)
async def test_what_fails_is_sent_again_after_a_while(
    store: PlanStore, receiver: Receiver, database: Database, status: int, told: str
) -> None:
    receiver.status = status
    with Receiver().running() as elsewhere:
        receiver.headers = {"Location": elsewhere.url}
        webhook = await hook_of(store, receiver, event_types=["plan.created"])
        async with at_work(store):
            await plan_of(store)
            (failed,) = await deliveries_once(store, webhook, tried(1))
            assert failed.status == DeliveryStatus.PENDING
            assert failed.response_status == status
            assert told in (failed.error or "")
            assert failed.next_attempt_at is not None
            assert failed.attempted_at is not None
            wait = failed.next_attempt_at - failed.attempted_at
            assert timedelta(seconds=2) < wait < timedelta(seconds=20)
            receiver.status = 200
            await pass_time(database, timedelta(seconds=20))
            await deliveries_once(store, webhook, all_are(DeliveryStatus.DELIVERED, count=1))
        assert elsewhere.received == []
    assert [*receiver.ids.values()] == [2]
    assert len({each.headers["webhook-signature"] for each in receiver.received}) <= 2


async def test_a_delivery_waits_longer_each_time_and_is_given_up_after_a_day(
    store: PlanStore, receiver: Receiver, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    receiver.status = 503
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    async with at_work(store):
        await plan_of(store)
        await deliveries_once(store, webhook, tried(1))
        for attempts, hours, longest in ((2, 0.5, 0.6), (3, 4, 1.1), (4, 19.3, 1.1)):
            await pass_time(database, timedelta(hours=hours))
            (failed,) = await deliveries_once(store, webhook, tried(attempts))
            assert failed.attempted_at is not None
            assert failed.next_attempt_at is not None
            wait = failed.next_attempt_at - failed.attempted_at
            assert wait < timedelta(hours=longest)
            assert wait > timedelta(minutes=5) or attempts == 4
        assert (await store.get_webhook(webhook.id)).status == WebhookStatus.ACTIVE
        await pass_time(database, timedelta(hours=1))
        await deliveries_once(store, webhook, all_are(DeliveryStatus.FAILED, count=1))
    disabled = await store.get_webhook(webhook.id)
    assert disabled.disabled_reason == DisabledReason.FAILING
    assert disabled.version == webhook.version + 1
    assert str(webhook.id) in caplog.text
    assert webhook.secret not in caplog.text
    assert receiver.url not in caplog.text


async def test_a_webhook_to_which_others_got_through_is_not_disabled(
    store: PlanStore, receiver: Receiver, database: Database
) -> None:
    receiver.status = 500
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    async with at_work(store):
        await plan_of(store)
        await deliveries_once(store, webhook, tried(1))
        receiver.status = 200
        await plan_of(store)
        await deliveries_once(
            store, webhook, lambda found: found[0].status == DeliveryStatus.DELIVERED
        )
        receiver.status = 500
        await pass_time(database, timedelta(hours=25))
        async with database.connection() as conn:
            await conn.execute("update planstore.webhooks set succeeded_at = now()")
        await deliveries_once(
            store, webhook, lambda found: found[-1].status == DeliveryStatus.FAILED
        )
    assert (await store.get_webhook(webhook.id)).status == WebhookStatus.ACTIVE


async def test_a_receiver_that_is_gone_is_sent_nothing_more(
    store: PlanStore, receiver: Receiver, database: Database
) -> None:
    receiver.status = 410
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    async with at_work(store):
        await plan_of(store)
        await deliveries_once(store, webhook, all_are(DeliveryStatus.FAILED, count=1))
        disabled = await store.get_webhook(webhook.id)
        assert disabled.disabled_reason == DisabledReason.GONE
        await plan_of(store)
        with Receiver().running() as other:
            await hook_of(store, other, event_types=["plan.created"])
            await plan_of(store)
            await until(lambda: len(other.received) == 1)
    assert len(receiver.received) == 1
    assert len(await store.list_deliveries(webhook.id)) == 1


async def test_one_that_does_not_answer_holds_up_nobody_else(
    store: PlanStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sending, "PATIENCE", 0.5)
    receiver.goes_on.clear()
    hanging = [await hook_of(store, receiver, event_types=["plan.created"]) for _ in range(3)]
    with Receiver().running() as quick:
        await hook_of(store, quick, event_types=["plan.created"])
        async with at_work(store):
            for _ in range(10):
                await plan_of(store)
            await until(lambda: len(quick.received) == 10)
            found = await deliveries_once(
                store, hanging[0], lambda found: any(each.error for each in found)
            )
    assert {each.error for each in found if each.error} == {
        "there was no answer within 0.5 seconds"
    }


async def test_of_several_servers_each_sends_some_and_none_sends_anything_twice(
    store: PlanStore, elsewhere: PlanStore, receiver: Receiver
) -> None:
    webhook = await hook_of(store, receiver)
    async with at_work(store, elsewhere):
        plans = await asyncio.gather(*(some_work(store, tasks=4) for _ in range(4)))
        events = {each for plan in plans for each in await events_of(store, plan)}
        await until(lambda: receiver.ids.keys() == events)
        await deliveries_once(
            store, webhook, all_are(DeliveryStatus.DELIVERED, count=min(100, len(events)))
        )
    assert receiver.ids == dict.fromkeys(events, 1)


async def taken(database: Database) -> Due:
    """Take the delivery that is due, as a server does that is never heard of again."""
    async with database.connection() as conn:
        (due,) = await deliveries.take(conn, limit=9, at_once=9, lease=timedelta(seconds=30))
    return due


async def made(store: PlanStore, webhook: Webhook, *, count: int) -> list[Delivery]:
    """Have deliveries made, and not sent."""
    making = asyncio.create_task(store.make_deliveries())
    found = await deliveries_once(store, webhook, lambda found: len(found) == count)
    making.cancel()
    with suppress(asyncio.CancelledError):
        await making
    return found


async def test_what_a_dead_server_was_sending_another_sends(
    store: PlanStore, receiver: Receiver, database: Database
) -> None:
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    await plan_of(store)
    await made(store, webhook, count=1)
    lost = await taken(database)
    async with at_work(store):
        assert receiver.received == []
        await pass_time(database, timedelta(seconds=31))
        (done,) = await deliveries_once(store, webhook, all_are(DeliveryStatus.DELIVERED, count=1))
    assert done.attempts == 2
    assert len(receiver.received) == 1

    async with database.connection() as conn:
        await deliveries.note_failed(conn, lost, status=410, error="late", is_gone=True)

    assert await store.list_deliveries(webhook.id) == [done]
    assert (await store.get_webhook(webhook.id)).status == WebhookStatus.ACTIVE


async def test_what_a_server_was_sending_when_it_stopped_another_sends_at_once(
    store: PlanStore, elsewhere: PlanStore, receiver: Receiver
) -> None:
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    receiver.goes_on.clear()
    async with at_work(store):
        for _ in range(3):
            await plan_of(store)
        await until(lambda: len(receiver.ids) == 3)
    waiting = await store.list_deliveries(webhook.id)
    assert [(each.attempts, each.error) for each in waiting] == [(1, None)] * 3
    receiver.goes_on.set()

    async with at_work(elsewhere):
        delivered = await deliveries_once(
            store, webhook, all_are(DeliveryStatus.DELIVERED, count=3)
        )

    assert [each.attempts for each in delivered] == [2] * 3
    assert set(receiver.ids.values()) == {2}


async def test_a_late_end_does_not_count_for_who_has_taken_it_since(
    store: PlanStore, receiver: Receiver, database: Database
) -> None:
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    await plan_of(store)
    await made(store, webhook, count=1)
    first = await taken(database)
    await pass_time(database, timedelta(seconds=31))
    second = await taken(database)
    before = await store.list_deliveries(webhook.id)
    async with database.connection() as conn:
        await deliveries.note_delivered(conn, first, status=200)
        assert await store.list_deliveries(webhook.id) == before
        await deliveries.note_delivered(conn, second, status=200)
    (done,) = await store.list_deliveries(webhook.id)
    assert done.status == DeliveryStatus.DELIVERED


async def test_a_former_secret_signs_as_well_for_a_while(
    store: PlanStore, receiver: Receiver, database: Database
) -> None:
    webhook = await hook_of(store, receiver)
    rotated = await store.rotate_webhook_secret(webhook.id, Rotation(grace_seconds=3_600))
    assert rotated.secret != webhook.secret
    assert rotated.former_secret_until is not None
    assert (await store.test_webhook(webhook.id)).is_delivered
    for secret in (webhook.secret, rotated.secret):
        assert receiver.received[-1].verified(secret)["type"] == "planstore.webhook.test"

    await pass_time(database, timedelta(hours=2))
    assert (await store.test_webhook(webhook.id)).is_delivered
    receiver.received[-1].verified(rotated.secret)
    with pytest.raises(WebhookVerificationError):
        receiver.received[-1].verified(webhook.secret)
    assert (await store.get_webhook(webhook.id)).former_secret_until is None

    last = await store.rotate_webhook_secret(webhook.id, Rotation(grace_seconds=0))
    await store.test_webhook(webhook.id)
    receiver.received[-1].verified(last.secret)
    with pytest.raises(WebhookVerificationError):
        receiver.received[-1].verified(rotated.secret)


async def test_while_it_is_disabled_nothing_is_sent_and_what_waited_is_sent_after(
    store: PlanStore, receiver: Receiver
) -> None:
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    await plan_of(store)
    (waiting,) = await made(store, webhook, count=1)
    await store.update_webhook(webhook.id, WebhookUpdate(status=WebhookStatus.DISABLED))
    with Receiver().running() as other:
        await hook_of(store, other, event_types=["plan.created"])
        async with at_work(store):
            await plan_of(store)
            await until(lambda: len(other.received) == 1)
            assert receiver.received == []
            with pytest.raises(WebhookDisabled):
                await store.redeliver(webhook.id, waiting.id)
            assert await store.list_deliveries(webhook.id) == [waiting]
            await store.update_webhook(webhook.id, WebhookUpdate(status=WebhookStatus.ACTIVE))
            await deliveries_once(store, webhook, all_are(DeliveryStatus.DELIVERED, count=1))
    assert receiver.ids == {str(waiting.id): 1}


async def test_what_is_left_of_a_deleted_webhook_goes(
    store: PlanStore, receiver: Receiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "_TIDY_EVERY", 0)
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    await plan_of(store)
    await made(store, webhook, count=1)
    await store.delete_webhook(webhook.id)
    with pytest.raises(NotFound):
        await store.list_deliveries(webhook.id)
    await pass_time(database, timedelta(hours=2))
    async with at_work(store):
        await once(lambda: rows_left(database), lambda left: left == (0, 0))
    assert receiver.received == []


async def rows_left(database: Database) -> tuple[int, int]:
    async with database.connection() as conn:
        return (
            await conn.fetchval("select count(*) from planstore.webhooks"),
            await conn.fetchval("select count(*) from planstore.deliveries"),
        )


async def test_old_deliveries_go_and_others_stay(
    store: PlanStore, receiver: Receiver, database: Database, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "_TIDY_EVERY", 0)
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    async with at_work(store):
        await plan_of(store)
        await deliveries_once(store, webhook, all_are(DeliveryStatus.DELIVERED, count=1))
        await pass_time(database, timedelta(days=29))
        await plan_of(store)
        await deliveries_once(store, webhook, all_are(DeliveryStatus.DELIVERED, count=2))
        await pass_time(database, timedelta(days=2))
        await deliveries_once(store, webhook, lambda found: len(found) == 1)


async def test_a_webhook_for_which_too_much_waits_is_disabled(
    store: PlanStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(delivering, "_TIDY_EVERY", 0)
    monkeypatch.setattr(delivering, "MAX_WAITING", 3)
    receiver.status = 500
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    async with at_work(store):
        for _ in range(3):
            await plan_of(store)
        await deliveries_once(store, webhook, lambda found: len(found) == 3)
        assert (await store.get_webhook(webhook.id)).status == WebhookStatus.ACTIVE
        await plan_of(store)
        disabled = await once(
            lambda: store.get_webhook(webhook.id),
            lambda found: found.status == WebhookStatus.DISABLED,
        )
    assert disabled.disabled_reason == DisabledReason.BACKLOG


async def test_a_delivery_may_be_asked_for_again(
    store: PlanStore, receiver: Receiver, database: Database
) -> None:
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    async with at_work(store):
        await plan_of(store)
        (done,) = await deliveries_once(store, webhook, all_are(DeliveryStatus.DELIVERED, count=1))
        again = await store.redeliver(webhook.id, done.id)
        assert again.status == DeliveryStatus.PENDING
        await deliveries_once(
            store,
            webhook,
            lambda found: (found[0].status, found[0].attempts) == (DeliveryStatus.DELIVERED, 2),
        )
    assert receiver.ids == {str(done.id): 2}

    async with database.connection() as conn:
        await conn.execute("delete from planstore.events")
    before = await store.list_deliveries(webhook.id)
    with pytest.raises(HistoryGone):
        await store.redeliver(webhook.id, done.id)
    for stranger in (uuid4(), UUID(int=done.id.int ^ 1 << 100)):
        with pytest.raises(NotFound):
            await store.redeliver(webhook.id, stranger)
    assert await store.list_deliveries(webhook.id) == before


async def test_deliveries_are_listed_by_status_and_in_pages(
    store: PlanStore, receiver: Receiver
) -> None:
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    for _ in range(5):
        await plan_of(store)
    whole = await made(store, webhook, count=5)
    assert [each.seq for each in whole] == sorted((each.seq for each in whole), reverse=True)
    pages: list[Delivery] = []
    cursor = None
    while True:
        page = await store.list_deliveries(webhook.id, limit=2, cursor=cursor)
        pages += page
        if (cursor := page.next_cursor) is None:
            break
    assert pages == whole
    pending = DeliveryFilter(status=DeliveryStatus.PENDING)
    assert await store.list_deliveries(webhook.id, pending) == whole
    failed = DeliveryFilter(status=DeliveryStatus.FAILED)
    assert await store.list_deliveries(webhook.id, failed) == []
    assert await store.get_delivery(webhook.id, whole[0].id) == whole[0]


async def test_nothing_is_sent_to_this_machine_unless_it_is_allowed(
    database_url: str, receiver: Receiver
) -> None:
    async with opened(database_url, private_webhooks=False) as store:
        webhook = await store.create_webhook(
            WebhookCreate(url=receiver.url.replace("127.0.0.1", "localhost"))
        )
        async with at_work(store):
            await plan_of(store)
            (failed,) = await deliveries_once(store, webhook, tried(1))
        assert failed.error == "the host isn't on the internet: its address is a private one"
        trial = await store.test_webhook(webhook.id)
    assert (trial.is_delivered, trial.response_status) == (False, None)
    assert trial.error == failed.error
    assert receiver.received == []


async def test_the_address_that_was_checked_is_the_one_that_is_connected_to(
    store: PlanStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    async def resolve(host: str, port: int, **_: object) -> list[Any]:
        asked.append(host)
        return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", port))]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", resolve)
    host = f"hooks.invalid:{receiver.port}"
    webhook = await store.create_webhook(WebhookCreate(url=f"http://{host}/a?b=c"))
    assert (await store.test_webhook(webhook.id)).is_delivered
    assert asked == ["hooks.invalid"]
    (received,) = receiver.received
    assert (received.path, received.headers["host"]) == ("/a?b=c", host)
    assert "cookie" not in received.headers


async def test_no_proxy_is_asked(
    store: PlanStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:1")
    webhook = await hook_of(store, receiver)
    assert (await store.test_webhook(webhook.id)).is_delivered


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("http://127.0.0.1:1/", "couldn't be sent"),
        ("https://127.0.0.1:{port}/", "couldn't be sent"),
        ("http://nowhere.invalid/", "can't be resolved"),
        ("http://a..b/", "can't be resolved"),
    ],
)
async def test_what_stands_in_the_way_is_told(
    store: PlanStore, receiver: Receiver, url: str, told: str
) -> None:
    webhook = await store.create_webhook(WebhookCreate(url=url.format(port=receiver.port)))
    trial = await store.test_webhook(webhook.id)
    assert not trial.is_delivered
    assert told in (trial.error or "")


async def test_what_nobody_foresaw_is_a_failure_like_any_other(
    store: PlanStore, receiver: Receiver, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def send(*_: object, **__: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(sending.Sender, "send", send)
    webhook = await hook_of(store, receiver, event_types=["plan.created"])
    async with at_work(store):
        await plan_of(store)
        await deliveries_once(store, webhook, tried(1))


async def test_an_answer_without_end_is_not_read(store: PlanStore) -> None:
    async def drip(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        with suppress(OSError):
            while True:
                writer.write(b"x" * 1_000)
                await writer.drain()
        writer.close()

    server = await asyncio.start_server(drip, "127.0.0.1")
    async with server:
        port = server.sockets[0].getsockname()[1]
        webhook = await store.create_webhook(WebhookCreate(url=f"http://127.0.0.1:{port}/"))
        async with asyncio.timeout(5):
            trial = await store.test_webhook(webhook.id)
    assert trial.is_delivered


async def test_nobody_asks_for_anything_and_the_place_moves_on_all_the_same(
    store: PlanStore, receiver: Receiver, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    webhook = await hook_of(store, receiver)
    await store.delete_webhook(webhook.id)
    with caplog.at_level(logging.DEBUG, "planstore"):
        async with at_work(store):
            await some_work(store)
            last = (await store.list_events())[-1].seq
            await once(lambda: place(database), lambda place: place >= last)
    assert await rows_left(database) == (1, 0)


async def place(database: Database) -> int:
    async with database.connection() as conn:
        return await conn.fetchval("select place from planstore.relays where name = 'webhooks'")
