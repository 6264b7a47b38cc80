-- Rules and watches judge what is committed after they were made, or changed in what they decide: not the little that
-- the evaluator had not judged yet at that moment.

-- The newest position there is, and no later one until the transaction ends: what has a lower number is committed.
create function telemetry.journal_mark() returns bigint
language plpgsql as $$
begin
  perform pg_advisory_xact_lock(8218, 1);
  return (select case when s.is_called then s.last_value else 0 end from telemetry.journal_seq s);
end $$;

-- Blocks up to this position are not judged by it.
alter table telemetry.alert_rule add column since_seq bigint not null default 0;
alter table telemetry.watch add column since_seq bigint not null default 0;
