-- claim_due --
-- Take up to $2 messages that are due, at most $3 of a channel, for $5 seconds. Not those of channels that are busy ($4)
-- or rest after failures (one after $6 failures tries whether it works again); not those behind an earlier message of
-- the same alert to the same channel; not those whose channel's secrets another key than $7 encrypted, unless nobody
-- took them for $8 seconds. $9 is the present, or null.
with present as (
  select coalesce($9::timestamptz, now()) as at
), waiting as materialized (
  select w.notification_id, w.channel, w.next_attempt_at, w.ordinal,
         row_number() over (partition by w.channel order by w.next_attempt_at, w.ordinal) as place
    from (
      select n.notification_id, n.channel, n.next_attempt_at, n.ordinal
        from telemetry.notification n
       where n.status = 'pending' and n.next_attempt_at <= (select p.at from present p)
         and (n.claimed_until is null or n.claimed_until < (select p.at from present p))
         and n.channel <> all ($4::text[])
         and not exists (
           select from telemetry.channel c
            where c.name = n.channel
              and (c.open_until > (select p.at from present p)
                   or (substring(c.secrets from 1 for 8) <> $7::bytea
                       and n.next_attempt_at > (select p.at from present p) - make_interval(secs => $8::float8))))
         and not exists (
           select from telemetry.notification e
            where e.alert_id = n.alert_id and e.channel = n.channel and e.ordinal < n.ordinal
              and e.status in ('pending', 'deferred'))
       order by n.next_attempt_at, n.ordinal
       limit 1000) w
), picked as (
  select n.notification_id
    from telemetry.notification n
    join waiting w on w.notification_id = n.notification_id
    left join telemetry.channel c on c.name = w.channel
   where w.place <= case when c.failures >= $6::int4 then 1 else $3::int4 end
     and n.status = 'pending' and (n.claimed_until is null or n.claimed_until < (select p.at from present p))
   order by w.next_attempt_at, w.ordinal
   limit $2::int4
     for update of n skip locked
), probing as (
  update telemetry.channel c
     set open_until = (select p.at from present p) + make_interval(secs => $5::float8)
    from picked k
    join telemetry.notification n on n.notification_id = k.notification_id
   where c.name = n.channel and c.failures >= $6::int4
)
update telemetry.notification n
   set claimed_by = $1::uuid, claimed_until = (select p.at from present p) + make_interval(secs => $5::float8)
  from picked k
 where n.notification_id = k.notification_id
returning n.notification_id, n.ordinal, n.alert_id, n.watch_id, n.rule_id, n.device_id, n.metric_name, n.level, n.channel,
          n.kind, n.verdict_data, n.replaces_id, n.payload, n.attempts, n.created_at,
          (select p.at from present p) as now;

-- release_claims --
-- Give back what this process has claimed and not begun to send.
update telemetry.notification n set claimed_by = null, claimed_until = null
 where n.notification_id = any ($1::text[]) and n.claimed_by = $2::uuid;

-- alerts --
-- These alerts, as they are shown.
select a.alert_id, a.rule_id, a.rule_name, a.rule_revision, a.series_id, a.device_id, a.metric_name, a.scope, a.group_id,
       a.level, a.status, a.is_shadow, a.is_stale, a.by_silence, a.value, a.condition, a.threshold_value, a.message,
       a.triggered_at, a.event_time, a.last_breach, a.acknowledged_by, a.acknowledged_at, a.acknowledged_note,
       a.resolved_by, a.resolved_at, a.resolved_note, a.resolved_reason, a.resolved_event_time
  from telemetry.alert a
 where a.alert_id = any ($1::text[]);

-- devices --
-- What is known of these devices.
select d.device_id, d.name, d.device_type as type, d.tags, d.attributes, d.location
  from telemetry.device d
 where d.device_id = any ($1::text[]);

-- quiet_hours --
-- The quiet hours of these rules and watches, where they have any.
select r.rule_id as id, r.quiet_hours from telemetry.alert_rule r
 where r.rule_id = any ($1::text[]) and r.quiet_hours is not null
 union all
