-- Who passes the log on to others, and how far each has come.
create table planstore.relays (
  name text not null,
  id uuid not null default gen_random_uuid(),  -- apart from relays of other databases
  place bigint not null,                       -- all events up to this `seq` were passed on

  -- Only who holds the lease passes anything on. Each holder has a term of its own, which is
  -- higher than all before, so that what an earlier one does late can be told and refused.
  holder text,
  term bigint not null default 0,
  lease_expires_at timestamptz not null default now(),

  constraint relays_pkey primary key (name)
)
-- The one row is rewritten many times a second: room for its versions on the same page.
with (fillfactor = 10);
