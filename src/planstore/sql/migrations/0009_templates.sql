-- Templates: plans to be made again and again. A version is never changed, so that each plan says
-- what it was made of; what became of a version's plans is read from these, newest first.

create table planstore.templates (
  name text not null,
  latest_version integer not null default 1,
  archived_at timestamptz,

  constraint templates_pkey primary key (name)
);

create table planstore.template_versions (
  name text not null,
  version integer not null,
  description text,
  parameters json not null,
  plan json not null,
  created_at timestamptz not null default now(),

  constraint template_versions_pkey primary key (name, version),
  constraint template_versions_name_fkey foreign key (name) references planstore.templates (name)
);

alter table planstore.plans add column template_version integer;

-- The plans of a version, for its record.
create index plans_of_template_version
on planstore.plans (template, template_version, created_at, id)
where template_version is not null;