select w.watch_id, w.quiet_hours from telemetry.watch w
 where w.watch_id = any ($2::text[]) and w.quiet_hours is not null;

-- firings --
-- What became of the firing messages of these alerts, what stands in for one last.
select n.notification_id, n.alert_id, n.channel, n.status, n.verdict, n.verdict_data, n.replaces_id
  from telemetry.notification n
 where n.alert_id = any ($1::text[]) and n.kind = 'fire'
 order by n.replaces_id is not null, n.ordinal;

-- begin --
-- An attempt begins: from here on the receiver may have been told. Only those that are still ours.
update telemetry.notification n
   set attempts = n.attempts + 1,
       verdict_data = n.verdict_data || jsonb_build_object('may_be_told', true)
 where n.notification_id = any ($1::text[]) and n.claimed_by = $2::uuid and n.status = 'pending'
returning n.notification_id, n.attempts;

-- note_attempt --
-- Write an attempt into the ledger.
insert into telemetry.notification_attempt (notification_id, attempt, latency_ms, outcome, status_code, response_digest,
                                            detail)
values ($1::text, $2::int4, $3::float8, $4::text, $5::int4, $6::text, $7::text)
    on conflict do nothing;

-- set_sent --
-- It arrived.
update telemetry.notification n
   set status = 'sent', verdict = 'sent', sent_at = clock_timestamp(), next_attempt_at = null, claimed_by = null,
       claimed_until = null, last_status = $3::int4, last_error = null, verdict_data = n.verdict_data - 'may_be_told'
 where n.notification_id = $1::text and n.claimed_by = $2::uuid and n.status = 'pending'
returning n.notification_id;

-- set_failed --
-- It did not arrive: it is tried again after $5 seconds, or, without them, given up. $6: somebody may have been told.
update telemetry.notification n
   set status = case when $5::float8 is null then 'dead' else 'pending' end, verdict = 'failed',
       last_status = $3::int4, last_error = $4::text,
       next_attempt_at = clock_timestamp() + make_interval(secs => $5::float8), claimed_by = null, claimed_until = null,
       verdict_data = (n.verdict_data - 'may_be_told')
                      || case when $6::boolean then jsonb_build_object('may_be_told', true) else '{}'::jsonb end
 where n.notification_id = $1::text and n.claimed_by = $2::uuid and n.status = 'pending'
returning n.status;

-- decide --
-- What is not sent now: dropped, dead, or deferred until its next_attempt_at.
update telemetry.notification n
   set status = d.status, verdict = d.verdict, verdict_data = n.verdict_data || d.verdict_data,
       next_attempt_at = d.next_attempt_at, claimed_by = null, claimed_until = null
  from jsonb_to_recordset($1::jsonb) as d (notification_id text, status text, verdict text, verdict_data jsonb,
                                           next_attempt_at timestamptz)
 where n.notification_id = d.notification_id and n.claimed_by = $2::uuid and n.status = 'pending'
returning n.notification_id;

-- stand_in --
-- The fallback $2 of a message that was given up: it is told of a firing unless it is told already, and of the end if it
-- stood in for the firing.
insert into telemetry.notification (notification_id, alert_id, watch_id, rule_id, device_id, metric_name, level, channel,
                                    kind, payload, replaces_id, next_attempt_at, idempotency_key)
select 'ntf_' || replace(gen_random_uuid()::text, '-', ''), n.alert_id, n.watch_id, n.rule_id, n.device_id, n.metric_name,
       n.level, $2::text, n.kind, n.payload, n.notification_id, clock_timestamp(),
       coalesce(n.alert_id, n.watch_id, n.notification_id) || ':' || n.kind || ':' || $2::text || ':fallback'
  from telemetry.notification n
 where n.notification_id = $1::text and n.replaces_id is null and n.channel <> $2::text
   and case n.kind when 'close' then exists (
         select from telemetry.notification f
          where f.alert_id = n.alert_id and f.channel = $2::text and f.kind = 'fire' and f.replaces_id is not null)
       else not exists (
         select from telemetry.notification o
          where o.alert_id = n.alert_id and o.channel = $2::text and o.kind = n.kind and o.status <> 'dropped'
            and o.replaces_id is null) end
    on conflict do nothing
