"""The forms in which events are published, and how Redis is reached."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import subprocess
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final
from uuid import UUID

import pytest
from cloudevents.core.formats.json import JSONFormat

from planstore.errors import SetupError
from planstore.models.event import MAX_PAYLOAD, LoggedEvent
from planstore.services.publishing import Publisher, Undelivered, message_of
from planstore.sql.relays import Lease
from tests import redis as servers

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator
    from pathlib import Path

    from tests.redis import Valkey

EVENT: Final = LoggedEvent(
    seq=7_000_000_042,
    event_type="task.completed",
    aggregate_type="task",
    aggregate_id=UUID("0198aaaa-0000-7000-8000-00000000000a"),
    plan_id=UUID("0198aaaa-0000-7000-8000-00000000000b"),
    version=3,
    created_at=datetime(2026, 11, 23, 10, 0, 0, 123456, tzinfo=UTC),
    payload='{"status" : "completed", "output_data" : {"n": 1.50, "text": "ä\\u0000"}}',
    metadata='{"revision" : 2}',
)
_ID: Final = "01a207d9-217b-7000-8000-0001a13b862a"
_TASK: Final = "0198aaaa-0000-7000-8000-00000000000a"
_PLAN: Final = "0198aaaa-0000-7000-8000-00000000000b"
_PAYLOAD: Final = EVENT.payload


@pytest.fixture
def valkey() -> Iterator[Valkey]:
    with servers.running() as server:
        yield server


def lease_of(term: int) -> Lease:
    return Lease(UUID(int=1), term, place=0)


@asynccontextmanager
async def publisher(url: str) -> AsyncGenerator[Publisher]:
    publisher = Publisher(url, stream_length=1_000)
    try:
        yield publisher
    finally:
        await publisher.close()


def test_all_are_told_the_type_the_object_and_what_changed() -> None:
    assert message_of(EVENT).brief == (
        f'{{"event_type":"task.completed","aggregate_type":"task","aggregate_id":"{_TASK}",'
        f'"payload":{_PAYLOAD},'
        f'"metadata":{{"event_id":"{_ID}","seq":7000000042,"plan_id":"{_PLAN}","revision" : 2}},'
        '"timestamp":"2026-11-23T10:00:00.123456Z"}'
    )


def test_who_listens_for_one_kind_is_told_the_full_event() -> None:
    assert message_of(EVENT).full == (
        f'{{"id":"{_ID}","event_type":"task.completed","aggregate_type":"task",'
        f'"aggregate_id":"{_TASK}","payload":{_PAYLOAD},"metadata":{{"revision" : 2}},'
        '"version":3,"created_at":"2026-11-23T10:00:00.123456Z"}'
    )


def test_the_stream_has_cloud_events() -> None:
    assert message_of(EVENT).cloud_event == (
        f'{{"specversion":"1.0","id":"{_ID}","source":"/plans/{_PLAN}",'
        f'"type":"planstore.task.completed","subject":"/tasks/{_TASK}",'
        '"time":"2026-11-23T10:00:00.123456Z","datacontenttype":"application/json",'
        f'"seq":"7000000042","planid":"{_PLAN}","objectversion":3,'
        f'"data":{{"payload":{_PAYLOAD},"metadata":{{"revision" : 2}}}}}}'
    )


def test_empty_metadata_and_whole_seconds_are_written_as_json_too() -> None:
    event = EVENT._replace(metadata="{}", created_at=datetime(2026, 11, 23, tzinfo=UTC))
    brief = json.loads(message_of(event).brief)
    assert brief["metadata"] == {"event_id": str(event.id), "seq": event.seq, "plan_id": _PLAN}
    assert brief["timestamp"] == "2026-11-23T00:00:00Z"


def test_a_payload_that_is_too_large_is_a_link_in_all_forms() -> None:
    message = message_of(EVENT._replace(payload=None))
    brief, full, cloud = (
        json.loads(text) for text in (message.brief, message.full, message.cloud_event)
    )
    for each in (brief, full, cloud["data"]):
        assert each["payload"] is None
        assert each["payload_link"] == f"/events/{_ID}"


def test_the_library_of_cloud_events_reads_what_is_written() -> None:
    read = JSONFormat().read(None, message_of(EVENT).cloud_event)
    assert read.get_specversion() == "1.0"
    assert read.get_id() == _ID
    assert read.get_source() == f"/plans/{_PLAN}"
    assert read.get_type() == "planstore.task.completed"
    assert read.get_subject() == f"/tasks/{_TASK}"
    assert read.get_time() == EVENT.created_at
    assert read.get_extension("seq") == str(EVENT.seq)
    assert read.get_extension("planid") == _PLAN
    assert read.get_extension("objectversion") == 3
    data: Any = read.get_data()
    assert data["payload"]["output_data"] == {"n": 1.5, "text": "ä\0"}
    assert data["metadata"] == {"revision": 2}


async def test_many_large_events_go_in_several_calls(valkey: Valkey) -> None:
    large = json.dumps({"text": "x" * (MAX_PAYLOAD - 100)})
    events = [EVENT._replace(seq=seq, payload=large) for seq in range(1, 12)]
    async with publisher(valkey.url) as way:
        await way.publish(events, lease_of(1))
    assert [int(each["seq"]) for each in valkey.events()] == list(range(1, 12))


async def test_what_an_earlier_holder_sends_late_is_refused(valkey: Valkey) -> None:
    async with publisher(valkey.url) as one, publisher(valkey.url) as other:
        await one.publish([EVENT._replace(seq=1)], lease_of(1))
        await other.publish([EVENT._replace(seq=2)], lease_of(2))
        with pytest.raises(Undelivered):
            await one.publish([EVENT._replace(seq=1)], lease_of(1))
        await other.publish([EVENT._replace(seq=3)], lease_of(2))
    assert [each["seq"] for each in valkey.events()] == ["1", "2", "3"]


async def test_relays_of_several_databases_do_not_refuse_each_other(valkey: Valkey) -> None:
    async with publisher(valkey.url) as way:
        await way.publish([EVENT], Lease(UUID(int=1), term=9, place=0))
        await way.publish([EVENT], Lease(UUID(int=2), term=1, place=0))
    assert len(valkey.events()) == 2


async def test_what_was_delivered_before_an_error_is_known(valkey: Valkey) -> None:
    allowed = ["+@all", "~*", "&l01:events", "&events:plan"]
    with valkey.client() as client:
        client.execute_command("ACL", "SETUSER", "narrow", "on", ">told", *allowed)
    url = f"redis://narrow:told@127.0.0.1:{valkey.port}/0"
    plan, task = EVENT._replace(aggregate_type="plan"), EVENT
    async with publisher(url) as way:
        with pytest.raises(Undelivered) as refused:
            await way.publish([plan, plan, task, plan], lease_of(1))
    assert refused.value.delivered == 2
    assert "No permissions to access a channel" in refused.value.why
    assert "told" not in refused.value.why


async def test_a_key_of_another_type_is_an_error_that_publishes_nothing(valkey: Valkey) -> None:
    with valkey.client() as client, client.pubsub() as listener:
        client.set(servers.STREAM, "taken")
        listener.subscribe("l01:events")
        async with publisher(valkey.url) as way:
            with pytest.raises(Undelivered) as refused:
                await way.publish([EVENT], lease_of(1))
        client.publish("l01:events", "end")
        told = [listener.get_message(timeout=5) for _ in range(2)]
    assert "WRONGTYPE" in refused.value.why
    assert [each and each["data"] for each in told] == [1, "end"]


@pytest.mark.parametrize(
    "url",
    [
        "http://user:hidden@localhost/0",
        "redis://user:hidden@localhost:port/0",
        "redis://user:hidden@localhost?no_such_option=1",
        "redis://user:hidden@localhost?max_connections=many",
    ],
)
def test_a_url_that_cannot_be_read_is_refused_without_its_secret(url: str) -> None:
    with pytest.raises(SetupError) as refused:
        Publisher(url, stream_length=1_000)
    assert "PLANSTORE_REDIS_URL" in refused.value.detail
    assert "hidden" not in refused.value.detail


async def test_redis_may_be_reached_by_tls(valkey: Valkey, tmp_path: Path) -> None:
    certificate, key = _certificate(tmp_path)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    async with _in_front_of(valkey, context) as port:
        url = f"rediss://127.0.0.1:{port}/0"
        async with publisher(f"{url}?ssl_ca_certs={certificate}") as way:
            await way.publish([EVENT], lease_of(1))
        async with publisher(url) as distrustful:
            with pytest.raises(Undelivered):
                await distrustful.publish([EVENT], lease_of(1))
    assert len(valkey.events()) == 1


def _certificate(directory: Path) -> tuple[Path, Path]:
    openssl = shutil.which("openssl")
    if openssl is None:
        pytest.skip("there is no openssl")
    certificate, key = directory / "certificate.pem", directory / "key.pem"
    subprocess.run(
        [
            *(openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256"),
            *("-nodes", "-days", "2", "-subj", "/CN=localhost"),
            *("-addext", "subjectAltName=IP:127.0.0.1"),
            *("-keyout", str(key), "-out", str(certificate)),
        ],
        check=True,
        capture_output=True,
    )
    return certificate, key


@asynccontextmanager
async def _in_front_of(valkey: Valkey, context: ssl.SSLContext) -> AsyncGenerator[int]:
    """Take TLS connections and pass on what they say, since the wheel's server has no TLS."""

    async def copy(source: asyncio.StreamReader, target: asyncio.StreamWriter) -> None:
        while data := await source.read(65_536):
            target.write(data)
            await target.drain()
        target.close()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", valkey.port)
        await asyncio.gather(copy(reader, back), copy(there, writer), return_exceptions=True)

    server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context)
    async with server:
        yield server.sockets[0].getsockname()[1]
