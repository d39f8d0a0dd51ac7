"""Counting what the log amounts to, and reading what was counted.

`count` is one statement for any number of events: it moves the place in the log and adds what lies
between, or does nothing where somebody else has moved it. It counts by the minute first, so that
thousands of alike runs are few rows before they are counted by larger spans.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from planstore.models.sketch import SHORTEST, SPANS_PER_DOUBLING
from planstore.models.statistics import KEPT, Dimension
from planstore.models.task import TASK_LIFECYCLE
from planstore.sql.fragments import TASK_RUNNING, columns
from planstore.sql.tasks.leases import LONG_AGO

if TYPE_CHECKING:
    from collections.abc import Sequence

    from planstore.models.statistics import Grain, Span
    from planstore.sql.connection import Connection, Row

_PLACE: Final = """
select
  p.seq, now() as looked_at,
  -- What isn't counted has drawn its number after the first of it began, and was committed later.
  coalesce(
    (select e.created_at from planstore.events e where e.seq > p.seq order by e.seq limit 1), now()
  ) as as_of
from planstore.statistics_place p
"""


async def place(conn: Connection) -> Row:
    """Return how far the log is counted.

    ``seq``: the last event that is; ``as_of``: all that was committed before is; ``looked_at``: now
    by the database's clock.
    """
    row = await conn.fetchrow(_PLACE)
    assert row is not None
    return row


_BEFORE: Final = {f"task.{each.past}": sorted(each.sources) for each in TASK_LIFECYCLE.transitions}
"""The statuses that a task may have had before each event."""

_AFTER: Final = {f"task.{each.past}": each.target for each in TASK_LIFECYCLE.transitions}
"""Where a task stands after it."""

_AFTER_EVENT: Final = " ".join(
    f"when '{event}' then '{status}'" for event, status in _AFTER.items()
)

_BEFORE_EVENT: Final = " ".join(
    f"when '{event}' then '{statuses[0]}'"
    for event, statuses in _BEFORE.items()
    if not statuses[1:]
)
"""Where a task stood before, where that can only be one status; else its event says it."""

_AMBIGUOUS: Final = ", ".join(
    f"'{event}'" for event in sorted({"task.deleted"} | {e for e, s in _BEFORE.items() if s[1:]})
)

_MOVING: Final = ", ".join(f"'{event}'" for event in sorted({"task.deleted", *_AFTER}))

_RUN_ENDS: Final = "'task.completed', 'task.failed', 'task.skipped', 'task.requeued'"

_BIN: Final = (
    f"ceil({SPANS_PER_DOUBLING} * ln(greatest({{0}}, {SHORTEST}::float8)) / ln(2::float8))"
    "::smallint"
)
"""`planstore.models.sketch.span_of`."""

_ALL: Final = ""
"""What is counted of all, in the place of a dimension, and of its value."""

_EVER: Final = "ever"
"""The span that has no end: kept of all, and of each type of task."""

_GRAINS: Final = ",\n    ".join(
    f"('{grain}', interval '{int(kept.total_seconds())} seconds')" for grain, kept in KEPT.items()
)

_VALUES: Final = ",\n      ".join(
    f"('{each}', e.{each})"
    if each == Dimension.EVALUATION_TYPE
    else f"('{each}', coalesce(e.{each}, ''))"
    for each in Dimension
)
"""What an event counts by: a run has no type of evaluation."""

_COUNTS: Final = (
    *("completed", "failed", "skipped", "retried", "waits", "wait_seconds"),
    *("runs", "run_seconds", "scores", "score_sum"),
)

_CELL: Final = f"""a.dimension, g.grain,
      case
        when g.grain = '{_EVER}' then '{LONG_AGO.isoformat()}'
        else date_trunc(g.grain, a.minute, 'UTC')
      end as began_at,
      a.value"""
"""Where what lies in a minute is counted."""

# What would be forgotten at once isn't counted.
_SPANNED: Final = f"""join grain g
      on a.minute >= now() - g.kept
      or g.kept is null and a.dimension in ('{_ALL}', '{Dimension.TASK_TYPE}')"""

_ADDED_SKETCH: Final = """
    ({0}_bins, {0}_counts) = (
      select
        coalesce(array_agg(m.bin), '{{}}'),
        coalesce(array_agg(m.count), '{{}}')
      from (
        select x.bin, sum(x.count)::bigint as count
        from (
          select unnest(s.{0}_bins) as bin, unnest(s.{0}_counts) as count
          union all
          select unnest(excluded.{0}_bins), unnest(excluded.{0}_counts)
        ) x
        group by x.bin
      ) m
    )"""

_COUNT: Final = f"""
with placed as materialized (
  update planstore.statistics_place p
  set seq = $2
  where p.seq = $1
  returning p.seq
),
ended as materialized (
  select
    date_trunc('minute', e.created_at, 'UTC') as minute,
    {columns(Dimension, of="m")}, m.score,
    (e.event_type = 'task.completed')::int as completed,
    (e.event_type = 'task.failed')::int as failed,
    (e.event_type = 'task.skipped')::int as skipped,
    (e.event_type = 'task.requeued')::int as retried,
    d.wait, d.run,
    case when d.wait is not null then {_BIN.format("d.wait")} end as wait_bin,
    case when d.run is not null then {_BIN.format("d.run")} end as run_bin
  from placed
  join planstore.events e on e.seq > $1 and e.seq <= $2
  cross join lateral json_to_record(e.metadata) as m (
    {", ".join(f"{each} text" for each in Dimension)},
    ready_at timestamptz, began_at timestamptz, score float8
  )
  cross join lateral (
    select
      extract(epoch from m.began_at - m.ready_at)::float8 as wait,
      case when e.event_type = 'task.completed' then
        extract(epoch from e.created_at - m.began_at)::float8
      end as run
  ) d
  where e.event_type in ({_RUN_ENDS}, 'task.evaluated')
),
valued as materialized (
  select d.dimension, d.value, e.*
  from ended e
  cross join lateral (
    values
      ('{_ALL}', '{_ALL}'),
      {_VALUES}
  ) d (dimension, value)
  where d.value is not null
),
alike as materialized (
  select
    v.dimension, v.minute, v.value,
    sum(v.completed) as completed, sum(v.failed) as failed, sum(v.skipped) as skipped,
    sum(v.retried) as retried,
    count(v.wait) as waits, coalesce(sum(v.wait), 0) as wait_seconds,
    count(v.run) as runs, coalesce(sum(v.run), 0) as run_seconds,
    count(v.score) as scores, coalesce(sum(v.score), 0) as score_sum
  from valued v
  group by v.dimension, v.minute, v.value
),
alike_binned as materialized (
  select v.dimension, v.minute, v.value, true as is_wait, v.wait_bin as bin, count(*) as count
  from valued v
  where v.wait_bin is not null
  group by v.dimension, v.minute, v.value, v.wait_bin
  union all
  select v.dimension, v.minute, v.value, false, v.run_bin, count(*)
  from valued v
  where v.run_bin is not null
  group by v.dimension, v.minute, v.value, v.run_bin
),
grain (grain, kept) as (
  values
    {_GRAINS},
    ('{_EVER}', null)
),
cells as materialized (
  select
    c.dimension, c.grain, c.began_at, c.value,
    {", ".join(f"sum(c.{name}) as {name}" for name in _COUNTS)},
    array_agg(c.bin) filter (where c.is_wait) as wait_bins,
    array_agg(c.count) filter (where c.is_wait) as wait_counts,
    array_agg(c.bin) filter (where not c.is_wait) as run_bins,
    array_agg(c.count) filter (where not c.is_wait) as run_counts
  from (
    select
      {_CELL}, {columns(_COUNTS, of="a")},
      null::boolean as is_wait, null::smallint as bin, null::bigint as count
    from alike a
    {_SPANNED}
    union all
    select {_CELL}, {", ".join("0" for _ in _COUNTS)}, a.is_wait, a.bin, sum(a.count)::bigint
    from alike_binned a
    {_SPANNED}
    group by 1, 2, 3, 4, a.is_wait, a.bin
  ) c
  group by c.dimension, c.grain, c.began_at, c.value
),
added as (
  insert into planstore.statistics as s
    (dimension, grain, began_at, value, {", ".join(_COUNTS)},
    wait_bins, wait_counts, run_bins, run_counts)
  select
    c.dimension, c.grain, c.began_at, c.value, {columns(_COUNTS, of="c")},
    coalesce(c.wait_bins, '{{}}'), coalesce(c.wait_counts, '{{}}'),
    coalesce(c.run_bins, '{{}}'), coalesce(c.run_counts, '{{}}')
  from cells c
  on conflict (dimension, grain, began_at, value) do update
  set
    {", ".join(f"{name} = s.{name} + excluded.{name}" for name in _COUNTS)},
    {_ADDED_SKETCH.format("wait")},
    {_ADDED_SKETCH.format("run")}
),
said as materialized (
  -- JSON is read again for each of its members, so no more of them are asked for than are needed.
  select
    e.event_type,
    e.metadata ->> 'task_type' as task_type,
    case when e.event_type in ('task.created', 'task.updated') then e.metadata ->> 'status' end
      as status,
    case when e.event_type in ({_AMBIGUOUS}) then e.metadata ->> 'was' end as was,
    case
      when strpos(e.metadata::text, '"task_type_was"') > 0
        then coalesce(e.metadata ->> 'task_type_was', '')
    end as task_type_was,
    count(*) as count
  from placed
  join planstore.events e on e.seq > $1 and e.seq <= $2
  where e.event_type in ('task.created', {_MOVING})
    -- Few edits are of the type, and those say so.
    or e.event_type = 'task.updated' and strpos(e.metadata::text, '"task_type_was"') > 0
  group by 1, 2, 3, 4, 5
),
moved as materialized (
  select x.task_type, x.status, sum(x.count) as count
  from said d
  cross join lateral (
    values
      (
        coalesce(d.task_type, ''),
        case d.event_type
          when 'task.created' then d.status
          when 'task.updated' then d.status
          {_AFTER_EVENT}
        end,
        d.count
      ),
      (
        coalesce(d.task_type_was, d.task_type, ''),
        case d.event_type
          when 'task.updated' then d.status
          {_BEFORE_EVENT}
          -- By its holder: what happens most says least.
          when 'task.completed' then coalesce(d.was, {TASK_RUNNING})
          else d.was
        end,
        -d.count
      )
  ) x (task_type, status, count)
  where x.status is not null
  group by x.task_type, x.status
),
removed as materialized (
  select coalesce(x.task_type, '') as task_type, x.status, -sum(x.count) as count
  from placed
  join planstore.events e on e.seq > $1 and e.seq <= $2
  cross join lateral json_to_recordset(e.metadata -> 'statuses')
    as x (task_type text, status text, count bigint)
  where e.event_type = 'plan.deleted'
  group by 1, 2
),
tallied as (
  insert into planstore.task_counts as c (task_type, status, count)
  select x.task_type, x.status, sum(x.count)
  from (select * from moved union all select * from removed) x
  group by x.task_type, x.status
  having sum(x.count) <> 0
  order by x.task_type, x.status
  on conflict (task_type, status) do update
  set count = c.count + excluded.count
)
select
"""


async def count(conn: Connection, *, after: int, through: int) -> None:
    """Count the events after one place and up to another, unless somebody else has done so.

    They must be settled: nothing may come between them any more.
    """
    await conn.execute(_COUNT, after, through)


_FORGET: Final = """
with old as materialized (
  select s.dimension, s.grain, s.began_at, s.value
  from unnest($1::text[]) d (dimension)
  cross join lateral (
    select s.*
    from planstore.statistics s
    where s.dimension = d.dimension
      and s.grain = $2
      and s.began_at < now() - $3::interval
    order by s.began_at
    limit $4
  ) s
  limit $4
),
forgotten as (
  delete from planstore.statistics s
  using old o
  where s.dimension = o.dimension
    and s.grain = o.grain
    and s.began_at = o.began_at
    and s.value = o.value
  returning 1
)
select count(*) from forgotten
"""


async def forget(conn: Connection, grain: Grain, *, limit: int) -> int:
    """Remove up to ``limit`` counts by spans that are no longer kept; answers how many."""
    count = await conn.fetchval(_FORGET, [_ALL, *Dimension], grain.value, KEPT[grain], limit)
    assert isinstance(count, int)
    return count


_SKETCHES: Final = ("wait_bins", "wait_counts", "run_bins", "run_counts")

_COUNTED: Final = f"""
select s.began_at, {columns((*_COUNTS, *_SKETCHES), of="s")}
from unnest($2::text[], $3::timestamptz[]) x (grain, began_at)
join planstore.statistics s
  on s.dimension = $1
  and s.grain = x.grain
  and s.began_at = x.began_at
  and s.value = $4
