-- append --
-- Store one event and return its position; null when its dedup id is stored already.
select telemetry.event_append($1::text, $2::text, $3::text, $4::text, $5::text, $6::jsonb, $7::text, $8::text,
                              $9::timestamptz, $10::text, $11::text);

-- find --
-- One event by its id.
select e.seq, e.event_id, e.type, e.severity, e.subject, e.message, e.data - '_cause' as data, e.device_id,
       e.metric_name, e.occurred_at, e.created_by, e.data ->> '_cause' as cause
  from telemetry.event e
 where e.event_id = $1::text;

-- find_told --
-- One event by its dedup id.
select e.seq, e.event_id, e.type, e.severity, e.subject, e.message, e.data - '_cause' as data, e.device_id,
       e.metric_name, e.occurred_at, e.created_by, e.data ->> '_cause' as cause
  from telemetry.event e
 where e.dedup_id = $1::text;

-- between --
-- Events after $1 up to $2 in order, at most $5, with these types and severities.
select e.seq, e.event_id, e.type, e.severity, e.subject, e.message, e.data - '_cause' as data, e.device_id,
       e.metric_name, e.occurred_at, e.created_by, e.data ->> '_cause' as cause
  from telemetry.event e
 where e.seq > $1::int8 and e.seq <= $2::int8
   and ($3::text[] is null or e.type = any ($3::text[]))
   and ($4::text[] is null or e.severity = any ($4::text[]))
 order by e.seq
 limit $5::int4;

-- newest --
-- Events before $1, newest first, at most $4, with these types and severities.
select e.seq, e.event_id, e.type, e.severity, e.subject, e.message, e.data - '_cause' as data, e.device_id,
       e.metric_name, e.occurred_at, e.created_by, e.data ->> '_cause' as cause
  from telemetry.event e
 where e.seq < $1::int8
   and ($2::text[] is null or e.type = any ($2::text[]))
   and ($3::text[] is null or e.severity = any ($3::text[]))
 order by e.seq desc
 limit $4::int4;

-- bounds --
-- The position up to which events may have been removed, and the last number given out; 0 before the first.
select i.event_floor, case when s.is_called then s.last_value else 0 end as last_number
  from telemetry.installation i, telemetry.journal_seq s;

-- newest_seq --
-- The position of the newest event, or null.
select max(e.seq) from telemetry.event e;

-- append_all --
-- Store events in the order given and return the ids of those that were not stored before.
select telemetry.events_append($1::jsonb);
