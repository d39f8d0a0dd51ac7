"""How long things are kept, and what was removed."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from datetime import timedelta


@dataclass(frozen=True, slots=True)
class Kept:
    """How long things are kept; None: for ever."""

    events: timedelta | None
    """The events of a plan, since its last one, once the plan has ended."""
    plans: timedelta | None = None
    """A plan that has ended, since anything has happened to it."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was removed, or would be."""

    plans: int
    """Plans that were deleted, with their tasks."""
    events: int
    """Events that were removed; `plan.deleted` stays."""
