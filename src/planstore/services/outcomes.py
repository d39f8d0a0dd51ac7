"""What became of many plans or tasks that something was to be done to, each for itself."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from uuid import UUID

    from planstore.errors import PlanStoreError


@dataclass(slots=True)
class Outcomes:
    """What was changed, and what was refused; all else was so already, or isn't there."""

    changed: list[UUID] = field(default_factory=list["UUID"])
    refused: dict[UUID, PlanStoreError] = field(default_factory=dict["UUID", "PlanStoreError"])
    """Each with the reason."""

    def add(self, other: Outcomes) -> None:
        """Add what became of others."""
        self.changed += other.changed
        self.refused.update(other.refused)
