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
from planstore.errors import (
    IdempotencyInFlight,
    MethodNotAllowed,
    PlanStoreError,
    Unavailable,
)
from planstore.models.idempotency import Idempotency
from planstore.models.problem import Problem

if TYPE_CHECKING:
    from planstore.client.access import Access
    from planstore.client.call import Call

T = TypeVar("T")

Outcome = httpx2.Response | httpx2.RequestError
"""What comes of one attempt: a response, or that there was none."""

_TOO_MANY: Final = 429
_PASSING: Final = frozenset({_TOO_MANY, 502, 503, 504})
"""The statuses of what may be otherwise soon."""

_NOT_SENT: Final = (httpx2.ConnectError, httpx2.ConnectTimeout, httpx2.PoolTimeout)
"""Failures before anything has reached the server."""

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
        if idempotency is None and call.method != GET and call.is_keyed:
            idempotency = Idempotency(str(uuid4()))
        self._key = idempotency.key if idempotency is not None else None
        self._retrying = Retrying(access.retry_for if call.is_retried else 0.0)
        self._outcome: Outcome | None = None
        self._may_be_done = False

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
            "params": call.params,
            "content": call.content,
            "headers": headers,
            "timeout": self._access.timeouts(read=self._access.timeout + call.wait),
        }

    def pause_after(self, outcome: Outcome) -> float | None:
        """Return after how many seconds it is to be tried again; None where this is the end."""
        self._outcome = outcome
        self._may_be_done |= _may_be_done(outcome)
        return self._retrying.pause_after(outcome)

    def answer(self) -> T:
        """Return what the last attempt has brought.

        Raises:
            PlanStoreError: what the server has answered, or why it hasn't.
        """
        outcome = self._outcome
        assert outcome is not None
        if isinstance(outcome, httpx2.RequestError) or not outcome.is_success:
            unknown = self._key if self._may_be_done else None
            raise refusal_in(outcome, self._access, unknown=unknown)
        try:
            return self._call.read(outcome)
        except ValidationError as error:
            raise foreign(outcome, self._access) from error

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
        return pause if now + pause < self._until else None


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


def _may_be_done(outcome: Outcome) -> bool:
    """Whether what was asked may have been done though it wasn't answered."""
    if isinstance(outcome, httpx2.RequestError):
        return not isinstance(outcome, _NOT_SENT)
    return outcome.status_code in _PASSING and outcome.status_code != _TOO_MANY


def _told(response: httpx2.Response) -> PlanStoreError | None:
    """Return the error that a response tells of; None where it isn't one of PlanStore's."""
    try:
        error = Problem.model_validate_json(response.content, extra="ignore").error
    except ValidationError:
        return None
    if isinstance(error, MethodNotAllowed):
        error.allowed = response.headers.get("Allow", "")
    return error


def refusal_in(outcome: Outcome, access: Access, *, unknown: str | None = None) -> PlanStoreError:
    """Return why it wasn't done, as the server or what stands before it says it.

    ``unknown``: the key under which it may have been done all the same.
    """
    if isinstance(outcome, httpx2.RequestError):
        why = f"doesn't answer: {str(outcome) or type(outcome).__name__}"
    elif (told := _told(outcome)) is not None:
        return told
    elif outcome.status_code in _PASSING:
        why = f"can't be reached now: what stands before it answers {outcome.status_code}"
    else:
        return foreign(outcome, access)
    then = (
        ""
        if unknown is None
        else f"; whether it was done isn't known: repeat it with the idempotency key {unknown!r}"
    )
    return Unavailable(f"the server at {access.where} {why}{then}")


def foreign(response: httpx2.Response, access: Access) -> PlanStoreError:
    """Return that what answers isn't PlanStore."""
    return PlanStoreError(
        f"{access.where} answers {response.status_code} to {response.request.method} "
        f"{response.request.url.path} with what PlanStore wouldn't: is it the right URL?"
    )
