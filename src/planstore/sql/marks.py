"""Marks: the numbers under which plans and tasks are listed, newest first.

Each label has a number, and so has each value anywhere in metadata, together with the names that
lead to it; what has them all is looked at again, for numbers may be equal by chance. A plan's marks
are written by the statement that writes the plan; a task's a moment later, with its words
(`planstore.sql.words`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from planstore.sql.connection import Connection

_LABELS: Final = 1
_METADATA: Final = 2
"""Where numbers begin, so that a label isn't taken for a value."""

_LONGEST: Final = 1_000
"""Characters of a value that has a mark: nobody looks for longer ones, and they may be many."""

_WEIGHED: Final = 32
"""How many marks of those that are looked for are compared, to take the rarest …"""
_COUNTED: Final = 4_000
"""… and how much of what has them is counted for that, all together."""

_DUE_AT_MOST: Final = 20_000
"""How many tasks that have yet to be marked are looked at in each search."""


def marked(source: str) -> str:
    """CTEs of a ``with recursive``, the last of which is ``marked``: an ``id`` with each ``mark``.

    ``source``: a CTE with ``id``, ``labels`` and ``metadata``.
    """
    return f"""node (id, number, value) as (
  select o.id, {_METADATA}::bigint, o.metadata::jsonb
  from {source} o
  where o.metadata::text <> '{{}}'
  union all
  select n.id, c.number, c.value
  from node n
  cross join lateral (
    select hashtextextended(m.key, n.number) as number, m.value
    from jsonb_each(case jsonb_typeof(n.value) when 'object' then n.value else '{{}}' end) m
    union all
    select hashint8extended(0, n.number), e.value
    from jsonb_array_elements(
      case jsonb_typeof(n.value) when 'array' then n.value else '[]' end
    ) e
  ) c
  where jsonb_typeof(n.value) in ('object', 'array')
),
marked as materialized (
  select o.id, hashtextextended(l.label, {_LABELS}) as mark
  from {source} o
  cross join unnest(o.labels) l (label)
  union
  -- Numbers are equal that are written in another way.
  select n.id, jsonb_hash_extended(n.value, n.number)
  from node n
  where jsonb_typeof(n.value) not in ('object', 'array')
    and length(n.value::text) <= {_LONGEST}
)"""


_RAREST: Final = f"""
with recursive asked as materialized (
  select 0 as id, $1::text[] as labels, '{{}}'::jsonb as metadata
  union all
  select 0, '{{}}', p.part from unnest($2::jsonb[]) p (part)
),
{marked("asked")},
weighed as materialized (
  select w.mark, {_COUNTED} / least(count(*) over (), {_WEIGHED}) as at_most from marked w
)
select
  w.mark, l.length,
  array(
    select o.mark from weighed o where o.mark <> w.mark order by o.mark limit {_WEIGHED}
  ) as others
from (select w.mark, w.at_most from weighed w order by w.mark limit {_WEIGHED}) w
cross join lateral (
  select
    count(*) as counted,
    extract(epoch from max(m.created_at) - min(m.created_at))::float8 as seconds,
    extract(epoch from max(m.created_at) - (
      select o.created_at
      from planstore.:marks o
      where o.mark = w.mark
      order by o.mark, o.created_at
      limit 1
    ))::float8 as all_seconds
  from (
    select m.created_at
    from planstore.:marks m
    where m.mark = w.mark
      and w.at_most < {_COUNTED}  -- an only one needn't be compared
    order by m.mark desc, m.created_at desc
    limit w.at_most
  ) m
) c
cross join lateral (
  select
    case
      when w.at_most = {_COUNTED} then 'infinity'
      when c.counted < w.at_most then c.counted
      else coalesce(c.counted * c.all_seconds / nullif(c.seconds, 0), 'infinity')
    end as length
) l
order by l.length, w.mark
limit 1
"""

_OF_PLANS: Final = _RAREST.replace(":marks", "plan_marks")
_OF_TASKS: Final = _RAREST.replace(":marks", "task_marks")


@dataclass(frozen=True, slots=True)
class Mark:
    """The rarest of the marks that something must have."""

    number: int
    others: Sequence[int]
    """The others, or some of them where they are very many."""
    length: float
    """How much has it, by how far back a part of it reaches; infinite where that isn't known."""


async def rarest_of_plans(conn: Connection, asked: Mapping[str, Any]) -> Mark | None:
    """Return what to look for plans by that have all the labels and metadata, if anything."""
    return await _rarest(conn, _OF_PLANS, asked)


async def rarest_of_tasks(conn: Connection, asked: Mapping[str, Any]) -> Mark | None:
    """Return the same for tasks."""
    return await _rarest(conn, _OF_TASKS, asked)


async def _rarest(conn: Connection, statement: str, asked: Mapping[str, Any]) -> Mark | None:
    row = await conn.fetchrow(statement, asked.get("label", ()), asked.get("metadata", ()))
    if row is None:
        return None
    return Mark(row["mark"], row["others"], row["length"])


# How long an array is needs no look into it.
_DUE: Final = """
select coalesce(sum(pg_column_size(d.task_ids)) / 16, 0)
from (select d.task_ids from planstore.task_words_due d limit $1) d
"""


async def are_few_due(conn: Connection) -> bool:
    """Whether so few tasks have yet to be marked that all of them can be looked at."""
    number = await conn.fetchval(_DUE, _DUE_AT_MOST)
    return number <= _DUE_AT_MOST
