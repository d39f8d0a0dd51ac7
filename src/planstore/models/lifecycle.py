"""What a lifecycle is: a table of transitions, from which everything else is drawn.

The checks, the texts of refusals, the names of events, ``docs/lifecycle.md`` and the exhaustive
test all read the tables in `planstore.models.plan` and `planstore.models.task`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable

S = TypeVar("S", bound=StrEnum)


@dataclass(frozen=True, slots=True)
class Transition(Generic[S]):
    """One row of a lifecycle: a verb, the statuses it may start from, the one it ends in."""

    verb: str
    past: str
    """What the event says happened: ``task.{past}``."""
    sources: frozenset[S]
    target: S
    holder_only: bool
    """True where only the holder of the task's claim may do it while the claim lives."""
    meaning: str
    """One sentence for the documentation."""
    by_hand: bool = True
    """False where only the service does it, as a consequence of something else."""
    by_status: bool = True
    """False where nobody does it by setting the status: its verb alone does."""

    @property
    def is_set(self) -> bool:
        """Whether setting the status by hand does it."""
        return self.by_hand and self.by_status


@dataclass(frozen=True, slots=True)
class Lifecycle(Generic[S]):
    """All transitions of one kind of thing, such as ``task``."""

    noun: str
    transitions: tuple[Transition[S], ...]

    def towards(self, target: S) -> dict[S, Transition[S]]:
        """What setting the status to ``target`` by hand means, from each status that allows it."""
        return {
            source: transition
            for transition in self.transitions
            if transition.is_set and transition.target == target
            for source in transition.sources
        }

    def allowed_from(self, status: S, *, but: Collection[str] = ()) -> list[str]:
        """The verbs that ``status`` allows, in the table's order; ``but`` not these."""
        return [
            each.verb
            for each in self.transitions
            if each.by_hand and status in each.sources and each.verb not in but
        ]

    def refusal(self, target: S, status: S, *, which: object, but: Collection[str] = ()) -> str:
        """Say why ``which``, being ``status``, can't be set to ``target``, and what it can.

        ``but``: verbs that the status allows, though not now.
        """
        verbs = " or ".join(self._verbs_towards(target)) or f"set to {target.value}"
        return self.refusal_of(verbs, status, which=which, but=but)

    def refusal_of(self, verb: str, status: S, *, which: object, but: Collection[str] = ()) -> str:
        """Say why ``verb`` can't be done to ``which``, being ``status``, and what can."""
        allowed = ", ".join(self.allowed_from(status, but=but)) or "nothing"
        return f"cannot {verb} {self.noun} {which}: it is {status.value}; allowed now: {allowed}"

    def _verbs_towards(self, target: S) -> Iterable[str]:
        return (each.verb for each in self.transitions if each.is_set and each.target == target)
