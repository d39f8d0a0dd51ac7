-- Who is told of what happens by HTTP, and how each telling goes.
--
-- The log is followed by one server at a time (`relays`): in the transaction that moves its place
-- it makes a delivery for each event and each active webhook that asks for it. Any server takes
-- deliveries that are due, by a lease; who dies lets it end, and another one takes them.

create table planstore.webhooks (
  id uuid not null,
  url text not null,
  description text,
  event_types text[],               -- null: all
  plan_ids uuid[],                  -- null: all
  after_seq bigint not null,        -- it is told of events with a higher `seq`
  status text not null default 'active',
  disabled_reason text,
  disabled_at timestamptz,
  version bigint not null default 1,
  created_at timestamptz not null default now(),
  updated_at timestamptz not null default now(),
  deleted_at timestamptz,           -- the row goes once its deliveries have gone

  -- It has to be known to sign with it, so it can't be kept as a hash.
  secret bytea not null,
  former_secret bytea,              -- signs as well, until
  former_secret_until timestamptz,

  -- How it goes; that is no change of the webhook itself.
  enabled_at timestamptz not null default now(),
  failures integer not null default 0,              -- in a row
  rests_until timestamptz not null default now(),   -- nothing is sent to it before
  succeeded_at timestamptz,                         -- about, where it goes well

  constraint webhooks_pkey primary key (id),
  constraint webhooks_status_known check (status in ('active', 'disabled')),
  constraint webhooks_disabled_with_reason
    check (
      (status = 'disabled') = (disabled_reason is not null)
      and (status = 'disabled') = (disabled_at is not null)
    ),
  constraint webhooks_former_secret_ends
    check ((former_secret is null) = (former_secret_until is null)),
  constraint webhooks_deleted_are_disabled check (deleted_at is null or status = 'disabled')
)
-- How it goes is rewritten often, and isn't indexed.
with (fillfactor = 50);

-- Those that are told of events.
create index webhooks_active on planstore.webhooks (id) where status = 'active';

-- The newest first.
create index webhooks_recent on planstore.webhooks (created_at, id) where deleted_at is null;

-- Those whose deliveries are to go.
create index webhooks_deleted on planstore.webhooks (id) where deleted_at is not null;

-- No foreign key: a webhook is deleted at once, and its deliveries go in bites.
create table planstore.deliveries (
  webhook_id uuid not null,
  seq bigint not null,              -- of the event
  event_type text not null,
  plan_id uuid not null,
  event_at timestamptz not null,    -- with `seq` it makes the event's id
  status text not null default 'pending',
  created_at timestamptz not null default now(),
  began_at timestamptz not null default now(),      -- made, or asked for again
  due_at timestamptz default now(),                 -- null once it has ended
  attempts integer not null default 0,              -- also tells whose lease it is
  lease_expires_at timestamptz,                     -- null while nobody sends it
  attempted_at timestamptz,
  ended_at timestamptz,
  response_status integer,
  error text,

  constraint deliveries_pkey primary key (webhook_id, seq),
  constraint deliveries_status_known check (status in ('pending', 'delivered', 'failed')),
  constraint deliveries_due_while_pending check ((status = 'pending') = (due_at is not null)),
  constraint deliveries_end_once check ((status = 'pending') = (ended_at is null)),
  constraint deliveries_leased_while_pending check (lease_expires_at is null or status = 'pending')
);

-- What is to be sent to a webhook next.
create index deliveries_due on planstore.deliveries (webhook_id, due_at) where status = 'pending';

-- How much is being sent to it.
create index deliveries_under_way on planstore.deliveries (webhook_id)
where lease_expires_at is not null;

-- Lists of what failed, or waits.
create index deliveries_by_status on planstore.deliveries (webhook_id, status, seq);

-- They are forgotten in the order in which they began.
create index deliveries_old on planstore.deliveries (began_at);
