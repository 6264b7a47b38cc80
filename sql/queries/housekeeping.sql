-- ask --
-- Wake whoever keeps house.
select pg_notify('telemetry_housekeeping', '');

-- make_partitions --
-- Make the hourly partitions of the journal from the hour before $1 (microseconds since 1970) for $2 hours.
select telemetry.journal_make_partitions(telemetry.from_us($1::int8) - interval '1 hour', $2::int4);

-- list_partitions --
-- The partitions of the journal, oldest first, with their size; a pending one was left by an interrupted detach.
select c.relname as name, pg_total_relation_size(c.oid) as bytes, i.inhdetachpending as is_pending
  from pg_inherits i
  join pg_class c on c.oid = i.inhrelid
 where i.inhparent = 'telemetry.journal'::regclass and c.relname ~ '^journal_[0-9]{10}$'
 order by c.relname;

-- list_detached --
-- Partitions that were detached but not dropped yet.
select c.relname as name
  from pg_class c
 where c.relnamespace = 'telemetry'::regnamespace and c.relkind = 'r' and not c.relispartition
   and c.relname ~ '^journal_[0-9]{10}$'
 order by c.relname;

-- newest_in --
-- The newest position appended in [$1, $2), given in microseconds since 1970; null when there is none.
select max(j.seq) from telemetry.journal j
 where j.appended_at >= telemetry.from_us($1::int8) and j.appended_at < telemetry.from_us($2::int8);

-- needed_after --
-- The position up to which every follower has read the journal; housekeeping follows nothing, and a relay that can't
-- reach its server must not fill the disk.
select min(c.position) from telemetry.consumer c where c.name not in ('housekeeping', 'relay');

-- raise_floor --
-- Say that blocks up to $1 may be gone from now on.
update telemetry.installation i set journal_floor = $1::int8 where i.journal_floor < $1::int8;

-- set_lock_timeout --
-- Give up waiting for a lock after $1 milliseconds, on this connection.
select set_config('lock_timeout', $1::text, false);

-- detach_partition --
-- Take one partition out of the journal without stopping its readers and writers.
alter table telemetry.journal detach partition telemetry.{partition} concurrently;

-- finalize_partition --
-- Complete a detach that was interrupted.
alter table telemetry.journal detach partition telemetry.{partition} finalize;

-- drop_partition --
-- Drop a partition that was taken out.
drop table if exists telemetry.{partition};

-- expire_chunks --
-- Remove up to $2 chunks that end before their metric's retention at $1; without one of its own it is $3 days. How many
-- went, and how many points they held.
with cut as materialized (
  select $1::int8 - 86400000000 * least($3::int4, coalesce(min(r.retention_days), $3::int4)) as newest_us
    from telemetry.metric_retention r
), expired as (
  select c.series_id, c.start_us
    from telemetry.chunk c
    join telemetry.series s on s.series_id = c.series_id
    left join telemetry.metric_retention r on r.metric_name = s.metric_name
   where c.end_us < (select cut.newest_us from cut)
     and c.end_us < $1::int8 - 86400000000 * coalesce(r.retention_days, $3::int4)
   limit $2::int4
     for update of c skip locked
), gone as (
  delete from telemetry.chunk c
   using expired e
   where c.series_id = e.series_id and c.start_us = e.start_us
  returning c.points
)
select count(*) as chunks, coalesce(sum(g.points), 0)::int8 as points from gone g;

-- expire_rollups --
-- Remove up to $2 hours that end before their metric's retention at $1; without one of its own it is $3 days.
with expired as (
  select r.series_id, r.hour
    from telemetry.series s
    left join telemetry.metric_retention m on m.metric_name = s.metric_name
    join telemetry.rollup r on r.series_id = s.series_id
     and r.hour < ($1::int8 - 86400000000 * coalesce(m.retention_days, $3::int4)) / 3600000000
   limit $2::int4
     for update of r skip locked
)
delete from telemetry.rollup r
 using expired e
 where r.series_id = e.series_id and r.hour = e.hour;

-- expire_batches --
-- Remove up to $2 stored answers of batches from before $1.
delete from telemetry.ingest_batch b
 using (select x.scope, x.batch_id from telemetry.ingest_batch x
         where x.created_at < telemetry.from_us($1::int8)
         order by x.created_at limit $2::int4) e
 where b.scope = e.scope and b.batch_id = e.batch_id;

