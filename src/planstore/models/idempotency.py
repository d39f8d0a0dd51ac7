"""What makes the repetition of a request recognisable."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import BaseModel


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A key under which the answer to a request is kept for 24 hours."""

    key: str
    """The client's own, 1 to 255 characters."""
    caller: str = ""
    """Who asks: the same key of another caller is another key."""

    def of(self, verb: str, request: BaseModel) -> RequestKey:
        """Return what stands for doing ``verb`` with ``request`` under this key.

        ``verb`` names the object too where there is one, as in ``update_task 01a2…``.
        """
        content = request.model_dump_json().encode()
        return RequestKey(f"{self.caller} {verb}", self.key, hashlib.sha256(content).digest())


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
