-- late_of --
-- Samples of a device that came too late for a rule.
select l.samples, l.first_at, l.last_at
  from telemetry.late_sample l
 where l.rule_id = $1::text and l.device_id = $2::text;

-- last_alert --
-- The newest alert of a rule on a device up to $3, by event time.
select a.alert_id, a.event_time, a.last_breach, coalesce(a.resolved_event_time, a.resolved_at) as ended_at, a.by_silence
  from telemetry.alert a
 where a.rule_id = $1::text and a.device_id = $2::text and a.event_time <= $3::timestamptz
 order by a.event_time desc
 limit 1;

-- wide_open --
-- Alerts of a rule that stood for many devices at $2.
select a.alert_id, a.scope, a.group_id
  from telemetry.alert a
 where a.rule_id = $1::text and a.scope in ('group', 'ingest') and a.event_time <= $2::timestamptz
   and (a.resolved_at is null or coalesce(a.resolved_event_time, a.resolved_at) > $2::timestamptz)
 order by a.event_time desc
 limit 100;

-- appended_at --
-- When a block was committed.
select j.appended_at from telemetry.journal j where j.seq = $1::int8;
