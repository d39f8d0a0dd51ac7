"""What plans are made of templates, and what templates are made of plans.

A text of a template's plan that is ``{{params.name}}`` and nothing else takes the parameter's
value, of whatever type; in a longer one texts are filled in as they are and all else as JSON. So
what a plan comes to is known only once it is filled in; what is known before is checked when the
template is made.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import ValidationError
from pydantic_core import to_json, to_jsonable_python

from planstore.errors import Fault, InvalidInput
from planstore.models import parameters as schemas
from planstore.models.binding import PARAMS, Placeholder, Unbound, filled, placeholders
from planstore.models.dependency import Condition, DependencyType
from planstore.models.expansion import expanded
from planstore.models.faults import refusal, unfit
from planstore.models.fields import MAX_FAULTS, pointer_part, shortened
from planstore.models.graph import nearest
from planstore.models.plan import SEQUENTIAL, PlanCreate
from planstore.models.reshaping import Reshaping
from planstore.models.structure import Structure
from planstore.models.task import TaskDraft, TaskFields
from planstore.models.template import Instantiation

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from uuid import UUID

    from planstore.models.fields import Limits
    from planstore.models.parameters import Schema

MAX_FILLED: Final = 8 * 1024 * 1024
"""Bytes of all that is filled in: a short template may name a long parameter often."""

_HINTED: Final = 20
"""How many unknown names are answered with the nearest known one."""


def check(parameters: Schema, plan: dict[str, Any], *, limits: Limits) -> None:
    """Refuse a template of which no plan could be made, as far as it is known before.

    Raises:
        InvalidInput: it has faults, which are named all at once; pointers lead to its
            ``parameters`` and its ``plan``.
    """
    of_schema = [
        Fault(f"/parameters{each.pointer}", each.detail) for each in schemas.faults_in(parameters)
    ]
    of_plan = [*_faults_of_plan(plan, limits)]
    if not of_schema:
        of_plan += _unknown(plan, schemas.names_in(parameters))
    faults = [*of_schema, *(Fault(f"/plan{each.pointer}", each.detail) for each in of_plan)]
    faults = faults or _faults_of_defaults(parameters, plan, limits)
    if faults:
        raise refusal(faults[:MAX_FAULTS], "the template has")


def made(
    parameters: Schema, plan: dict[str, Any], request: Instantiation, *, limits: Limits
) -> PlanCreate:
    """Return the plan that a template comes to with what is given for its parameters.

    Raises:
        InvalidInput: the parameters don't fit, or the plan doesn't that they make; pointers lead
            to the ``params`` of the request.
    """
    params, faults = schemas.given(parameters, request.params)
    faults = [Fault(f"/{PARAMS}{each.pointer}", each.detail) for each in faults]
    if faults := [*faults, *_not_given(plan, params)]:
        raise refusal(faults[:MAX_FAULTS], "the request has")
    try:
        content = filled(plan, {PARAMS: params}, max_bytes=MAX_FILLED)
    except Unbound as error:
        raise refusal(blamed(error.faults, plan), "the request has") from None
    try:
        draft = _read(content, limits)
    except ValidationError as error:
        found = islice(unfit(error, content, PlanCreate), MAX_FAULTS)
        raise refusal(blamed(found, plan), "the request has") from None
    return draft.model_copy(update=request.of_plan())


def blamed(faults: Iterable[Fault], plan: dict[str, Any]) -> tuple[Fault, ...]:
    """Return faults of a plan as faults of the parameters that it was made with."""
    taking = _taking(plan)
    return tuple(_blamed(each, taking) for each in faults)


def _blamed(fault: Fault, taking: Mapping[str, Placeholder]) -> Fault:
    at = _taken_at(fault.pointer, taking)
    where = f"in the plan, at {fault.pointer or '/'}"
    if at is None:
        return Fault(f"/{PARAMS}", f"{where}: {fault.detail}")
    placeholder = taking[at]
    parts = "".join(f"/{pointer_part(part)}" for part in placeholder.inside.split("."))
    within = fault.pointer.removeprefix(at) if placeholder.is_all else ""
    return Fault(parts + within, f"{fault.detail} ({where})")


def _taking(plan: dict[str, Any]) -> dict[str, Placeholder]:
    """Return the first parameter of each text that takes one, by where the text stands."""
    taking: dict[str, Placeholder] = {}
    for each in placeholders(plan):
        if _path(each)[0] == PARAMS:
            taking.setdefault(each.pointer, each)
    return taking


def _path(placeholder: Placeholder) -> list[str]:
    return placeholder.inside.split(".")


def _taken_at(pointer: str, taking: Mapping[str, Placeholder]) -> str | None:
    """Where the text stands from which a place of the plan comes; None where from none."""
    while pointer and pointer not in taking:
        pointer = pointer.rpartition("/")[0]
    return pointer or None


def _read(plan: dict[str, Any], limits: Limits) -> PlanCreate:
    return PlanCreate.model_validate_json(to_json(plan), strict=True, context=limits)


def _unknown(plan: dict[str, Any], known: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what is taken from the parameters that aren't there."""
    hints = _HINTED
    for each in placeholders(plan):
        root, *path = _path(each)
        shown = f"{{{{{shortened(each.inside)}}}}}"
        if root.strip() != PARAMS:
            continue
        if each.inside != each.inside.strip():
            yield Fault(each.pointer, f"{shown}: write it without blanks in the braces")
        elif path and path[0] not in known:
            near = nearest(path[0], known) if hints > 0 else None
            hints -= 1
            hint = f"; did you mean {shortened(near)!r}?" if near else ""
            why = f"the template has no parameter {shortened(path[0])!r}{hint}"
            yield Fault(each.pointer, f"{shown}: {why}")


