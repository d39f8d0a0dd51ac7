"""Expansion: how the `steps` of a plan become its tasks.

A step is free JSON. It makes one task, or one for each of its `actions`::

    {"step": 1, "parallel_group": "A", "actions": [{"action": "lint"}, "typecheck"]}
    {"step": 2, "action": "build", "depends_on": 1, "estimated_duration": "5m"}

A key that is null counts as left out, and an unknown one is no fault: what makes no field of the
task is kept in its `metadata`, under `step`.

**What a step is called**: its `step`, its `id` and its `name`, each a text or a number, where 1
and "1" are the same. A step with neither `step` nor `id` is also called by its place in the list,
from 1, if no other is called so. No two may be called the same, but for steps with an equal
`step` and the same `parallel_group`: they are one stage, and its number means all of them.

**What `depends_on` means**: a step, and with it all its tasks; an action by its `id` or `name`;
or the one task whose `action` reads so. Actions look among those of their own step first, and only
there does a number in an action's `id` count. What an action needs comes on top of what its step
needs; who names a task twice asks for both.

**`sequence_order`** is the number in `step`, if every step has a whole one of at least 0; else the
place of the step's stage, from 1. A step without `step` shares the stage of the one just before
it if they have the same `parallel_group`.

**What an action takes from its step**: all of `SHARED` that it doesn't say itself.
"""

from __future__ import annotations

from collections import ChainMap, Counter
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast
from uuid import UUID

from pydantic import TypeAdapter, ValidationError

from planstore.models.dependency import Condition, DependencyDraft, DependencyType
from planstore.models.expansion_steps import (
    LABELS,
    SHARED,
    Given,
    Need,
    Part,
    Step,
    StepTask,
    faults_of_steps,
    label_of,
    read_steps,
    refusal,
)
from planstore.models.fields import DEFAULT_LIMITS, Limits, Name, Record, ShortText, shown
from planstore.models.graph import find_cycle, nearest
from planstore.models.plan import SEQUENTIAL
from planstore.models.task import TaskDraft

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from planstore.models.faults_found import Faults

MAX_NEEDS: Final = 100_000
"""How many dependencies may be made at once: two stages of 5,000 tasks would have 25 million."""

_HINTED: Final = 5
"""How many unknown names are compared with the known ones: each may take 0.2 s."""

_PATH: Final = 10
"""How many tasks of a cycle are named."""

_AS_GIVEN: Final = (SHARED.keys() | {"description"}) - {"agent", "metadata"}
"""The fields that go into the task as they are."""

_NAME: Final = TypeAdapter[str](Name)
_SHORT_TEXT: Final = TypeAdapter[str](ShortText)


def expanded(
    steps: Sequence[Mapping[str, Any]], *, plan_type: str, limits: Limits = DEFAULT_LIMITS
) -> list[TaskDraft]:
    """Return the tasks that ``steps`` describe, in their order; they need each other by name.

    A task is named as it says (`name`, or a text in `id`), else after its action. One that others
    need always has a name: `step-` and its step's number, if there is no other. `-2`, `-3` … tell
    apart what would have the same one.

    Raises:
        InvalidInput: there are no steps, or they have faults, which are named all at once, 1,000
            at most. Past 10,000 tasks, 100,000 dependencies or 10 MB that actions take from their
            steps, only that is said.
    """
    faults = faults_of_steps()
    found = read_steps(steps, faults, limits)
    tasks = [task for step in found for task in step.tasks]
    _Wiring(_called(found, faults), faults, is_sequential=plan_type == SEQUENTIAL).connect(found)
    _name(tasks)
    _refuse_cycle(tasks, faults)
    drafts = [draft for task in tasks if (draft := _draft(task, faults, limits))]
    faults.raise_any()
    return [
        draft.model_copy(update={"depends_on": _dependencies(task)})
        for draft, task in zip(drafts, tasks, strict=True)
    ]


class _Called(NamedTuple):
    """What a name means."""

    tasks: list[StepTask]
    at: str | None = None
    """Where the one stands that is called so; None if there are only actions that read so."""
    stage: Any = None
    """The `parallel_group` in which others may be called so too."""


