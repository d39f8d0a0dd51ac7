"""What is reported of a run: what its handler returned, or the exception that it raised."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, cast

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from planstore.models.claim import Failure, Result
from planstore.models.fields import NUL
from planstore.worker.signals import Permanent, Retry

if TYPE_CHECKING:
    from planstore.models.claim import WorkPacket

_LONGEST_MESSAGE: Final = 10_000
"""Characters of an error's message that are reported."""


def result_of(packet: WorkPacket, returned: Any) -> Result:
    """Return the result of a run whose handler returned something.

    Raises:
        Permanent: it can't be an output; the handler would return the like again.
    """
    try:
        plain: Any = to_jsonable_python(returned)
    except PydanticSerializationError as error:
        raise Permanent(f"the handler returned what can't be written as JSON: {error}") from error
    if not (plain is None or isinstance(plain, dict)):
        raise Permanent(
            f"the handler returned a {type(returned).__name__}; a task's output is an object, "
            'such as {"result": …}, or None'
        )
    try:
        return Result(
            task_id=packet.id, fencing_token=packet.fencing_token, output_data=cast("Any", plain)
        )
    except ValidationError as error:
        faults = "; ".join(each["msg"] for each in error.errors(include_input=False))
        raise Permanent(f"the handler returned what can't be kept: {faults}") from error


def failure_of(packet: WorkPacket, error: BaseException) -> Failure:
    """Return what is reported of a run whose handler raised ``error``."""
    name = type(error).__name__
    message = str(error).replace(NUL, "\ufffd").encode(errors="replace").decode()
    return Failure(
        fencing_token=packet.fencing_token,
        error={"type": name, "message": message[:_LONGEST_MESSAGE] or name},
        retryable=not isinstance(error, Permanent),
        retry_in_seconds=error.after_seconds if isinstance(error, Retry) else None,
    )


def interruption_of(packet: WorkPacket) -> Failure:
    """Return what is reported of a run that was ended in the middle and must not be repeated."""
    return Failure(
        fencing_token=packet.fencing_token,
        error={
            "type": "Interrupted",
            "message": "the run was interrupted; what it had done by then isn't known",
        },
        retryable=False,
    )
