"""Asks whichever server there is, until one answers."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING, Any, Final

import httpx2

if TYPE_CHECKING:
    from collections.abc import Sequence
    from random import Random

PATIENCE: Final = 20.0
"""Seconds after which a request is taken for lost."""

PAUSE: Final = 0.1
"""Seconds before a request is repeated."""


class GaveUpError(Exception):
    """Nobody wants the answer any more."""


class Caller:
    """A client of several servers, any of which may be gone."""

    def __init__(
        self, urls: Sequence[str], chance: Random, *, unwanted: threading.Event | None = None
    ) -> None:
        self._servers = [httpx2.Client(base_url=url, timeout=PATIENCE) for url in urls]
        self._random = chance
        self._unwanted = unwanted or threading.Event()

    def ask(
        self, method: str, path: str, content: dict[str, Any] | None = None, *, key: str = ""
    ) -> httpx2.Response:
        """Send a request again and again until a server answers it.

        Raises:
            GaveUpError: the answer isn't wanted any more.
        """
        headers = {"Idempotency-Key": key} if key else {}
        while not self._unwanted.is_set():
            server = self._random.choice(self._servers)
            try:
                answer = server.request(method, path, json=content, headers=headers)
            except httpx2.TransportError:
                time.sleep(PAUSE)
                continue
            if not _is_to_be_repeated(answer):
                return answer
            time.sleep(PAUSE)
        raise GaveUpError

    def close(self) -> None:
        for server in self._servers:
            server.close()


def _is_to_be_repeated(answer: httpx2.Response) -> bool:
    """Whether the database is away, or the first request with the key is still at work."""
    if answer.status_code == 409:
        return answer.json()["code"] == "idempotency_in_flight"
    return answer.status_code == 503
