"""Who may come in: what stands before every route."""

from __future__ import annotations

import hashlib
import hmac
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from planstore.errors import CrossSite, PlanStoreError, Unauthorized
from planstore.routers.problems import problem_response

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Receive, Scope, Send

OPEN_PATHS: Final = frozenset(
    {"/health", "/health/live", "/health/ready", "/livez", "/readyz"},
)
"""What a probe may ask without a key."""

_READING: Final = frozenset({"GET", "HEAD"})


@dataclass(frozen=True, slots=True)
class Admission:
    """Whom a server lets in."""

    api_key: str | None = None
    """The key that each request must bear; None: none is asked for."""
    allowed_origins: frozenset[str] = frozenset()
    """Origins from which browsers may send requests, such as ``https://board.example``."""
    allowed_hosts: frozenset[str] | None = None
    """Host names, without port, under which the server may be addressed; None: any. A server
    that trusts its whole machine must know its own names: a foreign page may have its host name
    resolve to a loopback address, and is then at home there as far as its browser can tell."""


class Gate:
    """Refuses requests of foreign sites, under foreign names, and without the key.

    The Content-Type says nothing about a body here, so a page of a foreign site could have a
    browser send a form that is a request. Browsers mark such requests: by Fetch Metadata
    (``Sec-Fetch-Site``), and those that don't send it by ``Origin``.
    """

    def __init__(self, app: ASGIApp, admission: Admission) -> None:
        self._app = app
        self._admission = admission
        key = admission.api_key
        self._digest = _digest(key.encode()) if key else None
        self._caller = self._digest.hex()[:16] if self._digest else "anonymous"

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            headers: dict[bytes, bytes] = dict(scope["headers"])
            refusal = self._foreign(scope, headers) or self._keyless(scope, headers)
            if refusal is not None:
                await problem_response(refusal)(scope, receive, send)
                return
            scope["planstore.caller"] = self._caller
        await self._app(scope, receive, send)

    def _foreign(self, scope: Scope, headers: dict[bytes, bytes]) -> PlanStoreError | None:
        host = headers.get(b"host", b"").decode("latin-1")
        hosts = self._admission.allowed_hosts
        if hosts is not None and _name(host).lower() not in hosts:
            return CrossSite(
                f"the request is addressed to {host!r}, which is not a name of this server; "
                "PLANSTORE_ALLOWED_HOSTS lists further ones"
            )
        origin = headers.get(b"origin", b"").decode("latin-1")
        if origin and origin in self._admission.allowed_origins:
            return None
        if origin and _place(origin) != host.lower():
            return CrossSite(
                f"a browser sent this from {origin!r}; PLANSTORE_ALLOWED_ORIGINS lists the "
                "origins that may"
            )
        if headers.get(b"sec-fetch-site") == b"cross-site" and not _is_visit(scope, headers):
            return CrossSite(
                "a browser sent this from a foreign site; PLANSTORE_ALLOWED_ORIGINS lists the "
                "origins that may"
            )
        return None

    def _keyless(self, scope: Scope, headers: dict[bytes, bytes]) -> PlanStoreError | None:
        if self._digest is None or scope["path"].rstrip("/") in OPEN_PATHS:
            return None
        given = headers.get(b"x-api-key") or _bearer(headers.get(b"authorization", b""))
        # Digests are of one length, so that the comparison doesn't tell the length of the key.
        if given and hmac.compare_digest(_digest(given), self._digest):
            return None
        what = "is wrong" if given else "is missing"
        return Unauthorized(
            f"the API key {what}: send it as X-API-Key, or as Authorization: Bearer"
        )


def _digest(key: bytes) -> bytes:
    return hashlib.sha256(key).digest()


def _bearer(authorization: bytes) -> bytes:
    scheme, _, token = authorization.partition(b" ")
    return token.strip() if scheme.lower() == b"bearer" else b""


def _name(host: str) -> str:
    """Return a Host header's name without its port: ``[::1]:8011`` is ``[::1]``."""
    return (
        host[: host.index("]") + 1]
        if host.startswith("[") and "]" in host
        else host.partition(":")[0]
    )


def _place(origin: str) -> str:
    """Return an origin's host and port, as a Host header has them; empty where it has none."""
    try:
        return urlsplit(origin).netloc.lower()
    except ValueError:
        return ""


def _is_visit(scope: Scope, headers: dict[bytes, bytes]) -> bool:
    """Whether a person follows a link here, whose page the foreign site can't read."""
    return scope["method"] in _READING and headers.get(b"sec-fetch-mode") == b"navigate"
