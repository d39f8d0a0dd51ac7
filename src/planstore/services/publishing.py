"""Events to Redis: pub/sub for who listens now, a stream for who comes back later."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from redis.asyncio.connection import Connection, parse_url
from redis.exceptions import RedisError

from planstore.errors import SetupError
from planstore.models.cloudevent import cloud_event, texts_of

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from redis.asyncio.connection import AbstractConnection

    from planstore.models.event import LoggedEvent
    from planstore.sql.relays import Lease

STREAM: Final = "planstore:events"
"""The stream; each entry has the field `event`, a CloudEvent."""

CHANNEL: Final = "l01:events"
"""The channel of all events. There is another one for each kind of object, `events:task` say."""

_TERM: Final = "planstore:relay:"
"""The beginning of the key that holds who may publish; the relay's id follows."""

_CONNECT_PATIENCE: Final = 2.0
_ANSWER_PATIENCE: Final = 5.0

_MOST_AT_ONCE: Final = 1024 * 1024
"""Characters after which a call to Redis takes no further event."""

# All of a call goes to Redis and back once, and is one command to either side: as single commands
# the same takes twelve times the time to send, and eight times to take the answers. Who has read
# an earlier term than was seen before is refused: it slept, and another one has gone on from its
# place. An error ends the call, and the number of events before it is answered.
_PUBLISH: Final = """
local term = redis.call('GET', KEYS[2])
if term and tonumber(term) > tonumber(ARGV[1]) then
  return {0, 'another server has gone on'}
end
redis.call('SET', KEYS[2], ARGV[1], 'EX', 86400)
local done = 0
for i = 3, #ARGV, 4 do
  local answer = redis.pcall('XADD', KEYS[1], 'MAXLEN', '~', ARGV[2], '*', 'event', ARGV[i + 3])
  if type(answer) == 'table' then return {done, answer.err} end
  answer = redis.pcall('PUBLISH', 'l01:events', ARGV[i + 1])
  if type(answer) == 'table' then return {done, answer.err} end
  answer = redis.pcall('PUBLISH', 'events:' .. ARGV[i], ARGV[i + 2])
  if type(answer) == 'table' then return {done, answer.err} end
  done = done + 1
end
return {done}
"""


class Undelivered(Exception):  # no PlanStoreError: no caller ever sees it
    """Redis couldn't be reached, or refused: what wasn't delivered is to be sent again."""

    def __init__(self, why: str, *, delivered: int = 0) -> None:
        super().__init__(why)
        self.why = why
        """Without secrets and payloads."""
        self.delivered = delivered
        """How many of the events are known to be delivered."""


class Message(NamedTuple):
    """An event in its three forms, each a JSON text."""

    aggregate_type: str
    brief: str
    """For the channel of all events."""
    full: str
    """For the channel of the kind of object."""
    cloud_event: str
    """For the stream."""

    @property
    def size(self) -> int:
        """How many characters it takes to send."""
        return len(self.brief) + len(self.full) + len(self.cloud_event)


def message_of(event: LoggedEvent) -> Message:
    """Write an event in the forms that neighbouring services read."""
    texts = texts_of(event)
    named = (
        f'"event_type":"{event.event_type}","aggregate_type":"{event.aggregate_type}",'
        f'"aggregate_id":"{texts.aggregate_id}",{texts.payload},"metadata":'
    )
    # The brief form has no member for what tells a repeat from something new.
    told = f'{{"event_id":"{texts.id}","seq":{event.seq},"plan_id":"{texts.plan_id}"'
    rest = "}" if event.metadata == "{}" else f",{event.metadata[1:]}"
    return Message(
        event.aggregate_type,
        f'{{{named}{told}{rest},"timestamp":"{texts.time}"}}',
        f'{{"id":"{texts.id}",{named}{event.metadata},'
        f'"version":{event.version},"created_at":"{texts.time}"}}',
        cloud_event(event, texts),
    )


