"""Completing a task and claiming the next one in one transaction.

Completing holds the plan's row until the commit, claiming holds nothing that anybody waits for; so
together they keep others from the plan for as long as both take, and the flush. That is nobody's
loss where nobody else is there. Where somebody was, it only completes.
"""

from __future__ import annotations

from itertools import islice
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from planstore.sql.tasks.claiming import CLAIM_ONE, CLAIMED, asked_by, parameters
from planstore.sql.tasks.columns import ALL
from planstore.sql.tasks.completing import COMPLETE, COMPLETED
from planstore.sql.tasks.reading import GET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planstore.models.claim import ClaimRequest
    from planstore.sql.connection import Connection
    from planstore.sql.tasks.claiming import Place
    from planstore.sql.tasks.ending import Ending


class WentOn(NamedTuple):
    """What became of both."""

    completed: dict[str, Any]
    """As `complete` answers it."""
    claimed: list[dict[str, Any]]
    """As `claim` answers it."""
    task: dict[str, Any]
    """The completed task; empty where it wasn't asked for, or not completed."""


def _going_on(claim: str, *, is_whole: bool) -> str:
    answered = [f"e.{name}" for name in COMPLETED] + [f"c.{name}" for name in CLAIMED]
    whole = ""
    if is_whole:
        answered += (f"t.{name}" for name in ALL)
        whole = f"""
left join lateral (
  select *
  from planstore.{GET.name}($11)
  where e.verdict = 'changed'
  offset 0
) t on true"""
    return f"""
select {", ".join(answered)}
from planstore.{COMPLETE.name}(array[$11::uuid], array[$12::bigint], array[$13::json], false) e
left join lateral (
  {claim}
  where e.verdict = 'changed'
    and not e.had_to_wait
  offset 0  -- or else it might be called before that is known
) c on true{whole}
"""


_STATEMENTS: Final = {
    (*asked, is_whole): _going_on(claim, is_whole=is_whole)
    for asked, claim in CLAIM_ONE.items()
    for is_whole in (False, True)
}


async def complete_and_claim(
    conn: Connection,
    ending: Ending,
    request: ClaimRequest,
    *,
    is_whole: bool = False,
    after: Place | None = None,
    traceparent: str | None = None,
) -> WentOn:
    """Complete a task by its holder, as `complete` does, and claim one as `claim` does.

    Nothing is claimed, nor looked for, where the ``verdict`` isn't ``changed`` or where it
    ``had_to_wait`` for somebody else at the plan. ``is_whole``: the completed task is answered too.
    """
    row = await conn.fetchrow(
        _STATEMENTS[*asked_by(request), is_whole],
        *parameters(request, after=after, traceparent=traceparent),
        ending.task_id,
        ending.token,
        ending.output_data,
    )
    assert row is not None
    values = iter(row.values())
    completed = _named(COMPLETED, values)
    claimed = _named(CLAIMED, values)
    return WentOn(
        completed,
        [claimed] if claimed["id"] is not None else [],
        _named(ALL, values) if is_whole and completed["taken"] else {},
    )


def _named(names: Sequence[str], values: Iterator[Any]) -> dict[str, Any]:
    """The next values by their names."""
    return dict(zip(names, islice(values, len(names)), strict=True))
