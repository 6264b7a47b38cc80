-- Events: what happened, in the order of the journal; at once the feed, and the outbox of the relay.

-- `seq` comes from the journal's sequence under the journal's lock, so one cursor orders points and events.
-- `device_id` and `metric_name` say what the event is about: who may not see those, may not see it.
create table telemetry.event (
  seq bigint primary key,
  event_id text not null unique,
  type text not null,
  severity text not null,
  subject text,
  message text not null,
  data jsonb not null default '{}',
  device_id text,
  metric_name text,
  occurred_at timestamptz not null,
  created_at timestamptz not null default clock_timestamp(),
  created_by text not null,
  -- The same thing told twice is one event.
  dedup_id text not null unique
);
-- Read by events.newest with a type filter.
create index event_type on telemetry.event (type, seq);
-- Read by housekeeping's expire_events.
create index event_created on telemetry.event (created_at);

-- Blocks up to journal_floor and events up to event_floor may have been removed: a cursor before them has a gap.
alter table telemetry.installation add column journal_floor bigint not null default 0;
alter table telemetry.installation add column event_floor bigint not null default 0;
update telemetry.installation
   set journal_floor = coalesce(
         (select min(j.seq) - 1 from telemetry.journal j),
         (select case when s.is_called then s.last_value else 0 end from telemetry.journal_seq s));

-- Append one event and return its position, null when its dedup id is stored already. The last statement of a change,
-- since it holds up every append until the commit.
create function telemetry.event_append(
  p_event_id text, p_type text, p_severity text, p_subject text, p_message text, p_data jsonb,
  p_device_id text, p_metric_name text, p_occurred_at timestamptz, p_created_by text, p_dedup_id text
) returns bigint
language plpgsql as $$
declare
  stored bigint;
begin
  perform pg_advisory_xact_lock(8218, 1);
  insert into telemetry.event (seq, event_id, type, severity, subject, message, data, device_id, metric_name,
                               occurred_at, created_by, dedup_id)
  values (nextval('telemetry.journal_seq'), p_event_id, p_type, p_severity, p_subject, p_message, p_data, p_device_id,
          p_metric_name, p_occurred_at, p_created_by, coalesce(p_dedup_id, p_event_id))
  on conflict (dedup_id) do nothing
  returning seq into stored;
  perform pg_notify('telemetry_journal', '');
  return stored;
end $$;
