-- Approvals, usage and budgets.
--
-- An approval that a task awaits is one more of what `task_states.unmet` counts, so that whatever
-- opens tasks and hands them out knows nothing of it. A decision ends the waiting, and stands until
-- the task has completed by it, or is done again after a rejection.

alter table planstore.task_states
  add column requires_approval boolean not null default false,
  add column approval json,     -- who decided what, and when; null until somebody has
  add column usage json;        -- the sum of what was reported; null until something was

-- Who awaits an approval, newest first. The words are those of lists alone, as in the indexes of
-- statuses.
create index task_states_awaiting on planstore.task_states (created_at, task_id)
where starts_with(status_reason, 'approval');

alter table planstore.plans
  add column budget json,
  add column usage json,              -- the sum of what was reported for its tasks
  add column pause_reason text,       -- what of the budget is reached; null where paused by hand
  add column stops_at timestamptz;    -- when the budget is to pause it; long ago once it is reached

-- Plans that their budget is to pause, in order. What hands out nothing costs nothing.
create index plans_stopping on planstore.plans (stops_at)
where stops_at is not null and paused_at is null and status = 'active';

-- What was reported for tasks, by whom they were for and of what type they were then. Of a task
-- that is deleted it stays; of a plan it goes with the plan.
create table planstore.usage (
  plan_id uuid not null,
  agent_id uuid,
  task_type text,
  usage json not null,

  constraint usage_key unique nulls not distinct (plan_id, agent_id, task_type)
);

-- What an agent, or a type of task, has used.
create index usage_of_agent on planstore.usage (agent_id) where agent_id is not null;

create index usage_of_type on planstore.usage (task_type) where task_type is not null;
