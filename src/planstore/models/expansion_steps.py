"""The steps of a plan, read for its expansion: which tasks they make, and what holds for each."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, NamedTuple, cast

from pydantic import TypeAdapter, ValidationError
from pydantic_core import to_json

from planstore.errors import Fault, InvalidInput
from planstore.models.faults_found import Faults
from planstore.models.fields import (
    MAX_ORDER,
    Limits,
    Steps,
    shortened,
    shown,
)
from planstore.models.task import MAX_BATCH

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from planstore.models.dependency import Condition, DependencyType

MAX_TAKEN_OVER: Final = 10_000_000
"""How many bytes of JSON actions may take from their steps: each has a copy of its own."""

_Keys = dict[str, tuple[str, ...]]
"""Field → the keys that may give it; the first that does counts."""

SHARED: Final[_Keys] = {
    "agent": ("agent",),
    "agent_id": ("agent_id",),
    "task_type": ("task_type", "type"),
    "input_data": ("input", "input_data", "inputs"),
    "estimated_duration": ("estimated_duration",),
    "priority": ("priority",),
    "timeout_seconds": ("timeout_seconds",),
    "side_effects": ("side_effects",),
    "requires_approval": ("requires_approval",),
    "retry_policy": ("retry_policy",),
    "not_before": ("not_before",),
    "metadata": ("metadata",),
}
"""What a step says for its actions too. Of both `metadata` one is made."""
_OWN: Final[_Keys] = {"id": ("id",), "name": ("name",), "depends_on": ("depends_on",)}
_WORK: Final[_Keys] = {"action": ("action",), "description": ("description", "title")}
_PLACE: Final[_Keys] = {"step": ("step",), "parallel_group": ("parallel_group",)}

_OF_ACTIONS: Final[_Keys] = {**_OWN, **_WORK, **SHARED}
_OF_STEPS: Final[_Keys] = {**_PLACE, **_OF_ACTIONS}
_OF_GROUPS: Final[_Keys] = {**_PLACE, **_OWN, **SHARED, "actions": ("actions",)}

_AGENTS: Final = frozenset({"agent", "agent_id"})
"""They say one thing in two ways: an action with either takes neither from its step."""

_IF_TEXT: Final = frozenset({"agent", "type"})
"""Keys that may hold anything; only a text means something here."""

LABELS: Final = ("step", "id", "name")
"""What a step is called by."""

_KINDS: Final[Mapping[str, tuple[type, str]]] = {
    "name": (str, "a text"),
    "action": (str, "a text"),
    "actions": (list, "a list"),
    "input_data": (dict, "an object"),
    "metadata": (dict, "an object"),
}

_STEPS: Final = TypeAdapter[list[dict[str, Any]]](Steps)


def faults_of_steps() -> Faults:
    """Return where the faults of steps are gathered."""
    # Of all fields of a task only its description is required.
    return Faults("the steps have", missing="a step needs an action or a description")


def refusal(detail: str, pointer: str = "/steps") -> InvalidInput:
    """Return what to raise at once, for want of anything to go on with."""
    return InvalidInput(detail, faults=(Fault(pointer, detail),))


class Given(NamedTuple):
    """A value, and where it stands."""

    value: Any  # free JSON
    pointer: str


@dataclass(eq=False, slots=True)
class Part:
    """A step, or one of its actions, as it was given."""

    at: str
    given: dict[str, Given] = field(default_factory=dict[str, Given])
    """By field."""
    rest: dict[str, Any] = field(default_factory=dict[str, Any])
    """By key: what gives no field."""


@dataclass(eq=False, slots=True)
class Step:
    """A step, and where it stands among the others."""

    position: int
    """From 1."""
    part: Part
    group: Any
    """Its `parallel_group`: a text, unless it is at fault."""
    is_group: bool
    """Whether it has actions, and a task for each."""
    tasks: list[StepTask] = field(default_factory=list["StepTask"])
    order: int = 0
    """Its `sequence_order`."""

    @property
    def number(self) -> str | None:
        """What its `step` reads as."""
        given = self.part.given.get("step")
        return None if given is None else label_of(given.value)

    @property
    def label(self) -> str:
        """What it is called in a sentence."""
        given = (self.part.given.get(name) for name in LABELS)
        labels = (label_of(each.value) for each in given if each)
        return next((shortened(label) for label in labels if label), str(self.position))


class Need(NamedTuple):
    """What is asked of a task that is needed, and where."""

    when: Condition
    type: DependencyType
    pointer: str


@dataclass(eq=False, slots=True)
class StepTask:
    """A task to be made."""

    step: Step
    part: Part
    """The step itself, or the action that it is made from."""
    given: dict[str, Given]
    """What holds for it: what the action says, and what it takes from its step."""
    needs: dict[StepTask, Need] = field(default_factory=dict["StepTask", "Need"])
    is_needed: bool = False
    """Whether others need it: then it must have a name."""
    name: str | None = None

    @property
    def action(self) -> str | None:
        """What is to be done, in a word."""
        given = self.given.get("action")
        return None if given is None else given.value

    @property
    def label(self) -> str:
        """What it is called in a sentence."""
        return shortened(self.name) if self.name and self.step.is_group else self.step.label


def label_of(value: Any) -> str | None:
    """Return what a text or a number is called: 1, 1.0 and "1" the same. None for all else."""
    match value:
        case bool():
            return None
        case str():
            return value
        case int() | float() if abs(value) <= MAX_ORDER:
            return str(int(value) if value == int(value) else value)
        case _:
            return None


def read_steps(steps: Sequence[Mapping[str, Any]], faults: Faults, limits: Limits) -> list[Step]:
    """Return the steps with the tasks that they make, unconnected and without names.

    Raises:
        InvalidInput: there are none, or they can't be read at all; other faults go to ``faults``.
    """
    read = [
        _read_step(position, step, faults) for position, step in enumerate(_kept(steps, limits), 1)
    ]
    _place(read)
    return read


def _kept(steps: Sequence[Mapping[str, Any]], limits: Limits) -> list[dict[str, Any]]:
    """Refuse what couldn't be kept as the steps of a plan, and what would grow too much."""
    if not steps:
        raise refusal("the plan has no steps")
    try:
        kept = _STEPS.validate_python(list(steps), context=limits)
    except ValidationError as error:
        faults = faults_of_steps()
        faults.add_all(error, "/steps", {})
        faults.raise_any()
        raise
    groups = [(step, len(actions)) for step in kept if (actions := _actions(step))]
    count = len(kept) - len(groups) + sum(actions for _, actions in groups)
    if count > MAX_BATCH:
        raise refusal(f"they come to {count} tasks; at most {MAX_BATCH} are allowed")
    size = sum(_size(step) * actions for step, actions in groups)
    if size > MAX_TAKEN_OVER:
        raise refusal(
            f"actions would take over {size} bytes from their steps; at most {MAX_TAKEN_OVER} are "
            "allowed"
        )
    return kept


