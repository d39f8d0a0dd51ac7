-- No checks on the rows that every claim and every end of a run writes.
--
-- PostgreSQL keeps a check as text and reads it anew in each statement that writes to the table. For
-- a batch that is nothing, but where tasks are claimed and completed one at a time it was an eighth
-- of all that PostgreSQL did. Nobody but PlanStore's own statements writes these rows, and
-- `planstore doctor` looks for whatever the checks would have refused.

alter table planstore.plans
  drop constraint plans_status_known,
  drop constraint plans_counts_agree,
  drop constraint plans_on_failure_known;

alter table planstore.task_states
  drop constraint task_states_status_known,
  drop constraint task_states_reason_known,
  drop constraint task_states_unmet_positive,
  drop constraint task_states_due_is_pending,
  drop constraint task_states_ready_is_due,
  drop constraint task_states_lease_is_running;
