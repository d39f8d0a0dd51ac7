"""What was counted in 90 days, written by bulk SQL as the counting leaves it; and a log to count.

Values are as skewed as they are in life: of so many agents, the first ends far more tasks than the
hundredth. How long tasks wait and run is spread over all that a sketch tells apart.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Final

import asyncpg

from planstore.services.plan_store import PlanStore

if TYPE_CHECKING:
    from datetime import datetime

    from planstore.sql.connection import Row

PERIOD_DAYS: Final = 90
TASK_TYPES: Final = 50
AGENTS: Final = 500
TEMPLATES: Final = 100
"""How many different values there are of each; those with low numbers are the common ones."""

_LOGGED: Final = 20_000
"""Tasks of the last half hour, which are in the log."""

_TYPE: Final = "type-"
_AGENT: Final = "a0000000-0000-7000-8000-"
_TEMPLATE: Final = "template-"


def task_type(number: int) -> str:
    """A type of tasks."""
    return f"{_TYPE}{number}"


def agent(number: int) -> str:
    """An agent."""
    return f"{_AGENT}{number:012d}"


def _skewed(most: int) -> str:
    """An expression for a number from 1 to ``most``, the n-th about n times as seldom as 1."""
    return f"floor(exp(random() * ln({most + 1}::float8)))::int"


# The parameters: $1 how many tasks there are, $2 when the last one has ended.
_COUNTED: Final = f"""
insert into planstore.statistics
  (dimension, grain, began_at, value, completed, failed, skipped, retried, waits, wait_seconds,
  wait_bins, wait_counts, runs, run_seconds, run_bins, run_counts, scores, score_sum)
select
  c.dimension, c.grain, c.began_at, c.value, c.n - c.n / 20, c.n / 20, 0, c.n / 30,
  c.n, 30.0 * c.n, w.bins, w.counts, c.n, 60.0 * c.n, r.bins, r.counts, c.n / 5, 0.1 * c.n
from (
  select
    d.dimension, g.grain, date_trunc(g.grain, $2::timestamptz, 'UTC') - i * g.length as began_at,
    case
      when d.dimension = '' then ''
      else d.before || lpad(v::text, greatest(d.digits, length(v::text)), '0')
    end as value,
    -- The part of those whose value is the v-th, of so many tasks in a span.
    floor(
      $1::int * extract(epoch from g.length)::float8 / {PERIOD_DAYS * 86_400}
      * ln((v + 1)::float8 / v) / ln(d.most + 1::float8) + random()
    )::int as n
  from (
    values
      ('', 1, '', 0),
      ('task_type', {TASK_TYPES}, '{_TYPE}', 0),
      ('agent_id', {AGENTS}, '{_AGENT}', 12),
      ('plan_type', 2, 'plan-', 0),
      ('template', {TEMPLATES}, '{_TEMPLATE}', 0),
      ('evaluation_type', 2, 'score-', 0)
  ) d (dimension, most, before, digits)
  cross join (
    values
      ('minute', interval '1 minute', 1500),
      ('hour', interval '1 hour', 360),
      ('day', interval '1 day', {PERIOD_DAYS}),
      ('week', interval '7 days', {PERIOD_DAYS // 7})
  ) g (grain, length, spans)
  cross join lateral generate_series(1, d.most) v
  cross join lateral generate_series(0, g.spans) i
) c
cross join lateral (
  select array_agg(b) as bins, array_fill(greatest(c.n / 58, 1), array[least(c.n, 58)]) as counts
  from generate_series(0, least(c.n, 58) - 1) b
) w
cross join lateral (
  select array_agg(b) as bins, array_fill(greatest(c.n / 93, 1), array[least(c.n, 93)]) as counts
  from generate_series(-23, least(c.n, 93) - 24) b
) r
where c.n > 0
"""

# The parameters: $1 how many tasks there are, $2 when the last one has ended.
_LOG: Final = f"""
with ended as materialized (
  select
    n,
    gen_random_uuid() as id,
    $2::timestamptz - n * (interval '30 minutes' / $1::int) as at,
    random() as chance,
    n % 5 = 0 as is_evaluated,
    json_build_object(
      'revision', 1,
      'task_type', '{_TYPE}' || {_skewed(TASK_TYPES)},
      'agent_id', '{_AGENT}' || lpad({_skewed(AGENTS)}::text, 12, '0'),
      'plan_type', case when random() < 0.7 then 'sequential' else 'dag' end,
      'template', case when random() < 0.6 then '{_TEMPLATE}' || {_skewed(TEMPLATES)} end,
      'worker_id', 'w1',
      'attempt', 1
    )::jsonb as run,
    interval '1 second' * exp(5 * random()) as waited,
    interval '1 second' * exp(8 * random() - 2) as ran
  from generate_series(1, $1::int) n
)
insert into planstore.events
  (event_type, aggregate_type, aggregate_id, plan_id, version, created_at, payload, metadata)
select e.event_type, 'task', t.id, t.id, e.version, e.at, '{{}}', t.run || e.more
from ended t
cross join lateral (
  values
    ('task.created', 1, t.at - t.ran - t.waited, '{{"status": "pending"}}'::jsonb),
    ('task.started', 2, t.at - t.ran, '{{}}'),
    (
      case
        when t.chance < 0.92 then 'task.completed'
        when t.chance < 0.97 then 'task.failed'
        else 'task.requeued'
      end,
      3, t.at,
      jsonb_build_object(
        'was', 'running', 'ready_at', t.at - t.ran - t.waited, 'began_at', t.at - t.ran
      )
    ),
    (
      'task.evaluated', 3, t.at,
      jsonb_build_object(
        'evaluation_type', case when random() < 0.8 then 'quality' else 'safety' end,
        'score', round(random()::numeric, 2)
      )
    )
) e (event_type, version, at, more)
where e.event_type <> 'task.evaluated' or t.is_evaluated
order by t.n desc, e.version
"""


async def add(url: str, tasks: int, ends_at: datetime) -> float:
    """Write what was counted and count a little more; answers how many events a second."""
    async with PlanStore.open(url, pool_size=1) as store:
        conn: asyncpg.Connection[Row] = await asyncpg.connect(url)
        try:
            await conn.execute(_COUNTED, tasks, ends_at)
            await conn.execute(_LOG, _LOGGED, ends_at)
        finally:
            await conn.close()
        total, start = 0, time.perf_counter()
        while passed := await store.count_events():
            total += passed
        return total / (time.perf_counter() - start)