returning notification_id;

-- set_verdict --
-- Say what came of a message that is given up.
update telemetry.notification n
   set status = $2::text, verdict = $3::text, verdict_data = n.verdict_data || $4::jsonb
 where n.notification_id = $1::text
returning n.notification_id;

-- due_digests --
-- One channel for which deferred messages are due; it is locked, so that one process makes their digest.
select c.name
  from telemetry.channel c
 where exists (
   select from telemetry.notification n
    where n.status = 'deferred' and n.channel = c.name and n.digest_id is null
      and n.next_attempt_at <= coalesce($1::timestamptz, now()))
 order by c.name
 limit 1
   for update skip locked;

-- orphans --
-- Deferred messages that are due to channels that are gone: they are judged again.
update telemetry.notification n
   set status = 'pending'
 where n.status = 'deferred' and n.digest_id is null and n.next_attempt_at <= coalesce($1::timestamptz, now())
   and not exists (select from telemetry.channel c where c.name = n.channel)
returning n.notification_id;

-- deferred --
-- The deferred messages to a channel that are due, in order.
select n.notification_id, n.ordinal, n.alert_id, n.watch_id, n.rule_id, n.device_id, n.metric_name, n.level, n.channel,
       n.kind, n.verdict_data, n.replaces_id, n.payload, n.attempts, n.created_at,
       coalesce($2::timestamptz, now()) as now
  from telemetry.notification n
 where n.status = 'deferred' and n.channel = $1::text and n.digest_id is null
   and n.next_attempt_at <= coalesce($2::timestamptz, now())
 order by n.ordinal
 limit $3::int4
   for update of n;

-- settle_deferred --
-- What becomes of deferred messages at the end of their time: into the digest $2, or as `decide` says.
update telemetry.notification n
   set status = d.status, verdict = d.verdict, verdict_data = n.verdict_data || d.verdict_data,
       next_attempt_at = d.next_attempt_at, digest_id = case when d.verdict = 'grouped' then $2::text end
  from jsonb_to_recordset($1::jsonb) as d (notification_id text, status text, verdict text, verdict_data jsonb,
                                           next_attempt_at timestamptz)
 where n.notification_id = d.notification_id and n.status = 'deferred'
returning n.notification_id;

-- insert_message --
-- A digest or a test.
insert into telemetry.notification (notification_id, level, channel, kind, payload, next_attempt_at, idempotency_key,
                                    claimed_by, claimed_until)
values ($1::text, $2::text, $3::text, $4::text, $5::jsonb, clock_timestamp(), $1::text, $6::uuid,
        case when $6::uuid is not null then clock_timestamp() + interval '1 minute' end);

-- settle_grouped --
-- What a digest carried shares its fate; but the end of what somebody was told of is then told by itself. $3: the digest
-- may have arrived.
update telemetry.notification n
   set status = case when $2::text = 'dead' and n.kind = 'close' then 'pending' else $2::text end,
       verdict = case when $2::text = 'dead' and n.kind = 'close' then null else n.verdict end,
       digest_id = case when $2::text = 'dead' and n.kind = 'close' then null else n.digest_id end,
       next_attempt_at = case when $2::text = 'dead' and n.kind = 'close' then clock_timestamp() end,
       sent_at = case when $2::text = 'sent' then clock_timestamp() end,
       verdict_data = n.verdict_data
                      || case when $3::boolean then jsonb_build_object('may_be_told', true) else '{}'::jsonb end
 where n.digest_id = $1::text and n.status = 'deferred'
returning n.notification_id, n.kind, n.alert_id;

-- list_notifications --
-- A page of the ledger, the newest first; $2 is a status or a verdict.
select n.notification_id, n.alert_id, n.watch_id, n.rule_id, n.device_id, n.metric_name, n.level, n.channel, n.kind,
       n.status, n.verdict, n.verdict_data, n.digest_id, n.replaces_id, n.attempts, n.next_attempt_at, n.last_status,
       n.last_error, n.created_at, n.sent_at
  from telemetry.notification n
 where ($1::text is null or n.channel = $1::text)
   and ($2::text is null or n.status = $2::text or n.verdict = $2::text)
   and ($3::text is null or n.alert_id = $3::text)
   and ($4::text is null or n.kind = $4::text)
   and ($5::text[] is null or n.metric_name like any ($5::text[]))
   and (($6::text[] is null and $7::text[] is null)
        or n.device_id like any ($6::text[]) or n.device_id = any ($7::text[]))
 order by n.ordinal desc
 limit $8::int4 offset $9::int4;

