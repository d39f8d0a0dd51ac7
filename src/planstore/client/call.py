"""What a method of the client sends, and how the answer to it is read."""

from __future__ import annotations

from dataclasses import dataclass, field
from io import BytesIO
from typing import IO, TYPE_CHECKING, Any, Final, Generic, TypeVar

from pydantic import BaseModel, TypeAdapter

from planstore.models.event import Event, EventPage, LoggedEvent
from planstore.models.page import Page

if TYPE_CHECKING:
    from collections.abc import Callable
    from datetime import datetime

    import httpx2


T = TypeVar("T")
M = TypeVar("M", bound=BaseModel)

GET: Final = "GET"


@dataclass(frozen=True, slots=True)
class Call(Generic[T]):
    """One request, and how its answer is read."""

    method: str
    path: str
    """Below the server's URL."""
    read: Callable[[httpx2.Response], T]
    """Makes the answer of a success; what it can't read isn't PlanStore's."""
    body: BaseModel | None = None
    file: bytes | None = None
    """A body that is no JSON of a model, but a file."""
    query: dict[str, Any] = field(default_factory=dict[str, Any])
    """None is left out, and a list is a parameter that is repeated."""
    version: int | None = None
    """The version that the object must have."""
    wait: float = 0.0
    """Seconds that the server may take because it is asked to."""
    is_retried: bool = True
    """Whether it is tried again where it can't be answered now."""
    is_keyed: bool = True
    """Whether it bears an idempotency key where the caller gave none, if it writes."""
    then: Callable[[T], Call[T] | None] | None = None
    """What is to be asked next, of an answer that isn't whole."""

    @property
    def params(self) -> dict[str, Any]:
        """The query as it is sent."""
        return {name: value for name, value in self.query.items() if value is not None}

    @property
    def content(self) -> bytes | None:
        """The body: what was given of it, so that a server that is older may know it all."""
        return self.file or (self.body and self.body.model_dump_json(exclude_unset=True).encode())


@dataclass(frozen=True, slots=True)
class Subscription:
    """A stream of events."""

    path: str
    after: int | None
    query: dict[str, Any]


def one(model: type[M]) -> Callable[[httpx2.Response], M]:
    """Read an object. What a newer server adds to it is passed over."""

    def read(response: httpx2.Response) -> M:
        return model.model_validate_json(response.content, extra="ignore")

    return read


def many(kind: TypeAdapter[list[M]]) -> Callable[[httpx2.Response], list[M]]:
    """Read a list that is whole."""

    def read(response: httpx2.Response) -> list[M]:
        return kind.validate_json(response.content, extra="ignore")

    return read


def page(kind: TypeAdapter[list[M]]) -> Callable[[httpx2.Response], Page[M]]:
    """Read a part of a list, and where it goes on."""

    def read(response: httpx2.Response) -> Page[M]:
        found = Page(many(kind)(response))
        found.next_cursor = _next(response).get("cursor")
        return found

    return read


def file(response: httpx2.Response) -> IO[bytes]:
    """Read a file."""
    return BytesIO(response.content)


def nothing(_response: httpx2.Response) -> None:
    """Read that it is done."""


def event(response: httpx2.Response) -> LoggedEvent:
    """Read one event."""
    return LoggedEvent.encoded(Event.model_validate_json(response.content, extra="ignore"))


def events(response: httpx2.Response) -> EventPage:
    """Read a part of the log, and where it goes on."""
    found = EventPage(LoggedEvent.encoded(each) for each in _EVENTS(response))
    further = _next(response)
    if "after" in further:
        found.next_after = int(further["after"])
        found.next_offset = int(further.get("offset", 0))
    return found


_EVENTS: Final = many(TypeAdapter(list[Event]))


def _next(response: httpx2.Response) -> dict[str, str]:
    """Return the parameters of the next page, by the Link header; none on the last one."""
    link = response.links.get("next")
    return {} if link is None else dict(response.url.join(link["url"]).params)


def asked(found: BaseModel | None) -> dict[str, Any]:
    """Return a filter as a query has it."""
    if found is None:
        return {}
    query = found.model_dump(mode="json", by_alias=True, exclude_none=True)
    if "metadata" in query:
        query["metadata"] = [_JSON.dump_json(each).decode() for each in query["metadata"]]
    return query


_JSON: Final = TypeAdapter(dict[str, Any])


def moment(at: datetime | None) -> str | None:
    """Return a time as a query has it."""
    return None if at is None else at.isoformat()
