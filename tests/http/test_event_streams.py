"""Streams across servers that end, are killed and begin again, and readers that can't keep up."""

from __future__ import annotations

import asyncio
import signal
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import islice
from typing import TYPE_CHECKING, Final

import httpx2
import pytest

from tests.http.sent import Reader, listening
from tests.http.wire import new_plan, new_task
from tests.served import PATIENCE, database_of, serving
from tests.writers import writing

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.conftest import Postgres
    from tests.served import Served


@pytest.fixture
def url(postgres: Postgres) -> Iterator[str]:
    with database_of(postgres) as url:
        yield url


@pytest.fixture
def stack() -> Iterator[ExitStack]:
    with ExitStack() as stack:
        yield stack


_MANY: Final = 60


def _logged(client: httpx2.Client) -> list[int]:
    """The numbers of all events."""
    response = client.get("/events/?limit=1000")
    numbers = [event["seq"] for event in response.json()]
    while (link := response.links.get("next")) is not None:
        response = client.get(link["url"])
        numbers += [event["seq"] for event in response.json()]
    return numbers


def _read_on(
    reader: Reader, servers: list[Served], until: threading.Event, last: list[int]
) -> None:
    """Read at whichever server answers, until all up to the last event was read."""
    turn = 0
    while not (until.is_set() and reader.events and reader.events[-1].id >= last[0]):
        turn += 1
        try:
            with (
                servers[turn % len(servers)].client() as client,
                listening(client, "/events/stream", reader, after=0) as sent,
            ):
                for each in sent:
                    if until.is_set() and each.id >= last[0]:
                        return
                    if each.id % 13 == 0:
                        break  # it leaves by itself, too
        except httpx2.TransportError:
            time.sleep(0.05)  # until a server is there


def test_a_reader_gets_each_event_once_though_its_servers_are_killed(
    url: str, stack: ExitStack
) -> None:
    servers = [stack.enter_context(serving(PLANSTORE_DATABASE_URL=url)) for _ in range(2)]
    writer = stack.enter_context(serving(PLANSTORE_DATABASE_URL=url))
    client = stack.enter_context(writer.client())
    pool = stack.enter_context(ThreadPoolExecutor(3))
    done, last = threading.Event(), [0]
    readers = [Reader() for _ in range(3)]
    reading = [pool.submit(_read_on, each, servers, done, last) for each in readers]
    for number in range(_MANY):
        plan = new_plan(client, status="active")
        new_task(client, plan)
        if number % 20 == 10:
            place = number // 20 % 2
            servers[place].end(signal.SIGKILL)
            servers[place] = stack.enter_context(serving(PLANSTORE_DATABASE_URL=url))
    last[0] = _logged(client)[-1]
    done.set()
    new_plan(client)  # so that who was told of the last one already reads on
    for each in reading:
        each.result(PATIENCE)

    every = _logged(client)
    for reader in readers:
        numbers = [sent.id for sent in reader.events]
        assert numbers == every[: len(numbers)]
        assert len(numbers) >= 3 * _MANY


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGINT])
def test_the_end_of_a_server_ends_its_streams_at_once_and_they_go_on_elsewhere(
    url: str, stack: ExitStack, how: signal.Signals
) -> None:
    ending, staying = (stack.enter_context(serving(PLANSTORE_DATABASE_URL=url)) for _ in range(2))
    client = stack.enter_context(staying.client())
    plan = new_plan(client)
    reader = Reader()
    with (
        ending.client() as other,
        listening(other, "/events/stream", reader, after=0) as sent,
        listening(other, f"/plans/{plan['id']}/events/stream", after=0) as of_plan,
    ):
        next(sent)
        next(of_plan)
        told = time.monotonic()
        assert ending.end(how) == 0
        assert time.monotonic() - told < 2
        # To its end, as HTTP has it: else this would raise.
        assert list(sent) == []
        assert list(of_plan) == []
    assert "Traceback" not in ending.log.read_text()
    new_task(client, plan)
    with listening(client, "/events/stream", reader) as sent:
        assert [each.event for each in islice(sent, 2)] == ["task.created", "plan.revised"]


def test_a_reader_who_cant_keep_up_is_cut_off_and_can_go_on(url: str, stack: ExitStack) -> None:
    served = stack.enter_context(serving(PLANSTORE_DATABASE_URL=url))
    client = stack.enter_context(served.client())
    plan = new_plan(client)
    reader, quick = Reader(), Reader()
    path = f"/plans/{plan['id']}/events/stream"
    with (
        listening(client, path, reader, after=0) as slow,
        listening(client, path, quick, after=0) as sent,
    ):
        next(slow)
        next(sent)
        for number in range(150):
            metadata = {"number": number, "text": "x" * 200_000}
            assert client.patch(f"/plans/{plan['id']}", json={"metadata": metadata}).is_success
            next(sent)
        before = len(reader.events)
        list(slow)
    assert before < len(reader.events) < 150
    assert any("too slow" in comment for comment in reader.comments)
    assert not any("too slow" in comment for comment in quick.comments)
    with listening(client, path, reader) as slow:
        while len(reader.events) < 151:
            next(slow)
    assert reader.events == quick.events
    assert "Traceback" not in served.log.read_text()


def test_a_stream_waits_for_who_writes_for_long_and_skips_nothing(
    url: str, stack: ExitStack
) -> None:
    servers = [stack.enter_context(serving(PLANSTORE_DATABASE_URL=url)) for _ in range(2)]
    clients = [stack.enter_context(served.client()) for served in servers]
    new_plan(clients[0])
    streams = [
        stack.enter_context(listening(client, "/events/stream", after=0)) for client in clients
    ]
    for sent in streams:
        assert next(sent).event == "plan.created"

    async def interleave() -> list[int]:
        async with writing(url, 2) as (slow, fast):
            committed: list[int] = []
            for number in range(30):
                await slow.write(2)
                await fast.write(1)
                committed += await fast.end()
                if number % 7 == 6:
                    committed += await slow.end(commit=number % 2 == 0)
            committed += await slow.end()
            return sorted(committed)

    committed = asyncio.run(interleave())
    for sent in streams:
        assert [each.id for each in islice(sent, len(committed))] == committed
