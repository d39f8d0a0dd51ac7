"""Sending a message to whoever a client has named, without being led to where clients may not go.

Each name is resolved here, the addresses are checked, and one of those that were is connected to:
a name that is resolved again on the way could mean another address by then. No redirect is
followed, no proxy is asked, no cookie is kept, and the body of the answer isn't read.
"""

from __future__ import annotations

import asyncio
import socket
from dataclasses import dataclass
from ipaddress import ip_address
from typing import TYPE_CHECKING, Final

import httpx2

from planstore import __version__
from planstore.models.address import is_public

if TYPE_CHECKING:
    from collections.abc import Mapping

PATIENCE: Final = 15.0
"""Seconds that sending a message takes at most, from the resolution of the name to the answer."""

_CONNECT_PATIENCE: Final = 5.0
_ADDRESSES: Final = 3
"""How many addresses of a name are tried."""

_GONE: Final = 410

_MOST_TOLD: Final = 200
"""Characters of another program's words about a failure."""

_USER_AGENT: Final = f"PlanStore/{__version__}"


@dataclass(frozen=True, slots=True)
class Answer:
    """What came of sending a message."""

    status: int | None
    """None where there was no answer."""
    error: str | None
    """Why it failed, in a sentence; None where it didn't."""

    @property
    def is_gone(self) -> bool:
        """Whether the receiver wants nothing more, ever."""
        return self.status == _GONE


class _Unsent(Exception):  # it says why, and never leaves this module
    """There is nowhere to send it to."""


class Sender:
    """Sends messages by POST, each over a connection of its own.

    A connection that is kept would be found again by its address alone, whatever name it had been
    opened and its certificate been checked for.
    """

    def __init__(self, *, allow_private: bool = False) -> None:
        """Send to public addresses alone, unless ``allow_private``."""
        self.allow_private: Final = allow_private
        self._transport: httpx2.AsyncHTTPTransport | None = None
        self._opening = asyncio.Lock()

    async def close(self) -> None:
        """Close what is still open."""
        if self._transport is not None:
            await self._transport.aclose()

    async def send(self, url: str, *, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Send a message; whatever stands in the way is said in the answer."""
        try:
            async with asyncio.timeout(PATIENCE):
                status = await self._send(httpx2.URL(url), body, headers)
        except (TimeoutError, httpx2.TimeoutException):
            return Answer(None, f"there was no answer within {PATIENCE:g} seconds")
        except _Unsent as error:
            return Answer(None, str(error))
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            return Answer(
                None, f"it couldn't be sent: {str(error)[:_MOST_TOLD] or 'no connection'}"
            )
        return Answer(status, None if 200 <= status < 300 else _told(status))  # noqa: PLR2004 - HTTP's

    async def _send(self, url: httpx2.URL, body: bytes, headers: Mapping[str, str]) -> int:
        addresses = await self._addresses(url)
        for address in addresses[:-1]:
            try:
                return await self._send_to(address, url, body, headers)
            except (httpx2.ConnectError, httpx2.ConnectTimeout):
                continue  # nothing was sent
        return await self._send_to(addresses[-1], url, body, headers)

    async def _addresses(self, url: httpx2.URL) -> list[str]:
        """Resolve the name in a URL, and return the first addresses that may be connected to."""
        try:
            found = await asyncio.get_running_loop().getaddrinfo(
                url.host, url.port or 443, type=socket.SOCK_STREAM
            )
        except (OSError, UnicodeError):
            raise _Unsent("the name of the host can't be resolved") from None
        addresses = list(dict.fromkeys(str(where[0]) for *_, where in found))
        allowed = [each for each in addresses if self._may_reach(each)]
        if not allowed:
            raise _Unsent("the host isn't on the internet: its address is a private one")
        return allowed[:_ADDRESSES]

    def _may_reach(self, address: str) -> bool:
        return self.allow_private or is_public(ip_address(address))

    async def _send_to(
        self, address: str, url: httpx2.URL, body: bytes, headers: Mapping[str, str]
    ) -> int:
        transport = await self._open()
        patience = httpx2.Timeout(PATIENCE, connect=_CONNECT_PATIENCE)
        response = await transport.handle_async_request(
            httpx2.Request(
                "POST",
                url.copy_with(host=address),
                headers={
                    "Host": url.netloc.decode("ascii"),
                    "User-Agent": _USER_AGENT,
                    "Connection": "close",
                    **headers,
                },
                content=body,
                # What the certificate must be for is the name that was given, not the address.
                extensions={"timeout": patience.as_dict(), "sni_hostname": url.host},
            )
        )
        await response.aclose()
        return response.status_code

    async def _open(self) -> httpx2.AsyncHTTPTransport:
        async with self._opening:
            if self._transport is None:
                # Reading all certificates that are trusted would hold everybody up.
                context = await asyncio.to_thread(httpx2.create_ssl_context)
                self._transport = httpx2.AsyncHTTPTransport(
                    verify=context,
                    trust_env=False,
                    limits=httpx2.Limits(max_connections=None, max_keepalive_connections=0),
                )
            return self._transport


def _told(status: int) -> str:
    if 300 <= status < 400:  # noqa: PLR2004 - HTTP's
        return f"it answered {status}, and redirects are not followed"
    return f"it answered {status}"