"""


async def counted(
    conn: Connection, spans: Sequence[Span], dimension: Dimension | None, value: str
) -> list[Row]:
    """Return what was counted in each span; those in which nothing happened are left out.

    ``dimension`` and ``value``: only what has that; where it is None, all. Each row has when the
    span ``began_at``, the counts and sums, and the sketches of the waits and the runs.
    """
    return await conn.fetch(
        _COUNTED,
        dimension or _ALL,
        [each.grain.value for each in spans],
        [each.began_at for each in spans],
        value,
    )


_OF_SPANS: Final = """
    from unnest($2::text[], $3::timestamptz[]) x (grain, began_at)
    join planstore.statistics s
      on s.dimension = $1
      and s.grain = x.grain
      and s.began_at = x.began_at"""

_GROUPS: Final = f"""
with grouped as materialized (
  select g.*, count(*) over () as group_count
  from (
    select s.value, {", ".join(f"sum(s.{name}) as {name}" for name in _COUNTS)}{_OF_SPANS}
    group by s.value
  ) g
  order by g.completed + g.failed + g.skipped + g.scores desc, g.value
  limit $4
),
binned as materialized (
  select s.value, u.is_wait, u.bin, sum(u.count)::bigint as count{_OF_SPANS}
    cross join lateral (
      select true as is_wait, w.* from unnest(s.wait_bins, s.wait_counts) w (bin, count)
      union all
      select false, r.* from unnest(s.run_bins, s.run_counts) r (bin, count)
    ) u
  where s.value in (select g.value from grouped g)
  group by s.value, u.is_wait, u.bin
),
sketched as materialized (
  select
    b.value,
    array_agg(b.bin) filter (where b.is_wait) as wait_bins,
    array_agg(b.count) filter (where b.is_wait) as wait_counts,
    array_agg(b.bin) filter (where not b.is_wait) as run_bins,
    array_agg(b.count) filter (where not b.is_wait) as run_counts
  from binned b
  group by b.value
)
select
  g.value, g.group_count, {columns(_COUNTS, of="g")}, {columns(_SKETCHES, of="k")}