def _not_given(plan: dict[str, Any], params: Mapping[str, Any]) -> Iterator[Fault]:
    """Yield what the plan takes of the parameters that isn't given, and has no default."""
    for each in _taking(plan).values():
        path = _path(each)[1:]
        if path and path[0] not in params:
            yield Fault(
                f"/{PARAMS}/{pointer_part(path[0])}",
                f"it is required, for the plan takes it at {each.pointer}, and isn't given",
            )


def _faults_of_plan(plan: dict[str, Any], limits: Limits) -> Iterator[Fault]:
    """Yield what is wrong with a plan whatever is filled in."""
    yield from _own_ids(plan)
    taking = _taking(plan)
    try:
        draft = _read(plan, limits)
    except ValidationError as error:
        found = [*islice(unfit(error, plan, PlanCreate), MAX_FAULTS)]
        yield from (each for each in found if _taken_at(each.pointer, taking) is None)
        if any(each.pointer.endswith("/name") for each in found):
            return  # without its name, who needs a task would seem to be at fault too
        try:
            draft = _read(_without(plan, {each.pointer for each in found}), limits)
        except ValidationError:
            return  # more is at fault, or open, than members of objects
    for fault in _faults_of_structure(draft, limits):
        if _taken_at(fault.pointer, taking) is None:
            yield fault


def _own_ids(plan: dict[str, Any]) -> Iterator[Fault]:
    tasks: object = plan.get("tasks")
    objects = [("", plan)]
    if isinstance(tasks, list):
        objects += [
            (f"/tasks/{number}", cast("dict[str, Any]", each))
            for number, each in enumerate(cast("list[object]", tasks))
            if isinstance(each, dict)
        ]
    for at, each in objects:
        if isinstance(each.get("id"), str) and not _taking({"id": each["id"]}):
            yield Fault(f"{at}/id", "each plan that is made has ids of its own; name tasks instead")


def _without(value: Any, pointers: set[str], at: str = "") -> Any:
    """Return a plan without some members of its objects."""
    if isinstance(value, dict):
        members = cast("dict[str, Any]", value).items()
        return {
            name: _without(member, pointers, pointer)
            for name, member in members
            if (pointer := f"{at}/{pointer_part(name)}") not in pointers
        }
    if isinstance(value, list):
        items = enumerate(cast("list[Any]", value))
        return [_without(item, pointers, f"{at}/{number}") for number, item in items]
    return value


def _faults_of_structure(plan: PlanCreate, limits: Limits) -> Iterator[Fault]:
    """Yield dependencies that lead nowhere or to where they come from."""
    try:
        steps = expanded(plan.steps, plan_type=plan.plan_type, limits=limits) if plan.expand else []
    except InvalidInput as error:
        yield from error.faults
        return
    reshaping = Reshaping(Structure((), is_sequential=plan.plan_type == SEQUENTIAL), last_order=0)
    drafts = [*steps, *plan.tasks]
    reshaping.expect(drafts)
    for number, draft in enumerate(drafts, start=-len(steps)):
        reshaping.add(draft, "/steps" if number < 0 else f"/tasks/{number}")
    reshaping.finish()
    has_all_names = not any(draft.name and [*placeholders(draft.name)] for draft in drafts)
    for fault in reshaping.faults:
        if has_all_names or "/depends_on/" not in fault.pointer:
            yield fault


