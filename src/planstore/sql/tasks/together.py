"""A claim in one transaction with what it follows, at one round trip and one flush.

What goes before holds a plan's row until the commit, claiming holds nothing that anybody waits for;
so together they keep others from the plan for as long as both take, and the flush. That is nobody's
loss where nobody else is there. Where somebody was, nothing is claimed.
"""

from __future__ import annotations

from itertools import islice, product
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from planstore.sql.tasks.claiming import CLAIM_ONE, CLAIMED, LAST, asked_by, parameters
from planstore.sql.tasks.columns import ALL
from planstore.sql.tasks.completing import COMPLETE, COMPLETED
from planstore.sql.tasks.creation import ADDED, CREATES_OF_ONE
from planstore.sql.tasks.reading import GET

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from planstore.models.claim import ClaimRequest
    from planstore.sql.connection import Connection
    from planstore.sql.tasks.claiming import Place
    from planstore.sql.tasks.creation import NewTask
    from planstore.sql.tasks.ending import Ending


def _then(claim: str, *, done: str, answered: Sequence[str], first: str, last: str = "") -> str:
    """What ``first`` does, as ``e``, and then the claim ``c`` if that is ``done``."""
    columns = [*(f"e.{name}" for name in answered), *(f"c.{name}" for name in CLAIMED)]
    if last:
        columns += (f"t.{name}" for name in ALL)
    return f"""
select {", ".join(columns)}
from {first} e
left join lateral (
  {claim}
  where {done}
  offset 0  -- or else it might be called before that is known
) c on true{last}
"""


def _parameter(number: int) -> str:
    """One that follows those of the claim."""
    return f"${LAST + number}"


_TASK: Final = f"""
left join lateral (
  select *
  from planstore.{GET.name}({_parameter(1)})
  where e.verdict = 'changed'
  offset 0
) t on true"""

_COMPLETIONS: Final = {
    (*asked, is_whole): _then(
        claim,
        done="e.verdict = 'changed' and not e.had_to_wait",
        answered=COMPLETED,
        first=f"planstore.{COMPLETE.name}(array[{_parameter(1)}::uuid],"
        f" array[{_parameter(2)}::bigint], array[{_parameter(3)}::json], false)",
        last=_TASK if is_whole else "",
    )
    for (asked, claim), is_whole in product(CLAIM_ONE.items(), (False, True))
}

_CREATES: Final = {
    (*asked, with_key): _then(
        claim,
        done="e.verdict = 'changed'",
        answered=ADDED,
        first=f"planstore.{create.name}"
        f"({', '.join(_parameter(number) for number in range(1, create.parameters + 1))})",
    )
    for (asked, claim), (with_key, create) in product(CLAIM_ONE.items(), CREATES_OF_ONE.items())
}


class Together(NamedTuple):
    """What became of both."""

    first: dict[str, Any]
    """As what went before answers it."""
    claimed: list[dict[str, Any]]
    """As `claim` answers it."""
    task: dict[str, Any]
    """The completed task; empty where it wasn't asked for, or not completed."""


async def complete_and_claim(
    conn: Connection,
    ending: Ending,
    request: ClaimRequest,
    *,
    is_whole: bool = False,
    after: Place | None = None,
    traceparent: str | None = None,
) -> Together:
    """Complete a task by its holder, as `complete` does, and claim one as `claim` does.

    Nothing is claimed, nor looked for, where the ``verdict`` isn't ``changed`` or where it
    ``had_to_wait`` for somebody else at the plan. ``is_whole``: the completed task is answered too.
    """
    row = await conn.fetchrow(
        _COMPLETIONS[*asked_by(request), is_whole],
        *parameters(request, after=after, traceparent=traceparent),
        *(ending.task_id, ending.token, ending.output_data),
    )
    assert row is not None
    values = iter(row.values())
    completed, claimed = _named(COMPLETED, values), _claimed(values)
    task = _named(ALL, values) if is_whole and completed["taken"] else {}
    return Together(completed, claimed, task)


async def create_and_claim(
    conn: Connection, new: NewTask, request: ClaimRequest, *, traceparent: str | None = None
) -> Together:
    """Add a task that was asked for by itself, as `create` does, and claim one as `claim` does.

    Its plan isn't waited for: where another transaction holds it, nothing is done, and ``plan_id``
    is null.
    """
    row = await conn.fetchrow(
        _CREATES[*asked_by(request), new.key is not None],
        *parameters(request, after=None, traceparent=traceparent),
        *new.parameters,
    )
    assert row is not None
    values = iter(row.values())
    return Together(_named(ADDED, values), _claimed(values), {})


def _claimed(values: Iterator[Any]) -> list[dict[str, Any]]:
    claimed = _named(CLAIMED, values)
    return [claimed] if claimed["id"] is not None else []


def _named(names: Sequence[str], values: Iterator[Any]) -> dict[str, Any]:
    """The next values by their names."""
    return dict(zip(names, islice(values, len(names)), strict=True))