from grouped g
left join sketched k on k.value = g.value
order by g.completed + g.failed + g.skipped + g.scores desc, g.value
"""


async def groups(
    conn: Connection, spans: Sequence[Span], dimension: Dimension, *, limit: int
) -> list[Row]:
    """Return what was counted in some spans together, by the values of a dimension.

    Each row has its ``value``, the counts and sums, the sketches of the waits and the runs (null
    where there are none), and ``group_count``, how many rows there are beyond the limit too. The
    most tasks come first.
    """
    return await conn.fetch(
        _GROUPS,
        dimension,
        [each.grain.value for each in spans],
        [each.began_at for each in spans],
        limit,
    )


_TASKS: Final = """
with frequent as materialized (
  select c.task_type
  from planstore.task_counts c
  group by c.task_type
  order by sum(c.count) desc, c.task_type
  limit $1
)
select f.task_type, c.status, sum(c.count)::bigint as count
from planstore.task_counts c
left join frequent f on f.task_type = c.task_type
group by f.task_type, c.status
having sum(c.count) <> 0
"""


async def tasks(conn: Connection, *, types: int) -> list[Row]:
    """Return how many tasks stand where, by their types: ``task_type``, ``status``, ``count``.

    ``types``: so many of them, those of the most tasks; the type of the others is null.
    """
    return await conn.fetch(_TASKS, types)


_EVER_TOLD: Final = f"""
(
  select null as task_type, {columns((*_COUNTS, *_SKETCHES), of="s")}
  from planstore.statistics s
  where s.dimension = '{_ALL}'
    and s.grain = '{_EVER}'
)
union all
(
  select s.value, {columns((*_COUNTS, *_SKETCHES), of="s")}
  from planstore.statistics s
  where s.dimension = '{Dimension.TASK_TYPE}'
    and s.grain = '{_EVER}'
  order by s.completed + s.failed desc, s.value
  limit $1
)
"""


async def ever(conn: Connection, *, types: int) -> list[Row]:
    """Return what was counted since counting began, by the types of tasks, the most first.

    ``types``: so many of them. Before them comes what was counted of all, whose type is null.
    """
    return await conn.fetch(_EVER_TOLD, types)


_STANDING: Final = """
with recursive level (priority) as (
  select (
    select s.priority
    from planstore.task_states s
    where s.ready_at is not null
    order by s.priority desc
    limit 1
  )
  union all
  select (
    select s.priority
    from planstore.task_states s
    where s.ready_at is not null
      and s.priority < l.priority
    order by s.priority desc
    limit 1
  )
  from level l
  where l.priority is not null
)
select
  (
    select coalesce(extract(epoch from now() - min(o.ready_at))::float8, 0)
    from level l
    cross join lateral (
      select s.ready_at
      from planstore.task_states s
      where s.priority = l.priority
        and s.ready_at <= now()
      order by s.ready_at
      limit 1
    ) o
  ) as oldest_ready_seconds,
  (
    select count(*)
    from level l
    cross join lateral (
      select
      from planstore.task_states s
      where s.priority = l.priority
        and s.ready_at <= now()
      limit $1
    ) r
  ) as ready,
  (
    select count(*)
    from (
      select from planstore.task_states s where s.lease_expires_at > now() limit $1
    ) r
  ) as leases,
  (
    select count(*)
    from (
      select from planstore.task_states s where s.lease_expires_at <= now() limit $1
    ) r
  ) as expired_leases,
  (
    select coalesce(extract(epoch from now() - e.created_at)::float8, 0)
    from planstore.statistics_place p
    left join lateral (
      select e.created_at from planstore.events e where e.seq > p.seq order by e.seq limit 1
    ) e on true
  ) as uncounted_seconds
"""


async def standing(conn: Connection, *, most: int) -> Row:
    """Return how much is ready, since when, and how many leases go on or have ended.

    ``most``: up to where the rows are counted, of each priority.
    """
    row = await conn.fetchrow(_STANDING, most)
    assert row is not None
    return row
