"""Server-sent events, read as a browser does: HTML, the living standard, section 9.2."""

from __future__ import annotations

import json
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator

    import httpx2


@dataclass(frozen=True, slots=True)
class Sent:
    """One event."""

    id: int
    event: str
    data: dict[str, Any]


@dataclass(slots=True)
class Reader:
    """A reader who remembers where it was."""

    last_id: str = ""
    events: list[Sent] = field(default_factory=list[Sent])
    comments: list[str] = field(default_factory=list[str])

    @property
    def headers(self) -> dict[str, str]:
        return {"Last-Event-ID": self.last_id} if self.last_id else {}

    def read(self, lines: Iterable[str]) -> Iterator[Sent]:
        """Read events from the lines of a stream."""
        name, data = "", list[str]()
        identifier = self.last_id
        for line in lines:
            if line:
                field, _, value = line.partition(":")
                value = value.removeprefix(" ")
                match field:
                    case "":
                        self.comments.append(value)
                    case "id":
                        identifier = value
                    case "event":
                        name = value
                    case "data":
                        data.append(value)
                    case _:
                        assert field == "retry", line
                continue
            self.last_id = identifier
            if data:
                sent = Sent(int(identifier), name, json.loads("\n".join(data)))
                self.events.append(sent)
                yield sent
            name, data = "", []


@contextmanager
def listening(
    client: httpx2.Client, path: str, reader: Reader | None = None, **params: Any
) -> Generator[Iterator[Sent]]:
    """Open a stream where a reader has left off."""
    reader = reader or Reader()
    with client.stream("GET", path, headers=reader.headers, params=params or None) as response:
        assert response.status_code == 200, response.read()
        assert response.headers["Content-Type"].partition(";")[0] == "text/event-stream"
        yield reader.read(response.iter_lines())
