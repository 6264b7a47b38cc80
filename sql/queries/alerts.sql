-- next_closing --
-- Begin to end alerts other than as the evaluator does; it waits, and throws away what it judged before.
update telemetry.alert_version v set closings_version = v.closings_version + 1 returning v.closings_version;

-- find_alert --
-- One alert.
select a.alert_id, a.rule_id, a.rule_name, a.rule_revision, a.series_id, a.device_id, a.metric_name, a.scope, a.group_id,
       a.level, a.status, a.is_shadow, a.is_stale, a.by_silence, a.value, a.condition, a.threshold_value, a.message,
       a.triggered_at, a.event_time, a.last_breach, a.acknowledged_by, a.acknowledged_at, a.acknowledged_note,
       a.resolved_by, a.resolved_at, a.resolved_note, a.resolved_reason, a.resolved_event_time
  from telemetry.alert a
 where a.alert_id = $1::text;

-- list_alerts --
-- A page of the alerts that fit the filters, the newest first.
select a.alert_id, a.rule_id, a.rule_name, a.rule_revision, a.series_id, a.device_id, a.metric_name, a.scope, a.group_id,
       a.level, a.status, a.is_shadow, a.is_stale, a.by_silence, a.value, a.condition, a.threshold_value, a.message,
       a.triggered_at, a.event_time, a.last_breach, a.acknowledged_by, a.acknowledged_at, a.acknowledged_note,
       a.resolved_by, a.resolved_at, a.resolved_note, a.resolved_reason, a.resolved_event_time
  from telemetry.alert a
 where ($1::text[] is null or a.status = any ($1::text[]))
   and ($2::text[] is null or a.level = any ($2::text[]))
   and ($3::text is null or a.device_id = $3::text)
   and ($4::text is null or a.rule_id = $4::text)
   and ($5::text is null or a.metric_name = $5::text)
   and ($6::timestamptz is null or a.triggered_at >= $6::timestamptz)
   and ($7::timestamptz is null or a.triggered_at < $7::timestamptz)
   and ($8::boolean is null or a.is_shadow = $8::boolean)
   and ($9::text[] is null or a.metric_name like any ($9::text[]))
   and (($10::text[] is null and $11::text[] is null)
        or a.device_id like any ($10::text[]) or a.device_id = any ($11::text[]))
 order by a.triggered_at desc, a.alert_id desc
 limit $12::int4 offset $13::int4;

-- count_alerts --
-- How many alerts fit the filters, and how many of them are active, and critical or worse.
select count(*) as total, count(*) filter (where a.status = 'active') as active,
       count(*) filter (where a.level in ('critical', 'emergency')) as critical
  from telemetry.alert a
 where ($1::text[] is null or a.status = any ($1::text[]))
   and ($2::text[] is null or a.level = any ($2::text[]))
   and ($3::text is null or a.device_id = $3::text)
   and ($4::text is null or a.rule_id = $4::text)
   and ($5::text is null or a.metric_name = $5::text)
   and ($6::timestamptz is null or a.triggered_at >= $6::timestamptz)
   and ($7::timestamptz is null or a.triggered_at < $7::timestamptz)
   and ($8::boolean is null or a.is_shadow = $8::boolean)
   and ($9::text[] is null or a.metric_name like any ($9::text[]))
   and (($10::text[] is null and $11::text[] is null)
        or a.device_id like any ($10::text[]) or a.device_id = any ($11::text[]));

-- count_open --
-- How many alerts are open that are not shadows, by level and status, and how many of them are stale.
select a.level, a.status, count(*) as alerts, count(*) filter (where a.is_stale) as stale
  from telemetry.alert a
 where a.status <> 'resolved' and not a.is_shadow
 group by a.level, a.status;

-- acknowledge --
-- Say that somebody looks at an active alert; no row when it is not active.
update telemetry.alert a
   set status = 'acknowledged', acknowledged_by = $2::text, acknowledged_at = $3::timestamptz,
       acknowledged_note = $4::text, updated_at = clock_timestamp()
 where a.alert_id = $1::text and a.status = 'active'
returning a.alert_id, a.rule_id, a.rule_name, a.rule_revision, a.series_id, a.device_id, a.metric_name, a.scope, a.group_id,
       a.level, a.status, a.is_shadow, a.is_stale, a.by_silence, a.value, a.condition, a.threshold_value, a.message,
       a.triggered_at, a.event_time, a.last_breach, a.acknowledged_by, a.acknowledged_at, a.acknowledged_note,
       a.resolved_by, a.resolved_at, a.resolved_note, a.resolved_reason, a.resolved_event_time;

-- end_alerts --
-- End open alerts: one, or those of a rule but on devices of $4, or those of a device.
update telemetry.alert a
   set status = 'resolved', resolved_by = $5::text, resolved_at = $6::timestamptz, resolved_reason = $7::text,
       resolved_note = $8::text, updated_at = clock_timestamp()
 where a.status <> 'resolved'
   and ($1::text is null or a.alert_id = $1::text)
   and ($2::text is null or a.rule_id = $2::text)
   and ($3::text is null or a.device_id = $3::text)
   and coalesce($1::text, $2::text, $3::text) is not null
   and ($4::text[] is null or a.device_id is null or a.device_id <> all ($4::text[]))
returning a.alert_id, a.rule_id, a.rule_name, a.rule_revision, a.series_id, a.device_id, a.metric_name, a.scope, a.group_id,
       a.level, a.status, a.is_shadow, a.is_stale, a.by_silence, a.value, a.condition, a.threshold_value, a.message,
       a.triggered_at, a.event_time, a.last_breach, a.acknowledged_by, a.acknowledged_at, a.acknowledged_note,
       a.resolved_by, a.resolved_at, a.resolved_note, a.resolved_reason, a.resolved_event_time;

-- add_steps --
-- Write down what users and changes of rules did to alerts.
insert into telemetry.alert_step (alert_id, at, "to", reason, inputs, by)
select w.alert_id, $2::timestamptz, $3::text, $4::text, $5::jsonb, $6::text
  from unnest($1::text[]) as w (alert_id);

-- steps --
-- All that became of an alert, in order.
select s.at, s.event_time, s."to", s.reason, s.inputs, s.by
  from telemetry.alert_step s
 where s.alert_id = $1::text
 order by s.step_id
 limit 1000;

-- forget_watches --
-- Remove what waits for a device that is deleted.
delete from telemetry.watch w where w.device_id = $1::text and w.fired_at is null;

-- forget_late_samples --
-- Remove what was counted for a device that is deleted.
delete from telemetry.late_sample l where l.device_id = $1::text;
