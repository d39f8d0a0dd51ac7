-- Looking back: what was deleted is found by its id alone, though only its events are left.
create index events_of_deleted on planstore.events (aggregate_id)
where event_type = 'task.deleted';
