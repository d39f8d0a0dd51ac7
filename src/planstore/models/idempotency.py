"""What makes the repetition of a request recognisable."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from planstore.errors import Fault, InvalidInput
from planstore.models.fields import Record

if TYPE_CHECKING:
    from pydantic import BaseModel


KEY: Final = re.compile(r"^[!-~]{1,255}$")
"""What a key may be."""


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A key under which the answer to a request is kept for 24 hours."""

    key: str
    """The client's own: 1 to 255 visible ASCII characters."""
    caller: str = ""
    """Who asks: the same key of another caller is another key."""

    def __post_init__(self) -> None:
        """Refuse what can't be a key.

        Raises:
            InvalidInput: the key isn't 1 to 255 visible ASCII characters.
        """
        if not KEY.fullmatch(self.key):
            fault = Fault("Idempotency-Key", "it must be 1 to 255 visible ASCII characters")
            raise InvalidInput("The idempotency key can't be used.", faults=(fault,))

    def of(self, verb: str, request: BaseModel) -> RequestKey:
        """Return what stands for doing ``verb`` with ``request`` under this key.

        ``verb`` names the object too where there is one, as in ``update_task 01a2…``.
        """
        content = request.model_dump_json().encode()
        return RequestKey(f"{self.caller} {verb}", self.key, hashlib.sha256(content).digest())


class Nothing(Record):
    """The body of a verb without arguments."""


NOTHING: Final = Nothing()


@dataclass(frozen=True, slots=True)
class RequestKey:
    """A key as the database knows it."""

    scope: str
    """Caller and verb: the same key elsewhere is another key."""
    key: str
    fingerprint: bytes
    """A hash of the request: the same key with another request is refused."""

    @property
    def row(self) -> tuple[str, str, bytes]:
        """What is kept of it."""
        return self.scope, self.key, self.fingerprint
