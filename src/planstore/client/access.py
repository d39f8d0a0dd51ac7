"""Where the server is, who asks it, and for how long."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Any, Final, Self

import httpx2

from planstore.errors import Fault, InvalidInput

_KEY: Final = re.compile(r"[!-~]+")
_CONNECTING: Final = 5.0
"""Seconds that a connection may take."""

_KEPT_OPEN: Final = 4.0
"""Seconds for which a connection that isn't used is kept: the server closes it after 5."""

_UNUSED: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
"""Where there is no TLS: loading certificates takes longer than all else about opening a client."""


@dataclass(frozen=True, slots=True)
class Access:
    """Where the server is, who asks it, and for how long."""

    url: httpx2.URL
    api_key: str | None = field(repr=False)
    timeout: float
    """Seconds that an answer may take, beside what it is to wait for."""
    retry_for: float
    """Seconds from its first failure for which a call is tried again."""
    pool_size: int
    """Connections at most."""

    @classmethod
    def to(
        cls, url: str, *, api_key: str | None, timeout: float, retry_for: float, pool_size: int
    ) -> Self:
        """Return the access to a server.

        Raises:
            InvalidInput: the URL or the API key can't be one.
        """
        faults: list[Fault] = []
        try:
            parsed = httpx2.URL(url)
        except httpx2.InvalidURL:
            parsed = httpx2.URL("")
        if parsed.scheme not in {"http", "https"} or not parsed.host:
            faults.append(Fault("url", "it isn't one such as http://localhost:8011"))
        elif parsed.userinfo:
            faults.append(Fault("url", "it holds a user or a password; pass the key as api_key"))
        if api_key is not None and not _KEY.fullmatch(api_key):
            faults.append(Fault("api_key", "it must be visible ASCII characters"))
        if faults:
            details = "; ".join(f"{each.pointer}: {each.detail}" for each in faults)
            raise InvalidInput(f"The server can't be asked: {details}", faults=tuple(faults))
        return cls(parsed, api_key, timeout, retry_for, pool_size)

    @property
    def where(self) -> str:
        """Which server it is."""
        return str(self.url).rstrip("/")

    @property
    def options(self) -> dict[str, Any]:
        """What a client of httpx2 is opened with."""
        headers = {"User-Agent": "planstore-client", "Accept": "application/json"}
        if self.api_key is not None:
            # Rather than X-API-Key: what prints requests knows that this one is secret.
            headers["Authorization"] = f"Bearer {self.api_key}"
        return {
            "base_url": self.url,
            "headers": headers,
            "verify": self.url.scheme == "https" or _UNUSED,
            "limits": httpx2.Limits(
                max_connections=self.pool_size,
                max_keepalive_connections=self.pool_size,
                keepalive_expiry=_KEPT_OPEN,
            ),
        }

    def timeouts(self, *, read: float) -> httpx2.Timeout:
        """Return for how long is waited, with ``read`` seconds for what is to come."""
        return httpx2.Timeout(self.timeout, connect=min(self.timeout, _CONNECTING), read=read)
