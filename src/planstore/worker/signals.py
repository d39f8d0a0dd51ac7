"""What a handler raises to say how its run ended; any other exception is a failure as well."""

from __future__ import annotations

from datetime import timedelta


class Permanent(Exception):
    """The task has failed, and trying it again won't help."""


class Retry(Exception):
    """The run has failed; the task is to be tried again, as far as it has retries left.

    ``after``: how long to wait before that, seconds if it is a number; by the task's retry policy
    if left out.
    """

    def __init__(self, message: str = "", *, after: timedelta | float | None = None) -> None:
        super().__init__(message or "the handler asked for another run")
        self.after_seconds = after.total_seconds() if isinstance(after, timedelta) else after


class Stopped(Exception):
    """The run was asked to stop and did: nothing came of it."""
