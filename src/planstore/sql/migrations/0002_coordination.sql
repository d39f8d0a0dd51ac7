-- Dependencies, readiness, claims and their attempts.
--
-- The life of a task, as the columns of `task_states` tell it:
--
--   unmet      how many of its dependencies aren't satisfied; with any, it is `blocked`
--   due_at     when it may start, as far as its plan's structure goes: null while it isn't
--              pending, while a dependency or a lower sequence_order holds it back
--   ready_at   the same time, where the plan hands it out: null in a plan that isn't active, is
--              paused, or has as many tasks at work as it may. Claims look at this one alone
--   a claim    clears both, draws a fencing token and sets the lease's end; the run's end clears
--              the lease and counts down `unmet` of those who need the task
--
-- What changes the structure, or takes something back, recomputes all of it for one plan
-- (`planstore.sql.derivation`); what goes on all the time counts in place.

alter table planstore.plans
  add column on_failure text not null default 'block',
  add column max_parallel_tasks integer,
  add column retry_policy json,
  add column paused_at timestamptz,
  add column offered_tasks integer not null default 0,      -- ready or running
  add column is_aborting boolean not null default false,    -- running tasks are asked to stop
  add column derivations bigint not null default 0,         -- how often all was computed anew
  add constraint plans_on_failure_known check (on_failure in ('block', 'skip', 'abort'));

alter table planstore.tasks
  add column parallel_group text,
  add column side_effects text not null default 'idempotent',
  add column timeout_seconds double precision,
  add column retry_policy json,
  add column estimated_duration text,
  add constraint tasks_side_effects_known check (side_effects in ('none', 'idempotent', 'once'));

create sequence planstore.fencing_tokens as bigint;

alter table planstore.task_states
  -- Copied from `tasks`, since claims choose by them.
  add column agent_id uuid,
  add column task_type text,
  add column priority smallint not null default 0,
  add column not_before timestamptz,
  add column status_reason text,
  add column needs integer not null default 0,          -- how many dependencies it has
  add column unmet integer not null default 0,
  add column due_at timestamptz,
  add column ready_at timestamptz,
  add column attempt integer not null default 0,        -- runs that have begun
  add column free_attempts integer not null default 0,  -- of those, what isn't held against it
  add column worker_id text,
  add column fencing_token bigint,
  add column lease_seconds double precision,
  add column lease_expires_at timestamptz,
  add column times_out_at timestamptz,
  -- Of the run that goes on, or that the task has completed by; by the database's clock, whatever
  -- times the client gave.
  add column began_at timestamptz,
  add column ended_at timestamptz,
  add column needs_review boolean not null default false,
  add column progress double precision,
  add column progress_note text,
  add constraint task_states_reason_known
    check (
      status_reason in
        ('held', 'dependencies', 'dependency_dead', 'plan_aborted', 'plan_closed')
    ),
  add constraint task_states_unmet_positive check (unmet between 0 and needs),
  add constraint task_states_due_is_pending
    check (due_at is null or status = 'pending' and unmet = 0),
  add constraint task_states_ready_is_due check (ready_at is null or ready_at = due_at),
  add constraint task_states_lease_is_running
    check (lease_expires_at is null or status = 'running' and fencing_token is not null),
  -- Both rows of a task are written by one statement, behind the lock on its plan, and deleted
  -- together. The checks of the two foreign keys were half of what it cost to add a task in a
  -- batch: for each of them PostgreSQL looks the plan up again, by way of all versions of its row.
  -- `planstore doctor` looks for what they would have refused.
  drop constraint task_states_task_id_fkey;

alter table planstore.tasks drop constraint tasks_plan_id_fkey;

create table planstore.dependencies (
  plan_id uuid not null,
  task_id uuid not null,
  needs_id uuid not null,
  condition text not null,
  kind text not null,

  constraint dependencies_pkey primary key (plan_id, task_id, needs_id),
  constraint dependencies_task_id_fkey
    foreign key (plan_id, task_id) references planstore.tasks (plan_id, id) on delete cascade,
  constraint dependencies_needs_id_fkey
    foreign key (plan_id, needs_id) references planstore.tasks (plan_id, id),
  constraint dependencies_not_of_itself check (task_id <> needs_id),
  constraint dependencies_condition_known check (condition in ('success', 'ended', 'failure')),
  constraint dependencies_kind_known check (kind in ('blocking', 'data'))
);

-- Who waits for a task that ends.
create index dependencies_of_needed on planstore.dependencies (needs_id, plan_id);

-- Runs that ended otherwise than by completing the task; how the last one went stands with the
-- task itself, so a task that succeeds at once leaves no row here.
create table planstore.attempts (
  plan_id uuid not null,
  task_id uuid not null,
  attempt integer not null,
  worker_id text,
  fencing_token bigint,
  began_at timestamptz not null,
  ended_at timestamptz not null default now(),
  outcome text not null,
  error json,

  constraint attempts_pkey primary key (plan_id, task_id, attempt),
  constraint attempts_task_id_fkey
    foreign key (plan_id, task_id) references planstore.tasks (plan_id, id) on delete cascade,
  constraint attempts_outcome_known
    check (
      outcome in
        ('completed', 'failed', 'skipped', 'released', 'lease_ended', 'timed_out', 'overridden')
    )
);

-- What was there before: tasks that are blocked are so by hand, and whose turn has come is due.
update planstore.task_states s
set
  agent_id = d.agent_id,
  task_type = d.task_type,
  status_reason = case when s.status = 'blocked' then 'held' end,
  attempt = (s.started_at is not null)::int,
  began_at = case when s.status in ('running', 'completed') then s.started_at end,
  ended_at = case when s.status = 'completed' and s.started_at is not null then s.completed_at end,
  due_at = case when d.is_due then now() end,
  ready_at = case when d.is_due and d.is_handed_out then now() end
from (
  select
    t.plan_id, t.id, t.agent_id, t.task_type,
    s.status = 'pending'
      and (p.plan_type <> 'sequential' or t.sequence_order = p.gate_order) as is_due,
    p.status = 'active' as is_handed_out
  from planstore.plans p
  join planstore.tasks t on t.plan_id = p.id
  join planstore.task_states s on s.plan_id = t.plan_id and s.task_id = t.id
) d
where s.plan_id = d.plan_id
  and s.task_id = d.id;

update planstore.plans p
set offered_tasks = c.offered
from (
  select
    s.plan_id,
    count(*) filter (where s.status = 'running' or s.ready_at is not null) as offered
  from planstore.task_states s
  group by s.plan_id
) c
where p.id = c.plan_id;

-- What is ready, in the order in which it is handed out: of all plans, of one, of a type, of an
-- agent or of nobody. Each holds only what is ready, so a plan that hands out nothing costs the
-- others nothing.
create index task_states_ready on planstore.task_states (priority desc, ready_at, task_id)
where ready_at is not null;

create index task_states_ready_of_plan
on planstore.task_states (plan_id, priority desc, ready_at, task_id)
where ready_at is not null;

create index task_states_ready_of_type
on planstore.task_states (task_type, priority desc, ready_at, task_id)
where ready_at is not null and task_type is not null;

create index task_states_ready_of_agent
on planstore.task_states (agent_id, priority desc, ready_at, task_id)
where ready_at is not null;

-- What a plan hands out next, when it is started or resumed, or when one of as many tasks as may
-- be at work has ended.
create index task_states_due
on planstore.task_states (plan_id, priority desc, due_at, task_id)
where due_at is not null and ready_at is null;

-- Leases in the order in which they end.
create index task_states_leases on planstore.task_states (lease_expires_at)
where lease_expires_at is not null;
