"""What is found in a file: in memory what tasks are called and what they need, all else on disk."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast
from uuid import UUID

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from planstore.models.binding import references
from planstore.models.dependency import (
    MAX_DEPENDENCIES,
    Condition,
    DependencyDraft,
    DependencyType,
    DependsOn,
)
from planstore.models.fields import shortened
from planstore.models.graph import find_cycle
from planstore.models.intake import MAX_EDGES, MAX_LEVELS, MAX_TASKS, PortedPlan, PortedTask
from planstore.models.plan import SEQUENTIAL
from planstore.models.task import FINISHED
from planstore.services import placing, wiring

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import IO

    from planstore.models.faults_found import Faults
    from planstore.models.fields import Limits

_IN_MEMORY: Final = 1024 * 1024
"""Bytes up to which what is found isn't put on disk."""

_CYCLES: Final = 20
"""How many cycles are named, each of tasks of its own."""

_PATH: Final = 10
"""How many tasks of a cycle are named."""

_HINTED: Final = 20
"""How many unknown names are answered with the nearest known one."""

_SHORTEST_ID: Final = 32
"""Characters of a UUID without its hyphens."""

_ENTRY: Final = TypeAdapter[DependencyDraft](DependsOn)

_Need = tuple[Condition, DependencyType]
_ORDERLY: Final[_Need] = (Condition.SUCCESS, DependencyType.BLOCKING)


@dataclass(slots=True)
class Item:
    """One task as a reader of a file gives it."""

    at: str
    """Where it stands in the file."""
    fields: dict[str, Any]
    """Those of `PortedTask`, not yet looked at."""
    called: Sequence[str] = ()
    """What others call it, beside its name and its id."""
    origins: Mapping[str, str] = field(default_factory=dict[str, str])
    """Where its fields come from, if not from what lies below ``at`` under the same name."""
    also_needs: Sequence[tuple[str, str]] = ()
    """What others call the tasks that it needs too; and where that stands."""
    after: int | None = None
    """The number of a task before it that it needs."""
    within: int | None = None
    """The number of the task before it that it is a part of."""


@dataclass(slots=True)
class _Asked:
    """That a task needs another one, which isn't known yet."""

    task: int
    called: str
    pointer: str
    need: _Need


@dataclass(slots=True)
class Gathered:
    """A plan that is without fault."""

    plan: PortedPlan
    ids: list[UUID | None]
    """The id of each task, as far as the file gives it."""
    needs: list[dict[int, _Need]]
    """What each task needs, by number."""
    finished: int
    """How many of the tasks are finished."""
    _limits: Limits
    _spool: IO[bytes]
    _orders: list[int | None]
    _are_placed_alike: bool
    """Whether all tasks have one place, since dependencies alone say what waits for what."""

    @property
    def has_step(self) -> bool:
        """Whether the file says at which step the plan stands."""
        return "current_step" in self.plan.model_fields_set

    @property
    def edges(self) -> int:
        """How many dependencies there are."""
        return sum(map(len, self.needs))

    def tasks(self) -> Iterator[PortedTask]:
        """Yield the tasks in their order, from the first on."""
        self._spool.seek(0)
        for line in self._spool:
            yield PortedTask.model_validate_json(line, strict=True, context=self._limits)

    def places(self) -> Iterator[placing.Place]:
        """Yield where each task goes."""
        return placing.places(self._orders, are_alike=self._are_placed_alike)

    def close(self) -> None:
        """Give the disk back."""
        self._spool.close()


