-- Both tasks of a dependency are there when it is written, and go only together with it: whatever
-- adds dependencies or deletes tasks holds the lock on their plan. The checks of the two foreign
-- keys were three fifths of what it cost to add tasks with two dependencies each in a batch: each
-- of them locks the row of the task that it finds. `planstore doctor` looks for what they would
-- have refused.
alter table planstore.dependencies
  drop constraint dependencies_task_id_fkey,
  drop constraint dependencies_needs_id_fkey;
