"""The words by which plans and tasks are found: which they are, and when they are taken.

Those of a plan are taken by the statement that writes its steps. Those of a task would cost a third
of what it takes to add it, so that statement only notes the task as due; `take` does it afterwards,
with its marks (`planstore.sql.marks`), and who searches looks at what is still due as it stands.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.sql import marks

if TYPE_CHECKING:
    from planstore.sql.connection import Connection

# PostgreSQL refuses words that take more than a megabyte, and words in odd company (a-b, a.b/c) up
# to five times as much as their text. No text of a client's may make a write fail.
_MOST_BYTES: Final = 100_000
_MOST_CHARACTERS: Final = _MOST_BYTES // 4

_PER_PART: Final = 50_000
"""Bytes of text that make a part, where it isn't one longer text."""
_WEIGHT: Final = _PER_PART // 64
"""What a task counts for at least, so that a part has some dozens at most."""


def _of_json(column: str) -> str:
    """The words of a JSON column's values; of a very long one those of its beginning."""
    return f"""case
      when octet_length({column}::text) <= {_MOST_BYTES}
        then json_to_tsvector('simple', {column}, '["string", "numeric"]')
      else to_tsvector(
        'simple',
        regexp_replace(
          left({column}::text, {_MOST_CHARACTERS}), '\\\\(u[0-9A-Fa-f]{{4}}|.)', ' ', 'g'
        )
      )
    end"""


def of_plan(plan: str) -> str:
    """The words of a plan, given the alias of a row with ``steps`` and ``metadata``."""
    return f"""strip(
    {_of_json(f"{plan}.steps")}
    || {_of_json(f"{plan}.metadata")}
  )"""


def text_of_task(task: str) -> str:
    """The text that a task is found by, given the alias of a row with its fields."""
    return f"coalesce({task}.name || ' ', '') || left({task}.description, {_MOST_CHARACTERS})"


def asked(words: str) -> str:
    """The query for all of these words, given an expression for the text that has them.

    A statement reads them once, and not for each row that it looks at.
    """
    return f"(select plainto_tsquery('simple', {words}))"


def in_text(text: str, words: str) -> str:
    """Whether a text has all of these words, given expressions for both.

    To take the words of a text is twenty times the work of a look whether it can have them at all.
    A word as it is taken is a part of the text in lower case, whatever the locale, where both are
    ASCII.
    """
    return f"""(
      select
        (
          octet_length(x.text) <> length(x.text)
          or lower(x.text collate "C") like all ((
            select array(
              select '%' || regexp_replace(w.word, '[\\\\%_]', '\\\\\\&', 'g') || '%'
              from unnest(tsvector_to_array(to_tsvector('simple', {words}))) w (word)
              where octet_length(w.word) = length(w.word)
            )
          )::text[])
        )
        and to_tsvector('simple', x.text) @@ {asked(words)}
      from (select {text} as text offset 0) x
    )"""


# Two takers have different tasks; one that fails leaves them due.
_TAKE: Final = f"""
with recursive taken as (
  delete from planstore.task_words_due d
  where d.id in (
    select q.id
    from planstore.task_words_due q
    order by q.id
    limit $1
    for update skip locked
  )
  returning d.task_ids
),
task as materialized (
  select
    t.plan_id, t.created_at, t.id, t.labels, t.metadata, {text_of_task("t")} as text
  from (select distinct g.id from taken, unnest(taken.task_ids) g (id)) g
  join planstore.tasks t on t.id = g.id
  order by t.id
  -- Who locks one of them to delete it waits, and then finds what was taken.
  for key share of t
),
{marks.marked("task")},
unmarked as (
  delete from planstore.task_marks m
  using task t
  where m.plan_id = t.plan_id
    and m.task_id = t.id
    and (m.task_id, m.mark) not in (select w.id, w.mark from marked w)
),
remarked as (
  insert into planstore.task_marks (plan_id, task_id, mark, created_at)
  select t.plan_id, t.id, w.mark, t.created_at
  from marked w
  join task t on t.id = w.id
  on conflict do nothing
),
parted as (
  select
    t.*,
    sum(greatest(octet_length(t.text), {_WEIGHT}))
      over (partition by t.plan_id, t.created_at order by t.id) / {_PER_PART} as part
  from task t
),
read as (
  insert into planstore.task_words (plan_id, created_at, task_ids, words)
  select
    p.plan_id, p.created_at, array_agg(p.id),
    strip(to_tsvector('simple', string_agg(p.text, ' ')))
  from parted p
  group by p.plan_id, p.created_at, floor(p.part)
)
select count(*) from taken
"""


async def take(conn: Connection, *, limit: int) -> int:
    """Take the words and the marks of tasks that are due, of up to ``limit`` statements.

    Answers of how many statements; fewer than ``limit`` where no more are due.
    """
    count = await conn.fetchval(_TAKE, limit)
    assert isinstance(count, int)
    return count