class Gathering:
    """What has been found so far; what is wrong with it goes to ``faults``."""

    def __init__(self, faults: Faults, limits: Limits) -> None:
        self.faults = faults
        self._limits = limits
        # Not closed at the end of a block: what was found outlives the reading.
        self._spool: IO[bytes] = tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY)  # noqa: SIM115
        self._plan = PortedPlan()
        self._ats: list[str] = []
        self._labels: list[str] = []
        self._numbers: dict[str, int] = {}
        self._names: dict[str, int] = {}
        self._ids: list[UUID | None] = []
        self._orders: list[int | None] = []
        self._needs: list[dict[int, _Need]] = []
        self._within: dict[int, int] = {}
        self._levels: dict[int, int] = {}
        self._asked: list[_Asked] = []
        self._taken_from: list[tuple[int, str]] = []
        self._finished = 0

    def __len__(self) -> int:
        return len(self._ats)

    def close(self) -> None:
        """Give the disk back, where nothing is made of it."""
        self._spool.close()

    def describe(self, fields: Mapping[str, Any], *, at: str) -> None:
        """Say what the plan is by itself."""
        try:
            self._plan = PortedPlan.model_validate_json(
                to_json(fields), strict=True, context=self._limits
            )
        except ValidationError as error:
            self.faults.add_all(error, at, {})

    def add(self, item: Item) -> int:
        """Add a task; answers its number."""
        number = len(self._ats)
        if number == MAX_TASKS:
            self.faults.add(item.at, f"there are more tasks than the {MAX_TASKS} that are allowed")
        task = self._kept(item)
        self._ats.append(item.at)
        self._needs.append({})
        self._ids.append(None if task is None else task.id)
        self._orders.append(None if task is None else task.sequence_order)
        name = item.fields.get("name") if task is None else task.name
        self._labels.append(name or (item.called[0] if item.called else item.at))
        self._call(number, item, task)
        if item.within is not None:
            self._within[number] = item.within
            self._levels[number] = self._levels.get(item.within, 0) + 1
            if self._levels[number] == MAX_LEVELS:
                self.faults.add(item.at, f"it is nested too deep: {MAX_LEVELS} levels are allowed")
        if item.after is not None:
            self._needs[number][item.after] = _ORDERLY
        self._asked += (
            _Asked(number, each, pointer, _ORDERLY) for each, pointer in item.also_needs
        )
        self._ask(number, item, task)
        self._finished += task is not None and task.status in FINISHED
        return number

    def _kept(self, item: Item) -> PortedTask | None:
        text = to_json(item.fields)
        try:
            task = PortedTask.model_validate_json(text, strict=True, context=self._limits)
        except ValidationError as error:
            self.faults.add_all(error, item.at, item.origins)
            return None
        self._spool.write(text + b"\n")
        return task

    def _call(self, number: int, item: Item, task: PortedTask | None) -> None:
        """Note what the task is called; one that is at fault is needed by others all the same."""
        if task is None:
            given = (item.fields.get(each) for each in ("name", "ref", "id"))
            own = [each for each in given if isinstance(each, str)]
        else:
            own = [str(each) for each in (task.name, task.ref, task.id) if each is not None]
            if task.name is not None:
                self._names.setdefault(task.name, number)
        for each in {*item.called, *own}:
            if self._numbers.setdefault(_reference(each), number) != number:
                self.faults.add(
                    item.origins.get("name", item.at),
                    f"another task before it is called {shortened(each)!r} too",
                )

    def _ask(self, number: int, item: Item, task: PortedTask | None) -> None:
        """Note what the task needs, as far as that can be read."""
        start = item.origins.get("depends_on", f"{item.at}/depends_on")
        entries = _readable(item.fields.get("depends_on")) if task is None else task.depends_on
        for index, each in enumerate(entries):
            if each is None:
                continue
            need = each.when, each.type
            needed = self._numbers.get(_reference(each.task))
            if needed is None:
                self._asked.append(_Asked(number, each.task, f"{start}/{index}", need))
            else:
                self._needs[number][needed] = need
        if task is not None and task.input_data:
            self._taken_from += ((number, name) for name in references(task.input_data))

    def finish(self) -> Gathered:
        """Return the plan; what was found isn't to be closed then, but the plan is.

        Raises:
            InvalidInput: there are faults; all are named.
        """
        self._connect()
        self._refuse_cycles()
        if self._plan.plan_type == SEQUENTIAL:
            self._refuse_later()
        self.faults.raise_any()
        return Gathered(
            plan=self._plan,
            ids=self._ids,
            needs=self._needs,
            finished=self._finished,
            _limits=self._limits,
            _spool=self._spool,
            _orders=self._orders,
            _are_placed_alike=self._are_placed_alike,
        )

    @property
    def _are_placed_alike(self) -> bool:
        return any(self._needs) and all(order is None for order in self._orders)

    def _connect(self) -> None:
        """Find the tasks that are needed, by what they are called."""
        unknown = 0
        for asked in self._asked:
            needed = self._numbers.get(_reference(asked.called))
            if needed is not None:
                self._needs[asked.task][needed] = asked.need
                continue
            unknown += 1
            known = self._numbers if unknown <= _HINTED else ()
            self.faults.add(asked.pointer, wiring.no_such(asked.called, known))
        for number, name in self._taken_from:
            taken = self._names.get(name)
            if taken is not None and taken != number:
                self._needs[number][taken] = wiring.as_data(self._needs[number].get(taken))
        edges = sum(map(len, self._needs))
        # What is a part of another comes after it: it waits for all that the other one waits for.
        for number, whole in self._within.items():
            self._needs[number] = {**self._needs[whole], **self._needs[number]}
            edges += len(self._needs[whole]) + 1
            if edges > MAX_EDGES:
                self.faults.add(
                    self._ats[number],
                    f"there are more dependencies than the {MAX_EDGES} that are allowed",
                )
                return
        for number, whole in self._within.items():
            self._needs[whole][number] = _ORDERLY
        for number, needs in enumerate(self._needs):
            if len(needs) > MAX_DEPENDENCIES:
                self.faults.add(
                    self._ats[number],
                    f"it needs {len(needs)} tasks; {MAX_DEPENDENCIES} are allowed",
                )

    def _refuse_cycles(self) -> None:
        left = {number: needs for number, needs in enumerate(self._needs) if needs}
        for _ in range(_CYCLES):
            cycle = find_cycle(left)
            if cycle is None:
                return
            path = [shortened(self._labels[each]) for each in islice(cycle, _PATH)]
            more = f" → … ({len(cycle) - 1} tasks)" if len(cycle) > _PATH else ""
            self.faults.add_cycle(
                self._ats[cycle[0]], f"each needs the next: {' → '.join(path)}{more}"
            )
            for number in cycle[:-1]:
                left.pop(number, None)

    def _refuse_later(self) -> None:
        """Refuse that a task needs one which in a sequential plan waits for it anyway."""
        orders = [
            max(after_last or 0, at_least or 0)
            for after_last, at_least in placing.places(
                self._orders, are_alike=self._are_placed_alike
            )
        ]
        for number, needs in enumerate(self._needs):
            for needed in needs:
                if orders[needed] > orders[number]:
                    self.faults.add_cycle(
                        self._ats[number],
                        wiring.waits_anyway(
                            self._labels[number],
                            orders[number],
                            self._labels[needed],
                            orders[needed],
                        ),
                    )


def _readable(entries: Any) -> list[DependencyDraft | None]:
    """Return the entries of a task that is at fault itself; None for each that is so too."""
    readable: list[DependencyDraft | None] = []
    for each in cast("list[Any]", entries) if isinstance(entries, list) else ():
        try:
            readable.append(_ENTRY.validate_python(each))
        except ValidationError:
            readable.append(None)
    return readable


def _reference(text: str) -> str:
    """What a task is looked up by: ids may be written in several ways."""
    if len(text) < _SHORTEST_ID:
        return text
    try:
        return str(UUID(text))
    except ValueError:
        return text
