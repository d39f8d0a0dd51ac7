"""Reading what a language model answers when it is asked to make a plan of a goal."""

from __future__ import annotations

import io
import re
from typing import IO, TYPE_CHECKING, Any, Final, cast

from planstore.errors import MalformedBody
from planstore.models.fields import shown
from planstore.models.plan import PlanStatus
from planstore.services.intake.gathering import Item
from planstore.services.intake.parsing import Lists, members, pointer
from planstore.services.intake.wording import (
    as_label,
    as_list,
    as_object,
    keep,
    named,
    rest_of,
    worded,
)

if TYPE_CHECKING:
    from planstore.services.intake.gathering import Gathering

_LISTS: Final[Lists] = frozenset({("tasks",), ("plan", "tasks"), ()})
"""Models wrap the list in more than they are asked for, or in less."""

_TAKEN: Final = frozenset(
    {"id", "name", "description", "type", "dependencies", "depends_on", "inputs"}
    | {"timeout_seconds"}
)

_FENCE: Final = re.compile(
    rb"^[ \t]*(?P<fence>`{3,}|~{3,})[^\n`]*\n(?P<inside>\s*[{\[].*?)^[ \t]*(?P=fence)",
    re.DOTALL | re.MULTILINE,
)
_BEGINNING: Final = 1024


def read(file: IO[bytes], gathering: Gathering) -> None:
    """Read an answer: JSON, or a text with JSON in it.

    Raises:
        MalformedBody: there is no JSON in it.
    """
    header: dict[str, Any] = {}
    for path, value in members(_json_of(file), _LISTS, gathering.faults):
        match path:
            case (int(),) | ("tasks", int()) | ("plan", "tasks", int()):
                _add(pointer(path), value, gathering)
            case ("tasks",) | ("plan", "tasks"):
                gathering.faults.add(pointer(path), f"it must be a list; it is {shown(value)}")
            case ():
                gathering.faults.add("", f"an object is expected; it is {shown(value)}")
            case _:
                keep(header, path, value)
    gathering.describe(
        {"plan_type": "dag", "status": PlanStatus.DRAFT, "metadata": header}, at="/metadata"
    )


def _json_of(file: IO[bytes]) -> IO[bytes]:
    """Return where the JSON begins: the file itself, or what of it is fenced off as JSON.

    Else it is what stands between the first brace and the last; a text around is read whole.
    """
    beginning = file.read(_BEGINNING).removeprefix(b"\xef\xbb\xbf").lstrip()
    file.seek(0)
    if beginning[:1] in {b"{", b"["}:
        return file
    text = file.read()
    if (fenced := _FENCE.search(text)) is not None:
        return io.BytesIO(fenced["inside"])
    first, last = text.find(b"{"), text.rfind(b"}")
    if first < 0 or last < first:
        raise MalformedBody(
            'there is no JSON in the text; {"tasks": […]} is expected, as GET /schemas/plan says'
        )
    return io.BytesIO(text[first : last + 1])


def _add(at: str, value: Any, gathering: Gathering) -> None:
    faults = gathering.faults
    given = as_object(value, at, faults)
    if given is None:
        return
    label = given.get("id", given.get("name"))
    called = as_label(label, f"{at}/id", faults)
    needs = "dependencies" if "dependencies" in given else "depends_on"
    kept = rest_of(given, _TAKEN)
    if "id" in given and given.get("name") is not None:
        kept["title"] = given["name"]
    fields: dict[str, Any] = {
        **(named(called) if called is not None else {}),
        "description": worded(given.get("name"), given.get("description")),
        "task_type": given.get("type"),
        "input_data": _input(given.get("inputs")),
        "timeout_seconds": given.get("timeout_seconds"),
        "depends_on": [
            each
            for number, one in enumerate(as_list(given.get(needs), f"{at}/{needs}", faults))
            if (each := as_label(one, f"{at}/{needs}/{number}", faults)) is not None
        ],
        "metadata": kept,
    }
    origins = {
        "name": f"{at}/id" if "id" in given else f"{at}/name",
        "task_type": f"{at}/type",
        "input_data": f"{at}/inputs",
        "depends_on": f"{at}/{needs}",
        "metadata": at,
    }
    gathering.add(
        Item(at=at, fields=fields, called=() if called is None else (called,), origins=origins)
    )


def _input(given: Any) -> Any:
    """Inputs are objects here; what is none is kept in one."""
    is_object = isinstance(given, dict)
    return cast("Any", given) if is_object or given is None else {"inputs": given}
