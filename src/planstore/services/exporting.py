"""Telling of a plan to others: whole, as PlanStore's own JSON or a checklist, or as a drawing.

What is told is as it stood at one moment. It is written to disk first, so that neither memory nor
a connection is held for as long as somebody reads it.
"""

from __future__ import annotations

import asyncio
import re
import tempfile
from collections import defaultdict
from datetime import UTC, datetime
from typing import IO, TYPE_CHECKING, Any, Final, Protocol, cast
from uuid import UUID

from pydantic_core import to_json

from planstore.models.dependency import Condition, DependencyType
from planstore.models.graph import one_line, to_dot, to_mermaid
from planstore.models.intake import OWN_FORMAT, ExportFormat, PortedPlan, PortedTask, stands
from planstore.models.task import FINISHED
from planstore.services import insight, refusals
from planstore.sql import exporting, plans, structure

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from planstore.db import Database
    from planstore.sql.connection import Connection, Row

_IN_MEMORY: Final = 1024 * 1024
_PAGE: Final = 5_000
_BEFORE_ALL: Final = (-1, datetime.min.replace(tzinfo=UTC), UUID(int=0))

_DRAWINGS: Final = {ExportFormat.MERMAID: to_mermaid, ExportFormat.DOT: to_dot}


async def export(database: Database, plan_id: UUID, kind: ExportFormat) -> IO[bytes]:
    """Write a plan to a file that is gone once it is closed; answers it, to be read from its start.

    Raises:
        NotFound: there is no such plan.
    """
    # Closed by who reads it.
    file = cast(
        "IO[bytes]",
        tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY),  # noqa: SIM115
    )
    try:
        if kind in _DRAWINGS:
            graph = await insight.get_graph(database, plan_id)
            file.write(await asyncio.to_thread(lambda: _DRAWINGS[kind](graph).encode()))
        else:
            async with database.moment() as conn:
                await _write(
                    conn, plan_id, _Json(file) if kind == ExportFormat.JSON else _List(file)
                )
        file.seek(0)
    except BaseException:
        file.close()
        raise
    return file


class _Writer(Protocol):
    """One way to write a plan down, from its beginning to its end."""

    def begin(self, plan: Row) -> None: ...

    def add(self, tasks: Sequence[Row], labels: _Labels) -> None: ...

    def end(self) -> None: ...


async def _write(conn: Connection, plan_id: UUID, writer: _Writer) -> None:
    plan = await plans.get(conn, plan_id)
    if plan is None:
        raise refusals.no_plan(plan_id)
    tasks = await exporting.labels(conn, plan_id)
    edges = await structure.edges(conn, plan_id)
    labels = await asyncio.to_thread(_Labels, tasks, edges)
    del tasks, edges
    writer.begin(plan)
    after: exporting.After = _BEFORE_ALL
    while page := await exporting.page(conn, plan_id, after, limit=_PAGE):
        last = page[-1]
        after = last["sequence_order"], last["created_at"], last["id"]
        await asyncio.to_thread(writer.add, page, labels)
    writer.end()


class _Labels:
    """What the tasks of a plan call each other: by name, else by their place in the list."""

    def __init__(self, tasks: Iterable[Row], edges: Iterable[Row]) -> None:
        self._names = {row["id"]: row["name"] for row in tasks}
        self._places = {task_id: place for place, task_id in enumerate(self._names, 1)}
        self._needs: defaultdict[UUID, list[Row]] = defaultdict(list)
        for edge in edges:
            self._needs[edge["task_id"]].append(edge)
        self._needed = {each["needs_id"] for needs in self._needs.values() for each in needs}
        self._mark = "#"
        names = [name for name in self._names.values() if name is not None]
        while any(name.startswith(self._mark) for name in names):
            self._mark += "#"

    def ref(self, task_id: UUID) -> str | None:
        """What others call a task that has no name; None where none does."""
        is_called = task_id in self._needed and self._names[task_id] is None
        return self.label(task_id) if is_called else None

    def label(self, task_id: UUID) -> str:
        """What a task is called, in any case."""
        name = self._names[task_id]
        return f"{self._mark}{self._places[task_id]}" if name is None else name

    def needs(self, task_id: UUID) -> list[Row]:
        """What a task needs, in the order of these tasks."""
        return sorted(self._needs.get(task_id, ()), key=lambda edge: self._places[edge["needs_id"]])


