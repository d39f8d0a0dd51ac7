-- A task is found by its id alone, also where its plan is known. The index by plan and id was one
-- of the eleven that each new task is entered in, and one in the midst of which it is entered: a
-- twenty-fifth of what it costs to add a task. A plan's tasks are gone through by `tasks_in_order`.
--
-- Attempts were checked against it. They are written behind the lock on their task, and deleted
-- with it; `planstore doctor` looks for what the check would have refused.
alter table planstore.attempts drop constraint attempts_task_id_fkey;

alter table planstore.tasks drop constraint tasks_pkey;
alter table planstore.tasks add constraint tasks_pkey primary key using index tasks_id_key;