_Names = ChainMap[str, _Called]
"""What each name means; the first map that has it counts."""


def _called(steps: Iterable[Step], faults: Faults) -> _Names:
    names: dict[str, _Called] = {}
    places: dict[str, _Called] = {}
    for step in steps:
        given = step.part.given
        for name in LABELS:
            if name in given:
                stage = step.group if name == "step" else None
                _call(given[name], _Called([*step.tasks], step.part.at, stage), names, faults)
        if not given.keys() & {"step", "id"}:
            places[str(step.position)] = _Called(step.tasks, step.part.at)
        for task in step.tasks if step.is_group else ():
            for name in ("id", "name"):
                # Actions are often numbered anew in each step.
                if name in task.given and isinstance(task.given[name].value, str):
                    _call(task.given[name], _Called([task], task.part.at), names, faults)
    return ChainMap(names, places, _by_action(task for step in steps for task in step.tasks))


def _call(given: Given, called: _Called, names: dict[str, _Called], faults: Faults) -> None:
    label = str(label_of(given.value))
    first = names.setdefault(label, called)
    if first.at == called.at:
        return
    if called.stage is not None and called.stage == first.stage:
        first.tasks.extend(called.tasks)
    else:
        faults.add(
            given.pointer,
            f"{shown(given.value)} is what {first.at} is called already; only a `step` may be "
            "shared, within one `parallel_group`",
        )


def _by_action(tasks: Iterable[StepTask]) -> dict[str, _Called]:
    names: dict[str, _Called] = {}
    for task in tasks:
        if task.action is not None:
            names.setdefault(task.action, _Called([])).tasks.append(task)
    return names


def _by_own_names(tasks: Sequence[StepTask]) -> dict[str, _Called]:
    """Return what the actions of one step call each other."""
    names: dict[str, _Called] = {}
    for task in tasks:
        given = [task.given[name].value for name in ("id", "name") if name in task.given]
        for label in {label_of(value): None for value in given}:
            names.setdefault(str(label), _Called([])).tasks.append(task)
    return _by_action(tasks) | names


class _Spelt(Record):
    """An entry of `depends_on` that is an object."""

    step: Any = None
    task: Any = None
    when: Condition = Condition.SUCCESS
    type: DependencyType = DependencyType.BLOCKING