def _actions(step: Mapping[str, Any]) -> list[Any]:
    actions = step.get("actions")
    return cast("list[Any]", actions) if isinstance(actions, list) else []


def _size(step: Mapping[str, Any]) -> int:
    copied = {key: value for key, value in step.items() if key not in {"actions", "depends_on"}}
    return len(to_json(copied))


def _read_step(position: int, content: Mapping[str, Any], faults: Faults) -> Step:
    is_group = content.get("actions") is not None
    keys = _OF_GROUPS if is_group else _OF_STEPS
    part = _read(f"/steps/{position - 1}", content, keys, faults)
    group = content.get("parallel_group")
    step = Step(position, part, label_of(group) or group, is_group)
    if is_group:
        # They name the step, and none of its tasks.
        part.rest |= {name: part.given[name].value for name in ("id", "name") if name in part.given}
        step.tasks += [
            StepTask(step, action, _taken_over(part, action))
            for action in _read_actions(part, faults)
        ]
    else:
        step.tasks.append(StepTask(step, part, part.given))
    return step


def _read_actions(step: Part, faults: Faults) -> Iterator[Part]:
    given = step.given.get("actions")
    if given is None:
        return  # it is no list, which is said already
    if not given.value:
        faults.add(given.pointer, "it is empty; leave it out, or say what is to be done")
    for index, action in enumerate(given.value):
        at = f"{given.pointer}/{index}"
        match action:
            case dict():
                yield _read(at, cast("dict[str, Any]", action), _OF_ACTIONS, faults)
            case str():
                yield Part(at, {"action": Given(action, at)})
            case _:
                faults.add(at, f"it must be an object or a text; it is {shown(action)}")


def _read(at: str, content: Mapping[str, Any], keys: _Keys, faults: Faults) -> Part:
    part = Part(at, rest={key: value for key, value in content.items() if value is not None})
    for name, aliases in keys.items():
        key = next((key for key in aliases if _is_given(part.rest, key)), None)
        if key is None:
            continue
        given = Given(part.rest.pop(key), f"{at}/{key}")
        if fault := _unfit(name, given.value):
            faults.add(given.pointer, f"{fault}; it is {shown(given.value)}")
        else:
            part.given[name] = given
    return part


def _is_given(content: Mapping[str, Any], key: str) -> bool:
    return key in content and (key not in _IF_TEXT or isinstance(content[key], str))


def _unfit(name: str, value: Any) -> str | None:
    kind, noun = _KINDS.get(name, (object, ""))
    if not isinstance(value, kind):
        return f"it must be {noun}"
    if name in LABELS and label_of(value) is None:
        return f"it must be a text, or a number up to {MAX_ORDER}"
    return None


def _taken_over(step: Part, action: Part) -> dict[str, Given]:
    """Return what holds for an action: what it says itself, else what its step says."""
    kept = SHARED.keys() - _AGENTS if action.given.keys() & _AGENTS else SHARED.keys()
    shared = {name: given for name, given in step.given.items() if name in kept}
    both = shared | action.given
    if "metadata" in shared and "metadata" in action.given:
        value, pointer = action.given["metadata"]
        both["metadata"] = Given(shared["metadata"].value | value, pointer)
    return both


def _place(steps: Sequence[Step]) -> None:
    """Give each step its `sequence_order`."""
    numbers = [number for step in steps if (number := _whole(step)) is not None]
    orders = numbers if len(numbers) == len(steps) else _stages(steps)
    for step, order in zip(steps, orders, strict=True):
        step.order = order


def _whole(step: Step) -> int | None:
    given = step.part.given.get("step")
    match given and given.value:
        case int() | float() as value if value >= 0 and value == int(value):
            return int(value)
        case _:
            return None


def _stages(steps: Iterable[Step]) -> Iterator[int]:
    """Yield the place of each step's stage, from 1."""
    stages: dict[str, int] = {}
    last = stage = 0
    before = None
    for step in steps:
        if step.number is not None:
            stage = stages.setdefault(step.number, last + 1)
        elif before is None or step.group is None or step.group != before.group:
            stage = last + 1
        last = max(last, stage)
        before = step
        yield stage