-- expire_idempotency --
-- Remove up to $2 requests with an Idempotency-Key from before $1.
delete from telemetry.idempotency i
 using (select x.key_hash from telemetry.idempotency x
         where x.created_at < telemetry.from_us($1::int8)
         order by x.created_at limit $2::int4) e
 where i.key_hash = e.key_hash;

-- expire_events --
-- Remove up to $2 events from before $1, and say up to where.
with expired as (
  select e.seq from telemetry.event e
   where e.created_at < telemetry.from_us($1::int8)
   order by e.created_at
   limit $2::int4
), raised as (
  update telemetry.installation i
     set event_floor = x.newest
    from (select max(expired.seq) as newest from expired) x
   where i.event_floor < x.newest
)
delete from telemetry.event e using expired x where e.seq = x.seq;

-- expire_alerts --
-- Remove up to $2 alerts that were resolved before $1, with their steps.
delete from telemetry.alert a
 using (select x.alert_id from telemetry.alert x
         where x.status = 'resolved' and x.resolved_at < telemetry.from_us($1::int8)
         order by x.resolved_at limit $2::int4) e
 where a.alert_id = e.alert_id;

-- expire_subscriptions --
-- Remove up to $2 subscriptions that ended before $1.
delete from telemetry.subscription s
 using (select x.subscription_id from telemetry.subscription x
         where x.expires_at < telemetry.from_us($1::int8)
         order by x.expires_at limit $2::int4 for update skip locked) e
 where s.subscription_id = e.subscription_id;

-- expire_tickets --
-- Remove up to $2 tickets that ended before $1.
delete from telemetry.ticket t
 using (select x.ticket_hash from telemetry.ticket x
         where x.expires_at < telemetry.from_us($1::int8)
         order by x.expires_at limit $2::int4 for update skip locked) e
 where t.ticket_hash = e.ticket_hash;

-- expire_sessions --
-- Remove up to $2 sessions that ended before $1, with their refresh tokens.
delete from telemetry.session s
 using (select x.session_id from telemetry.session x
         where x.expires_at < telemetry.from_us($1::int8)
         order by x.expires_at limit $2::int4 for update skip locked) e
 where s.session_id = e.session_id;

-- expire_notifications --
-- Remove up to $2 messages from before $1 that are over, and whose alert is.
delete from telemetry.notification n
 using (select x.notification_id from telemetry.notification x
         where x.created_at < telemetry.from_us($1::int8) and x.status in ('sent', 'dead', 'dropped')
           and not exists (select from telemetry.alert a where a.alert_id = x.alert_id and a.status <> 'resolved')
         order by x.created_at limit $2::int4) e
 where n.notification_id = e.notification_id;

-- expire_silences --
-- Remove up to $2 silences that ended before $1.
delete from telemetry.silence s
 using (select x.silence_id from telemetry.silence x
         where x.ends_at < telemetry.from_us($1::int8)
         order by x.ends_at limit $2::int4) e
 where s.silence_id = e.silence_id;

-- expire_watches --
-- Remove up to $2 watches that waited until before $1, or would have.
delete from telemetry.watch w
 using (select x.watch_id from telemetry.watch x
         where x.expires_at < telemetry.from_us($1::int8)
         order by x.expires_at limit $2::int4) e
 where w.watch_id = e.watch_id;

-- expire_former_callers --
-- Remove up to $2 callers with secrets that are accepted no longer at $1, or that another rotation has replaced.
delete from telemetry.former_caller c
 using (select x.key_id, x.former_valid_until, x.address, x.agent
          from telemetry.former_caller x
          join telemetry.api_key k on k.key_id = x.key_id
         where x.former_valid_until <= telemetry.from_us($1::int8)
            or k.former_valid_until <> x.former_valid_until or k.revoked_at is not null
         limit $2::int4) e
 where (c.key_id, c.former_valid_until, c.address, c.agent)
     = (e.key_id, e.former_valid_until, e.address, e.agent);

-- expire_daemons --
-- Forget daemons that were last seen before $1.
delete from telemetry.daemon d where d.seen_at < telemetry.from_us($1::int8);

-- expire_budgets --
-- Remove up to $2 budgets that nobody has used since $1: in an hour each is whole again.
delete from telemetry.budget b
 using (select x.subject, x.class from telemetry.budget x
         where x.changed_at < telemetry.from_us($1::int8)
         limit $2::int4 for update skip locked) e
 where b.subject = e.subject and b.class = e.class;
