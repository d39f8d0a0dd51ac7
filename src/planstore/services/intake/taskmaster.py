"""Reading the `tasks.json` of task-master."""

from __future__ import annotations

from dataclasses import dataclass
from typing import IO, TYPE_CHECKING, Any, Final, cast

from planstore.models.fields import shown
from planstore.services.intake.gathering import Item
from planstore.services.intake.parsing import Lists, members, pointer
from planstore.services.intake.wording import (
    as_label,
    as_list,
    as_object,
    keep,
    rest_of,
    standing,
    worded,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planstore.services.intake.gathering import Gathering

_LISTS: Final[Lists] = frozenset({("tasks",), (None, "tasks")})
"""In a file without tags, and below each tag."""

_TAKEN: Final = frozenset({"id", "title", "description", "dependencies", "subtasks"})

_PRIORITIES: Final[Mapping[str, int]] = {"critical": 20, "high": 10, "medium": 0, "low": -10}


def read(file: IO[bytes], gathering: Gathering) -> None:
    """Read the tasks of all tags, each task with its subtasks.

    A task is called by its tag and its id, `loop/3`, and a subtask `loop/3.1`; in a file without
    tags `3` and `3.1`.
    """
    said: dict[str, Any] = {}
    for path, value in members(file, _LISTS, gathering.faults):
        at = pointer(path)
        match path:
            case ("tasks", int()):
                _Tree("", gathering).add(value, at)
            case (str() as tag, "tasks", int()):
                _Tree(f"{tag}/", gathering, tag=tag).add(value, at)
            case ("tasks",) | (_, "tasks"):
                gathering.faults.add(at, f"it must be a list; it is {shown(value)}")
            case ():
                gathering.faults.add(at, f"an object is expected; it is {shown(value)}")
            case _:
                keep(said, path, value)
    gathering.describe({"plan_type": "dag", "metadata": said}, at="/metadata")


@dataclass(slots=True)
class _Tree:
    """A task with its subtasks."""

    prefix: str
    gathering: Gathering
    tag: str | None = None

    def add(self, value: Any, at: str) -> None:
        self._add(value, at, around="", within=None, siblings=frozenset())

    def _add(  # what is around a task decides how it is called
        self,
        value: Any,
        at: str,
        *,
        around: str,
        within: int | None,
        siblings: frozenset[str],
    ) -> None:
        faults = self.gathering.faults
        given = as_object(value, at, faults)
        if given is None:
            return
        own = as_label(given.get("id"), f"{at}/id", faults)
        label = around + (own or "?")
        needs = as_list(given.get("dependencies"), f"{at}/dependencies", faults)
        fields = {
            "name": self.prefix + label,
            "description": worded(given.get("title"), given.get("description")),
            "priority": self._priority(given.get("priority"), f"{at}/priority"),
            "labels": [] if self.tag is None else [self.tag],
            "metadata": rest_of(given, _TAKEN),
            "depends_on": [
                self._reference(each, around, siblings)
                for number, one in enumerate(needs)
                if (each := as_label(one, f"{at}/dependencies/{number}", faults)) is not None
            ],
            **standing(given.get("status"), f"{at}/status", faults),
        }
        origins = {
            "name": f"{at}/id",
            "depends_on": f"{at}/dependencies",
            "metadata": at,
            "labels": at,
        }
        number = self.gathering.add(Item(at=at, fields=fields, origins=origins, within=within))
        inner = as_list(given.get("subtasks"), f"{at}/subtasks", faults)
        if own is None:
            return
        theirs = frozenset(
            str(cast("dict[str, Any]", each).get("id")) for each in inner if isinstance(each, dict)
        )
        for index, each in enumerate(inner):
            self._add(
                each,
                f"{at}/subtasks/{index}",
                around=f"{label}.",
                within=number,
                siblings=theirs,
            )

    def _reference(self, called: str, around: str, siblings: frozenset[str]) -> str:
        """Return whom a dependency means: among subtasks a bare id is that of another one."""
        return self.prefix + (around if called in siblings else "") + called

    def _priority(self, word: Any, at: str) -> int:
        if word is None:
            return 0
        if isinstance(word, str) and (known := _PRIORITIES.get(word)) is not None:
            return known
        self.gathering.faults.add(
            at, f"it is unknown; known are: {', '.join(_PRIORITIES)}; it is {shown(word)}"
        )
        return 0
