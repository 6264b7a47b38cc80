-- list_watches --
-- A page of the watches of an owner, the newest first, all or those that are waiting, fired or expired.
select w.watch_id, w.owner, w.device_id, w.metric_name, w.from_value, w.to_value, w.quiet_hours, w.notification_channels,
       w.expires_at, w.revision, w.fired_at, w.fired_event_time, w.fired_value, w.created_at, w.updated_at,
       count(*) over () as total
  from telemetry.watch w
 where w.owner = $1::text
   and ($2::text is null
        or $2::text = case when w.fired_at is not null then 'fired'
                           when w.expires_at > clock_timestamp() then 'waiting' else 'expired' end)
 order by w.created_at desc, w.watch_id desc
 limit $3::int4 offset $4::int4;

-- find_watch --
-- One watch of an owner.
select w.watch_id, w.owner, w.device_id, w.metric_name, w.from_value, w.to_value, w.quiet_hours, w.notification_channels,
       w.expires_at, w.revision, w.fired_at, w.fired_event_time, w.fired_value, w.created_at, w.updated_at
  from telemetry.watch w
 where w.watch_id = $1::text and w.owner = $2::text;

-- count_waiting --
-- How many watches of an owner wait.
select count(*) from telemetry.watch w
 where w.owner = $1::text and w.fired_at is null and w.expires_at > clock_timestamp();

-- insert_watch --
-- Store a watch.
insert into telemetry.watch (watch_id, owner, device_id, metric_name, from_value, to_value, quiet_hours,
                             notification_channels, expires_at, revision)
values ($1::text, $2::text, $3::text, $4::text, $5::jsonb, $6::jsonb, $7::jsonb, $8::text[], $9::timestamptz, $10::int4)
returning created_at, updated_at;

-- update_watch --
-- Change a watch of an owner that has not fired.
update telemetry.watch w
   set device_id = $3::text, metric_name = $4::text, from_value = $5::jsonb, to_value = $6::jsonb,
       quiet_hours = $7::jsonb, notification_channels = $8::text[], expires_at = $9::timestamptz,
       revision = $10::int4, updated_at = clock_timestamp()
 where w.watch_id = $1::text and w.owner = $2::text and w.fired_at is null
returning w.updated_at;

-- mark_watch --
-- Let a watch judge what is committed from now on; holds up every append until the commit, so it comes last.
update telemetry.watch w set since_seq = telemetry.journal_mark() where w.watch_id = $1::text;

-- delete_watch --
-- Remove a watch of an owner.
delete from telemetry.watch w where w.watch_id = $1::text and w.owner = $2::text returning w.watch_id;

-- waiting --
-- Every watch that waits, for the evaluator.
select w.watch_id, w.owner, w.device_id, w.metric_name, w.from_value, w.to_value, w.quiet_hours, w.notification_channels,
       w.expires_at, w.revision, w.fired_at, w.fired_event_time, w.fired_value, w.created_at, w.updated_at
  from telemetry.watch w
 where w.fired_at is null and w.expires_at > clock_timestamp()
 order by w.watch_id;

-- fire_watches --
-- Mark watches as fired, but for those that fired or are over, and write a message to each of their channels; returns
-- which were marked. A sample of before the watch was made does not count, give or take what clocks differ.
with said as (
  select s.watch_id, s.fired_at, s.event_time, s.value, s.payload
    from jsonb_to_recordset($1::jsonb) as s (
           watch_id text, fired_at timestamptz, event_time timestamptz, value jsonb, payload jsonb)
), fired as (
  update telemetry.watch w
     set fired_at = s.fired_at, fired_event_time = s.event_time, fired_value = s.value, updated_at = clock_timestamp()
    from said s
   where w.watch_id = s.watch_id and w.fired_at is null and w.expires_at > clock_timestamp()
     and s.event_time <= w.expires_at and s.event_time > w.created_at - interval '5 minutes'
  returning w.watch_id, w.device_id, w.metric_name, w.notification_channels, s.payload
), told as (
  insert into telemetry.notification (notification_id, watch_id, device_id, metric_name, level, channel, kind, payload,
                                      next_attempt_at, idempotency_key)
  select 'ntf_' || replace(gen_random_uuid()::text, '-', ''), f.watch_id, f.device_id, f.metric_name, 'info', c.channel,
         'fire', f.payload, clock_timestamp(), f.watch_id || ':fire:' || c.channel
    from fired f
   cross join lateral unnest(f.notification_channels) as c (channel)
  on conflict do nothing
)
select f.watch_id from fired f;
