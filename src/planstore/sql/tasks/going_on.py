"""Completing a task and claiming the next one in one transaction.

Completing holds the plan's row until the commit, claiming holds nothing that anybody waits for; so
together they keep others from the plan for as long as both take, and the flush. That is nobody's
loss where nobody else is there. Where somebody was, it only completes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.sql.tasks.claiming import CLAIM_ONE, asked_by, parameters
from planstore.sql.tasks.completing import COMPLETE, COMPLETED

if TYPE_CHECKING:
    from planstore.models.claim import ClaimRequest
    from planstore.sql.connection import Connection, Row
    from planstore.sql.tasks.claiming import Place
    from planstore.sql.tasks.ending import Ending

_STATEMENTS: Final = {
    asked: f"""
select {", ".join(f"e.{name}" for name in COMPLETED)}, c.*
from planstore.{COMPLETE.name}(array[$11::uuid], array[$12::bigint], array[$13::json], false) e
left join lateral (
  {claim}
  where e.verdict = 'changed'
    and not e.had_to_wait
  offset 0  -- or else it might be called before that is known
) c on true
"""
    for asked, claim in CLAIM_ONE.items()
}


async def complete_and_claim(
    conn: Connection,
    ending: Ending,
    request: ClaimRequest,
    *,
    after: Place | None = None,
    traceparent: str | None = None,
) -> Row:
    """Complete a task by its holder, as `complete` does, and claim one as `claim` does.

    What both answer is one row; ``id`` and all else of the claimed task are null where there is
    none. Nothing was claimed, nor looked for, where the ``verdict`` isn't ``changed`` or where it
    ``had_to_wait`` for somebody else at the plan.
    """
    row = await conn.fetchrow(
        _STATEMENTS[asked_by(request)],
        *parameters(request, after=after, traceparent=traceparent),
        ending.task_id,
        ending.token,
        ending.output_data,
    )
    assert row is not None
    return row
