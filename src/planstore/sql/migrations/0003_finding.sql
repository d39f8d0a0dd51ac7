-- Finding plans and tasks: what they are filed under, and an index for each filter.
--
-- Lists come newest first, so an index ends in (created_at, id): a page is read off its end,
-- whether a value fits one row or all of them. What most rows don't have is indexed only where
-- they have it, and costs the others next to nothing.

alter table planstore.plans
  add column labels text[] not null default '{}',
  add column template text;

alter table planstore.tasks
  add column labels text[] not null default '{}';

-- Copied from `tasks`, whose row is written by the same statement.
alter table planstore.task_states
  add column created_at timestamptz not null default now();

update planstore.task_states s
set created_at = t.created_at
from planstore.tasks t
where t.plan_id = s.plan_id
  and t.id = s.task_id;

-- Plans. A task's end rewrites its plan's row, but changes none of these columns; `status` changes
-- a few times in a plan's life.
create index plans_recent on planstore.plans (created_at, id);

create index plans_of_goal on planstore.plans (goal_id, created_at, id)
where goal_id is not null;

create index plans_of_agent on planstore.plans (agent_id, created_at, id)
where agent_id is not null;

create index plans_of_status on planstore.plans (status, created_at, id);

create index plans_of_type on planstore.plans (plan_type, created_at, id);

create index plans_of_template on planstore.plans (template, created_at, id)
where template is not null;

-- What is kept for later by these two is read by each search, so it is little.
create index plans_labelled on planstore.plans using gin (labels)
with (gin_pending_list_limit = 512)
where labels <> '{}';

create index plans_with_metadata on planstore.plans using gin ((metadata::jsonb) jsonb_path_ops)
with (gin_pending_list_limit = 512)
where metadata::text <> '{}';

-- Tasks, by what they are.
create index tasks_of_agent on planstore.tasks (agent_id, created_at, id)
where agent_id is not null;

create index tasks_of_type on planstore.tasks (task_type, created_at, id)
where task_type is not null;

create index tasks_named on planstore.tasks (name, created_at, id)
where name is not null;

create index tasks_labelled on planstore.tasks using gin (labels)
with (gin_pending_list_limit = 512)
where labels <> '{}';

create index tasks_with_metadata on planstore.tasks using gin ((metadata::jsonb) jsonb_path_ops)
with (gin_pending_list_limit = 512)
where metadata::text <> '{}';

-- Tasks, by where they stand: one index for each status, for what is new is at the end of each,
-- and is added there for the least. What runs is also looked for by who runs it, and is little
-- enough to be gone through in the index. Their conditions are words that no other statement uses:
-- while few tasks run, PostgreSQL would rather begin with all of them than with those it was given.
create index task_states_pending on planstore.task_states (created_at, task_id)
where starts_with(status, 'pending');

create index task_states_running on planstore.task_states (created_at, task_id, worker_id)
where starts_with(status, 'running');

create index task_states_completed on planstore.task_states (created_at, task_id)
where starts_with(status, 'completed');

create index task_states_failed on planstore.task_states (created_at, task_id)
where starts_with(status, 'failed');

create index task_states_blocked on planstore.task_states (created_at, task_id)
where starts_with(status, 'blocked');

create index task_states_skipped on planstore.task_states (created_at, task_id)
where starts_with(status, 'skipped');

-- The words of a plan's steps and metadata. A row of its own, for a plan's is rewritten all the
-- time, and an index of words on it would take the words out of the steps again each time the
-- new version of the row doesn't fit beside the old one.
create table planstore.plan_words (
  plan_id uuid not null,
  created_at timestamptz not null,
  words tsvector not null,

  constraint plan_words_pkey primary key (plan_id)
);

create index plan_words_found on planstore.plan_words using gin (words)
with (gin_pending_list_limit = 512);

-- The words of tasks' names and descriptions, of some dozens of tasks of one plan and instant
-- together: what is found here is looked at again. An index of each task's words would cost a third
-- of what it takes to add it, so the tasks whose words are still to be taken are noted by a row for
-- each statement that adds some, and their words are taken a moment later.
create table planstore.task_words (
  plan_id uuid not null,
  part bigint generated always as identity,
  created_at timestamptz not null,
  task_ids uuid[] not null,
  words tsvector not null,

  constraint task_words_pkey primary key (plan_id, part)
);

create index task_words_found on planstore.task_words using gin (words)
with (gin_pending_list_limit = 1024);

create table planstore.task_words_due (
  id bigint generated always as identity,
  task_ids uuid[] not null,

  constraint task_words_due_pkey primary key (id)
);

-- Ids don't become smaller by being packed.
alter table planstore.task_words alter column task_ids set storage external;
alter table planstore.task_words_due alter column task_ids set storage external;

-- What was there before.
insert into planstore.plan_words (plan_id, created_at, words)
select
  p.id,
  p.created_at,
  strip(
    case
      when octet_length(p.steps::text) <= 100000
        then json_to_tsvector('simple', p.steps, '["string", "numeric"]')
      else to_tsvector(
        'simple',
        regexp_replace(left(p.steps::text, 25000), '\\(u[0-9A-Fa-f]{4}|.)', ' ', 'g')
      )
    end
    || case
      when octet_length(p.metadata::text) <= 100000
        then json_to_tsvector('simple', p.metadata, '["string", "numeric"]')
      else to_tsvector(
        'simple',
        regexp_replace(left(p.metadata::text, 25000), '\\(u[0-9A-Fa-f]{4}|.)', ' ', 'g')
      )
    end
  )
from planstore.plans p;

insert into planstore.task_words_due (task_ids)
select array_agg(t.id order by t.id)
from (
  select t.id, row_number() over (order by t.created_at, t.id) / 1000 as bite
  from planstore.tasks t
) t
group by t.bite;
