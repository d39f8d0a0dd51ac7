"""The attempts at one call: which outcome is tried again, when, and what comes of the last one.

It sends nothing by itself, so that the client and its synchronous twin share it.
"""

from __future__ import annotations

import random
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar
from uuid import uuid4

import httpx2
from pydantic import ValidationError

from planstore.client.call import GET
from planstore.errors import IdempotencyInFlight, PlanStoreError, Unavailable
from planstore.models.idempotency import Idempotency
from planstore.models.problem import Problem

if TYPE_CHECKING:
    from planstore.client.access import Access
    from planstore.client.call import Call

T = TypeVar("T")

Outcome = httpx2.Response | httpx2.RequestError
"""What comes of one attempt: a response, or that there was none."""

_PASSING: Final = frozenset({429, 502, 503, 504})
"""The statuses of what may be otherwise soon."""

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
"""Seconds between attempts at most: the first time, and however often it fails."""

_RANDOM: Final = random.SystemRandom()
"""Those who failed together aren't to come back together."""


class Attempts(Generic[T]):
    """The attempts at one call, all under the same idempotency key."""

    def __init__(self, call: Call[T], access: Access, idempotency: Idempotency | None) -> None:
        self._call = call
        self._access = access
        self._is_keyed_by_caller = idempotency is not None
        if idempotency is None and call.method != GET:
            idempotency = Idempotency(str(uuid4()))
        self._key = idempotency.key if idempotency is not None else None
        self._retrying = Retrying(access.retry_for if call.is_retried else 0.0)
        self._outcome: Outcome | None = None

    @property
    def request(self) -> dict[str, Any]:
        """What is sent each time, in the words of httpx2."""
        call = self._call
        headers: dict[str, str] = {}
        if self._key is not None:
            headers["Idempotency-Key"] = self._key
        if call.version is not None:
            headers["If-Match"] = f'"{call.version}"'
        if call.body is not None:
            headers["Content-Type"] = "application/json"
        return {
            "method": call.method,
            "url": call.path,
            "params": {name: value for name, value in call.query.items() if value is not None},
            "content": call.content,
            "headers": headers,
            "timeout": self._access.timeouts(read=self._access.timeout + call.wait),
        }

    def pause_after(self, outcome: Outcome) -> float | None:
        """Return after how many seconds it is to be tried again; None where this is the end."""
        self._outcome = outcome
        return self._retrying.pause_after(outcome)

    def answer(self) -> T:
        """Return what the last attempt has brought.

        Raises:
            PlanStoreError: what the server has answered, or why it hasn't.
        """
        outcome = self._outcome
        assert outcome is not None
        if isinstance(outcome, httpx2.RequestError):
            raise unreachable(outcome, self._access, key=self._key) from outcome
        if not outcome.is_success:
            raise refusal_in(outcome, self._access)
        try:
            return self._call.read(outcome)
        except ValidationError as error:
            raise _foreign(outcome, self._access) from error

    def further(self, answer: T) -> Call[T] | None:
        """Return the call that makes an answer whole.

        There is none under a key of the caller's: what is kept under it was there at once.
        """
        then = self._call.then
        return None if then is None or self._is_keyed_by_caller else then(answer)


@dataclass(slots=True)
class Retrying:
    """For how long something that fails is tried again, and with what pauses."""

    patience: float
    """Seconds from the first failure."""
    _failures: int = 0
    _until: float = 0.0

    def pause_after(self, outcome: Outcome) -> float | None:
        """Return after how many seconds to try again; None where that is of no use any more."""
        if not is_passing(outcome):
            return None
        now = time.monotonic()
        if not self._failures:
            self._until = now + self.patience
        longest = min(_LONGEST_PAUSE, _FIRST_PAUSE * 2.0 ** min(self._failures, 10))
        self._failures += 1
        pause = _asked_for(outcome) + _RANDOM.uniform(0.0, longest)
        return pause if now + pause <= self._until else None


def is_passing(outcome: Outcome) -> bool:
    """Whether it may be otherwise soon."""
    if isinstance(outcome, httpx2.RequestError) or outcome.status_code in _PASSING:
        return True
    return not outcome.is_success and isinstance(_told(outcome), IdempotencyInFlight)


def _asked_for(outcome: Outcome) -> float:
    """Return the seconds for which the server asks not to be asked (RFC 9110, section 10.2.3)."""
    if isinstance(outcome, httpx2.RequestError):
        return 0.0
    text = outcome.headers.get("Retry-After", "").strip()
    if text.isdecimal():
        return float(text)
    try:
        until = parsedate_to_datetime(text)
    except ValueError:
        return 0.0
    return max(0.0, (until.astimezone(UTC) - datetime.now(UTC)).total_seconds())


def _told(response: httpx2.Response) -> PlanStoreError | None:
    """Return the error that a response tells of; None where it isn't one of PlanStore's."""
    try:
        return Problem.model_validate_json(response.content, extra="ignore").error
    except ValidationError:
        return None


def refusal_in(response: httpx2.Response, access: Access) -> PlanStoreError:
    """Return why the server, or what stands before it, didn't do it."""
    told = _told(response)
    if told is not None:
        return told
    if response.status_code in _PASSING:
        return Unavailable(
            f"{access.where} answers {response.status_code}: what stands before the server "
            "doesn't reach it, or there are too many requests; try again in a while"
        )
    return _foreign(response, access)


def _foreign(response: httpx2.Response, access: Access) -> PlanStoreError:
    return PlanStoreError(
        f"{access.where} answers {response.status_code} to {response.request.method} "
        f"{response.request.url.path} with what PlanStore wouldn't: is it the right URL?"
    )


def unreachable(error: httpx2.RequestError, access: Access, *, key: str | None) -> Unavailable:
    """Return the error for a server that doesn't answer."""
    why = str(error) or type(error).__name__
    unknown = (
        ""
        if key is None or isinstance(error, (httpx2.ConnectError, httpx2.ConnectTimeout))
        else f"; whether it was done isn't known: repeat it with the idempotency key {key!r}"
    )
    return Unavailable(f"the server at {access.where} doesn't answer: {why}{unknown}")
