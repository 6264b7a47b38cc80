-- versions --
-- What a turn was judged by; kept so until the transaction ends.
select v.rules_version, v.closings_version from telemetry.alert_version v for share;

-- rules --
-- Every rule that is enabled.
select r.rule_id, r.name, r.description, r.metric_name, r.kind, r.condition, r.threshold_value, r.level, r.device_ids,
       r.device_groups, r.evaluation_window, r.trigger_count, r.hold_s, r.resolve_threshold, r.no_data, r.from_value,
       r.to_value, r.expected_interval, r.grace_factor, r.notification_channels, r.cooldown_minutes, r.auto_resolve,
       r.auto_resolve_timeout, r.quiet_hours, r.enabled, r.shadow, r.tags, r.revision, r.condition_key,
       r.total_triggers, r.last_triggered, r.created_at, r.updated_at, r.created_by, r.updated_by
  from telemetry.alert_rule r
 where r.enabled
 order by r.rule_id;

-- marks --
-- From which position on each enabled rule, and each watch that waits, judges.
select r.rule_id, r.since_seq from telemetry.alert_rule r where r.enabled
union all
select w.watch_id, w.since_seq from telemetry.watch w where w.fired_at is null and w.expires_at > clock_timestamp();

-- alerts --
-- The newest $1 alerts of each series under an enabled rule, oldest first.
select p.alert_id, p.rule_id, p.series_id, p.status, p.event_time, p.last_breach, p.resolved_event_time, p.resolved_at,
       p.is_stale, p.by_silence
  from (select a.alert_id, a.rule_id, a.series_id, a.status, a.event_time, a.last_breach, a.resolved_event_time,
               a.resolved_at, a.is_stale, a.by_silence,
               row_number() over (partition by a.rule_id, a.series_id order by a.event_time desc) as age
          from telemetry.alert a
          join telemetry.alert_rule r on r.rule_id = a.rule_id and r.enabled
         where a.series_id is not null) p
 where p.age <= $1::int4
 order by p.event_time;

-- wide_alerts --
-- The newest alert of each group, and of all that is taken in, of each enabled rule.
select distinct on (a.rule_id, a.scope, a.group_id) a.alert_id, a.rule_id, a.scope, a.group_id, a.status, a.event_time,
       a.last_breach
  from telemetry.alert a
  join telemetry.alert_rule r on r.rule_id = a.rule_id and r.enabled
 where a.series_id is null and a.scope in ('group', 'ingest')
 order by a.rule_id, a.scope, a.group_id, (a.status = 'resolved'), a.event_time desc;

-- arrivals --
-- When these blocks were committed.
select j.seq, j.appended_at from telemetry.journal j where j.seq = any ($1::int8[]);

-- fire --
-- Raise these alerts, but for those whose rule and device have an open one; returns which were raised.
with said as (
  select s.alert_id, s.rule_id, s.rule_name, s.rule_revision, s.series_id, s.device_id, s.scope, s.group_id,
         s.metric_name, s.level, s.status, s.is_shadow, s.by_silence, s.value, s.condition, s.threshold_value,
         s.message, s.triggered_at, s.event_time, s.last_breach, s.resolved_by, s.resolved_at, s.resolved_reason,
         s.resolved_event_time
    from jsonb_to_recordset($1::jsonb) as s (
           alert_id text, rule_id text, rule_name text, rule_revision int4, series_id int4, device_id text,
           scope text, group_id text, metric_name text, level text, status text, is_shadow boolean,
           by_silence boolean, value jsonb, condition text, threshold_value jsonb, message text,
           triggered_at timestamptz, event_time timestamptz, last_breach timestamptz, resolved_by text,
           resolved_at timestamptz, resolved_reason text, resolved_event_time timestamptz)
), raised as (
  insert into telemetry.alert (alert_id, rule_id, rule_name, rule_revision, series_id, device_id, scope, group_id,
                               metric_name, level, status, is_shadow, by_silence, value, condition, threshold_value,
                               message, triggered_at, event_time, last_breach, resolved_by, resolved_at,
                               resolved_reason, resolved_event_time)
  select s.alert_id, s.rule_id, s.rule_name, s.rule_revision, s.series_id, s.device_id, s.scope, s.group_id,
         s.metric_name, s.level, s.status, s.is_shadow, s.by_silence, s.value, s.condition, s.threshold_value,
         s.message, s.triggered_at, s.event_time, s.last_breach, s.resolved_by, s.resolved_at, s.resolved_reason,
         s.resolved_event_time
    from said s
  on conflict do nothing
  returning alert_id, rule_id, triggered_at
), counted as (
  update telemetry.alert_rule r
     set total_triggers = r.total_triggers + n.fired,
         last_triggered = greatest(r.last_triggered, n.last_fired)
    from (select f.rule_id, count(*) as fired, max(f.triggered_at) as last_fired from raised f group by f.rule_id) n
   where r.rule_id = n.rule_id
)
select f.alert_id from raised f;

-- resolve --
-- End these alerts, but for those that somebody else ended; returns which were ended.
update telemetry.alert a
   set status = 'resolved', resolved_by = 'telemetryd', resolved_at = s.resolved_at, resolved_reason = s.resolved_reason,
       resolved_event_time = s.resolved_event_time, last_breach = s.last_breach, is_stale = false,
       updated_at = clock_timestamp()
  from jsonb_to_recordset($1::jsonb) as s (
         alert_id text, resolved_at timestamptz, resolved_reason text, resolved_event_time timestamptz,
         last_breach timestamptz)
 where a.alert_id = s.alert_id and a.status <> 'resolved'
returning a.alert_id;

-- mark_stale --
-- Say of these open alerts whether they are without data.
update telemetry.alert a
   set is_stale = s.is_stale, updated_at = clock_timestamp()
  from jsonb_to_recordset($1::jsonb) as s (alert_id text, is_stale boolean)
 where a.alert_id = s.alert_id and a.status <> 'resolved'
returning a.alert_id;

-- note_steps --
-- Write down what decided each change.
insert into telemetry.alert_step (alert_id, at, event_time, "to", reason, inputs)
select s.alert_id, s.at, s.event_time, s."to", s.reason, s.inputs
  from jsonb_to_recordset($1::jsonb) as s (
         alert_id text, at timestamptz, event_time timestamptz, "to" text, reason text, inputs jsonb);

-- count_late --
-- Add samples that came too late to count.
insert into telemetry.late_sample as l (rule_id, device_id, samples)
select s.rule_id, s.device_id, s.samples
  from jsonb_to_recordset($1::jsonb) as s (rule_id text, device_id text, samples bigint)
    on conflict (rule_id, device_id) do update
   set samples = l.samples + excluded.samples, last_at = clock_timestamp();

-- told --
-- These alerts as they are now, for the events that tell them.
select a.alert_id, a.rule_id, a.rule_name, a.rule_revision, a.series_id, a.device_id, a.metric_name, a.scope, a.group_id,
       a.level, a.status, a.is_shadow, a.is_stale, a.by_silence, a.value, a.condition, a.threshold_value, a.message,
       a.triggered_at, a.event_time, a.last_breach, a.acknowledged_by, a.acknowledged_at, a.acknowledged_note,
       a.resolved_by, a.resolved_at, a.resolved_note, a.resolved_reason, a.resolved_event_time
  from telemetry.alert a
 where a.alert_id = any ($1::text[]);
