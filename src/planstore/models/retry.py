"""How often a task is tried again by itself, and how long it waits before that."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, FiniteFloat

from planstore.models.fields import WHOLE, Record

Seconds = Annotated[FiniteFloat, Field(ge=0, le=86_400 * 366)]


class RetryPolicy(Record):
    """When a task that failed is tried again: exponential backoff with jitter.

    The n-th retry waits ``initial_delay_sec * backoff_multiplier ** (n - 1)`` seconds, at most
    ``max_delay_sec``; of that a random part of up to a half is taken off, so that tasks which
    failed together don't come back together ("equal jitter", Brooker, AWS Architecture Blog, 2015).
    """

    max_retries: Annotated[int, Field(ge=0, le=1_000), WHOLE] = 3
    """How many times, after the first run."""
    initial_delay_sec: Seconds = 1.0
    """Seconds before the first retry."""
    backoff_multiplier: Annotated[FiniteFloat, Field(ge=1, le=1_000)] = 2.0
    """By what each further delay is longer than the one before."""
    max_delay_sec: Seconds = 30.0
    """Seconds that no delay exceeds."""