-- count_notifications --
-- How many messages fit the filters.
select count(*)
  from telemetry.notification n
 where ($1::text is null or n.channel = $1::text)
   and ($2::text is null or n.status = $2::text or n.verdict = $2::text)
   and ($3::text is null or n.alert_id = $3::text)
   and ($4::text is null or n.kind = $4::text)
   and ($5::text[] is null or n.metric_name like any ($5::text[]))
   and (($6::text[] is null and $7::text[] is null)
        or n.device_id like any ($6::text[]) or n.device_id = any ($7::text[]));

-- find_notification --
-- One message.
select n.notification_id, n.alert_id, n.watch_id, n.rule_id, n.device_id, n.metric_name, n.level, n.channel, n.kind,
       n.status, n.verdict, n.verdict_data, n.digest_id, n.replaces_id, n.attempts, n.next_attempt_at, n.last_status,
       n.last_error, n.created_at, n.sent_at
  from telemetry.notification n
 where n.notification_id = $1::text;

-- of_alert --
-- All messages about an alert, in order: what explain shows.
select n.notification_id, n.alert_id, n.watch_id, n.rule_id, n.device_id, n.metric_name, n.level, n.channel, n.kind,
       n.status, n.verdict, n.verdict_data, n.digest_id, n.replaces_id, n.attempts, n.next_attempt_at, n.last_status,
       n.last_error, n.created_at, n.sent_at
  from telemetry.notification n
 where n.alert_id = $1::text
 order by n.ordinal
 limit 1000;

-- attempts --
-- The attempts to send these messages, in order.
select t.notification_id, t.attempt, t.at, t.latency_ms, t.outcome, t.status_code, t.response_digest, t.detail
  from telemetry.notification_attempt t
 where t.notification_id = any ($1::text[])
 order by t.notification_id, t.attempt;

-- retry --
-- Send a message again that was given up, or now one that waits for its next attempt.
update telemetry.notification n
   set status = 'pending', next_attempt_at = clock_timestamp(), digest_id = null,
       verdict_data = n.verdict_data || jsonb_build_object('retried_by', $2::text, 'retried_at', clock_timestamp())
 where n.notification_id = $1::text and (n.status = 'dead' or (n.status = 'pending' and n.claimed_until is null))
returning n.notification_id;

-- regroup --
-- What a digest carried waits for it again, as it is sent again.
update telemetry.notification n set status = 'deferred', verdict = 'grouped'
 where n.digest_id = $1::text and n.status = 'dead';

-- revive_closings --
-- Who is told of a firing after all, also by a digest, has to be told of its end.
update telemetry.notification n
   set status = 'pending', verdict = null, next_attempt_at = clock_timestamp()
  from telemetry.notification f
 where (f.notification_id = $1::text or f.digest_id = $1::text) and f.kind = 'fire'
   and n.alert_id = f.alert_id and n.channel = f.channel and n.kind = 'close'
   and (n.replaces_id is null) = (f.replaces_id is null)
   and n.status = 'dropped' and n.verdict in ('not_told', 'fallback');

-- wake_channel --
-- What waits for a channel that was just changed is tried at once; not what is being claimed this moment.
update telemetry.notification n
   set next_attempt_at = clock_timestamp()
 where n.notification_id in (
         select w.notification_id from telemetry.notification w
          where w.status = 'pending' and w.channel = $1::text and w.next_attempt_at > clock_timestamp()
            and w.claimed_until is null
            for update skip locked);

-- count_waiting --
-- How many messages wait to be sent, and how many for a digest; each by its own index.
select (select count(*) from telemetry.notification n where n.status = 'pending') as pending,
       (select count(*) from telemetry.notification n where n.status = 'deferred') as deferred;
