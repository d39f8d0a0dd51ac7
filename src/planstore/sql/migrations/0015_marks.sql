-- Lists by labels and by metadata, in the order of lists.
--
-- The indexes of labels and metadata know what has several of them at once, but no order: of what
-- very many have, all had to be read and sorted for a page, unless it was among the newest. So each
-- label, and each value in metadata with the names that lead to it, has a number, a mark, and what
-- has it is listed under it. Who edits or deletes finds the marks by the primary key.
--
-- Plans are listed by the statement that writes them; tasks a moment later, with their words, so
-- that adding them costs no more.

create table planstore.plan_marks (
  plan_id uuid not null,
  mark bigint not null,
  created_at timestamptz not null,  -- of the plan

  constraint plan_marks_pkey primary key (plan_id, mark)
);

create table planstore.task_marks (
  plan_id uuid not null,
  task_id uuid not null,
  mark bigint not null,
  created_at timestamptz not null,  -- of the task

  constraint task_marks_pkey primary key (plan_id, task_id, mark)
);

-- What was there before.
with recursive item as not materialized (
  select p.id as plan_id, null::uuid as task_id, p.created_at, p.labels, p.metadata
  from planstore.plans p
  union all
  select t.plan_id, t.id, t.created_at, t.labels, t.metadata
  from planstore.tasks t
),
node (plan_id, task_id, created_at, number, value) as (
  select i.plan_id, i.task_id, i.created_at, 2::bigint, i.metadata::jsonb
  from item i
  where i.metadata::text <> '{}'
  union all
  select n.plan_id, n.task_id, n.created_at, c.number, c.value
  from node n
  cross join lateral (
    select hashtextextended(m.key, n.number) as number, m.value
    from jsonb_each(case jsonb_typeof(n.value) when 'object' then n.value else '{}' end) m
    union all
    select hashint8extended(0, n.number), e.value
    from jsonb_array_elements(
      case jsonb_typeof(n.value) when 'array' then n.value else '[]' end
    ) e
  ) c
  where jsonb_typeof(n.value) in ('object', 'array')
),
marked as materialized (
  select i.plan_id, i.task_id, i.created_at, hashtextextended(l.label, 1) as mark
  from item i
  cross join unnest(i.labels) l (label)
  union all
  select n.plan_id, n.task_id, n.created_at, jsonb_hash_extended(n.value, n.number)
  from node n
  where jsonb_typeof(n.value) not in ('object', 'array')
    and length(n.value::text) <= 1000
),
listed as (
  insert into planstore.plan_marks (plan_id, mark, created_at)
  select m.plan_id, m.mark, m.created_at
  from marked m
  where m.task_id is null
  on conflict do nothing
)
insert into planstore.task_marks (plan_id, task_id, mark, created_at)
select m.plan_id, m.task_id, m.mark, m.created_at
from marked m
where m.task_id is not null
on conflict do nothing;

create index plan_marks_listed on planstore.plan_marks (mark, created_at, plan_id);

create index task_marks_listed on planstore.task_marks (mark, created_at, task_id);

-- The words of tasks, the newest first: of what very many have, a page is soon together.
create index task_words_recent on planstore.task_words (created_at);
