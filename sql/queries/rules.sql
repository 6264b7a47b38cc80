-- next_version --
-- Begin a change of rules; further ones, and the evaluator, wait until it is committed.
update telemetry.alert_version v set rules_version = v.rules_version + 1 returning v.rules_version;

-- count_rules --
-- How many rules there are, how many are enabled, and how many of those are shadows.
select count(*) as rules, count(*) filter (where r.enabled) as enabled,
       count(*) filter (where r.enabled and r.shadow) as shadow
  from telemetry.alert_rule r;

-- insert_rule --
-- Store a rule; no row when the name is taken.
insert into telemetry.alert_rule
  (rule_id, name, description, metric_name, kind, condition, threshold_value, level, device_ids, device_groups,
   evaluation_window, trigger_count, hold_s, resolve_threshold, no_data, from_value, to_value, expected_interval,
   grace_factor, notification_channels, cooldown_minutes, auto_resolve, auto_resolve_timeout, quiet_hours, enabled,
   shadow, tags, revision, condition_key, updated_by, created_by)
values ($1::text, $2::text, $3::text, $4::text, $5::text, $6::text, $7::jsonb, $8::text, $9::text[], $10::text[],
        $11::float8, $12::int4, $13::float8, $14::float8, $15::text, $16::jsonb, $17::jsonb, $18::float8,
        $19::float8, $20::text[], $21::float8, $22::boolean, $23::float8, $24::jsonb, $25::boolean,
        $26::boolean, $27::jsonb, $28::int4, $29::text, $30::text, $31::text)
on conflict (name) do nothing
returning created_at, updated_at;

-- update_rule --
-- Change everything of a rule that may change.
update telemetry.alert_rule r
   set name = $2::text, description = $3::text, metric_name = $4::text, kind = $5::text, condition = $6::text,
       threshold_value = $7::jsonb, level = $8::text, device_ids = $9::text[], device_groups = $10::text[],
       evaluation_window = $11::float8, trigger_count = $12::int4, hold_s = $13::float8, resolve_threshold = $14::float8,
       no_data = $15::text, from_value = $16::jsonb, to_value = $17::jsonb, expected_interval = $18::float8,
       grace_factor = $19::float8, notification_channels = $20::text[], cooldown_minutes = $21::float8,
       auto_resolve = $22::boolean, auto_resolve_timeout = $23::float8, quiet_hours = $24::jsonb, enabled = $25::boolean,
       shadow = $26::boolean, tags = $27::jsonb, revision = $28::int4, condition_key = $29::text, updated_by = $30::text,
       updated_at = clock_timestamp()
 where r.rule_id = $1::text
returning r.updated_at;

-- mark_rule --
-- Let a rule judge what is committed from now on; holds up every append until the commit, so it comes last.
update telemetry.alert_rule r set since_seq = telemetry.journal_mark() where r.rule_id = $1::text;

-- find_rule --
-- One rule.
select r.rule_id, r.name, r.description, r.metric_name, r.kind, r.condition, r.threshold_value, r.level, r.device_ids,
       r.device_groups, r.evaluation_window, r.trigger_count, r.hold_s, r.resolve_threshold, r.no_data, r.from_value,
       r.to_value, r.expected_interval, r.grace_factor, r.notification_channels, r.cooldown_minutes, r.auto_resolve,
       r.auto_resolve_timeout, r.quiet_hours, r.enabled, r.shadow, r.tags, r.revision, r.condition_key, r.total_triggers,
       r.last_triggered, r.created_at, r.updated_at, r.created_by, r.updated_by
  from telemetry.alert_rule r
 where r.rule_id = $1::text;

-- named_rule --
-- The id of the rule of this name.
select r.rule_id from telemetry.alert_rule r where r.name = $1::text;

-- list_rules --
-- A page of the rules that fit the filters, by name, and how many fit.
select r.rule_id, r.name, r.description, r.metric_name, r.kind, r.condition, r.threshold_value, r.level, r.device_ids,
       r.device_groups, r.evaluation_window, r.trigger_count, r.hold_s, r.resolve_threshold, r.no_data, r.from_value,
       r.to_value, r.expected_interval, r.grace_factor, r.notification_channels, r.cooldown_minutes, r.auto_resolve,
       r.auto_resolve_timeout, r.quiet_hours, r.enabled, r.shadow, r.tags, r.revision, r.condition_key, r.total_triggers,
       r.last_triggered, r.created_at, r.updated_at, r.created_by, r.updated_by, count(*) over () as total
  from telemetry.alert_rule r
 where ($1::boolean is null or r.enabled = $1::boolean)
   and ($2::text is null or r.level = $2::text)
   and ($3::text is null or r.metric_name = $3::text)
   and ($4::text is null or r.name = $4::text)
   and ($5::text[] is null or r.metric_name like any ($5::text[]))
 order by r.name
 limit $6::int4 offset $7::int4;

-- delete_rule --
-- Remove a rule; its alerts stay.
delete from telemetry.alert_rule r where r.rule_id = $1::text returning r.rule_id;

-- twins --
-- Other rules that decide the same.
select r.rule_id, r.name, r.device_ids, r.device_groups
  from telemetry.alert_rule r
 where r.metric_name = $1::text and r.condition_key = $2::text and r.rule_id <> $3::text
 order by r.name
 limit 100;

-- channels --
-- Those of these channels that there are, and whether they fail just now.
select c.name, c.failures > 0 or coalesce(c.open_until > clock_timestamp(), false) as is_failing
  from telemetry.channel c
 where c.name = any ($1::text[]);

-- cadence --
-- The usual seconds between samples of these series, by the newest hours of each that are in history.
select percentile_cont(0.5) within group (order by 3600.0 / h.points) as cadence_s
  from unnest($1::int4[]) as s (series_id)
  cross join lateral (
    select r.points from telemetry.rollup r
     where r.series_id = s.series_id and r.points > 0
     order by r.hour desc
     limit 24) h;

-- count_ending --
-- How many open alerts of a rule lie not on devices of $2, as end_alerts would end them; of devices like $3 or of $4.
select count(*)
  from telemetry.alert a
 where a.rule_id = $1::text and a.status <> 'resolved'
   and ($2::text[] is null or a.device_id is null or a.device_id <> all ($2::text[]))
   and (($3::text[] is null and $4::text[] is null)
        or a.device_id like any ($3::text[]) or a.device_id = any ($4::text[]));

-- triggers --
-- How often these rules fired, and last, on devices like $2 or of $3, as far as alerts are kept.
select a.rule_id, count(*) as triggers, max(a.triggered_at) as last_triggered
  from telemetry.alert a
 where a.rule_id = any ($1::text[]) and (a.device_id like any ($2::text[]) or a.device_id = any ($3::text[]))
 group by a.rule_id;
