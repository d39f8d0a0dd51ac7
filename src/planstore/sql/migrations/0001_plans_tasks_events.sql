-- Plans, their tasks, and the log of every change.
--
-- A plan's row is rewritten by each task that is added or ends, a task's state by each start and
-- end; what is wide (steps, descriptions, inputs) must not be copied each time, and what is
-- indexed for searching must not gain an index entry each time. So a task is two rows: what it
-- is (`tasks`), with all indexes for lists, and where it stands (`task_states`), with none but
-- its key. Its output is written with its last state, so it isn't copied either.

create table planstore.plans (
  id uuid not null,
  goal_id uuid,
  agent_id uuid,
  plan_type text not null,
  status text not null,
  auto_complete boolean not null,
  current_step integer not null,
  revision integer not null default 1,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  closed_at timestamptz,

  -- What is counted in place, because under READ COMMITTED a statement that waited for this row
  -- sees it as it is now, but every other row as it was before.
  last_order integer not null default 0,        -- highest sequence_order ever given
  computed_step integer not null default 0,     -- current_step as the service last computed it
  task_count integer not null default 0,
  unfinished_tasks integer not null default 0,  -- neither completed nor skipped
  live_tasks integer not null default 0,        -- running, held, or pending with their turn come
  gate_order integer,                           -- lowest sequence_order with unfinished tasks
  gate_unfinished integer not null default 0,   -- unfinished tasks of that order
  reopened boolean not null default false,      -- by hand, and no task has changed since

  steps json not null,
  metadata json not null,

  constraint plans_pkey primary key (id),
  constraint plans_status_known
    check (status in ('draft', 'active', 'completed', 'failed', 'cancelled')),
  constraint plans_counts_agree
    check (
      unfinished_tasks between 0 and task_count
      and live_tasks between 0 and unfinished_tasks
      and (gate_order is null) = (unfinished_tasks = 0)
      and (gate_unfinished > 0) = (unfinished_tasks > 0)
    )
)
-- Room on each page for the next version of a row, since none of the columns that the work
-- changes is indexed; and steps of more than a few words are kept out of the row.
with (fillfactor = 70, toast_tuple_target = 256);

create table planstore.tasks (
  plan_id uuid not null,
  id uuid not null,
  agent_id uuid,
  name text,
  description text not null,
  task_type text,
  sequence_order integer not null,
  created_at timestamptz not null default now(),
  input_data json,
  metadata json not null,

  constraint tasks_pkey primary key (plan_id, id),
  constraint tasks_plan_id_fkey
    foreign key (plan_id) references planstore.plans (id) on delete cascade
);

-- A task is asked for by its id alone.
create unique index tasks_id_key on planstore.tasks (id);

-- A plan's tasks in their order, and the next order that has unfinished tasks.
create index tasks_in_order on planstore.tasks (plan_id, sequence_order, created_at, id);

-- The most recent tasks of all plans.
create index tasks_recent on planstore.tasks (created_at, id);

-- Names are unique in their plan; most tasks have none.
create unique index tasks_name_key on planstore.tasks (plan_id, name) where name is not null;

create table planstore.task_states (
  plan_id uuid not null,
  task_id uuid not null,
  status text not null,
  version bigint not null default 1,
  updated_at timestamptz not null default now(),
  started_at timestamptz,
  completed_at timestamptz,
  output_data json,
  error json,

  constraint task_states_pkey primary key (plan_id, task_id),
  constraint task_states_task_id_fkey
    foreign key (plan_id, task_id) references planstore.tasks (plan_id, id) on delete cascade,
  constraint task_states_status_known
    check (status in ('pending', 'running', 'completed', 'failed', 'blocked', 'skipped'))
)
-- A task is usually started and ended once: room for two more versions beside each row.
with (fillfactor = 50);

create table planstore.events (
  -- Drawn while the changed row is locked, so it follows the order of changes to each row. The
  -- id that readers see is made of it and of created_at, and needs neither a column nor an index.
  seq bigint generated always as identity,
  event_type text not null,
  aggregate_type text not null,
  aggregate_id uuid not null,
  plan_id uuid not null,
  version bigint not null,        -- of the plan or task, once the change was made
  created_at timestamptz not null default now(),
  payload json not null,          -- the new values of the changed fields, whole
  metadata json not null,

  constraint events_pkey primary key (seq)
);

-- What happened to a plan and its tasks, in order.
create index events_of_plan on planstore.events (plan_id, seq);

create table planstore.idempotency_keys (
  scope text not null,            -- caller, method and path
  key text not null,
  fingerprint bytea not null,     -- of the request's body
  response json not null,
  created_at timestamptz not null default now(),

  constraint idempotency_keys_pkey primary key (scope, key)
);

-- Keys are forgotten in the order in which they came.
create index idempotency_keys_old on planstore.idempotency_keys (created_at);