class _Wiring:
    """Connects tasks with those that they need."""

    def __init__(self, names: _Names, faults: Faults, *, is_sequential: bool) -> None:
        self._names = names
        self._faults = faults
        self._is_sequential = is_sequential
        self._count = 0
        self._hints = _HINTED

    def connect(self, steps: Iterable[Step]) -> None:
        for step in steps:
            self._connect(step.part, step.tasks, self._names)
            if step.is_group and any("depends_on" in task.part.given for task in step.tasks):
                names = self._names.new_child(_by_own_names(step.tasks))
                for task in step.tasks:
                    self._connect(task.part, [task], names)

    def _connect(self, part: Part, tasks: Sequence[StepTask], names: _Names) -> None:
        """Connect ``tasks``, all of one step, with what ``part`` says that they need."""
        given = part.given.get("depends_on")
        if given is None:
            return
        for entry in _entries(given):
            wanted = self._read(entry)
            if wanted is None:
                continue
            name, need = wanted
            found = self._find(name, names)
            self._admit(len(found) * len(tasks), need.pointer)
            if found and tasks and self._is_possible(tasks, found, need.pointer):
                self._add(tasks, found, need)

    def _read(self, entry: Given) -> tuple[Given, Need] | None:
        """Return what an entry names, and what it asks of that."""
        value: object = entry.value
        if not isinstance(value, dict):
            return entry, Need(Condition.SUCCESS, DependencyType.BLOCKING, entry.pointer)
        content = cast("dict[str, Any]", value)
        said = {key: value for key, value in content.items() if value is not None}
        try:
            spelt = _Spelt.model_validate(said)
        except ValidationError as error:
            self._faults.add_all(error, entry.pointer, {})
            return None
        named = [key for key in ("step", "task") if key in said]
        if len(named) != 1:
            self._faults.add(entry.pointer, "it must name one step or task, as `step` or as `task`")
            return None
        (key,) = named
        pointer = f"{entry.pointer}/{key}"
        return Given(said[key], pointer), Need(spelt.when, spelt.type, pointer)

    def _find(self, name: Given, names: _Names) -> list[StepTask]:
        value, pointer = name
        label = label_of(value)
        if label is None:
            fault = f"it must be the number, the id or the name of a step; it is {shown(value)}"
        elif (called := names.get(label)) is None:
            fault = f"there is no step or action {shown(value)}{self._hint(label, names)}"
        elif called.at is None and len(called.tasks) > 1:
            fault = f"there are {len(called.tasks)} actions {shown(value)}; give them names"
        else:
            return called.tasks
        self._faults.add(pointer, fault)
        return []

    def _hint(self, label: str, names: _Names) -> str:
        self._hints -= 1
        near = nearest(label, names) if self._hints >= 0 else None
        return f"; did you mean {shown(near)}?" if near else ""

    def _admit(self, count: int, pointer: str) -> None:
        self._count += count
        if self._count > MAX_NEEDS:
            raise refusal(f"with it there are more than {MAX_NEEDS} dependencies", pointer)

    def _is_possible(
        self, tasks: Sequence[StepTask], found: Sequence[StepTask], pointer: str
    ) -> bool:
        own, other = tasks[0].step, found[0].step
        if not set(found).isdisjoint(tasks):
            fault = f"{own.label} can't need itself"
        elif self._is_sequential and other.order > own.order:
            fault = f"in a sequential plan {own.label} can't need {other.label}, which comes later"
        else:
            return True
        self._faults.add(pointer, fault)
        return False

    def _add(self, tasks: Iterable[StepTask], found: Iterable[StepTask], need: Need) -> None:
        for needed in found:
            needed.is_needed = True
            for task in tasks:
                both = _both(task.needs.setdefault(needed, need), need)
                if both:
                    task.needs[needed] = both
                else:
                    self._faults.add(
                        need.pointer, f"{needed.label} is needed to succeed and to fail"
                    )


def _entries(given: Given) -> Iterator[Given]:
    value: object = given.value
    if not isinstance(value, list):
        yield given
        return
    for index, entry in enumerate(cast("list[Any]", value)):
        yield Given(entry, f"{given.pointer}/{index}")


def _both(first: Need, second: Need) -> Need | None:
    """Return what is asked if both are; None if no task can do that."""
    whens = {first.when, second.when} - {Condition.ENDED}  # whoever succeeds or fails has ended
    if len(whens) > 1:
        return None
    is_data = DependencyType.DATA in (first.type, second.type)
    return Need(
        whens.pop() if whens else Condition.ENDED,
        DependencyType.DATA if is_data else DependencyType.BLOCKING,
        first.pointer,
    )


def _refuse_cycle(tasks: Sequence[StepTask], faults: Faults) -> None:
    cycle = find_cycle({task: task.needs for task in tasks})
    if cycle is None:
        return
    places = {task: place for place, task in enumerate(tasks)}
    *path, _ = cycle
    start = path.index(min(path, key=places.__getitem__))
    path = [*path[start:], *path[:start]]
    labels = [task.label for task in path]
    if len(labels) > _PATH:
        labels[_PATH:] = ["…"]
    way = " → ".join([*labels, labels[0]])
    pointer = path[0].needs[path[1 % len(path)]].pointer
    faults.add(pointer, f"they need each other, so that none can begin: {way}")


class _NamesTaken:
    """Names that tasks have, and the next number for each that is wanted again."""

    def __init__(self, names: Iterable[str]) -> None:
        self._names = set(names)
        self._counts = Counter[str]()

    def __contains__(self, name: str) -> bool:
        return name in self._names

    def take(self, stem: str) -> str | None:
        """Take ``stem``, or ``stem-2``, ``stem-3`` …; None if that can't be a name."""
        name = stem
        while name in self._names:
            self._counts[stem] += 1
            name = f"{stem}-{self._counts[stem] + 1}"
        if not _fits(name, _NAME):
            return None
        self._names.add(name)
        return name


