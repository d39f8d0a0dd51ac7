"""Which plan or task is meant: by id, by how its id begins, or by name."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Final, Protocol, TypeVar
from uuid import UUID

from planstore.commands.rendering import shorter, working
from planstore.errors import InvalidInput, NotFound
from planstore.models import PlanFilter, TaskFilter
from planstore.models.graph import nearest
from planstore.models.page import DEFAULT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from planstore.client import PlanStoreClient
    from planstore.models import Plan, Task
    from planstore.models.page import Page


class _Identified(Protocol):
    @property
    def id(self) -> UUID: ...


F = TypeVar("F", PlanFilter, TaskFilter)
I = TypeVar("I", bound=_Identified)  # noqa: E741 - an item

_BEGINNING: Final = re.compile(r"[0-9a-f]{4}[0-9a-f-]*", re.IGNORECASE)
_PAGES: Final = 20
"""How many pages are looked through for what isn't found by the time in its id."""

_DIGITS_OF_A_TIME: Final = 12
"""A UUIDv7 begins with the milliseconds since 1970, as 48 bits."""

_LEAST_DIGITS: Final = 7
"""Fewer of them leave more than a quarter of an hour open."""

_SKEW: Final = timedelta(minutes=5)
"""How far the clocks of a server and its database may be apart."""

_NAMED: Final = 5
"""How many are named where it isn't clear which is meant."""


def plan_id(client: PlanStoreClient, said: str) -> UUID:
    """Return the id of the plan that is meant.

    Raises:
        NotFound: no plan's id begins so.
        InvalidInput: those of several do.
    """
    if (whole := _whole(said)) is not None:
        return whole
    if not _BEGINNING.fullmatch(said):
        raise NotFound(
            f"{said!r} is neither the id of a plan nor how one begins (4 digits or more)"
        )
    found = _begun_by(said, PlanFilter, lambda f, c: client.list_plans(f, cursor=c))
    return _only(found, said, of="plan", told=_plan_in_brief)


def task_id(client: PlanStoreClient, said: str, *, plan: str | None = None) -> UUID:
    """Return the id of the task that is meant.

    ``said``: its name, or ``PLAN/NAME``, or its id, or how that begins. ``plan``: the one that it
    belongs to, said in the same way.

    Raises:
        NotFound: there is no such task; the nearest name is told.
        InvalidInput: several are called so.
    """
    if (whole := _whole(said)) is not None:
        return whole
    before, slash, after = said.partition("/")
    if slash and plan is None and (_whole(before) or _BEGINNING.fullmatch(before)):
        plan, said = before, after
    of = None if plan is None else plan_id(client, plan)
    named = client.list_tasks(TaskFilter(name=[said]), plan_id=of)
    if not named and _BEGINNING.fullmatch(said):
        named = _begun_by(said, TaskFilter, lambda f, c: client.list_tasks(f, plan_id=of, cursor=c))
    if not named:
        raise _no_task(client, said, of)
    return _only(named, said, of="task", told=_task_in_brief)


def _whole(said: str) -> UUID | None:
    try:
        return UUID(said)
    except ValueError:
        return None


def _begun_by(said: str, kind: type[F], page: Callable[[F, str | None], Page[I]]) -> list[I]:
    """Return those whose ids begin so: made at the time in it, else among the latest."""
    begin = said.replace("-", "").lower()
    for window in _windows(begin):
        found = kind.model_validate(window)
        with working(f"Looking for {said} …"):
            near = [each for each in _each(found, page) if each.id.hex.startswith(begin)]
        if near:
            return near
    return []


def _windows(begin: str) -> Iterator[dict[str, datetime]]:
    digits = begin[:_DIGITS_OF_A_TIME]
    if len(digits) >= _LEAST_DIGITS:
        try:
            first, last = (
                datetime.fromtimestamp(int(digits.ljust(_DIGITS_OF_A_TIME, fill), 16) / 1_000, UTC)
                for fill in "0f"
            )
            yield {"created_after": first - _SKEW, "created_before": last + _SKEW}
        except (ValueError, OverflowError, OSError):
            pass  # an id of another kind, which a client gave
    yield {}


def _each(found: F, page: Callable[[F, str | None], Page[I]]) -> Iterator[I]:
    cursor: str | None = None
    for _ in range(_PAGES):
        items = page(found, cursor)
        yield from items
        if (cursor := items.next_cursor) is None:
            return


def _only(found: list[I], said: str, *, of: str, told: Callable[[I], str]) -> UUID:
    if not found:
        raise NotFound(f"there is no {of} whose id begins with {said}")
    if len(found) == 1:
        return found[0].id
    named = "; ".join(told(each) for each in found[:_NAMED])
    more = f"; and {len(found) - _NAMED} more" if len(found) > _NAMED else ""
    raise InvalidInput(f"several {of}s may be meant by {said}: {named}{more}")


def _plan_in_brief(plan: Plan) -> str:
    return f"{plan.id} ({plan.status})"


def _task_in_brief(task: Task) -> str:
    return f"{task.name or task.id} of plan {shorter(task.plan_id)} ({task.status}): {task.id}"


def _no_task(client: PlanStoreClient, said: str, plan: UUID | None) -> NotFound:
    others = client.list_tasks(plan_id=plan, limit=DEFAULT_LIMIT)
    near = nearest(said, [task.name for task in others if task.name is not None])
    where = "" if plan is None else f" in the plan {plan}"
    hint = f"; did you mean {near}?" if near else ""
    return NotFound(f"there is no task {said}{where}{hint}")
