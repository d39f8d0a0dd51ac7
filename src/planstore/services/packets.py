"""Work packets: what a worker is given of a task that it is to run."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from planstore.models.binding import Unbound, bound
from planstore.models.claim import MAX_BOUND_INPUT, WorkPacket
from planstore.models.dependency import DependencyType
from planstore.models.trusted import Trusted
from planstore.sql import tasks
from planstore.sql.tasks import End, Ending

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.sql.connection import Connection, RowLike

_PACKET: Final = Trusted(WorkPacket)

_NOT_IN_PACKET: Final = ("was_ready_at", "counts_attempts")
"""What a claim answers beside the work packet."""


def packet_of(
    row: RowLike, needed: Sequence[dict[str, Any]], resolved: dict[str, Any] | None
) -> WorkPacket:
    filled = dict(row)
    for name in _NOT_IN_PACKET:
        filled.pop(name, None)
    filled["resolved_input"] = resolved
    filled["dependencies"] = needed
    filled["previous_attempts"] = row["previous_attempts"] or []
    return _PACKET.of_row(filled)


async def resolved_input(
    conn: Connection, row: RowLike, needed: Sequence[dict[str, Any]]
) -> dict[str, Any] | None:
    """Return the task's input with its bindings filled in.

    Raises:
        Unbound: they can't be.
    """
    given = row["input_data"]
    if not needed:
        return given
    sources = [
        each for each in needed if each["type"] == DependencyType.DATA.value and each["name"]
    ]
    if not sources:
        return given
    missing = [each["task_id"] for each in sources if each["output_link"] is not None]
    fetched = {str(each["id"]): each["output_data"] for each in await tasks.many(conn, missing)}
    outputs = {each["name"]: fetched.get(each["task_id"], each["output_data"]) for each in sources}
    return bound(given, outputs, max_bytes=MAX_BOUND_INPUT)


def binding_error(row: RowLike, error: Unbound) -> Ending:
    """Return how a run ends whose input can't be filled in."""
    report = {
        "code": "binding_error",
        "message": str(error),
        "faults": [{"pointer": each.pointer, "detail": each.detail} for each in error.faults],
    }
    return Ending(row["id"], End.FAIL, token=row["fencing_token"], error=report, is_retryable=False)
