-- When a task is to be tried again, whatever comes in between.
--
-- `due_at` is null while a dependency or a lower sequence_order holds a task back, so a backoff that
-- stood there alone was forgotten with its turn. It stays here until the task is begun by hand or
-- anew; once it is over it says nothing.

alter table planstore.task_states
  add column retry_at timestamptz;

update planstore.task_states s
set retry_at = s.due_at
where s.due_at > now()
  and s.attempt > s.free_attempts;
