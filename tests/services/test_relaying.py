"""Passing the log on to Redis: every event, in order, by one server, whatever goes away."""

from __future__ import annotations

import asyncio
import json
import logging
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import timedelta
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Final, NamedTuple

import pytest
from redis.asyncio import Redis

from planstore.models import TaskStatus
from planstore.models.event import MAX_PAYLOAD
from planstore.services.publishing import Publisher, message_of
from planstore.services.relaying import FLOOD, MOST, NAME, UNDER_FLOOD, Pace, Relay
from planstore.sql import relays, tailing
from tests import redis as servers
from tests.arranging import moved, plan_of, task_of

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable, Iterator

    from planstore.db import Database
    from planstore.models.event import LoggedEvent
    from planstore.services.plan_store import PlanStore
    from tests.redis import Valkey

PATIENCE: Final = 30.0

SECRET: Final = "open-sesame"


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with servers.running() as server:
        yield server


@asynccontextmanager
async def relaying(
    database: Database, url: str, *, stream_length: int = 100_000
) -> AsyncGenerator[Relay]:
    """Pass on what is written in the block, as a server does beside its other work."""
    relay = Relay(database, Publisher(url, stream_length=stream_length))
    await relay.begin()
    running = asyncio.create_task(relay.run())
    try:
        yield relay
    finally:
        running.cancel()
        await asyncio.wait({running})


@asynccontextmanager
async def listening(valkey: Valkey, *channels: str) -> AsyncGenerator[asyncio.Queue[str]]:
    """Subscribe, and have what is told in a queue."""
    told: asyncio.Queue[str] = asyncio.Queue()
    # The library leaves open what its methods take and answer.
    client: Any = Redis(port=valkey.port, decode_responses=True, protocol=2)
    async with client, client.pubsub() as listener:
        await listener.subscribe(*channels)
        for _ in channels:
            await listener.get_message(timeout=PATIENCE)

        async def listen() -> None:
            async for message in listener.listen():
                told.put_nowait(message["data"])

        task = asyncio.create_task(listen())
        try:
            yield told
        finally:
            task.cancel()
            await asyncio.wait({task})


async def logged(database: Database, *, after: int = 0) -> list[LoggedEvent]:
    found: list[LoggedEvent] = []
    async with database.connection() as conn:
        while more := await tailing.after(conn, after, limit=10_000):
            found += more
            after = more[-1].seq
    return found


async def until(is_so: Callable[[], bool]) -> None:
    async with asyncio.timeout(PATIENCE):
        while not is_so():  # noqa: ASYNC110 - what is looked at tells nobody
            await asyncio.sleep(0.01)  # between two looks; nothing is ordered by it


async def relayed(database: Database, valkey: Valkey) -> list[int]:
    """Wait until the stream has all that is logged; answers the numbers in it, in its order."""
    last = (await logged(database))[-1].seq
    await until(lambda: last in (seqs_in(valkey) or [0]))
    return seqs_in(valkey)


def seqs_in(valkey: Valkey) -> list[int]:
    return [int(event["seq"]) for event in valkey.events()]


def seqs(events: list[LoggedEvent]) -> list[int]:
    return [event.seq for event in events]


async def some_work(store: PlanStore, *, tasks: int = 3) -> None:
    plan = await plan_of(store)
    for _ in range(tasks):
        await moved(store, await task_of(store, plan), TaskStatus.COMPLETED, output_data={"n": 1})