class _Json:
    """PlanStore's own JSON, from which `PortedFile` is read; what is as it would be is left out."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._is_first = True

    def begin(self, plan: Row) -> None:
        given = {
            name: plan[name] for name in PortedPlan.model_fields if name not in {"id", "paused"}
        }
        given["paused"] = plan["paused_at"] is not None
        content = PortedPlan.model_validate(given).model_dump(mode="json", exclude={"id"})
        self._file.write(b'{"format":' + to_json(OWN_FORMAT) + b',\n"plan":' + to_json(content))
        self._file.write(b',\n"tasks":[')

    def add(self, tasks: Sequence[Row], labels: _Labels) -> None:
        lines: list[bytes] = []
        for row in tasks:
            lines.append(b"\n" if self._is_first else b",\n")
            self._is_first = False
            lines.append(to_json(_ported(row, labels)))
        self._file.write(b"".join(lines))

    def end(self) -> None:
        self._file.write(b"\n]}\n")


_LEFT_OUT: Final[Mapping[str, Any]] = {
    name: each.get_default(call_default_factory=True, validated_data={})
    for name, each in PortedTask.model_fields.items()
    if not each.is_required()
}


def _ported(row: Row, labels: _Labels) -> dict[str, Any]:
    given = {
        "ref": labels.ref(row["id"]),
        **{name: row[name] for name in PortedTask.model_fields if name in _OF_ROW},
        "depends_on": [_entry(edge, labels) for edge in labels.needs(row["id"])],
    }
    if not stands(row["status"], row["status_reason"]):
        given = {name: value for name, value in given.items() if name not in _OF_STANDING}
    return {
        name: value
        for name, value in given.items()
        if name not in _LEFT_OUT or value != _LEFT_OUT[name]
    }


_OF_STANDING: Final = frozenset({"status", "status_reason", "started_at", "completed_at"})
_OF_ROW: Final = PortedTask.model_fields.keys() - {"id", "ref", "depends_on"}


def _entry(edge: Row, labels: _Labels) -> str | dict[str, str]:
    task = labels.label(edge["needs_id"])
    if (edge["condition"], edge["kind"]) == (Condition.SUCCESS, DependencyType.BLOCKING):
        return task
    return {"task": task, "when": edge["condition"], "type": edge["kind"]}


class _List:
    """A checklist, one line for each task; those that are finished are checked."""

    def __init__(self, file: IO[bytes]) -> None:
        self._file = file

    def begin(self, plan: Row) -> None:
        title = plan["metadata"].get("title")
        name = title if isinstance(title, str) and title.strip() else f"Plan {plan['id']}"
        self._file.write(f"# {in_markdown(name)}\n\nStatus: {plan['status']}\n\n".encode())

    def add(self, tasks: Sequence[Row], labels: _Labels) -> None:
        self._file.write("".join(_line(row, labels) for row in tasks).encode())

    def end(self) -> None:
        """Nothing comes after the last task."""


def _line(row: Row, labels: _Labels) -> str:
    mark = "x" if row["status"] in FINISHED else " "
    name = "" if row["name"] is None else f"**{in_markdown(row['name'])}**: "
    needs = ", ".join(
        in_markdown(labels.label(each["needs_id"])) for each in labels.needs(row["id"])
    )
    said = row["status"] + (f"; needs {needs}" if needs else "")
    return f"- [{mark}] {name}{in_markdown(row['description'])} ({said})\n"


_SIGNS: Final = re.compile(r"[\\`*_\[\]<>&|~$@#!:{}]|(?<=www)\.")
"""What may mean something within a line: emphasis, code, links, HTML, entities, tables, formulas,
mentions, and addresses that become links by themselves."""


def in_markdown(text: str) -> str:
    """Write a text to stand within a line of Markdown, as it is."""
    return _SIGNS.sub(r"\\\g<0>", one_line(text))
