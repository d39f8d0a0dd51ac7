"""Waiting for another process, by looking now and then and never for ever."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Callable

__all__ = ["POLL_SECONDS", "wait_until"]

POLL_SECONDS: Final = 0.02


def wait_until(happened: Callable[[], bool], *, seconds: float) -> bool:
    """Wait until ``happened()``, at most ``seconds``; return whether it did."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_SECONDS)
    return True
