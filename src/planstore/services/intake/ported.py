"""Reading PlanStore's own JSON."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any, Final, cast

from planstore.models.fields import shown
from planstore.models.intake import OWN_FORMAT, PortedFile
from planstore.services.intake.gathering import Item
from planstore.services.intake.parsing import Lists, members, pointer

if TYPE_CHECKING:
    from planstore.services.intake.gathering import Gathering

_LISTS: Final[Lists] = frozenset({("tasks",)})


def read(file: IO[bytes], gathering: Gathering) -> None:
    """Read an export, or what is written like one."""
    faults = gathering.faults
    missing = {"format"}
    for path, value in members(file, _LISTS, faults):
        at = pointer(path)
        match path:
            case ("tasks", int()):
                _add(at, value, gathering)
            case ("plan",):
                gathering.describe(value, at=at)
            case ("format",):
                missing.discard("format")
                if value != OWN_FORMAT:
                    faults.add(at, f"it must be {OWN_FORMAT!r}; it is {shown(value)}")
            case ("tasks",):
                faults.add(at, f"it must be a list; it is {shown(value)}")
            case (_,):
                known = ", ".join(PortedFile.model_fields)
                faults.add(at, f"it is unknown; known are: {known}")
            case _:
                missing.clear()
                faults.add(at, f"an object is expected; it is {shown(value)}")
    for name in missing:
        faults.add(f"/{name}", f"it is required: {OWN_FORMAT!r}")


def _add(at: str, value: Any, gathering: Gathering) -> None:
    fields = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    if not isinstance(value, dict):
        gathering.faults.add(at, f"it must be an object; it is {shown(value)}")
        return
    gathering.add(Item(at=at, fields=fields))
