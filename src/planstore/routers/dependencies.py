"""The routes of what a task needs."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Annotated, Final, NamedTuple, Protocol

from pydantic import Field, RootModel
from starlette.requests import Request
from starlette.responses import Response

from planstore.errors import Fault, InvalidInput
from planstore.models.dependency import (
    Dependencies,
    DependenciesUpdate,
    DependencyDraft,
    DependsOn,
)
from planstore.models.fields import Record, ShortText
from planstore.models.task import Dependency
from planstore.routers import answering, reading
from planstore.routers.context import context_of
from planstore.routers.endpoint import Endpoint
from planstore.routers.reading import NoQuery
from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from collections.abc import Generator
    from uuid import UUID

    from planstore.models.idempotency import Idempotency

_FIELD: Final = "/depends_on"

AtLeastOne = Annotated[Dependencies, Field(min_length=1)]


class Needs(Record):
    """What a task needs."""

    depends_on: Dependencies
    """Ids or names of tasks of the same plan, or `{"task", "when", "type"}`."""


class NeedsList(RootModel[Dependencies]):
    """What a task needs, as an array by itself."""


class NeededNoMore(Record):
    """What a task needs no more."""

    depends_on: AtLeastOne = Field(default_factory=list[DependsOn])
    """Ids or names of the tasks; all that it needs if left out."""


class NeededNoMoreList(RootModel[AtLeastOne]):
    """What a task needs no more, as an array by itself."""


class DependencyQuery(Record):
    """Which dependency to remove."""

    task: ShortText | None = None
    """The id or the name of the task that is needed no more, instead of a body."""


class _Named(NamedTuple):
    """The tasks that a request names."""

    update: DependenciesUpdate
    place: str = _FIELD
    """Where it names them."""

    @contextmanager
    def pointed_at(self) -> Generator[None]:
        """Have faults point to where the request names the tasks."""
        try:
            yield
        except InvalidInput as error:
            faults = tuple(replace(each, pointer=self._pointer(each)) for each in error.faults)
            raise type(error)(error.detail, faults=faults) from error

    def _pointer(self, fault: Fault) -> str:
        if self.place.startswith("?"):
            return self.place
        rest = fault.pointer.removeprefix(_FIELD)
        return fault.pointer if rest == fault.pointer else self.place + rest


async def list_dependencies(request: Request) -> Response:
    """List what a task needs."""
    reading.parse_query(request, NoQuery)
    task_id = reading.parse_id(request, "task_id")
    return answering.array(await context_of(request).store.list_dependencies(task_id))


async def set_dependencies(request: Request) -> Response:
    """Have a task need exactly what the body names, and what its input names."""
    return await _rewire(request, PlanStore.set_dependencies, await _needs(request))


async def add_dependencies(request: Request) -> Response:
    """Have a task need what the body names, beside what it needs already."""
    return await _rewire(request, PlanStore.add_dependencies, await _needs(request))


async def remove_dependencies(request: Request) -> Response:
    """Have a task no longer need what the body or the query names; all, where neither does.

    What its input names it needs for as long as it does.
    """
    return await _rewire(request, PlanStore.remove_dependencies, await _needed_no_more(request))


class _Verb(Protocol):
    """A method of the store that changes what a task needs."""

    async def __call__(
        self,
        store: PlanStore,
        task_id: UUID,
        wired: DependenciesUpdate,
        /,
        *,
        idempotency: Idempotency | None,
    ) -> list[Dependency]: ...


async def _rewire(request: Request, verb: _Verb, named: _Named) -> Response:
    task_id = reading.parse_id(request, "task_id")
    key = reading.parse_idempotency(request)
    with named.pointed_at():
        needed = await verb(context_of(request).store, task_id, named.update, idempotency=key)
    return answering.array(needed)


async def _needs(request: Request) -> _Named:
    context = context_of(request)
    body = await reading.read_body(request, limit=context.max_body)
    reading.parse_query(request, NoQuery)
    if _is_array(body):
        array = reading.parse_body(body, NeedsList, limits=context.limits)
        return _Named(DependenciesUpdate(depends_on=array.root), place="")
    needs = reading.parse_body(body, Needs, limits=context.limits)
    return _Named(DependenciesUpdate(depends_on=needs.depends_on))


async def _needed_no_more(request: Request) -> _Named:
    context = context_of(request)
    body = await reading.read_body(request, limit=context.max_body)
    task = reading.parse_query(request, DependencyQuery).task
    if task is not None:
        if body:
            fault = Fault("?task", "there is a body too; only one of them may name tasks")
            raise InvalidInput("The tasks are named in two places.", faults=(fault,))
        return _Named(DependenciesUpdate(depends_on=[DependencyDraft(task=task)]), place="?task")
    if not body:
        return _Named(DependenciesUpdate())
    if _is_array(body):
        array = reading.parse_body(body, NeededNoMoreList, limits=context.limits)
        return _Named(DependenciesUpdate(depends_on=array.root), place="")
    gone = reading.parse_body(body, NeededNoMore, limits=context.limits)
    return _Named(DependenciesUpdate(depends_on=gone.depends_on))


def _is_array(body: bytes) -> bool:
    return body.lstrip(b" \t\r\n").startswith(b"[")


_PATH: Final = "/tasks/{task_id}/dependencies"

DEPENDENCY_ENDPOINTS: Final = (
    Endpoint(
        "GET",
        _PATH,
        list_dependencies,
        tag="dependencies",
        answer=list[Dependency],
        refusals=(404,),
    ),
    *(
        Endpoint(
            method,
            _PATH,
            handler,
            tag="dependencies",
            answer=list[Dependency],
            body=Needs,
            other_bodies=(NeedsList,),
            headers=("Idempotency-Key",),
            refusals=(404, 409),
        )
        for method, handler in (("PUT", set_dependencies), ("POST", add_dependencies))
    ),
    Endpoint(
        "DELETE",
        _PATH,
        remove_dependencies,
        tag="dependencies",
        answer=list[Dependency],
        body=NeededNoMore,
        other_bodies=(NeededNoMoreList,),
        needs_body=False,
        query=DependencyQuery,
        headers=("Idempotency-Key",),
        refusals=(404, 409),
    ),
)