class Publisher:
    """A way to one Redis. It connects when it has something to send."""

    def __init__(self, url: str, *, stream_length: int) -> None:
        """Take a URL such as ``redis://user:password@host:6379/0``.

        ``stream_length``: about how many events the stream keeps.

        Raises:
            SetupError: the URL can't be read.
        """
        self._stream_length = stream_length
        try:
            options: dict[str, Any] = {**parse_url(url)}  # they depend on the URL
            connect: Callable[..., AbstractConnection] = options.pop("connection_class", Connection)
            self._connection = connect(
                **{
                    "protocol": 2,
                    "socket_connect_timeout": _CONNECT_PATIENCE,
                    "socket_timeout": _ANSWER_PATIENCE,
                    **options,
                }
            )
        except (TypeError, ValueError, RedisError):
            raise SetupError(
                "PLANSTORE_REDIS_URL can't be read: it has the form "
                "redis://user:password@host:6379/0, or rediss:// for TLS."
            ) from None
        place = f"{options.get('host', 'localhost')}:{options.get('port', 6379)}"
        self.where: str = options.get("path", place)
        """Which Redis it is, without any secret."""

    async def check(self) -> None:
        """Ask whether Redis is there and lets us in.

        Raises:
            Undelivered: it isn't, or doesn't.
        """
        await self._ask("PING")

    async def publish(self, events: Sequence[LoggedEvent], lease: Lease) -> None:
        """Publish events in order, and append them to the stream.

        Raises:
            Undelivered: some were not; those before them were.
        """
        delivered = 0
        for bundle in _bundles(events):
            arguments = [part for message in bundle for part in message]
            try:
                answer = cast(
                    "list[Any]",  # as the script has it
                    await self._ask(
                        *("EVAL", _PUBLISH, "2", STREAM, f"{_TERM}{lease.id}"),
                        *(f"{lease.term}", f"{self._stream_length}", *arguments),
                    ),
                )
            except Undelivered as error:
                raise Undelivered(error.why, delivered=delivered) from error
            delivered += answer[0]
            if len(answer) > 1:
                raise Undelivered(self._refusal(answer[1].decode()), delivered=delivered)

    async def close(self) -> None:
        """Close the connection."""
        await self._connection.disconnect(nowait=True)

    async def _ask(self, *command: str) -> object:
        try:
            await self._connection.connect()
            await self._connection.send_packed_command(_packed(command))
            return cast("object", await self._connection.read_response())
        except (OSError, RedisError) as error:
            raise Undelivered(self._refusal(str(error))) from error

    def _refusal(self, why: str) -> str:
        return f"Redis at {self.where}: {_SCRIPT_NAME.sub('', why)[:_MOST_TOLD]}"


def _packed(command: Sequence[str]) -> bytes:
    """Write a command as Redis reads it.

    https://redis.io/docs/latest/develop/reference/protocol-spec/

    The library's own way takes three times as long, which is as much as all else about an event.
    """
    parts = [part.encode() for part in command]
    return b"*%d\r\n%b" % (len(parts), b"".join([b"$%d\r\n%b\r\n" % (len(p), p) for p in parts]))


_MOST_TOLD: Final = 200
"""Characters of an error of Redis: it may show the beginning of what was sent."""

_SCRIPT_NAME: Final = re.compile(r" script: [0-9a-f]{40}.*", re.DOTALL)
"""What Redis adds to errors in scripts, which says nothing to anybody."""


def _bundles(events: Sequence[LoggedEvent]) -> Iterator[list[Message]]:
    """Yield the messages of events in bundles that one call takes."""
    bundle: list[Message] = []
    size = 0
    for event in events:
        message = message_of(event)
        bundle.append(message)
        size += message.size
        if size >= _MOST_AT_ONCE:
            yield bundle
            bundle, size = [], 0
    if bundle:
        yield bundle
