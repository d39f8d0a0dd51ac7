-- How long events are kept.
--
-- The log is gone through once, in the order of its numbers, as it becomes old enough. An event
-- that is the last one of a plan which has ended takes all of that plan along; a plan that goes on
-- is met again at its next event. So what isn't pruned needs no mark and no index of its own.
create table planstore.retention (
  is_only boolean not null default true,
  examined_to bigint not null default 0,   -- all events up to here have been looked at
  pruned_to bigint not null default 0,     -- the highest number that is no longer kept: who has
                                           -- read less than that may have missed something
  pruned_before timestamptz,               -- what is later than that is kept

  constraint retention_pkey primary key (is_only),
  constraint retention_only_one check (is_only)
);

insert into planstore.retention default values;
