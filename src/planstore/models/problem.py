"""Errors as they are told over HTTP: RFC 9457, made and read by one model."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import Field

from planstore.errors import ERRORS_BY_CODE, Fault, PlanStoreError
from planstore.models.fields import Record

if TYPE_CHECKING:
    from typing import Self


class ProblemFault(Record):
    """One thing that is wrong with a request."""

    pointer: str
    """Where: a JSON pointer into the body, `?name` for a query parameter, `{name}` for a part of
    the path, or the name of a header."""
    detail: str
    """What is there and what is allowed."""


class Problem(Record):
    """What went wrong, as RFC 9457 puts it."""

    type: str = Field(default="about:blank", description="Always `about:blank`; see `code`.")
    title: str
    """The kind of error, for people."""
    status: int
    """The HTTP status."""
    code: str
    """The kind of error, for programs; it never changes its meaning."""
    detail: str
    """What went wrong, with which object, what it is now and what is allowed."""
    errors: list[ProblemFault] = Field(default_factory=list[ProblemFault])
    """Every fault of the request at once, where the request is at fault."""
    request_id: str | None = None
    """Where the service is at fault: by what its log is to be searched."""

    @classmethod
    def of(cls, error: PlanStoreError, *, status: int, request_id: str | None = None) -> Self:
        """Return the problem that tells of an error."""
        return cls(
            title=error.title,
            status=status,
            code=error.code,
            detail=error.detail,
            errors=[ProblemFault(pointer=f.pointer, detail=f.detail) for f in error.faults],
            request_id=request_id,
        )

    @property
    def error(self) -> PlanStoreError:
        """The error that it tells of; one that isn't in the catalogue yet is said by its code."""
        faults = tuple(Fault(each.pointer, each.detail) for each in self.errors)
        kind = ERRORS_BY_CODE.get(self.code)
        if kind is None:
            return PlanStoreError(f"{self.detail} ({self.code})", faults=faults)
        return kind(self.detail, faults=faults)
