-- When a task is to be tried again, and that it is held, whatever comes in between.
--
-- `due_at` is null while a dependency or a lower sequence_order holds a task back, so a backoff that
-- stood there alone was forgotten with its turn. It stays in `retry_at` until the task is begun by
-- hand or anew; once it is over it says nothing.
--
-- An abort skips what is held too, by which a hold was forgotten that stood in `status_reason`
-- alone. `keeps_hold` says that it comes back once the abort is undone.

alter table planstore.task_states
  add column retry_at timestamptz,
  add column keeps_hold boolean not null default false;

update planstore.task_states s
set retry_at = s.due_at
where s.due_at > now()
  and s.attempt > s.free_attempts;
