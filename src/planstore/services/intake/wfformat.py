"""Reading scientific workflows in WfFormat 1.5 (https://github.com/wfcommons/WfFormat)."""

from __future__ import annotations

import tempfile
from collections import defaultdict
from typing import IO, TYPE_CHECKING, Any, Final, cast

from pydantic_core import from_json, to_json

from planstore.models.fields import shown
from planstore.services.intake.gathering import Item
from planstore.services.intake.parsing import Lists, members, pointer
from planstore.services.intake.wording import as_label, as_list, as_object, keep, named, rest_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from planstore.services.intake.gathering import Gathering

_SPECIFIED: Final = ("workflow", "specification", "tasks")
_FILES: Final = ("workflow", "specification", "files")
_EXECUTED: Final = ("workflow", "execution", "tasks")
_LISTS: Final[Lists] = frozenset({_SPECIFIED, _FILES, _EXECUTED})

_TAKEN: Final = frozenset({"id", "name", "parents", "children"})
_USED: Final = ("inputFiles", "outputFiles")
_IN_MEMORY: Final = 1024 * 1024


def read(file: IO[bytes], gathering: Gathering) -> None:
    """Read a workflow: its tasks, with the files and the execution that the file tells of."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY) as spool:
        workflow = _Workflow(gathering, cast("IO[bytes]", spool))
        for path, value in members(file, _LISTS, gathering.faults):
            workflow.take(path, value)
        workflow.add_tasks()


class _Workflow:
    """What is found of a workflow: tasks come first in it, and what belongs to them later."""

    def __init__(self, gathering: Gathering, spool: IO[bytes]) -> None:
        self._gathering = gathering
        self._faults = gathering.faults
        self._spool = spool
        self._header: dict[str, Any] = {}
        self._sizes: dict[str, Any] = {}
        self._specified: list[tuple[str, int]] = []
        """Where each task stands in the file, and on disk."""
        self._executed: dict[str, int] = {}
        """By id, where the execution of a task stands on disk."""
        self._parents: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
        """By id, who names a task as its child, and where."""

    def take(self, path: tuple[str | int, ...], value: Any) -> None:
        """Take what the file holds at a path."""
        at = pointer(path)
        match path[:-1]:
            case _ if path in {_SPECIFIED, _FILES, _EXECUTED}:
                self._faults.add(at, f"it must be a list; it is {shown(value)}")
            case inside if inside == _SPECIFIED:
                self._specified.append((at, self._put(value)))
                self._note_children(value, at)
            case inside if inside == _FILES:
                if (given := as_object(value, at, self._faults)) is not None:
                    self._sizes[str(given.get("id"))] = given.get("sizeInBytes")
            case inside if inside == _EXECUTED:
                if (given := as_object(value, at, self._faults)) is not None:
                    self._executed[str(given.get("id"))] = self._put(value)
            case _ if not path:
                self._faults.add(at, f"an object is expected; it is {shown(value)}")
            case _:
                keep(self._header, path, value)

    def _put(self, value: Any) -> int:
        place = self._spool.tell()
        self._spool.write(to_json(value) + b"\n")
        return place

    def _get(self, place: int) -> Any:
        self._spool.seek(place)
        return from_json(self._spool.readline())

    def _note_children(self, value: Any, at: str) -> None:
        if not isinstance(value, dict):
            return
        given = cast("dict[str, Any]", value)
        own = given.get("id")
        children = as_list(given.get("children"), f"{at}/children", self._faults)
        for number, each in enumerate(children):
            child = as_label(each, f"{at}/children/{number}", self._faults)
            if isinstance(own, str) and child is not None:
                self._parents[child].append((own, f"{at}/children/{number}"))

    def add_tasks(self) -> None:
        """Add all that was found."""
        known = set[str]()
        for at, place in self._specified:
            value = self._get(place)
            if (given := as_object(value, at, self._faults)) is not None:
                called = self._add(given, at)
                known.update(() if called is None else (called,))
        for child, parents in self._parents.items():
            if child not in known:
                for _, at in parents:
                    self._faults.add(at, f"the workflow has no task {shown(child)}")
        self._gathering.describe({"plan_type": "dag", "metadata": self._header}, at="/metadata")

    def _add(self, given: Mapping[str, Any], at: str) -> str | None:
        called = as_label(given.get("id"), f"{at}/id", self._faults)
        run: dict[str, Any] = {}
        if called in self._executed:
            run = self._get(self._executed[called])
        given_command = run.get("command")
        command = cast("dict[str, Any]", given_command) if isinstance(given_command, dict) else {}
        parents = [
            each
            for number, one in enumerate(
                as_list(given.get("parents"), f"{at}/parents", self._faults)
            )
            if (each := as_label(one, f"{at}/parents/{number}", self._faults)) is not None
        ]
        also = [each for each in self._parents.get(called or "", ()) if each[0] not in {*parents}]
        used = {
            str(name)
            for key in _USED
            for name in as_list(given.get(key), f"{at}/{key}", self._faults)
        }
        sizes = {name: self._sizes[name] for name in sorted(used & self._sizes.keys())}
        fields: dict[str, Any] = {
            **(named(called) if called is not None else {}),
            "description": given.get("name") or called,
            "task_type": command.get("program"),
            "input_data": command,
            "estimated_duration": run.get("runtimeInSeconds"),
            "depends_on": parents,
            "metadata": {
                **rest_of(given, _TAKEN),
                **({"sizeInBytes": sizes} if sizes else {}),
                **({"execution": rest_of(run, ("id", "command"))} if run else {}),
            },
        }
        origins = {
            "name": f"{at}/id",
            "description": f"{at}/name",
            "task_type": at,
            "input_data": at,
            "estimated_duration": at,
            "depends_on": f"{at}/parents",
            "metadata": at,
        }
        self._gathering.add(
            Item(
                at=at,
                fields=fields,
                called=() if called is None else (called,),
                origins=origins,
                also_needs=also,
            )
        )
        return called