def _faults_of_defaults(parameters: Schema, plan: dict[str, Any], limits: Limits) -> list[Fault]:
    """Return what is wrong with the plan that the defaults make, where they make one."""
    params, faults = schemas.given(parameters, {})
    if faults or not _taking(plan) or [*_not_given(plan, params)]:
        return []
    try:
        draft = made(parameters, plan, Instantiation(), limits=limits)
    except InvalidInput as error:
        found = error.faults
    else:
        found = blamed(_faults_of_structure(draft, limits), plan)
    return [_of_default(each) for each in found]


def _of_default(fault: Fault) -> Fault:
    _, _, path = fault.pointer.partition(f"/{PARAMS}/")
    name, slash, rest = path.partition("/")
    pointer = f"/parameters/properties/{name}/default{slash}{rest}" if name else "/plan"
    return Fault(pointer, fault.detail)


_OF_PLAN: Final = (
    *("agent_id", "plan_type", "steps", "metadata", "labels", "auto_complete", "on_failure"),
    *("max_parallel_tasks", "retry_policy"),
)
OF_TASK: Final = tuple(name for name in TaskFields.model_fields if name != "not_before")
"""What a template keeps of a task beside what it needs: a time of the past is none of it."""


def kept(
    plan: Mapping[str, Any], tasks: Sequence[Mapping[str, Any]], edges: Iterable[Sequence[Any]]
) -> dict[str, Any]:
    """Return the plan of a template that has the structure of a plan that is there.

    ``tasks`` have ``id`` and `OF_TASK`, ``edges`` are who needs whom, under which condition and
    for what. A task that others need and has no name is given one, for it will have another id.
    """
    needs: dict[UUID, list[Sequence[Any]]] = {}
    needed: set[UUID] = set()
    for edge in edges:
        needs.setdefault(edge[0], []).append(edge)
        needed.add(edge[1])
    names = _names(tasks, needed)
    drafts = [
        {
            **_given(
                TaskDraft, {**{name: task[name] for name in OF_TASK}, "name": names[task["id"]]}
            ),
            **_depends_on(needs.get(task["id"], ()), names),
        }
        for task in tasks
    ]
    given = _given(PlanCreate, {name: plan[name] for name in _OF_PLAN})
    if budget := _without_deadline(plan["budget"]):
        given["budget"] = budget
    return given | {"tasks": drafts}


def _without_deadline(budget: Mapping[str, Any] | None) -> dict[str, Any]:
    """Return the limits of a budget that hold for another plan as well."""
    return {
        name: value
        for name, value in (budget or {}).items()
        if value is not None and name != "deadline"
    }


def _given(model: type[PlanCreate | TaskDraft], fields: Mapping[str, Any]) -> dict[str, Any]:
    """What has to be given for these fields: all that isn't there by default."""
    defaults = {
        name: field.get_default(call_default_factory=True)
        for name, field in model.model_fields.items()
        if not field.is_required()
    }
    given = {
        name: value
        for name, value in fields.items()
        if name not in defaults or value != defaults[name]
    }
    return cast("dict[str, Any]", to_jsonable_python(given))


def _names(tasks: Sequence[Mapping[str, Any]], needed: set[UUID]) -> dict[UUID, str | None]:
    names: dict[UUID, str | None] = {task["id"]: task["name"] for task in tasks}
    taken = {*names.values()}
    for number, task in enumerate(tasks, start=1):
        if task["name"] is None and task["id"] in needed:
            name = f"task-{number}"
            while name in taken:
                name = f"{name}-{number}"
            taken.add(name)
            names[task["id"]] = name
    return names


def _depends_on(
    edges: Iterable[Sequence[Any]], names: Mapping[UUID, str | None]
) -> dict[str, list[Any]]:
    entries: list[Any] = []
    for _, needs_id, when, kind in edges:
        name = names[needs_id]
        is_plain = when == Condition.SUCCESS and kind == DependencyType.BLOCKING
        entries.append(name if is_plain else {"task": name, "when": when, "type": kind})
    return {"depends_on": entries} if entries else {}
