"""What makes the repetition of a request recognisable."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Idempotency:
    """A key under which the answer to a request is kept for 24 hours."""

    key: str
    """The client's own, 1 to 255 characters."""
    scope: str = ""
    """Caller, method and path: the same key elsewhere is another key."""
    fingerprint: bytes = b""
    """A hash of the body: the same key with another body is refused."""

    @property
    def row(self) -> tuple[str, str, bytes]:
        """What identifies it in the database."""
        return self.scope, self.key, self.fingerprint
