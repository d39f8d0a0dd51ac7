"""The faults of an input that is read piece by piece, gathered to be named together."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

from planstore.errors import DependencyCycle, Fault, InvalidInput
from planstore.models.faults import refusal
from planstore.models.fields import MAX_FAULTS, pointer_part, shown

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pydantic import ValidationError
    from pydantic_core import ErrorDetails


class Faults:
    """The faults found so far: the first of each place."""

    def __init__(self, subject: str, *, missing: str) -> None:
        """Begin without any.

        ``subject``: what has them, as in "the steps have". ``missing``: what is said of a field
        that is required, and isn't there.
        """
        self._subject = subject
        self._missing = missing
        self._details: dict[str, str] = {}
        self._has_cycles_alone = True

    def add(self, pointer: str, detail: str) -> None:
        """Add a fault, unless there is one at that place, or there are 1,000."""
        self._has_cycles_alone = False
        if len(self._details) < MAX_FAULTS:
            self._details.setdefault(pointer, detail)

    def add_cycle(self, pointer: str, detail: str) -> None:
        """Add that tasks would wait for each other."""
        has_cycles_alone = self._has_cycles_alone
        self.add(pointer, detail)
        self._has_cycles_alone = has_cycles_alone

    def add_all(self, error: ValidationError, at: str, origins: Mapping[str, str]) -> None:
        """Add what a model refuses; ``origins``: where its fields come from, if not ``at``."""
        for detail in error.errors(include_url=False):
            path = [str(part) for part in detail["loc"]]
            start = at
            if path and path[0] in origins:
                start = origins[path.pop(0)]
            pointer = start + "".join(f"/{pointer_part(part)}" for part in path)
            for inner, why in self._reasons(detail):
                self.add(pointer + inner, why)

    @property
    def are_many(self) -> bool:
        """Whether no more will be named."""
        return len(self._details) >= MAX_FAULTS

    def raise_any(self) -> None:
        """Raise what there is.

        Raises:
            DependencyCycle: there are faults, and all say that tasks would wait for each other.
            InvalidInput: there are others.
        """
        if self._details:
            faults = (Fault(pointer, detail) for pointer, detail in self._details.items())
            kind = DependencyCycle if self._has_cycles_alone else InvalidInput
            raise refusal(faults, self._subject, kind=kind)

    def _reasons(self, detail: ErrorDetails) -> Iterator[tuple[str, str]]:
        match detail["type"]:
            case "missing":
                yield "", self._missing
            case "extra_forbidden":
                yield "", "it is unknown"
            case "not_kept":
                yield from cast("list[tuple[str, str]]", detail.get("ctx", {})["faults"])
            case _:
                message = detail["msg"]
                yield "", f"{message[:1].lower()}{message[1:]}; it is {shown(detail['input'])}"
