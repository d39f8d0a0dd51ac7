-- Evaluations of tasks; and what the log amounts to, counted as it grows.
--
-- The counting follows the log and keeps its place beside what it has counted, so each event is
-- counted once, however many servers there are and whenever they are killed. What it needs to know
-- stands in the events' metadata: a plan may be gone before its events are counted.

create table planstore.evaluations (
  plan_id uuid not null,
  task_id uuid not null,
  id uuid not null,
  evaluation_type text not null,
  score double precision not null,
  metrics json not null,
  feedback text,
  agent_id uuid,
  attempt integer not null,
  created_at timestamptz not null default now(),

  constraint evaluations_pkey primary key (plan_id, task_id, id),
  constraint evaluations_score_known check (score between 0 and 1)
);

alter table planstore.task_states
  -- Since when the task could have been taken that a run was begun of last.
  add column was_ready_at timestamptz;

create table planstore.statistics_place (
  is_only boolean not null default true,
  seq bigint not null,

  constraint statistics_place_pkey primary key (is_only),
  constraint statistics_place_is_only check (is_only)
)
with (fillfactor = 50);

-- What became of runs in a minute, an hour, a day or a week: of all, and by each of what tells them apart.
-- The larger spans hold the smaller ones, so that a month is read as some dozens of rows; `ever`, of
-- 1970, holds all.
create table planstore.statistics (
  dimension text collate "C" not null,  -- such as `task_type`; empty of all
  grain text collate "C" not null,
  began_at timestamptz not null,        -- of the span of time
  value text collate "C" not null,      -- empty of all, and where the task or its plan has none
  completed bigint not null default 0,
  failed bigint not null default 0,
  skipped bigint not null default 0,
  retried bigint not null default 0,
  -- How long they waited and ran: how many did, the sum, and how many in which span of a
  -- logarithmic scale (`planstore.models.sketch`).
  waits bigint not null default 0,
  wait_seconds double precision not null default 0,
  wait_bins smallint[] not null default '{}',
  wait_counts bigint[] not null default '{}',
  runs bigint not null default 0,
  run_seconds double precision not null default 0,
  run_bins smallint[] not null default '{}',
  run_counts bigint[] not null default '{}',
  scores bigint not null default 0,
  score_sum double precision not null default 0,

  constraint statistics_pkey primary key (dimension, grain, began_at, value),
  constraint statistics_grain_known check (grain in ('minute', 'hour', 'day', 'week', 'ever'))
)
with (fillfactor = 60);

-- How many tasks stand where, by their type; empty where they have none.
create table planstore.task_counts (
  task_type text not null,
  status text not null,
  count bigint not null,

  constraint task_counts_pkey primary key (task_type, status)
)
with (fillfactor = 50);

-- Since the states were altered above, nobody is at work on a task; so what is there belongs to the
-- events up to here. Statistics begin now, for the events before don't say enough.
insert into planstore.task_counts (task_type, status, count)
select coalesce(s.task_type, ''), s.status, count(*)
from planstore.task_states s
group by 1, 2;

insert into planstore.statistics_place (seq)
select coalesce(max(e.seq), 0) from planstore.events e;