def _name(tasks: Sequence[StepTask]) -> None:
    """Give tasks their names: those that they say, then actions, then what is left to say."""
    for task in tasks:
        task.name = _own_name(task)
    taken = _NamesTaken(task.name for task in tasks if task.name is not None)
    unnamed = [(task, task.action) for task in tasks if task.name is None and task.action]
    repeated: list[tuple[StepTask, str]] = []
    for task, action in unnamed:
        if action in taken:
            repeated.append((task, action))
        else:
            task.name = taken.take(action)
    for task, action in repeated:  # now, so that none takes `lint-2` from an action of that name
        task.name = taken.take(action)
    for task in tasks:
        if task.is_needed and task.name is None:
            position = task.step.position
            number = task.step.number or position
            task.name = taken.take(f"step-{number}") or taken.take(f"step-{position}")


def _own_name(task: StepTask) -> str | None:
    if "name" in task.given:
        return task.given["name"].value
    given = task.given.get("id")
    return given.value if given and _fits(given.value, _NAME) else None


def _fits(value: Any, kind: TypeAdapter[str]) -> bool:
    try:
        kind.validate_python(value)
    except ValidationError:
        return False
    return True


def _draft(task: StepTask, faults: Faults, limits: Limits) -> TaskDraft | None:
    fields = _fields(task)
    fields["metadata"] = Given(_metadata(task, fields), task.part.at)
    try:
        return TaskDraft.model_validate(
            {name: given.value for name, given in fields.items()}, context=limits
        )
    except ValidationError as error:
        origins = {name: given.pointer for name, given in fields.items()}
        faults.add_all(error, task.part.at, {"description": task.part.at, **origins})
        return None


def _fields(task: StepTask) -> dict[str, Given]:
    given, at = task.given, task.part.at
    fields = {name: value for name, value in given.items() if name in _AS_GIVEN}
    work = given.get("action")
    if what := given.get("description") or work or given.get("name"):
        fields["description"] = what
    if work and "task_type" not in fields and _fits(work.value, _SHORT_TEXT):
        fields["task_type"] = work
    if "agent_id" not in fields and (agent := _agent_id(given.get("agent"))):
        fields["agent_id"] = agent
    if task.step.group is not None:
        fields["parallel_group"] = Given(task.step.group, f"{task.step.part.at}/parallel_group")
    if task.name is not None:
        fields["name"] = Given(task.name, given["name"].pointer if "name" in given else at)
    fields["sequence_order"] = Given(task.step.order, at)
    return fields


def _agent_id(agent: Given | None) -> Given | None:
    try:
        return agent and Given(UUID(agent.value), agent.pointer)
    except ValueError:
        return None


def _metadata(task: StepTask, fields: Mapping[str, Given]) -> dict[str, Any]:
    """Return what gives no field, and over it the `metadata` that were given."""
    metadata: dict[str, Any] = {}
    agent, agent_id = task.given.get("agent"), fields.get("agent_id")
    if agent and (agent_id is None or agent_id.pointer != agent.pointer):
        metadata["agent"] = agent.value
    if rest := _rest(task, fields):
        metadata["step"] = rest
    given = task.given.get("metadata")
    return metadata | given.value if given else metadata


def _rest(task: StepTask, fields: Mapping[str, Given]) -> dict[str, Any]:
    rest = task.step.part.rest | task.part.rest
    used = [fields[name].value for name in ("name", "description", "task_type") if name in fields]
    for name in ("id", "action"):
        if name in task.given and task.given[name].value not in used:
            rest[name] = task.given[name].value
    return rest


def _dependencies(task: StepTask) -> list[DependencyDraft]:
    return [_dependency(needed, need) for needed, need in task.needs.items()]


def _dependency(needed: StepTask, need: Need) -> DependencyDraft:
    assert needed.name is not None  # `_name` sees to it
    return DependencyDraft(task=needed.name, when=need.when, type=need.type)
