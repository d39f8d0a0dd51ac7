"""A receiver of webhooks on this machine, which answers as it is told to."""

from __future__ import annotations

import contextlib
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

from cloudevents.core.bindings.http import HTTPMessage, from_structured_event
from cloudevents.core.formats.json import JSONFormat
from standardwebhooks import Webhook as Verifier

if TYPE_CHECKING:
    from collections.abc import Generator


@dataclass(frozen=True, slots=True)
class Received:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    def verified(self, secret: str) -> dict[str, Any]:
        """Assert that it is signed with a secret; answers what it says."""
        return Verifier(secret).verify(self.body, self.headers)

    @property
    def id(self) -> str:
        return self.headers["webhook-id"]


@dataclass(slots=True)
class Receiver:
    """What came to a receiver, and how it answers."""

    received: list[Received] = field(default_factory=list[Received])
    status: int = 204
    headers: dict[str, str] = field(default_factory=dict[str, str])
    goes_on: threading.Event = field(default_factory=threading.Event)
    """While it isn't set, nothing is answered."""
    port: int = 0

    def __post_init__(self) -> None:
        self.goes_on.set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/hooks"

    @property
    def ids(self) -> Counter[str]:
        return Counter(each.id for each in self.received)

    @contextlib.contextmanager
    def running(self) -> Generator[Receiver]:
        """Listen until the end of the block; again on the same port, where it has listened."""
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                receiver.received.append(
                    Received(self.path, {k.lower(): v for k, v in self.headers.items()}, body)
                )
                receiver.goes_on.wait()
                with contextlib.suppress(OSError):  # nobody may wait for it any more
                    self.send_response(receiver.status)
                    for name, value in receiver.headers.items():
                        self.send_header(name, value)
                    self.end_headers()

            def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - inherited
                pass

        server = ThreadingHTTPServer(("127.0.0.1", self.port), Handler)
        server.daemon_threads = True
        self.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        try:
            yield self
        finally:
            self.goes_on.set()
            server.shutdown()
            thread.join()
            server.server_close()


def cloud_event_of(received: Received) -> Any:
    """Read a request as a CloudEvent, by the standard's own library."""
    message = HTTPMessage(headers=received.headers, body=received.body)
    return from_structured_event(message, JSONFormat())
