"""What has come of the runs of one worker."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Tally:
    """Counts runs by how they ended."""

    completed: int = 0
    failed: int = 0
    """For good: no retry is left, or none would help."""
    retried: int = 0
    """They failed, and the task is to be tried again."""
    released: int = 0
    """Given back: the worker ended, or the plan was closed."""
    refused: int = 0
    """Reported too late: the claim had ended."""
    lost: int = 0
    """Ended before there was anything to report, since the claim had."""
