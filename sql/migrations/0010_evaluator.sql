-- The evaluator tells many events at once: one lock, one order.

-- Append events, in the order given, and return the ids of those that were not stored before. The last statement of a
-- change, since it holds up every append until the commit.
create function telemetry.events_append(p_events jsonb) returns setof text
language plpgsql as $$
begin
  perform pg_advisory_xact_lock(8218, 1);
  return query
    insert into telemetry.event (seq, event_id, type, severity, subject, message, data, device_id, metric_name,
                                 occurred_at, created_by, dedup_id)
    select nextval('telemetry.journal_seq'), e.event_id, e.type, e.severity, e.subject, e.message, e.data, e.device_id,
           e.metric_name, e.occurred_at, e.created_by, coalesce(e.dedup_id, e.event_id)
      from rows from (jsonb_to_recordset(p_events) as (
             event_id text, type text, severity text, subject text, message text, data jsonb, device_id text,
             metric_name text, occurred_at timestamptz, created_by text, dedup_id text)) with ordinality
             as e (event_id, type, severity, subject, message, data, device_id, metric_name, occurred_at, created_by,
                   dedup_id, place)
     order by e.place
    on conflict (dedup_id) do nothing
    returning event.event_id;
  perform pg_notify('telemetry_journal', '');
end $$;