async def test_each_event_is_told_to_all_and_to_who_listens_for_its_kind(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with (
        listening(valkey, "l01:events") as everybody,
        listening(valkey, "events:plan") as plans,
        listening(valkey, "events:task") as tasks,
        relaying(database, valkey.url),
    ):
        await some_work(store)
        assert await relayed(database, valkey)
        events = await logged(database)
        messages = [message_of(event) for event in events]
        for message in messages:
            assert await asyncio.wait_for(everybody.get(), PATIENCE) == message.brief
            kind = plans if message.aggregate_type == "plan" else tasks
            assert await asyncio.wait_for(kind.get(), PATIENCE) == message.full
    assert {message.aggregate_type for message in messages} == {"plan", "task"}
    assert valkey.events() == [json.loads(message.cloud_event) for message in messages]


async def test_the_forms_have_the_members_that_neighbours_read(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with (
        listening(valkey, "l01:events") as everybody,
        listening(valkey, "events:plan") as plans,
        relaying(database, valkey.url),
    ):
        plan = await plan_of(store)
        brief = json.loads(await asyncio.wait_for(everybody.get(), PATIENCE))
        full = json.loads(await asyncio.wait_for(plans.get(), PATIENCE))
    assert list(brief) == [
        *("event_type", "aggregate_type", "aggregate_id", "payload", "metadata", "timestamp")
    ]
    assert list(full) == [
        *("id", "event_type", "aggregate_type", "aggregate_id"),
        *("payload", "metadata", "version", "created_at"),
    ]
    assert full["aggregate_id"] == brief["aggregate_id"] == str(plan.id)
    assert full["payload"] == brief["payload"]
    assert full["id"] == brief["metadata"]["event_id"]


async def test_events_are_passed_on_in_their_order_though_many_write(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with relaying(database, valkey.url):
        await asyncio.gather(*(some_work(store, tasks=10) for _ in range(8)))
        assert await relayed(database, valkey) == seqs(await logged(database))


async def test_a_first_relay_begins_at_the_end_and_a_later_one_where_it_stopped(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    await some_work(store)
    before = len(await logged(database))
    async with relaying(database, valkey.url):
        await some_work(store)
        await relayed(database, valkey)
    await some_work(store)
    async with relaying(database, valkey.url):
        await some_work(store)
        assert await relayed(database, valkey) == seqs((await logged(database))[before:])


async def test_what_happens_while_redis_is_away_is_passed_on_when_it_is_back(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with relaying(database, valkey.url) as relay:
        await some_work(store)
        await relayed(database, valkey)
        valkey.kill()
        await some_work(store)
        await until(lambda: relay.status.failures > 0)
        assert not relay.status.is_connected
        await some_work(store)
        valkey.start()
        await some_work(store)
        assert_complete(await relayed(database, valkey), await logged(database))
        assert relay.status.is_connected


async def test_nothing_is_lost_though_redis_is_killed_again_and_again(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with relaying(database, valkey.url):
        for _ in range(5):
            work = asyncio.gather(*(some_work(store, tasks=15) for _ in range(4)))
            first = (await logged(database) or [None])[-1]
            after = first.seq if first else 0
            await until(lambda after=after: any(seq > after for seq in seqs_in(valkey)))
            valkey.kill()
            await work
            valkey.start()
        assert_complete(await relayed(database, valkey), await logged(database))


def assert_complete(told: list[int], events: list[LoggedEvent]) -> None:
    """Assert that each event was told; some again, but never one before what comes before it."""
    firsts = list(dict.fromkeys(told))
    assert firsts == seqs(events)
    for one, other in pairwise(told):
        # It goes on with the next one, or begins again with what it isn't sure of.
        assert other <= one or firsts.index(other) == firsts.index(one) + 1


class Refusal(NamedTuple):
    """What makes Redis refuse, what mends it, and a word of its error."""

    break_it: str
    mend_it: str
    told: str


@pytest.mark.parametrize(
    "refusal",
    [
        Refusal("CONFIG SET maxmemory 1", "CONFIG SET maxmemory 0", "maxmemory"),
        Refusal("REPLICAOF 127.0.0.1 1", "REPLICAOF NO ONE", "read only replica"),
        Refusal("ACL SETUSER default -eval", "ACL SETUSER default +eval", "permissions"),
    ],
    ids=["out of memory", "read-only", "no permission"],
)
async def test_what_redis_refuses_is_told_once_and_waits(
    store: PlanStore,
    database: Database,
    valkey: Valkey,
    caplog: pytest.LogCaptureFixture,
    refusal: Refusal,
) -> None:
    with valkey.client() as client, caplog.at_level(logging.INFO, "planstore"):
        async with relaying(database, valkey.url) as relay:
            await until(lambda: relay.status.is_connected)
            client.execute_command(*refusal.break_it.split())
            await some_work(store)
            await until(lambda: relay.status.failures >= 3)
            client.execute_command(*refusal.mend_it.split())
            assert await relayed(database, valkey) == seqs(await logged(database))
    warnings = [each.getMessage() for each in caplog.records if each.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert refusal.told in warnings[0]
    assert str(valkey.port) in warnings[0]


async def test_a_wrong_password_is_told_without_it_and_events_wait(
    store: PlanStore, database: Database, caplog: pytest.LogCaptureFixture
) -> None:
    with servers.running(password="another") as valkey:
        async with relaying(database, valkey.url_with(SECRET)) as relay:
            await some_work(store)
            await until(lambda: relay.status.failures >= 2)
            with valkey.client() as client:
                client.config_set("requirepass", SECRET)
            valkey.password = SECRET
            assert await relayed(database, valkey) == seqs(await logged(database))
    (warning,) = (each.getMessage() for each in caplog.records if each.levelno == logging.WARNING)
    assert str(valkey.port) in warning
    assert SECRET not in caplog.text
    assert "Traceback" not in caplog.text


async def test_of_several_servers_one_passes_each_event_on(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with relaying(database, valkey.url) as one, relaying(database, valkey.url) as other:
        await some_work(store)
        assert await relayed(database, valkey) == seqs(await logged(database))
        assert one.status.is_at_work != other.status.is_at_work
        assert 0 in (one.status.relayed, other.status.relayed)


async def test_when_one_stops_another_goes_on(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with AsyncExitStack() as first, AsyncExitStack() as second:
        one = await first.enter_async_context(relaying(database, valkey.url))
        await until(lambda: one.status.is_at_work)
        other = await second.enter_async_context(relaying(database, valkey.url))
        await some_work(store)
        await relayed(database, valkey)
        assert not other.status.is_at_work
        await first.aclose()
        await some_work(store)
        await until(lambda: other.status.is_at_work)
        assert_complete(await relayed(database, valkey), await logged(database))


async def test_the_place_of_one_that_died_is_taken_once_its_lease_is_over(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    await begin(database)
    await take(database)
    await some_work(store)
    async with relaying(database, valkey.url) as relay:
        await until(lambda: relay.status.is_at_work)
        assert await relayed(database, valkey) == seqs(await logged(database))


async def begin(database: Database) -> None:
    async with database.connection() as conn:
        await relays.begin(conn, NAME)


async def take(database: Database, *, seconds: float = 1) -> relays.Lease:
    """Take the lease, as a server does that is never heard of again."""
    async with database.connection() as conn:
        lease = await relays.take(conn, NAME, holder="dead", lease=timedelta(seconds=seconds))
    assert lease is not None
    return lease


async def lapse(database: Database) -> None:
    """Let the lease be over, as if its holder had slept."""
    async with database.connection() as conn:
        await conn.execute(
            "update planstore.relays set lease_expires_at = now() - interval '1 s' where name = $1",
            NAME,
        )


async def test_one_that_slept_while_another_took_its_place_stops(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with relaying(database, valkey.url) as relay:
        await until(lambda: relay.status.is_at_work)
        await lapse(database)
        await take(database, seconds=600)
        await some_work(store)
        await until(lambda: not relay.status.is_at_work)
        at_rest = len(valkey.events())
        await some_work(store)
        # It looks once a second whether the place is free.
        await asyncio.sleep(1.5)
        assert len(valkey.events()) == at_rest
        async with database.connection() as conn:
            place = await conn.fetchval("select place from planstore.relays")
        assert place == 0


async def test_each_holder_has_a_higher_term_than_all_before(database: Database) -> None:
    await begin(database)
    terms = [(await take(database, seconds=0)).term for _ in range(5)]
    assert terms == sorted(set(terms))


async def test_a_place_is_kept_by_its_holder_alone(database: Database) -> None:
    await begin(database)
    earlier, later = await take(database, seconds=0), await take(database)
    async with database.connection() as conn:
        for lease, is_kept in ((earlier, False), (later, True)):
            kept = await relays.keep(
                conn, NAME, term=lease.term, place=lease.term, lease=timedelta(seconds=1)
            )
            assert kept is is_kept
        await relays.release(conn, NAME, term=earlier.term, place=earlier.term)
        assert await relays.take(conn, NAME, holder="x", lease=timedelta(seconds=1)) is None
        assert await conn.fetchval("select place from planstore.relays") == later.term


async def test_the_stream_is_kept_short(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with relaying(database, valkey.url, stream_length=100):
        await some_work(store, tasks=150)
        told = await relayed(database, valkey)
    events = seqs(await logged(database))
    assert len(events) > 400
    assert 100 <= len(told) < 300
    assert told == events[-len(told) :]


async def test_a_payload_that_is_too_large_is_a_link(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with relaying(database, valkey.url):
        await plan_of(store, metadata={"text": "x" * MAX_PAYLOAD})
        await relayed(database, valkey)
    (event,) = valkey.events()
    assert event["data"]["payload"] is None
    assert event["data"]["payload_link"] == f"/events/{event['id']}"


async def test_how_far_redis_is_behind_is_known_to_every_server(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    idle = Relay(database, Publisher(valkey.url, stream_length=1_000))
    assert await idle.lag() == (0, 0)
    await idle.begin()
    assert await idle.lag() == (0, 0)
    await some_work(store)
    behind = await idle.lag()
    assert behind.events == len(await logged(database))
    assert behind.seconds > 0
    async with relaying(database, valkey.url):
        await relayed(database, valkey)
        async with asyncio.timeout(PATIENCE):
            while (lag := await idle.lag()).events:  # noqa: ASYNC110 - as above
                await asyncio.sleep(0.01)  # the place is noted after Redis has answered
        assert lag.seconds == 0


async def test_the_log_is_kept_for_a_relay_unless_nobody_has_carried_it_on_for_long(
    store: PlanStore, database: Database
) -> None:
    async with database.connection() as conn:
        assert await relays.lowest_place(conn) is None
        await relays.begin(conn, NAME)
        await some_work(store)
        assert await relays.lowest_place(conn) == 0
        await conn.execute(
            "update planstore.relays set lease_expires_at = lease_expires_at - $1::interval",
            relays.LOST_AFTER,
        )
        assert await relays.lowest_place(conn) is None


async def test_many_large_events_are_passed_on(
    store: PlanStore, database: Database, valkey: Valkey
) -> None:
    async with relaying(database, valkey.url) as relay:
        for _ in range(60):
            await plan_of(store, metadata={"text": "x" * (MAX_PAYLOAD - 10_000)})
        assert await relayed(database, valkey) == seqs(await logged(database))
        assert relay.status.relayed == 60


def test_who_writes_very_many_events_has_the_machine_first() -> None:
    pace = Pace()
    found = [pace.per_second]
    last, now = 1_000, 50.0
    for coming in (0, FLOOD - 10, FLOOD + 10, FLOOD + 10, FLOOD - 10):
        assert pace.is_due(now)
        pace.gauge(last := last + coming, now)
        found.append(pace.per_second)
        assert not pace.is_due(now + 0.1)
        now += 1
    assert found == [MOST, MOST, MOST, UNDER_FLOOD, UNDER_FLOOD, MOST]


def test_a_backlog_that_is_found_is_no_flood() -> None:
    pace = Pace()
    pace.gauge(10_000_000, 50.0)
    pace.gauge(10_000_000, 50.2)
    assert pace.per_second == MOST
